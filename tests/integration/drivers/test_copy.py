import asyncio
import contextlib
import datetime as dt
import decimal
import gc
import tracemalloc

import pytest

from aurora_sql import errors
from aurora_sql.drivers._asyncpg_connection import AsyncpgConnection

COLUMNS = ("id", "name", "amount", "at", "tags", "data")
NOW = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)


def thing(number, **changes):
    row = {
        "id": number,
        "name": f"thing {number}",
        "amount": decimal.Decimal("1.50"),
        "at": NOW,
        "tags": ["a", None],
        "data": {"n": number},
    }
    return tuple((row | changes).values())


async def several(rows):
    for row in rows:
        yield row


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 2000])
@pytest.mark.parametrize("shape", [list, tuple, iter, several])
async def test_rows_arrive(connection, table, value, count, shape):
    rows = [thing(n) for n in range(count)]
    assert await connection.copy_in([table], COLUMNS, shape(rows)) == count
    statement = await connection.prepare("SELECT * FROM things ORDER BY id")
    assert [tuple(row) for row in await statement.fetch(())] == rows


async def test_some_columns_in_another_order(connection, table, value):
    assert await connection.copy_in(["public", table], ["name", "id"], [["x", 1]]) == 1
    assert await value(connection, "SELECT name FROM things WHERE id = 1") == "x"


async def test_names_are_quoted(connection, value):
    await connection.execute(
        'DROP SCHEMA IF EXISTS "a.b" CASCADE; CREATE SCHEMA "a.b"; CREATE TABLE "a.b"."Odd ""one" ("Group" int)'
    )
    assert await connection.copy_in(["a.b", 'Odd "one'], ["Group"], [(1,)]) == 1


async def test_again_and_again_in_one_round_trip(connection, table):
    await connection.copy_in([table], COLUMNS, [])
    sent = connection.commands_sent
    for n in range(3):
        await connection.copy_in([table], COLUMNS, [thing(n)])
    assert connection.commands_sent == sent + 3


async def test_in_a_transaction(connection, table, value):
    await connection.begin()
    await connection.copy_in([table], COLUMNS, [thing(1)])
    await connection.rollback()
    assert await value(connection, "SELECT count(*) FROM things") == 0


@pytest.mark.parametrize("shape", [list, iter, several])
@pytest.mark.parametrize("row", [0, 5, 511, 512, 1500])
async def test_a_value_that_does_not_fit_its_column(connection, table, value, shape, row):
    rows = (
        [thing(n) for n in range(row)]
        + [thing(row, amount="much")]
        + [thing(n) for n in range(row + 1, 2000)]
    )
    with pytest.raises(
        errors.BulkValueError, match=rf"row {row}, column 'amount' \(numeric\)"
    ) as caught:
        await connection.copy_in([table], COLUMNS, shape(rows))
    assert (caught.value.row, caught.value.column) == (row, "amount")
    assert caught.value.retry_safe
    assert connection.is_settled
    assert await value(connection, "SELECT count(*) FROM things") == 0


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"id": 2**40}, "id"),
        ({"name": 5}, "name"),
        ({"at": "today"}, "at"),
        ({"tags": 5}, "tags"),
        ({"tags": [5]}, "tags"),
        ({"data": object()}, "data"),
    ],
)
async def test_the_column_is_named_in_a_transaction_too(connection, table, changes, column):
    await connection.begin()
    with pytest.raises(errors.BulkValueError) as caught:
        await connection.copy_in([table], COLUMNS, [thing(0), thing(1, **changes)])
    assert (caught.value.row, caught.value.column) == (1, column)
    await connection.rollback()
    assert await connection.copy_in([table], COLUMNS, [thing(1)]) == 1


