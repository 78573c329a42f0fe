"""How the pool grows, and what it does when it cannot."""

from __future__ import annotations

import asyncio
import logging

import pytest

from aurora_sql.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    PoolTimeout,
    TlsError,
    TooManyConnections,
)

REFUSED = ConnectionFailed("connection refused")


async def test_the_floor_is_filled_one_at_a_time_with_nobody_waiting(lab):
    async with lab.open(min_size=3, max_size=5) as pool:
        await lab.ticks(50)
        assert lab.server.count("connect") == 3
        assert pool.stats().idle == 3
        assert pool.stats().opened == 3


async def test_waiting_callers_make_it_grow_one_at_a_time(lab):
    lab.server.hold("connect")
    async with lab.open(max_size=3) as pool:
        tasks = [asyncio.create_task(pool.acquire()) for _ in range(5)]
        for opened in range(3):
            await lab.ticks()
            assert len(lab.server.held["connect"]) == 1
            stats = pool.stats()
            assert (stats.opening, stats.in_use, stats.waiting) == (1, opened, 5 - opened)
            lab.server.free("connect")
        await lab.ticks()
        assert not lab.server.is_held("connect")
        assert pool.stats().waiting == 2
        for task in tasks:
            pool.release(await task)


async def test_a_connection_given_back_serves_the_caller_before_the_new_one_does(lab):
    async with lab.open(max_size=2) as pool:
        first = await pool.acquire()
        lab.server.hold("connect")
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        assert lab.server.is_held("connect")
        pool.release(first)
        assert await task is first
        lab.server.free("connect")
        await lab.ticks()
        assert pool.stats().idle == 1  # the new one is kept for the next
        pool.release(first)


async def test_a_cancelled_caller_leaves_the_connect_to_go_on(lab):
    lab.server.hold("connect")
    async with lab.open() as pool:
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        task.cancel()
        await lab.ticks()
        assert (pool.stats().opening, pool.stats().waiting) == (1, 0)
        lab.server.free("connect")
        await lab.ticks()
        assert pool.stats().idle == 1


async def test_after_a_failure_the_next_attempt_waits_longer_each_time(lab):
    lab.server.fail("connect", *[REFUSED] * 6)
    async with lab.open(connect_retry_base=0.1, connect_retry_cap=0.8) as pool:
        loop = asyncio.get_running_loop()
        start = loop.time()
        pooled = await pool.acquire()
        # Between half of and the full 0.1 + 0.2 + 0.4 + 0.8 + 0.8 + 0.8.
        assert 1.55 <= loop.time() - start <= 3.1
        assert pool.stats().open_failures == 6
        pool.release(pooled)


async def test_a_failure_that_may_heal_is_waited_out_until_the_deadline(lab):
    lab.server.fail("connect", *[REFUSED] * 100)
    async with lab.open(acquire_timeout=3.0) as pool:
        start = asyncio.get_running_loop().time()
        with pytest.raises(PoolTimeout, match="connecting fails: connection refused") as caught:
            await pool.acquire()
        assert asyncio.get_running_loop().time() - start == pytest.approx(3.0, abs=0.01)
        assert caught.value.__cause__ is REFUSED
        assert 3 <= lab.server.count("connect") <= 8


async def test_an_impatient_pool_tells_at_once_that_the_server_is_away(lab):
    lab.server.fail("connect", *[REFUSED] * 100)
    async with lab.open(acquire_timeout=30.0, patient=False) as pool:
        start = asyncio.get_running_loop().time()
        results = await asyncio.gather(*(pool.acquire() for _ in range(3)), return_exceptions=True)
        assert asyncio.get_running_loop().time() == start
        assert [type(result) for result in results] == [type(REFUSED)] * 3
        assert not pool.available


async def test_too_many_connections_at_the_server_may_heal(lab):
    lab.server.fail("connect", TooManyConnections("sorry"), OSError("reset"), TimeoutError("slow"))
    async with lab.open() as pool:
        pool.release(await pool.acquire())
        assert pool.stats().open_failures == 3


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationFailed("wrong password"),
        TlsError("unknown authority"),
        ConfigurationError("no such database"),
        TypeError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_cannot_heal_is_told_at_once_to_everybody(lab, error):
    lab.server.fail("connect", *[error] * 10)
    async with lab.open(acquire_timeout=30.0) as pool:
        start = asyncio.get_running_loop().time()
        results = await asyncio.gather(*(pool.acquire() for _ in range(3)), return_exceptions=True)
        assert asyncio.get_running_loop().time() == start
        assert [type(result) for result in results] == [type(error)] * 3
        # Each has an error of its own: one traceback does not grow by another caller's frames.
        assert len({id(result) for result in results}) == 3
        assert all(result.__cause__ is error for result in results)
        assert all(result.args == error.args for result in results)
        assert lab.server.count("connect") == 1
        assert pool.stats().waiting == 0


