"""How many statements a piece of work sends."""

from __future__ import annotations

import asyncio
import logging

import pytest

from aurora_sql import (
    DeadlineExceeded,
    ParameterError,
    RepeatedStatement,
    StatementBudgetExceeded,
    UsageError,
    count_statements,
    current_deadline,
    deadline,
)
from aurora_sql.migrations import apply, new


async def test_everything_that_is_sent_counts(db):
    with count_statements() as counted:
        await db.sql.items.count()
        await db.writer.sql.items.plain()
        await asyncio.gather(*(db.sql.items.rename(id=n, name=f"x{n}") for n in range(3)))
        assert [row async for row in db.sql.items.plain.stream()]
        await db.sql.items.rename_many([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
        await db.sql.items.reset()
        await db.fetch_all("SELECT 1")
        await db.execute("SELECT 2")
        async with db.transaction() as tx:
            await tx.sql.items.plain()
            assert [row async for row in tx.sql.items.plain.stream()]
            await tx.sql.items.rename_many([{"id": 1, "name": "c"}])
            await tx.sql.items.reset()
        async with db.session() as session:
            await session.sql.items.plain()
        await db.bulk_update("items", [{"id": 1, "name": "bulk"}], keys=["id"])
    await db.sql.items.plain()
    assert counted.counts == {
        "items.plain": 5,
        "items.rename": 3,
        "items.rename_many": 2,
        "items.reset": 2,
        "<ad hoc>": 2,
        "items.count": 1,
    }
    assert list(counted.counts)[:2] == ["items.plain", "items.rename"]
    assert counted.total == 15
    assert "5 x items.plain" in str(counted)


async def test_what_is_not_sent_does_not_count(db):
    with count_statements() as counted:
        await asyncio.gather(*(db.sql.items.get(id=1) for _ in range(5)))
        await db.sql.items.get(id=1)
        assert counted.counts == {"items.get": 1}
        with pytest.raises(ParameterError):
            await db.sql.items.plain(nothing=1)
        assert counted.total == 1


async def test_what_the_library_sends_itself_does_not_count(db, settings, tmp_path):
    new(tmp_path, "commit markers", commit_markers=True)
    await apply(settings, tmp_path)

    async def work(tx):
        await tx.sql.items.rename(id=1, name="new")

    with count_statements() as counted:
        await db.run_in_transaction(work)
        await db.sql.items.rename_once(id=1, name="newer")
    assert counted.counts == {"items.rename": 1, "items.rename_once": 1}


async def test_a_statement_too_many_is_not_sent(db, executions):
    with count_statements(limit=2) as counted:
        for n in (1, 2):
            await db.sql.items.get(id=n)
        for call in (
            lambda: db.sql.items.get(id=3),
            lambda: db.writer.sql.items.get(id=3),
            db.sql.items.reset,
            lambda: db.sql.items.rename_many([{"id": 1, "name": "x"}]),
            lambda: anext(aiter(db.sql.items.plain.stream())),
        ):
            with pytest.raises(StatementBudgetExceeded) as raised:
                await call()
            assert raised.value.retry_safe
        await db.sql.items.get(id=1)  # from the cache
    assert "at most 2 statements" in str(raised.value)
    assert "2 x items.get" in str(raised.value)
    assert counted.total == 2
    assert await executions() == 2
    with count_statements(limit=0), pytest.raises(StatementBudgetExceeded):
        await db.sql.items.get(id=4)


async def test_a_transaction_goes_on_after_a_statement_too_many(db, outside):
    with count_statements(limit=2):
        async with db.transaction() as tx:
            await tx.sql.items.plain()
            await tx.sql.items.rename(id=1, name="new")
            with pytest.raises(StatementBudgetExceeded):
                await tx.sql.items.plain()
    assert await outside.fetchval("SELECT name FROM items WHERE id = 1") == "new"


async def test_a_budget_of_the_first_caller_fails_nobody_else(db, gate, waiting_calls):
    async def poor():
        with count_statements(limit=0):
            await db.sql.items.gated(id=1)

    first = asyncio.create_task(poor())
    second = asyncio.create_task(db.sql.items.gated(id=1))
    with pytest.raises(StatementBudgetExceeded):
        await first
    await gate.waiting(1)
    await gate.open()
    assert await second == 1


async def test_a_warning_once_for_each_statement(opened, caplog):
    events = []
    async with opened(observers=[events.append]) as db:
        with count_statements(warn_at=3), caplog.at_level(logging.WARNING):
            for n in range(5):
                await db.sql.items.plain(above=n)
                await db.sql.items.rename(id=n, name=f"x{n}")
                await db.fetch_all(f"SELECT {n}")
    told = [event for event in events if isinstance(event, RepeatedStatement)]
    assert [(event.statement, event.runs) for event in told] == [
        ("items.plain", 3),
        ("items.rename", 3),
    ]
    assert "coalesce: on" in told[0].advice
    assert ":batch" in told[1].advice
    warnings = [one.getMessage() for one in caplog.records if "in one context" in one.message]
    assert len(warnings) == 2
    assert "items.sql:" in warnings[0]


async def test_blocks_nest_and_end(db):
    with count_statements() as outer:
        await db.sql.items.plain()
        with count_statements(limit=1) as inner:
            await db.sql.items.plain()
            with pytest.raises(StatementBudgetExceeded):
                await db.sql.items.plain()
        await db.sql.items.plain()
    await db.sql.items.plain()
    assert (outer.total, inner.total) == (4, 1)


async def test_tasks_count_for_the_block_they_were_started_in(db):
    async def work():
        await db.sql.items.plain()

    early = asyncio.Event()

    async def later():
        await early.wait()
        await work()

    before = asyncio.create_task(later())
    with count_statements() as counted:
        early.set()
        await asyncio.gather(before, asyncio.create_task(work()))
    assert counted.total == 1


async def test_a_deadline_and_a_count_are_independent(db):
    assert current_deadline() is None
    with count_statements() as outer:
        assert current_deadline() is None
        with deadline(60) as limit:
            assert current_deadline() == limit.at
            assert type(current_deadline()) is float
            await db.sql.items.plain()
            with count_statements() as inner:
                assert current_deadline() == limit.at
                await db.sql.items.plain()
                with deadline(0), pytest.raises(DeadlineExceeded):
                    await db.sql.items.plain()
                with deadline(90) as longer:
                    assert longer.at == limit.at == current_deadline()
            assert current_deadline() == limit.at
        await db.sql.items.plain()
        assert current_deadline() is None
    assert (outer.total, inner.total) == (4, 2)


def test_what_makes_no_sense_is_refused():
    for limits in ({"limit": -1}, {"limit": 1.5}, {"limit": True}, {"warn_at": 0}):
        with pytest.raises(ParameterError, match=next(iter(limits))):
            count_statements(**limits)
    counted = count_statements()
    with counted, pytest.raises(UsageError), counted:
        pass
    with counted:  # again, when it is free
        assert counted.total == 0
