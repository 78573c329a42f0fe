"""What becomes of a connection that is given back."""

from __future__ import annotations

import asyncio
import logging

import pytest

from aurora_sql.errors import ConnectionLost


def names(server, driver):
    return [name for name, caller in server.calls if caller is driver]


async def test_clean_it_is_not_touched(lab):
    async with lab.open() as pool:
        pooled = await pool.acquire()
        pool.release(pooled)
        await lab.ticks()
        assert names(lab.server, pooled.driver) == []


async def test_dirty_it_is_reset_in_the_background(lab):
    lab.server.hold("reset")
    async with lab.open() as pool:
        pooled = await pool.acquire()
        pooled.dirty = pooled.driver.touched = True
        pool.release(pooled)  # returns although the server does not answer
        await lab.ticks()
        assert "idle 0, in use 0, opening 0, returning 1" in repr(pool)
        lab.server.free("reset")
        await lab.ticks()
        assert pool.stats().idle == 1
        assert pool.stats().resets == 1
        assert await pool.acquire() is pooled
        assert not pooled.dirty
        assert not pooled.driver.touched
        pool.release(pooled)


async def test_an_open_transaction_is_rolled_back_and_told(lab, caplog):
    async with lab.open() as pool:
        pooled = await pool.acquire()
        await pooled.driver.begin()
        pool.release(pooled)
        await lab.ticks()
        assert names(lab.server, pooled.driver) == ["begin", "rollback"]
        assert pool.stats().idle == 1
    (record,) = (r for r in caplog.records if r.levelno == logging.WARNING)
    assert "inside an open transaction, which is rolled back" in record.getMessage()
    assert "test_returning.py" in record.getMessage()
    assert "test_an_open_transaction_is_rolled_back_and_told" in record.getMessage()


async def test_a_cancelled_command_is_settled_and_then_reset(lab, caplog):
    lab.server.hold("execute")
    async with lab.open() as pool:
        pooled = await pool.acquire()
        task = asyncio.create_task(pooled.driver.execute("SELECT pg_sleep(9)"))
        await lab.ticks()
        task.cancel()
        await lab.ticks()
        assert not pooled.driver.is_settled
        pooled.driver.transaction = True
        pool.release(pooled)
        await lab.ticks()
        assert names(lab.server, pooled.driver) == ["execute", "settle", "rollback", "reset"]
        assert pool.stats().idle == 1
        assert pool.stats().resets == 1
    # The caller was cancelled: that a transaction was open then is nobody's mistake.
    assert "open transaction" not in caplog.text


async def test_what_cannot_be_settled_is_thrown_away(lab):
    async with lab.open() as pool:
        pooled = await pool.acquire()
        pooled.driver.settled = pooled.driver.usable = False
        pool.release(pooled)
        await lab.ticks()
        assert pooled.driver.aborts == 1
        assert pool.stats().size == 0


@pytest.mark.parametrize("step", ["settle", "rollback", "reset"])
@pytest.mark.parametrize("trouble", ["error", "silence"])
async def test_a_connection_that_cannot_be_cleaned_is_replaced(lab, step, trouble, caplog):
    async with lab.open(max_size=1, reset_timeout=2.0) as pool:
        pooled = await pool.acquire()
        pooled.driver.settled = step != "settle"
        pooled.driver.transaction = step == "rollback"
        pooled.dirty = True
        if trouble == "error":
            lab.server.fail(step, ConnectionLost("reset by peer"))
        else:
            lab.server.hold(step)
        start = asyncio.get_running_loop().time()
        pool.release(pooled)
        other = await pool.acquire()
        assert other is not pooled
        assert asyncio.get_running_loop().time() - start == pytest.approx(
            0.0 if trouble == "error" else 2.0, abs=0.01
        )
        assert pooled.driver.aborts == 1
        pool.release(other)
    assert "could not be cleaned and is replaced" in caplog.text


async def test_cleaned_but_still_in_a_transaction_it_is_not_trusted(lab):
    async with lab.open() as pool:
        pooled = await pool.acquire()

        async def lie():
            return None

        class Liar(type(pooled.driver)):
            __slots__ = ()

            async def rollback(self):
                await lie()

        pooled.driver.__class__ = Liar
        pooled.driver.transaction = True
        pool.release(pooled)
        await lab.ticks()
        assert pooled.driver.aborts == 1
        assert pool.stats().size == 0


