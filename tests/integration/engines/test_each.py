"""Many calls of one caller: the answers that lone calls give, in the order of the sets."""

from __future__ import annotations

import asyncio
import random

import pytest

from aurora_sql import (
    Aurora,
    DataError,
    DeadlineExceeded,
    ParameterError,
    RowNotFound,
    UsageError,
    count_statements,
    deadline,
)

SQL = """
-- name: get :one
-- coalesce: on
SELECT id, label, n FROM things WHERE id = :id;

-- name: find :maybe
-- coalesce: on
SELECT id, label FROM things WHERE id = :id;

-- name: among :many
-- coalesce: on
SELECT id FROM things
WHERE n = :n
  AND id > :after           -- when :after
ORDER BY id DESC;

-- name: share :many
-- coalesce: on
SELECT id FROM things WHERE n = :n AND 100 / :by > 1;

-- name: kept :maybe
-- coalesce: on
-- cache: 60s
SELECT label FROM things WHERE id = :id;

-- name: alone :maybe
SELECT label FROM things WHERE id = :id;

-- name: put :exec
-- coalesce: on
INSERT INTO things (id, label, n) VALUES (:id, :label, :n);
"""


@pytest.fixture
async def opened(db, outside, settings, tmp_path, at_rest):
    """Open a database with a hundred things."""
    await outside.execute("DROP TABLE IF EXISTS things")
    await outside.execute("CREATE TABLE things (id bigint PRIMARY KEY, label varchar(40), n int)")
    rows = [{"id": id_, "label": f"n{id_ % 7}", "n": id_ % 9} for id_ in range(1, 101)]
    await db.bulk_insert("things", rows)
    (tmp_path / "t.sql").write_text(SQL)
    databases = []

    async def make(**options):
        one = Aurora(settings, sql=tmp_path, **options)
        await one.__aenter__()
        databases.append(one)
        return one

    yield make
    for one in databases:
        await at_rest(one)
        await one.__aexit__(None, None, None)


def keys(count, low=-5, high=120, seed=1):
    chance = random.Random(seed)
    return [{"id": chance.randint(low, high)} for _ in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 20, 300])
async def test_the_answers_are_those_of_lone_calls(opened, count):
    t = (await opened()).sql.t
    for _ in range(2):  # the first time of a statement its form for many is found out
        sets = keys(count)
        found = await t.find.each(sets)
        assert found == [await t.find(**params) for params in sets]
    many = [{"n": number % 11 - 1} for number in range(count)]
    assert await t.among.each(many) == [await t.among(**params) for params in many]
    assert await t.among.each(iter(many[:3])) == await t.among.each(many[:3])


async def test_conditional_lines_may_differ_from_set_to_set(opened):
    t = (await opened()).sql.t
    sets = [{"n": 1}, {"n": 1, "after": 50}, {"n": 2, "after": None}, {"n": 3, "after": 0}]
    for _ in range(3):
        assert await t.among.each(sets) == [await t.among(**params) for params in sets]


async def test_observers_are_told_of_each_call(opened):
    db = await opened()
    await db.sql.t.get.each(keys(5, 1, 100))
    events = []
    watched = await opened(observers=[events.append])
    with count_statements(limit=1):
        assert len(await db.sql.t.get.each(keys(50, 1, 100))) == 50
    assert len(await watched.sql.t.get.each(keys(50, 1, 100))) == 50
    finished = [event for event in events if type(event).__name__ == "StatementFinished"]
    assert len(finished) == 50  # whoever observes is told of each call


async def test_transactions_sessions_views_and_caches(opened):
    db = await opened()
    sets = keys(30)
    expected = [await db.sql.t.find(**params) for params in sets]
    assert await db.writer.sql.t.find.each(sets) == expected
    assert await db.reader.sql.t.find.each(sets) == expected
    async with db.session() as session:
        assert await session.sql.t.find.each(sets) == expected
    async with db.transaction() as tx:
        await tx.sql.t.put(id=1000, label="new", n=None)
        assert (await tx.sql.t.find.each([{"id": 1000}, {"id": 1}]))[0].label == "new"
        assert await tx.sql.t.find.each(sets) == expected
    for _ in range(2):
        labels = [None if row is None else row.label for row in await db.sql.t.kept.each(sets)]
        assert labels == [None if row is None else row.label for row in expected]
    assert db.cache_stats().hits >= 30


