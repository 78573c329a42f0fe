"""Transactions on real servers: what ends them, and that nothing is committed unasked."""

import asyncio
import time

import pytest

from aurora_sql import errors
from aurora_sql.drivers import Begin
from aurora_sql.types import Isolation


@pytest.fixture
async def insert(connection, table):
    return await connection.prepare("INSERT INTO things (id, name) VALUES (?, 'x')")


async def count(other, value):
    return await value(other, "SELECT count(*) FROM things")


async def test_commit_and_rollback(connection, other, insert, value):
    await connection.begin()
    assert connection.in_transaction
    await insert.execute((1,))
    assert await count(other, value) == 0
    await connection.commit()
    assert connection.is_ready
    assert await count(other, value) == 1
    await connection.begin()
    await insert.execute((2,))
    await connection.rollback()
    await connection.rollback()
    assert connection.is_ready
    assert await count(other, value) == 1


async def test_isolation_read_only_and_timeout(connection, insert, value, kind):
    default = await value(connection, _limit(kind))
    await connection.begin(Begin(Isolation.SERIALIZABLE, timeout=1.5))
    assert await value(connection, _limit(kind)) in {1500, 1.5}
    await connection.commit()
    assert await value(connection, _limit(kind)) == default
    await connection.begin(Begin(Isolation.READ_COMMITTED, read_only=True))
    with pytest.raises(errors.ReadOnlyInstance):
        await insert.execute((1,))
    assert connection.in_transaction
    await connection.rollback()
    with pytest.raises(errors.ParameterError):
        await insert.begin_and_execute(Begin(), ("\ud800", 2))
    assert not connection.in_transaction
    assert await insert.begin_and_execute(Begin(), (1,)) == 1
    await connection.commit()
    select = await connection.prepare("SELECT id FROM things")
    assert [row.id for row in await select.begin_and_fetch(Begin(read_only=True), ())] == [1]
    await connection.rollback()


def _limit(kind):
    return "SELECT @@max_execution_time" if kind == "mysql" else "SELECT @@max_statement_time"


async def test_commit_without_a_transaction(connection):
    with pytest.raises(errors.TransactionAborted, match="no transaction"):
        await connection.commit()


async def test_an_error_leaves_the_transaction_open(connection, other, insert, value):
    await connection.begin()
    await insert.execute((1,))
    with pytest.raises(errors.UniqueViolation) as info:
        await insert.execute((1,))
    assert (info.value.code, info.value.constraint) == ("1062", "PRIMARY")
    assert connection.in_transaction
    await connection.commit()
    assert await count(other, value) == 1


async def test_a_deadlock_ends_the_transaction_and_nothing_runs_after_it(
    connection, other, insert, value, opened
):
    await insert.execute_many([(1,), (2,)])
    update = "UPDATE things SET name = ? WHERE id = ?"
    mine, theirs = await connection.prepare(update), await other.prepare(update)
    await connection.begin()
    await other.begin()
    await mine.execute(("m", 1))
    await theirs.execute(("t", 2))
    # The one that changed less is chosen.
    await (await other.prepare("UPDATE things SET name = 't' WHERE id > 1")).execute(())
    for n in range(3, 30):
        await (await other.prepare("INSERT INTO things (id, name) VALUES (?, 'y')")).execute((n,))
    waiting = asyncio.ensure_future(theirs.execute(("t", 1)))
    await asyncio.sleep(0.2)
    with pytest.raises(errors.Deadlock) as info:
        await mine.execute(("m", 2))
    assert info.value.retry_safe
    await waiting
    assert not connection.in_transaction
    assert not connection.is_ready
    with pytest.raises(errors.TransactionAborted, match="undid it") as info:
        await insert.execute((99,))
    assert info.value.retry_safe
    with pytest.raises(errors.TransactionAborted) as info:
        await connection.commit()
    assert info.value.retry_safe
    await other.commit()
    assert connection.is_ready
    assert await value(connection, "SELECT count(*) FROM things WHERE id = 99") == 0
    await connection.begin()
    await insert.execute((99,))
    await connection.commit()


