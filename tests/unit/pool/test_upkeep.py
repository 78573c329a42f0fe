"""Age, idling, checks and eviction."""

from __future__ import annotations

import asyncio
import math

import pytest

from aurora_sql.errors import ConnectionLost, FailoverTimeout


async def test_a_connection_that_idled_is_checked_before_it_is_leased(lab):
    async with lab.open(check_after=10.0) as pool:
        pooled = await pool.acquire()
        pool.release(pooled)
        await asyncio.sleep(9.0)
        assert await pool.acquire() is pooled
        pool.release(pooled)
        assert lab.server.count("ping") == 0
        await asyncio.sleep(11.0)
        assert pool.try_acquire(asyncio.get_running_loop().time()) is None
        assert pool.stats().idle == 1  # not leased, and not lost
        assert await pool.acquire() is pooled
        assert lab.server.count("ping") == 1
        pool.release(pooled)
        assert pool.try_acquire(asyncio.get_running_loop().time()) is pooled
        pool.release(pooled)


async def test_use_keeps_it_fresh(lab):
    async with lab.open(check_after=10.0) as pool:
        for _ in range(10):
            pool.release(await pool.acquire())
            await asyncio.sleep(6.0)
        assert lab.server.count("ping") == 0
        assert pool.stats().opened == 1


@pytest.mark.parametrize(("check_after", "pings"), [(0.0, 3), (math.inf, 0)])
async def test_always_and_never(lab, check_after, pings):
    async with lab.open(check_after=check_after, idle_timeout=math.inf) as pool:
        pool.release(await pool.acquire())
        for _ in range(3):
            await asyncio.sleep(100)
            pool.release(await pool.acquire())
        assert lab.server.count("ping") == pings


@pytest.mark.parametrize("trouble", ["error", "silence"])
async def test_a_failed_check_costs_the_caller_little(lab, trouble):
    async with lab.open(check_after=10.0, check_timeout=5.0) as pool:
        pooled = await pool.acquire()
        pool.release(pooled)
        await asyncio.sleep(20)
        if trouble == "error":
            lab.server.fail("ping", ConnectionLost("reset by peer"))
        else:
            lab.server.hold("ping")
        start = asyncio.get_running_loop().time()
        other = await pool.acquire()
        assert other is not pooled
        # A peer that is silent is left behind after a moment, not after the limit of the check.
        assert asyncio.get_running_loop().time() - start <= 0.11
        await asyncio.sleep(6)
        assert pooled.driver.aborts == 1
        assert pool.stats().size == 1
        pool.release(other)


async def test_many_dead_peers_cost_no_more_than_one(lab):
    async with lab.open(max_size=9, check_after=10.0, check_timeout=5.0) as pool:
        for pooled in await lab.lease(pool, 8):
            pool.release(pooled)
        await asyncio.sleep(20)
        lab.server.hold("ping")
        start = asyncio.get_running_loop().time()
        pooled = await pool.acquire()
        assert asyncio.get_running_loop().time() - start <= 0.21
        await asyncio.sleep(6)
        assert (pool.stats().size, pool.stats().closed) == (1, 8)
        pool.release(pooled)


async def test_checks_run_side_by_side_for_several_callers(lab):
    async with lab.open(max_size=3, check_after=10.0) as pool:
        for pooled in await lab.lease(pool, 3):
            pool.release(pooled)
        await asyncio.sleep(20)
        lab.server.hold("ping")
        tasks = [asyncio.create_task(pool.acquire()) for _ in range(2)]
        await lab.ticks()
        assert len(lab.server.held["ping"]) == 2
        assert (pool.stats().returning, pool.stats().idle) == (2, 1)
        lab.server.free_all()
        for task in tasks:
            pool.release(await task)


async def test_a_caller_who_leaves_during_the_check_leaves_the_connection(lab):
    async with lab.open(check_after=10.0) as pool:
        pool.release(await pool.acquire())
        await asyncio.sleep(20)
        lab.server.hold("ping")
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        task.cancel()
        await lab.ticks()
        lab.server.free("ping")
        await lab.ticks()
        assert pool.stats().idle == 1
        assert pool.stats().closed == 0


async def test_an_old_connection_is_replaced(lab):
    async with lab.open(min_size=1, max_lifetime=100.0) as pool:
        first = await pool.acquire()
        pool.release(first)
        await asyncio.sleep(101)
        assert pool.stats().size == 1
        second = await pool.acquire()
        assert second is not first
        assert first.driver.is_closed
        assert first.driver.aborts == 0  # it was told good-bye
        pool.release(second)


