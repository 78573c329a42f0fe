"""Calls that travel together are answered as calls that go one at a time."""

import asyncio
import datetime as dt
import pickle
import random
import uuid
from decimal import Decimal

import pytest

from aurora_sql import AuroraError

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN short AS varchar(5);
CREATE TABLE things (
    id int PRIMARY KEY, small int2, big int8, name text, code varchar(6), fixed char(4),
    price numeric(9, 2), ratio float8, flag bool, day date, at timestamptz, key uuid, raw bytea,
    span interval, feeling mood, tag short, "ord" int, "P 1" text, data jsonb
);
INSERT INTO things
SELECT n, n % 5, n * 10000000000, 'n' || n % 7, 'c' || n % 9, 'f' || n % 3, n / 4.0, n / 8.0,
    CASE n % 3 WHEN 0 THEN true WHEN 1 THEN false END, date '2024-01-01' + n % 4,
    timestamptz '2024-01-01 12:00Z' + n % 6 * interval '1 hour', md5((n % 8)::text)::uuid,
    decode(lpad(to_hex(n % 6), 2, '0'), 'hex'), n % 5 * interval '90 minutes',
    (enum_range(NULL::mood))[n % 3 + 1], 't' || n % 4, n % 10, 'x' || n % 2,
    jsonb_build_object('n', n, 'list', jsonb_build_array(n, NULL))
