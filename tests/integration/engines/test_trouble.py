"""Streams that are left, connections that die, time that runs out: the same on each server."""

from __future__ import annotations

import asyncio

import pytest

from aurora_sql import (
    AuroraError,
    CommitResolved,
    ConnectionLost,
    DeadlineExceeded,
    PoolTimeout,
    RetryScheduled,
    StatementFinished,
    TransactionAborted,
    UsageError,
    deadline,
)

NAPS = {True: "sleep(5) = 0", False: "pg_sleep(5)::text = ''"}
WHO = {True: "SELECT CONNECTION_ID()", False: "SELECT pg_backend_pid()"}
ASLEEP = {
    True: (
        "SELECT count(*) FROM information_schema.processlist WHERE id = {} AND state = 'User sleep'"
    ),
    False: "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND wait_event = 'PgSleep'",
}
END = {True: "KILL {}", False: "SELECT pg_terminate_backend({})"}


@pytest.fixture
async def one(opened, at_rest):
    """A database with one connection: whoever does not give it back is noticed by the next."""
    told = []
    async with opened(observers=[told.append], max_pool_size=1, enable_read_replicas=False) as db:
        db.told = told
        yield db
        assert len(await db.sql.accounts.everyone()) == 10
        await at_rest(db)


class _Mine(Exception):
    pass


@pytest.mark.parametrize("rows", [0, 1, 4, 9, 10])
async def test_a_stream_that_is_left_gives_its_connection_back(one, rows):
    async def read(source, *, how=None):
        seen = []
        async with source.stream("SELECT id FROM accounts ORDER BY id", batch_size=4) as stream:
            async for row in stream:
                if len(seen) == rows:
                    break
                seen.append(row.id)
            if how is _Mine:
                raise _Mine
            if how is not None:
                how.set()
                await asyncio.sleep(30)
        return seen

    expected = list(range(1, rows + 1))
    assert await read(one) == expected
    assert await one.sql.accounts.how_many() == 10
    with pytest.raises(_Mine):
        await read(one, how=_Mine)
    assert await one.sql.accounts.how_many() == 10
    reached = asyncio.Event()
    task = asyncio.create_task(read(one, how=reached))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await one.sql.accounts.how_many() == 10
    async with one.transaction() as tx:
        assert await read(tx) == expected
        assert await tx.sql.accounts.deposit(id=1, amount=1) == 1
        with pytest.raises(_Mine):
            await read(tx, how=_Mine)
        assert await tx.sql.accounts.deposit(id=1, amount=1) == 1
    assert (await one.sql.accounts.get(id=1)).balance == 102


async def test_a_stream_outlives_neither_its_transaction_nor_its_time(one):
    async with one.transaction() as tx:
        stream = tx.stream("SELECT id FROM accounts ORDER BY id", batch_size=2)
        assert (await anext(aiter(stream))).id == 1
    with pytest.raises(AuroraError):
        [row async for row in stream]
    with pytest.raises(DeadlineExceeded), deadline(0.3):
        many = ", ".join(f"accounts a{n}" for n in range(7))
        [row async for row in one.stream(f"SELECT a0.id FROM {many}", batch_size=50)]


async def kill(outside, on_mysql, session):
    await outside.connection.execute(END[on_mysql].format(session))


async def kill_asleep(outside, on_mysql, session):
    """End a session as soon as it naps."""
    async with asyncio.timeout(10):
        while not await outside.value(ASLEEP[on_mysql].format(session)):  # noqa: ASYNC110 - asks a server
            await asyncio.sleep(0.01)
    await kill(outside, on_mysql, session)


async def test_a_read_whose_connection_dies_runs_again_and_a_write_does_not(one, outside, on_mysql):
    session = await one.fetch_value(WHO[on_mysql])
    one.told.clear()
    killer = asyncio.create_task(kill_asleep(outside, on_mysql, session))
    await one.sql.accounts.sleep(seconds=0.5)
    await killer
    (finished,) = (event for event in one.told if isinstance(event, StatementFinished))
    assert (finished.attempts, finished.error) == (2, None)
    session = await one.fetch_value(WHO[on_mysql])
    one.told.clear()
    killer = asyncio.create_task(kill_asleep(outside, on_mysql, session))
    with pytest.raises(ConnectionLost) as caught:
        await one.execute(
            f"UPDATE accounts SET balance = balance + 1 WHERE id = 1 AND {NAPS[on_mysql]}"
        )
    await killer
    assert caught.value.outcome_unknown
    assert not [event for event in one.told if isinstance(event, RetryScheduled)]
    assert (await one.sql.accounts.get(id=1)).balance == 100