async def test_an_old_connection_in_use_is_replaced_when_it_comes_back(lab):
    async with lab.open(max_size=1, max_lifetime=100.0) as pool:
        first = await pool.acquire()
        task = asyncio.create_task(pool.acquire(math.inf))
        await asyncio.sleep(29)
        assert not first.driver.is_closed
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(100)
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        pool.release(first)
        second = await task
        assert second is not first
        pool.release(second)


async def test_an_old_connection_is_not_leased_even_before_the_pool_looks(lab):
    async with lab.open(max_lifetime=100.0, check_after=math.inf) as pool:
        first = await pool.acquire()
        pool.release(first)
        asyncio.get_running_loop().pass_time(101)
        assert pool.try_acquire(asyncio.get_running_loop().time()) is None
        assert pool.stats().returning == 1


async def test_lifetimes_are_spread(lab):
    async with lab.open(min_size=20, max_size=20, max_lifetime=100.0, lifetime_jitter=0.5) as pool:
        await lab.ticks(100)
        now = asyncio.get_running_loop().time()
        ages = [pooled.expires_at - now for pooled in pool._all]
        assert all(50 <= age <= 100 for age in ages)
        assert len({round(age) for age in ages}) > 8


async def test_idle_connections_are_trimmed_down_to_the_floor(lab):
    async with lab.open(min_size=1, max_size=4, idle_timeout=30.0) as pool:
        leased = await lab.lease(pool, 4)
        for pooled in leased:
            pool.release(pooled)
        await asyncio.sleep(29)
        assert pool.stats().idle == 4
        await asyncio.sleep(2)
        assert pool.stats().size == 1
        assert pool._idle == [leased[-1]]  # the one that was used last
        await asyncio.sleep(500)
        assert pool.stats().size == 1
        assert pool.stats().opened == 4


async def test_connections_in_use_are_not_trimmed(lab):
    async with lab.open(max_size=3, idle_timeout=30.0) as pool:
        first, second = await lab.lease(pool, 2)
        pool.release(second)
        await asyncio.sleep(35)
        assert (pool.stats().in_use, pool.stats().idle) == (1, 0)
        pool.release(first)
        assert pool.stats().idle == 1
        await asyncio.sleep(35)
        assert pool.stats().size == 0


async def test_upkeep_needs_no_polling(lab):
    """An hour of idling costs a handful of wake-ups."""
    async with lab.open(min_size=2, idle_timeout=600.0, max_lifetime=1800.0) as pool:
        pooled = await pool.acquire()
        sweeps = 0
        sweep = type(pool).sweep

        class Counted(type(pool)):
            def sweep(self, now):
                nonlocal sweeps
                sweeps += 1
                return sweep(self, now)

        pool.__class__ = Counted
        await asyncio.sleep(1700)
        assert sweeps < 10
        pool.release(pooled)


async def test_eviction_closes_idle_ones_now_and_leased_ones_on_their_return(lab):
    async with lab.open(max_size=2) as pool:
        idle, leased = await lab.lease(pool, 2)
        pool.release(idle)
        pool.evict()
        assert "generation 1" in repr(pool)
        assert pool.try_acquire(asyncio.get_running_loop().time()) is None
        await lab.ticks()
        assert idle.driver.is_closed
        assert not leased.driver.is_closed
        pool.release(leased)
        await lab.ticks()
        assert leased.driver.is_closed
        fresh = await pool.acquire()
        assert fresh.generation == 1
        pool.release(fresh)


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_connection_that_was_retired_is_lent_to_nobody(lab, awaited):
    async with lab.open(max_size=1) as pool:
        (pooled,) = await lab.lease(pool, 1)
        task = asyncio.create_task(pool.acquire()) if awaited else None
        await lab.ticks()
        pooled.retire()
        pool.release(pooled)
        other = await (task or pool.acquire())
        assert other is not pooled
        assert pooled.driver.is_closed
        assert other.generation == pool.stats().generation == 0
        pool.release(other)


async def test_a_connect_under_way_at_the_eviction_is_cut_short(lab):
    """It may be waiting for a machine that is gone, and callers wait for the new one."""
    lab.server.hold("connect")
    async with lab.open(max_size=1) as pool:
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        lab.server.holding.clear()
        pool.evict()
        pooled = await task
        assert pooled.generation == 1
        assert lab.server.count("connect") == 2
        assert len(lab.server.drivers) == 1
        pool.release(pooled)


