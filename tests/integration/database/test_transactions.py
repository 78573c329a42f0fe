import asyncio
from decimal import Decimal

import pytest

from aurora_sql import (
    CheckViolation,
    CommitInDoubt,
    ConnectionLost,
    DeadlineExceeded,
    Deadlock,
    LockTimeout,
    ParameterError,
    ReadOnlyInstance,
    RetryScheduled,
    SerializationConflict,
    TransactionAborted,
    UniqueViolation,
    UsageError,
    deadline,
)


async def test_commits_at_the_end_of_the_block(db, balance):
    async with db.transaction() as tx:
        assert await tx.sql.accounts.deposit(id=1, amount=5) == 1
        assert await tx.fetch_value("SELECT balance FROM accounts WHERE id = 1") == Decimal(105)
        assert await balance() == 100
    assert await balance() == 105


async def test_rolls_back_when_the_block_raises(db, balance, sessions):
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=5)
            raise ZeroDivisionError
    assert await balance() == 100
    assert await sessions("idle in transaction%") == 0


async def test_a_swallowed_error_is_not_committed_silently(db, balance):
    with pytest.raises(TransactionAborted, match="nothing of it was applied") as raised:
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=5)
            with pytest.raises(UniqueViolation):
                await tx.sql.accounts.add(id=1, owner="again", balance=0)
    assert raised.value.retry_safe
    assert await balance() == 100


async def test_a_savepoint_confines_a_failure(db, balance):
    async with db.transaction() as tx:
        await tx.sql.accounts.deposit(id=1, amount=5)
        with pytest.raises(CheckViolation):
            async with tx.savepoint():
                await tx.sql.accounts.deposit(id=2, amount=7)
                await tx.sql.accounts.deposit(id=1, amount=-1000)
        async with tx.savepoint(), tx.savepoint():
            await tx.sql.accounts.deposit(id=3, amount=1)
    assert [await balance(one) for one in (1, 2, 3)] == [105, 100, 101]


async def test_isolation_and_read_only_reach_the_server(db):
    async with db.transaction(isolation="serializable", read_only=True) as tx:
        assert await tx.fetch_value("SHOW transaction_isolation") == "serializable"
        with pytest.raises(ReadOnlyInstance):
            async with tx.savepoint():
                await tx.sql.accounts.deposit(id=1, amount=1)
    async with db.transaction(isolation="repeatable_read") as tx:
        assert await tx.fetch_value("SHOW transaction_isolation") == "repeatable read"


async def test_an_unknown_isolation_is_named(db):
    with pytest.raises(ParameterError, match=r"isolation must be one of .* not 'sometimes'"):
        db.transaction(isolation="sometimes")


async def test_a_transaction_over_is_over(db):
    async with db.transaction() as tx:
        get = tx.sql.accounts.get
    with pytest.raises(UsageError, match="this transaction is over"):
        await get(id=1)
    context = db.transaction()
    async with context:
        with pytest.raises(UsageError, match="open already"):
            await context.__aenter__()


async def test_two_tasks_in_one_transaction_are_told_apart(db):
    async with db.transaction() as tx:
        slow = asyncio.create_task(tx.sql.accounts.slow(seconds=0.2))
        await asyncio.sleep(0.05)
        with pytest.raises(UsageError, match="another task is using this transaction"):
            await tx.sql.accounts.get(id=1)
        await slow
        assert (await tx.sql.accounts.get(id=1)).id == 1


async def test_a_block_that_ends_while_a_task_still_runs_rolls_back(db, balance, at_rest):
    with pytest.raises(UsageError, match="while another task was still using it"):
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=5)
            left_behind = asyncio.create_task(tx.sql.accounts.slow(seconds=5))
            await asyncio.sleep(0.05)
    with pytest.raises(ConnectionLost):
        await left_behind
    assert await balance() == 100
    await at_rest(db)


