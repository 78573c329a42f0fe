"""Losses, silence and cancellation at the worst moments."""

import asyncio
import contextlib

import pytest

from aurora_sql import (
    Aurora,
    CommitAbandoned,
    CommitInDoubt,
    ConnectionLost,
    DeadlineExceeded,
    ForeignKeyViolation,
    ParameterError,
    PoolClosed,
    QueryCancelled,
    SerializationConflict,
    StatementFinished,
    TransactionAborted,
    UsageError,
    deadline,
)

DAWDLE = """
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER dawdle AFTER UPDATE ON accounts
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle();
"""


async def balance(outside, account=1):
    return await outside.fetchval("SELECT balance FROM accounts WHERE id = $1", account)


async def kill_all(outside):
    await outside.execute(
        "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@contextlib.asynccontextmanager
async def paused(cluster, which):
    await cluster.pause(which)
    try:
        yield
    finally:
        await cluster.resume(which)


# -- COMMIT ------------------------------------------------------------------------------------


async def test_a_deferred_constraint_fails_at_commit(db, outside, at_rest):
    await outside.execute(
        "CREATE TABLE notes (account bigint REFERENCES accounts DEFERRABLE INITIALLY DEFERRED)"
    )
    calls = 0

    async def work(tx):
        nonlocal calls
        calls += 1
        await tx.execute("INSERT INTO notes VALUES (99)")

    with pytest.raises(ForeignKeyViolation) as raised:
        await db.run_in_transaction(work)
    assert not raised.value.outcome_unknown
    assert calls == 1
    assert await outside.fetchval("SELECT count(*) FROM notes") == 0
    await at_rest(db)


async def test_a_backend_killed_during_commit_leaves_the_outcome_in_doubt(db, outside, at_rest):
    await outside.execute(DAWDLE.format(seconds=5))
    calls = 0

    async def work(tx):
        nonlocal calls
        calls += 1
        await tx.sql.accounts.deposit(id=1, amount=5)

    task = asyncio.create_task(db.run_in_transaction(work))
    await asyncio.sleep(0.3)
    await kill_all(outside)
    with pytest.raises(CommitInDoubt) as raised:
        await task
    assert raised.value.outcome_unknown
    assert calls == 1
    assert await balance(outside) == 100
    await at_rest(db)


async def test_the_server_s_time_limit_does_not_bound_commit(opened, outside, at_rest):
    """Whatever the server makes of its limit: what is acknowledged is applied, the rest is not."""
    await outside.execute(DAWDLE.format(seconds=0.4))
    async with opened() as db:
        expected = 100
        with contextlib.suppress(QueryCancelled):
            async with db.transaction() as tx:
                await tx.sql.accounts.deposit(id=1, amount=5)
                await tx.execute("SET LOCAL statement_timeout = '100ms'")
            expected = 105
        await at_rest(db)
        assert await balance(outside) == expected


async def test_a_server_that_stands_still_during_commit(opened, outside, at_rest, aurora_cluster):
    await outside.execute(DAWDLE.format(seconds=0.3))
    events = []
    async with opened(max_pool_size=2, observers=[events.append]) as db:

        async def work():
            with deadline(0.8):
                async with db.transaction() as tx:
                    await tx.sql.accounts.deposit(id=1, amount=5)

        started = asyncio.get_running_loop().time()
        task = asyncio.create_task(work())
        await asyncio.sleep(0.2)
        async with paused(aurora_cluster, "writer"):
            with pytest.raises(CommitInDoubt):
                await task
            assert asyncio.get_running_loop().time() - started < 3
        await at_rest(db, 15)
        assert await balance(outside) in {100, 105}
        instances = [one.instance for one in events if isinstance(one, CommitAbandoned)]
        assert instances == [db.topology.writer.id]
        assert await db.sql.accounts.balance(id=2) == 100


async def test_a_caller_cancelled_while_the_server_stands_still_in_commit(
    opened, outside, at_rest, aurora_cluster
):
    await outside.execute(DAWDLE.format(seconds=0.3))
    events = []
    async with opened(max_pool_size=2, observers=[events.append]) as db:

        async def work():
            with deadline(1.0):
                async with db.transaction() as tx:
                    await tx.sql.accounts.deposit(id=1, amount=5)

        task = asyncio.create_task(work())
        await asyncio.sleep(0.2)
        async with paused(aurora_cluster, "writer"):
            task.cancel()
            done, _ = await asyncio.wait((task,), timeout=5)
            assert done
            assert task.cancelled()
        assert [one.cancelled for one in events if isinstance(one, CommitAbandoned)] == [True]
        await at_rest(db, 15)


async def test_a_server_that_stands_still_holds_nobody_longer_than_its_deadline(
    opened, at_rest, aurora_cluster
):
    async with opened(max_pool_size=3) as db:
        await db.sql.accounts.deposit(id=1, amount=1)
        loop = asyncio.get_running_loop()

        async def read():
            with deadline(0.5):
                await db.sql.accounts.get(id=1)

        async def write():
            with deadline(0.5):
                await db.sql.accounts.deposit(id=1, amount=1)

        async def transact():
            with deadline(0.5):
                async with db.transaction() as tx:
                    await tx.sql.accounts.deposit(id=1, amount=1)

        async def stream():
            with deadline(0.5):
                async for _ in db.sql.accounts.all.stream():
                    pass

        async with paused(aurora_cluster, "writer"):
            started = loop.time()
            found = await asyncio.gather(
                *(one() for one in (read, write, transact, stream) for _ in range(3)),
                return_exceptions=True,
            )
            assert all(isinstance(one, DeadlineExceeded) for one in found), found
            health = await db.health(timeout=0.3)
            assert not health.can_write
            assert loop.time() - started < 4
        await at_rest(db, 15)
        assert (await db.sql.accounts.get(id=1)).id == 1


# -- losses inside a transaction ---------------------------------------------------------------


@pytest.mark.parametrize(
    "where", ["statement", "savepoint", "release", "batch", "script", "stream"]
)
async def test_a_loss_anywhere_in_a_transaction_is_replayed(db, outside, where):  # noqa: C901 - one place each
    calls = 0

    async def lose(tx):
        pid = await tx.fetch_value("SELECT pg_backend_pid()")
        await outside.execute(f"SELECT pg_terminate_backend({pid}, 0)")
        import time

        time.sleep(0.05)  # noqa: ASYNC251 - the loop must not hear of it: the next command finds out

    async def work(tx):  # noqa: C901 - as above
        nonlocal calls
        calls += 1
        first = calls == 1
        await tx.sql.accounts.deposit(id=1, amount=5)
        if where == "statement":
            if first:
                await lose(tx)
            await tx.sql.accounts.deposit(id=2, amount=5)
        elif where == "savepoint":
            if first:
                await lose(tx)
            async with tx.savepoint():
                pass
        elif where == "release":
            async with tx.savepoint():
                if first:
                    await lose(tx)
        elif where == "batch":
            if first:
                await lose(tx)
            await tx.sql.accounts.add_all([{"id": 50, "owner": "batch"}])
        elif where == "script":
            if first:
                await lose(tx)
            await tx.sql.accounts.maintain()
        else:
            if first:
                await lose(tx)
            assert len([row async for row in tx.sql.accounts.all.stream()]) == 10

    await db.run_in_transaction(work)
    assert calls == 2
    assert await balance(outside) == 105


async def test_a_connection_that_dies_at_begin_is_replaced(opened, outside):
    async with opened(max_pool_size=1) as db:
        for _ in range(3):
            pid = await db.fetch_value("SELECT pg_backend_pid()")
            await outside.execute(f"SELECT pg_terminate_backend({pid}, 0)")
            import time

            time.sleep(0.05)  # noqa: ASYNC251 - as above

            async def work(tx):
                return await tx.sql.accounts.deposit(id=1, amount=1)

            assert await db.run_in_transaction(work) == 1
    assert await balance(outside) == 103


# -- cancellation inside a transaction ---------------------------------------------------------


@pytest.mark.parametrize("how", ["asyncio.timeout", "deadline"])
async def test_a_savepoint_confines_running_out_of_time(db, outside, how):
    async with db.transaction() as tx:
        await tx.sql.accounts.deposit(id=1, amount=5)
        with pytest.raises(TimeoutError):
            if how == "deadline":
                with deadline(0.1):
                    async with tx.savepoint():
                        await tx.sql.accounts.deposit(id=2, amount=5)
                        await tx.sql.accounts.slow(seconds=10)
            else:
                async with asyncio.timeout(0.1), tx.savepoint():
                    await tx.sql.accounts.deposit(id=2, amount=5)
                    await tx.sql.accounts.slow(seconds=10)
        await tx.sql.accounts.deposit(id=3, amount=5)
    assert [await balance(outside, one) for one in (1, 2, 3)] == [105, 100, 105]


async def test_a_statement_that_ran_out_of_time_dooms_its_transaction_clearly(db, outside, at_rest):
    with pytest.raises(TransactionAborted):
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=5)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await tx.sql.accounts.slow(seconds=10)
            with pytest.raises((TransactionAborted, ConnectionLost)) as raised:
                await tx.sql.accounts.deposit(id=2, amount=5)
            assert raised.value.retry_safe
    assert await balance(outside) == 100
    await at_rest(db)


