"""The pool ends calls whose deadline has passed, and tells that from a caller's cancellation."""

from __future__ import annotations

import asyncio
import math

import pytest

from aurora_sql.errors import DeadlineExceeded


async def run(pool, pooled, limit, *, record=True):
    """What the execution layer does around a statement."""
    task = asyncio.current_task()
    if record:
        pooled.cancelling_before = task.cancelling()
    pooled.deadline = limit
    pooled.task = task
    pool.sweeper.due(limit)
    try:
        return await pooled.driver.execute("SELECT 1")
    except asyncio.CancelledError as error:
        if pooled.deadline_fired(task):
            raise DeadlineExceeded("too slow") from error
        raise
    finally:
        pooled.task = None
        pool.release(pooled)


async def test_a_call_that_ends_in_time_is_left_alone(lab):
    async with lab.open() as pool:
        for _ in range(3):
            pooled = await pool.acquire()
            assert await run(pool, pooled, asyncio.get_running_loop().time() + 1) == "SELECT 1"
        await asyncio.sleep(5)
        assert not pooled.timed_out
        assert asyncio.current_task().cancelling() == 0


async def test_a_call_is_cancelled_at_its_deadline(lab):
    lab.server.hold("execute")
    async with lab.open() as pool:
        loop = asyncio.get_running_loop()
        pooled = await pool.acquire()
        start = loop.time()
        with pytest.raises(DeadlineExceeded):
            await run(pool, pooled, start + 2)
        assert loop.time() - start == pytest.approx(2.0, abs=0.01)
        assert asyncio.current_task().cancelling() == 0
        await lab.ticks()
        # Settled, reset, and as good as new.
        assert pool.stats().idle == 1
        assert (pooled.timed_out, pooled.task, pooled.deadline) == (False, None, math.inf)


async def test_calls_on_one_connection_each_have_their_own_deadline(lab):
    lab.server.hold("execute")
    async with lab.open(max_size=1) as pool:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number in range(1, 4):
            pooled = await pool.acquire()
            with pytest.raises(DeadlineExceeded):
                await run(pool, pooled, loop.time() + 1)
            assert loop.time() - start == pytest.approx(number, abs=0.05)
        assert pool.stats().opened == 1


async def test_a_cancelled_caller_stays_cancelled(lab):
    lab.server.hold("execute")
    async with lab.open() as pool:
        pooled = await pool.acquire()
        limit = asyncio.get_running_loop().time() + 2
        task = asyncio.create_task(run(pool, pooled, limit))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(3)  # past the deadline: it fires at nobody
        assert pool.stats().idle == 1


@pytest.mark.parametrize("first", ["deadline", "caller"])
@pytest.mark.parametrize("record", [True, False])
async def test_both_at_once_is_a_cancellation(lab, first, record):
    lab.server.hold("execute")
    async with lab.open() as pool:
        pooled = await pool.acquire()
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(run(pool, pooled, loop.time() + 2, record=record))
        await lab.ticks()
        loop.pass_time(2)
        steps = [lambda: pool.sweep(loop.time()), task.cancel]
        for step in steps if first == "deadline" else reversed(steps):
            step()
        assert pooled.timed_out
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 1  # the sweeper took its own request back, not the caller's


async def test_in_a_task_that_was_cancelled_before(lab):
    """Cleaning up after a cancellation, with a statement that runs into its deadline."""
    lab.server.hold("execute")
    async with lab.open() as pool:
        outcome = []

        async def call():
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                pooled = await pool.acquire()
                try:
                    await run(pool, pooled, asyncio.get_running_loop().time() + 1)
                except DeadlineExceeded:
                    outcome.append("deadline")
                raise

        task = asyncio.create_task(call())
        await lab.ticks()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert outcome == ["deadline"]


async def test_inside_asyncio_timeout(lab):
    lab.server.hold("execute")
    async with lab.open() as pool:
        loop = asyncio.get_running_loop()
        pooled = await pool.acquire()
        with pytest.raises(DeadlineExceeded):
            async with asyncio.timeout(5):
                await run(pool, pooled, loop.time() + 1)
        pooled = await pool.acquire()
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(1):
                await run(pool, pooled, loop.time() + 5)
        assert not isinstance(caught.value, DeadlineExceeded)
        assert asyncio.current_task().cancelling() == 0


async def test_an_answer_that_comes_with_the_deadline_counts_as_one_or_the_other(lab):
    lab.server.hold("execute")
    async with lab.open() as pool:
        pooled = await pool.acquire()
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(run(pool, pooled, loop.time() + 2))
        await lab.ticks()
        loop.pass_time(2)
        lab.server.free("execute")
        pool.sweep(loop.time())
        with pytest.raises(DeadlineExceeded):
            await task
        await lab.ticks()
        assert pool.stats().idle == 1
        assert task.cancelling() == 0


async def test_a_driver_that_does_not_come_back_loses_its_socket(lab, caplog):
    lab.server.hold("execute", "cancel request")
    async with lab.open(cancel_grace=3.0) as pool:
        loop = asyncio.get_running_loop()
        pooled = await pool.acquire()
        pooled.driver.deaf = True
        start = loop.time()
        task = asyncio.create_task(run(pool, pooled, start + 1))
        await asyncio.wait([task])
        assert loop.time() - start == pytest.approx(4.0, abs=0.01)
        assert pooled.driver.aborts == 1
        assert pool.stats().size == 0
        assert "did not end within 3 s" in caplog.text


async def test_a_swallowed_cancellation_does_not_haunt_the_next_caller(lab):
    """timed_out left set by a lessee: the connection comes back through the slow path."""
    async with lab.open() as pool:
        pooled = await pool.acquire()
        pooled.timed_out = True
        pool.release(pooled)
        assert pool.stats().idle == 1
        assert not pooled.timed_out
        assert (await pool.acquire()) is pooled
        pool.release(pooled)


async def test_one_timer_serves_all_callers(lab):
    async with lab.open(max_size=2, max_lifetime=math.inf, idle_timeout=math.inf) as pool:
        first, second = await lab.lease(pool, 2)
        loop = asyncio.get_running_loop()
        lab.server.hold("execute")
        tasks = [
            asyncio.create_task(run(pool, pooled, loop.time() + seconds))
            for pooled, seconds in ((first, 3.0), (second, 2.0))
        ]
        await lab.ticks()
        assert sum(not handle.cancelled() for handle in loop._scheduled) == 1
        await asyncio.wait(tasks)
        assert all(isinstance(task.exception(), DeadlineExceeded) for task in tasks)


async def test_a_leased_connection_without_a_task_has_no_deadline(lab):
    async with lab.open() as pool:
        pooled = await pool.acquire()
        pooled.deadline = 0.0
        await asyncio.sleep(5)
        assert not pooled.timed_out
        pool.release(pooled)


async def test_its_repr_says_where_it_is(lab):
    async with lab.open() as pool:
        pooled = await pool.acquire()
        assert repr(pooled) == "<Pooled <FakeDriver 0>: leased, generation 0>"
        pooled.dirty = pooled.timed_out = True
        assert repr(pooled) == "<Pooled <FakeDriver 0>: leased, generation 0, dirty, timed_out>"
        pooled.timed_out = False
        pool.release(pooled)
        assert "returning" in repr(pooled)
