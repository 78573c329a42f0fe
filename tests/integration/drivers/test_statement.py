import asyncio
import datetime as dt
import decimal
import uuid

import pytest

from aurora_sql import errors
from aurora_sql.rows import Row
from aurora_sql.types import ParameterType


async def test_rows_are_rows(connection):
    statement = await connection.prepare("SELECT 1 AS id, 'x'::text AS name")
    (row,) = await statement.fetch(())
    assert isinstance(row, Row)
    assert (row.id, row["name"], row[1]) == (1, "x", "x")


async def test_columns_and_parameters(connection):
    statement = await connection.prepare(
        "SELECT $1::int4 AS a, $2::numeric[] AS b, now() AS c, '{}'::jsonb AS d"
    )
    assert [(c.name, c.type_name, c.python_type) for c in statement.columns] == [
        ("a", "int4", int),
        ("b", "numeric[]", list),
        ("c", "timestamptz", dt.datetime),
        ("d", "jsonb", object),
    ]
    assert statement.parameters == (
        ParameterType("int4", 23, "pg_catalog", "scalar"),
        ParameterType("numeric[]", 1231, "pg_catalog", "array"),
    )


async def test_limit(connection):
    statement = await connection.prepare("SELECT generate_series(1, 10) AS n")
    assert len(await statement.fetch(())) == 10
    assert [row.n for row in await statement.fetch((), 2)] == [1, 2]
    assert connection.is_settled


async def test_affected_rows(connection, table):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES ($1, $2)")
    assert await insert.execute((1, "one")) == 1
    update = await connection.prepare("UPDATE things SET name = 'x' WHERE id > $1")
    assert await update.execute((5,)) == 0
    assert await update.execute((0,)) == 1
    select = await connection.prepare("SELECT generate_series(1, 3)")
    assert await select.execute(()) == 3
    other = await connection.prepare("SET work_mem = '1MB'")
    assert await other.execute(()) == -1


async def test_values_of_each_common_type(connection):
    given = (
        decimal.Decimal("12.50"),
        uuid.UUID(int=7),
        dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        {"a": [1, None, "ü"]},
        [1, "x"],
        [{"a": 1}, None],
        b"\x00\xff",
        dt.timedelta(hours=5),
    )
    statement = await connection.prepare(
        "SELECT $1::numeric, $2::uuid, $3::timestamptz, $4::jsonb, $5::json, $6::jsonb[],"
        " $7::bytea, $8::interval"
    )
    assert tuple((await statement.fetch(given))[0]) == given
    assert statement.columns[1].python_type is uuid.UUID


async def test_types_of_the_user(connection, value):
    await connection.execute(
        "DROP TYPE IF EXISTS mood, pair; DROP DOMAIN IF EXISTS code;"
        "CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE TYPE pair AS (x int, y mood);"
        "CREATE DOMAIN code AS text CHECK (length(VALUE) = 2)"
    )
    statement = await connection.prepare(
        "SELECT $1::mood AS m, $2::pair AS p, $3::mood[] AS l, $4::code AS c"
    )
    row = (await statement.fetch(("glad", (1, "sad"), ["sad", "glad"], "ab")))[0]
    assert row.m == "glad"
    assert (row.p["x"], row.p["y"]) == (1, "sad")
    assert row.l == ["sad", "glad"]
    assert [c.python_type for c in statement.columns][::2] == [str, list]
    with pytest.raises(errors.CheckViolation):
        await statement.fetch(("glad", (1, "sad"), [], "abc"))
    with pytest.raises(errors.DataError):
        await statement.fetch(("no mood", None, None, None))


@pytest.mark.parametrize(
    ("args", "number", "says"),
    [
        (("one", "x"), 1, r"\$1: .*integer.*int4"),
        ((1, 2), 2, r"\$2: expected str, got int \(the server takes text\)"),
        ((2**40, "x"), 1, "out of int32 range"),
    ],
)
async def test_a_value_that_cannot_be_encoded(connection, args, number, says):
    statement = await connection.prepare("SELECT $1::int4, $2::text")
    sent = connection.commands_sent
    for run in (statement.fetch, statement.execute):
        with pytest.raises(errors.ParameterError, match=says) as caught:
            await run(args)
        assert caught.value.number == number
        assert caught.value.retry_safe
    assert connection.commands_sent == sent
    assert connection.is_settled


async def test_the_value_is_not_in_the_message(connection):
    statement = await connection.prepare("SELECT $1::int4")
    with pytest.raises(errors.ParameterError) as caught:
        await statement.fetch((["secret"],))
    assert "secret" not in str(caught.value)


async def test_a_wrong_number_of_values(connection):
    statement = await connection.prepare("SELECT $1::int4")
    with pytest.raises(errors.ParameterError, match="1 argument"):
        await statement.fetch((1, 2))


async def test_json_that_cannot_be_encoded(connection):
    statement = await connection.prepare("SELECT $1::jsonb")
    with pytest.raises(errors.ParameterError, match=r"\$1: .*not JSON serializable"):
        await statement.fetch(({"a": object()},))


async def test_execute_many(connection, table, value):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES ($1, $2)")
    await insert.execute_many((n, f"thing {n}") for n in range(5000))
    assert await value(connection, "SELECT count(*) FROM things") == 5000
    await insert.execute_many([])
    assert connection.is_settled