async def test_the_timeout_of_a_transaction_bounds_all_of_it(db, balance, at_rest):
    with pytest.raises(DeadlineExceeded) as raised:
        async with db.transaction(timeout=0.3) as tx:
            await tx.sql.accounts.deposit(id=1, amount=5)
            await tx.sql.accounts.slow(seconds=10)
    assert raised.value.retry_safe
    assert await balance() == 100
    await at_rest(db)


async def test_cancelling_the_caller_rolls_back_and_leaks_nothing(db, balance, at_rest, sessions):
    async def work():
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=5)
            await tx.sql.accounts.slow(seconds=10)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await at_rest(db)
    assert await balance() == 100
    assert await sessions("idle in transaction%") == 0


async def test_cancelling_at_every_await_leaves_the_pool_whole(opened, balance, at_rest):
    """Cancel a transaction after 0, 1, 2, … turns of the loop; it is applied wholly or not."""

    async def work(db):
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=1)
            async with tx.savepoint():
                await tx.sql.accounts.deposit(id=2, amount=1)

    async with opened(max_pool_size=2) as db:
        finished = 0
        for turns in range(0, 60, 1):
            task = asyncio.create_task(work(db))
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.sleep(turns * 0.0001)
            task.cancel()
            try:
                await task
                finished += 1
            except asyncio.CancelledError:
                pass
        await at_rest(db)
        assert db.pool_stats().popitem()[1].size <= 2
        assert await balance(1) == await balance(2) >= 100 + finished
        assert (await db.sql.accounts.get(id=1)).id == 1


async def test_run_in_transaction_replays_a_serialization_conflict(opened, outside, balance):
    events = []
    seen = []

    async def transfer(tx, amount):
        row = await tx.fetch_one("SELECT balance FROM accounts WHERE id = 1")
        seen.append(row.balance)
        if len(seen) == 1:  # somebody else is quicker, once
            await outside.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 1")
        await tx.execute(
            "UPDATE accounts SET balance = :balance WHERE id = 1", {"balance": row.balance + amount}
        )
        return row.balance + amount

    async with opened(observers=[events.append]) as db:
        result = await db.transaction(isolation="repeatable read").run(transfer, amount=10)
    assert seen == [100, 101]
    assert result == await balance() == 111
    retries = [event for event in events if isinstance(event, RetryScheduled)]
    assert [(one.attempt, one.error) for one in retries] == [(1, "SerializationConflict")]


async def test_run_in_transaction_gives_up_in_the_end(opened, outside):
    calls = 0

    async def never(tx):
        nonlocal calls
        calls += 1
        await tx.fetch_one("SELECT balance FROM accounts WHERE id = 1")
        await outside.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 1")
        await tx.execute("UPDATE accounts SET balance = 0 WHERE id = 1")

    async with opened(max_retry_count=2) as db:
        with pytest.raises(SerializationConflict) as raised:
            await db.transaction(isolation="repeatable read").run(never)
    assert calls == 3
    assert any("gave up after 3 attempt(s)" in note for note in raised.value.__notes__)


async def test_nothing_is_replayed_where_retries_are_off(opened, outside):
    calls = 0

    async def once(tx):
        nonlocal calls
        calls += 1
        await tx.fetch_one("SELECT balance FROM accounts WHERE id = 1")
        await outside.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 1")
        await tx.execute("UPDATE accounts SET balance = 0 WHERE id = 1")

    async with opened(enable_retry_on_failure=False) as db:
        with pytest.raises(SerializationConflict):
            await db.transaction(isolation="repeatable read").run(once)
    assert calls == 1


