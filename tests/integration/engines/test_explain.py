"""What really runs, and the server's plan of it: asked where it would run, and nothing runs."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import re

import pytest

from aurora_sql import (
    Access,
    Aurora,
    DeadlineExceeded,
    Explanation,
    ParameterError,
    ProgrammingError,
    StatementFileError,
    TransactionAborted,
    UsageError,
    count_statements,
    deadline,
)
from aurora_sql.local._mysql._session import ADMINISTRATOR, session

SQL = """
-- name: get :maybe
-- coalesce: on
SELECT id, owner FROM accounts WHERE id = :id; -- the end

-- name: owned :many
-- coalesce: on
SELECT id, owner FROM accounts
WHERE owner = :owner
  AND id > :after           -- when :after
ORDER BY id;

-- name: put :exec
-- coalesce: on
INSERT INTO accounts (id, owner) VALUES (:id, :owner);

-- name: typed :many
-- param: least integer
SELECT id FROM accounts WHERE balance >= :least;
"""
TYPED = {"postgresql": "integer", "mysql": "SIGNED"}


@pytest.fixture
async def t(settings, outside, tmp_path, at_rest):
    """A database with statements whose calls travel together."""
    text = SQL.replace("least integer", f"least {TYPED[settings.engine.value]}")
    (tmp_path / "t.sql").write_text(text)
    async with Aurora(settings, sql=tmp_path) as db:
        yield db
        await at_rest(db)


async def everything(outside):
    return await outside.rows("SELECT * FROM accounts ORDER BY id")


async def test_a_read(db, cluster):
    found = await db.sql.accounts.get.explain(id=3)
    statement = db.sql.accounts.get.statement
    assert isinstance(found, Explanation)
    assert (found.name, found.path, found.line) == (statement.name, statement.path, statement.line)
    assert found.dialect == cluster.engine.value
    assert found.instance == db.topology.writer.id
    assert found.access is Access.READ
    assert found.sql == statement.variants[0].sql
    assert found.parameters == ("id",)
    assert found.types in {("int8",), ("bigint",), ()}
    assert found.plan
    assert (found.together, found.together_plan, found.callers, found.apart) == ((), (), 0, "")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.sql = ""
    shown = str(found)
    for part in ("accounts.get", str(found.place), found.instance, *found.plan, "Parameters"):
        assert part in shown


async def test_the_plan_is_for_these_values(db, server):
    plan = "\n".join((await db.sql.accounts.find.explain(owner="owner 7")).plan)
    assert plan
    if server.name == "postgresql":
        assert "'owner 7'" in plan
    if server.name == "mariadb":
        head, line = plan.splitlines()
        assert head.split()[:4] == ["id", "select_type", "table", "type"]
        assert "accounts_owner_key" in line


async def test_the_text_is_the_one_that_these_values_choose(db):
    bound = db.sql.accounts
    for params in (
        {"limit": 3},
        {"limit": 3, "least": 5, "sort": "richest"},
        {"limit": 3, "owner": "owner 1", "least": None},
    ):
        found = await bound.search.explain(**params)
        variant, args = bound.search.statement.bind(params)
        assert (found.sql, found.parameters) == (variant.sql, variant.parameters)
        assert len(found.types) in {0, len(args)}
    for ids in ([], [1], [1, 2, 3]):
        for one in (bound.by_ids, bound.not_ids):
            found = await one.explain(ids=ids)
            assert found.sql == one.statement.bind({"ids": ids})[0].sql
            assert found.plan


async def test_types_by_directive_are_in_the_text(t):
    found = await t.sql.t.typed.explain(least=5)
    assert "::integer" in found.sql or "CAST(? AS SIGNED)" in found.sql
    assert found.plan


async def test_writes_are_explained_without_effect(db, outside):
    before = await everything(outside)
    bound = db.sql.accounts
    for one, params in (
        (bound.add, {"id": 99, "owner": "new", "balance": 1}),
        (bound.add, {"id": 1, "owner": "there already", "balance": 1}),
        (bound.add_once, {"id": 98, "owner": "new", "balance": 1}),
        (bound.deposit, {"id": 1, "amount": 5}),
        (bound.add_many, {"id": 97, "owner": "new", "balance": 1}),
        (bound.lock, {"id": 1}),
        (bound.rename, {"id": 1, "owner": "other"}),
    ):
        found = await one.explain(**params)
        assert found.plan
        assert "not executable" not in found.plan[0]
        assert found.access is Access.WRITE
        assert found.instance == db.topology.writer.id
        async with db.transaction() as tx:
            inside = await tx.sql[one.statement.name].explain(**params)
            assert (inside.sql, inside.instance) == (found.sql, found.instance)
    assert await everything(outside) == before


@pytest.fixture
async def tell(outside, on_mysql):
    """A query that runs a function, which writes, while the server plans."""
    await outside.execute("DROP TABLE IF EXISTS told")
    await outside.execute("CREATE TABLE told (n int)")
    if on_mysql:
        await outside.execute("DROP FUNCTION IF EXISTS tell")
        await outside.execute(
            "CREATE FUNCTION tell() RETURNS int NOT DETERMINISTIC MODIFIES SQL DATA"
            " BEGIN INSERT INTO told VALUES (1); RETURN 1; END"
        )
        return "SELECT * FROM (SELECT tell() AS n) AS t"
    await outside.execute(
        "CREATE OR REPLACE FUNCTION says() RETURNS int LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO told VALUES (1); RETURN 1; END'"
    )
    await outside.execute(
        "CREATE OR REPLACE FUNCTION tell() RETURNS int STABLE LANGUAGE plpgsql AS"
        " 'BEGIN RETURN says(); END'"
    )
    return "SELECT id FROM accounts WHERE version = tell()"


async def test_what_functions_write_while_the_server_plans_is_undone(db, outside, tell):
    assert (await db.explain(tell)).plan
    assert await outside.value("SELECT count(*) FROM told") == 0


async def test_analyze_asks_the_catalogue_about_functions(db, outside, tell, on_mysql):
    writes = "SELECT tell()" if on_mysql else "SELECT says()"
    with pytest.raises(UsageError, match="would run what may write"):
        await db.explain(writes, analyze=True)
    if on_mysql:
        await outside.execute("DROP FUNCTION IF EXISTS busy")
        await outside.execute("CREATE FUNCTION busy() RETURNS int CONTAINS SQL RETURN 1")
    else:
        await outside.execute("CREATE OR REPLACE FUNCTION busy() RETURNS int RETURN 1")
    with pytest.raises(UsageError, match="would run what may write"):
        await db.explain("SELECT busy()", analyze=True)
    if not on_mysql:
        await outside.execute(
            "CREATE OR REPLACE FUNCTION calm() RETURNS int STABLE LANGUAGE plpgsql AS"
            " 'BEGIN RETURN 1; END'"
        )
        assert (await db.explain("SELECT calm()", analyze=True)).analyzed
        # It lies; the server keeps it from writing.
        with pytest.raises(UsageError, match="would run what may write"):
            await db.explain(tell, analyze=True)
    assert await outside.value("SELECT count(*) FROM told") == 0


async def test_analyze_runs_reads(db, outside, server):
    found = await db.sql.accounts.everyone.explain(analyze=True)
    assert found.analyzed
    plan = "\n".join(found.plan)
    assert "r_rows" in plan if server.name == "mariadb" else "actual" in plan
    assert re.search(r"\b10(\.00)?\b", plan)
    assert "Plan, of a run" in str(found)
    assert not (await db.sql.accounts.everyone.explain()).analyzed


async def test_analyze_is_refused_for_writes_before_anything_is_sent(db, outside):
    before = await everything(outside)
    waited = db.pool_stats()
    for one in ("add", "add_many"):
        with pytest.raises(UsageError, match="would run what may write"):
            await db.sql.accounts[one].explain(analyze=True, id=99, owner="new", balance=1)
    assert db.pool_stats() == waited
    with pytest.raises(UsageError, match=r"may write"):
        await db.sql.accounts.lock.explain(analyze=True, id=1)
    async with db.transaction() as tx:
        with pytest.raises(UsageError, match=r"accounts\.deposit"):
            await tx.sql.accounts.deposit.explain(analyze=True, id=1, amount=1)
        assert await tx.sql.accounts.how_many() == 10
    assert await everything(outside) == before


async def test_what_has_no_plan_is_refused(db):
    with pytest.raises(UsageError, match=r"accounts\.tidy .*a :script has several statements"):
        await db.sql.accounts.tidy.explain()
    with pytest.raises(UsageError, match=r"plans SELECT, INSERT, UPDATE, DELETE"):
        await db.explain("CREATE TABLE never (n int)")


async def test_wrong_parameters_are_told_as_for_a_call(db):
    with pytest.raises(ParameterError, match="missing parameter 'id'"):
        await db.sql.accounts.get.explain()
    with pytest.raises(ParameterError, match="unknown parameter 'ident'"):
        await db.sql.accounts.get.explain(id=1, ident=1)
    with pytest.raises(ParameterError, match=r"parameter 'id'"):
        await db.sql.accounts.get.explain(id=object())


async def test_sql_that_stands_in_no_file(db):
    found = await db.explain(
        "/* first */ -- a comment\nSELECT id FROM accounts WHERE id = :id -- ? $2 :x\n;", {"id": 1}
    )
    assert found.plan
    assert (found.name, found.path, found.parameters) == ("<ad hoc>", None, ("id",))
    assert str(found).startswith("<ad hoc>\n")
    found = await db.explain("(SELECT 1 AS n) UNION ALL (SELECT 2) ORDER BY n")
    assert len(found.plan) >= 2
    found = await db.explain("WITH a AS (SELECT id FROM accounts) SELECT count(*) FROM a")
    assert found.plan
    with pytest.raises(ProgrammingError) as raised:
        await db.explain("SELECT nothing FROM accounts")
    assert "in statement <ad hoc>" in raised.value.__notes__


async def test_it_is_asked_where_it_would_run(db):
    writer = db.topology.writer.id
    readers = {one.id for one in db.topology.readers}
    bound = "accounts.on_reader"
    assert (await db.sql[bound].explain()).instance in readers
    assert (await db.writer.sql[bound].explain()).instance == writer
    assert (await db.reader.sql.accounts.get.explain(id=1)).instance in readers
    assert (await db.reader.explain("SELECT 1")).instance in readers
    async with db.transaction() as tx:
        assert (await tx.sql[bound].explain()).instance == writer


async def test_a_transaction_is_asked_on_its_connection(db, on_mysql):
    async with db.transaction() as tx:
        await tx.execute("CREATE TEMPORARY TABLE mine (id bigint)")
        found = await tx.explain("SELECT id FROM mine WHERE id = :id", {"id": 1})
        assert any("mine" in line for line in found.plan)
        assert await tx.sql.accounts.how_many() == 10


async def test_the_first_thing_in_a_transaction(db):
    async with db.transaction() as tx:
        assert (await tx.sql.accounts.get.explain(id=1)).plan
        await tx.sql.accounts.deposit(id=1, amount=1)
    assert (await db.sql.accounts.get(id=1)).balance == 101


async def test_a_failed_one_dooms_its_transaction(db):
    with pytest.raises(TransactionAborted):
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount=1)
            with pytest.raises(ProgrammingError):
                await tx.explain("SELECT nothing FROM accounts")
    async with db.transaction() as tx:
        await tx.sql.accounts.deposit(id=2, amount=1)
        with pytest.raises(ProgrammingError):
            async with tx.savepoint():
                await tx.explain("SELECT nothing FROM accounts")
        assert (await tx.sql.accounts.get.explain(id=1)).plan
    assert (await db.sql.accounts.get(id=1)).balance == 100
    assert (await db.sql.accounts.get(id=2)).balance == 101


async def test_a_session_is_asked_where_its_reads_go_and_notes_no_write(db):
    readers = {one.id for one in db.topology.readers}
    async with db.session() as session:
        assert (await session.sql.accounts.get.explain(id=1)).instance not in readers
        found = await session.sql.accounts.deposit.explain(id=1, amount=1)
        assert found.instance == db.topology.writer.id
        assert not session._sight.wrote
        assert not session._sight.bound
        await session.sql.accounts.deposit(id=1, amount=1)
        for _ in range(50):
            found = await session.sql.accounts.get.explain(id=1)
            if found.instance in readers:
                break
            await asyncio.sleep(0.05)
        assert found.instance in readers
        assert (await session.sql.accounts.deposit.explain(id=1, amount=1)).instance not in readers


async def blocked(outside, on_mysql):
    if on_mysql:
        await outside.execute("LOCK TABLES accounts WRITE, notes WRITE")
    else:
        await outside.execute("BEGIN")
        await outside.execute("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")


async def unblocked(outside, on_mysql):
    await outside.execute("UNLOCK TABLES" if on_mysql else "ROLLBACK")


async def test_a_deadline_ends_it_and_the_connection_goes_on(db, outside, on_mysql, at_rest):
    await db.sql.accounts.get(id=1)
    await blocked(outside, on_mysql)
    try:
        with pytest.raises(DeadlineExceeded) as raised, deadline(0.3):
            await db.sql.accounts.get.explain(id=1)
        assert raised.value.retry_safe
        assert not raised.value.outcome_unknown
    finally:
        await unblocked(outside, on_mysql)
    await at_rest(db)
    assert (await db.sql.accounts.get.explain(id=1)).plan
    with pytest.raises(DeadlineExceeded), deadline(0):
        await db.sql.accounts.get.explain(id=1)


async def test_it_can_be_cancelled_at_any_moment(db, t, at_rest):
    await t.sql.t.get(id=1)
    for one in (db.sql.accounts.get, t.sql.t.get):
        end, step = None, 0
        while not isinstance(end, Explanation):  # until one is quick enough
            task = asyncio.ensure_future(one.explain(id=1))
            for _ in range(step % 25):
                await asyncio.sleep(0)
            await asyncio.sleep(step // 25 * 0.0005)
            task.cancel()
            (end,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(end, asyncio.CancelledError | Explanation)
            step += 1
        assert step > 1
    for one in (db, t):
        await at_rest(one)
        assert (await one.fetch_value("SELECT count(*) FROM accounts")) == 10


async def test_a_connection_that_died_meanwhile_is_replaced(opened, outside, on_mysql):
    async with opened(min_pool_size=1, max_pool_size=1) as db:
        number = "connection_id()" if on_mysql else "pg_backend_pid()"
        backend = await db.fetch_value(f"SELECT {number}")
        kill = f"KILL {backend}" if on_mysql else f"SELECT pg_terminate_backend({backend})"
        await outside.execute(kill)
        assert (await db.sql.accounts.get.explain(id=1)).plan


async def test_nothing_stays_behind(opened, outside, server):
    events = []
    async with opened(min_pool_size=1, max_pool_size=1, observers=[events.append]) as db:
        before = await db.sql.accounts.get(id=1)
        stats = db.pool_stats()[db.topology.writer.id]
        events.clear()
        with count_statements() as counted:
            for _ in range(3):
                await db.sql.accounts.get.explain(id=1)
        assert (counted.total, events) == (0, [])
        assert await db.sql.accounts.get(id=1) == before
        after = db.pool_stats()[db.topology.writer.id]
        assert (after.opened, after.resets) == (stats.opened, stats.resets)
        if server.name == "postgresql":
            texts = await db.fetch_all("SELECT statement FROM pg_prepared_statements")
            assert not [one for one in texts if "explain" in one.statement.lower()]


# -- calls that travel together ------------------------------------------------------------


async def seen(server, cluster, outside, work):
    """The texts that the server ran meanwhile; of PostgreSQL's sessions, the last of each."""
    if server.name == "postgresql":
        await work()
        rows = await outside.rows(
            "SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'idle'"
        )
        return [text for (text,) in rows]
    members = cluster._members
    async with session(members.servers[0], members.passwords[ADMINISTRATOR], 10) as log:
        await log.execute("SET GLOBAL log_output = 'TABLE'")
        await log.execute("TRUNCATE mysql.general_log")
        await log.execute("SET GLOBAL general_log = 1")
        try:
            await work()
        finally:
            await log.execute("SET GLOBAL general_log = 0")
        rows = await log.rows(
            "SELECT CAST(argument AS CHAR) AS ran FROM mysql.general_log"
            " WHERE command_type = 'Execute'"
        )
    return [row["ran"] for row in rows]


