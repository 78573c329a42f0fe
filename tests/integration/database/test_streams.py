"""Streams that are left, shared, broken, or outlive what they run on."""

import asyncio
import gc

import pytest

from aurora_sql import (
    ConnectionLost,
    DeadlineExceeded,
    UsageError,
    deadline,
)


@pytest.fixture
def complaints():
    """What the event loop was told of: tasks and generators whose errors nobody took."""
    found = []

    def install():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
        return found

    return install


ROWS = "SELECT n FROM generate_series(1, 1000) AS n"


async def drain_garbage():
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0.01)
    gc.collect()


async def test_leaving_a_loop_at_any_row_gives_the_connection_back(opened, at_rest, complaints):
    found = complaints()
    async with opened(max_pool_size=1, min_pool_size=1) as db:
        for row_to_leave_at in (1, 2, 9, 10, 11, 20, 999, 1000):
            seen = 0
            async for _ in db.stream(ROWS, batch_size=10):
                seen += 1
                if seen == row_to_leave_at:
                    break
            await at_rest(db)
            assert await db.fetch_value("SELECT 1") == 1
            async with db.stream(ROWS, batch_size=10) as stream:
                seen = 0
                async for _ in stream:
                    seen += 1
                    if seen == row_to_leave_at:
                        break
            # At the end of the block, for certain and without a further turn of the loop.
            assert db.pool_stats().popitem()[1].in_use == 0 or await db.fetch_value("SELECT 1")
            await at_rest(db)
    await drain_garbage()
    assert found == []


async def test_leaving_by_an_error_or_a_cancellation(opened, at_rest, complaints, sessions):
    found = complaints()
    async with opened(max_pool_size=1) as db:
        with pytest.raises(ZeroDivisionError):
            async for row in db.stream(ROWS, batch_size=10):
                1 / (row.n - 25)
        await at_rest(db)

        async def consume():
            async for _ in db.stream(
                "SELECT pg_sleep(0.01) FROM generate_series(1, 1000)", batch_size=2
            ):
                pass

        for turns in range(12):
            task = asyncio.create_task(consume())
            await asyncio.sleep(turns * 0.004)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await at_rest(db)
        with pytest.raises(DeadlineExceeded), deadline(0.1):
            await consume()
        await at_rest(db)
        assert await db.fetch_value("SELECT 1") == 1
        assert await sessions("idle in transaction%") == 0
    await drain_garbage()
    assert found == []


async def test_a_stream_that_is_never_read_leases_nothing(opened, complaints):
    found = complaints()
    async with opened(max_pool_size=1) as db:
        db.stream(ROWS)
        async with db.stream(ROWS):
            pass
        stream = db.stream(ROWS)
        async with stream:
            pass
        with pytest.raises(UsageError, match="stream"):
            async for _ in stream:
                pass
        assert sum(one.in_use for one in db.pool_stats().values()) == 0
    await drain_garbage()
    assert found == []


async def test_a_stream_left_open_is_ended_by_closing(opened, complaints, sessions):
    found = complaints()
    async with opened(max_pool_size=2) as db:
        iterator = aiter(db.stream(ROWS, batch_size=10))
        assert (await anext(iterator)).n == 1
        closing = asyncio.create_task(db._shared.cluster.writer_pool.close(0.2))
        await closing
    with pytest.raises((ConnectionLost, UsageError)):
        while True:
            await anext(iterator)
    await drain_garbage()
    assert found == []


