"""Prepared statements that no longer fit, and those that must not pile up."""

import asyncio
import gc

import pytest
from pydantic import BaseModel

from aurora_sql import (
    DeadlineExceeded,
    ParameterError,
    ProgrammingError,
    RetryScheduled,
    StatementStale,
    deadline,
)


class Short(BaseModel):
    id: int


class Long(BaseModel):
    id: int
    owner: str


async def test_the_types_of_placeholders_follow_the_schema(opened, outside):
    async with opened(max_pool_size=1) as db:
        await outside.execute("CREATE TABLE codes (code bigint); INSERT INTO codes VALUES (1), (2)")
        query = "SELECT code FROM codes WHERE code = :code"
        assert (await db.fetch_one(query, {"code": 1})).code == 1
        await outside.execute("ALTER TABLE codes ALTER COLUMN code TYPE text")
        # An integer no longer fits; the second time the caller knows.
        with pytest.raises((ParameterError, ProgrammingError)):
            await db.fetch_one(query, {"code": 1})
        assert (await db.fetch_one(query, {"code": "2"})).code == "2"


async def test_a_lone_statement_heals_itself_when_the_types_changed(opened, outside):
    events = []
    async with opened(max_pool_size=1, observers=[events.append]) as db:
        await outside.execute("CREATE TABLE codes (code int); INSERT INTO codes VALUES (1), (2)")
        query = "SELECT count(*) FROM codes AS a, unnest(:codes::int[]) AS b WHERE a.code = b"
        assert await db.fetch_value(query, {"codes": [1, 2]}) == 2
        await outside.execute("ALTER TABLE codes ALTER COLUMN code TYPE text")
        with pytest.raises(ProgrammingError, match="operator does not exist"):
            await db.fetch_value(query, {"codes": [1, 2]})
        await outside.execute("ALTER TABLE codes ALTER COLUMN code TYPE int USING code::int")
        assert await db.fetch_value(query, {"codes": [1, 2]}) == 2
        assert [one.error for one in events if isinstance(one, RetryScheduled)] == [
            "StatementStale"
        ]


async def test_a_wrong_value_does_not_spoil_the_statement(opened):
    async with opened(max_pool_size=1) as db:
        for _ in range(3):
            assert (await db.sql.accounts.get(id=1)).id == 1
            with pytest.raises(ParameterError, match="parameter 'id'"):
                await db.sql.accounts.get(id="one")
        async with db.transaction() as tx:
            assert (await tx.sql.accounts.get(id=1)).id == 1
            with pytest.raises(ParameterError, match="parameter 'id'"):
                await tx.sql.accounts.get(id="one")
            assert (await tx.sql.accounts.get(id=1)).id == 1


async def test_a_write_that_ran_is_not_repeated_because_its_result_is_stale(opened, outside):
    """The driver finds out after execution that its picture of a composite type is old."""
    await outside.execute(
        "CREATE TYPE pair AS (a int, b int); CREATE TABLE pairs (id serial, p pair)"
    )
    query = (
        "INSERT INTO pairs (p) VALUES (jsonb_populate_record(NULL::pair, '{\"a\": 1}')) RETURNING p"
    )
    async with opened(max_pool_size=1) as db:
        await db.fetch_one(query)
        await outside.execute("ALTER TYPE pair ADD ATTRIBUTE c int CASCADE")
        with pytest.raises(StatementStale) as raised:
            await db.fetch_one(query)
        assert not raised.value.retry_safe
        assert await outside.fetchval("SELECT count(*) FROM pairs") == 2
        await db.fetch_one(query)
        assert await outside.fetchval("SELECT count(*) FROM pairs") == 3
        # A read may be repeated, and so may a transaction, of which nothing was applied.
        read = "SELECT p FROM pairs LIMIT 1"
        await db.fetch_one(read)
        await outside.execute("ALTER TYPE pair ADD ATTRIBUTE d int CASCADE")
        assert len((await db.fetch_one(read)).p) == 4
        await outside.execute("ALTER TYPE pair ADD ATTRIBUTE e int CASCADE")
        await db.run_in_transaction(lambda tx: tx.fetch_one(query))
        assert await outside.fetchval("SELECT count(*) FROM pairs") == 4


async def test_a_transaction_full_of_stale_statements_is_replayed_once(opened, outside):
    calls = 0
    await outside.execute("".join(f"CREATE TABLE t{n} (id int);" for n in range(6)))

    async def work(tx):
        nonlocal calls
        calls += 1
        for n in range(6):
            await tx.fetch_all(f"SELECT * FROM t{n}")

    async with opened(max_pool_size=1) as db:
        await db.run_in_transaction(work)
        await outside.execute("".join(f"ALTER TABLE t{n} ADD COLUMN more int;" for n in range(6)))
        await db.run_in_transaction(work)
        assert calls == 3