async def test_a_lock_timeout_keeps_the_transaction(opened, other, insert, value):
    connection = await opened(lock_timeout=1.0)
    await insert.execute((1,))
    await other.begin()
    await (await other.prepare("UPDATE things SET name = 'o' WHERE id = 1")).execute(())
    update = await connection.prepare("UPDATE things SET name = 'm' WHERE id = 1")
    await connection.begin()
    with pytest.raises(errors.LockTimeout) as info:
        await update.execute(())
    assert "roll back" in info.value.hint
    assert connection.in_transaction
    await connection.rollback()
    await other.rollback()


async def test_ddl_commits_and_says_so(connection, other, insert, value):
    await connection.begin()
    await insert.execute((1,))
    await connection.execute("CREATE TABLE IF NOT EXISTS sudden (a int)")
    assert not connection.in_transaction
    with pytest.raises(errors.TransactionAborted, match="committed"):
        await insert.execute((2,))
    with pytest.raises(errors.TransactionAborted, match="committed") as info:
        await connection.commit()
    assert not info.value.retry_safe
    assert connection.is_ready
    assert await count(other, value) == 1


async def test_constraints_are_named(connection, value):
    await connection.execute(
        "DROP TABLE IF EXISTS child; DROP TABLE IF EXISTS parent;"
        "CREATE TABLE parent (id int PRIMARY KEY, email varchar(20), UNIQUE KEY uq_email (email),"
        " age int NOT NULL, CONSTRAINT ck_age CHECK (age > 0));"
        "CREATE TABLE child (id int, parent_id int, CONSTRAINT fk_parent FOREIGN KEY (parent_id)"
        " REFERENCES parent (id));"
        "INSERT INTO parent VALUES (1, 'a', 1); INSERT INTO child VALUES (1, 1)"
    )

    async def fails(sql, kind):
        with pytest.raises(kind) as info:
            await (await connection.prepare(sql)).execute(())
        return info.value

    error = await fails("INSERT INTO parent VALUES (2, 'a', 1)", errors.UniqueViolation)
    assert (error.code, error.constraint) == ("1062", "uq_email")
    error = await fails("DELETE FROM parent", errors.ForeignKeyViolation)
    assert (error.code, error.constraint, error.table) == ("1451", "fk_parent", "child")
    error = await fails("INSERT INTO child VALUES (1, 9)", errors.ForeignKeyViolation)
    assert (error.code, error.constraint) == ("1452", "fk_parent")
    error = await fails("INSERT INTO parent VALUES (3, 'b', 0)", errors.CheckViolation)
    assert error.constraint == "ck_age"
    error = await fails("INSERT INTO parent VALUES (3, 'b', NULL)", errors.NotNullViolation)
    assert (error.code, error.column_name) == ("1048", "age")
    error = await fails("INSERT INTO parent (id) VALUES (3)", errors.NotNullViolation)
    assert error.column_name == "age"
    error = await fails("UPDATE parent SET age = 99999999999", errors.DataError)
    assert error.column_name == "age"
    error = await fails("SELECT nope FROM parent", errors.ProgrammingError)
    assert error.column_name == "nope"
    await fails("SELEC", errors.ProgrammingError)
    await fails("SELECT * FROM nowhere", errors.ProgrammingError)
    assert connection.is_ready


async def test_the_servers_own_time_limit(opened, value):
    connection = await opened(command_timeout=0.3)
    sql = "SELECT count(*) FROM information_schema.columns a, information_schema.columns b, information_schema.columns c"
    with pytest.raises(errors.DeadlineExceeded) as info:
        await value(connection, sql)
    assert info.value.retry_safe
    assert connection.is_ready


async def test_copy_out_says_what_to_do_instead(connection):
    with pytest.raises(errors.ConfigurationError, match="stream a SELECT"):
        await anext(connection.copy_out("SELECT 1"))


async def test_a_lost_connection(connection, other, insert):
    await other.execute(f"KILL {connection.backend_id}")
    await asyncio.sleep(0.2)
    with pytest.raises(errors.ConnectionLost) as info:
        await insert.execute((1,))
    assert (info.value.retry_safe, info.value.outcome_unknown) == (True, False)
    assert connection.is_closed


