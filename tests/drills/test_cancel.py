"""Drill 14: whole units of work, cancelled at every await."""

import asyncio
import itertools

import pytest

from tests.drills.load import place

NUMBERS = "SELECT n FROM numbers WHERE n <= 30 ORDER BY n"


class CancelAt:
    """Awaits a coroutine and cancels the task that does so where it waits for the n-th time.

    Args:
        work: The coroutine.
        number: Which wait, from 1.
        turns: Turns of the loop between the begin of that wait and the cancellation: what was
            waited for may have come meanwhile.
    """

    def __init__(self, work, number, turns):
        self._work = work
        self._left = number
        self._turns = turns

    @property
    def reached(self):
        return self._left <= 0

    def __await__(self):
        task, steps = asyncio.current_task(), self._work.__await__()
        send = steps.send, None
        while True:
            try:
                waited = send[0](send[1])
            except StopIteration as end:
                return end.value
            self._left -= 1
            if self._left == 0:
                self._cancel(task, self._turns)
            try:
                send = steps.send, (yield waited)
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's
                send = steps.throw, error

    def _cancel(self, task, turns):
        if turns == 0:
            task.cancel()
        else:
            asyncio.get_running_loop().call_soon(self._cancel, task, turns - 1)


async def transaction(db, number):
    async with db.transaction() as tx:
        async with tx.savepoint():
            await tx.sql.ledger.count_up(id=1)
        await tx.sql.ledger.add(id=number, caller=0)


async def replayed(db, number):
    await db.run_in_transaction(place, number, 0)


async def once(db, number):
    await db.sql.ledger.add_once(id=number, caller=-1)


async def plain(db, number):
    await db.sql.ledger.add(id=number, caller=-1)


async def bulk(db, number):
    await db.bulk_insert("ledger", [(number, -1)], columns=("id", "caller"))


async def streamed(db, number):
    async with db.transaction() as tx:
        async for row in tx.stream(NUMBERS, batch_size=10):
            if row.n == 15:
                await tx.sql.ledger.add(id=number, caller=-1)


@pytest.mark.parametrize("turns", [0, 1, 2], ids=["at once", "a turn later", "two turns later"])
@pytest.mark.parametrize("work", [transaction, replayed, once, plain, bulk, streamed])
async def test_cancelled_at_every_await(opened, markers, check, at_rest, ledger, work, turns):
    """Nothing is left of it but what it wrote, as a whole or not at all."""

    async def caller(db, wait):
        with ledger.unit() as number:
            cancelling = CancelAt(work(db, number), wait, turns)
            await cancelling
            await asyncio.sleep(0)  # the cancellation may come after its end
            return cancelling.reached

    async with opened(max_pool_size=1) as db:
        for fresh in (False, True):
            for wait in itertools.count(1):
                if fresh:  # what is prepared and looked up on first use is cancelled as well
                    db._shared.cluster.writer_pool.evict()
                task = asyncio.create_task(caller(db, wait))
                await asyncio.wait([task], timeout=20)
                assert task.done(), "it hangs"
                ledger.faults += task.cancelled()
                await at_rest(db)
                if not task.cancelled() and not task.result():
                    break
            assert wait > 3
    await check()
