import asyncio
import contextlib

import pytest

from aurora_sql import errors
from aurora_sql.drivers import Begin
from aurora_sql.types import Isolation


async def test_begin_commit_rollback(connection, table, value):
    await connection.begin()
    assert connection.in_transaction
    await connection.execute("INSERT INTO things (id, name) VALUES (1, 'x')")
    await connection.commit()
    assert not connection.in_transaction
    await connection.begin()
    await connection.execute("DELETE FROM things")
    await connection.rollback()
    await connection.rollback()
    assert await value(connection, "SELECT count(*) FROM things") == 1


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_begin_in_one_round_trip(connection, value, isolation):
    sent = connection.commands_sent
    await connection.begin(Begin(isolation, read_only=True, timeout=1.25))
    assert connection.commands_sent == sent + 1
    assert await value(connection, "SHOW transaction_isolation") == isolation.value
    assert await value(connection, "SHOW transaction_read_only") == "on"
    assert await value(connection, "SHOW statement_timeout") == "1250ms"
    await connection.commit()
    assert await value(connection, "SHOW statement_timeout") == "1min"


async def test_a_tiny_timeout_is_not_no_timeout(connection, value):
    await connection.begin(Begin(timeout=0.0001))
    with contextlib.suppress(errors.DeadlineExceeded):  # a millisecond can be too little for SHOW
        assert await value(connection, "SHOW statement_timeout") == "1ms"


async def test_commit_of_a_failed_transaction(connection, table, value):
    await connection.begin()
    await connection.execute("INSERT INTO things (id, name) VALUES (1, 'x')")
    with pytest.raises(errors.DataError):
        await connection.execute("SELECT 1 / 0")
    with pytest.raises(errors.TransactionAborted, match="answered ROLLBACK") as caught:
        await connection.commit()
    assert caught.value.retry_safe
    assert not connection.in_transaction
    assert await value(connection, "SELECT count(*) FROM things") == 0


async def test_commit_without_a_transaction(connection):
    await connection.begin()
    await connection.execute("ROLLBACK")
    with pytest.raises(errors.TransactionAborted, match="no transaction is open"):
        await connection.commit()


async def test_commit_that_fails_a_deferred_constraint(connection):
    await connection.execute(
        "DROP TABLE IF EXISTS deferred; CREATE TABLE deferred"
        " (id int CONSTRAINT one_each UNIQUE DEFERRABLE INITIALLY DEFERRED)"
    )
    await connection.begin()
    await connection.execute("INSERT INTO deferred VALUES (1), (1)")
    with pytest.raises(errors.UniqueViolation) as caught:
        await connection.commit()
    assert caught.value.constraint == "one_each"
    assert not connection.in_transaction


@pytest.fixture
async def slow(connection):
    """COMMIT takes half a second, in a deferred trigger."""
    await connection.execute(
        "DROP TABLE IF EXISTS slow; CREATE TABLE slow (id int);"
        "CREATE OR REPLACE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(1.0); RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION wait()"
    )
    await connection.begin()
    await connection.execute("INSERT INTO slow VALUES (1)")
    return "slow"


async def cancelled(task, after=0.05):
    await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_commit_goes_on_when_its_caller_is_cancelled(connection, slow, value):
    loop = asyncio.get_running_loop()
    started = loop.time()
    await cancelled(asyncio.ensure_future(connection.commit()))
    assert loop.time() - started < 0.9, "the caller waited for the answer"
    assert not connection.is_settled
    assert "unsettled" in repr(connection)
    assert await connection.settle()
    assert connection.is_settled
    assert await value(connection, "SELECT count(*) FROM slow") == 1


async def test_commit_is_not_cancelled_by_closing(connection, other, slow, value):
    await cancelled(asyncio.ensure_future(connection.commit()))
    await connection.close()
    assert await value(other, "SELECT count(*) FROM slow") == 1


async def test_a_settle_that_gives_up_on_commit_leaves_it_alone(connection, other, slow, value):
    await cancelled(asyncio.ensure_future(connection.commit()))
    assert not await connection.settle(0.05)
    assert not connection.is_closed
    assert await connection.settle()
    assert await value(other, "SELECT count(*) FROM slow") == 1


async def test_a_failed_commit_whose_caller_is_gone_is_not_logged(connection, slow, caplog):
    await connection.execute("SET LOCAL statement_timeout = 100")
    await cancelled(asyncio.ensure_future(connection.commit()))
    assert await connection.settle()
    assert not caplog.records


async def test_commit_in_doubt(connection, other, slow, value):
    commit = asyncio.ensure_future(connection.commit())
    await asyncio.sleep(0.05)
    await value(other, "SELECT pg_terminate_backend($1)", connection.backend_id)
    with pytest.raises(errors.CommitInDoubt, match=connection.where) as caught:
        await commit
    assert caught.value.outcome_unknown
    assert not caught.value.retry_safe


