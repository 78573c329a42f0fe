"""Who gets which connection, in which order, and who is turned away."""

from __future__ import annotations

import asyncio

import pytest

from aurora_sql.deadlines import deadline
from aurora_sql.errors import PoolClosed, PoolExhausted, PoolTimeout


async def test_the_constructor_does_nothing(lab):
    pool = lab.pool(min_size=2)
    await lab.ticks()
    assert lab.server.calls == []
    assert repr(pool) == (
        "<Pool 'w1' not open: 0 of 2 (idle 0, in use 0, opening 0, returning 0, waiting 0),"
        " generation 0>"
    )
    with pytest.raises(PoolClosed, match="'w1' is not open yet"):
        await pool.acquire()
    assert pool.try_acquire(0.0) is None
    await pool.close()
    with pytest.raises(PoolClosed, match="cannot be opened again"):
        await pool.open()


async def test_a_lease_opens_the_first_connection(lab):
    async with lab.open() as pool:
        pooled = await pool.acquire()
        assert "1 of 2 (idle 0, in use 1, opening 0, returning 0, waiting 0)" in repr(pool)
        pool.release(pooled)
        assert "1 of 2 (idle 1, in use 0, opening 0, returning 0, waiting 0)" in repr(pool)
        stats = pool.stats()
        assert (stats.leases, stats.waited, stats.opened, stats.resets) == (1, 1, 1, 0)


async def test_an_idle_connection_is_leased_without_a_task_or_a_round_trip(lab):
    async with lab.open() as pool:
        pool.release(await pool.acquire())
        before = len(asyncio.all_tasks()), list(lab.server.calls)
        for _ in range(3):
            pooled = pool.try_acquire(asyncio.get_running_loop().time())
            assert pooled is not None
            pool.release(pooled)
        assert (len(asyncio.all_tasks()), lab.server.calls) == before
        assert (pool.stats().leases, pool.stats().waited) == (4, 1)


async def test_idle_connections_are_a_stack(lab):
    async with lab.open(max_size=3) as pool:
        first, second, third = await lab.lease(pool, 3)
        for pooled in (second, third, first):
            pool.release(pooled)
        now = asyncio.get_running_loop().time()
        assert [pool.try_acquire(now) for _ in range(4)] == [first, third, second, None]
        for pooled in (first, second, third):
            pool.release(pooled)


async def test_waiting_callers_are_served_in_order(lab):
    async with lab.open(max_size=1) as pool:
        pooled = await pool.acquire()
        order = []

        async def call(number):
            got = await pool.acquire()
            order.append(number)
            pool.release(got)

        tasks = [asyncio.create_task(call(number)) for number in range(5)]
        await lab.ticks()
        assert pool.stats().waiting == 5
        pool.release(pooled)
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3, 4]
        assert lab.server.count("connect") == 1


async def test_nobody_overtakes_a_caller_who_waits(lab):
    async with lab.open(max_size=1) as pool:
        pooled = await pool.acquire()
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        pool.release(pooled)
        # Handed over already, although the task has not run yet.
        assert pool.try_acquire(asyncio.get_running_loop().time()) is None
        assert pool.stats().in_use == 1
        assert await task is pooled
        pool.release(pooled)


async def test_a_caller_cancelled_in_the_queue_leaves_it(lab):
    async with lab.open(max_size=1) as pool:
        pooled = await pool.acquire()
        tasks = [asyncio.create_task(pool.acquire()) for _ in range(3)]
        await lab.ticks()
        tasks[0].cancel()
        tasks[1].cancel()
        pool.release(pooled)  # in the same iteration: the first two must be passed over
        assert await tasks[2] is pooled
        pool.release(pooled)
        assert all(task.cancelled() for task in tasks[:2])
        assert pool.stats().waiting == 0


async def test_a_caller_cancelled_at_the_hand_over_loses_no_connection(lab):
    async with lab.open(max_size=1) as pool:
        pooled = await pool.acquire()
        first, second = (asyncio.create_task(pool.acquire()) for _ in range(2))
        await lab.ticks()
        pool.release(pooled)  # handed to the first, whose task has not run yet
        first.cancel()
        assert await second is pooled
        assert first.cancelled()
        pool.release(pooled)
        assert pool.stats().idle == 1


async def test_a_caller_cancelled_with_an_error_on_its_way_stays_cancelled(lab, caplog):
    pool = lab.pool(max_size=1)
    await pool.open()
    pooled = await pool.acquire()
    task = asyncio.create_task(pool.acquire())
    await lab.ticks()
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0)
    task.cancel()
    pool.release(pooled)
    await closing
    assert task.cancelled()
    lab.check_closed(pool)
    assert "never retrieved" not in caplog.text


async def test_the_acquire_timeout(lab):
    async with lab.open(max_size=1, acquire_timeout=2.0) as pool:
        pooled = await pool.acquire()
        start = asyncio.get_running_loop().time()
        with pytest.raises(PoolTimeout) as caught:
            await pool.acquire()
        assert asyncio.get_running_loop().time() - start == pytest.approx(2.0, abs=0.01)
        assert caught.value.retry_safe
        assert caught.value.__cause__ is None
        assert str(caught.value) == (
            "no connection of pool 'w1' came free within 2 s (1 of 1 in use, 0 opening,"
            " 0 returning, 1 waiting); hold connections for less time, or raise max_pool_size"
        )
        stats = pool.stats()
        assert (stats.timeouts, stats.waiting) == (1, 0)
        assert stats.wait_seconds == pytest.approx(2.0, abs=0.01)
        pool.release(pooled)
        assert pool.stats().idle == 1