@pytest.mark.parametrize("where", ["at the beginning", "in the middle", "at the end"])
async def test_a_transaction_whose_connection_dies_runs_again(one, outside, on_mysql, where):
    attempts = []

    async def work(tx):
        attempts.append(len(attempts))
        session = await tx.fetch_value(WHO[on_mysql])
        if where == "at the beginning" and len(attempts) == 1:
            await kill(outside, on_mysql, session)
        await tx.sql.accounts.deposit(id=1, amount=1)
        if where == "in the middle" and len(attempts) == 1:
            await kill(outside, on_mysql, session)
        await tx.sql.accounts.deposit(id=2, amount=-1)
        if where == "at the end" and len(attempts) == 1:
            await kill(outside, on_mysql, session)
            await asyncio.sleep(0.1)  # it is known then, before COMMIT could be sent
        return len(attempts)

    assert await one.run_in_transaction(work) == 2
    assert not [event for event in one.told if isinstance(event, CommitResolved)]
    balances = await outside.rows("SELECT balance FROM accounts WHERE id < 3 ORDER BY id")
    assert balances == [(101,), (99,)]


async def test_the_time_of_a_transaction_runs_out(one):
    with pytest.raises(DeadlineExceeded) as caught:
        async with one.transaction(timeout=0.3) as tx:
            await tx.sql.accounts.deposit(id=1, amount=1)
            await tx.sql.accounts.sleep(seconds=30)
    assert caught.value.retry_safe
    with pytest.raises(DeadlineExceeded) as caught:
        async with one.transaction(timeout=0.2) as tx:
            await tx.sql.accounts.deposit(id=1, amount=1)
            await asyncio.sleep(0.3)
    assert caught.value.retry_safe
    assert (await one.sql.accounts.get(id=1)).balance == 100
    async with one.transaction() as tx:
        await tx.sql.accounts.deposit(id=1, amount=1)
        with pytest.raises(DeadlineExceeded):
            async with tx.savepoint():
                await tx.sql.accounts.deposit(id=1, amount=10)
                with deadline(0.2):
                    await tx.sql.accounts.sleep(seconds=30)
        await tx.sql.accounts.deposit(id=1, amount=2)
    assert (await one.sql.accounts.get(id=1)).balance == 103
    with pytest.raises(TransactionAborted):
        async with one.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=1)
            with pytest.raises(DeadlineExceeded), deadline(0.2):
                await tx.sql.accounts.sleep(seconds=30)
    assert (await one.sql.accounts.get(id=1)).balance == 103


async def test_tasks_that_share_a_transaction_are_told_apart(one):
    async with one.transaction() as tx:
        results = await asyncio.gather(
            tx.sql.accounts.sleep(seconds=0.1),
            tx.sql.accounts.deposit(id=1, amount=1),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), UsageError]
        await tx.sql.accounts.deposit(id=1, amount=5)
    assert (await one.sql.accounts.get(id=1)).balance == 105
    with pytest.raises(UsageError, match="still using it"):
        async with one.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=1)
            # The server notices only when the nap is over, and keeps its locks until then.
            task = asyncio.create_task(tx.sql.accounts.sleep(seconds=0.5))
            await asyncio.sleep(0.05)
    with pytest.raises(AuroraError):
        await task
    assert (await one.sql.accounts.get(id=1)).balance == 105


async def test_who_waits_for_a_connection_waits_no_longer_than_he_has(one, opened):
    async with one.transaction() as tx:
        await tx.sql.accounts.deposit(id=1, amount=1)
        for call in (
            lambda: one.sql.accounts.get(id=1),
            lambda: one.run_in_transaction(lambda tx: tx.sql.accounts.get(id=1)),
            lambda: one.bulk_insert("accounts", [(99, "late")], columns=["id", "owner"]),
            lambda: one.sql.accounts.add_many([{"id": 99, "owner": "late", "balance": 1}]),
        ):
            with pytest.raises(DeadlineExceeded) as caught, deadline(0.1):
                await call()
            assert caught.value.retry_safe
    async with opened(max_pool_size=1, enable_read_replicas=False, connection_timeout=0.2) as db:
        async with db.transaction() as tx:
            await tx.sql.accounts.get(id=1)
            with pytest.raises(PoolTimeout):
                await db.sql.accounts.get(id=1)
        assert (await db.sql.accounts.get(id=1)).balance == 101