async def test_commit_that_was_never_sent(connection, other, value):
    await connection.begin()
    await value(other, "SELECT pg_terminate_backend($1, 5000)", connection.backend_id)
    await asyncio.sleep(0.05)
    with pytest.raises(errors.ConnectionLost) as caught:
        await connection.commit()
    assert caught.value.retry_safe


async def test_commit_on_a_frozen_backend(connection, slow, frozen):
    with frozen(connection.backend_id):
        await cancelled(asyncio.ensure_future(connection.commit()))
        assert not await connection.settle(0.1)
    assert await connection.settle()


async def test_commit_cancelled_at_every_turn(connection, other, value):
    await connection.execute("DROP TABLE IF EXISTS marks; CREATE TABLE marks (id int PRIMARY KEY)")
    for turns in range(12):
        await connection.begin()
        await connection.execute(f"INSERT INTO marks VALUES ({turns})")
        sent = connection.commands_sent
        task = asyncio.ensure_future(connection.commit())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert await connection.settle()
        applied = await value(other, "SELECT count(*) FROM marks WHERE id = $1", turns)
        # COMMIT was sent and went through, or was never sent and the transaction is still open.
        assert applied == (connection.commands_sent - sent)
        assert connection.in_transaction == (not applied)
        await connection.rollback()


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_begin_with_the_first_statement_is_one_command(connection, isolation):
    names = "transaction_isolation", "transaction_read_only", "statement_timeout"
    settings = await connection.prepare(
        "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    )
    await settings.fetch(())  # ends the implicit transaction that asyncpg's prepare leaves open
    sent = connection.commands_sent
    begin = Begin(isolation, read_only=True, timeout=1.25)
    rows = await settings.begin_and_fetch(begin, ())
    assert [tuple(row) for row in rows] == [(isolation.value, "on", "1250ms")]
    assert connection.commands_sent == sent + 1
    assert connection.in_transaction
    await connection.commit()
    assert [tuple(row) for row in await settings.fetch(())] == [("read committed", "off", "1min")]


async def test_begin_with_the_first_statement_rolls_back_all(connection, table, value):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES ($1, $2)")
    assert await insert.begin_and_execute(Begin(), (1, "x")) == 1
    assert await insert.execute((2, "y")) == 1
    await connection.rollback()
    assert await value(connection, "SELECT count(*) FROM things") == 0


async def test_a_failing_first_statement_leaves_a_failed_transaction(connection, table, value):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES ($1, $2)")
    await insert.execute((1, "x"))
    with pytest.raises(errors.UniqueViolation):
        await insert.begin_and_execute(Begin(), (1, "x"))
    assert connection.in_transaction
    with pytest.raises(errors.TransactionAborted):
        await connection.commit()
    assert await value(connection, "SELECT count(*) FROM things") == 1


async def test_begin_is_parsed_once(connection, value):
    one = await connection.prepare("SELECT 1")
    divide = await connection.prepare("SELECT 1 / $1::int")
    for isolation in (None, Isolation.SERIALIZABLE):
        with pytest.raises(errors.DataError):  # by then the server may know BEGIN, or not
            await divide.begin_and_fetch(Begin(isolation), (0,))
        await connection.rollback()
        with pytest.raises(errors.ParameterError):
            await divide.begin_and_fetch(Begin(isolation), ("x",))
        for _ in range(3):
            await one.begin_and_fetch(Begin(isolation), ())
            assert connection.in_transaction
            await connection.reset()  # forgets no statement of ours
        for _ in range(2):
            await one.begin_and_fetch(Begin(isolation, timeout=1.5), ())
            assert await value(connection, "SHOW statement_timeout") == "1500ms"
            await connection.rollback()
    kept = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'BEGIN%'"
    assert await value(connection, kept) == 4


async def test_values_refused_before_the_first_statement(connection, table, value):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES ($1, $2)")
    with pytest.raises(errors.ParameterError):
        await insert.begin_and_execute(Begin(), ("one", "x"))
    # Not even BEGIN was sent, and it does not go with the next command.
    assert not connection.in_transaction
    await insert.execute((1, "x"))
    assert not connection.in_transaction
    assert await insert.begin_and_execute(Begin(), (2, "x")) == 1
    await connection.rollback()
    assert await value(connection, "SELECT count(*) FROM things") == 1


async def test_a_first_statement_that_is_cancelled(connection, value):
    sleep = await connection.prepare("SELECT pg_sleep($1)")
    task = asyncio.create_task(sleep.begin_and_fetch(Begin(), (30.0,)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await connection.settle()
    assert connection.in_transaction
    await connection.rollback()
    assert await value(connection, "SELECT 1") == 1


async def test_a_first_statement_on_a_closed_connection(connection):
    one = await connection.prepare("SELECT 1")
    connection.abort()
    with pytest.raises(errors.ConnectionLost) as caught:
        await one.begin_and_fetch(Begin(), ())
    assert caught.value.retry_safe