async def test_a_stream_of_a_transaction_ends_with_it(opened, outside, at_rest, complaints):
    """Read on after the end it would run on a connection that belongs to somebody else."""
    found = complaints()
    async with opened(max_pool_size=1) as db:
        async with db.transaction() as tx:
            iterator = aiter(tx.stream(ROWS, batch_size=10))
            other = aiter(tx.stream(ROWS, batch_size=10))
            late = tx.stream(ROWS, batch_size=10)
            assert (await anext(iterator)).n == 1
            assert (await anext(other)).n == 1
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=1)
            with pytest.raises(UsageError, match="transaction is over"):
                while True:
                    await anext(iterator)
            with pytest.raises(UsageError, match="transaction is over"):
                async for _ in late:
                    pass
            del other
            gc.collect()
            await tx.sql.accounts.deposit(id=1, amount=1)
        assert await outside.fetchval("SELECT balance FROM accounts WHERE id = 1") == 102
        await at_rest(db)
    await drain_garbage()
    assert found == []


async def test_a_stream_and_statements_take_turns_in_a_transaction(opened, at_rest):
    async with opened(max_pool_size=1, max_prepared_statements=3) as db:
        async with db.transaction() as tx:
            total = 0
            async for row in tx.stream(ROWS, batch_size=100):
                total += row.n
                if row.n % 100 == 50:
                    # Many texts: the stream's own statement is evicted while it runs.
                    for n in range(5):
                        assert await tx.fetch_value(f"SELECT {n + row.n}") == n + row.n
                    async with tx.savepoint():
                        await tx.sql.accounts.deposit(id=1, amount=1)
            assert total == 500500
        await at_rest(db)
        assert await db.sql.accounts.balance(id=1) == 110


async def test_two_tasks_on_one_transaction_s_stream_are_told_apart(db):
    async with db.transaction() as tx:
        stream = aiter(
            tx.stream("SELECT pg_sleep(0.2), n FROM generate_series(1, 3) AS n", batch_size=1)
        )
        reading = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.05)
        with pytest.raises(UsageError, match="another task"):
            await tx.fetch_value("SELECT 1")
        await reading
        running = asyncio.create_task(tx.fetch_value("SELECT count(*) FROM pg_sleep(0.2)"))
        await asyncio.sleep(0.05)
        with pytest.raises(UsageError, match="another task"):
            await anext(stream)
        assert await running == 1


async def test_a_stream_notices_a_changed_schema(opened, outside):
    async with opened(max_pool_size=1) as db:
        query = "SELECT * FROM accounts ORDER BY id"
        for columns in (4, 5, 6):
            assert [len(row) async for row in db.stream(query)] == [columns] * 10
            await outside.execute(f"ALTER TABLE accounts ADD COLUMN c{columns} int")


async def test_a_stream_whose_connection_dies_at_the_begin_starts_again(opened, outside):
    async with opened(max_pool_size=1) as db:
        assert len([row async for row in db.stream("SELECT id FROM accounts")]) == 10
        pid = await db.fetch_value("SELECT pg_backend_pid()")
        await outside.execute("SELECT pg_terminate_backend($1, 2000)", pid)
        assert len([row async for row in db.stream("SELECT id FROM accounts")]) == 10


async def test_a_lost_stream_says_so_and_is_safe_to_repeat(opened, outside, at_rest):
    async with opened(max_pool_size=1) as db:
        seen = 0
        with pytest.raises(ConnectionLost) as raised:
            async for _ in db.stream(ROWS, batch_size=10):
                seen += 1
                if seen == 15:
                    await outside.execute(
                        "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE"
                        " datname = current_database() AND pid <> pg_backend_pid()"
                    )
        assert seen == 20
        assert raised.value.retry_safe
        assert not raised.value.outcome_unknown
        await at_rest(db)


async def test_the_next_caller_of_a_broken_off_write_stream_finds_nothing_of_it(opened, outside):
    async with opened(max_pool_size=1) as db:
        async with db.stream(
            "UPDATE accounts SET balance = 0 RETURNING id", batch_size=2
        ) as stream:
            async for _ in stream:
                break
        assert await outside.fetchval("SELECT min(balance) FROM accounts") == 100
        assert (
            len([r async for r in db.stream("UPDATE accounts SET balance = 0 RETURNING id")]) == 10
        )
        assert await outside.fetchval("SELECT max(balance) FROM accounts") == 0
