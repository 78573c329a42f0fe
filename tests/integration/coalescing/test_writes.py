"""Writes that travel together do to the table, and tell each caller, what they would alone."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import re
from decimal import Decimal

import pytest

from aurora_sql import Aurora

SEED = 20260714

TABLES = """
CREATE SCHEMA other;
CREATE TABLE items (
    id int PRIMARY KEY, name varchar(40), n numeric, doc jsonb, tags text[], at timestamptz,
    kind text NOT NULL DEFAULT 'usual', "values" int
);
CREATE TABLE other."Odd Table" (id int PRIMARY KEY, "values" int, "select" text);
CREATE TABLE serial (id int GENERATED ALWAYS AS IDENTITY, a int, b text);
CREATE TABLE parents (id int PRIMARY KEY);
INSERT INTO parents SELECT n FROM generate_series(1, 5) AS n;
INSERT INTO items (id, name, n) SELECT n, 'item ' || n, 0 FROM generate_series(1, 60) AS n;
"""

STATEMENTS = r"""
-- name: add :exec
INSERT INTO items (id, name) VALUES (:id + 1000, lower(:name));

-- name: add_all :exec
/* every kind of value (and one of these: ')' ) */
INSERT INTO items (id, name, n, doc, at, kind, "values") -- VALUES (1)
VALUES (:id + 1000, lower(:name) || ')', :n, :doc::jsonb, '2026-01-01', 'a;b', NULL); -- the end

-- name: add_tags :exec
INSERT INTO items (id, tags, at) VALUES (:id + 1000, :tags, coalesce(:at, '2026-01-01'));

-- name: add_default :exec
INSERT INTO items (id, name, kind) VALUES (:id + 1000, :name, DEFAULT);

-- name: add_selected :exec
INSERT INTO items (id, name) VALUES (:id + 1000, (SELECT name FROM items WHERE id = :id));

-- name: add_odd :exec
INSERT INTO other."Odd Table" (id, "values", "select") VALUES (:id, :n, :name);

-- name: add_cut :exec
-- param: name varchar(3)
INSERT INTO items (id, name) VALUES (:id + 1000, :name);

-- name: add_cut_returning :scalar
-- param: name varchar(3)
INSERT INTO items (id, name) VALUES (:id + 1000, :name) RETURNING name;

-- name: add_twice :exec
INSERT INTO items (id, name) VALUES (:id % 7 + 1000, 'x') ON CONFLICT DO NOTHING;

-- name: add_if_new :affected
INSERT INTO items (id, name) VALUES (:id % 7 + 1000, 'x') ON CONFLICT (id) DO NOTHING;

-- name: add_if_new_returning :maybe
INSERT INTO items (id, name) VALUES (:id % 7 + 1000, 'x') ON CONFLICT DO NOTHING RETURNING name;

-- name: upsert :exec
INSERT INTO items AS i (id, n) VALUES (:id % 7 + 1000, 1)
ON CONFLICT (id) DO UPDATE SET n = i.n + excluded.n WHERE :id >= 0;

-- name: upsert_affected :affected
INSERT INTO items AS i (id, n) VALUES (:id % 7 + 1000, 1)
ON CONFLICT (id) DO UPDATE SET n = i.n + 1 -- a comment; at the end

-- name: add_serial :one
INSERT INTO serial (a, b) VALUES (:id, :name) RETURNING a, b; -- returning, too

-- name: add_serial_all :one
INSERT INTO serial (a) VALUES (:id) RETURNING *, a + 1 AS next /* done */;

-- name: add_serial_quietly :exec
INSERT INTO serial (b, a) VALUES (:name, :id);

-- name: add_with :affected
WITH one AS (SELECT :id::int + 1000 AS id) INSERT INTO items (id, name) SELECT id, :name FROM one;

-- name: add_two_rows :many
INSERT INTO items (id, name) VALUES (:id + 1000, :name), (:id + 2000, 'second') RETURNING id, name;

-- name: add_from :many
INSERT INTO items (id, name)
SELECT n + 1000, :name FROM generate_series(:id * 10, :id * 10 + :id % 3 - 1) AS n
RETURNING id, name;

-- name: rename :affected
UPDATE items SET name = :name WHERE id = :id;

-- name: count_up :exec
UPDATE items SET n = n + 1 WHERE id = :id % 5 + 1;

