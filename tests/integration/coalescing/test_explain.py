"""What ``explain()`` shows of statements whose calls travel together."""

from __future__ import annotations

import asyncio

import pytest

from aurora_sql import DataError, ParameterError, ProgrammingError, StatementFileError, UsageError
from aurora_sql.execution import UncastText

SQL = """
-- name: put :exec
-- coalesce: on
INSERT INTO things (id, label) VALUES (:id, :label);

-- name: put_once :exec
-- coalesce: on
INSERT INTO things (id, label) VALUES (:id, :label) ON CONFLICT (id) DO NOTHING; -- twice is once

-- name: rename :exec
-- coalesce: on
UPDATE things SET label = :label WHERE id = :id;

-- name: count_renamed :affected
-- coalesce: on
UPDATE things SET label = :label WHERE id = :id;

-- name: renamed :maybe
-- coalesce: on
UPDATE things SET label = :label WHERE id = :id RETURNING id, label;

-- name: get :maybe
-- coalesce: on
SELECT id, label, 100 / nullif(:by, 1) AS share FROM things WHERE id = :id;

-- name: tagged :many
-- coalesce: on
SELECT id FROM things WHERE tags = :tags;

-- name: among :many
-- coalesce: on
SELECT id FROM things WHERE id = ANY(:ids);

-- name: list_of :many
SELECT id FROM things WHERE id = ANY(:ids) AND seen >= :since AND label = :label;
"""


@pytest.fixture
async def db(opened, outside):
    await outside.execute(
        "CREATE TABLE things (id bigint PRIMARY KEY, label varchar(40), tags jsonb, seen timestamptz)"
    )
    await outside.execute("INSERT INTO things SELECT n, 'n' || n FROM generate_series(1, 20) AS n")
    async with opened(SQL) as db:
        yield db


async def last_texts(outside):
    rows = await outside.fetch(
        "SELECT query FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return [row["query"] for row in rows]


@pytest.mark.parametrize(
    ("name", "callers", "shown"),
    [
        ("put", 10, "unnest("),
        ("put_once", 10, "ON CONFLICT (id) DO NOTHING"),
        ("rename", 1, "UPDATE things SET label = $1 WHERE id = $2"),
        ("count_renamed", 1, "RETURNING"),
        ("renamed", 1, "RETURNING id, label, "),
    ],
)
async def test_a_write_shows_the_text_that_a_batch_runs(db, outside, name, callers, shown):
    before = await outside.fetch("SELECT * FROM things ORDER BY id")
    one = db.sql.t[name]
    found = await one.explain(id=1, label="x")
    assert found.callers == callers
    assert shown in found.together[0]
    assert (found.together[0] == found.sql) is (name == "rename")
    assert found.together_plan[0].split()[0] in {"Insert", "Update"}
    assert f"Plan for {callers} of these calls" in str(found)
    assert await outside.fetch("SELECT * FROM things ORDER BY id") == before
    await asyncio.gather(*(one(id=id_, label=f"new {id_}") for id_ in range(100, 160)))
    assert found.together[0] in await last_texts(outside)


async def test_a_read_is_planned_for_ten(db, outside):
    found = await db.sql.t.get.explain(id=1, by=5)
    assert found.callers == 10
    scan = next(line for line in found.together_plan if "Function Scan" in line)
    assert "rows=10 " in scan
    # The plan that is kept for arrays that it does not know.
    await outside.execute(f"PREPARE kept AS {found.together[0]}")
    await outside.execute("SET plan_cache_mode = force_generic_plan")
    kept = await outside.fetch("EXPLAIN EXECUTE kept ('{5}', '{1}')")
    assert tuple(row[0] for row in kept) == found.together_plan
    assert found.types == ("int4", "int8")
    assert found.parameters == ("by", "id")


async def test_analyze_runs_both_forms(db):
    found = await db.sql.t.get.explain(analyze=True, id=1, by=5)
    assert any("actual" in line for line in found.plan)
    assert any("actual" in line and "rows=10" in line for line in found.together_plan)
    with pytest.raises(UsageError, match="may write"):
        await db.sql.t.put.explain(analyze=True, id=1, label="x")


async def test_an_error_of_the_run_is_told_and_nothing_stays(db, at_rest):
    with pytest.raises(DataError) as raised:
        await db.sql.t.get.explain(analyze=True, id=1, by=0)
    assert any("in statement t.get" in note for note in raised.value.__notes__)
    await at_rest(db)
    assert (await db.sql.t.get.explain(id=1, by=5)).together


async def test_a_list_as_a_json_value_goes_alone(db):
    found = await db.sql.t.tagged.explain(tags={"a": 1})
    assert found.together
    found = await db.sql.t.tagged.explain(tags=[1, 2])
    assert found.plan
    assert (found.together, found.callers) == ((), 0)
    assert "may be lists" in found.apart


async def test_a_refusal_by_type_comes_from_both(db, at_rest):
    for call in (db.sql.t.among.explain, db.sql.t.among.explain, db.sql.t.among):
        with pytest.raises(StatementFileError, match=r"t\.sql.*coalesce: on, but parameter 'ids'"):
            await call(ids=[1])
    await at_rest(db)


async def test_a_table_that_is_missing_says_so_and_is_looked_at_again(db, outside):
    await outside.execute("ALTER TABLE things RENAME TO others")
    for _ in range(2):
        with pytest.raises(ProgrammingError, match='"things" does not exist') as raised:
            await db.sql.t.get.explain(id=1, by=2)
        assert any("t.sql:" in note for note in raised.value.__notes__)
    await outside.execute("ALTER TABLE others RENAME TO things")
    assert (await db.sql.t.get.explain(id=1, by=2)).together


async def test_text_is_cast_by_the_server(db):
    found = await db.sql.t.list_of.explain(
        ids=UncastText("[1, 2, null]"), since=UncastText("2026-01-31"), label=UncastText("5")
    )
    plan = "\n".join(found.plan)
    assert "{1,2,NULL}" in plan
    assert "'2026-01-31 00:00:00" in plan
    assert "'5'" in plan
    found = await db.sql.t.list_of.explain(ids=UncastText("{7}"), since=None, label="x")
    assert "{7}" in "\n".join(found.plan) or "One-Time Filter" in "\n".join(found.plan)
    found = await db.sql.t.get.explain(id=UncastText("3"), by=UncastText("7"))
    assert found.together
    for wrong in ("x", "[1"):
        with pytest.raises(ParameterError, match=r"t\.list_of .*: parameter 'ids': "):
            await db.sql.t.list_of.explain(
                ids=UncastText(wrong), since=UncastText("now"), label="x"
            )
