"""Drills 15 and 22: many more callers than connections, and transactions that get in each other's way."""

import asyncio
from contextlib import suppress

import pytest

from aurora_sql import AuroraError, ConflictError
from tests.drills.load import is_entry, under_load

CALLERS = 2_000


async def test_two_thousand_callers_on_ten_connections(
    opened, look, markers, check, length, rng, ledger, on_mysql
):
    """A third of them is patient, a third in a hurry, a third changes its mind."""
    units = length(1, 20)

    async def caller(name, db, limit):
        for _ in range(units):
            with suppress(AuroraError), ledger.unit(limit) as number:
                await db.sql.ledger.add(id=number, caller=-1 - name)

    async def most_sessions():
        # On MySQL with the monitor's, and one beside each that is told to stop what it does.
        most = 10 if not on_mysql else 21
        async with look() as outside:
            while True:
                assert await outside.count_sessions() <= most
                await asyncio.sleep(0.05)

    async with opened(max_pool_size=10) as db:
        watching = asyncio.create_task(most_sessions())
        limits = {0: 60.0, 1: 0.3, 2: 60.0}
        callers = [asyncio.create_task(caller(n, db, limits[n % 3])) for n in range(CALLERS)]
        for task in callers[2::3]:
            asyncio.get_running_loop().call_later(rng.uniform(0, 0.8 * units), task.cancel)
            ledger.faults += 1
        ended = await asyncio.gather(*callers, return_exceptions=True)
        assert {type(one) for one in ended} <= {type(None), asyncio.CancelledError}
        assert all(one is None for one in ended[0::3])
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    assert len(ledger.read().acknowledged) >= CALLERS / 3
    await check()


async def deadlock(tx, number, rng):
    """Two rows, locked in any order, so that callers lock each other out."""
    for row in rng.sample(range(1, 5), 2):
        await tx.sql.ledger.count_up(id=row)
    await tx.execute("UPDATE counters SET value = value - 1 WHERE id = 8")
    return await tx.sql.ledger.add(id=number, caller=0)


async def skew(tx, number, rng):
    """What was read decides what is written: only one of several such can have its way."""
    one, other = rng.sample(range(1, 9), 2)
    await tx.fetch_value("SELECT sum(value) FROM counters WHERE id = :id", {"id": one})
    await tx.sql.ledger.count_up(id=other)
    return await tx.sql.ledger.add(id=number, caller=0)


@pytest.mark.parametrize("retries", [3, 1000], ids=["some retries", "any number of retries"])
@pytest.mark.parametrize("work", [deadlock, skew])
async def test_a_storm_of_conflicts(
    opened, outside, markers, check, length, rng, ledger, work, retries, on_mysql
):
    """Whoever loses runs again, as often as the settings say; the figures are right in the end."""
    isolation = "read committed" if work is deadlock else "serializable"
    ledger.most_retries = retries
    lost = []

    async def caller(db, ledger, name, limit):
        try:
            with ledger.unit(limit) as number:
                entry = await db.transaction(isolation=isolation).run(work, number, rng)
                assert is_entry(entry, number, 0)
        except ConflictError as error:
            lost.append(error)

    if not on_mysql:  # there it is found at once
        await outside.execute("ALTER DATABASE aurora SET deadlock_timeout = '5ms'")
    try:
        changes = {"max_retry_count": retries, "retry_budget": 0 if retries > 3 else 500}
        async with (
            opened(**changes, max_pool_size=10) as db,
            under_load(db, ledger, caller, callers=10, limit=30.0),
        ):
            await asyncio.sleep(length(1.0, 20))
    finally:
        if not on_mysql:
            await outside.execute("ALTER DATABASE aurora RESET deadlock_timeout")
    ledger.faults = ledger.replays
    assert ledger.replays
    assert all(error.retry_safe for error in lost)
    assert retries == 3 or not lost
    await check()


async def test_a_crowd_on_one_row(opened, markers, check, length, ledger):
    """They wait in line; nobody is starved."""

    async def work(tx, number, caller):
        await tx.sql.ledger.count_up(id=1)
        await tx.sql.ledger.add(id=number, caller=caller)

    async def caller(name):
        with ledger.unit(60.0) as number:
            await db.run_in_transaction(work, number, name)

    async with opened(max_pool_size=10) as db:
        await asyncio.gather(*(caller(name) for name in range(length(200, 2_000))))
    assert not ledger.read().in_doubt
    await check()