@pytest.mark.parametrize("shape", [list, iter, several])
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ((1, "x"), "2 values for 6"),
        ((*thing(1), 7), "7 values for 6"),
        (5, "row 3"),
        (None, "row 3"),
    ],
)
async def test_rows_of_another_width(connection, table, value, shape, bad, says):
    rows = [thing(0), thing(1), thing(2), bad]
    with pytest.raises(errors.BulkValueError, match=says) as caught:
        await connection.copy_in([table], COLUMNS, shape(rows))
    assert caught.value.row == 3
    assert await value(connection, "SELECT count(*) FROM things") == 0


@pytest.mark.parametrize("shape", [iter, several])
async def test_errors_of_the_source_pass(connection, table, value, shape):
    def source():
        yield thing(0)
        raise LookupError("the caller's own")

    rows = source() if shape is iter else several(source())
    with pytest.raises(LookupError, match="the caller's own"):
        await connection.copy_in([table], COLUMNS, rows)
    assert await value(connection, "SELECT count(*) FROM things") == 0


async def test_a_constraint_names_the_row(connection, table):
    with pytest.raises(errors.UniqueViolation, match=r"\(row 2\)") as caught:
        await connection.copy_in([table], COLUMNS, [thing(0), thing(1), thing(1)])
    assert caught.value.constraint == "things_pkey"
    with pytest.raises(errors.NotNullViolation, match=r"\(row 1\)") as caught:
        await connection.copy_in([table], COLUMNS, [thing(0), thing(1, name=None)])
    assert caught.value.column_name == "name"


async def test_a_value_that_only_the_server_refuses(connection, table):
    too_large = thing(1, amount=decimal.Decimal(10**12))
    with pytest.raises(errors.BulkValueError, match="row 1") as caught:
        await connection.copy_in([table], COLUMNS, [thing(0), too_large])
    assert caught.value.row == 1


@pytest.mark.parametrize(
    ("name", "columns"), [(("nowhere",), ("id",)), (("things",), ("id", "nothing"))]
)
async def test_a_table_or_a_column_that_does_not_exist(connection, table, name, columns):
    with pytest.raises(errors.ProgrammingError, match="does not exist"):
        await connection.copy_in(name, columns, [(1,)])


async def test_no_columns(connection, table):
    with pytest.raises(errors.ParameterError, match="at least one column"):
        await connection.copy_in([table], [], [])


async def test_a_column_that_asyncpg_cannot_encode(connection):
    await connection.execute("DROP TABLE IF EXISTS priced; CREATE TABLE priced (price money)")
    with pytest.raises(errors.ParameterError, match="no binary format encoder for type money"):
        await connection.copy_in(["priced"], ["price"], [("1",)])
    await connection.ping()


async def test_a_type_that_changed_is_noticed(connection, other, value):
    # Eight bytes of a bigint are eight bytes of a float: without a check wrong values go in.
    await connection.execute("DROP TABLE IF EXISTS changing; CREATE TABLE changing (n bigint)")
    await connection.copy_in(["changing"], ["n"], [(1,)])
    await other.execute("ALTER TABLE changing ALTER n TYPE float8")
    with pytest.raises(errors.StatementStale) as caught:
        await connection.copy_in(["changing"], ["n"], [(2,)])
    assert caught.value.retry_safe
    await connection.copy_in(["changing"], ["n"], [(3,)])
    assert await value(connection, "SELECT array_agg(n ORDER BY n) FROM changing") == [1.0, 3.0]


@pytest.mark.parametrize(
    ("before", "after", "first", "second"),
    [
        ("bigint", "int", 1, 2),
        (
            "timestamptz",
            "timestamp",
            dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
            dt.datetime(2026, 1, 2),
        ),
    ],
)
async def test_a_type_that_became_narrower_is_noticed_too(
    connection, other, before, after, first, second
):
    # The old type is united with the new one to the old one: that would look unchanged.
    await connection.execute(f"DROP TABLE IF EXISTS narrower; CREATE TABLE narrower (v {before})")
    await connection.copy_in(["narrower"], ["v"], [(first,)])
    await other.execute(f"ALTER TABLE narrower ALTER v TYPE {after}")
    with pytest.raises(errors.StatementStale):
        await connection.copy_in(["narrower"], ["v"], [(first,)])
    await connection.copy_in(["narrower"], ["v"], [(second,)])
    assert await other.execute("SELECT FROM narrower") == "SELECT 2"


