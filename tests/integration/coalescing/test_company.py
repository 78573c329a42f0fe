"""Who travels with whom, and what one caller's fate does to the others: nothing."""

import asyncio
import gc

import pytest

from aurora_sql import Aurora, StatementFileError
from aurora_sql.execution._group_reads import ReadGroup


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE t ADD COLUMN extra int DEFAULT 5",
        "ALTER TABLE t DROP COLUMN note",
        "ALTER TABLE t ALTER COLUMN id TYPE bigint",
        "ALTER TABLE t ALTER COLUMN note TYPE varchar(20)",
        (
            "DROP TABLE t; CREATE TABLE t AS SELECT n AS id, 'm' || n AS note, 1.5 AS other"
            " FROM generate_series(1, 40) AS n"
        ),
    ],
)
async def test_the_schema_changes(opened, outside, change):
    await outside.execute(
        "CREATE TABLE t AS SELECT n AS id, 'n' || n AS note FROM generate_series(1, 40) AS n"
    )
    text = "-- name: get :one\n-- coalesce: on\nSELECT * FROM t WHERE id = :id;"
    async with opened(text) as db:
        for _ in range(2):
            await asyncio.gather(*(db.sql.t.get(id=n) for n in range(1, 40)))
        await outside.execute(change)
        wanted = [dict(row) for row in await outside.fetch("SELECT * FROM t ORDER BY id LIMIT 39")]
        for _ in range(3):
            rows = await asyncio.gather(*(db.sql.t.get(id=n) for n in range(1, 40)))
            assert [dict(zip(row.keys(), row, strict=True)) for row in rows] == wanted


async def test_in_transactions_and_sessions_calls_go_alone_and_views_work(opened, outside):
    await outside.execute("CREATE TABLE t AS SELECT 1 AS id")
    text = (
        "-- name: sent :scalar\n-- coalesce: on\n-- access: read\n"
        "SELECT current_query() || :id::text FROM t;"
    )
    async with opened(text) as db:
        await asyncio.gather(*(db.sql.t.sent(id="x") for _ in range(30)))
        async with db.transaction() as tx:
            assert "unnest" not in await tx.sql.t.sent(id="x")
        async with db.session() as session:
            found = await asyncio.gather(*(session.sql.t.sent(id="x") for _ in range(30)))
            assert not [one for one in found if "unnest" in one]
        found = await asyncio.gather(*(db.writer.sql.t.sent(id="x") for _ in range(30)))
        assert len(found) == 30


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT id FROM t WHERE id = ANY(:ids)", "no single value"),
        ("SELECT id FROM t WHERE spot ~= :spot", "values can be lists"),
        ("SELECT id FROM t WHERE span = :span", "no single value"),
        ("SELECT id, mine(:x::int) AS m FROM t", "is volatile"),
        ("SELECT max(:x::int) AS m FROM t", "the server refuses the form for many callers"),
    ],
)
async def test_refusals_at_the_first_call(opened, outside, sql, problem):
    await outside.execute(
        "CREATE TABLE t (id int, spot point, span int4range);"
        "CREATE FUNCTION mine(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1'"
    )
    async with opened(f"-- name: bad :many\n-- coalesce: on\n{sql};") as db:
        params = {"ids": [1], "spot": (1, 2), "span": None, "x": 1}
        given = {key: value for key, value in params.items() if f":{key}" in sql}
        for _ in range(2):
            with pytest.raises(StatementFileError, match=problem) as raised:
                await db.sql.t.bad(**given)
            assert "t.sql:1" in str(raised.value)


async def test_a_reloaded_statement_leaves_nothing_behind(settings, tmp_path, at_rest):
    from aurora_sql.statements import StatementRegistry

    path = tmp_path / "t.sql"

    def write(n):
        path.write_text(f"-- name: get :scalar\n-- coalesce: on\nSELECT :id::int + {n} AS v;\n")

    write(0)
    registry = StatementRegistry.load(tmp_path, reload=True)
    async with Aurora(settings, sql=registry) as db:
        for n in range(1, 6):
            write(n)
            async with asyncio.timeout(30):
                while await db.sql.t.get(id=1) != n + 1:  # noqa: ASYNC110 - reads files
                    await asyncio.sleep(0.05)
            assert await asyncio.gather(*(db.sql.t.get(id=1) for _ in range(20))) == [n + 1] * 20
        gc.collect()
        assert sum(type(one) is ReadGroup for one in gc.get_objects()) == 1
        await at_rest(db)
