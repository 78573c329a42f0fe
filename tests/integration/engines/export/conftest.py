"""A table of odd values, and reads of it."""

from __future__ import annotations

import pytest

from aurora_sql import Aurora
from tests.integration.engines.export.rows import NAMES, ROWS

SQL = """
-- name: all :many
SELECT n, label, amount, ratio, day, at, raw FROM kept ORDER BY n;

-- name: labels :many
SELECT label FROM kept ORDER BY n -- the last line; is a comment
;

-- name: search :many
SELECT n, label FROM kept
WHERE n > 0
  AND label = :label           -- when :label
  AND day >= :since            -- when :since
ORDER BY n                     -- when :sort = 'first'
ORDER BY n DESC                -- when :sort = 'last'
LIMIT :limit;

-- name: from_reader :many
-- role: reader
SELECT n FROM kept ORDER BY n;

-- name: one :one
SELECT n, label FROM kept WHERE n = :n;

-- name: put :exec
INSERT INTO kept (n, label) VALUES (:n, :label);

-- name: put_all :batch
INSERT INTO kept (n, label) VALUES (:n, :label);

-- name: tidy :script
UPDATE kept SET label = 'x' WHERE n = 1;
UPDATE kept SET label = 'y' WHERE n = 2;

-- name: lock :many
SELECT n FROM kept FOR UPDATE;

-- name: call :affected
-- access: read
SELECT 1;
"""
TABLE = {
    True: "CREATE TABLE kept (n int PRIMARY KEY, label text, amount numeric(12, 2),"
    " ratio double precision, day date, at timestamp(6), raw bytea)",
    False: "CREATE TABLE kept (n int PRIMARY KEY, label text, amount numeric(12, 2),"
    " ratio double, day date, at datetime(6), raw blob)",
}


@pytest.fixture
async def made(outside, settings, cluster, db, on_mysql, tmp_path):
    """A table of odd values, and its statements."""
    await outside.execute("DROP TABLE IF EXISTS kept")
    await outside.execute(TABLE[not on_mysql])
    await db.bulk_insert("kept", ROWS, columns=NAMES)
    await cluster.wait_replayed()
    folder = tmp_path / "sql"
    folder.mkdir()
    (folder / "r.sql").write_text(SQL)
    return folder


@pytest.fixture
async def kept(made, settings, at_rest):
    async with Aurora(settings, sql=made) as opened:
        yield opened
        await at_rest(opened)


@pytest.fixture
def many(on_mysql):
    """A read of so many rows that no buffer holds them."""
    series = (
        "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 500)"
        " SELECT a.n AS n, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' AS label"
        " FROM s AS a CROSS JOIN s AS b"
    )
    return series if on_mysql else series.replace("500", "1200")