async def test_another_table_of_the_same_name(connection, value):
    await connection.execute(
        "DROP SCHEMA IF EXISTS one, two CASCADE; CREATE SCHEMA one; CREATE SCHEMA two;"
        "CREATE TABLE one.t (n bigint); CREATE TABLE two.t (n float8); SET search_path = one"
    )
    await connection.copy_in(["t"], ["n"], [(1,)])
    await connection.execute("SET search_path = two")
    with pytest.raises(errors.StatementStale):
        await connection.copy_in(["t"], ["n"], [(2,)])


async def test_temporary_tables_of_one_name(connection, value):
    for kind, given in (("int", 1), ("text", "x"), ("uuid[]", [])):
        await connection.begin()
        await connection.execute(f"CREATE TEMP TABLE stage (v {kind}) ON COMMIT DROP")
        assert await connection.copy_in(["pg_temp", "stage"], ["v"], [(given,)]) == 1
        with pytest.raises(errors.BulkValueError, match="column 'v'"):
            await connection.copy_in(["pg_temp", "stage"], ["v"], [(object(),)])
        await connection.rollback()
    assert (
        await value(
            connection, "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%stage%'"
        )
        <= 1
    )


async def test_a_role_that_may_not_select(opened, connection):
    await connection.execute(
        "DROP TABLE IF EXISTS inbox; CREATE TABLE inbox (n int, s text); GRANT INSERT ON inbox TO loader"
    )
    loader = await opened(user="loader")
    for _ in range(2):
        assert await loader.copy_in(["inbox"], ["n", "s"], [(1, "x")]) == 1
    with pytest.raises(errors.BulkValueError, match="column 's'"):
        await loader.copy_in(["inbox"], ["n", "s"], [(1, 2)])
    with pytest.raises(errors.ProgrammingError, match="permission denied"):
        await loader.execute("SELECT * FROM inbox")


async def test_many_tables_do_not_pile_up(connection, value):
    for n in range(40):
        await connection.execute(f"CREATE TABLE IF NOT EXISTS pile_{n} (n int)")
        await connection.copy_in([f"pile_{n}"], ["n"], [(1,)])
    assert (
        await value(
            connection,
            "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT _n_ FROM _pile%'",
        )
        == 64  # two for each of the 32 tables that are kept
    )
    await connection.copy_in(["pile_0"], ["n"], [(1,)])
    await connection.execute("".join(f"DROP TABLE pile_{n};" for n in range(40)))


async def test_memory_does_not_grow_with_the_rows(connection, table):
    async def rows():
        for n in range(60_000):
            yield n, "x" * 100

    await connection.copy_in([table], ["id", "name"], [])
    tracemalloc.start()
    try:
        assert await connection.copy_in([table], ["id", "name"], rows()) == 60_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The rows are 6 MB and more; asyncpg's buffer is half a megabyte.
    assert peak < 3_000_000


async def test_an_async_source_is_closed_when_copy_fails(connection, table):
    closed = []

    async def rows():
        try:
            for n in range(10):
                yield thing(n, name=n)
        finally:
            closed.append(True)

    with pytest.raises(errors.BulkValueError):
        await connection.copy_in([table], COLUMNS, rows())
    assert closed


# --- out --------------------------------------------------------------------------------------


async def test_copy_out(connection):
    data = [c async for c in connection.copy_out("COPY (SELECT generate_series(1, 5)) TO STDOUT")]
    assert b"".join(data) == b"1\n2\n3\n4\n5\n"
    await connection.ping()


async def test_copy_out_of_nothing(connection):
    assert [c async for c in connection.copy_out("COPY (SELECT 1 WHERE false) TO STDOUT")] == []


