"""Writes that travel together wait for nobody longer than they would alone."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress

import asyncpg
import pytest

from aurora_sql import Aurora, DeadlineExceeded, ParameterError, PoolClosed, deadline
from aurora_sql.execution import _group
from aurora_sql.instrumentation import CoalescingPaused

TABLE = """
CREATE TABLE rows (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, name text);
INSERT INTO rows SELECT n FROM generate_series(1, 300) AS n;
CREATE TABLE notes (row int REFERENCES rows, text text);
"""
STATEMENTS = """
-- name: count_up :exec
-- coalesce: on
UPDATE rows SET n = n + :by WHERE id = :id;

-- name: counted :scalar
-- coalesce: on
UPDATE rows SET n = n + :by WHERE id = :id RETURNING n;

-- name: note :exec
-- coalesce: on
INSERT INTO notes (text, row) VALUES (:text, :id);

-- name: upsert :exec
-- coalesce: on
INSERT INTO rows AS r (n, id) VALUES (:by, :id)
ON CONFLICT (id) DO UPDATE SET n = r.n + excluded.n WHERE r.n < 1000000 + :by;

-- name: rename :affected
-- coalesce: on
UPDATE rows SET name = :name WHERE id = :id;

-- name: once :exec
-- coalesce: on
-- retry: exactly_once
UPDATE rows SET n = n + :by WHERE id = :id;

-- name: wrong :exec
-- coalesce: on
INSERT INTO rows (id, n) VALUES (:id, :n);

-- name: n_of :scalar
SELECT n FROM rows WHERE id = :id;
"""
MARKERS = """
CREATE TABLE aurora_sql_commits
    (id uuid PRIMARY KEY, committed_at timestamptz NOT NULL DEFAULT now())