async def test_a_connection_lost_while_the_server_works(connection, other, value):
    statement = await connection.prepare("SELECT SLEEP(20)")
    running = asyncio.ensure_future(statement.fetch(()))
    await asyncio.sleep(0.1)
    await other.execute(f"KILL {connection.backend_id}")
    with pytest.raises(errors.AuroraError) as info:
        await running
    assert connection.is_closed or info.value.retry_safe


def told(code, sqlstate):
    return b"\xff" + code.to_bytes(2, "little") + b"#" + sqlstate + b"told by the relay"


@pytest.mark.parametrize(
    ("code", "sqlstate"), [(1053, b"08S01"), (1180, b"HY000"), (1927, b"70100"), (3169, b"HY000")]
)
async def test_a_commit_that_is_answered_by_the_end_of_the_session_is_in_doubt(
    answering, opened, other, table, value, code, sqlstate
):
    async with answering(b"\x03COMMIT", told(code, sqlstate)) as (port, _):
        connection = await opened(port=port)
        insert = await connection.prepare("INSERT INTO things (id, name) VALUES (?, 'x')")
        await connection.begin()
        await insert.execute((1,))
        with pytest.raises(errors.CommitInDoubt) as info:
            await connection.commit()
        assert info.value.outcome_unknown
        assert not info.value.retry_safe
        assert connection.is_closed
        assert await count(other, value) == 1


async def test_an_error_is_told_although_the_connection_is_lost_right_after_it(answering, opened):
    async with answering(b"\x03COMMIT", told(1213, b"40001")) as (port, _):
        connection = await opened(port=port)
        await connection.begin()
        with pytest.raises(errors.Deadlock, match="told by the relay"):
            await connection.commit()


async def test_a_session_that_was_idle_for_too_long_has_run_nothing(
    connection, other, insert, value, kind
):
    await connection.execute("SET wait_timeout = 1")
    time.sleep(2.5)  # noqa: ASYNC251 - the server's notice must be there, and nobody has read it
    with pytest.raises(errors.ConnectionLost) as info:
        await insert.execute((1,))
    # MySQL says why it closes; where nothing is said the answer is the careful one.
    assert info.value.retry_safe is (kind == "mysql")
    assert info.value.outcome_unknown is not info.value.retry_safe
    assert connection.is_closed
    assert await count(other, value) == 0


@pytest.mark.parametrize("bad", [1, 2])
async def test_a_script_is_all_or_nothing(connection, other, table, value, bad):
    sql = (
        f"INSERT INTO things (id, name) VALUES (1, 'x');"
        f"INSERT INTO things (id, name) VALUES ({bad}, 'y')"
    )
    if bad == 1:
        with pytest.raises(errors.UniqueViolation):
            await connection.script(sql)
    else:
        await connection.script(sql)
    assert await count(other, value) == 2 * (bad - 1)
    assert connection.is_ready


async def test_a_script_that_defines_tables_keeps_what_came_before(connection, other, table, value):
    insert = "INSERT INTO things (id, name) VALUES"
    ddl = "CREATE TABLE IF NOT EXISTS sudden (a int)"
    await connection.script(f"{insert} (1, 'x'); {ddl}; {insert} (2, 'x')")
    assert connection.is_ready
    with pytest.raises(errors.UniqueViolation):
        await connection.script(f"{insert} (3, 'x'); {ddl}; {insert} (2, 'x')")
    assert connection.is_ready
    assert await count(other, value) == 3


async def test_a_script_left_by_a_cancelled_caller_leaves_nothing(connection, other, table, value):
    script = "INSERT INTO things (id, name) VALUES (1, 'x'); DO SLEEP(30)"
    for pause in (0, 0.001, 0.1):
        task = asyncio.ensure_future(connection.script(script))
        await asyncio.sleep(pause)
        task.cancel()
        await asyncio.wait([task])
        assert await connection.settle(5)
        assert connection.is_ready
        assert await count(other, value) == 0
