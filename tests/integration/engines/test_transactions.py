"""Transactions: all or nothing, once, and nobody else's state."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from aurora_sql import (
    AuroraError,
    CheckViolation,
    DeadlineExceeded,
    ForeignKeyViolation,
    NotNullViolation,
    TransactionAborted,
    UniqueViolation,
    deadline,
)


async def test_a_transaction_commits_and_rolls_back(db, outside):
    async with db.transaction() as tx:
        await tx.sql.accounts.deposit(id=1, amount=5)
        assert await outside.value("SELECT balance FROM accounts WHERE id = 1") == 100
    assert await outside.value("SELECT balance FROM accounts WHERE id = 1") == 105
    with pytest.raises(LookupError):
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=5)
            raise LookupError
    assert await outside.value("SELECT balance FROM accounts WHERE id = 1") == 105


async def test_a_savepoint_undoes_its_part(db, outside):
    async with db.transaction() as tx:
        await tx.sql.accounts.deposit(id=1, amount=1)
        with pytest.raises(UniqueViolation):
            async with tx.savepoint():
                await tx.sql.accounts.deposit(id=1, amount=10)
                await tx.sql.accounts.add(id=1, owner="x", balance=0)
        await tx.sql.accounts.deposit(id=1, amount=2)
    assert await outside.value("SELECT balance FROM accounts WHERE id = 1") == 103


async def test_a_swallowed_error_dooms_the_transaction(db, outside):
    with pytest.raises(TransactionAborted):
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=1)
            with pytest.raises(UniqueViolation):
                await tx.sql.accounts.add(id=1, owner="x", balance=0)
    assert await outside.value("SELECT balance FROM accounts WHERE id = 1") == 100


async def test_violations_name_their_constraint(db):
    with pytest.raises(UniqueViolation) as caught:
        await db.sql.accounts.add(id=11, owner="owner 1", balance=0)
    assert caught.value.constraint == "accounts_owner_key"
    with pytest.raises(CheckViolation) as caught:
        await db.sql.accounts.add(id=11, owner="x", balance=-1)
    assert caught.value.constraint == "accounts_balance_check"
    with pytest.raises(ForeignKeyViolation) as caught:
        await db.execute("INSERT INTO notes (account_id, text) VALUES (99, 'x')")
    assert caught.value.constraint == "notes_account_fkey"
    with pytest.raises(NotNullViolation):
        await db.execute("INSERT INTO notes (account_id, text) VALUES (1, NULL)")


async def test_a_read_only_transaction_refuses_to_write(db):
    with pytest.raises(AuroraError) as caught:
        async with db.transaction(read_only=True) as tx:
            await tx.sql.accounts.deposit(id=1, amount=1)
    assert caught.value.retry_safe or not caught.value.outcome_unknown
    assert (await db.sql.accounts.get(id=1)).balance == 100


async def test_isolation_is_of_one_transaction_alone(db, outside):
    async with db.transaction(isolation="repeatable read") as tx:
        assert (await tx.sql.accounts.get(id=1)).balance == 100
        await outside.execute("UPDATE accounts SET balance = 1 WHERE id = 1")
        assert (await tx.sql.accounts.get(id=1)).balance == 100
    async with db.transaction(isolation="read committed") as tx:
        assert (await tx.sql.accounts.get(id=1)).balance == 1
        await outside.execute("UPDATE accounts SET balance = 2 WHERE id = 1")
        assert (await tx.sql.accounts.get(id=1)).balance == 2


async def move(tx, source, target):
    await tx.sql.accounts.lock(id=source)
    await asyncio.sleep(0.05)
    await tx.sql.accounts.lock(id=target)
    await tx.sql.accounts.deposit(id=source, amount=Decimal(-1))
    await tx.sql.accounts.deposit(id=target, amount=Decimal(1))


async def test_deadlocks_are_replayed_until_all_are_through(db, outside):
    await asyncio.gather(
        *(db.run_in_transaction(move, *pair) for pair in ((1, 2), (2, 1), (2, 3), (3, 1)))
    )
    assert await outside.value("SELECT sum(balance) FROM accounts") == 1000
    assert await outside.value("SELECT balance FROM accounts WHERE id = 3") == 100


async def test_a_deadline_ends_a_statement_and_frees_its_connection(opened, outside, on_mysql):
    async with opened(max_pool_size=1) as db:
        with pytest.raises(DeadlineExceeded), deadline(0.3):
            await db.sql.accounts.sleep(seconds=30)
        assert await db.sql.accounts.how_many() == 10
        running = (
            "SELECT count(*) FROM information_schema.processlist WHERE info LIKE '%sleep(%'"
            " AND info NOT LIKE '%processlist%'"
            if on_mysql
            else "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%'"
            " AND state = 'active' AND pid <> pg_backend_pid()"
        )
        assert await outside.value(running) == 0


async def test_cancelled_callers_leave_a_clean_pool(opened):
    async with opened(max_pool_size=2) as db:

        async def work(n):
            async with db.transaction() as tx:
                await tx.sql.accounts.deposit(id=1 + n % 5, amount=1)
                await tx.sql.accounts.deposit(id=6, amount=-1)

        for n in range(60):
            task = asyncio.create_task(work(n))
            await asyncio.sleep(0.0007 * (n % 12))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert await db.fetch_value("SELECT sum(balance) FROM accounts") == 1000
        (stats, *_) = db.pool_stats().values()
        assert stats.size <= 2


async def test_a_session_s_state_is_nobody_else_s(opened, on_mysql):
    async with opened(max_pool_size=1, enable_read_replicas=False) as db:
        if on_mysql:
            async with db.transaction() as tx:
                await tx.execute("SET @left = 1")
                await tx.execute("CREATE TEMPORARY TABLE mine (id int)")
                await tx.fetch_value("SELECT get_lock('mine', 0)")
            assert await db.fetch_value("SELECT @left") is None
            assert await db.fetch_value("SELECT is_free_lock('mine')") == 1
        else:
            async with db.transaction() as tx:
                await tx.execute("SET application_name = 'mine'")
                await tx.execute("CREATE TEMP TABLE mine (id int)")
                await tx.fetch_value("SELECT pg_advisory_lock(7)::text")
            assert await db.fetch_value("SHOW application_name") == "aurora_sql"
        with pytest.raises(AuroraError):
            await db.fetch_all("SELECT * FROM mine")