async def test_a_task_group_that_fails_around_a_transaction(db, outside, at_rest):
    async def fails():
        await asyncio.sleep(0.15)
        raise ZeroDivisionError

    async def works():
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=5)
            await tx.sql.accounts.slow(seconds=10)

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(works())
            group.create_task(fails())
    await at_rest(db)
    assert await balance(outside) == 100


async def test_a_deadline_and_a_cancellation_in_one_turn_of_the_loop(opened, at_rest):
    """Whatever wins, a cancelled task ends cancelled, and an uncancelled one keeps no mark."""
    async with opened(max_pool_size=4) as db:
        await db.sql.accounts.slow(seconds=0)
        loop = asyncio.get_running_loop()

        async def work(limit):
            with deadline(limit):
                if kind == "transaction":
                    async with db.transaction() as tx:
                        await tx.sql.accounts.slow(seconds=5)
                else:
                    await db.sql.accounts.slow(seconds=5)

        for number in range(24):
            kind = "transaction" if number % 2 else "call"
            task = asyncio.create_task(work(0.05))
            at = loop.time() + 0.05 + (number - 12) * 0.0001
            await asyncio.sleep(max(0, at - loop.time() - 0.002))
            while loop.time() < at:  # noqa: ASYNC110 - to the millisecond
                await asyncio.sleep(0)
            asked = task.cancel()
            with contextlib.suppress(asyncio.CancelledError, DeadlineExceeded):
                await task
            if asked and not task.cancelled():
                # The deadline had been dealt with; the request came when nothing was left to stop.
                assert isinstance(task.exception(), DeadlineExceeded)
        for _ in range(5):
            with pytest.raises(DeadlineExceeded):
                await work(0.02)
            assert asyncio.current_task().cancelling() == 0
        await at_rest(db)