"""


@pytest.fixture
async def folder(tmp_path, outside):
    await outside.execute(TABLE)
    (tmp_path / "rows.sql").write_text(STATEMENTS)
    return tmp_path


@pytest.fixture
async def open_db(settings, folder, at_rest):
    """Open databases that are at rest in the end, and leave no task and no complaint behind."""
    loop, complaints = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    before = asyncio.all_tasks() - {asyncio.current_task()}

    def make(observers=(), **changes):
        return Aurora(settings.replace(changes), sql=folder, observers=observers)

    yield make
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - before - {asyncio.current_task()}:  # noqa: ASYNC110 - any of them
            await asyncio.sleep(0.01)
    assert complaints == []


@pytest.fixture
async def db(open_db, at_rest):
    async with open_db() as db:
        yield db
        await at_rest(db)


@pytest.fixture
async def locker(settings):
    """Another session, which holds locks."""
    host, port = settings.writer_address()
    connection = await asyncpg.connect(
        host=host,
        port=port,
        user=settings.username,
        password=settings.password.get_secret_value(),
        database=settings.database,
        ssl=False,
    )
    yield connection
    await connection.close()


async def sessions_that_wait(outside, several):
    """Wait until so many sessions wait for locks."""
    async with asyncio.timeout(20):
        while several > await outside.fetchval(  # noqa: ASYNC110 - polls a server
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ):
            await asyncio.sleep(0.01)


CALLS = {
    "count_up": {"by": 1},
    "counted": {"by": 1},
    "note": {"text": "x"},
    "upsert": {"by": 1},
    "once": {"by": 1},
}


@pytest.mark.parametrize("name", CALLS)
async def test_who_waits_for_a_lock_waits_alone(db, outside, locker, name):
    """All but those who want the locked row are answered while it is locked, of any statement."""
    if name == "once":
        await outside.execute(MARKERS)
    statement, more = getattr(db.sql.rows, name), CALLS[name]
    await asyncio.gather(statement(id=1, **more), db.sql.rows.rename(id=1, name="first"))
    async with locker.transaction():
        await locker.execute("DELETE FROM notes; SELECT FROM rows WHERE id = 7 FOR UPDATE")
        blocked = [asyncio.create_task(statement(id=7, **more)) for _ in range(4)]
        await sessions_that_wait(outside, 4)
        await asyncio.gather(*(statement(id=i, **more) for i in range(1, 200) if i != 7))
        # As many are under way as go alone: this one travels with the others, in the middle.
        blocked += [asyncio.create_task(statement(id=7, **more))]
        # Whoever calls later is not held up, by whatever statement of the table.
        for _ in range(3):
            await asyncio.gather(
                *(statement(id=i, **more) for i in range(10, 60)),
                *(db.sql.rows.rename(id=i, name="other") for i in range(10, 60)),
            )
        await sessions_that_wait(outside, 5)
        assert not any(task.done() for task in blocked)
    await asyncio.gather(*blocked)
    table = "SELECT count(*) FROM notes WHERE row = 7" if name == "note" else None
    assert await outside.fetchval(table or "SELECT n FROM rows WHERE id = 7") == 5


async def test_the_limit_for_locks_ends_with_the_batch(db, outside):
    """The connection that a batch was sent on waits for locks as before."""
    rows = db.sql.rows
    await rows.count_up(id=1, by=1)
    await asyncio.gather(*(rows.count_up(id=i, by=1) for i in range(1, 60)))
    # What cannot be sent is found before anything is, and what was to go in front of it is not sent.
    answers = await asyncio.gather(
        *(rows.count_up(id=i, by="one") for i in range(1, 60)), return_exceptions=True
    )
    assert all(isinstance(answer, ParameterError) for answer in answers)
    async with asyncio.TaskGroup() as group:
        several = [group.create_task(db.fetch_value("SHOW lock_timeout")) for _ in range(20)]
    assert {task.result() for task in several} == {"0"}


async def test_statements_of_one_table_take_turns(db):
    """Callers who keep one statement busy do not keep another one of its table from running."""
    rows, done = db.sql.rows, {"counted": 0, "rename": 0, "few": 0}

    async def work(name, call):
        while min(done["counted"], done["rename"], done["few"]) < 40:
            await call()
            done[name] += 1

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for i in range(1, 31):
            group.create_task(work("counted", lambda i=i: rows.counted(id=i, by=1)))
            group.create_task(work("rename", lambda i=i: rows.rename(id=i, name="x")))
        for i in range(3):
            group.create_task(work("few", lambda i=i: rows.count_up(id=i + 1, by=1)))
    assert max(done.values()) < 100 * min(done.values())


async def test_two_processes_and_a_stranger(open_db, outside, locker):
    """Nobody hangs, nothing is lost, and no deadlock is worse than a moment's."""
    numbers, wanted = itertools.count(), 3_000
    async with open_db() as one, open_db() as two, asyncio.timeout(80):
        for db in (one, two):
            await asyncio.gather(
                *(f(id=300, by=0) for f in (db.sql.rows.count_up, db.sql.rows.upsert))
            )

        async def caller(db, name):
            while (number := next(numbers)) < wanted:
                call = getattr(db.sql.rows, ["count_up", "counted", "upsert"][number % 3])
                await call(id=number * 7919 % 200 + 1, by=1)

        async def stranger():
            while next(numbers) < wanted:
                async with locker.transaction():
                    await locker.execute("SELECT FROM rows WHERE id % 50 = 3 FOR UPDATE")
                    await asyncio.sleep(0.2)

        async with asyncio.TaskGroup() as group:
            turns = group.create_task(stranger())
            for n in range(60):
                group.create_task(caller((one, two)[n % 2], n))
        await turns
    skipped = await outside.fetchval("SELECT sum(n) FROM rows")
    assert wanted - 200 < skipped <= wanted
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await outside.fetchval(deadlocks) == 0


async def held(db, outside, locker, several=40):
    """Hold the table up, with calls under way and others that wait; return those."""
    rows = db.sql.rows
    await rows.count_up(id=1, by=1)
    await locker.execute("BEGIN; LOCK TABLE rows")
    before = [asyncio.create_task(rows.count_up(id=i, by=1)) for i in range(1, 5)]
    await sessions_that_wait(outside, 4)
    return before


async def test_leaving_before_and_after_sending(db, outside, locker):
    rows = db.sql.rows
    before = await held(db, outside, locker)
    with deadline(30):
        waiting = [asyncio.create_task(rows.count_up(id=100 + i, by=1)) for i in range(50)]
        await asyncio.sleep(0)
        for task in waiting[:25]:
            task.cancel()  # in the turn of their call: nothing was sent yet
        await asyncio.wait(waiting[:25])
    await locker.execute("COMMIT")
    await asyncio.gather(*before, *waiting[25:])
    assert all(task.cancelled() for task in waiting[:25])
    changed = await outside.fetchval("SELECT sum(n) FROM rows WHERE id BETWEEN 100 AND 124")
    assert changed == 0
    assert await outside.fetchval("SELECT sum(n) FROM rows WHERE id BETWEEN 125 AND 149") == 25


