import asyncio
import logging
import traceback
from dataclasses import dataclass
from decimal import Decimal

import pytest
from pydantic import BaseModel

import aurora_sql
from aurora_sql import (
    Aurora,
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    ConnectionLost,
    DatabaseError,
    DeadlineExceeded,
    NoWriterAvailable,
    ParameterError,
    PoolExhausted,
    PoolTimeout,
    ProgrammingError,
    ReadOnlyInstance,
    RowNotFound,
    RowValidationError,
    StatementFileError,
    StatementFinished,
    TooManyRows,
    UniqueViolation,
    UsageError,
    deadline,
)


class Account(BaseModel):
    id: int
    owner: str
    balance: Decimal


@dataclass(frozen=True, slots=True)
class Short:
    id: int
    owner: str


# -- what a statement returns ------------------------------------------------------------------


async def test_each_cardinality_keeps_its_promise(db):
    row = await db.sql.accounts.get(id=1)
    assert (row.id, row["owner"], row[2]) == (1, "owner 1", Decimal("100.00"))
    assert await db.sql.accounts.find(id=99) is None
    assert await db.sql.accounts.balance(id=1) == Decimal("100.00")
    assert await db.sql.accounts.balance(id=99) is None
    assert [row.id for row in await db.sql.accounts.all()] == list(range(1, 11))
    assert await db.sql.accounts.add(id=11, owner="new", balance=1) is None
    assert await db.sql.accounts.deposit(id=11, amount=2) == 1
    assert await db.sql.accounts.deposit(id=99, amount=2) == 0
    await db.sql.accounts.add_all([{"id": 12, "owner": "a"}, {"id": 13, "owner": "b"}])
    await db.sql.accounts.maintain()
    assert await db.fetch_value("SELECT count(*) FROM accounts") == 15


async def test_a_broken_promise_is_named_with_its_place(db):
    with pytest.raises(RowNotFound, match=r"accounts\.get \(.*accounts\.sql:1\): no row"):
        await db.sql.accounts.get(id=99)
    with pytest.raises(TooManyRows, match="exactly one"):
        await db.sql.accounts.by_owner_prefix(prefix="owner%")


async def test_a_batch_and_a_script_are_all_or_nothing(db):
    with pytest.raises(UniqueViolation):
        await db.sql.accounts.add_all([{"id": 20, "owner": "x"}, {"id": 1, "owner": "y"}])
    with pytest.raises(UniqueViolation):
        await db.sql.accounts.broken_script()
    assert await db.fetch_value("SELECT count(*) FROM accounts") == 10
    await db.sql.accounts.add_all([])
    with pytest.raises(ParameterError, match="set 1"):
        await db.sql.accounts.add_all([{"id": 20, "owner": "x"}, {"id": 21}])


async def test_ad_hoc_sql_takes_models_and_query_builders(db):
    from pypika import NamedParameter, Query, Table

    accounts = await db.fetch_all(
        "SELECT id, owner, balance FROM accounts WHERE id = ANY(:ids) ORDER BY id",
        {"ids": [2, 1]},
        model=Account,
    )
    assert accounts == [Account(id=n, owner=f"owner {n}", balance=100) for n in (1, 2)]
    table = Table("accounts")
    query = Query.from_(table).select(table.id, table.owner).where(table.id == NamedParameter("id"))
    assert await db.fetch_one(query, {"id": 3}, model=Short) == Short(3, "owner 3")
    assert await db.fetch_maybe("SELECT 1 AS one WHERE false") is None
    assert await db.execute("DELETE FROM accounts WHERE id > :id", {"id": 8}) == 2
    with pytest.raises(ParameterError, match="not int"):
        await db.fetch_all(5)


async def test_a_model_that_does_not_fit_is_an_error_with_the_place(db, tmp_path, opened):
    with pytest.raises(RowValidationError, match="balance"):
        await db.fetch_all("SELECT id, owner FROM accounts", model=Account)
    (tmp_path / "x.sql").write_text("-- name: y :one\n-- returns: no.such.Model\nSELECT 1 AS a")
    async with opened(sql=tmp_path) as other:
        with pytest.raises(StatementFileError, match=r"x\.sql:1: returns: .*no\.such"):
            await other.sql.x.y()