async def test_copy_out_has_back_pressure(connection, other, value):
    stream = connection.copy_out(
        "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 200000)) TO STDOUT"
    )
    async with contextlib.aclosing(stream):
        await anext(stream)
        for _ in range(100):
            waiting = await value(
                other,
                "SELECT wait_event FROM pg_stat_activity WHERE pid = $1",
                connection.backend_id,
            )
            if waiting == "ClientWrite":
                break
        assert waiting == "ClientWrite"
    assert connection.is_settled
    assert connection.is_closed or await value(connection, "SELECT 1") == 1


@pytest.mark.parametrize("rows", [1, 10, 100_000])
async def test_copy_out_left_early(connection, rows):
    for taken in range(3):
        stream = connection.copy_out(
            f"COPY (SELECT repeat('x', 1000) FROM generate_series(1, {rows})) TO STDOUT"
        )
        for _ in range(taken):
            await anext(stream, None)
        await stream.aclose()
        assert connection.is_settled
        if connection.is_closed:  # the rest could not be called off
            return
        await connection.ping()


async def test_copy_out_that_fails(connection):
    with pytest.raises(errors.ProgrammingError):
        await anext(connection.copy_out("COPY nowhere TO STDOUT"))
    stream = connection.copy_out(
        "COPY (SELECT 1 / (90000 - n) FROM generate_series(1, 100000) n) TO STDOUT"
    )
    with pytest.raises(errors.DataError, match="division"):
        async for _ in stream:
            pass
    await connection.ping()


async def test_copy_out_loses_its_server(connection, other, value):
    stream = connection.copy_out(
        "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 200000)) TO STDOUT"
    )
    await anext(stream)
    await value(other, "SELECT pg_terminate_backend($1)", connection.backend_id)
    with pytest.raises(errors.ConnectionLost):
        async for _ in stream:
            pass
    assert connection.is_closed


def farewell():
    """What a server says that is told to end a session, before it closes the connection."""
    fields = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


@pytest.fixture
async def complaints():
    found = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    yield found
    asyncio.get_running_loop().set_exception_handler(None)


async def copy_rows_in(connection):
    await connection.copy_in(["things"], COLUMNS, several([thing(1)]))


async def copy_rows_out(connection):
    async for _ in connection.copy_out("COPY things TO STDOUT"):
        pass


@pytest.mark.parametrize("copy", [copy_rows_in, copy_rows_out])
async def test_the_server_has_said_good_bye(connection, table, complaints, copy):
    await copy(connection)
    # Its last words have been read, the end of the stream has not. They come in one packet as a
    # rule, so that what the socket would bring is brought here.
    connection.wire.data_received(farewell())
    with pytest.raises(errors.ConnectionLost) as caught:
        await copy(connection)
    assert caught.value.retry_safe
    assert connection.is_closed
    gc.collect()
    await asyncio.sleep(0.05)
    assert complaints == []


async def test_the_server_says_good_bye_just_before_copy_out(
    connection, table, complaints, monkeypatch
):
    prepare = AsyncpgConnection.prepare_state

    async def and_good_bye(self, *args, **kwargs):
        state = await prepare(self, *args, **kwargs)
        self.wire.data_received(farewell())
        return state

    monkeypatch.setattr(AsyncpgConnection, "prepare_state", and_good_bye)
    with pytest.raises(errors.ConnectionLost) as caught:
        await copy_rows_out(connection)
    assert caught.value.retry_safe
    gc.collect()
    await asyncio.sleep(0.05)
    assert complaints == []


async def test_others_have_their_turn_while_rows_are_sent(connection, table):
    turns, longest = 0, 0

    async def other():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    def rows():
        nonlocal longest
        seen, since = turns, 0
        for number in range(300_000):
            if turns != seen:
                seen, since = turns, number
            longest = max(longest, number - since)
            yield number, "x" * 50, None

    task = asyncio.create_task(other())
    try:
        assert await connection.copy_in((table,), ("id", "name", "amount"), rows()) == 300_000
    finally:
        task.cancel()
    # A piece of half a megabyte holds some 7,000 rows. Without turns the socket takes 100,000.
    assert longest < 50_000