@pytest.mark.parametrize("source", ["argument", "context"])
async def test_the_earliest_deadline_counts(lab, source):
    async with lab.open(max_size=1, acquire_timeout=30.0) as pool:
        pooled = await pool.acquire()
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(PoolTimeout):
            if source == "argument":
                await pool.acquire(loop.time() + 0.5)
            else:
                with deadline(0.5):
                    await pool.acquire(loop.time() + 10)
        assert loop.time() - start == pytest.approx(0.5, abs=0.01)
        pool.release(pooled)


async def test_callers_with_different_deadlines_time_out_each_at_its_own(lab):
    async with lab.open(max_size=1) as pool:
        pooled = await pool.acquire()
        loop = asyncio.get_running_loop()
        start = loop.time()

        async def wait(seconds):
            with pytest.raises(PoolTimeout):
                await pool.acquire(start + seconds)
            return round(loop.time() - start, 2)

        assert await asyncio.gather(*(wait(s) for s in (3.0, 1.0, 2.0))) == [3.0, 1.0, 2.0]
        pool.release(pooled)


async def test_a_deadline_in_the_past(lab):
    async with lab.open(max_size=1) as pool:
        pooled = await pool.acquire()
        with pytest.raises(PoolTimeout):
            await pool.acquire(asyncio.get_running_loop().time() - 1)
        pool.release(pooled)


async def test_so_many_may_wait_and_no_more(lab):
    async with lab.open(max_size=1, max_waiting=2) as pool:
        pooled = await pool.acquire()
        tasks = [asyncio.create_task(pool.acquire()) for _ in range(2)]
        await lab.ticks()
        with pytest.raises(PoolExhausted, match=r"2 callers wait already \(max_waiting = 2"):
            await pool.acquire()
        assert pool.stats().rejected == 1
        for task in tasks:
            pool.release(pooled)
            pooled = await task
        pool.release(pooled)


async def test_nobody_waits_with_max_waiting_zero(lab):
    async with lab.open(max_size=2, max_waiting=0) as pool:
        # There is room: these two wait for a connect, not for another caller.
        first, second = await asyncio.gather(pool.acquire(), pool.acquire())
        with pytest.raises(PoolExhausted):
            await pool.acquire()
        pool.release(first)
        assert await pool.acquire() is first
        pool.release(first)
        pool.release(second)


async def test_a_cancelled_caller_makes_room_in_the_queue(lab):
    async with lab.open(max_size=1, max_waiting=1) as pool:
        pooled = await pool.acquire()
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        task.cancel()
        await lab.ticks()
        other = asyncio.create_task(pool.acquire())
        await lab.ticks()
        pool.release(pooled)
        pool.release(await other)
        assert pool.stats().rejected == 0


async def test_a_connection_that_broke_while_idle_is_not_leased(lab):
    async with lab.open() as pool:
        pooled = await pool.acquire()
        pool.release(pooled)
        pooled.driver.closed = True
        other = await pool.acquire()
        assert other is not pooled
        assert (pool.stats().size, pool.stats().closed) == (1, 1)
        pool.release(other)


async def test_two_thousand_callers_on_ten_connections(lab):
    async with lab.open(max_size=10, max_waiting=2000) as pool:

        async def call(number):
            pooled = await pool.acquire()
            try:
                await asyncio.sleep(0.001 * (number % 3))
            finally:
                pool.release(pooled)

        tasks = [asyncio.create_task(call(number)) for number in range(2000)]
        await asyncio.sleep(0.01)
        for task in tasks[::7]:
            task.cancel()
        await asyncio.wait(tasks)
        assert pool.stats().waiting == pool.stats().in_use == 0
        assert sum(task.cancelled() for task in tasks) > 100
        lab.check_books(pool, lab.server)


async def test_nobody_overtakes_a_caller_whose_connection_is_being_checked(lab):
    lab.server.hold("ping")
    async with lab.open(check_after=10.0) as pool:
        long_held = await pool.acquire()
        await asyncio.sleep(11)
        fresh = await pool.acquire()
        pool.release(fresh)
        pool.release(long_held)  # on top, and not known to work
        first = asyncio.create_task(pool.acquire())
        await lab.ticks()
        assert (pool.stats().idle, pool.stats().returning, pool.stats().waiting) == (1, 1, 1)
        assert pool.try_acquire(asyncio.get_running_loop().time()) is None
        second = asyncio.create_task(pool.acquire())
        await lab.ticks()
        assert first.result() is fresh
        lab.server.free("ping")
        assert await second is long_held
        pool.release(fresh)
        pool.release(long_held)


async def test_a_caller_cancelled_just_before_its_timeout(lab):
    async with lab.open(max_size=1, acquire_timeout=2.0) as pool:
        pooled = await pool.acquire()
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        task.cancel()
        pool.sweep(asyncio.get_running_loop().time() + 2)  # its own task has not run yet
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (pool.stats().timeouts, pool.stats().waiting) == (0, 0)
        pool.release(pooled)


async def test_the_time_that_callers_waited_adds_up(lab):
    async with lab.open(max_size=1) as pool:
        pooled = await pool.acquire()
        loop = asyncio.get_running_loop()
        for _ in range(2):
            with pytest.raises(PoolTimeout):
                await pool.acquire(loop.time() + 1.5)
        assert pool.stats().wait_seconds == pytest.approx(3.0, abs=0.01)
        pool.release(pooled)