async def test_names_and_documentation_are_at_hand(db):
    assert db.sql.accounts.get.__doc__ == "The account with this id."
    assert "accounts" in dir(db.sql)
    assert "deposit" in dir(db.sql.accounts)
    assert db.sql["accounts.get"].statement.name == "accounts.get"
    with pytest.raises(AttributeError, match=r"did you mean accounts\.deposit\?"):
        db.sql.accounts.depositt
    with pytest.raises(AttributeError, match="there are: accounts"):
        db.sql.nothing_like_it


# -- parameters and errors ---------------------------------------------------------------------


async def test_wrong_parameters_are_refused_before_anything_is_sent(db):
    for params, message in [
        ({}, "missing parameter 'id'"),
        ({"id": 1, "idd": 2}, "unknown parameter 'idd'"),
        ({"ids": 1}, "did you mean 'id'"),
    ]:
        with pytest.raises(ParameterError, match=message) as raised:
            await db.sql.accounts.get(**params)
        assert raised.value.retry_safe


async def test_a_value_of_the_wrong_kind_names_its_parameter(db, at_rest):
    with pytest.raises(ParameterError, match=r"accounts\.get .*parameter 'id'"):
        await db.sql.accounts.get(id="one")
    secret = "a private " + "value"  # not in the source line that the traceback shows
    with pytest.raises(ParameterError, match="parameter 'id'") as raised:
        await db.sql.accounts.get(id=secret)
    assert secret not in "".join(traceback.format_exception(raised.value))
    with pytest.raises(ParameterError, match="parameter 'amount'"):
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount="much")
    await at_rest(db)
    assert (await db.sql.accounts.get(id=1)).id == 1


async def test_errors_say_where_and_keep_their_secrets(opened):
    async with opened() as db:
        with pytest.raises(UniqueViolation) as raised:
            await db.sql.accounts.add(id=1, owner="secret owner", balance=0)
        text = "\n".join([str(raised.value), *raised.value.__notes__])
        assert "accounts.add" in text
        assert "accounts.sql:" in text
        assert "secret owner" not in text
        assert "INSERT" not in text
    async with opened(enable_sensitive_data_logging=True, enable_detailed_errors=True) as db:
        with pytest.raises(UniqueViolation) as raised:
            await db.sql.accounts.add(id=1, owner="secret owner", balance=0)
        text = "\n".join(raised.value.__notes__)
        assert "owner='secret owner'" in text
        assert "INSERT INTO accounts" in text
        assert "Key (id)=(1) already exists" in text


async def test_an_error_of_the_server_points_into_the_file(opened, tmp_path):
    (tmp_path / "x.sql").write_text("-- name: y :many\nSELECT id,\n       nope\nFROM accounts;\n")
    async with opened(sql=tmp_path) as db:
        with pytest.raises(ProgrammingError, match="nope") as raised:
            await db.sql.x.y()
        assert any("x.sql:3:8" in note for note in raised.value.__notes__)


# -- deadlines ---------------------------------------------------------------------------------


async def test_the_deadline_comes_from_context_statement_and_settings(opened, at_rest):
    async with opened(command_timeout=0.3) as db:
        with pytest.raises(DeadlineExceeded, match="nothing was applied"), deadline(0.1):
            await db.sql.accounts.slow(seconds=5)
        with pytest.raises(DeadlineExceeded):
            await db.sql.accounts.brief(seconds=5)
        with pytest.raises(DeadlineExceeded):
            await db.sql.accounts.slow(seconds=5)
        await at_rest(db)
        assert await db.sql.accounts.slow(seconds=0) == 1


async def test_a_statement_may_take_longer_than_the_others(opened):
    async with opened(command_timeout=0.3) as db:
        assert await db.sql.accounts.patient(seconds=0.6) == 1


async def test_a_write_that_ran_out_of_time_says_that_its_outcome_is_unknown(db, at_rest):
    with pytest.raises(DeadlineExceeded, match="not known") as raised, deadline(0.2):
        await db.sql.accounts.slow_write(id=1, seconds=5)
    assert raised.value.outcome_unknown
    assert not raised.value.retry_safe
    assert isinstance(raised.value, TimeoutError)
    await at_rest(db)


async def test_a_deadline_that_has_passed_lets_nothing_through(db):
    with deadline(0), pytest.raises(DeadlineExceeded) as raised:
        await db.sql.accounts.deposit(id=1, amount=1)
    assert raised.value.retry_safe
    assert await db.sql.accounts.balance(id=1) == 100


async def test_the_caller_s_cancellation_is_not_taken_for_a_deadline(db, at_rest):
    async def work():
        with deadline(5):
            await db.sql.accounts.slow(seconds=10)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await at_rest(db)