def ran(text, seen):
    """Whether a text was run; MySQL's log has the values in it."""
    return any(re.fullmatch(re.escape(text).replace(r"\?", r".+?"), one, re.DOTALL) for one in seen)


@pytest.mark.parametrize(
    ("name", "sets"),
    [
        ("get", [{"id": id_} for id_ in range(1, 5)]),
        ("owned", [{"owner": f"owner {id_}"} for id_ in range(1, 5)]),
        ("owned", [{"owner": f"owner {id_}", "after": id_ - 1} for id_ in range(1, 5)]),
    ],
)
async def test_the_texts_are_those_that_the_server_ran(t, server, cluster, outside, name, sets):
    one = t.sql.t[name]
    found = await one.explain(**sets[0])
    assert len(found.together) == 1
    assert found.together_plan
    assert found.callers > 1
    assert found.apart == ""
    await one(**sets[0])
    alone = await seen(server, cluster, outside, lambda: one(**sets[0]))
    assert ran(found.sql, alone)
    assert not ran(found.together[0], alone)
    batch = await seen(server, cluster, outside, lambda: one.each(sets))  # two on each lane
    assert ran(found.together[0], batch)
    shown = str(found)
    assert "For many callers" in shown
    assert found.together_plan[0] in shown


async def test_an_insert_for_many_is_explained_without_effect(t, outside, server):
    before = await everything(outside)
    found = await t.sql.t.put.explain(id=50, owner="new")
    assert found.plan
    assert found.together_plan
    assert found.callers > 1
    assert found.together[0] != found.sql
    assert await everything(outside) == before