@pytest.mark.parametrize("work", ["ping", "reset"])
async def test_work_under_way_at_the_eviction_is_in_vain(lab, work):
    lab.server.hold(work)
    async with lab.open(max_size=1, check_after=10.0) as pool:
        pooled = await pool.acquire()
        pooled.dirty = work == "reset"
        pool.release(pooled)
        await asyncio.sleep(0 if work == "reset" else 20)
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        pool.evict()
        lab.server.free(work)
        other = await task
        assert other is not pooled
        pool.release(other)


async def test_eviction_ends_the_pause_after_failures(lab):
    lab.server.fail("connect", ConnectionLost("the old writer is gone"))
    async with lab.open(connect_retry_base=60.0, connect_retry_cap=60.0) as pool:
        task = asyncio.create_task(pool.acquire())
        await asyncio.sleep(1.0)
        start = asyncio.get_running_loop().time()
        pool.evict()  # a new writer is known
        pool.release(await task)
        assert asyncio.get_running_loop().time() == start


async def test_severed_connections_are_aborted_and_the_next_are_new(lab):
    async with lab.open(max_size=3, connect_retry_base=1.0) as pool:
        idle, leased = await pool.acquire(), await pool.acquire()
        pool.release(idle)
        pool.sever(ConnectionLost("it does not answer"))
        assert idle.driver.is_closed
        assert leased.driver.is_closed
        assert not pool.available or pool.stats().in_use
        pool.release(leased)
        await lab.ticks()
        assert not pool.available
        pooled = await pool.acquire()  # after the pause
        assert pooled.generation == 1
        assert pool.available
        pool.release(pooled)


async def test_who_can_go_elsewhere_is_told_at_once_that_it_was_severed(lab):
    lab.server.hold("connect")
    async with lab.open(patient=False) as pool:
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        pool.sever(ConnectionLost("it does not answer"))
        with pytest.raises(ConnectionLost, match="it does not answer"):
            await task
        lab.server.free_all()


async def test_and_so_is_who_waits_for_others_to_give_theirs_back(lab):
    async with lab.open(max_size=1, patient=False) as pool:
        leased = await pool.acquire()
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        lab.server.hold("connect")
        pool.sever(ConnectionLost("it does not answer"))
        with pytest.raises(ConnectionLost, match="it does not answer"):
            await asyncio.wait_for(task, 1.0)
        pool.release(leased)
        lab.server.free_all()


async def test_waiting_without_anybody_to_connect_to_is_a_failover(lab):
    lab.server.hold("connect")
    async with lab.open(acquire_timeout=3.0) as pool:
        pool.absent = "no instance accepts writes"
        with pytest.raises(FailoverTimeout, match="no instance accepts writes, and none was found"):
            await pool.acquire()
        lab.server.free_all()


async def test_it_tells_who_waits_long(lab):
    now = asyncio.get_running_loop().time
    async with lab.open(max_size=1) as pool:
        pooled = await pool.acquire()
        await asyncio.sleep(2.0)
        assert not pool.stalled(now() - 1)  # leased, and waiting for nothing
        pooled.task = asyncio.current_task()
        assert pool.stalled(now() - 1)
        assert not pool.stalled(now() - 3)
        pooled.task = None
        task = asyncio.create_task(pool.acquire())
        await asyncio.sleep(2.0)
        assert pool.stalled(now() - 1)
        pool.release(pooled)
        pool.release(await task)
        assert not pool.stalled(now() - 1)


@pytest.mark.parametrize("what", ["lost", "refused", "retired"])
async def test_trouble_is_told(lab, what):
    told = []
    async with lab.open(min_size=0) as pool:
        pool._troubled = lambda: told.append(what)
        if what == "refused":
            lab.server.fail("connect", ConnectionLost("nobody listens"))
        pooled = await pool.acquire()
        if what == "lost":
            pooled.driver.abort()
        elif what == "retired":
            pooled.retire()
        assert told == (["refused"] if what == "refused" else [])
        pool.release(pooled)
        assert told == [what]


async def test_evicted_peers_that_do_not_answer_are_aborted_soon(lab):
    lab.server.hold("close")
    async with lab.open(max_size=2, disconnect_timeout=1.0) as pool:
        for pooled in await lab.lease(pool, 2):
            pool.release(pooled)
        pool.evict()
        start = asyncio.get_running_loop().time()
        pooled = await pool.acquire()
        assert asyncio.get_running_loop().time() - start == pytest.approx(1.0, abs=0.01)
        assert [driver.aborts for driver in lab.server.drivers[:2]] == [1, 1]
        pool.release(pooled)