async def test_timeout_blocks_of_asyncio_work_around_calls(db, at_rest):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await db.sql.accounts.slow(seconds=10)
    await at_rest(db)
    assert await db.sql.accounts.balance(id=1) == 100


async def test_cancelling_at_every_await_of_a_read_leaves_the_pool_whole(opened, at_rest, sessions):
    async with opened(max_pool_size=2) as db:
        for turns in range(40):
            task = asyncio.create_task(db.sql.accounts.get(id=1))
            for _ in range(turns % 8):
                await asyncio.sleep(0)
            await asyncio.sleep(turns * 0.0001)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await at_rest(db)
        assert (await db.sql.accounts.get(id=1)).id == 1
        assert await sessions() <= 2


# -- the pool ----------------------------------------------------------------------------------


async def test_callers_wait_in_line_and_are_turned_away_by_name(opened, at_rest):
    async with opened(max_pool_size=1, max_waiting=1, connection_timeout=0.3) as db:
        holder = asyncio.create_task(db.sql.accounts.slow(seconds=1))
        await asyncio.sleep(0.1)
        waiter = asyncio.create_task(db.sql.accounts.get(id=1))
        await asyncio.sleep(0.05)
        with pytest.raises(PoolExhausted, match="max_waiting") as raised:
            await db.sql.accounts.get(id=1)
        assert raised.value.retry_safe
        with pytest.raises(PoolTimeout):
            await waiter
        assert await holder == 1
        await at_rest(db)


async def test_2000_callers_on_4_connections_are_all_served(opened, at_rest):
    async with opened(max_pool_size=4) as db:
        await asyncio.gather(*(db.sql.accounts.deposit(id=1, amount=1) for _ in range(2000)))
        assert await db.sql.accounts.balance(id=1) == 2100
        await at_rest(db)


async def test_what_a_caller_did_to_its_session_is_undone(opened):
    async with opened(max_pool_size=1) as db:
        await db.sql.accounts.set_marker(value="mine")
        assert await db.fetch_value("SELECT current_setting('aurora_test.marker', true)") in {
            "",
            None,
        }
        async with db.transaction() as tx:
            await tx.execute("SET SESSION search_path = nowhere")
        assert await db.fetch_value("SELECT count(*) FROM accounts") == 10
        await db.execute("CREATE TEMP TABLE accounts (id int)")
        assert await db.fetch_value("SELECT count(*) FROM accounts") == 10
        await db.execute("SELECT pg_advisory_lock(42)")
        assert (
            await db.fetch_value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
        )


async def test_plain_statements_need_no_reset(db):
    for _ in range(20):
        await db.sql.accounts.get(id=1)
        await db.sql.accounts.deposit(id=1, amount=1)
    assert db.pool_stats().popitem()[1].resets == 0
    assert all(one.resets == 0 for one in db.pool_stats().values())


async def test_a_trigger_can_change_the_session_and_is_cleaned_up_after(opened, outside):
    await outside.execute(
        """
        CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM set_config('aurora_test.marker', 'trigger', false); RETURN NEW; END $$;
        CREATE TRIGGER t BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION t();
        """
    )
    async with opened(max_pool_size=1) as db:
        await db.sql.accounts.deposit(id=1, amount=1)
        assert await db.fetch_value("SELECT current_setting('aurora_test.marker', true)") in {
            "",
            None,
        }
        assert next(iter(db.pool_stats().values())).resets > 0


async def test_a_function_of_the_user_is_looked_up_in_the_catalogue(opened, outside):
    await outside.execute(
        "CREATE FUNCTION mark(t text) RETURNS text LANGUAGE sql AS"
        " $$ SELECT set_config('aurora_test.marker', t, false) $$"
    )
    async with opened(max_pool_size=1) as db:
        assert await db.fetch_value("SELECT mark('left behind')") == "left behind"
        assert await db.fetch_value("SELECT current_setting('aurora_test.marker', true)") in {
            "",
            None,
        }


# -- prepared statements -----------------------------------------------------------------------


async def test_prepared_statements_are_bounded_and_closed_at_the_server(opened):
    async with opened(max_pool_size=1, min_pool_size=1, max_prepared_statements=5) as db:
        for n in range(40):
            assert await db.fetch_value(f"SELECT {n} + :one::int", {"one": 1}) == n + 1
            assert await db.sql.accounts.balance(id=1) == 100
        prepared = await db.fetch_value("SELECT count(*) FROM pg_prepared_statements")
        assert prepared <= 6  # five, and asyncpg may have one of its own