FROM generate_series(1, 60) AS n;
"""

UTC = dt.UTC
VALUES = {
    "small": [0, 1, 4, -3, 40000, "x", None],
    "big": [10000000000, 30000000000, 2**63, 1.5, None],
    "name": ["n1", "n2", "", "é\U0001f600", "a\0b", 5, None, ["n1"]],
    "code": ["c1", "c8", "longer than six", None],
    "fixed": ["f1", "f1  ", "f2", "", None],
    "price": [Decimal("1.25"), 3, 2.5, Decimal("NaN"), "1", None],
    "ratio": [0.125, 1, float("nan"), float("inf"), "x", None],
    "flag": [True, False, None, "yes", 1],
    "day": [dt.date(2024, 1, 2), dt.datetime(2024, 1, 3, 5, tzinfo=UTC), "2024-01-01", None],
    "at": [dt.datetime(2024, 1, 1, 13, tzinfo=UTC), dt.datetime(2024, 1, 1, 12), None, 7],
    "key": [uuid.UUID("c4ca4238a0b923820dcc509a6f75849b"), uuid.uuid4(), "x", None],
    "raw": [b"\x01", bytearray(b"\x02"), memoryview(b"\x03"), b"", "x", None],
    "span": [dt.timedelta(hours=3), dt.timedelta(0), 5, None],
    "feeling": ["sad", "happy", "angry", None],
    "tag": ["t1", "t3", "far too long", None],
}
ID = [*range(-1, 64), *[7] * 9, None, "x", 2**31, [1], (1, 2), 1.5]

TEXTS = {
    **{
        f"by_{column}": f"SELECT * FROM things WHERE {quoted} = :{column} ORDER BY id LIMIT 4"
        for column in VALUES
        for quoted in [column]
    },
    "page": "SELECT id, name FROM things WHERE big > :big ORDER BY id DESC LIMIT :n OFFSET :skip",
    "same_names": "SELECT id, id, name AS id FROM things WHERE id = :id",
    "odd_names": 'SELECT "ord", "P 1", id AS p1, name AS aurora_sql_k, 1 AS "a""b"'
    " FROM things AS aurora_sql_q WHERE id = :id",
    "comments": "SELECT id /* :no ' /* nested */ */, ':id' AS s FROM things WHERE id = :id -- end",
    "with_": "WITH t AS (SELECT * FROM things WHERE id <= :id), u AS (SELECT max(id) m FROM t)"
    " SELECT t.id, m FROM t, u ORDER BY t.id DESC LIMIT 3",
    "recursive": "WITH RECURSIVE r (n) AS (SELECT :id::int UNION ALL SELECT n + 1 FROM r"
    " WHERE n < :id + 3) SELECT n FROM r ORDER BY n",
    "union_": "SELECT id, name FROM things WHERE id = :id UNION SELECT :id::int, 'own' ORDER BY 2",
    "values_": "VALUES (:id::int, 'a'), (:id::int + 1, 'b')",
    "grouped": "SELECT name, count(*), sum(price) FROM things WHERE id > :id GROUP BY name"
    " HAVING count(*) > 1 ORDER BY name",
    "distinct_": "SELECT DISTINCT ON (name) name, id FROM things WHERE id >= :id ORDER BY name, id",
    "window_": "SELECT id, row_number() OVER (ORDER BY price DESC) AS r, lag(id, :n) OVER"
    " (ORDER BY id) AS l FROM things WHERE id BETWEEN :id AND :id + 5 ORDER BY r",
    "divide": "SELECT id, 10 / (id - :id) AS q FROM things WHERE id BETWEEN 5 AND 8 ORDER BY id",
    "json_": "SELECT data, data -> 'list' AS l FROM things WHERE data @> :data ORDER BY id LIMIT 2",
    "alone": "SELECT :id::int AS a, :name::text AS b",
    "nothing": "SELECT FROM things WHERE id < :id",
    "when_": "SELECT id FROM things WHERE true\n  AND name = :name -- when :name\n"
    "  AND id > :id -- when :id\nORDER BY id",
}
CARDINALITIES = {"maybe_": "maybe", "one_": "one", "scalar_": "scalar", "many_": "many"}
CASES = [(name, "many", text) for name, text in TEXTS.items()] + [
    (name, kind, "SELECT id, name FROM things WHERE id % 50 = :id ORDER BY id")
    for name, kind in CARDINALITIES.items()
]
POOL = {**VALUES, "id": ID, "n": [0, 1, 3, None, -1], "skip": [0, 1, None], "data": [
    {"n": 3}, {}, {"list": [4]}, [], [1], "x", 5, None,
]}  # fmt: skip


def declared(name):
    return "-- param: tag varchar(2)\n" if name == "by_tag" else ""


def written(*, together):
    return "\n".join(
        f"-- name: {name} :{kind}\n{'-- coalesce: on' if together else ''}\n"
        f"{declared(name)}{text}\n;"
        for name, kind, text in CASES
    )


async def answer(call, params):
    try:
        return "is", await call(**params)
    except AuroraError as error:
        return "raised", type(error), str(error).replace("-- coalesce: on\n", "")


def alike(one, other):
    if one[0] != other[0] or one[0] == "raised":
        return one == other
    return repr(one[1]) == repr(other[1])  # NaN equals nothing; the class of rows is a database's


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
async def test_answers_are_those_of_calls_alone(opened, outside, case, tmp_path):
    name, _, text = case
    await outside.execute(SCHEMA)
    rng = random.Random(name)
    names = [one for one in POOL if f":{one}" in text.replace("':id'", "").replace(":no", "")]
    asked = [{one: rng.choice(POOL[one]) for one in names} for _ in range(60)]
    async with opened(written(together=False)) as db:
        alone = [await answer(getattr(db.sql.t, name), params) for params in asked]
    async with opened(written(together=True)) as db:
        call = getattr(db.sql.t, name)
        await asyncio.gather(*(answer(call, params) for params in asked[:2]))
        together = await asyncio.gather(*(answer(call, params) for params in asked))
    for params, one, other in zip(asked, alone, together, strict=True):
        assert alike(one, other), params


async def test_rows_are_rows(opened, outside):
    await outside.execute(SCHEMA)
    text = "-- name: get :one\n-- coalesce: on\nSELECT id, name, data FROM things WHERE id = :id;"
    async with opened(text) as db:
        alone = await db.sql.t.get(id=7)
        rows = await asyncio.gather(*(db.sql.t.get(id=7) for _ in range(40)))
    for row in rows:
        assert row == alone
        assert tuple(row) == tuple(alone)
        assert row.name == row["name"] == row[1] == "n0"
        assert row[:2] == alone[:2]
        assert len(row) == 3
        assert list(row.keys()) == list(alone.keys()) == ["id", "name", "data"]
        assert pickle.loads(pickle.dumps(row)) == alone
        with pytest.raises(AttributeError):
            row.id = 8
        with pytest.raises((AttributeError, KeyError)):
            _ = row["absent"]


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("off", ["nestloop", "hashjoin", "indexscan", "memoize", "material"])
async def test_every_caller_has_its_rows_in_their_order(opened, outside, off, parallel):
    await outside.execute(
        "CREATE TABLE wide (id int PRIMARY KEY, owner int, rank int);"
        "INSERT INTO wide SELECT n, n % 40, n * 7919 % 20011 FROM generate_series(1, 20000) AS n;"
        "CREATE INDEX ON wide (owner); ANALYZE wide"
    )
    settings = [f"enable_{off} = off"]
    if parallel:
        settings += ["parallel_setup_cost = 0", "parallel_tuple_cost = 0"]
        settings += ["min_parallel_table_scan_size = 0", "debug_parallel_query = on"]
    for one in settings:
        await outside.execute(
            f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {one}', current_database());"
            " EXCEPTION WHEN undefined_object THEN NULL; END $$"
        )
    text = (
        "-- name: ranked :many\n-- coalesce: on\n"
        "SELECT id, rank FROM wide WHERE owner = :owner ORDER BY rank DESC, id;"
    )
    async with opened(text) as db:
        wanted = {n: await db.sql.t.ranked(owner=n) for n in range(3)}
        found = await asyncio.gather(*(db.sql.t.ranked(owner=n % 3) for n in range(60)))
    assert len(wanted[0]) == 500
    assert found == [wanted[n % 3] for n in range(60)]
