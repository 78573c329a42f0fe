"""Loads over several connections: all of it or nothing, nothing twice, nothing left behind."""

import asyncio

import pyarrow as pa
import pytest

from aurora_sql import BulkValueError, ParameterError, UniqueViolation, deadline
from aurora_sql.errors import ConnectionLost, DeadlineExceeded

COLUMNS = ("n",)
TABLES = "SELECT count(*) FROM pg_class WHERE relname LIKE 'aurora_sql_load%'"
BACKENDS = "SELECT count(DISTINCT by) FROM one_log"
LOG = """
CREATE TABLE one_log (by integer);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO one_log VALUES (pg_backend_pid()); RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT ON one FOR EACH STATEMENT EXECUTE FUNCTION note();
"""


@pytest.fixture(autouse=True)
async def nothing_left(db, outside):
    """No load leaves a staging table."""
    yield
    assert await outside.fetchval(TABLES) == 0


async def waiting(outside, number):
    """Wait until so many sessions wait for the table."""
    sql = "SELECT count(*) FROM pg_locks WHERE relation = 'one'::regclass AND NOT granted"
    while await outside.fetchval(sql) < number:  # noqa: ASYNC110 - it is another process
        await asyncio.sleep(0.01)


def numbers(count, first=0):
    return [(n,) for n in range(first, first + count)]


def forms(count):
    return {
        "list": numbers(count),
        "iterator": iter(numbers(count)),
        "arrow": pa.table({"n": pa.array(range(count), pa.int32())}),
    }


@pytest.mark.parametrize("form", ["list", "iterator", "arrow"])
@pytest.mark.parametrize("atomic", [True, False])
async def test_all_rows_arrive_once(db, outside, count, form, atomic):
    seen = []
    result = await db.bulk_insert(
        "one",
        forms(25_500)[form],
        columns=COLUMNS,
        batch_size=1_000,
        atomic=atomic,
        lanes=4,
        progress=seen.append,
    )
    assert (result.rows, result.batches) == (25_500, 26)
    assert await count("one") == 25_500
    assert seen[-1] == 25_500
    assert seen == sorted(seen)


async def test_async_rows(db, count, as_async):
    await db.bulk_insert("one", as_async(numbers(2_500)), columns=COLUMNS, batch_size=400, lanes=3)
    assert await count("one") == 2_500


async def test_several_connections_load(db, outside):
    await outside.execute(LOG)
    # Each lane has to wait for the table before any can go on.
    async with outside.transaction():
        await outside.execute("LOCK TABLE one IN SHARE MODE")
        load = asyncio.create_task(
            db.bulk_insert(
                "one", numbers(40), columns=COLUMNS, batch_size=10, lanes=4, atomic=False
            )
        )
        await waiting(outside, 4)
    await load
    assert await outside.fetchval(BACKENDS) == 4


async def test_all_or_nothing_is_one_statement(db, outside):
    await outside.execute(LOG)
    await db.bulk_insert("one", numbers(5_000), columns=COLUMNS, batch_size=500, lanes=3)
    assert await outside.fetchval("SELECT count(*) FROM one_log") == 1


@pytest.mark.parametrize("atomic", [True, False])
async def test_a_bad_value_names_its_row(db, outside, count, atomic):
    rows = [*numbers(3_000), ("x",), *numbers(3_000, first=3_001)]
    with pytest.raises(BulkValueError) as caught:
        await db.bulk_insert("one", rows, columns=COLUMNS, batch_size=500, lanes=3, atomic=atomic)
    assert (caught.value.row, caught.value.column) == (3_000, "n")
    kept = await count("one")
    if atomic:
        assert kept == 0
    else:
        # What the note says is what is there.
        note = next(note for note in caught.value.__notes__ if "committed" in note)
        told = note.split("the rows ")[1].split(", counted")[0]
        spans = [tuple(map(int, part.split("-"))) for part in told.split(", ")]
        found = [row[0] for row in await outside.fetch("SELECT n FROM one ORDER BY n")]
        assert found == [n for low, high in spans for n in range(low, high + 1)]


async def test_a_constraint_refuses_all(db, outside, count):
    await outside.execute("INSERT INTO one VALUES (1500)")
    with pytest.raises(UniqueViolation):
        await db.bulk_insert("one", numbers(3_000), columns=COLUMNS, batch_size=500, lanes=3)
    assert await count("one") == 1


