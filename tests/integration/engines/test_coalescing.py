"""Calls that travel together answer as those that go alone, on each kind of server."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from decimal import Decimal

import pytest

from aurora_sql import (
    Aurora,
    AuroraError,
    CheckViolation,
    DataError,
    ParameterError,
    StatementFileError,
    UniqueViolation,
)
from aurora_sql.migrations import apply, new
from aurora_sql.statements import UnitedRead

READS = """
-- name: by_id :maybe
-- coalesce: on
SELECT * FROM things WHERE id = :id;

-- name: after :many
-- coalesce: on
SELECT id, label FROM things WHERE id >= :low AND id < :low + 7 ORDER BY n DESC, id;

-- name: first :many
-- coalesce: on
SELECT id, n FROM things WHERE n >= :n ORDER BY n, id DESC LIMIT 3;

-- name: page :many
-- coalesce: on
SELECT id, label FROM things WHERE n > :n ORDER BY id LIMIT :size;

-- name: by_label :many
-- coalesce: on
SELECT id, label, amount FROM things WHERE label = :label ORDER BY id DESC;

-- name: dearer :many
-- coalesce: on
SELECT id, amount FROM things WHERE amount > :amount ORDER BY amount, id;

-- name: at :many
-- coalesce: on
SELECT id, happened FROM things WHERE happened = :at OR day = :day;

-- name: totals :one
-- coalesce: on
SELECT count(*) AS c, sum(amount) AS s, avg(n) AS a, max(happened) AS latest, 1 AS one, NULL AS nil
FROM things WHERE n = :n;

-- name: matching :many
-- coalesce: on
SELECT id FROM things
WHERE id > :after
  AND n = :n                -- when :n
  AND label = :label        -- when :label
ORDER BY id;

-- name: put :exec
-- coalesce: on
INSERT INTO things (id, label, n) VALUES (:id, :label, :n);

-- name: put_once :exec
-- coalesce: on
-- retry: exactly_once
INSERT INTO things (id, label, n) VALUES (:id, :label, :n);
"""
ODD = """
-- name: by_id :maybe
-- coalesce: on
SELECT * FROM odd WHERE id = :id;

-- name: by_key :maybe
-- coalesce: on
SELECT id, k FROM odd WHERE k = :k;

-- name: by_label :many
-- coalesce: on
SELECT id, label, c, e FROM odd WHERE label = :label OR c = :label ORDER BY id;

-- name: span :many
-- coalesce: on
SELECT id, z, d FROM odd WHERE z >= :low AND z < :high AND d <> :day ORDER BY z DESC, id;