async def test_a_changed_schema_is_noticed_and_prepared_again(opened, outside):
    async with opened(max_pool_size=1) as db:
        query = "SELECT * FROM accounts WHERE id = :id"
        assert len(await db.fetch_one(query, {"id": 1})) == 4
        await outside.execute("ALTER TABLE accounts ADD COLUMN note text DEFAULT 'n'")
        row = await db.fetch_one(query, {"id": 1})
        assert row.note == "n"
        await outside.execute("ALTER TABLE accounts ALTER COLUMN owner TYPE varchar(100)")
        assert (await db.fetch_one(query, {"id": 1})).owner == "owner 1"
        for n in range(30):
            await outside.execute(f"ALTER TABLE accounts ADD COLUMN c{n} int")
            assert len(await db.fetch_one(query, {"id": 1})) == 6 + n


# -- roles -------------------------------------------------------------------------------------


async def test_reads_go_where_their_statement_or_the_caller_says(db, aurora_cluster, settings):
    await aurora_cluster.wait_replayed()
    ids = [one.id for one in aurora_cluster.instances]
    assert await db.sql.accounts.where_am_i() in ids[1:]
    assert await db.writer.sql.accounts.where_am_i() == ids[0]
    assert await db.fetch_value("SELECT aurora_db_instance_identifier()") == ids[0]
    seen = {await db.reader.fetch_value("SELECT aurora_db_instance_identifier()") for _ in range(9)}
    assert seen == set(ids[1:])
    with pytest.raises(ReadOnlyInstance):
        await db.reader.sql.accounts.deposit(id=1, amount=1)


@pytest.mark.parametrize("selection", ["round_robin", "random", "least_loaded"])
async def test_every_selection_uses_all_readers(opened, aurora_cluster, selection):
    await aurora_cluster.wait_replayed()
    async with opened(reader_selection=selection) as db:
        seen = {await db.sql.accounts.where_am_i() for _ in range(40)}
        assert len(seen) == 2


async def test_without_readers_the_writer_takes_their_reads(opened, aurora_cluster):
    async with opened(enable_read_replicas=False) as db:
        assert db.topology.readers == ()
        assert await db.sql.accounts.where_am_i() == aurora_cluster.instances[0].id


async def test_a_reader_that_is_down_is_left_out(opened, settings, aurora_cluster):
    good = settings.read_endpoint.split(",")[0]
    async with opened(read_endpoint=f"{good},127.0.0.1:9", connection_timeout=2) as db:
        await asyncio.sleep(0.3)
        seen = {await db.sql.accounts.where_am_i() for _ in range(10)}
        assert seen == {aurora_cluster.instances[1].id}
    async with opened(read_endpoint="127.0.0.1:9", connection_timeout=2) as db:
        await asyncio.sleep(0.3)
        assert await db.sql.accounts.where_am_i() == aurora_cluster.instances[0].id


async def test_health_tells_who_is_well(opened):
    async with opened() as db:
        health = await db.health()
        assert health.ok
        assert health.can_write
        assert len(health.instances) == 3
        assert all(one.latency > 0 and one.server_version[0] >= 13 for one in health.instances)
    async with opened(read_endpoint="127.0.0.1:9", connection_timeout=1) as db:
        health = await db.health(timeout=0.5)
        assert not health.ok
        assert health.can_write
        assert health.can_read
        assert "127.0.0.1:9" in health.instances[1].error


# -- losses ------------------------------------------------------------------------------------


async def test_a_read_whose_connection_dies_is_sent_again(db, outside):
    task = asyncio.create_task(db.sql.accounts.slow(seconds=0.5))
    await asyncio.sleep(0.2)
    await outside.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep($1)%'"
        " AND pid <> pg_backend_pid()"
    )
    assert await task == 1


async def test_a_write_whose_connection_dies_is_never_sent_again(db, outside, at_rest):
    task = asyncio.create_task(db.sql.accounts.slow_write(id=1, seconds=0.5))
    await asyncio.sleep(0.2)
    await outside.execute(
        "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
        " WHERE query LIKE '%UPDATE accounts%' AND pid <> pg_backend_pid()"
    )
    with pytest.raises(ConnectionLost) as raised:
        await task
    assert raised.value.outcome_unknown
    assert not raised.value.retry_safe
    assert await outside.fetchval("SELECT balance FROM accounts WHERE id = 1") == 100
    await at_rest(db)


