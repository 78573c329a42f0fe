"""Connections that die: what is sent again, and what never is."""

import asyncio
import time

import pytest

from aurora_sql import ConnectionLost


async def test_a_read_whose_connection_dies_is_sent_again(db, outside):
    task = asyncio.create_task(db.sql.accounts.slow(seconds=0.5))
    await asyncio.sleep(0.2)
    await outside.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep($1)%'"
        " AND pid <> pg_backend_pid()"
    )
    assert await task == 1


async def test_a_write_whose_connection_dies_is_never_sent_again(db, outside, at_rest):
    task = asyncio.create_task(db.sql.accounts.slow_write(id=1, seconds=0.5))
    await asyncio.sleep(0.2)
    await outside.execute(
        "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
        " WHERE query LIKE '%UPDATE accounts%' AND pid <> pg_backend_pid()"
    )
    with pytest.raises(ConnectionLost) as raised:
        await task
    assert raised.value.outcome_unknown
    assert not raised.value.retry_safe
    assert await outside.fetchval("SELECT balance FROM accounts WHERE id = 1") == 100
    await at_rest(db)


async def test_idle_connections_that_died_are_replaced_unseen(db, outside):
    await asyncio.gather(*(db.sql.accounts.slow(seconds=0.1) for _ in range(4)))
    await outside.execute(
        "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await asyncio.sleep(0.05)
    assert (
        await asyncio.gather(*(db.sql.accounts.deposit(id=1, amount=1) for _ in range(10)))
        == [1] * 10
    )


@pytest.mark.parametrize(
    "where", ["statement", "savepoint", "release", "batch", "script", "stream"]
)
async def test_a_loss_anywhere_in_a_transaction_is_replayed(db, outside, balance, where):  # noqa: C901 - one place each
    calls = 0

    async def lose(tx):
        pid = await tx.fetch_value("SELECT pg_backend_pid()")
        await outside.execute(f"SELECT pg_terminate_backend({pid}, 0)")

        time.sleep(0.05)  # noqa: ASYNC251 - the loop must not hear of it: the next command finds out

    async def work(tx):  # noqa: C901 - as above
        nonlocal calls
        calls += 1
        first = calls == 1
        await tx.sql.accounts.deposit(id=1, amount=5)
        if where == "statement":
            if first:
                await lose(tx)
            await tx.sql.accounts.deposit(id=2, amount=5)
        elif where == "savepoint":
            if first:
                await lose(tx)
            async with tx.savepoint():
                pass
        elif where == "release":
            async with tx.savepoint():
                if first:
                    await lose(tx)
        elif where == "batch":
            if first:
                await lose(tx)
            await tx.sql.accounts.add_all([{"id": 50, "owner": "batch"}])
        elif where == "script":
            if first:
                await lose(tx)
            await tx.sql.accounts.maintain()
        else:
            if first:
                await lose(tx)
            assert len([row async for row in tx.sql.accounts.all.stream()]) == 10

    await db.run_in_transaction(work)
    assert calls == 2
    assert await balance() == 105


async def test_a_connection_that_dies_at_begin_is_replaced(opened, outside, balance):
    async with opened(max_pool_size=1) as db:
        for _ in range(3):
            pid = await db.fetch_value("SELECT pg_backend_pid()")
            await outside.execute(f"SELECT pg_terminate_backend({pid}, 0)")

            time.sleep(0.05)  # noqa: ASYNC251 - as above

            async def work(tx):
                return await tx.sql.accounts.deposit(id=1, amount=1)

            assert await db.run_in_transaction(work) == 1
    assert await balance() == 103