async def test_deadlocks_are_replayed_until_both_are_through(opened, balance):
    async def swap(tx, first, second):
        await tx.sql.accounts.deposit(id=first, amount=1)
        await asyncio.sleep(0.05)
        await tx.sql.accounts.deposit(id=second, amount=1)

    async with opened(max_retry_count=10) as db:
        await db.execute("ALTER SYSTEM SET deadlock_timeout = '50ms'")
        await db.execute("SELECT pg_reload_conf()")
        try:
            await asyncio.gather(
                *(db.run_in_transaction(swap, *pair) for pair in [(1, 2), (2, 1)] * 3)
            )
        finally:
            await db.execute("ALTER SYSTEM RESET deadlock_timeout")
            await db.execute("SELECT pg_reload_conf()")
    assert [await balance(one) for one in (1, 2)] == [106, 106]


async def test_a_connection_lost_before_commit_is_replayed(db, outside, balance):
    attempts = 0

    async def work(tx):
        nonlocal attempts
        attempts += 1
        await tx.sql.accounts.deposit(id=1, amount=5)
        if attempts == 1:
            pid = await tx.fetch_value("SELECT pg_backend_pid()")
            await outside.execute("SELECT pg_terminate_backend($1, 2000)", pid)
        await tx.sql.accounts.deposit(id=2, amount=5)

    await db.run_in_transaction(work)
    assert attempts == 2
    assert [await balance(one) for one in (1, 2)] == [105, 105]


async def test_the_caller_s_own_error_is_never_replayed(db, balance):
    calls = 0

    async def work(tx):
        nonlocal calls
        calls += 1
        await tx.sql.accounts.deposit(id=1, amount=5)
        raise LookupError("the shop is closed")

    with pytest.raises(LookupError):
        await db.run_in_transaction(work)
    assert calls == 1
    assert await balance() == 100


async def test_nowait_fails_at_once_alone_and_is_replayed_in_a_transaction(db, outside):
    transaction = outside.transaction()
    await transaction.start()
    await outside.execute("UPDATE accounts SET balance = 1 WHERE id = 1")
    with pytest.raises(LockTimeout):
        await db.sql.accounts.lock_now(id=1)
    calls = 0

    async def patient(tx):
        nonlocal calls
        calls += 1
        if calls == 2:
            await transaction.rollback()
        return await tx.sql.accounts.lock_now(id=1)

    assert (await db.run_in_transaction(patient)).id == 1
    assert calls == 2


async def test_a_commit_that_is_not_answered_in_time_is_in_doubt(db, outside, balance, at_rest):
    """A deferred trigger keeps COMMIT busy longer than the caller may wait."""
    await outside.execute(
        """
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER dawdle AFTER UPDATE ON accounts
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle();
        """
    )
    with (
        pytest.raises(CommitInDoubt, match="applied as a whole or not at all") as raised,
        deadline(0.3),
    ):
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=5)
    assert raised.value.outcome_unknown
    assert not raised.value.retry_safe
    await at_rest(db)
    # No cancel request was sent: the commit went through behind the caller's back.
    assert await balance() == 105


async def test_a_caller_cancelled_during_commit_gets_its_cancellation_and_the_commit_its_end(
    db, outside, balance, at_rest
):
    await outside.execute(
        """
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER dawdle AFTER UPDATE ON accounts
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle();
        """
    )

    async def work():
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=5)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.25)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await balance() == 105
    await at_rest(db)


async def test_a_lone_deadlock_victim_runs_again(db, outside, balance):
    """A statement of its own that lost a deadlock was not applied, and is sent again."""
    await outside.execute("SET deadlock_timeout = '10s'")
    transaction = outside.transaction()
    await transaction.start()
    await outside.execute("UPDATE accounts SET balance = 1 WHERE id = 2")
    both = asyncio.create_task(
        db.execute("UPDATE accounts SET balance = balance + 1 WHERE id IN (1, 2)")
    )
    await asyncio.sleep(0.1)
    await asyncio.wait_for(outside.execute("UPDATE accounts SET balance = 5 WHERE id = 1"), 10)
    await transaction.commit()
    try:
        assert await both == 2
    except Deadlock:  # pragma: no cover - the retry is what is under test
        pytest.fail("the victim was not run again")
    assert [await balance(one) for one in (1, 2)] == [6, 2]


