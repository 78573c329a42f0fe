"""Drills 23 and 24: the schema changes under load; errors are swallowed, sessions come back dirty."""

import asyncio
from contextlib import suppress

import aiomysql
import asyncpg
import pytest

from aurora_sql import (
    AuroraError,
    DatabaseError,
    Deadlock,
    LockTimeout,
    TransactionAborted,
    UniqueViolation,
)
from aurora_sql.types import Engine
from tests.drills.ledger import QUESTIONS
from tests.drills.load import EVERY_KIND, bulk, replayed, under_load

CHANGES = {
    "postgresql": [
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
    ],
    "mysql": [
        "ALTER TABLE ledger ADD COLUMN note varchar(9) NOT NULL DEFAULT 'none'",
        "ALTER TABLE ledger MODIFY caller bigint NOT NULL",
        "ALTER TABLE counters ADD COLUMN note text",
        "ALTER TABLE counters MODIFY value bigint NOT NULL",
        "CREATE INDEX ledger_caller ON ledger (caller)",
        "ALTER TABLE ledger DROP COLUMN note",
        "ALTER TABLE ledger MODIFY caller int NOT NULL",
        "ALTER TABLE counters DROP COLUMN note",
        "ALTER TABLE counters MODIFY value int NOT NULL",
        "DROP INDEX ledger_caller ON ledger",
    ],
}


async def read_all(db, ledger, caller, limit=10.0):
    """A result whose columns change."""
    with ledger.call(limit):
        rows = await db.fetch_all("SELECT * FROM counters ORDER BY id")
        assert [row.id for row in rows] == list(range(1, 9))


async def write_all(db, ledger, caller, limit=10.0):
    """The same, of a write: nothing may be written by the attempt that was refused."""
    with ledger.unit(limit) as number:
        if db._shared.cluster.engine is Engine.MYSQL:  # it has no RETURNING
            assert await db.sql.ledger.add(id=number, caller=-1 - caller) == 1
            return
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


async def test_the_schema_changes(server, opened, outside, markers, check, length, rng, ledger):
    """Prepared statements go stale, plans and results change; no caller sees an error."""
    ledger.most_retries = QUESTIONS
    works = [*EVERY_KIND, read_all, write_all, in_transaction, bulk]
    # A change and the load can lock each other out: more of that than calls have retries by default.
    async with (
        opened(max_retry_count=10, retry_budget=0) as db,
        under_load(db, ledger, *works, callers=14),
    ):
        for _ in range(length(2, 40)):
            for change in CHANGES[server.engine]:
                await asyncio.sleep(rng.uniform(0.02, 0.1))
                await alter(outside, change)
                ledger.faults += 1
    await check()


LOCK_TIMEOUT = {Engine.POSTGRESQL: "lock_timeout = '500ms'", Engine.MYSQL: "lock_wait_timeout = 1"}


async def alter(outside, change):
    """Make a change, again where it loses against the load."""
    await outside.execute(f"SET {LOCK_TIMEOUT[outside.engine]}")
    while True:
        try:
            await outside.execute(change)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(0.01)
        except aiomysql.OperationalError as error:
            if error.args[0] not in {1205, 1213}:
                raise
            await asyncio.sleep(0.01)
        else:
            return


async def test_a_swallowed_error(opened, outside, markers, check, length, ledger):
    """The server has given the transaction up; a COMMIT that it answers by ROLLBACK is no success."""
    await outside.execute("CREATE TABLE IF NOT EXISTS taken (id int PRIMARY KEY)")
    await outside.execute("DELETE FROM taken")
    await outside.execute("INSERT INTO taken VALUES (1)")

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


