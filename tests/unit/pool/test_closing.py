"""Draining and closing."""

from __future__ import annotations

import asyncio
import math

import pytest

from aurora_sql.deadlines import Sweeper
from aurora_sql.errors import ConnectionLost, PoolClosed
from aurora_sql.pool import Pool, PoolOptions


async def test_closing_says_good_bye_to_the_idle_ones(lab):
    pool = lab.pool(min_size=2)
    await pool.open()
    await lab.ticks()
    await pool.close()
    lab.check_closed(pool)
    assert lab.server.count("close") == 2
    assert [driver.aborts for driver in lab.server.drivers] == [0, 0]
    assert repr(pool).startswith("<Pool 'w1' closed: 0 of 2")
    with pytest.raises(PoolClosed, match="'w1' is closed"):
        await pool.acquire()


async def test_it_waits_for_the_leased_ones(lab):
    pool = lab.pool()
    await pool.open()
    pooled = await pool.acquire()
    closing = asyncio.create_task(pool.close(5.0))
    await asyncio.sleep(3)
    assert not closing.done()
    assert repr(pool).startswith("<Pool 'w1' closing: 1 of 2 (idle 0, in use 1")
    pool.release(pooled)
    await closing
    assert pooled.driver.aborts == 0
    lab.check_closed(pool)


async def test_and_aborts_them_at_the_limit(lab, caplog):
    pool = lab.pool(close_timeout=2.0)
    await pool.open()
    pooled = await pool.acquire()
    lab.server.hold("execute")
    caller = asyncio.create_task(pooled.driver.execute("SELECT pg_sleep(100)"))
    await lab.ticks()
    start = asyncio.get_running_loop().time()
    await pool.close()
    assert asyncio.get_running_loop().time() - start == pytest.approx(2.0, abs=0.01)
    with pytest.raises(ConnectionLost):
        await caller
    lab.check_closed(pool)
    assert "is not drained after 2 s" in caplog.text
    caplog.clear()
    pool.release(pooled)  # late, and of no consequence
    lab.check_closed(pool)
    assert not caplog.records


async def test_waiting_callers_are_turned_away(lab):
    pool = lab.pool(max_size=1)
    await pool.open()
    pooled = await pool.acquire()
    task = asyncio.create_task(pool.acquire())
    await lab.ticks()
    closing = asyncio.create_task(pool.close())
    with pytest.raises(PoolClosed, match="being closed"):
        await task
    pool.release(pooled)
    await closing


async def test_a_connect_under_way_is_given_up(lab):
    lab.server.hold("connect")
    pool = lab.pool(min_size=2)
    await pool.open()
    await lab.ticks()
    await pool.close()
    lab.check_closed(pool)
    assert lab.server.connecting == 0


async def test_a_connect_not_yet_begun_is_given_up(lab):
    pool = lab.pool(min_size=2)
    await pool.open()
    await pool.close()
    lab.check_closed(pool)
    assert lab.server.count("connect") == 0


async def test_a_pause_after_a_failure_is_not_waited_out(lab):
    lab.server.fail("connect", ConnectionLost("gone"))
    pool = lab.pool(min_size=1, connect_retry_base=60.0, connect_retry_cap=60.0)
    await pool.open()
    await lab.ticks()
    start = asyncio.get_running_loop().time()
    await pool.close()
    assert asyncio.get_running_loop().time() == start


@pytest.mark.parametrize("work", ["reset", "close", "settle"])
async def test_upkeep_that_hangs_is_cut_off(lab, work):
    pool = lab.pool(reset_timeout=100.0, disconnect_timeout=100.0)
    await pool.open()
    pooled = await pool.acquire()
    pooled.dirty = work == "reset"
    pooled.driver.settled = work != "settle"
    lab.server.hold(work)
    pool.release(pooled)
    await lab.ticks()
    start = asyncio.get_running_loop().time()
    await pool.close(1.0)
    assert asyncio.get_running_loop().time() - start == pytest.approx(1.0, abs=0.01)
    lab.check_closed(pool)


async def test_cancelled_it_still_leaves_nothing(lab):
    pool = lab.pool()
    await pool.open()
    pooled = await pool.acquire()
    closing = asyncio.create_task(pool.close(math.inf))
    await lab.ticks()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    lab.check_closed(pool)
    assert pooled.driver.aborts == 1


async def test_twice_one_after_the_other_and_at_once(lab):
    pool = lab.pool(min_size=1)
    await pool.open()
    pooled = await pool.acquire()
    both = asyncio.gather(pool.close(5.0), pool.close(5.0))
    await lab.ticks()
    pool.release(pooled)
    await both
    await pool.close()
    lab.check_closed(pool)


async def test_it_opens_and_closes_by_async_with(lab):
    async with lab.pool(min_size=1) as pool:
        await pool.open()  # open already: nothing happens
        pool.release(await pool.acquire())
        assert lab.server.count("connect") == 1
    lab.check_closed(pool)


async def test_a_shared_sweeper_goes_on_without_it(lab):
    sweeper = Sweeper()
    options = PoolOptions(min_size=0, max_size=1)
    first, second = (Pool(lab.server.connect, options, name=name, sweeper=sweeper) for name in "ab")
    async with second:
        async with first:
            first.release(await first.acquire())
        assert repr(sweeper).startswith("<Sweeper watching 1, next at")
        second.release(await second.acquire())
    assert repr(sweeper) == "<Sweeper watching 0, no timer>"


async def test_a_failing_good_bye_closes_all_the_same(lab):
    pool = lab.pool()
    await pool.open()
    pool.release(await pool.acquire())
    lab.server.fail("close", ConnectionLost("gone"))
    await pool.close()
    lab.check_closed(pool)
    assert lab.server.drivers[0].aborts == 1


async def test_upkeep_that_even_an_abort_does_not_end_is_cancelled(lab):
    class Stuck(lab.FakeDriver):
        __slots__ = ()

        async def reset(self):
            await asyncio.get_running_loop().create_future()

    pool = lab.pool(reset_timeout=100.0)
    await pool.open()
    pooled = await pool.acquire()
    pooled.driver.__class__ = Stuck
    pooled.dirty = True
    pool.release(pooled)
    await lab.ticks()
    await pool.close(1.0)
    lab.check_closed(pool)
