import asyncio

import pytest

from aurora_sql import errors
from aurora_sql.drivers import Begin
from aurora_sql.types import Isolation


@pytest.fixture
async def constrained(connection):
    await connection.execute(
        "CREATE EXTENSION IF NOT EXISTS btree_gist;"
        "DROP SCHEMA IF EXISTS strict CASCADE; CREATE SCHEMA strict;"
        "CREATE TABLE strict.parent (id int CONSTRAINT parent_key PRIMARY KEY);"
        "CREATE TABLE strict.child (id int PRIMARY KEY,"
        " parent int CONSTRAINT child_parent REFERENCES strict.parent,"
        " amount int CONSTRAINT positive CHECK (amount > 0), name varchar(3) NOT NULL);"
        "CREATE TABLE strict.span (at int4range, CONSTRAINT no_overlap EXCLUDE USING gist (at WITH &&));"
        "INSERT INTO strict.parent VALUES (1); INSERT INTO strict.child VALUES (1, 1, 1, 'x');"
        "INSERT INTO strict.span VALUES ('[1,5)')"
    )


@pytest.mark.parametrize(
    ("sql", "kind", "code", "facts"),
    [
        (
            "INSERT INTO strict.parent VALUES (1)",
            errors.UniqueViolation,
            "23505",
            {
                "constraint": "parent_key",
                "table": "strict.parent",
                "detail": "Key (id)=(1) already exists.",
            },
        ),
        (
            "INSERT INTO strict.child VALUES (2, 9, 1, 'x')",
            errors.ForeignKeyViolation,
            "23503",
            {"constraint": "child_parent"},
        ),
        (
            "DELETE FROM strict.parent",
            errors.ForeignKeyViolation,
            "23503",
            {"constraint": "child_parent"},
        ),
        (
            "INSERT INTO strict.child VALUES (2, 1, 0, 'x')",
            errors.CheckViolation,
            "23514",
            {"constraint": "positive"},
        ),
        (
            "INSERT INTO strict.child VALUES (2, 1, 1, NULL)",
            errors.NotNullViolation,
            "23502",
            {"column_name": "name", "table": "strict.child"},
        ),
        (
            "INSERT INTO strict.span VALUES ('[2,3)')",
            errors.ExclusionViolation,
            "23P01",
            {"constraint": "no_overlap"},
        ),
        ("INSERT INTO strict.child VALUES (2, 1, 1, 'long')", errors.DataError, "22001", {}),
        ("SELECT 1 / 0", errors.DataError, "22012", {}),
        ("SELEKT 1", errors.ProgrammingError, "42601", {"position": 1}),
        ("SELECT * FROM nowhere", errors.ProgrammingError, "42P01", {"position": 15}),
        (
            "SELECT nam FROM strict.child",
            errors.ProgrammingError,
            "42703",
            {"hint": 'Perhaps you meant to reference the column "child.name".'},
        ),
        ("SELECT nothing(1)", errors.ProgrammingError, "42883", {}),
    ],
)
async def test_what_the_server_answers(connection, constrained, sql, kind, code, facts):
    with pytest.raises(kind) as caught:
        await connection.execute(sql)
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert {name: getattr(caught.value, name) for name in facts} == facts
    assert not caught.value.retry_safe
    assert not caught.value.outcome_unknown
    assert caught.value.__cause__ is not None
    assert not connection.is_closed


async def test_errors_of_preparing(connection):
    with pytest.raises(errors.ProgrammingError, match="nowhere") as caught:
        await connection.prepare("SELECT * FROM nowhere")
    assert caught.value.position == 15
    await connection.ping()


async def test_statement_timeout(opened):
    connection = await opened(command_timeout=0.05)
    statement = await connection.prepare("SELECT pg_sleep(5)")
    with pytest.raises(
        errors.DeadlineExceeded, match=r"statement timeout: nothing was applied.*command_timeout"
    ) as caught:
        await statement.fetch(())
    assert caught.value.retry_safe
    await connection.ping()


async def test_cancelled_by_somebody(connection, other, value):
    running = asyncio.ensure_future(connection.execute("SELECT pg_sleep(5)"))
    await asyncio.sleep(0.05)
    assert await value(other, "SELECT pg_cancel_backend($1)", connection.backend_id)
    with pytest.raises(errors.QueryCancelled, match="cancel request was sent"):
        await running


async def test_lock_timeout_and_nowait(opened, connection, table):
    await connection.execute("INSERT INTO things (id, name) VALUES (1, 'x')")
    await connection.execute("BEGIN; UPDATE things SET name = 'y'")
    blocked = await opened(lock_timeout=0.05)
    for sql in ("UPDATE things SET name = 'z'", "SELECT * FROM things FOR UPDATE NOWAIT"):
        with pytest.raises(errors.LockTimeout) as caught:
            await blocked.execute(sql)
        assert caught.value.retry_safe


async def test_deadlock(connection, other, table):
    await connection.execute("INSERT INTO things (id, name) VALUES (1, 'x'), (2, 'y')")
    for one, row in ((connection, 1), (other, 2)):
        await one.begin()
        await one.execute(f"UPDATE things SET name = 'z' WHERE id = {row}")
    results = await asyncio.gather(
        connection.execute("UPDATE things SET name = 'z' WHERE id = 2"),
        other.execute("UPDATE things SET name = 'z' WHERE id = 1"),
        return_exceptions=True,
    )
    (failed,) = [r for r in results if isinstance(r, Exception)]
    assert type(failed) is errors.Deadlock
    assert failed.retry_safe