@pytest.mark.not_on(
    "postgresql", because="there the server itself runs nothing more after any error"
)
@pytest.mark.parametrize("conflict", [Deadlock, LockTimeout])
async def test_a_swallowed_conflict(opened, outside, markers, check, ledger, conflict):
    """The server undid all of it, or one statement; what comes after would be applied without."""
    waiting = []

    async def work(tx, number):
        await tx.sql.ledger.count_up(id=1)
        await tx.sql.ledger.add(id=number, caller=0)
        if conflict is Deadlock:
            sql = "UPDATE counters SET value = value + 1 WHERE id = 1"
            waiting.append(asyncio.create_task(outside.execute(sql)))
            await asyncio.sleep(0.2)
        try:
            await tx.sql.ledger.count_up(id=5)
        except conflict:
            ledger.faults += 1
        with suppress(AuroraError):
            await tx.sql.ledger.add(id=number, caller=0)

    await outside.execute("SET GLOBAL innodb_lock_wait_timeout = 1")  # of later sessions
    try:
        async with opened() as db:
            for _ in range(3):
                await outside.execute("START TRANSACTION")
                await outside.execute("UPDATE counters SET value = value + 1 WHERE id > 1")
                with pytest.raises(TransactionAborted), ledger.unit() as number:
                    async with db.transaction() as tx:
                        await work(tx, number)
                await asyncio.gather(*waiting)
                await outside.execute("ROLLBACK")
                await replayed(db, ledger, 0)
    finally:
        await outside.execute("SET GLOBAL innodb_lock_wait_timeout = DEFAULT")
    assert ledger.faults == 3
    await check()


DIRT = {
    "postgresql": [
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
    ],
    "mysql": [
        "SET SESSION time_zone = '+09:00'",
        "SET SESSION sql_mode = ''",
        "SET @found = 'dirt'",
        "SET SESSION lock_wait_timeout = 7777, SESSION sort_buffer_size = 65536",
        "CREATE TEMPORARY TABLE ledger (id int)",
        "SELECT get_lock('drill', 5)",
        "SET SESSION TRANSACTION READ ONLY",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
        "SET SESSION div_precision_increment = 9",
        "SELECT 1 INTO @found",
    ],
}
# Each column is true.
CLEAN = {
    "postgresql": """
SELECT current_user = session_user, to_regclass('pg_temp.counters') IS NULL,
    current_setting('search_path') <> 'pg_catalog', current_setting('timezone') = 'UTC',
    current_setting('default_transaction_read_only') = 'off',
    current_setting('work_mem') <> '64kB', current_setting('statement_timeout') <> '7777ms',
    NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
    NOT EXISTS (SELECT FROM pg_listening_channels()),
    NOT EXISTS (SELECT FROM pg_cursors WHERE is_holdable)
""",
    "mysql": """
SELECT @@time_zone = '+00:00', @@sql_mode LIKE '%STRICT_TRANS_TABLES%', @found IS NULL,
    @@lock_wait_timeout <> 7777, @@sort_buffer_size <> 65536,
    (SELECT count(caller) FROM ledger WHERE id = -1) = 0,
    coalesce(is_used_lock('drill'), 0) <> connection_id(), NOT @@transaction_read_only,
    @@transaction_isolation = 'REPEATABLE-READ', @@div_precision_increment <> 9
""",
}


async def test_sessions_come_back_dirty(server, opened, markers, check, length, rng, ledger):
    """Whatever a caller leaves in its session, the next one finds none of it."""

    clean = CLEAN[server.engine]
    if server.name == "mariadb":
        clean = clean.replace("@@transaction_", "@@tx_")

    async def soil(db, ledger, caller, limit):
        with (
            suppress(DatabaseError),
            ledger.call(limit),
        ):  # some want a transaction, some refuse one
            async with db.transaction() as tx:
                for dirt in rng.sample(DIRT[server.engine], 3):
                    await tx.execute(dirt)
        ledger.faults += 1

    async def inspect(db, ledger, caller, limit):
        with ledger.call(limit):
            assert all(await db.fetch_one(clean))

    async with opened(max_pool_size=4) as db, under_load(db, ledger, soil, inspect, replayed):
        await asyncio.sleep(length(1.0, 20))
    await check()
