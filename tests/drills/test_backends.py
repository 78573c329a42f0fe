"""Drills 2 and 4: single processes of the server are killed, told to end, and frozen."""

import asyncio
import os
import signal
from contextlib import suppress

import asyncpg
import pytest

from aurora_sql import CommitInDoubt
from tests.drills.ledger import QUESTIONS
from tests.drills.load import (
    EVERY_KIND,
    is_entry,
    place,
    read,
    replayed,
    under_load,
)

DAWDLE = (
    "CREATE OR REPLACE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$;"
    "CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON ledger"
    " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.id >= 1000) EXECUTE FUNCTION dawdle()"
)


@pytest.mark.not_on("mysql", "mariadb", because="a session is a thread: none can be killed alone")
async def test_a_backend_is_killed(opened, look, markers, check, length, rng, ledger):
    """Killed by -9, it takes all others with it: the server restarts them and recovers."""
    ledger.most_retries = QUESTIONS
    async with opened() as db, under_load(db, ledger, *EVERY_KIND, limit=20.0):
        for _ in range(length(3, 40)):
            await asyncio.sleep(0.5)
            async with look() as outside:
                pids = await outside.fetch(
                    f"SELECT pid {outside.sessions} ORDER BY random() LIMIT 1"
                )
            for (pid,) in pids:
                os.kill(pid, signal.SIGKILL)
                ledger.faults += 1
            await recovered(look)
            pause = ledger.acknowledgements
            async with asyncio.timeout(20):
                while ledger.acknowledgements < pause + 20:  # noqa: ASYNC110 - the load itself
                    await asyncio.sleep(0.02)
    assert ledger.faults
    await check()


async def recovered(look):
    """Wait until the server takes connections again; it may not have noticed yet."""
    await asyncio.sleep(0.1)
    async with asyncio.timeout(20):
        while True:
            with suppress(asyncpg.PostgresError, OSError):
                async with look():
                    return
            await asyncio.sleep(0.02)


async def test_sessions_are_terminated(opened, outside, markers, check, length, rng, ledger):
    ledger.most_retries = QUESTIONS
    # Each kill of many hits some transaction; the default number of retries is not the point here.
    async with (
        opened(max_retry_count=10, retry_budget=0) as db,
        under_load(db, ledger, *EVERY_KIND),
    ):
        for _ in range(length(20, 600)):
            await asyncio.sleep(rng.uniform(0.02, 0.1))
            ledger.faults += await outside.end_sessions(rng.randint(1, 4))
    await check()


@pytest.mark.not_on("mysql", "mariadb", because="a session is a thread: none can be stopped alone")
@pytest.mark.parametrize("outcome", ["in time", "too late"])
async def test_a_backend_stops_in_commit(opened, outside, markers, check, ledger, outcome):
    """It goes on where it was; whoever could not wait for it was told of the doubt in time."""
    await outside.execute(DAWDLE)
    committing = f"SELECT pid {outside.sessions} AND query = 'COMMIT' AND state = 'active'"

    async def stopped(db, limit):
        with ledger.unit(limit, 1000):
            return await db.run_in_transaction(place, 1000, 0)

    async with opened() as db, under_load(db, ledger, read, callers=2):
        task = asyncio.create_task(stopped(db, 10.0 if outcome == "in time" else 1.0))
        async with asyncio.timeout(5):
            while (pid := await outside.fetchval(committing)) is None:  # noqa: ASYNC110 - polls a server
                await asyncio.sleep(0.005)
        os.kill(pid, signal.SIGSTOP)
        ledger.faults += 1
        try:
            if outcome == "in time":
                await asyncio.sleep(0.6)
            else:
                with pytest.raises(CommitInDoubt):
                    await task
            # The others do not notice.
            await replayed(db, ledger, 1)
        finally:
            os.kill(pid, signal.SIGCONT)
        if outcome == "in time":
            assert is_entry(await task, 1000, 0)
    await check()
    assert await outside.fetchval("SELECT count(*) FROM ledger WHERE id = 1000") == 1
