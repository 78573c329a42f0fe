"""What observers hear, and that they change nothing."""

import asyncio

import pytest

from aurora_sql import (
    DatabaseError,
    DeadlineExceeded,
    RowNotFound,
    StatementFinished,
    deadline,
)


async def test_observers_hear_of_every_statement(opened):
    events = []
    async with opened(observers=[events.append]) as db:
        await db.sql.accounts.get(id=1)
        with pytest.raises(RowNotFound):
            await db.sql.accounts.get(id=99)
        with pytest.raises(DatabaseError):
            await db.sql.accounts.add(id=1, owner="x", balance=0)
    finished = [event for event in events if isinstance(event, StatementFinished)]
    assert [(one.statement, one.attempts, one.error) for one in finished] == [
        ("accounts.get", 1, None),
        ("accounts.get", 1, "RowNotFound"),
        ("accounts.add", 1, "UniqueViolation"),
    ]
    assert all(one.seconds > 0 and one.instance for one in finished)


async def test_attempts_are_counted_as_they_were_sent(opened, outside):
    events = []
    async with opened(max_pool_size=1, observers=[events.append]) as db:
        query = "SELECT * FROM accounts WHERE id = 99"
        await db.fetch_maybe(query)
        await outside.execute("ALTER TABLE accounts ADD COLUMN note text")
        await db.fetch_maybe(query)
        with deadline(0), pytest.raises(DeadlineExceeded):
            await db.fetch_maybe(query)
    finished = [one for one in events if isinstance(one, StatementFinished)]
    assert [one.attempts for one in finished] == [1, 2, 0]


async def test_an_observer_that_fails_changes_no_result(opened, caplog, outside):
    def broken(event):
        raise LookupError("the observer is broken")

    async with opened(observers=[broken]) as db:
        assert await db.sql.accounts.deposit(id=1, amount=1) == 1
        with pytest.raises(asyncio.CancelledError):
            task = asyncio.create_task(db.sql.accounts.slow(seconds=5))
            await asyncio.sleep(0.1)
            task.cancel()
            await task
    assert "the observer is broken" in caplog.text
