"""Loading rows: by LOAD DATA LOCAL, and by INSERTs where the server has that turned off."""

import asyncio
import datetime as dt
import resource
import uuid
from decimal import Decimal

import pytest

from aurora_sql import errors

COLUMNS = ["id", "name", "amount", "at", "data", "raw", "flags"]


@pytest.fixture(params=["load data", "inserts"], autouse=True)
def way(request, connection):
    assert connection.local_infile
    connection.local_infile = request.param == "load data"
    return request.param


async def test_every_kind_of_value(connection, table, value):
    rows = [
        (
            1,
            "tab\t new\n line \\N \\ \0 ' 🐟",
            Decimal("1.25"),
            dt.datetime(2024, 1, 2, 3, 4, 5, 6),
            {"a": ["x\ty", None]},
            b"\0\xff\\\t\n",
            5,
        ),
        (2, "", None, None, None, None, None),
        (3, "\\N", 7, dt.datetime(2024, 1, 2, tzinfo=dt.UTC), [1], uuid.UUID(int=5), True),
    ]
    assert await connection.copy_in([table], COLUMNS, rows) == 3
    select = await connection.prepare("SELECT * FROM things ORDER BY id")
    got = await select.fetch(())
    assert tuple(got[0]) == rows[0]
    assert tuple(got[1]) == rows[1]
    assert tuple(got[2]) == (3, "\\N", 7, dt.datetime(2024, 1, 2), [1], uuid.UUID(int=5).bytes, 1)
    assert connection.is_ready
    assert await connection.copy_in(["test", table], ["id", "name"], []) == 0


@pytest.mark.parametrize(
    ("bad", "column", "error"),
    [
        ((5, "x" * 41, 1), "name", errors.BulkValueError),
        ((5, None, 1), "name", errors.NotNullViolation),
        ((5, "x", "abc"), "amount", errors.BulkValueError),
        ((5, "x", Decimal("1e9")), "amount", errors.BulkValueError),
        ((2**40, "x", 1), "id", errors.BulkValueError),
        ((5, "\ud800", 1), "name", errors.BulkValueError),
        ((5, object(), 1), "name", errors.BulkValueError),
        ((5, "x", float("nan")), "amount", errors.BulkValueError),
        ((1, "x", 1), None, errors.UniqueViolation),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
async def test_one_bad_value_undoes_all(connection, table, value, bad, column, error, inside):
    if inside:
        await connection.begin()
        await connection.execute("INSERT INTO things (id, name) VALUES (100, 'kept')")
    rows = [(n, "x", 1) for n in range(3)] + [bad] + [(n, "x", 1) for n in range(10, 13)]
    with pytest.raises(error) as info:
        await connection.copy_in([table], COLUMNS[:3], rows)
    if isinstance(info.value, errors.BulkValueError):
        assert (info.value.row, info.value.column) == (3, column)
        assert "row 3" in str(info.value)
    if inside:
        await connection.commit()
    assert await value(connection, "SELECT count(*) FROM things") == inside
    assert connection.is_ready


async def test_rows_of_the_wrong_width(connection, table, value):
    with pytest.raises(errors.BulkValueError, match="row 1: 3 values for 2 columns"):
        await connection.copy_in([table], ["id", "name"], [(1, "a"), (2, "b", 3)])
    with pytest.raises(errors.ProgrammingError):
        await connection.copy_in([table], ["id", "nope"], [(1, "a")])
    with pytest.raises(errors.ProgrammingError):
        await connection.copy_in(["no`where"], ["id"], [(1,)])
    assert connection.is_ready


async def test_the_callers_own_error_comes_out(connection, table, value):
    class Mine(Exception):
        pass

    def rows():
        for n in range(2000):
            yield (n, "x")
        raise Mine

    async def later():
        for row in rows():
            yield row

    for source in (rows(), later()):
        with pytest.raises(Mine):
            await connection.copy_in([table], ["id", "name"], source)
        assert await value(connection, "SELECT count(*) FROM things") == 0


async def test_many_rows_in_bounded_memory(connection, table, value):
    count = 200_000

    async def rows():
        for n in range(count):
            yield (n, "a name of some length")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert await connection.copy_in([table], ["id", "name"], rows()) == count
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 30_000
    assert await value(connection, "SELECT sum(id) FROM things") == sum(range(count))


async def test_cancelled_loads_leave_nothing(connection, other, table, value):
    async def rows():
        for n in range(1_000_000):
            yield (n, "x")

    for pause in (0, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.1):
        task = asyncio.ensure_future(connection.copy_in([table], ["id", "name"], rows()))
        await asyncio.sleep(pause)
        task.cancel()
        await asyncio.wait([task])
        assert await connection.settle(10)
        assert connection.is_ready
        assert await value(other, "SELECT count(*) FROM things") == 0
    assert await connection.copy_in([table], ["id", "name"], [(1, "x")]) == 1


async def test_a_file_that_nobody_offered_is_refused(connection, table, way):
    with pytest.raises(errors.OperationalError, match="/etc/passwd"):
        await connection.execute("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE things (name)")
    assert connection.is_closed


@pytest.mark.parametrize(
    "command",
    [b"\x03LOAD DATA", b"\x03SELECT 1", b"\x03COMMIT", b"\x16SELECT", b"\x17", b"\x0e"],
    ids=["load", "query", "commit", "prepare", "execute", "ping"],
)
async def test_a_server_that_asks_for_another_file_gets_nothing(
    answering, opened, table, command, way
):
    async with answering(command, b"\xfb/etc/passwd") as (port, got):
        connection = await opened(port=port)
        connection.local_infile = way == "load data"

        async def work():
            await connection.begin()
            await connection.execute("SELECT 1")
            await connection.ping()
            statement = await connection.prepare("SELECT id FROM things WHERE id = ?")
            await statement.fetch((1,))
            await connection.copy_in([table], ["id", "name"], [(1, "x")])
            await connection.commit()

        if way == "inserts" and command == b"\x03LOAD DATA":
            await work()
            return
        with pytest.raises(errors.AuroraError):
            await asyncio.wait_for(work(), 5)
        assert connection.is_closed
        assert b"".join(got) in (b"", b"\0\0\0\2")


async def test_no_error_is_its_own_cause(connection, other, table):
    async def rows():
        yield (1, "a")
        await other.execute(f"KILL {connection.backend_id}")
        while not connection.is_closed:  # noqa: ASYNC110 - until the end of the session is read
            await asyncio.sleep(0.001)
        yield (2, "b")

    with pytest.raises(errors.AuroraError) as caught:
        await connection.copy_in([table], ["id", "name"], rows())
    error, seen = caught.value, []
    while error is not None:
        assert error not in seen
        seen.append(error)
        error = error.__cause__


async def test_a_refused_row_is_not_its_own_cause(connection, table):
    with pytest.raises(errors.UniqueViolation) as caught:
        await connection.copy_in([table], ["id", "name"], [(1, "a"), (1, "b")])
    assert caught.value.__cause__ is not caught.value
