"""COMMIT that fails, is lost, or is never answered."""

import asyncio
import contextlib

import pytest

from aurora_sql import (
    CommitAbandoned,
    CommitInDoubt,
    DeadlineExceeded,
    ForeignKeyViolation,
    QueryCancelled,
    deadline,
)

DAWDLE = """
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER dawdle AFTER UPDATE ON accounts
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle();
"""


async def commit_has_begun(outside):
    """Wait until a session is in the trigger that runs at COMMIT."""
    asked = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event = 'PgSleep'"
    )
    while not await outside.fetchval(asked):  # noqa: ASYNC110 - the server sends no event
        await asyncio.sleep(0.01)


async def kill_all(outside):
    await outside.execute(
        "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@contextlib.asynccontextmanager
async def paused(cluster, which):
    await cluster.pause(which)
    try:
        yield
    finally:
        await cluster.resume(which)


async def test_a_deferred_constraint_fails_at_commit(db, outside, at_rest):
    await outside.execute(
        "CREATE TABLE notes (account bigint REFERENCES accounts DEFERRABLE INITIALLY DEFERRED)"
    )
    calls = 0

    async def work(tx):
        nonlocal calls
        calls += 1
        await tx.execute("INSERT INTO notes VALUES (99)")

    with pytest.raises(ForeignKeyViolation) as raised:
        await db.run_in_transaction(work)
    assert not raised.value.outcome_unknown
    assert calls == 1
    assert await outside.fetchval("SELECT count(*) FROM notes") == 0
    await at_rest(db)


async def test_a_backend_killed_during_commit_leaves_the_outcome_in_doubt(
    db, outside, balance, at_rest
):
    await outside.execute(DAWDLE.format(seconds=5))
    calls = 0

    async def work(tx):
        nonlocal calls
        calls += 1
        await tx.sql.accounts.deposit(id=1, amount=5)

    task = asyncio.create_task(db.run_in_transaction(work))
    await commit_has_begun(outside)
    await kill_all(outside)
    with pytest.raises(CommitInDoubt) as raised:
        await task
    assert raised.value.outcome_unknown
    assert calls == 1
    assert await balance() == 100
    await at_rest(db)


async def test_the_server_s_time_limit_does_not_bound_commit(opened, outside, balance, at_rest):
    """Whatever the server makes of its limit: what is acknowledged is applied, the rest is not."""
    await outside.execute(DAWDLE.format(seconds=0.4))
    async with opened() as db:
        expected = 100
        with contextlib.suppress(QueryCancelled):
            async with db.transaction() as tx:
                await tx.sql.accounts.deposit(id=1, amount=5)
                await tx.execute("SET LOCAL statement_timeout = '100ms'")
            expected = 105
        await at_rest(db)
        assert await balance() == expected


async def test_a_server_that_stands_still_during_commit(
    opened, outside, balance, at_rest, aurora_cluster
):
    await outside.execute(DAWDLE.format(seconds=0.3))
    events = []
    async with opened(max_pool_size=2, observers=[events.append]) as db:

        async def work():
            with deadline(0.8):
                async with db.transaction() as tx:
                    await tx.sql.accounts.deposit(id=1, amount=5)

        started = asyncio.get_running_loop().time()
        task = asyncio.create_task(work())
        await commit_has_begun(outside)
        async with paused(aurora_cluster, "writer"):
            with pytest.raises(CommitInDoubt):
                await task
            assert asyncio.get_running_loop().time() - started < 3
        await at_rest(db, 15)
        assert await balance() in {100, 105}
        instances = [one.instance for one in events if isinstance(one, CommitAbandoned)]
        assert instances == [db.topology.writer.id]
        assert await db.sql.accounts.balance(id=2) == 100


async def test_a_caller_cancelled_while_the_server_stands_still_in_commit(
    opened, outside, at_rest, aurora_cluster
):
    await outside.execute(DAWDLE.format(seconds=0.3))
    events = []
    async with opened(max_pool_size=2, observers=[events.append]) as db:

        async def work():
            with deadline(1.0):
                async with db.transaction() as tx:
                    await tx.sql.accounts.deposit(id=1, amount=5)

        task = asyncio.create_task(work())
        await commit_has_begun(outside)
        async with paused(aurora_cluster, "writer"):
            task.cancel()
            done, _ = await asyncio.wait((task,), timeout=5)
            assert done
            assert task.cancelled()
        assert [one.cancelled for one in events if isinstance(one, CommitAbandoned)] == [True]
        await at_rest(db, 15)


async def test_a_server_that_stands_still_holds_nobody_longer_than_its_deadline(
    opened, at_rest, aurora_cluster
):
    async with opened(max_pool_size=3) as db:
        await db.sql.accounts.deposit(id=1, amount=1)
        loop = asyncio.get_running_loop()

        async def read():
            with deadline(0.5):
                await db.sql.accounts.get(id=1)

        async def write():
            with deadline(0.5):
                await db.sql.accounts.deposit(id=1, amount=1)

        async def transact():
            with deadline(0.5):
                async with db.transaction() as tx:
                    await tx.sql.accounts.deposit(id=1, amount=1)

        async def stream():
            with deadline(0.5):
                async for _ in db.sql.accounts.all.stream():
                    pass

        async with paused(aurora_cluster, "writer"):
            started = loop.time()
            found = await asyncio.gather(
                *(one() for one in (read, write, transact, stream) for _ in range(3)),
                return_exceptions=True,
            )
            assert all(isinstance(one, DeadlineExceeded) for one in found), found
            health = await db.health(timeout=0.3)
            assert not health.can_write
            assert loop.time() - started < 4
        await at_rest(db, 15)
        assert (await db.sql.accounts.get(id=1)).id == 1