# -- misuse ------------------------------------------------------------------------------------


async def test_one_transaction_object_entered_twice_at_once(db, at_rest):
    context = db.transaction()

    async def enter():
        async with context as tx:
            await tx.sql.accounts.slow(seconds=0.1)

    found = await asyncio.gather(enter(), enter(), return_exceptions=True)
    assert [type(one) for one in found if one is not None] == [UsageError]
    await at_rest(db)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True])
async def test_a_time_limit_that_is_none_is_named(db, timeout):  # noqa: ASYNC109 - under test
    with pytest.raises(ParameterError, match="timeout must be a number of seconds"):
        db.transaction(timeout=timeout)


@pytest.mark.parametrize("params", [5, [1, 2], "id", [("id", 1)]])
async def test_parameters_that_are_no_mapping_are_named(db, params):
    with pytest.raises(ParameterError, match="mapping"):
        await db.fetch_all("SELECT :id::int", params)


async def test_replays_share_the_time_limit_of_the_transaction(opened, outside):
    async with opened(max_retry_count=10) as db:
        loop = asyncio.get_running_loop()

        async def slow_conflict(tx):
            await tx.fetch_value("SELECT balance FROM accounts WHERE id = 1")
            await outside.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 1")
            await tx.sql.accounts.slow(seconds=0.25)
            await tx.execute("UPDATE accounts SET balance = 0 WHERE id = 1")

        started = loop.time()
        with pytest.raises((DeadlineExceeded, SerializationConflict)):
            await db.transaction(isolation="repeatable read", timeout=0.6).run(slow_conflict)
        assert loop.time() - started < 0.9


