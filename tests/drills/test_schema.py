"""Drills 23 and 24: the schema changes under load; errors are swallowed, sessions come back dirty."""

import asyncio
from contextlib import suppress

import asyncpg
import pytest

from aurora_sql import DatabaseError, TransactionAborted, UniqueViolation
from tests.drills.ledger import QUESTIONS
from tests.drills.load import EVERY_KIND, bulk, replayed, under_load

CHANGES = [
    "ALTER TABLE ledger ADD COLUMN note text NOT NULL DEFAULT 'none'",
    "ALTER TABLE ledger ALTER COLUMN caller TYPE bigint",
    "ALTER TABLE counters ADD COLUMN note text",
    "ALTER TABLE counters ALTER COLUMN value TYPE bigint",
    "CREATE INDEX ledger_caller ON ledger (caller)",
    "ALTER TABLE ledger DROP COLUMN note",
    "ALTER TABLE ledger ALTER COLUMN caller TYPE int",
    "ALTER TABLE counters DROP COLUMN note",
    "ALTER TABLE counters ALTER COLUMN value TYPE int",
    "DROP INDEX ledger_caller",
]


async def read_all(db, ledger, caller, limit=10.0):
    """A result whose columns change."""
    with ledger.call(limit):
        rows = await db.fetch_all("SELECT * FROM counters ORDER BY id")
        assert [row.id for row in rows] == list(range(1, 9))


async def write_all(db, ledger, caller, limit=10.0):
    """The same, of a write: nothing may be written by the attempt that was refused."""
    with ledger.unit(limit) as number:
        row = await db.fetch_one(
            "INSERT INTO ledger (id, caller) VALUES (:id, :caller) RETURNING *",
            {"id": number, "caller": -1 - caller},
        )
        assert row.id == number


async def in_transaction(db, ledger, caller, limit=10.0):
    async def work(tx, number):
        assert len(await tx.fetch_all("SELECT * FROM counters")) == 8
        await tx.sql.ledger.count_up(id=1 + number % 8)
        await tx.sql.ledger.add(id=number, caller=caller)

    with ledger.unit(limit) as number:
        await db.run_in_transaction(work, number)


async def test_the_schema_changes(opened, outside, markers, check, length, rng, ledger):
    """Prepared statements go stale, plans and results change; no caller sees an error."""
    ledger.most_retries = QUESTIONS
    works = [*EVERY_KIND, read_all, write_all, in_transaction, bulk]
    # A change and the load can lock each other out: more of that than calls have retries by default.
    async with (
        opened(max_retry_count=10, retry_budget=0) as db,
        under_load(db, ledger, *works, callers=14),
    ):
        for _ in range(length(2, 40)):
            for change in CHANGES:
                await asyncio.sleep(rng.uniform(0.02, 0.1))
                await alter(outside, change)
                ledger.faults += 1
    await check()


async def alter(outside, change):
    """Make a change, again where it loses against the load."""
    while True:
        try:
            await outside.execute(f"SET lock_timeout = '500ms'; {change}")
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(0.01)
        else:
            return


async def test_a_swallowed_error(opened, outside, markers, check, length, ledger):
    """The server has given the transaction up; a COMMIT that it answers by ROLLBACK is no success."""
    await outside.execute("CREATE TABLE IF NOT EXISTS taken (id int PRIMARY KEY)")
    await outside.execute("INSERT INTO taken VALUES (1) ON CONFLICT DO NOTHING")

    async def work(tx, number, guarded):
        await tx.sql.ledger.count_up(id=1)
        await tx.sql.ledger.add(id=number, caller=0)
        with suppress(UniqueViolation):
            if guarded:
                async with tx.savepoint():
                    await tx.execute("INSERT INTO taken VALUES (1)")
            else:
                await tx.execute("INSERT INTO taken VALUES (1)")

    async def swallowing(db, ledger, caller, limit):
        with pytest.raises(TransactionAborted), ledger.unit(limit) as number:
            async with db.transaction() as tx:
                await work(tx, number, guarded=False)

    async def again(db, ledger, caller, limit):
        """It would be swallowed again each time: the attempts end."""
        with pytest.raises(TransactionAborted), ledger.unit(limit) as number:
            await db.run_in_transaction(work, number, guarded=False)

    async def guarded(db, ledger, caller, limit):
        with ledger.unit(limit) as number:
            await db.run_in_transaction(work, number, guarded=True)

    async with opened() as db, under_load(db, ledger, swallowing, again, guarded, replayed):
        await asyncio.sleep(length(0.7, 20))
    ledger.faults = len(ledger.read().refused)
    assert ledger.faults
    await check()


DIRT = [
    "SET search_path = pg_catalog",
    "SET statement_timeout = 7777",
    "SELECT set_config('work_mem', '64kB', false)",
    "CREATE TEMP TABLE counters (id int)",
    "SELECT pg_advisory_lock(4711)",
    "LISTEN drill",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET ROLE pg_monitor",
    "DO $$ BEGIN PERFORM set_config('timezone', 'Asia/Tokyo', false); END $$",
    "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
]
CLEAN = """
SELECT concat_ws(', ', current_user = session_user, to_regclass('pg_temp.counters') IS NULL,
    current_setting('search_path') <> 'pg_catalog', current_setting('timezone') = 'UTC',
    current_setting('default_transaction_read_only') = 'off',
    current_setting('work_mem') <> '64kB', current_setting('statement_timeout') <> '7777ms',
    NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
    NOT EXISTS (SELECT FROM pg_listening_channels()),
    NOT EXISTS (SELECT FROM pg_cursors WHERE is_holdable))
"""


async def test_sessions_come_back_dirty(opened, markers, check, length, rng, ledger):
    """Whatever a caller leaves in its session, the next one finds none of it."""

    async def soil(db, ledger, caller, limit):
        with (
            suppress(DatabaseError),
            ledger.call(limit),
        ):  # some want a transaction, some refuse one
            async with db.transaction() as tx:
                for dirt in rng.sample(DIRT, 3):
                    await tx.execute(dirt)
        ledger.faults += 1

    async def inspect(db, ledger, caller, limit):
        with ledger.call(limit):
            assert set((await db.fetch_value(CLEAN)).split(", ")) == {"t"}

    async with opened(max_pool_size=4) as db, under_load(db, ledger, soil, inspect, replayed):
        await asyncio.sleep(length(1.0, 20))
    await check()