async def test_while_the_pause_lasts_nobody_hammers_the_server(lab):
    wrong = AuthenticationFailed("wrong password")
    lab.server.fail("connect", wrong, None)
    async with lab.open(connect_retry_base=1.0) as pool:
        for _ in range(50):
            with pytest.raises(AuthenticationFailed):
                await pool.acquire()
        assert lab.server.count("connect") == 1
        await asyncio.sleep(1.1)
        pool.release(await pool.acquire())  # somebody has set the password right
        assert lab.server.count("connect") == 2


async def test_a_wrong_password_is_no_reason_to_fail_while_connections_exist(lab):
    """A rotated password: what is connected stays usable, so that waiting makes sense."""
    async with lab.open(max_size=2) as pool:
        first = await pool.acquire()
        lab.server.fail("connect", *[AuthenticationFailed("rotated")] * 100)
        task = asyncio.create_task(pool.acquire())
        await asyncio.sleep(1.0)
        assert not task.done()
        pool.release(first)
        assert await task is first
        with pytest.raises(AuthenticationFailed, match="rotated") as caught:
            await pool.acquire(asyncio.get_running_loop().time() + 1)
        assert "1 of 2 in use" in caught.value.__notes__[0]
        pool.release(first)


async def test_a_caller_who_waits_learns_it_once_the_last_connection_is_gone(lab):
    async with lab.open(max_size=2) as pool:
        first = await pool.acquire()
        lab.server.fail("connect", *[AuthenticationFailed("rotated")] * 100)
        task = asyncio.create_task(pool.acquire())
        await asyncio.sleep(1.0)
        first.driver.closed = True
        pool.release(first)
        with pytest.raises(AuthenticationFailed):
            await asyncio.wait_for(task, 5.0)


async def test_a_connection_that_arrives_closed_counts_as_a_failure(lab):
    pool = lab.pool(acquire_timeout=1.0)
    connect = lab.server.connect

    async def short_lived():
        driver = await connect()
        driver.closed = True
        return driver

    pool._opener._connect = short_lived
    await pool.open()
    with pytest.raises(PoolTimeout, match="closed the connection at once"):
        await pool.acquire()
    assert lab.server.count("connect") < 10
    await pool.close()


async def test_the_floor_is_kept_when_a_connection_breaks(lab):
    async with lab.open(min_size=2) as pool:
        await lab.ticks()
        pooled = await pool.acquire()
        pooled.driver.closed = True
        pool.release(pooled)
        await lab.ticks()
        assert (pool.stats().idle, pool.stats().opened, pool.stats().closed) == (2, 3, 1)


async def test_the_floor_comes_back_by_itself_after_an_outage(lab):
    lab.server.fail("connect", *[REFUSED] * 5)
    async with lab.open(min_size=2) as pool:
        assert pool.available
        await lab.ticks()
        assert not pool.available
        await asyncio.sleep(10)
        assert pool.stats().idle == 2
        assert pool.available


async def test_without_a_floor_a_caller_may_try_after_the_pause(lab):
    lab.server.fail("connect", REFUSED)
    async with lab.open(connect_retry_base=1.0) as pool:
        with pytest.raises(PoolTimeout):
            await pool.acquire(asyncio.get_running_loop().time() + 0.1)
        assert not pool.available
        await asyncio.sleep(1.0)
        assert pool.available
    assert not pool.available


async def test_failures_are_logged_ever_less_often_and_without_a_password(lab, caplog):
    caplog.set_level(logging.WARNING, "aurora_sql.pool")
    lab.server.fail("connect", *[REFUSED] * 20)
    async with lab.open(min_size=1):
        await asyncio.sleep(60)
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split("(")[1].split(" ")[0] for message in messages] == [
        *("1", "2", "4", "8", "16")
    ]
    assert "ConnectionFailed: connection refused" in messages[0]


async def test_load_counts_callers_with_and_without_a_connection(lab):
    async with lab.open(max_size=1) as pool:
        assert pool.load == 0
        pooled = await pool.acquire()
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        assert pool.load == 2
        pool.release(pooled)
        pool.release(await task)
        assert pool.load == 0