async def test_rows_that_fail_are_told_as_they_are(db, count):
    def rows():
        yield from numbers(2_000)
        raise LookupError("the file ended")

    with pytest.raises(LookupError, match="the file ended"):
        await db.bulk_insert("one", rows(), columns=COLUMNS, batch_size=300, lanes=3)
    assert await count("one") == 0


async def _blocked(outside, db, **options):
    """Start a load whose last step cannot go on; the task once it waits."""
    load = asyncio.create_task(
        db.bulk_insert("one", numbers(4_000), columns=COLUMNS, batch_size=500, lanes=3, **options)
    )
    await waiting(outside, 1)
    return load


async def test_cancelled_while_rows_are_moved(db, outside, count):
    async with outside.transaction():
        await outside.execute("LOCK TABLE one IN SHARE MODE")
        load = await _blocked(outside, db)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        assert await outside.fetchval(TABLES) == 0
    assert await count("one") == 0


async def test_cancelled_while_rows_are_staged(db, count, outside):
    started = asyncio.Event()

    async def rows():
        for row in numbers(1_000):
            yield row
        started.set()
        await asyncio.Event().wait()

    load = asyncio.create_task(
        db.bulk_insert("one", rows(), columns=COLUMNS, batch_size=100, lanes=3)
    )
    await started.wait()
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    assert await outside.fetchval(TABLES) == 0
    assert await count("one") == 0


async def test_the_deadline_undoes_all(db, outside, count):
    async def rows():
        for row in numbers(1_000):
            yield row
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded) as caught, deadline(1.0):
        await db.bulk_insert("one", rows(), columns=COLUMNS, batch_size=100, lanes=3)
    assert not caught.value.outcome_unknown
    assert await outside.fetchval(TABLES) == 0
    assert await count("one") == 0


KILL = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'one'::regclass AND NOT granted"


async def test_a_lost_connection_starts_again_with_rows_in_hand(db, outside, count):
    async with outside.transaction():
        await outside.execute("LOCK TABLE one IN SHARE MODE")
        load = await _blocked(outside, db)
        await outside.execute(KILL)
    assert (await load).rows == 4_000
    assert await count("one") == 4_000


async def test_a_lost_connection_with_rows_that_are_gone(db, outside, count):
    async with outside.transaction():
        await outside.execute("LOCK TABLE one IN SHARE MODE")
        load = asyncio.create_task(
            db.bulk_insert("one", iter(numbers(900)), columns=COLUMNS, batch_size=300, lanes=3)
        )
        await waiting(outside, 1)
        await outside.execute(KILL)
        with pytest.raises(ConnectionLost) as caught:
            await load
    assert caught.value.retry_safe
    assert await count("one") == 0


async def test_a_staging_table_that_was_emptied_loses_nothing(db, outside, count):
    # As after a crash of the server, which empties unlogged tables.
    async with outside.transaction():
        await outside.execute("LOCK TABLE one IN SHARE MODE")
        load = asyncio.create_task(
            db.bulk_insert("one", iter(numbers(900)), columns=COLUMNS, batch_size=300, lanes=3)
        )
        await waiting(outside, 1)
        stage = await outside.fetchval(
            "SELECT relname FROM pg_class WHERE relname LIKE 'aurora_sql_load%'"
        )
        await outside.execute(f'DELETE FROM "{stage}" WHERE n < 300')
    with pytest.raises(ConnectionLost, match="600 of 900"):
        await load
    assert await count("one") == 0


@pytest.mark.parametrize("lanes", [0, -1, True, 1.5, 65, "4"])
async def test_lanes_that_make_no_sense(db, lanes):
    with pytest.raises(ParameterError, match="lanes must be"):
        await db.bulk_insert("one", numbers(1), columns=COLUMNS, lanes=lanes)


async def test_not_in_a_transaction(db):
    async with db.transaction() as tx:
        with pytest.raises(ParameterError, match="lanes=2"):
            await tx.bulk_insert("one", numbers(1), columns=COLUMNS, lanes=2)


async def test_no_rows(db):
    assert (await db.bulk_insert("one", [], columns=COLUMNS, lanes=3)).rows == 0