-- name: count_up_some :affected
UPDATE items SET n = n + 1 WHERE id BETWEEN 1 AND :id % 5;

-- name: move :maybe
WITH old AS (SELECT id, name FROM items WHERE id = :id)
UPDATE ONLY items AS i SET name = :name FROM old WHERE i.id = old.id AND :id % 2 = 0
RETURNING i.id, old.name AS was, i.name;

-- name: change :many
UPDATE items SET kind = :name
WHERE id = :id
  AND n = :n --if
RETURNING id, kind;

-- name: take :scalar
DELETE FROM items WHERE id = :id RETURNING id;

-- name: take_quietly :exec
DELETE FROM items WHERE id = :id;

-- name: take_some :affected
DELETE FROM items USING parents WHERE items.id = :id AND parents.id = items.id;

-- name: merge :exec
MERGE INTO items AS i USING (SELECT :id % 9 + 1 AS id) AS s ON i.id = s.id
WHEN MATCHED THEN UPDATE SET n = i.n + 1 WHEN NOT MATCHED THEN DO NOTHING;
"""
PARAMETERS = {
    text.split()[0]: sorted(set(re.findall(r"(?<!:):([a-z]+)", text.split("\n", 1)[1])))
    for text in STATEMENTS.split("-- name:")[1:]
}
STATE = """
SELECT 'items' AS what, id::text, to_jsonb(i) - 'id' AS rest FROM items AS i
UNION ALL SELECT 'odd', id::text, to_jsonb(o) FROM other."Odd Table" AS o
UNION ALL SELECT 'serial', '', to_jsonb(s) - 'id' FROM serial AS s
ORDER BY 1, 2, 3
"""


def calls(names, rng, several=60):
    """Values for the parameters of a statement, each call with a row of its own."""
    numbers = list(range(1, several + 1))
    rng.shuffle(numbers)
    choose = {
        "id": lambda number: number,
        "name": lambda _: rng.choice(["Abc", "ÄÖ", "x'y", "", None, "longer \\ one"]),
        "n": lambda _: rng.choice([Decimal(0), Decimal(1), 2]),
        "doc": lambda _: rng.choice([{"a": [1]}, [1, 2], [], None, {}, "text", 3]),
        "tags": lambda _: rng.choice([[], ["a"], ["a", "b", None], None]),
        "at": lambda _: rng.choice([None, dt.datetime(2026, 1, 2, tzinfo=dt.UTC)]),
    }
    return [{name: choose[name](number) for name in names} for number in numbers]


@pytest.fixture
def folder(tmp_path):
    """The statements as they are, and the same with the directive."""

    def make(text):
        (tmp_path / "alone.sql").write_text(text)
        marked = re.sub(r"(-- name: .*)", r"\1\n-- coalesce: on", text)
        (tmp_path / "together.sql").write_text(marked)
        return tmp_path

    return make


async def outcome(call):
    """What a caller is told, in a form that compares."""
    try:
        answer = await call
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be the same
        about = {
            name: getattr(error, name, None)
            for name in ("code", "constraint", "table", "column_name", "detail", "outcome_unknown")
        }
        return (
            type(error),
            about,
            *map(_without_place, (str(error), *getattr(error, "__notes__", []))),
        )
    return answer


def _without_place(text):
    return re.sub(r"(alone|together)(\.sql:\d+)?", "it", text)


async def one_by_one(statement, sets):
    return [await outcome(statement(**params)) for params in sets]


async def at_once(statement, sets):
    return await asyncio.gather(*(outcome(statement(**params)) for params in sets))


def comparable(answers):
    """Without what depends on who came first: the numbers that the server gave."""
    return [
        {key: value for key, value in answer._asdict().items() if key != "id"}
        if hasattr(answer, "_asdict")
        else answer
        for answer in answers
    ]


async def test_as_one_at_a_time(settings, outside, folder, at_rest):
    rng = random.Random(SEED)
    await outside.execute(TABLES)
    await outside.execute("CREATE TABLE start AS SELECT * FROM items")
    several, wrong = set(), {}
    async with Aurora(settings, sql=folder(STATEMENTS)) as db:
        for name, names in PARAMETERS.items():
            found = []
            sets = calls(names, rng)
            for run, module in ((one_by_one, "alone"), (at_once, "together")):
                await outside.execute(
                    'TRUNCATE items, other."Odd Table", serial RESTART IDENTITY;'
                    "INSERT INTO items SELECT * FROM start"
                )
                statement = getattr(getattr(db.sql, module), name)
                first, *others = sets
                answers = [await outcome(statement(**first)), *await run(statement, others)]
                found.append((answers, await outside.fetch(STATE)))
            (alone, expected), (together, table) = found
            if table != expected:
                wrong[name, "table"] = set(expected) ^ set(table)
            if "if_new" in name:
                # Which of those with one key comes first is open.
                alone, together = (sorted(map(str, answers)) for answers in (alone, together))
            if comparable(together) != comparable(alone):
                wrong[name, "answers"] = (together, alone)
            written = await outside.fetchval("SELECT count(DISTINCT xmin::text) FROM items")
            if written < 10:
                several.add(name)
        await at_rest(db)
    assert not wrong
    # They did travel together.
    assert {"rename", "change", "add_two_rows"} <= several


FAILING = """
CREATE TABLE parents (id int PRIMARY KEY);
INSERT INTO parents SELECT n FROM generate_series(1, 100) AS n;
CREATE TABLE rows (
    id int PRIMARY KEY, parent int REFERENCES parents, n int NOT NULL CHECK (n < 1000),
    name varchar(5), at date, ratio int
);
CREATE TABLE tries (id int);
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO tries VALUES (NEW.id);
    IF NEW.name = 'bad' THEN RAISE EXCEPTION 'no such name' USING HINT = 'another', ERRCODE = 'P0007';
    END IF;
    NEW.ratio = 10 / NEW.n;
    RETURN NEW;
