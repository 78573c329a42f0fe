"""Drills 5 and 6: COMMIT is sent and its answer, or it itself, never arrives."""

import asyncio
import itertools

import pytest

from aurora_sql import CommitInDoubt, CommitResolved, ConfigurationError, ConnectionLost
from aurora_sql.local.faults import Close, HalfClose, Reply, Request, Reset
from tests.drills.ledger import QUESTIONS
from tests.drills.load import is_entry, place

CALLERS = 4


async def run_callers(unit, proxy, faults):
    """Let several callers work until so many faults have struck; return the units of work."""
    numbers = itertools.count()

    async def caller(name):
        while proxy.stats.injected < faults:
            await unit(next(numbers), name)

    async with asyncio.timeout(300), asyncio.TaskGroup() as group:
        for name in range(CALLERS):
            group.create_task(caller(name))
    return next(numbers)


@pytest.mark.telling
@pytest.mark.timeout(400)
@pytest.mark.parametrize("moment", [Reply("COMMIT"), Request("COMMIT")], ids=["reply", "request"])
async def test_commits_whose_connection_breaks(
    opened, proxy, outside, markers, check, length, ledger, moment
):
    faults = [Reset(), Close(), HalfClose()]
    wanted = length(60, 1_000)
    ledger.most_retries = QUESTIONS
    async with opened() as db:

        async def unit(number, caller):
            if not proxy.stats.waiting:  # of several, one message would set off all
                proxy.inject(faults[number % 3], at=moment)
            with ledger.unit(20, number):
                assert is_entry(await db.run_in_transaction(place, number, caller), number, caller)

        units = await run_callers(unit, proxy, wanted)
    ledger.faults = proxy.stats.injected
    # Each doubt was settled. A half-closed connection still delivers the request.
    assert ledger.resolved == proxy.stats.injected
    undone = ledger.resolved - ledger.applied
    assert undone == 0 if isinstance(moment, Reply) else undone >= wanted * 0.6
    await check()
    assert await outside.fetchval("SELECT sum(value) FROM counters") == units


@pytest.mark.telling
@pytest.mark.timeout(400)
async def test_a_write_marked_exactly_once(opened, proxy, outside, markers, check, length, ledger):
    ledger.most_retries = QUESTIONS
    moments = [Reply("COMMIT"), Request("COMMIT"), Request("INSERT INTO ledger")]
    # Of four callers, one may meet the faults of the others many times in a row.
    async with opened(max_retry_count=20, retry_budget=0) as db:

        async def unit(number, caller):
            if not proxy.stats.waiting:
                proxy.inject(Reset(), at=moments[number % 3])
            with ledger.unit(20, number):
                entry = await db.sql.ledger.add_once(id=number, caller=-1 - caller)
                assert is_entry(entry, number, -1 - caller)

        await run_callers(unit, proxy, length(30, 1_000))
    ledger.faults = proxy.stats.injected
    await check()


async def test_without_markers_the_doubt_is_told(opened, proxy, outside, check, ledger):
    await outside.execute("DROP TABLE IF EXISTS aurora_sql_commits")
    async with opened() as db:
        for number in range(10):
            proxy.inject(Reset(), at=[Reply("COMMIT"), Request("COMMIT")][number % 2])
            with pytest.raises(CommitInDoubt) as raised, ledger.unit(10, number):
                await db.run_in_transaction(place, number, 0)
            assert raised.value.outcome_unknown
            assert not raised.value.retry_safe
        with pytest.raises(ConfigurationError, match=r"aurora_sql_commits.*--commit-markers"):
            await db.sql.ledger.add_once(id=99, caller=0)
    ledger.faults = proxy.stats.injected
    await check()
    assert sorted(await outside.written()) == [0, 2, 4, 6, 8]