async def test_a_closed_one_is_forgotten_and_replaced_for_those_who_wait(lab):
    async with lab.open(max_size=1) as pool:
        pooled = await pool.acquire()
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        pooled.driver.closed = True
        pool.release(pooled)
        other = await task
        assert other is not pooled
        assert (pool.stats().opened, pool.stats().closed) == (2, 1)
        pool.release(other)


async def test_a_reset_under_way_is_waited_for_rather_than_opening_another(lab):
    lab.server.hold("reset")
    async with lab.open(max_size=2) as pool:
        pooled = await pool.acquire()
        pooled.dirty = True
        pool.release(pooled)
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        assert lab.server.count("connect") == 1
        lab.server.free("reset")
        assert await task is pooled
        pool.release(pooled)
        assert pool.stats().opened == 1


async def test_but_not_for_long(lab):
    lab.server.hold("reset")
    async with lab.open(max_size=2) as pool:
        pooled = await pool.acquire()
        pooled.dirty = True
        pool.release(pooled)
        start = asyncio.get_running_loop().time()
        other = await pool.acquire()
        assert asyncio.get_running_loop().time() - start == pytest.approx(0.1, abs=0.02)
        assert other is not pooled
        pool.release(other)


async def test_given_back_twice_it_is_told_and_ignored(lab, caplog):
    async with lab.open() as pool:
        pooled = await pool.acquire()
        pool.release(pooled)
        pool.release(pooled)
        assert pool.stats().idle == 1
        assert "was given back twice" in caplog.text
        assert await pool.acquire() is pooled
        pool.release(pooled)


@pytest.mark.parametrize("dirty", [True, False])
async def test_giving_back_never_raises(lab, caplog, dirty):
    class Broken(lab.FakeDriver):
        __slots__ = ()

        @property
        def is_settled(self):
            raise RuntimeError("a bug in the driver")

    async with lab.open(max_size=1) as pool:
        pooled = await pool.acquire()
        task = asyncio.create_task(pool.acquire())
        await lab.ticks()
        pooled.driver.__class__ = Broken
        pooled.dirty = dirty
        pool.release(pooled)
        assert pooled.driver.aborts == 1
        pool.release(await task)  # and the one who waits is served
        assert "a bug in the driver" in caplog.text


@pytest.mark.parametrize("closed", [True, False])
def test_giving_back_when_the_loop_is_over_does_no_harm(lab, closed):
    """A generator collected late may give back its connection when the loop is gone."""

    async def main():
        pool = lab.pool()
        await pool.open()
        pooled = await pool.acquire()
        pooled.dirty = True
        return pool, pooled

    with asyncio.Runner(loop_factory=lab.VirtualLoop) as runner:
        pool, pooled = runner.run(main())
        if not closed:
            pool.release(pooled)
    if closed:
        pool.release(pooled)
    assert (pooled.driver.aborts, pool.stats().size) == (1, 0)


async def test_prepared_statements_stay_with_the_connection(lab):
    async with lab.open() as pool:
        pooled = await pool.acquire()
        pooled.prepared["a"] = "statement"
        pooled.dirty = True
        pool.release(pooled)
        await lab.ticks()
        pooled = await pool.acquire()
        assert pooled.prepared == {"a": "statement"}
        pool.release(pooled)


async def test_a_command_still_on_its_way_is_not_counted_on(lab):
    """Settling may take as long as the statement: the next caller gets a new connection at once."""
    lab.server.hold("settle")
    async with lab.open(max_size=2) as pool:
        pooled = await pool.acquire()
        pooled.driver.settled = False
        pool.release(pooled)
        start = asyncio.get_running_loop().time()
        other = await pool.acquire()
        assert asyncio.get_running_loop().time() == start
        assert other is not pooled
        pool.release(other)


async def test_upkeep_cancelled_before_it_began_leaks_nothing(lab):
    """As asyncio.run() cancels every task when the main one ends."""
    async with lab.open() as pool:
        pooled = await pool.acquire()
        pooled.dirty = True
        pool.release(pooled)
        (task,) = pool._keeper.tasks
        task.cancel()
        await lab.ticks()
        assert pooled.driver.aborts == 1
        assert pool.stats().size == 0


async def test_no_timer_is_left_after_a_reset(lab):
    async with lab.open() as pool:
        pooled = await pool.acquire()
        pooled.dirty = True
        pool.release(pooled)
        await asyncio.sleep(1)
        assert pool.stats().idle == 1