async def test_fetch_many(connection, table):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES ($1, $2) RETURNING id")
    rows = await insert.fetch_many([(2, "b"), (1, "a")])
    assert [row.id for row in rows] == [2, 1]


@pytest.mark.parametrize("first", [0, 3000])
async def test_execute_many_with_a_bad_value(connection, table, value, first):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES ($1, $2)")
    sets = [(n, "x" * 100) for n in range(first)] + [(first, 5)]
    with pytest.raises(errors.ParameterError, match=r"\$2 of set") as caught:
        await insert.execute_many(sets)
    assert (caught.value.number, caught.value.element) == (2, first)
    assert await value(connection, "SELECT count(*) FROM things") == 0


async def test_execute_many_with_an_error_of_the_server(connection, table, value):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES ($1, $2)")
    with pytest.raises(errors.UniqueViolation) as caught:
        await insert.execute_many((n % 4000, "x" * 50) for n in range(8000))
    assert caught.value.constraint == "things_pkey"
    assert await value(connection, "SELECT count(*) FROM things") == 0


async def test_execute_many_with_a_broken_source(connection, table, value):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES ($1, $2)")

    def source():
        yield 1, "one"
        raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        await insert.execute_many(source())
    assert await value(connection, "SELECT count(*) FROM things") == 0


async def test_close_forgets_the_statement(connection, value):
    names = "SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT 42'"
    statement = await connection.prepare("SELECT 42")
    assert await value(connection, names) == 1
    await statement.close()
    await statement.close()
    assert await value(connection, names) == 0


async def test_close_after_the_connection(connection):
    statement = await connection.prepare("SELECT 42")
    await connection.close()
    await statement.close()


async def test_one_text_prepared_twice(connection):
    first = await connection.prepare("SELECT 1 AS a")
    second = await connection.prepare("SELECT 1 AS a")
    await first.close()
    assert (await second.fetch(()))[0].a == 1


async def test_scripts(connection, value):
    assert (
        await connection.execute("CREATE TEMP TABLE a (x int); INSERT INTO a VALUES (1), (2)")
        == "INSERT 0 2"
    )
    assert await connection.execute("  -- nothing\n") == ""
    assert await value(connection, "SELECT count(*) FROM a") == 2


async def test_two_tasks_on_one_connection(connection):
    first = asyncio.ensure_future(connection.execute("SELECT pg_sleep(0.1)"))
    await asyncio.sleep(0)
    with pytest.raises(errors.OperationalError, match="one task at a time") as caught:
        await connection.execute("SELECT 1")
    assert caught.value.retry_safe
    await first


# --- cursors ----------------------------------------------------------------------------------


async def test_stream(connection):
    statement = await connection.prepare("SELECT generate_series(1, $1::int) AS n")
    await connection.begin()
    sizes, total = [], 0
    async for batch in statement.stream((250,), 100):
        sizes.append(len(batch))
        total += sum(row.n for row in batch)
    assert sizes == [100, 100, 50]
    assert total == 250 * 251 // 2
    assert [b async for b in statement.stream((0,), 10)] == []
    assert [len(b) async for b in statement.stream((10,), 10)] == [10]
    await connection.commit()


async def test_stream_needs_a_transaction(connection):
    statement = await connection.prepare("SELECT 1")
    with pytest.raises(errors.ConfigurationError, match="begin"):
        await anext(statement.stream((), 10))
    await connection.begin()
    with pytest.raises(errors.ConfigurationError, match="at least 1"):
        await anext(statement.stream((), 0))


async def test_two_streams_side_by_side(connection):
    statement = await connection.prepare("SELECT generate_series(1, 6) AS n")
    await connection.begin()
    first, second = statement.stream((), 2), statement.stream((), 3)
    seen = [[row.n for row in await anext(s)] for s in (first, second, first, second, first)]
    assert seen == [[1, 2], [1, 2, 3], [3, 4], [4, 5, 6], [5, 6]]
    await first.aclose()
    await second.aclose()


async def test_stream_left_early(connection, value):
    statement = await connection.prepare("SELECT generate_series(1, 100000) AS n")
    await connection.begin()
    stream = statement.stream((), 10)
    await anext(stream)
    assert await value(connection, "SELECT count(*) FROM pg_cursors WHERE name LIKE 'aurora%'") == 1
    await stream.aclose()
    assert await value(connection, "SELECT count(*) FROM pg_cursors WHERE name LIKE 'aurora%'") == 0
    await connection.commit()


async def test_stream_that_fails_on_the_way(connection):
    statement = await connection.prepare("SELECT 10 / (5 - n) FROM generate_series(1, 9) n")
    await connection.begin()
    stream = statement.stream((), 2)
    assert len(await anext(stream)) == 2
    with pytest.raises(errors.DataError, match="division by zero"):
        async for _ in stream:
            pass
    await connection.rollback()
    assert not connection.in_transaction


async def test_stream_whose_transaction_ended(connection):
    statement = await connection.prepare("SELECT generate_series(1, 9)")
    await connection.begin()
    stream = statement.stream((), 2)
    await anext(stream)
    await connection.rollback()
    with pytest.raises(errors.ProgrammingError, match="does not exist"):
        await anext(stream)
    await connection.ping()