async def test_asked_first_it_finds_out_what_the_first_call_would(t, at_rest):
    coalescer = t._runner._coalescer
    assert not coalescer._groups
    found, *rows = await asyncio.gather(
        t.sql.t.get.explain(id=1),
        *(t.sql.t.get(id=id_) for id_ in range(1, 11)),
        *(t.sql.t.get.each([{"id": id_}, {"id": 1}]) for id_ in range(1, 11)),
    )
    assert found.together
    assert [row.id for row in rows[:10]] == list(range(1, 11))
    assert [[one.id for one in pair] for pair in rows[10:]] == [[id_, 1] for id_ in range(1, 11)]
    (group,) = coalescer._groups.values()
    assert group.lanes.groups == [group]
    await asyncio.gather(
        t.sql.t.put.explain(id=99, owner="never"),
        *(t.sql.t.put(id=id_, owner=f"new {id_}") for id_ in range(100, 120)),
        t.sql.t.put.explain(id=99, owner="never"),
    )
    # None was replaced by another while calls wait in it.
    assert [len(lanes.groups) for lanes in coalescer._tables.values()] == [1]
    assert not coalescer._dropped
    assert await t.fetch_value("SELECT count(*) FROM accounts") == 30


async def test_where_calls_go_alone_it_says_so(t):
    async with t.transaction() as tx:
        found = await tx.sql.t.get.explain(id=1)
        assert (found.together, found.callers) == ((), 0)
        assert found.apart.startswith("In a transaction")
        assert "Each call goes alone" in str(found)
    async with t.session() as session:
        found = await session.sql.t.get.explain(id=1)
        assert (found.together, found.apart[:12]) == ((), "In a session")
    found = await t.sql.t.owned.explain(owner="x" * (1 << 20) + "y")
    assert found.plan
    assert (found.together, found.apart[:12]) == ((), "These values")
    for view in (t.writer, t.reader):
        assert (await view.sql.t.get.explain(id=1)).together


