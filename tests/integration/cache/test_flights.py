"""Calls that share a query: who waits, who gives up, and what becomes of the query."""

from __future__ import annotations

import asyncio

import pytest

from aurora_sql import DeadlineExceeded, PoolClosed, ProgrammingError, deadline


async def test_equal_calls_at_the_same_moment_are_one_query(db, gate, executions):
    calls = [asyncio.create_task(db.sql.items.gated(id=1)) for _ in range(20)]
    await gate.waiting(1)
    await gate.open()
    assert set(await asyncio.gather(*calls)) == {1}
    assert await executions() == 1
    stats = db.cache_stats()
    assert (stats.misses, stats.joined, stats.hits) == (1, 19, 0)


async def test_the_age_counts_from_when_the_query_was_sent(db, gate, clock, executions):
    call = asyncio.create_task(db.sql.items.gated(id=1))
    await gate.waiting(1)
    clock.advance(4)
    await gate.open()
    assert await call == 1
    assert await db.sql.items.gated(id=1) == 1
    clock.advance(1.1)
    assert await db.sql.items.gated(id=1) == 2


async def test_nobody_joins_a_query_that_was_sent_too_long_ago(
    db, gate, clock, executions, waiting_calls
):
    old = asyncio.create_task(db.sql.items.gated(id=1))
    await gate.waiting(1)
    clock.advance(5.1)
    new = asyncio.create_task(db.sql.items.gated(id=1))
    await gate.waiting(2)
    third = asyncio.create_task(db.sql.items.gated(id=1))
    await waiting_calls(db, 3)
    await gate.open()
    await asyncio.gather(old, new, third)
    assert await executions() == 2
    assert (db.cache_stats().misses, db.cache_stats().joined) == (2, 1)
    # The older one ended as well, and was not kept in place of the newer one.
    assert await db.sql.items.gated(id=1) == new.result() == third.result()


async def test_a_deadline_is_its_callers_own(db, gate, executions, waiting_calls):
    patient = asyncio.create_task(db.sql.items.gated(id=1))
    await gate.waiting(1)
    with deadline(0.01), pytest.raises(DeadlineExceeded) as raised:
        await db.sql.items.gated(id=1)
    assert "items.gated" in str(raised.value)
    await gate.waiting(1)
    await gate.open()
    assert await patient == 1
    assert await executions() == 1


async def test_the_first_callers_deadline_binds_nobody_else(db, gate, executions, waiting_calls):
    async def hasty():
        with deadline(0.3):
            return await db.sql.items.gated(id=1)

    first = asyncio.create_task(hasty())
    await waiting_calls(db, 1)
    second = asyncio.create_task(db.sql.items.gated(id=1))
    await waiting_calls(db, 2)
    with pytest.raises(DeadlineExceeded):
        await first
    await gate.open()
    assert await second == 1
    assert await executions() == 1


async def test_a_deadline_that_has_passed_sends_nothing(db, executions):
    with deadline(0), pytest.raises(DeadlineExceeded):
        await db.sql.items.get(id=1)
    assert await executions() == 0
    await db.sql.items.get(id=1)
    with deadline(0):  # it takes no time
        await db.sql.items.get(id=1)


async def test_the_first_callers_cancellation_cancels_nobody_else(db, gate, waiting_calls):
    first, second = (asyncio.create_task(db.sql.items.gated(id=1)) for _ in range(2))
    await gate.waiting(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await gate.waiting(1)
    await gate.open()
    assert await second == 1


async def test_the_query_ends_with_the_last_who_waits(db, gate, executions, at_rest):
    calls = [asyncio.create_task(db.sql.items.gated(id=1)) for _ in range(3)]
    await gate.waiting(1)
    for call in calls:
        call.cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in done)
    await gate.waiting(0)  # still closed: it was cancelled at the server
    await at_rest(db)
    await gate.open()
    assert await db.sql.items.gated(id=1) == await executions()


async def test_a_new_call_does_not_join_what_was_given_up(db, gate, waiting_calls):
    call = asyncio.create_task(db.sql.items.gated(id=1))
    await gate.waiting(1)
    call.cancel()
    again = asyncio.create_task(db.sql.items.gated(id=1))
    await waiting_calls(db, 2)
    with pytest.raises(asyncio.CancelledError):
        await call
    await gate.waiting(1)
    await gate.open()
    assert await again > 0


async def test_who_joined_late_outlives_the_querys_time(db, gate, waiting_calls):
    first = asyncio.create_task(db.sql.items.gated_briefly())
    await waiting_calls(db, 1)
    await gate.waiting(1)
    second = asyncio.create_task(db.sql.items.gated_briefly())
    await waiting_calls(db, 2)
    # Whether its own time is over by then depends on how late it came.
    with pytest.raises(DeadlineExceeded):
        await first
    with pytest.raises(DeadlineExceeded):
        await second
    await gate.open()
    assert await db.sql.items.gated_briefly() > 0


async def test_all_who_wait_get_the_error_each_its_own(db, gate, outside):
    calls = [asyncio.create_task(db.sql.items.gated_name(id=1)) for _ in range(3)]
    await gate.waiting(1)
    async with asyncio.timeout(30):
        await outside.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND NOT granted"
        )
        errors = await asyncio.gather(*calls, return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
    assert len({type(error) for error in errors}) == 1
    assert all("gated_name" in "".join(error.__notes__) for error in errors)
    await gate.open()
    assert await db.sql.items.gated_name(id=1) == "item 1"


async def test_a_failing_statement_fails_each_time(db, outside):
    await outside.execute("ALTER TABLE items RENAME TO things")
    for _ in range(2):
        with pytest.raises(ProgrammingError):
            await db.sql.items.get(id=1)
    await outside.execute("ALTER TABLE things RENAME TO items")
    assert (await db.sql.items.get(id=1)).id == 1


async def test_closing_waits_for_queries_under_way(opened, gate):
    async with opened() as db:
        calls = [asyncio.create_task(db.sql.items.gated(id=1)) for _ in range(2)]
        await gate.waiting(1)
        opening = asyncio.create_task(gate.open())
    await opening
    assert await asyncio.gather(*calls) == [1, 1]


async def test_what_is_left_at_the_end_is_cancelled(db, gate):
    calls = [asyncio.create_task(db.sql.items.gated(id=1)) for _ in range(2)]
    await gate.waiting(1)
    await db._shared.context.cache.close()
    for call in calls:
        with pytest.raises(PoolClosed, match=r"items\.gated"):
            await call
    await gate.waiting(0)
    assert not [one for one in asyncio.all_tasks() if "_query" in repr(one)]