async def test_serialization_failure(connection, other, table):
    await connection.execute("INSERT INTO things (id, name) VALUES (1, 'x')")
    await connection.begin(Begin(Isolation.REPEATABLE_READ))
    await connection.execute("SELECT * FROM things")
    await other.execute("UPDATE things SET name = 'y'")
    with pytest.raises(errors.SerializationConflict) as caught:
        await connection.execute("UPDATE things SET name = 'z'")
    assert caught.value.retry_safe


async def test_read_only_transaction(connection, table):
    await connection.begin(Begin(read_only=True))
    with pytest.raises(errors.ReadOnlyInstance) as caught:
        await connection.execute("DELETE FROM things")
    assert caught.value.code == "25006"


async def test_a_failed_transaction_refuses_more(connection):
    await connection.begin()
    with pytest.raises(errors.DataError):
        await connection.execute("SELECT 1 / 0")
    with pytest.raises(errors.TransactionAborted):
        await connection.execute("SELECT 1")


async def test_a_plan_that_ddl_made_stale(connection, other, table):
    statement = await connection.prepare("SELECT * FROM things")
    await statement.fetch(())
    await other.execute("ALTER TABLE things ADD COLUMN more int")
    with pytest.raises(errors.StatementStale) as caught:
        await statement.fetch(())
    assert caught.value.retry_safe
    assert len((await connection.prepare("SELECT * FROM things")).columns) == 7


async def test_a_statement_that_is_gone(connection):
    statement = await connection.prepare("SELECT 1")
    await connection.execute("DEALLOCATE ALL")
    with pytest.raises(errors.StatementStale):
        await statement.fetch(())


async def test_a_composite_type_that_changed(connection, other):
    await connection.execute("DROP TYPE IF EXISTS shape CASCADE; CREATE TYPE shape AS (a int)")
    statement = await connection.prepare("SELECT ROW(1)::shape AS s")
    await statement.fetch(())
    await other.execute("ALTER TYPE shape ADD ATTRIBUTE b text")
    await connection.execute("DISCARD PLANS")
    stale = await connection.prepare("SELECT ROW(1, 'x')::shape AS s")
    with pytest.raises(errors.StatementStale) as caught:
        await stale.fetch(())
    assert not caught.value.retry_safe
    again = await connection.prepare("SELECT ROW(1, 'x')::shape AS s")
    assert (await again.fetch(()))[0].s["b"] == "x"


async def test_a_value_that_python_cannot_hold(connection):
    statement = await connection.prepare("SELECT '0044-03-15 BC'::date")
    with pytest.raises(errors.DataError, match="cannot be represented in Python") as caught:
        await statement.fetch(())
    assert not caught.value.retry_safe
    await connection.ping()


# --- the connection breaks --------------------------------------------------------------------


async def terminate(other, connection, value):
    assert await value(other, "SELECT pg_terminate_backend($1, 5000)", connection.backend_id)


async def test_terminated_while_idle(connection, other, value):
    statement = await connection.prepare("SELECT 1")
    await terminate(other, connection, value)
    await asyncio.sleep(0.05)
    for run in (
        statement.fetch(()),
        connection.execute("SELECT 1"),
        connection.prepare("SELECT 1"),
        connection.reset(),
        connection.ping(),
        connection.copy_in(["a"], ["b"], []),
    ):
        with pytest.raises(errors.ConnectionLost, match=connection.where) as caught:
            await run
        assert caught.value.retry_safe
        assert not caught.value.outcome_unknown
    assert connection.is_closed
    assert not await connection.settle()
    await connection.rollback()
    await connection.close()


async def test_lost_while_a_statement_runs(connection, other, value):
    statement = await connection.prepare("SELECT pg_sleep(5)")
    running = asyncio.ensure_future(statement.fetch(()))
    await asyncio.sleep(0.05)
    await terminate(other, connection, value)
    with pytest.raises(errors.ConnectionLost, match="had been sent") as caught:
        await running
    assert caught.value.outcome_unknown
    assert not caught.value.retry_safe
    assert connection.is_closed


async def test_terminated_before_the_loop_noticed(connection, other, value):
    # The request goes into a socket whose other end is gone already: sent, as far as we know.
    await other.execute(f"SELECT pg_terminate_backend({connection.backend_id}, 5000)")
    sent = connection.commands_sent
    with pytest.raises(errors.ConnectionLost) as caught:
        await connection.execute("SELECT 1")
    assert caught.value.outcome_unknown == (connection.commands_sent > sent)
    assert caught.value.retry_safe != caught.value.outcome_unknown


async def test_idle_in_transaction_timeout(opened):
    connection = await opened(idle_in_transaction_timeout=0.05)
    await connection.begin()
    await asyncio.sleep(0.2)
    with pytest.raises(errors.ConnectionLost):
        await connection.execute("SELECT 1")


async def test_a_connection_is_refused_while_the_server_stops(server, opened, frozen):
    # A frozen server answers nobody, though its port is open.
    with frozen(server.process.pid), pytest.raises(errors.ConnectionFailed, match="within"):
        await opened(connect_timeout=0.2)


async def test_abort_and_close_never_raise(connection):
    connection.abort()
    connection.abort()
    await connection.close()
    assert connection.is_closed
    assert not await connection.settle()
