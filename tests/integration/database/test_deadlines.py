"""Deadlines and cancellation: what they stop, and what they leave whole."""

import asyncio
import contextlib

import pytest

from aurora_sql import (
    ConnectionLost,
    DeadlineExceeded,
    ParameterError,
    SerializationConflict,
    TransactionAborted,
    deadline,
)


async def test_the_deadline_comes_from_context_statement_and_settings(opened, at_rest):
    async with opened(command_timeout=0.3) as db:
        with pytest.raises(DeadlineExceeded, match="nothing was applied"), deadline(0.1):
            await db.sql.accounts.slow(seconds=5)
        with pytest.raises(DeadlineExceeded):
            await db.sql.accounts.brief(seconds=5)
        with pytest.raises(DeadlineExceeded):
            await db.sql.accounts.slow(seconds=5)
        await at_rest(db)
        assert await db.sql.accounts.slow(seconds=0) == 1


async def test_a_statement_may_take_longer_than_the_others(opened):
    async with opened(command_timeout=0.3) as db:
        assert await db.sql.accounts.patient(seconds=0.6) == 1


async def test_a_write_that_ran_out_of_time_says_that_its_outcome_is_unknown(db, at_rest):
    with pytest.raises(DeadlineExceeded, match="not known") as raised, deadline(0.2):
        await db.sql.accounts.slow_write(id=1, seconds=5)
    assert raised.value.outcome_unknown
    assert not raised.value.retry_safe
    assert isinstance(raised.value, TimeoutError)
    await at_rest(db)


async def test_a_function_the_catalogue_calls_stable_makes_no_write(db, outside):
    await outside.execute(
        "CREATE FUNCTION patient(s float) RETURNS bigint STABLE LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(s); RETURN 1; END $$"
    )
    with pytest.raises(DeadlineExceeded) as raised, deadline(0.2):
        await db.fetch_value("SELECT patient(:s)", {"s": 5.0})
    assert raised.value.retry_safe


async def test_a_deadline_that_has_passed_lets_nothing_through(db):
    with deadline(0), pytest.raises(DeadlineExceeded) as raised:
        await db.sql.accounts.deposit(id=1, amount=1)
    assert raised.value.retry_safe
    assert await db.sql.accounts.balance(id=1) == 100


async def test_the_caller_s_cancellation_is_not_taken_for_a_deadline(db, at_rest):
    async def work():
        with deadline(5):
            await db.sql.accounts.slow(seconds=10)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await at_rest(db)


async def test_timeout_blocks_of_asyncio_work_around_calls(db, at_rest):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await db.sql.accounts.slow(seconds=10)
    await at_rest(db)
    assert await db.sql.accounts.balance(id=1) == 100


async def test_cancelling_at_every_await_of_a_read_leaves_the_pool_whole(opened, at_rest, sessions):
    async with opened(max_pool_size=2) as db:
        for turns in range(40):
            task = asyncio.create_task(db.sql.accounts.get(id=1))
            for _ in range(turns % 8):
                await asyncio.sleep(0)
            await asyncio.sleep(turns * 0.0001)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await at_rest(db)
        assert (await db.sql.accounts.get(id=1)).id == 1
        assert await sessions() <= 2


@pytest.mark.parametrize("how", ["asyncio.timeout", "deadline"])
async def test_a_savepoint_confines_running_out_of_time(db, balance, how):
    async with db.transaction() as tx:
        await tx.sql.accounts.deposit(id=1, amount=5)
        with pytest.raises(TimeoutError):
            if how == "deadline":
                with deadline(0.1):
                    async with tx.savepoint():
                        await tx.sql.accounts.deposit(id=2, amount=5)
                        await tx.sql.accounts.slow(seconds=10)
            else:
                async with asyncio.timeout(0.1), tx.savepoint():
                    await tx.sql.accounts.deposit(id=2, amount=5)
                    await tx.sql.accounts.slow(seconds=10)
        await tx.sql.accounts.deposit(id=3, amount=5)
    assert [await balance(one) for one in (1, 2, 3)] == [105, 100, 105]


async def test_a_statement_that_ran_out_of_time_dooms_its_transaction_clearly(db, balance, at_rest):
    with pytest.raises(TransactionAborted):
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=5)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await tx.sql.accounts.slow(seconds=10)
            with pytest.raises((TransactionAborted, ConnectionLost)) as raised:
                await tx.sql.accounts.deposit(id=2, amount=5)
            assert raised.value.retry_safe
    assert await balance() == 100
    await at_rest(db)


async def test_a_task_group_that_fails_around_a_transaction(db, balance, at_rest):
    async def fails():
        await asyncio.sleep(0.15)
        raise ZeroDivisionError

    async def works():
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=5)
            await tx.sql.accounts.slow(seconds=10)

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(works())
            group.create_task(fails())
    await at_rest(db)
    assert await balance() == 100


async def test_a_deadline_and_a_cancellation_in_one_turn_of_the_loop(opened, at_rest):
    """Whatever wins, a cancelled task ends cancelled, and an uncancelled one keeps no mark."""
    async with opened(max_pool_size=4) as db:
        await db.sql.accounts.slow(seconds=0)
        loop = asyncio.get_running_loop()

        async def work(limit):
            with deadline(limit):
                if kind == "transaction":
                    async with db.transaction() as tx:
                        await tx.sql.accounts.slow(seconds=5)
                else:
                    await db.sql.accounts.slow(seconds=5)

        for number in range(24):
            kind = "transaction" if number % 2 else "call"
            task = asyncio.create_task(work(0.05))
            at = loop.time() + 0.05 + (number - 12) * 0.0001
            await asyncio.sleep(max(0, at - loop.time() - 0.002))
            while loop.time() < at:  # noqa: ASYNC110 - to the millisecond
                await asyncio.sleep(0)
            asked = task.cancel()
            with contextlib.suppress(asyncio.CancelledError, DeadlineExceeded):
                await task
            if asked and not task.cancelled():
                # The deadline had been dealt with; the request came when nothing was left to stop.
                assert isinstance(task.exception(), DeadlineExceeded)
        for _ in range(5):
            with pytest.raises(DeadlineExceeded):
                await work(0.02)
            assert asyncio.current_task().cancelling() == 0
        await at_rest(db)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True])
async def test_a_time_limit_that_is_none_is_named(db, timeout):  # noqa: ASYNC109 - under test
    with pytest.raises(ParameterError, match="timeout must be a number of seconds"):
        db.transaction(timeout=timeout)


async def test_replays_share_the_time_limit_of_the_transaction(opened, outside):
    async with opened(max_retry_count=10) as db:
        loop = asyncio.get_running_loop()

        async def slow_conflict(tx):
            await tx.fetch_value("SELECT balance FROM accounts WHERE id = 1")
            await outside.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 1")
            await tx.sql.accounts.slow(seconds=0.25)
            await tx.execute("UPDATE accounts SET balance = 0 WHERE id = 1")

        started = loop.time()
        with pytest.raises((DeadlineExceeded, SerializationConflict)):
            await db.transaction(isolation="repeatable read", timeout=0.6).run(slow_conflict)
        assert loop.time() - started < 2