# --- BEGIN travels with the first statement -----------------------------------------------------


def commands(tx):
    return tx.leased.driver.commands_sent


async def test_begin_takes_no_round_trip_of_its_own(db, balance):
    async with db.transaction() as tx:  # prepares the statement
        await tx.sql.accounts.deposit(id=1, amount=1)
    async with db.transaction() as tx:
        before = commands(tx)
        await tx.sql.accounts.deposit(id=1, amount=1)
        assert commands(tx) == before + 1
        await tx.sql.accounts.deposit(id=1, amount=1)
        assert await balance() == 101
    assert commands(tx) == before + 3
    assert await balance() == 103


async def test_a_block_without_statements_sends_nothing(db):
    async with db.transaction() as tx:
        before = commands(tx)
    assert commands(tx) == before
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as tx:
            raise ZeroDivisionError
    assert commands(tx) == before


async def insert_in_bulk(tx):
    await tx.bulk_insert("accounts", [(50, "fifty", 1)], columns=["id", "owner", "balance"])


async def insert_from_an_iterator(tx):
    rows = iter([(50, "fifty", 1)])
    await tx.bulk_insert("accounts", rows, columns=["id", "owner", "balance"])


async def upsert_in_bulk(tx):
    await tx.bulk_upsert(
        "accounts", [(50, "fifty", 1)], columns=["id", "owner", "balance"], keys=["id"]
    )


async def stream_and_add(tx):
    assert len([row async for row in tx.stream("SELECT id FROM accounts", batch_size=2)]) == 10
    await tx.sql.accounts.add(id=50, owner="fifty", balance=1)


async def add_in_a_savepoint(tx):
    async with tx.savepoint():
        await tx.sql.accounts.add(id=50, owner="fifty", balance=1)


async def add_after_refused_values(tx):
    with pytest.raises(ParameterError):
        await tx.sql.accounts.add(id="x", owner="fifty", balance=1)
    await tx.sql.accounts.add(id=50, owner="fifty", balance=1)


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize(
    "work",
    [
        insert_in_bulk,
        insert_from_an_iterator,
        upsert_in_bulk,
        stream_and_add,
        add_in_a_savepoint,
        add_after_refused_values,
    ],
)
async def test_whatever_comes_first_is_in_the_transaction(opened, balance, work, warm):
    async with opened(min_pool_size=1, max_pool_size=1) as db:
        if warm:
            await db.sql.accounts.add(id=50, owner="fifty", balance=1)
            await db.execute("DELETE FROM accounts WHERE id = 50")
        with pytest.raises(ZeroDivisionError):
            async with db.transaction() as tx:
                await work(tx)
                raise ZeroDivisionError
        assert await balance(50) is None
        async with db.transaction() as tx:
            await work(tx)
        assert await balance(50) == 1


async def test_a_first_statement_that_is_cancelled_leaves_no_transaction(opened, at_rest, sessions):
    async with opened(min_pool_size=1, max_pool_size=1) as db:
        await db.fetch_value("SELECT pg_sleep(:s)", {"s": 0})

        async def wait():
            async with db.transaction() as tx:
                await tx.fetch_value("SELECT pg_sleep(:s)", {"s": 30})

        task = asyncio.create_task(wait())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await at_rest(db)
        assert await sessions("idle in transaction%") == 0
        assert await db.fetch_value("SELECT 1") == 1


async def test_one_transaction_object_entered_twice_at_once(db, at_rest):
    context = db.transaction()

    async def enter():
        async with context as tx:
            await tx.sql.accounts.slow(seconds=0.1)

    found = await asyncio.gather(enter(), enter(), return_exceptions=True)
    assert [type(one) for one in found if one is not None] == [UsageError]
    await at_rest(db)
