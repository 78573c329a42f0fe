"""Writes that travel together: a batch is sent, and its answer, or it itself, never arrives."""

import asyncio
import itertools
from contextlib import suppress

import pytest

from aurora_sql import ConnectionLost
from aurora_sql.local.faults import Close, HalfClose, Reply, Request, Reset
from tests.drills.ledger import QUESTIONS
from tests.drills.load import is_entry

CALLERS = 40
FAULTS = [Reset(), Close(), HalfClose()]
A_BATCH = r"(?s)INSERT INTO ledger .*(unnest|\$3|\), \()"
"""Arrays, a caller's number in each row, or more than one row."""


@pytest.fixture
def break_batches(opened, proxy, outside, check, length, ledger):
    """Let callers write while requests or answers of batches are lost; hold what they are told
    against the server."""

    async def work(name):
        moments = [Reply(A_BATCH), Request(A_BATCH)]
        async with opened() as db:
            add = getattr(db.sql.ledger, name)

            async def unit(number, caller):
                if not proxy.stats.waiting and number > 100 * proxy.stats.injected:  # not all
                    proxy.inject(FAULTS[number % 3], at=moments[number // 3 % 2])
                with suppress(ConnectionLost), ledger.unit(20, number):
                    entry = await add(id=number, caller=-1 - caller)
                    assert entry is None or is_entry(entry, number, -1 - caller)

            with ledger.unit(20, 1 << 30):  # the first call finds out how the others travel
                await add(id=1 << 30, caller=-1)
            await run_callers(unit, proxy, length(40, 1_000))
        ledger.faults = proxy.stats.injected
        await check()
        assert len(ledger.read().in_doubt) >= 2 * ledger.faults  # of each batch, all

    return work


@pytest.fixture
def break_batches_once(opened, proxy, outside, markers, check, length, ledger):
    """The same for calls marked exactly once: nobody sees an error."""

    async def work(name):
        ledger.most_retries = QUESTIONS
        moments = [Reply("COMMIT"), Request("COMMIT"), Request("INSERT INTO ledger")]
        async with opened(max_retry_count=20, retry_budget=0) as db:
            add = getattr(db.sql.ledger, name)

            async def unit(number, caller):
                if not proxy.stats.waiting and number > 30 * proxy.stats.injected:
                    proxy.inject(FAULTS[number % 3], at=moments[number // 3 % 3])
                with ledger.unit(20, number):
                    entry = await add(id=number, caller=-1 - caller)
                    assert entry is None or is_entry(entry, number, -1 - caller)

            await run_callers(unit, proxy, length(30, 1_000))
        ledger.faults = proxy.stats.injected
        await check()
        told = ledger.read()
        assert not told.in_doubt
        assert not told.refused
        # Each batch has one, so that there are fewer than entries where any travelled together.
        markers = await outside.fetchval("SELECT count(*) FROM aurora_sql_commits")
        assert 0 < markers < len(told.acknowledged) / 2

    return work


async def run_callers(unit, proxy, faults):
    """Let callers work until so many faults have struck."""
    numbers = itertools.count()

    async def caller(name):
        while proxy.stats.injected < faults:
            await unit(next(numbers), name)

    async with asyncio.timeout(300), asyncio.TaskGroup() as group:
        for name in range(CALLERS):
            group.create_task(caller(name))


@pytest.mark.timeout(400)
async def test_batches_whose_connection_breaks(break_batches):
    """Each caller is told: it was applied, once, or it is in doubt."""
    await break_batches("add_together_quietly")


@pytest.mark.not_on("mysql", "mariadb", because="a write with a result goes alone there")
@pytest.mark.timeout(400)
async def test_batches_with_results_whose_connection_breaks(break_batches):
    """The same, and whoever is answered gets his own row."""
    await break_batches("add_together")


@pytest.mark.timeout(400)
async def test_batches_marked_exactly_once(break_batches_once):
    """Nobody sees an error, and each entry is there once."""
    await break_batches_once("add_together_quietly_once")


@pytest.mark.not_on("mysql", "mariadb", because="a write with a result goes alone there")
@pytest.mark.timeout(400)
async def test_batches_with_results_marked_exactly_once(break_batches_once):
    """The same, and each caller gets his own row."""
    await break_batches_once("add_together_once")