# -- opening, closing, observing ---------------------------------------------------------------


async def test_opening_cancelled_at_any_moment_leaves_nothing(opened, sessions):
    before = asyncio.all_tasks()
    for turns in range(25):
        db = opened(min_pool_size=2)

        async def enter(db=db):
            async with db:
                await db.sql.accounts.get(id=1)

        task = asyncio.create_task(enter())
        await asyncio.sleep(turns * 0.004)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == before
    for _ in range(100):
        if await sessions() == 0:
            break
        await asyncio.sleep(0.05)
    assert await sessions() == 0


async def test_closing_cancelled_leaves_nothing(opened, sessions):
    before = asyncio.all_tasks()

    async def work(db):
        async with db:
            slow = asyncio.create_task(db.sql.accounts.slow(seconds=2))
            await asyncio.sleep(0.1)
            tasks.append(slow)

    for _ in range(3):
        tasks = []
        task = asyncio.create_task(work(opened()))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises((ConnectionLost, PoolClosed)):
            await tasks[0]
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == before
    for _ in range(100):
        if await sessions() == 0:
            break
        await asyncio.sleep(0.05)
    assert await sessions() == 0


async def test_one_aurora_entered_twice_at_once(settings, sessions, schema):
    db = Aurora(settings)
    found = await asyncio.gather(db.__aenter__(), db.__aenter__(), return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["Aurora", "UsageError"]
    await db.__aexit__(None, None, None)
    for _ in range(100):
        if await sessions() == 0:
            break
        await asyncio.sleep(0.05)
    assert await sessions() == 0


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


# -- readers -----------------------------------------------------------------------------------


async def test_readers_that_die_and_return(opened, settings, outside):  # noqa: C901 - a proxy and its callers
    """A reader behind a door that is shut and opened again: no read fails."""
    from contextlib import suppress

    host, port = settings.reader_addresses()[0]
    links = set()

    async def pump(reader, writer):
        with suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def handle(reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        links.add(writer)
        links.add(far_writer)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    own = server.sockets[0].getsockname()[1]
    failures = []
    stop = False

    async def read(db):
        while not stop:
            try:
                await db.sql.accounts.on_reader(id=1)
            except Exception as error:  # noqa: BLE001 - none is expected
                failures.append(error)
            await asyncio.sleep(0.001)

    async with opened(read_endpoint=f"127.0.0.1:{own}", connection_timeout=2) as db:
        await asyncio.sleep(0.3)
        callers = [asyncio.create_task(read(db)) for _ in range(6)]
        for _ in range(2):
            await asyncio.sleep(0.3)
            server.close()
            for one in tuple(links):
                one.transport.abort()
            links.clear()
            await asyncio.sleep(0.6)
            server = await asyncio.start_server(handle, "127.0.0.1", own)
        limit = asyncio.get_running_loop().time() + 10

        def stats():
            return db.pool_stats()[f"127.0.0.1:{own}"]

        while stats().size == 0 and asyncio.get_running_loop().time() < limit:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        before = stats().leases
        await asyncio.sleep(0.3)
        assert stats().leases > before
        stop = True
        await asyncio.gather(*callers)
    assert failures == []
    server.close()
    for one in tuple(links):
        one.transport.abort()
    await asyncio.sleep(0.05)
