"""Answers that are kept, and statements that are counted, on each kind of server."""

from __future__ import annotations

import asyncio

import pytest

from aurora_sql import StatementBudgetExceeded, UniqueViolation, count_statements


class _Undo(Exception):
    """Rolls a transaction back."""


async def test_an_answer_is_kept_until_a_write_is_applied(db, outside):
    async def owner():
        return (await db.sql.accounts.kept(id=1)).owner

    assert await asyncio.gather(*(owner() for _ in range(5))) == ["owner 1"] * 5
    assert (db.cache_stats().misses, db.cache_stats().joined) == (1, 4)
    await outside.execute("UPDATE accounts SET owner = 'unseen' WHERE id = 1")
    with pytest.raises(UniqueViolation):
        await db.sql.accounts.rename(id=1, owner="owner 2")
    with pytest.raises(_Undo):
        async with db.transaction() as tx:
            await tx.sql.accounts.rename(id=1, owner="undone")
            assert (await tx.sql.accounts.kept(id=1)).owner == "undone"
            raise _Undo
    assert await owner() == "owner 1"
    async with db.transaction() as tx:
        await tx.sql.accounts.rename(id=1, owner="in a transaction")
        assert await owner() == "owner 1"
    assert await owner() == "in a transaction"
    assert await db.sql.accounts.rename(id=1, owner="alone") == 1
    assert await owner() == "alone"


async def test_what_is_sent_counts(db):
    with count_statements(limit=3) as counted:
        await db.sql.accounts.get(id=1)
        await db.sql.accounts.kept(id=1)
        await db.sql.accounts.kept(id=1)
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=1)
            with pytest.raises(StatementBudgetExceeded):
                await tx.sql.accounts.deposit(id=1, amount=1)
    assert counted.counts == {"accounts.get": 1, "accounts.kept": 1, "accounts.deposit": 1}
    assert (await db.sql.accounts.get(id=1)).balance == 101