-- name: nothing_told :many
-- coalesce: on
SELECT id FROM odd WHERE :x IS NULL OR label = :x ORDER BY id;
"""
LABELS = ["a", "A", "a ", "ä", "ß", "ss", "😀", "", "it's \\ \"", "%"]
START = dt.datetime(2024, 2, 28, 23, 59, 59, 123456)


@pytest.fixture
async def things(db, outside, settings, tmp_path, on_mysql, at_rest):
    """A database whose calls travel together."""
    await outside.execute("DROP TABLE IF EXISTS things")
    stamp = "datetime(6)" if on_mysql else "timestamp(6)"
    await outside.execute(
        f"CREATE TABLE things (id bigint PRIMARY KEY, label varchar(40), amount numeric(12, 3),"
        f" happened {stamp}, day date, n int, CONSTRAINT things_n CHECK (n > -9))"
    )
    await db.bulk_insert(
        "things",
        [
            {
                "id": number,
                "label": None if number % 11 == 0 else LABELS[number % len(LABELS)],
                "amount": None if number % 7 == 0 else Decimal(number) / 8,
                "happened": START + dt.timedelta(microseconds=number),
                "day": (START + dt.timedelta(days=number)).date(),
                "n": None if number % 13 == 0 else number % 9,
            }
            for number in range(1, 101)
        ],
    )
    (tmp_path / "t.sql").write_text(READS)
    async with Aurora(settings, sql=tmp_path) as together:
        yield together
        await at_rest(together)


@pytest.fixture
async def odd(outside, settings, tmp_path, at_rest, on_mysql):
    """Types that PostgreSQL does not have."""
    if not on_mysql:
        pytest.skip("PostgreSQL has no such types")
    await outside.execute("DROP TABLE IF EXISTS odd")
    await outside.execute(
        "CREATE TABLE odd (id bigint unsigned PRIMARY KEY, k binary(16) UNIQUE, label varchar(40),"
        " c char(5), e enum('x', 'y'), s set('p', 'q'), f float, g double, b bit(9), j json,"
        " y year, t time(6), d date, z datetime, bl blob, tx mediumtext, sm smallint unsigned)"
        " CHARACTER SET utf8mb4"
    )
    await outside.execute("SET SESSION sql_mode = ''")
    for number, label in enumerate(LABELS):
        text = "NULL" if number == 3 else "'" + label.replace("\\", "\\\\").replace("'", "''") + "'"
        day = "0000-00-00" if number == 5 else f"2024-02-{number + 10}"
        top = (1 << 64) - 1
        await outside.execute(
            f"INSERT INTO odd VALUES ({top - number}, UNHEX(REPEAT('{number:02x}', 16)), {text},"
            f" LEFT({text}, 5), 'y', 'p,q', 1.1 + {number}, 1.1, b'100000001', '{{\"a\": [1]}}',"
            f" 2024, '-01:02:03.5', '{day}', '{day} 10:00:00', x'00ff', {text}, 65535)"
        )
    (tmp_path / "odd.mysql.sql").write_text(ODD)
    async with Aurora(settings, sql=tmp_path) as together:
        yield together
        await at_rest(together)


async def outcome(statement, params):
    try:
        return await statement(**params)
    except AuroraError as error:
        return type(error)


async def compare(statement, sets):
    """Answers of calls at the same time are those of calls one after the other."""
    alone = [await outcome(statement, params) for params in sets]
    together = await asyncio.gather(*(outcome(statement, params) for params in sets))
    assert list(map(repr, together)) == list(map(repr, alone))
    assert together == alone
    return alone


def drawn(seed, count, **draw):
    chance = random.Random(seed)
    return [{name: one(chance) for name, one in draw.items()} for _ in range(count)]


def number(low, high):
    return lambda chance: None if chance.random() < 0.05 else chance.randint(low, high)


def one_of(values):
    return lambda chance: chance.choice(values)


@pytest.mark.parametrize("count", [7, 64, 300])
async def test_reads_by_numbers(things, count):
    t = things.sql.t
    found = await compare(t.by_id, drawn(1, count, id=number(-5, 120)))
    assert any(row is not None for row in found)
    await compare(t.after, drawn(2, count, low=number(-5, 120)))
    await compare(t.first, drawn(3, count, n=number(-1, 10)))
    await compare(t.totals, drawn(4, count, n=number(-1, 10)))


async def test_reads_with_a_limit_that_each_caller_has_of_its_own(things):
    await compare(
        things.sql.t.page, drawn(5, 150, n=number(0, 9), size=lambda chance: chance.randint(0, 5))
    )


async def test_reads_by_text_follow_the_collation(things, on_mysql):
    labels = [*LABELS, "B", "a  ", None, "😁"]
    found = await compare(things.sql.t.by_label, drawn(6, 150, label=one_of(labels)))
    if on_mysql:
        assert any({row.label for row in rows} >= {"a", "A"} for rows in found)


async def test_reads_by_decimals_and_dates(things):
    amounts = [None, Decimal("1.125"), Decimal("1.1250"), Decimal(12), Decimal("99.9999"), 3]
    await compare(things.sql.t.dearer, drawn(7, 100, amount=one_of(amounts)))
    at = [START + dt.timedelta(microseconds=step) for step in range(9)] + [None]
    day = [(START + dt.timedelta(days=step)).date() for step in range(9)] + [None]
    await compare(things.sql.t.at, drawn(8, 100, at=one_of(at), day=one_of(day)))


async def test_each_text_of_conditional_lines_has_batches_of_its_own(things):
    await compare(
        things.sql.t.matching,
        drawn(9, 150, n=number(0, 9), label=one_of([None, "a", "A", "ß"]), after=number(0, 50)),
    )


async def test_a_value_that_does_not_fit_fails_alone(things):
    sets = drawn(10, 60, id=lambda chance: chance.randint(1, 100))
    sets[17] = {"id": object()}
    sets[40] = {"id": object()}
    found = await compare(things.sql.t.by_id, sets)
    assert [at for at, one in enumerate(found) if one is ParameterError] == [17, 40]


async def test_values_of_other_types_than_the_others(things, on_mysql):
    if not on_mysql:
        pytest.skip("PostgreSQL takes values of the parameter's type alone")
    values = [1, "1", "1x", Decimal(3), 3.0, None, 1 << 63, -(1 << 63), True, b"7", (1 << 64) - 1]
    await compare(things.sql.t.by_id, drawn(11, 120, id=one_of(values)))


async def test_batches_are_fewer_than_calls(things, outside, on_mysql):
    if not on_mysql:
        pytest.skip("PostgreSQL counts no executions")
    t = things.sql.t

    async def executions():
        rows = await outside.rows("SHOW GLOBAL STATUS LIKE 'Com_stmt_execute'")
        return int(rows[0][1])

    for statement, params in ((t.by_id, {"id": 1}), (t.by_label, {"label": "a"})):
        await statement(**params)  # both forms are prepared
        before = await executions()
        await asyncio.gather(*(statement(**params) for _ in range(256)))
        assert await executions() - before < 32


async def test_keys_are_one_parameter_where_the_server_can_do_that(
    things, outside, on_mysql, monkeypatch
):
    if not on_mysql:
        pytest.skip("PostgreSQL has arrays")
    lateral = "MariaDB" not in await outside.value("SELECT version()")
    united = []
    bind = UnitedRead.bind
    monkeypatch.setattr(
        UnitedRead, "bind", lambda self, sets: united.append(len(sets)) or bind(self, sets)
    )
    t = things.sql.t
    for statement, params, keyed in (
        (t.by_id, {"id": 1}, lateral),
        (t.at, {"at": START, "day": START.date()}, lateral),
        (t.by_label, {"label": "a"}, False),
        (t.page, {"n": 1, "size": 2}, False),
        (t.by_id, {"id": "1"}, False),
    ):
        united.clear()
        await statement(**params)
        await asyncio.gather(*(statement(**params) for _ in range(100)))
        assert (not united) is keyed
        assert all(size <= 64 for size in united)


async def test_types_of_mysql(odd):
    top = (1 << 64) - 1
    ids = [top - number for number in range(12)] + [0, 1, None, -1]
    sets = drawn(12, 150, id=one_of(ids))
    # The fifth has a date that Python does not have: it fails, and nobody with it.
    found = await compare(odd.sql.odd.by_id, sets)
    assert {top - 5} == {p["id"] for p, one in zip(sets, found, strict=True) if one is DataError}
    keys = [bytes([number]) * 16 for number in range(12)] + [b"", b"\0" * 17, None]
    found = await compare(odd.sql.odd.by_key, drawn(13, 150, k=one_of(keys)))
    assert sum(row is not None for row in found) > 50
    await compare(odd.sql.odd.by_label, drawn(14, 150, label=one_of([*LABELS, "a   ", "X", None])))
    await compare(odd.sql.odd.nothing_told, drawn(15, 150, x=one_of([*LABELS, None])))


async def test_dates_of_mysql(odd):
    moments = [dt.datetime(2024, 2, day, 10) for day in range(9, 20)]
    await compare(
        odd.sql.odd.span,
        drawn(
            16,
            100,
            low=one_of(moments),
            high=one_of([*moments, None]),
            day=one_of([moment.date() for moment in moments]),
        ),
    )


@pytest.mark.parametrize("name", ["put", "put_once"])
async def test_writes(things, outside, name, cluster, settings, tmp_path):
    if name == "put_once":
        for table in (
            "aurora_sql_commits",
            "_yoyo_migration",
            "_yoyo_log",
            "_yoyo_version",
            "yoyo_lock",
        ):
            await outside.execute(f"DROP TABLE IF EXISTS {table}")
        folder = tmp_path / "migrations"
        new(folder, "commit markers", commit_markers=True, engine=cluster.engine)
        await apply(settings, folder)
    put = getattr(things.sql.t, name)
    await put(id=1000, label="first", n=1)
    sets = [
        {"id": 1001 + at, "label": None if at % 5 == 0 else "😀'\\", "n": at % 9}
        for at in range(150)
    ]
    sets[33]["id"] = 1  # is there already
    sets[77]["n"] = -10
    sets[78]["n"] = "x" * 50
    answers = await asyncio.gather(*(outcome(put, params) for params in sets))
    failed = {at: answer for at, answer in enumerate(answers) if answer is not None}
    assert failed.pop(33) is UniqueViolation
    assert failed.pop(77) is CheckViolation
    assert issubclass(failed.pop(78), AuroraError)
    assert not failed
    rows = await outside.rows("SELECT id, label, n FROM things WHERE id > 1000 ORDER BY id")
    if name == "put_once":
        assert await outside.value("SELECT count(*) FROM aurora_sql_commits") < 100
    kept = [one for at, one in enumerate(sets) if at not in (33, 77, 78)]
    assert rows == [(one["id"], one["label"], one["n"]) for one in kept]


async def test_a_caller_that_leaves_takes_nobody_along(things):
    t = things.sql.t
    await t.by_id(id=1)
    calls = [asyncio.ensure_future(t.by_id(id=1 + at % 100)) for at in range(120)]
    await asyncio.sleep(0)
    for call in calls[::3]:
        call.cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    for at, answer in enumerate(done):
        if at % 3:
            assert answer.id == 1 + at % 100
        else:
            assert isinstance(answer, asyncio.CancelledError)


async def test_writers_that_leave_before_they_were_sent_have_written_nothing(things, outside):
    put = things.sql.t.put
    await put(id=2000, label="", n=1)
    calls = [asyncio.ensure_future(put(id=2001 + at, label="", n=1)) for at in range(100)]
    await asyncio.sleep(0)
    for call in calls[50:]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert await outside.value("SELECT count(*) FROM things WHERE id >= 2001") == 50


async def test_a_table_that_changes_under_way(things, outside):
    t = things.sql.t
    await asyncio.gather(*(t.by_id(id=at) for at in range(50)))
    await outside.execute("ALTER TABLE things ADD COLUMN more int DEFAULT 5")
    rows = await asyncio.gather(*(t.by_id(id=at) for at in range(1, 51)))
    assert [(row.id, row.more) for row in rows] == [(at, 5) for at in range(1, 51)]


async def test_columns_that_a_derived_table_cannot_have_are_refused(
    things, settings, tmp_path, on_mysql
):
    if not on_mysql:
        pytest.skip("PostgreSQL's derived tables may name two columns alike")
    (tmp_path / "two.sql").write_text(
        "-- name: same :many\n-- coalesce: on\n"
        "SELECT a.id, b.id FROM things a JOIN things b ON a.id = b.id WHERE a.id = :id"
    )
    async with Aurora(settings, sql=tmp_path) as db:
        with pytest.raises(StatementFileError, match="Duplicate column name 'id'") as caught:
            await db.sql.two.same(id=1)
        assert caught.value.line == 1
        assert caught.value.path == tmp_path / "two.sql"