async def test_a_deadline_after_sending(db, outside, locker, at_rest):
    """A caller who was sent does not know; the connection serves others afterwards."""
    rows = db.sql.rows
    before = await held(db, outside, locker)

    async def hurried(i):
        with deadline(0.5), pytest.raises(DeadlineExceeded) as raised:
            await rows.count_up(id=100 + i, by=1)
        return raised.value

    errors = await asyncio.gather(*(hurried(i) for i in range(50)))
    doubtful = [error for error in errors if error.outcome_unknown]
    assert all(error.retry_safe != error.outcome_unknown for error in errors)
    assert doubtful
    await locker.execute("COMMIT")
    await asyncio.gather(*before)
    await at_rest(db)
    applied = await outside.fetchval("SELECT sum(n) FROM rows WHERE id BETWEEN 100 AND 149")
    assert applied <= len(doubtful)


async def test_a_caller_alone_takes_its_statement_along(db, outside, locker, at_rest):
    """Callers who leave a locked row leave no connection behind that waits for it."""
    rows = db.sql.rows
    await rows.count_up(id=1, by=1)
    async with locker.transaction():
        await locker.execute("SELECT FROM rows WHERE id = 7 FOR UPDATE")
        tasks = [asyncio.create_task(rows.count_up(id=7, by=1)) for _ in range(8)]
        await sessions_that_wait(outside, 7)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await at_rest(db)
    assert await outside.fetchval("SELECT n FROM rows WHERE id = 7") == 0


async def test_closing_meanwhile(open_db, outside, locker):
    async with open_db() as db:
        before = await held(db, outside, locker)
        waiting = [asyncio.create_task(db.sql.rows.count_up(id=i, by=1)) for i in range(100, 140)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(db.__aexit__(None, None, None))
        await asyncio.sleep(0)
        await locker.execute("COMMIT")
        answers = await asyncio.gather(*before, *waiting, return_exceptions=True)
        await closing
    applied = sum(answer is None for answer in answers)
    assert all(answer is None or isinstance(answer, PoolClosed) for answer in answers)
    assert await outside.fetchval("SELECT sum(n) FROM rows") == 1 + applied


async def test_calls_travel_together_again_after_a_rest(open_db, outside, at_rest, monkeypatch):
    """Also where somebody always calls: nobody ever has the way to himself."""
    monkeypatch.setattr(_group, "PAUSE", 0.2)
    events = []
    async with open_db([events.append]) as db:
        wrong = db.sql.rows.wrong
        await wrong(id=1000, n=1)

        async def caller(stop):
            while not stop():
                await asyncio.gather(wrong(id=1, n=1), return_exceptions=True)

        def pauses():
            return sum(isinstance(event, CoalescingPaused) for event in events)

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for _ in range(12):
                group.create_task(caller(lambda: pauses() >= 2))
        await at_rest(db)


async def test_order_and_sight_of_one_caller(db):
    async def caller(i):
        for value in range(1, 11):
            assert await db.sql.rows.counted(id=i, by=1) == value
            assert await db.sql.rows.n_of(id=i) == value

    await asyncio.gather(*(caller(i) for i in range(1, 41)))


async def test_in_transactions_and_sessions_each_call_is_alone(db, outside):
    rows = db.sql.rows
    await asyncio.gather(*(rows.count_up(id=i, by=1) for i in range(1, 40)))
    with suppress(ZeroDivisionError):
        async with db.transaction() as tx:
            for i in range(1, 10):
                assert await tx.sql.rows.counted(id=i, by=1) == 2
            assert await outside.fetchval("SELECT max(n) FROM rows") == 1
            raise ZeroDivisionError

    async def session(i):
        async with db.session() as s:
            await s.sql.rows.count_up(id=i, by=1)
            assert await s.sql.rows.n_of(id=i) == 2
            assert await s.sql.rows.n_of(id=i) == 2

    await asyncio.gather(*(session(i) for i in range(1, 30)))
