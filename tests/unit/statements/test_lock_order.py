"""By which parameters the calls of a batch are sorted: those that find its rows first."""

import pytest

from aurora_sql.statements import lock_order, target_table


def order(statement):
    (variant,) = statement.variants
    return [variant.parameters[number] for number in lock_order(variant)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("UPDATE t SET n = :n WHERE id = :id", ["id", "n"]),
        ("UPDATE t SET n = :n WHERE id = :id AND g IN (SELECT g FROM u WHERE x = :x)", ["id", "x"]),
        ("WITH u AS (SELECT 1 WHERE :x) DELETE FROM t WHERE id = :id", ["id", "x"]),
        ("INSERT INTO t (n, id) VALUES (:n, :id)", ["n", "id"]),
        (
            (
                'INSERT INTO t (n, id) VALUES (coalesce(:n, 1), :id) ON CONFLICT ("id")'
                " DO UPDATE SET n = :n WHERE t.n < :most"
            ),
            ["id", "n", "most"],
        ),
        (
            (
                "INSERT INTO t (n, b, a) VALUES (:n, lower(:b), :a::text)"
                " ON CONFLICT (a, b) WHERE n > 0 DO UPDATE SET n = :n"
            ),
            ["a", "b", "n"],
        ),
        ("INSERT INTO t VALUES (:n, :id) ON CONFLICT (id) DO NOTHING", ["n", "id"]),
        (
            (
                "INSERT INTO t (n, id) SELECT :n, id FROM u WHERE id = :id"
                " ON CONFLICT (id) DO UPDATE SET n = 1"
            ),
            ["id", "n"],
        ),
    ],
)
def test_what_finds_the_rows_comes_first(one, sql, expected):
    statement = one(sql, "-- name: s :exec")
    assert order(statement)[: len(expected)] == expected
    assert sorted(order(statement)) == sorted(statement.parameters)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE ONLY s.jobs SET n = :n",
        'INSERT INTO "Jobs" (id) VALUES (:n)',
        "WITH a AS (SELECT id FROM x FOR UPDATE SKIP LOCKED) UPDATE jobs SET n = :n FROM a",
        "WITH a AS (SELECT id FROM x FOR NO KEY UPDATE) DELETE FROM jobs WHERE id = :n",
    ],
)
def test_the_table_that_is_changed(one, sql):
    assert target_table(one(sql, "-- name: s :exec")) == "jobs"