END $$;
CREATE TRIGGER look BEFORE INSERT OR UPDATE ON rows FOR EACH ROW EXECUTE FUNCTION look();
"""
INSERTS = """
-- name: quietly :exec
INSERT INTO rows (id, parent, n, name, at) VALUES (:id, :parent, :n, :name, :at);

-- name: counted :affected
INSERT INTO rows (id, parent, n, name, at) VALUES (:id, :parent, :n, :name, :at);

-- name: returning :one
INSERT INTO rows (id, parent, n, name, at) VALUES (:id, :parent, :n, :name, :at) RETURNING id, n;

-- name: upserted :exec
INSERT INTO rows (id, parent, n, name, at) VALUES (:id, :parent, :n, :name, :at)
ON CONFLICT (n) DO UPDATE SET name = 'never';

-- name: merged :exec
INSERT INTO rows (id, parent, n, name, at) VALUES (:id, :parent, :n, :name, :at)
ON CONFLICT (id) DO UPDATE SET ratio = rows.ratio / 0;
"""
FAULTS = [
    {"id": 1},  # a duplicate key
    {"parent": 500},
    {"n": 1000},
    {"n": None},
    {"n": 0},
    {"n": "seven"},
    {"n": 1 << 40},
    {"name": "too long"},
    {"name": "bad"},
    {"name": 5},
    {"name": "a\0b"},
    {"at": "2026-02-30"},
    {"at": [dt.date(2026, 1, 1)]},
]


@pytest.mark.parametrize("name", ["quietly", "counted", "returning", "merged"])
@pytest.mark.parametrize("several", [1, 5])
async def test_who_fails_fails_alone(settings, outside, folder, at_rest, name, several):
    rng = random.Random(SEED)
    await outside.execute(FAILING)
    found = []
    settings = settings.replace({"enable_detailed_errors": True})
    async with Aurora(settings, sql=folder(INSERTS)) as db:
        for run, module in ((one_by_one, "alone"), (at_once, "together")):
            await outside.execute("TRUNCATE rows, tries")
            statement = getattr(getattr(db.sql, module), name)
            good = {"parent": 1, "n": 10, "name": "good", "at": None}
            await statement(id=1, **good)
            answers = []
            for number, fault in enumerate(FAULTS):
                sets = [{**good, "id": 2 + number * 100 + i} for i in range(60)]
                for one in rng.sample(sets, several):
                    one.update(fault)
                answers += [await run(statement, sets)]
            found.append((answers, await outside.fetch("SELECT * FROM rows ORDER BY id")))
            rng = random.Random(SEED)
        await at_rest(db)
    (alone, expected), (together, table) = found
    for fault, one, other in zip(FAULTS, alone, together, strict=True):
        assert other == one, fault
    assert table == expected
    assert len(table) == 1 + len(FAULTS) * (60 - several)