async def test_idle_connections_that_died_are_replaced_unseen(db, outside):
    await asyncio.gather(*(db.sql.accounts.slow(seconds=0.1) for _ in range(4)))
    await outside.execute(
        "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await asyncio.sleep(0.05)
    assert (
        await asyncio.gather(*(db.sql.accounts.deposit(id=1, amount=1) for _ in range(10)))
        == [1] * 10
    )


# -- opening -----------------------------------------------------------------------------------


async def test_what_keeps_an_aurora_from_opening_is_named(settings, tmp_path):
    with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1:9"):
        async with Aurora(
            settings.replace({"write_endpoint": "127.0.0.1:9", "read_endpoint": None})
        ):
            pass
    with pytest.raises(AuthenticationFailed) as raised:
        async with Aurora(settings.replace({"password": "wr0ng"})):
            pass
    assert "wr0ng" not in str(raised.value)
    with pytest.raises((ConnectionFailed, ConfigurationError), match="no_such_database"):
        async with Aurora(settings.replace({"database": "no_such_database"})):
            pass
    with pytest.raises(NoWriterAvailable, match="is a reader"):
        reader = settings.read_endpoint.split(",")[0]
        async with Aurora(settings.replace({"write_endpoint": reader, "read_endpoint": None})):
            pass
    with pytest.raises(ConfigurationError, match="nowhere"):
        async with Aurora(settings, sql=tmp_path / "nowhere"):
            pass
    with pytest.raises(ConfigurationError, match="reload"):
        Aurora(settings, reload=True)


async def test_an_aurora_that_is_not_open_says_so(settings):
    db = Aurora(settings)
    with pytest.raises(UsageError, match="not open"):
        db.sql
    with pytest.raises(UsageError, match="not open"):
        await db.fetch_value("SELECT 1")
    async with db:
        assert await db.fetch_value("SELECT 1") == 1
        with pytest.raises(AttributeError, match="without sql="):
            db.sql.users
    with pytest.raises(UsageError, match="closed"):
        await db.__aenter__()
    with pytest.raises(aurora_sql.PoolClosed):
        await db.fetch_value("SELECT 1")


async def test_closing_leaves_no_session_and_no_task(opened, sessions):
    before = asyncio.all_tasks()
    async with opened() as db:
        await asyncio.gather(*(db.sql.accounts.get(id=1) for _ in range(20)))
    assert asyncio.all_tasks() == before
    for _ in range(100):
        if await sessions() == 0:
            break
        await asyncio.sleep(0.02)
    assert await sessions() == 0


async def test_reload_picks_up_a_changed_file(opened, tmp_path, caplog):
    file = tmp_path / "x.sql"
    file.write_text("-- name: y :scalar\nSELECT 1;\n")
    async with Aurora((opened()._settings), sql=tmp_path, reload=True) as db:
        assert await db.sql.x.y() == 1
        file.write_text("-- name: y :scalar\nSELECT 22;\n\n-- name: z :scalar\nSELECT 3;\n")
        await asyncio.sleep(0.6)
        assert await db.sql.x.y() == 22
        assert await db.sql.x.z() == 3
        with caplog.at_level(logging.WARNING):
            file.write_text("-- name: y :scalar\nSELECT 'broken;\n")
            await asyncio.sleep(0.6)
            assert await db.sql.x.y() == 22
        assert "x.sql" in caplog.text


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


async def test_a_statement_that_was_prepared_and_not_run_holds_no_lock(opened, outside, at_rest):
    async with opened(max_pool_size=1) as db:
        with pytest.raises(ParameterError, match="parameter 'id'"):
            await db.sql.accounts.get(id="not a number")
        with pytest.raises(RowValidationError):
            await db.fetch_all("SELECT id FROM accounts", model=Account)
        await at_rest(db)
        await outside.execute("SET lock_timeout = '2s'")
        await outside.execute("ALTER TABLE accounts ADD COLUMN more int")


async def test_a_function_the_catalogue_calls_stable_makes_no_write(db, outside):
    await outside.execute(
        "CREATE FUNCTION patient(s float) RETURNS bigint STABLE LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(s); RETURN 1; END $$"
    )
    with pytest.raises(DeadlineExceeded) as raised, deadline(0.2):
        await db.fetch_value("SELECT patient(:s)", {"s": 5.0})
    assert raised.value.retry_safe