async def test_in_a_transaction_a_stale_statement_is_told_and_prepared_anew(opened, outside):
    query = "SELECT * FROM accounts WHERE id = 1"
    async with opened(max_pool_size=1) as db:
        await db.fetch_one(query)
        await outside.execute("ALTER TABLE accounts ADD COLUMN note text")
        with pytest.raises(StatementStale) as raised:
            async with db.transaction() as tx:
                await tx.fetch_one(query)
        assert raised.value.retry_safe
        async with db.transaction() as tx:
            assert len(await tx.fetch_one(query)) == 5


async def test_one_text_with_several_models(db):
    query = "SELECT id, owner FROM accounts WHERE id = 1"
    for _ in range(2):
        assert await db.fetch_one(query, model=Long) == Long(id=1, owner="owner 1")
        assert (await db.fetch_one(query)).owner == "owner 1"
        assert await db.fetch_all(query, model=Long) == [Long(id=1, owner="owner 1")]
        with pytest.raises(Exception, match="owner"):
            await db.fetch_one(query, model=Short)
        assert await db.execute(query) == 1


async def test_changes_of_the_schema_under_load_reach_no_caller(opened, outside, at_rest):
    stop = False
    failures = []

    async def reads(db):
        while not stop:
            try:
                row = await db.fetch_one("SELECT * FROM accounts WHERE id = :id", {"id": 1})
                assert row.id == 1
                await db.run_in_transaction(in_transaction)
            except Exception as error:
                failures.append(error)
                raise

    async def in_transaction(tx):
        await tx.fetch_one("SELECT * FROM accounts WHERE id = :id", {"id": 2})
        await tx.fetch_all("SELECT * FROM accounts ORDER BY id")

    async with opened(max_pool_size=4, max_retry_count=5) as db:
        callers = [asyncio.create_task(reads(db)) for _ in range(6)]
        for n in range(15):
            await outside.execute(f"ALTER TABLE accounts ADD COLUMN c{n} int")
            await asyncio.sleep(0.02)
        stop = True
        await asyncio.gather(*callers)
        await at_rest(db)
    assert failures == []


async def test_many_texts_and_many_reloads_leave_nothing_behind(opened, tmp_path):
    from aurora_sql.statements import Statement, Variant

    file = tmp_path / "x.sql"
    file.write_text("-- name: y :scalar\nSELECT 1;\n")
    async with opened(max_pool_size=1, max_prepared_statements=8) as other:
        settings = other._settings
    from aurora_sql import Aurora

    def alive():
        gc.collect()
        found = [one for one in gc.get_objects() if type(one) in {Statement, Variant}]
        return len(found)

    async with Aurora(settings, sql=tmp_path, reload=True) as db:
        registry = db._shared.tree._registry
        before = alive()
        for n in range(60):
            file.write_text(f"-- name: y :scalar\nSELECT {n} + {'0' * n}1;\n")
            registry.refresh(force=True)
            assert await db.sql.x.y() == n + 1
        assert alive() - before < 60
        middle = alive()
        for n in range(700):
            await db.fetch_value(f"SELECT {n}")
        assert alive() - middle < 2 * 600
        full = alive()
        for n in range(700, 1400):
            await db.fetch_value(f"SELECT {n}")
        assert alive() - full < 50
        assert len(db._shared.context.preparer._shapes) < 700


async def test_a_statement_prepared_already_is_not_sent_after_its_deadline(opened, outside):
    async with opened(max_pool_size=1) as db:
        await db.sql.accounts.deposit(id=1, amount=1)
        with deadline(0), pytest.raises(DeadlineExceeded) as raised:
            await db.sql.accounts.deposit(id=1, amount=1)
        assert raised.value.retry_safe
        with pytest.raises(DeadlineExceeded) as raised:
            async with db.transaction(timeout=0.05) as tx:
                await asyncio.sleep(0.1)
                await tx.sql.accounts.deposit(id=1, amount=1)
        assert raised.value.retry_safe
        assert await outside.fetchval("SELECT balance FROM accounts WHERE id = 1") == 101


async def test_findings_of_the_catalogue_do_not_last_for_ever(opened, outside, monkeypatch):
    from aurora_sql.execution import _prepare

    async with opened(max_pool_size=2, max_connection_lifetime=3600) as db:
        await db.sql.accounts.deposit(id=1, amount=1)
        await outside.execute(
            "CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
            " CREATE TRIGGER t BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION t()"
        )
        now = _prepare.monotonic()
        monkeypatch.setattr(_prepare, "monotonic", lambda: now + 61)
        await outside.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await asyncio.sleep(0.05)
        await db.sql.accounts.deposit(id=1, amount=1)
        assert sum(one.resets for one in db.pool_stats().values()) > 0


async def test_columns_are_attributes_of_the_rows_of_their_statement_alone(db):
    one = await db.fetch_one('SELECT 1 AS id, 2 AS keys, 3 AS "two words", 4 AS id')
    other = await db.fetch_one("SELECT 5 AS number")
    # Found by the class, and so without Row.__getattr__.
    assert isinstance(type(one).id, property)
    assert (one.id, one["keys"], one["two words"]) == (4, 2, 3)
    assert list(one.keys()) == ["id", "keys", "two words", "id"]
    assert other.number == 5
    assert not hasattr(other, "id")
    assert not hasattr(one, "number")


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