async def test_nobody_answers_in_time(opened, proxy, outside, markers, check, ledger):
    """While the question cannot be asked, the doubt stays; the caller's deadline holds."""
    ledger.most_retries = QUESTIONS
    async with opened() as db:
        with ledger.unit():
            await db.run_in_transaction(place, 1, 0)
        proxy.inject(Reset(), at=Reply("COMMIT"))
        proxy.inject(Reset(), on="new", at=Request("INSERT INTO aurora_sql_commits"), times=None)
        with pytest.raises(CommitInDoubt) as raised, ledger.unit(1.5):
            await db.run_in_transaction(place, 2, 0)
        assert any("could not find out" in note for note in raised.value.__notes__)
        proxy.heal()
        with ledger.unit():
            await db.run_in_transaction(place, 3, 0)
    ledger.faults = proxy.stats.injected
    await check()


DAWDLE = """
CREATE OR REPLACE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(0.7); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON ledger
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle();
"""
COMMITTING = {
    False: "SELECT count(*) FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'",
    True: "SELECT count(*) FROM information_schema.processlist WHERE info = 'COMMIT'",
}


async def test_the_commit_is_still_under_way(
    opened, proxy, outside, look, markers, check, ledger, on_mysql
):
    """The question waits for a session that is still committing."""
    events, written = [], asyncio.Event()

    async def work(tx, number, caller):
        entry = await place(tx, number, caller)
        written.set()
        if on_mysql:
            # From here on nobody commits: what a trigger at COMMIT does elsewhere.
            await outside.execute("FLUSH TABLES WITH READ LOCK")
        return entry

    if not on_mysql:
        await outside.execute(DAWDLE)
    async with opened([events.append]) as db:

        async def caller():
            with ledger.unit(10, 7):
                return await db.run_in_transaction(work, 7, 3)

        task = asyncio.create_task(caller())
        await asyncio.wait_for(written.wait(), 5)
        async with asyncio.timeout(5), look() as other:
            while not await other.fetchval(COMMITTING[on_mysql]):  # noqa: ASYNC110 - polls a server
                await asyncio.sleep(0.01)
        proxy.inject(Reset(), on="open")
        ledger.faults += 1
        if on_mysql:
            await asyncio.sleep(0.7)
            assert not task.done()
            await outside.execute("UNLOCK TABLES")
        entry = await asyncio.wait_for(task, 10)
    assert is_entry(entry, 7, 3)
    assert [one.applied for one in events if isinstance(one, CommitResolved)] == [True]
    await check()


async def test_an_error_of_the_function_is_not_swallowed(opened, proxy, outside, markers):
    async def fail(tx):
        await tx.sql.ledger.add(id=1, caller=0)
        raise ZeroDivisionError

    async with opened() as db:
        with pytest.raises(ZeroDivisionError):
            await db.run_in_transaction(fail)
        proxy.inject(Reset(), at=Request("INSERT INTO ledger"), times=None)
        with pytest.raises(ConnectionLost) as raised:
            await db.run_in_transaction(place, 1, 0)
        assert raised.value.retry_safe
    assert await outside.written() == []
    assert await outside.fetchval("SELECT count(*) FROM aurora_sql_commits") == 0


OLD_MARKERS = {
    False: (
        "INSERT INTO aurora_sql_commits"
        " SELECT gen_random_uuid(), now() - n * INTERVAL '6 hours' FROM numbers WHERE n <= 10"
    ),
    True: (
        "INSERT INTO aurora_sql_commits (id, committed_at)"
        " SELECT unhex(lpad(n, 32, '0')), now(6) - INTERVAL 6 * n HOUR FROM numbers WHERE n <= 10"
    ),
}


async def test_old_markers_are_deleted(opened, outside, markers, monkeypatch, on_mysql):
    monkeypatch.setattr("aurora_sql.session._markers._PURGE_EVERY", 3)
    await outside.execute(OLD_MARKERS[on_mysql])
    async with opened() as db:
        for number in range(3):
            await db.run_in_transaction(place, number, 0)
    assert await outside.fetchval("SELECT count(*) FROM aurora_sql_commits") == 3 + 3
