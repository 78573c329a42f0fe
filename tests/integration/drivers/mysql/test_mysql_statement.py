"""Statements on real servers: values, rows, streams, many sets."""

import copy
import datetime as dt
import decimal
import enum
import itertools
import pickle
import uuid
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurora_sql import errors
from aurora_sql.types import Column

UTC = dt.UTC


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    TWO = 2


class Index:
    def __index__(self):
        return 2


class Word(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("kind_of_column", "given_", "back"),
    [
        ("tinyint", -128, -128),
        ("tinyint unsigned", 255, 255),
        ("smallint", -32768, -32768),
        ("smallint unsigned", 65535, 65535),
        ("mediumint", -8388608, -8388608),
        ("mediumint unsigned", 16777215, 16777215),
        ("int", -(2**31), -(2**31)),
        ("int unsigned", 2**32 - 1, 2**32 - 1),
        ("bigint", -(2**63), -(2**63)),
        ("bigint unsigned", 2**64 - 1, 2**64 - 1),
        ("boolean", True, 1),
        ("float", 1.5, 1.5),
        ("double", 1.7976931348623157e308, 1.7976931348623157e308),
        ("double", -5e-324, -5e-324),
        (
            "decimal(65,30)",
            Decimal("-12345678901234567890.000000000000000000000000000001"),
            Decimal("-12345678901234567890.000000000000000000000000000001"),
        ),
        ("decimal(10,2)", Decimal("1E+3"), Decimal("1000.00")),
        ("varchar(40)", "naïve 🐟 \\ ' \" \0 \n", "naïve 🐟 \\ ' \" \0 \n"),
        ("varchar(40)", "", ""),
        ("varchar(40)", Word("sub"), "sub"),
        ("varchar(40)", Colour.RED, "red"),
        ("bigint", Index(), 2),
        ("bigint", np.int64(-(2**63)), -(2**63)),
        ("bigint unsigned", np.uint64(2**64 - 1), 2**64 - 1),
        ("double", np.float64(0.1), 0.1),
        ("double", np.float32(1.5), 1.5),
        ("varchar(40)", np.str_("x"), "x"),
        ("int", Number.TWO, 2),
        ("text", "x" * 300, "x" * 300),
        ("longtext", "y" * 70000, "y" * 70000),
        ("longblob", b"\xff\0'" * 30000, b"\xff\0'" * 30000),
        ("varbinary(40)", bytearray(b"\0\xff"), b"\0\xff"),
        ("varbinary(40)", memoryview(b"\0\xff"), b"\0\xff"),
        ("binary(16)", uuid.UUID(int=7), uuid.UUID(int=7).bytes),
        ("bit(10)", 0b1000000001, 0b1000000001),
        ("year", 2155, 2155),
        ("date", dt.date(1000, 1, 1), dt.date(1000, 1, 1)),
        ("date", dt.date(9999, 12, 31), dt.date(9999, 12, 31)),
        ("datetime(6)", dt.datetime(2024, 2, 29, 1, 2, 3, 4), dt.datetime(2024, 2, 29, 1, 2, 3, 4)),
        ("datetime", dt.datetime(2024, 2, 29), dt.datetime(2024, 2, 29)),
        (
            "datetime",
            dt.datetime(2024, 2, 29, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            dt.datetime(2024, 2, 28, 23),
        ),
        (
            "timestamp(6)",
            dt.datetime(2024, 2, 29, 1, 2, 3, 4, UTC),
            dt.datetime(2024, 2, 29, 1, 2, 3, 4),
        ),
        (
            "time(6)",
            dt.time(23, 59, 59, 999999),
            dt.timedelta(hours=23, minutes=59, seconds=59, microseconds=999999),
        ),
        (
            "time",
            dt.timedelta(hours=838, minutes=59, seconds=59),
            dt.timedelta(hours=838, minutes=59, seconds=59),
        ),
        (
            "time(6)",
            -dt.timedelta(hours=30, microseconds=1),
            -dt.timedelta(hours=30, microseconds=1),
        ),
        ("time", dt.timedelta(), dt.timedelta()),
        ("json", {"a": [1, None, "é"]}, {"a": [1, None, "é"]}),
        ("json", [1, 2], [1, 2]),
        ("enum('a','b')", "b", "b"),
        ("set('a','b')", "a,b", "a,b"),
        ("int", None, None),
    ],
)
async def test_a_value_comes_back_as_it_went(connection, kind_of_column, given_, back):
    await connection.execute("DROP TABLE IF EXISTS one")
    await connection.execute(f"CREATE TABLE one (v {kind_of_column} NULL)")
    insert = await connection.prepare("INSERT INTO one VALUES (?)")
    assert await insert.execute((given_,)) == 1
    assert await connection.copy_in(["one"], ["v"], [(given_,)]) == 1
    select = await connection.prepare("SELECT v FROM one")
    for (got,) in await select.fetch(()):
        assert got == back
        assert type(got) is type(back)
    (column,) = select.columns
    assert column.python_type in {type(back), object} or back is None


@given(
    row=st.tuples(
        st.integers(-(2**63), 2**64 - 1).map(Decimal),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
        st.binary(max_size=300),
        st.datetimes(dt.datetime(1000, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59)),
        st.dates(dt.date(1000, 1, 1)),
        st.timedeltas(dt.timedelta(hours=-838), dt.timedelta(hours=838)),
        st.decimals(-(10**30), 10**30, places=10, allow_nan=False),
        st.none() | st.integers(-100, 100),
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_fuzzed_values_are_exact(row, fuzz):
    (got,) = fuzz(row)
    assert tuple(got) == row
    # MariaDB keeps no sign of zero.


@pytest.fixture
def fuzz(server):
    import asyncio

    from aurora_sql.drivers import connect
    from aurora_sql.types import Engine

    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(connect(Engine.MYSQL, server.options()))

    async def prepare():
        await connection.execute(
            "CREATE TEMPORARY TABLE fuzz (a decimal(30), b bigint, c double, d text, e blob,"
            " f datetime(6), g date, h time(6), i decimal(50,10), j tinyint)"
        )
        insert = await connection.prepare("INSERT INTO fuzz VALUES (?,?,?,?,?,?,?,?,?,?)")
        return insert, await connection.prepare("SELECT * FROM fuzz")

    insert, select = loop.run_until_complete(prepare())

    async def there_and_back(row):
        await connection.execute("DELETE FROM fuzz")
        await insert.execute(row)
        return await select.fetch(())

    yield lambda row: loop.run_until_complete(there_and_back(row))
    loop.run_until_complete(connection.close())
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (2**64, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        (float("nan"), "NaN"),
        (float("inf"), "infinity"),
        (Decimal("NaN"), "NaN"),
        (Decimal("1E+65"), "digits"),
        ("\ud800", "UTF-8"),
        (dt.timedelta(hours=839), "838:59:59"),
        (dt.time(1, tzinfo=UTC), "time zone"),
        (object(), "object"),
        ({"a": object()}, "JSON"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_anything_is(connection, bad, says):
    statement = await connection.prepare("SELECT ?, ?")
    before = connection.commands_sent
    with pytest.raises(errors.ParameterError, match="parameter 2") as info:
        await statement.fetch((1, bad))
    assert says.lower() in str(info.value).lower() or says == "JSON"
    assert info.value.number == 2
    assert connection.commands_sent == before
    assert len(await statement.fetch((1, 2))) == 1


async def test_the_number_of_parameters_is_checked(connection):
    statement = await connection.prepare("SELECT ?, ?")
    assert len(statement.parameters) == 2
    for args in ((), (1,), (1, 2, 3)):
        with pytest.raises(errors.ParameterError, match="takes 2 parameters"):
            await statement.fetch(args)


async def test_the_type_of_a_lone_placeholder_is_that_of_each_value(connection):
    # MySQL keeps the first one, and would make 0 of 'x'.
    statement = await connection.prepare("SELECT ? AS v")
    for value in (None, 3, "x", Decimal("1.5"), 7, dt.date(2020, 1, 2), None, 5.5, "3"):
        ((got,),) = await statement.fetch((value,))
        assert got == value
        assert type(got) is type(value)


async def test_integers_among_other_values(connection):
    statement = await connection.prepare("SELECT ? AS one, ? AS two")
    values = [1, 2, -(2**63), 2**63 - 1, True, 2**63, 2**64 - 1, -1, None, 5, "6", 7, Number.TWO, 8]
    for one, two in [*itertools.pairwise(values), *((v, 3) for v in values)]:
        for _ in range(2):
            assert [tuple(row) for row in await statement.fetch((one, two))] == [(one, two)]
    with pytest.raises(errors.ParameterError, match="parameter 2: an integer of more than 64"):
        await statement.fetch((1, 2**64))
    with pytest.raises(errors.ParameterError, match="takes 2 parameters"):
        await statement.fetch((1,))
    for _ in range(2):
        assert [tuple(row) for row in await statement.fetch((1, Index()))] == [(1, 2)]
        assert [tuple(row) for row in await statement.fetch((1, 3))] == [(1, 3)]
    await connection.reset()
    # The server may have given the number of this statement to another one.
    other = await connection.prepare("SELECT 'other', ?, ?")
    for _ in range(2):
        assert [tuple(row) for row in await statement.fetch((1, 3))] == [(1, 3)]
        assert [tuple(row) for row in await other.fetch((1, 3))] == [("other", 1, 3)]


async def test_integers_of_a_write(connection, table, value):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES (?, 'x')")
    for number in range(3):
        assert await insert.execute((number,)) == 1
        with pytest.raises(errors.UniqueViolation):
            await insert.execute((number,))
    assert await value(connection, "SELECT count(*) FROM things") == 3


async def test_a_value_is_never_part_of_the_statement(connection, table, value):
    for mode in ("", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES"):
        await connection.execute(f"SET sql_mode = '{mode}'")
        for text in (
            "'; DROP TABLE things; --",
            "\\'; DROP TABLE things; #",
            "\xbf'; --",
            '" OR 1',
        ):
            assert await value(connection, "SELECT ? = ?", text, text) == 1
            assert await value(connection, "SELECT count(*) FROM things WHERE name = ?", text) == 0


async def test_several_statements_are_refused_where_one_is_meant(connection):
    with pytest.raises(errors.ProgrammingError):
        await connection.prepare("SELECT 1; SELECT 2")
    # The permission for a script does not outlive it.
    await connection.execute("SET @a = 1; SET @b = 2")
    with pytest.raises(errors.ProgrammingError):
        await connection.command("SELECT 1; SELECT 2")
    with pytest.raises(errors.ProgrammingError):
        await connection.execute("SET @a = 1; nonsense; SET @b = 2")
    with pytest.raises(errors.ProgrammingError):
        await connection.command("SELECT 1; SELECT 2")


async def test_rows(connection):
    statement = await connection.prepare("SELECT 1 AS id, 'x' AS `count`, 'y' AS `items`, 2 AS id2")
    assert statement.columns[0] == Column(
        "id", statement.columns[0].type_name, int, statement.columns[0].type_oid
    )
    (row,) = await statement.fetch(())
    assert (row.id, row["id"], row[0], row[-1], row[1:3]) == (1, 1, 1, 2, ("x", "y"))
    assert row.count == "x"
    assert row["items"] == "y"
    assert list(row.keys()) == ["id", "count", "items", "id2"]
    assert dict(row.items()) == {"id": 1, "count": "x", "items": "y", "id2": 2}
    assert list(row.values()) == list(row) == [1, "x", "y", 2]
    assert row.get("nope", 5) == 5
    assert "id" in row
    assert 1 not in row
    assert row == (1, "x", "y", 2)
    assert hash(row) == hash((1, "x", "y", 2))
    with pytest.raises(AttributeError, match="no column 'index'"):
        row.index
    with pytest.raises(AttributeError):
        row.id = 2
    with pytest.raises(KeyError):
        row["nope"]
    assert pickle.loads(pickle.dumps(row)) == row
    assert copy.copy(row) is row
    assert "id=1" in repr(row)


async def test_two_statements_do_not_share_their_columns(connection):
    one = await connection.prepare("SELECT 1 AS a")
    two = await connection.prepare("SELECT 1 AS b, 2 AS a")
    ((a,),) = (await one.fetch(()),)
    ((b,),) = (await two.fetch(()),)
    assert (a.a, b.a, b.b) == (1, 2, 1)
    rows = connection.row_class()
    three = await connection.prepare("SELECT 3 AS c", rows)
    (c,) = await three.fetch(())
    assert type(c) is rows
    again = await connection.prepare("SELECT 4 AS d", rows)
    ((d,),) = (await again.fetch(()),)
    assert (d.d, c.c) == (4, 3)


async def test_limit_and_count(connection):
    statement = await connection.prepare("SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3")
    assert len(await statement.fetch((), 2)) == 2
    assert len(await statement.fetch(())) == 3
    assert await statement.execute(()) == -1


async def test_an_update_counts_the_rows_that_it_found(connection, table):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES (?, ?)")
    await insert.execute_many([(n, "x") for n in range(5)])
    update = await connection.prepare("UPDATE things SET name = 'x' WHERE id < ?")
    assert await update.execute((3,)) == 3


async def test_zero_dates_are_an_error_and_can_be_read_as_text(connection, value):
    await connection.execute("SET sql_mode = ''")
    await connection.execute("CREATE TEMPORARY TABLE z (d date, t datetime)")
    await connection.execute("INSERT INTO z VALUES ('0000-00-00', '2024-00-10')")
    with pytest.raises(errors.DataError, match=r"0000-00-00 is no date.*CAST"):
        await value(connection, "SELECT d FROM z")
    with pytest.raises(errors.DataError, match="2024-00-10"):
        await value(connection, "SELECT t FROM z")
    assert await value(connection, "SELECT CAST(d AS CHAR) FROM z") == "0000-00-00"


async def test_packets_larger_than_sixteen_megabytes(opened, server, value, kind):
    root = await opened()
    before = await value(root, "SELECT @@global.max_allowed_packet")
    await root.execute("SET GLOBAL max_allowed_packet = 67108864")
    try:
        connection = await opened()
        for size in (2**24 - 20, 2**24 - 1, 2**24, 2**24 + 5, 2 * (2**24 - 1)):
            data = b"\xfe" * size
            assert await value(connection, "SELECT LENGTH(?)", data) == size
        statement = await connection.prepare("SELECT REPEAT('x', ?), 7")
        for size in (2**24 - 12, 2**24 - 1, 2**24 + 5):
            ((text, seven),) = await statement.fetch((size,))
            assert (len(text), seven) == (size, 7)
        statement = await connection.prepare("SELECT LENGTH(?)")
        sent = connection.commands_sent
        with pytest.raises(errors.ParameterError, match="max_allowed_packet"):
            await statement.fetch((b"x" * 67108864,))
        assert connection.commands_sent == sent
        assert not connection.is_closed
    finally:
        await root.execute(f"SET GLOBAL max_allowed_packet = {before}")


async def test_a_changed_table(connection, table):
    statement = await connection.prepare("SELECT * FROM things")
    assert await statement.fetch(()) == []
    await connection.execute("ALTER TABLE things DROP COLUMN flags")
    with pytest.raises((errors.StatementStale, errors.DatabaseError)):
        await statement.fetch(())
    statement = await connection.prepare("SELECT id FROM things")
    await connection.execute("ALTER TABLE things MODIFY id varchar(10)")
    with pytest.raises(errors.StatementStale):
        await statement.fetch(())
    assert connection.is_ready


async def test_a_procedure(connection):
    await connection.execute("DROP PROCEDURE IF EXISTS two_results")
    await connection.execute(
        "CREATE PROCEDURE two_results(n int) BEGIN SELECT n AS a; SELECT 'x' AS b, 2 AS c; END"
    )
    statement = await connection.prepare("CALL two_results(?)")
    for _ in range(2):
        assert [row["a"] for row in await statement.fetch((5,))] == [5]
    assert connection.is_ready


async def test_stream(connection, table):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES (?, ?)")
    await insert.execute_many([(n, str(n)) for n in range(25)])
    statement = await connection.prepare("SELECT id, name FROM things WHERE id >= ? ORDER BY id")
    with pytest.raises(errors.ConfigurationError, match="begin one"):
        await anext(statement.stream((0,), 10))
    await connection.begin()
    batches = [batch async for batch in statement.stream((5,), 10)]
    assert [len(batch) for batch in batches] == [10, 10]
    assert [row.id for batch in batches for row in batch] == list(range(5, 25))
    # Two at once, something else between, and an early leave.
    one, two = statement.stream((0,), 2), statement.stream((20,), 3)
    assert [row.id for row in await anext(one)] == [0, 1]
    assert [row.id for row in await anext(two)] == [20, 21, 22]
    assert len(await statement.fetch((24,))) == 1
    assert [row.id for row in await anext(one)] == [2, 3]
    await one.aclose()
    assert [row.id for row in await anext(two)] == [23, 24]
    await two.aclose()
    assert [batch async for batch in statement.stream((99,), 2)] == []
    await connection.commit()
    assert connection.is_ready


async def test_many_sets_are_all_or_nothing(connection, table, value):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES (?, ?)")
    with pytest.raises(errors.UniqueViolation):
        await insert.execute_many([(1, "a"), (2, "b"), (1, "c")])
    assert await value(connection, "SELECT count(*) FROM things") == 0
    with pytest.raises(errors.ParameterError) as info:
        await insert.execute_many([(1, "a"), (2, "b"), (3, "\ud800")])
    assert (info.value.element, info.value.number) == (2, 2)
    assert await value(connection, "SELECT count(*) FROM things") == 0
    await connection.begin()
    await insert.execute((9, "kept"))
    with pytest.raises(errors.UniqueViolation):
        await insert.execute_many([(1, "a"), (1, "c")])
    await insert.execute_many([(1, "a"), (2, "b")])
    await connection.commit()
    select = await connection.prepare("SELECT id FROM things WHERE id = ?")
    rows = await select.fetch_many([(9,), (1,), (5,), (2,)])
    assert [row.id for row in rows] == [9, 1, 2]
    assert connection.is_ready


async def test_a_reset_leaves_the_settings_of_a_session(connection, other, table, value, kind):
    """The server itself goes back to its own: its character set and time zone, and no limits."""
    limit = "@@max_execution_time" if kind == "mysql" else "@@max_statement_time"
    settings = (
        f"SELECT CONCAT_WS(',', @@autocommit, @@time_zone, @@sql_mode, @@character_set_client,"
        f" @@character_set_connection, @@character_set_results, {limit})"
    )
    before = await value(connection, settings)
    assert "utf8mb4,utf8mb4,utf8mb4" in before
    await connection.execute(f"SET NAMES latin1, autocommit = 0, sql_mode = '', {limit[2:]} = 1")
    await connection.reset()
    assert await value(connection, settings) == before
    assert await value(connection, "SELECT ?", "🐟 \u8868") == "🐟 \u8868"
    with pytest.raises(errors.ProgrammingError):
        await connection.command("DO 1; DO 2")
    # No transaction is left open, whose snapshot the next borrower would read.
    assert await value(connection, "SELECT count(*) FROM things") == 0
    await other.execute("INSERT INTO things (id, name) VALUES (1, 'x')")
    assert await value(connection, "SELECT count(*) FROM things") == 1
    assert connection.is_ready


async def test_statements_outlive_a_reset(connection, value):
    statement = await connection.prepare("SELECT ? AS v")
    await statement.fetch((1,))
    await connection.execute("SET @x = 1, sql_mode = '', time_zone = '+05:00'")
    await connection.begin()
    await connection.reset()
    assert connection.is_ready
    assert [row.v for row in await statement.fetch((2,))] == [2]
    assert await value(connection, "SELECT @x") is None
    assert await value(connection, "SELECT @@time_zone") == "+00:00"
    assert "STRICT_TRANS_TABLES" in await value(connection, "SELECT @@sql_mode")
    await connection.reset()
    await statement.close()
    await connection.execute("CREATE TEMPORARY TABLE t1 (a int)")
    await connection.execute("SELECT GET_LOCK('aurora_sql_test', 0)")
    await connection.reset()
    with pytest.raises(errors.ProgrammingError):
        await connection.prepare("SELECT * FROM t1")
    assert await value(connection, "SELECT IS_FREE_LOCK('aurora_sql_test')") == 1


async def test_text_travels_as_utf8_whatever_the_server_prefers(start, kind, value):
    from aurora_sql.drivers import connect
    from aurora_sql.types import Engine

    stubborn = ["--skip-character-set-client-handshake"] if kind == "mariadb" else []
    with start(kind, "--character-set-server=gbk", *stubborn) as one:
        connection = await connect(Engine.MYSQL, one.options())
        for text in ("\u7e97' OR 1=1 --", "\xbf\x5c'", "🐟"):
            assert await value(connection, "SELECT ?", text) == text
        await connection.execute("CREATE TABLE g (t varchar(20) CHARACTER SET sjis)")
        insert = await connection.prepare("INSERT INTO g VALUES (?)")
        await insert.execute(("表\\'",))
        assert await value(connection, "SELECT t FROM g") == "表\\'"
        assert await connection.copy_in(["g"], ["t"], [("表\\\t\n",)]) == 1
        assert await value(connection, "SELECT count(*) FROM g WHERE t = ?", "表\\\t\n") == 1
        await connection.close()


def test_the_decimal_context_does_not_matter():
    from aurora_sql.drivers._mysql_parameters import encode

    with decimal.localcontext(decimal.Context(prec=3)):
        assert b"12345.678" in encode((Decimal("12345.678"),))[1]


async def test_the_types_of_parameters_where_the_server_tells_them(connection):
    statement = await connection.prepare(
        "SELECT 1 FROM (SELECT CAST(1 AS SIGNED) AS i, CAST(1 AS UNSIGNED) AS u, 'x' AS t,"
        " CAST('2024-01-01' AS DATETIME) AS z) AS q WHERE i = ? AND u = ? AND t = ? AND z = ?"
    )
    told = [kind.type_name for kind in statement.parameters]
    if connection.is_mariadb:
        assert told == ["any"] * 4
    else:
        assert told == ["bigint", "bigint unsigned", "varchar", "datetime"]