async def test_what_is_wrong_says_which_set_and_sends_nothing(opened):
    t = (await opened()).sql.t
    sets = [*keys(3), {"ident": 1}, *keys(3)]
    for _ in range(2):
        with pytest.raises(ParameterError) as raised, count_statements(limit=0):
            await t.find.each(sets)
        assert "in set 3 of each(), counted from 0" in raised.value.__notes__
        await t.find.each(keys(3))
    for wrong in ([1], [None], [[("id", 1)]]):
        with pytest.raises(ParameterError, match="a set of parameters is a mapping, not"):
            await t.find.each(wrong)


@pytest.mark.parametrize("count", [8, 400])
async def test_the_first_error_ends_all(opened, at_rest, count):
    db = await opened()
    await db.sql.t.get.each(keys(10, 1, 100))
    sets = keys(count, 1, 100)
    sets[5] = {"id": 4711}
    with pytest.raises(RowNotFound) as raised:
        await db.sql.t.get.each(sets)
    assert "in set 5 of each(), counted from 0" in raised.value.__notes__
    await at_rest(db)
    assert len(await db.sql.t.get.each(keys(count, 1, 100))) == count


async def test_an_error_of_the_server_is_that_of_its_set(opened, on_mysql):
    t = (await opened()).sql.t
    if on_mysql:
        pytest.skip("MySQL divides by zero")
    sets = [{"n": 1, "by": number - 3} for number in range(8)]
    await t.share.each([{"n": 1, "by": 2}, {"n": 2, "by": 2}])
    with pytest.raises(DataError) as raised:
        await t.share.each(sets)
    assert "in set 3 of each(), counted from 0" in raised.value.__notes__


async def test_what_it_is_not_for(opened):
    t = (await opened()).sql.t
    with pytest.raises(UsageError, match=r"t\.put .*each\(\) is for reads; make it a :batch"):
        t.put.each([{"id": 1, "label": "", "n": 1}])
    with pytest.raises(UsageError, match=r"t\.alone .*add the directive -- coalesce: on"):
        t.alone.each([{"id": 1}])


async def test_many_at_once_among_lone_calls_some_of_which_leave(opened, at_rest):
    db = await opened()
    t = db.sql.t
    await t.find.each(keys(10))
    expected = {id_: await t.find(id=id_) for id_ in range(-5, 121)}
    chance = random.Random(7)

    async def several(seed):
        sets = keys(chance.randint(2, 60), seed=seed)
        task = asyncio.ensure_future(t.find.each(sets))
        if chance.random() < 0.3:
            for _ in range(chance.randint(0, 12)):
                await asyncio.sleep(0)
            task.cancel()
        try:
            found = await task
        except asyncio.CancelledError:
            return "left"
        assert found == [expected[params["id"]] for params in sets]
        return "answered"

    async def lone(number):
        assert await t.find(id=number) == expected[number]

    for turn in range(10):
        told = await asyncio.gather(*(several(turn * 100 + n) for n in range(20)))
        await asyncio.gather(*(lone(n) for n in range(50)), several(turn))
        assert "answered" in told
    await at_rest(db)


async def test_a_deadline_ends_all_of_them(opened, at_rest):
    db = await opened()
    await db.sql.t.find.each(keys(10))
    with pytest.raises(DeadlineExceeded), deadline(0):
        await db.sql.t.find.each(keys(10))
    # Whatever is under way when the time is up, the caller is told of nothing but that.
    for seconds in (0.0002, 0.001, 0.003):
        try:
            with deadline(seconds):
                found = await db.sql.t.find.each(keys(500))
        except DeadlineExceeded:
            continue
        assert len(found) == 500
    await at_rest(db)