async def test_what_cannot_travel_together_is_refused_as_for_a_call(
    settings, outside, tmp_path, on_mysql, at_rest
):
    text = (
        "SELECT id, owner AS id FROM accounts WHERE id = :id"
        if on_mysql
        else "SELECT id FROM accounts WHERE id = ANY(:id)"
    )
    (tmp_path / "t.sql").write_text(f"-- name: odd :many\n-- coalesce: on\n{text};\n")
    value = 1 if on_mysql else [1]
    async with Aurora(settings, sql=tmp_path) as db:
        for _ in range(2):
            with pytest.raises(StatementFileError, match=r"t\.sql:1.*coalesce: on, but"):
                await db.sql.t.odd.explain(id=value)
        with pytest.raises(StatementFileError, match=r"t\.sql:1.*coalesce: on, but"):
            await db.sql.t.odd(id=value)
        await at_rest(db)


async def test_dates_are_keys_on_mysql(t, settings, outside, tmp_path, server):
    if server.name != "mysql":
        pytest.skip("only MySQL has two forms of a read for many")
    await outside.execute("DROP TABLE IF EXISTS days")
    await outside.execute("CREATE TABLE days (day date PRIMARY KEY)")
    (tmp_path / "t.sql").write_text(
        "-- name: day :many\n-- coalesce: on\nSELECT day FROM days WHERE day = :day;\n"
    )
    async with Aurora(settings, sql=tmp_path) as db:
        found = await db.sql.t.day.explain(day=dt.date(2026, 1, 31))
        assert "JSON_TABLE" in found.together[0]
        found = await db.sql.t.day.explain(day="2026-01-31")
        assert "UNION ALL" in found.together[0]
