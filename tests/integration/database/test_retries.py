"""What runs again and what does not, and how much of it: the writer that was demoted, the budget."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from aurora_sql import (
    ConnectionLost,
    IntegrityError,
    LockTimeout,
    ReadOnlyInstance,
    SerializationConflict,
)
from aurora_sql.instrumentation import RetryScheduled

# Ends its own session, and says of itself that it only reads: it may run again.
FALL = """
-- name: fall :scalar
-- access: read
SELECT pg_terminate_backend(pg_backend_pid());
"""


def retries(events):
    return [(one.what, one.error) for one in events if isinstance(one, RetryScheduled)]


def notes(error):
    return "\n".join(getattr(error, "__notes__", ()))


# -- a writer that was demoted -------------------------------------------------------------------


@pytest.fixture
def read_only_sessions(outside, settings):
    """Sessions that are made in the block accept no writes, also after it."""

    @asynccontextmanager
    async def block():
        what = f'ALTER DATABASE "{settings.database}"'
        await outside.execute(f"{what} SET default_transaction_read_only = on")
        try:
            yield
        finally:
            await outside.execute(f"{what} RESET default_transaction_read_only")

    return block


@pytest.fixture
async def demoted(opened, read_only_sessions, at_rest):
    """A database whose writer has become one again, which its one connection does not know."""
    events = []
    async with opened(observers=[events.append], max_pool_size=1) as db:
        # Opened before, so that the fixture's tables are there.
        async with read_only_sessions():
            db._shared.cluster.writer_pool.evict()
            assert await db.fetch_value("SHOW default_transaction_read_only") == "on"
        yield db, events
        await at_rest(db)


async def deposit(tx):
    await tx.sql.accounts.deposit(id=1, amount=5)


@pytest.mark.parametrize(
    "write",
    [
        lambda db: db.sql.accounts.deposit(id=1, amount=5),
        lambda db: db.run_in_transaction(deposit),
        lambda db: db.bulk_insert("accounts", [(11, "owner 11")], columns=("id", "owner")),
    ],
    ids=["statement", "transaction", "bulk"],
)
async def test_a_write_to_a_reader_runs_again_on_a_new_connection(demoted, outside, balance, write):
    db, events = demoted
    await write(db)
    assert [error for _, error in retries(events)] == ["ReadOnlyInstance"]
    written = await balance(), await outside.fetchval("SELECT count(*) FROM accounts")
    assert written in {(105, 10), (100, 11)}


async def test_a_transaction_that_is_not_replayed_leaves_no_such_connection_behind(demoted):
    db, events = demoted
    with pytest.raises(ReadOnlyInstance):
        async with db.transaction() as tx:
            await deposit(tx)
    assert await db.fetch_value("SHOW default_transaction_read_only") == "off"
    assert retries(events) == []


async def test_a_write_in_a_transaction_that_only_reads_is_never_replayed(opened):
    events, calls = [], 0

    async def write(tx):
        nonlocal calls
        calls += 1
        await deposit(tx)

    async with opened(observers=[events.append], max_pool_size=1) as db:
        before = await db.fetch_value("SELECT pg_backend_pid()")
        with pytest.raises(ReadOnlyInstance):
            await db.transaction(read_only=True).run(write)
        assert (calls, retries(events)) == (1, [])
        assert await db.fetch_value("SELECT pg_backend_pid()") == before


async def test_where_no_writer_comes_the_attempts_end(opened, read_only_sessions, balance):
    calls = 0

    async def write(tx):
        nonlocal calls
        calls += 1
        await deposit(tx)

    events = []
    async with read_only_sessions(), opened(observers=[events.append], max_retry_count=2) as db:
        for work in (
            lambda: db.sql.accounts.deposit(id=1, amount=5),
            lambda: db.run_in_transaction(write),
        ):
            events.clear()
            with pytest.raises(ReadOnlyInstance) as raised:
                await work()
            assert len(retries(events)) == 2
            assert "gave up after 3 attempt(s)" in notes(raised.value)
    assert calls == 3
    assert await balance() == 100


async def test_a_write_that_was_sent_to_a_reader_on_purpose_is_sent_once(opened, aurora_cluster):
    await aurora_cluster.wait_replayed()
    async with opened(max_retry_count=2) as db:
        with pytest.raises(ReadOnlyInstance) as raised:
            await db.reader.sql.accounts.deposit(id=1, amount=5)
    assert raised.value.on_reader
    assert "attempt" not in notes(raised.value)


async def test_a_constraint_that_fails_the_transaction_fails_it_once(db):
    calls = 0

    async def work(tx):
        nonlocal calls
        calls += 1
        await tx.execute("DO $$ BEGIN RAISE SQLSTATE '40002'; END $$")

    with pytest.raises(IntegrityError):
        await db.run_in_transaction(work)
    assert calls == 1


# -- the budget ----------------------------------------------------------------------------------


@pytest.fixture
def conflict(outside):
    """A function for a transaction that loses a conflict as long as ``lose`` is set."""
    lock = asyncio.Lock()

    async def work(tx, lose):
        work.calls += 1
        await tx.fetch_value("SELECT balance FROM accounts WHERE id = 1")
        if lose.is_set():
            async with lock:
                await outside.execute("UPDATE accounts SET version = version + 1 WHERE id = 1")
        await tx.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 1")

    work.calls = 0
    return work


async def test_a_storm_of_conflicts_stops_at_the_budget(opened, balance, conflict, at_rest):
    events, lose = [], asyncio.Event()
    async with opened(observers=[events.append], retry_budget=29, max_retry_count=10) as db:

        def run():
            return db.transaction(isolation="repeatable read").run(conflict, lose)

        # The first also asks whether there is a table of markers: a success, which gives a token.
        await run()
        conflict.calls = 0
        lose.set()
        ended = await asyncio.gather(*(run() for _ in range(20)), return_exceptions=True)
        assert {type(one) for one in ended} == {SerializationConflict}
        # 29 tokens pay for five retries, whoever makes them.
        assert len(retries(events)) == 5
        assert conflict.calls == 25
        assert all(
            "the retry budget that all calls share is used up" in notes(one) for one in ended
        )

        # Four are left. A success gives one back, and that pays for one more retry.
        lose.clear()
        await run()
        lose.set()
        events.clear()
        for _ in range(2):
            with pytest.raises(SerializationConflict):
                await run()
        assert len(retries(events)) == 1
        await at_rest(db)
    assert await balance() == 102


async def test_a_storm_of_lost_connections_stops_at_the_budget(opened, tmp_path, at_rest):
    (tmp_path / "storm.sql").write_text(FALL)
    events = []
    changes = {"retry_budget": 20, "max_retry_count": 10}
    async with opened(observers=[events.append], sql=tmp_path, **changes) as db:
        falls = (db.sql.storm.fall() for _ in range(8))
        ended = await asyncio.gather(*falls, return_exceptions=True)
        assert {type(one) for one in ended} == {ConnectionLost}
        assert retries(events) == [("storm.fall", "ConnectionLost")] * 4
        assert all("used up (retry_budget)" in notes(one) for one in ended)

        # What is no retry is not touched by it, and pays the debt off.
        for _ in range(5):
            assert await db.fetch_value("SELECT 1") == 1
        with pytest.raises(ConnectionLost):
            await db.sql.storm.fall()
        assert len(retries(events)) == 5
        await at_rest(db)


async def test_without_a_budget_each_call_has_all_its_retries(opened, tmp_path):
    (tmp_path / "storm.sql").write_text(FALL)
    events = []
    changes = {"retry_budget": 0, "max_retry_count": 2}
    async with opened(observers=[events.append], sql=tmp_path, **changes) as db:
        falls = (db.sql.storm.fall() for _ in range(4))
        ended = await asyncio.gather(*falls, return_exceptions=True)
    assert len(retries(events)) == 8
    assert all("gave up after 3 attempt(s)" in notes(one) for one in ended)
    assert not any("retry_budget" in notes(one) for one in ended)


async def test_a_retry_that_succeeds_gives_back_what_it_took(opened, conflict):
    events, lose = [], asyncio.Event()

    def observe(event):
        events.append(event)
        if isinstance(event, RetryScheduled):
            lose.clear()

    async with opened(observers=[observe], retry_budget=5) as db:
        for _ in range(3):
            lose.set()
            await db.transaction(isolation="repeatable read").run(conflict, lose)
    assert len(retries(events)) == 3


async def test_a_retry_after_a_timeout_takes_twice_as_much(opened, outside):
    events = []
    transaction = outside.transaction()
    await transaction.start()
    await outside.execute("UPDATE accounts SET version = 2 WHERE id = 1")
    async with opened(observers=[events.append], retry_budget=25, max_retry_count=10) as db:
        with pytest.raises(LockTimeout) as raised:
            await db.run_in_transaction(lambda tx: tx.sql.accounts.lock_now(id=1))
    assert len(retries(events)) == 2
    assert "retry_budget" in notes(raised.value)
    await transaction.rollback()
