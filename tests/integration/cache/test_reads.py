"""What is answered from the cache, what is not, and whose results they are."""

from __future__ import annotations

import asyncio

import pytest

from aurora_sql import Aurora, RowNotFound, StatementFinished, TooManyRows, UniqueViolation


async def test_an_answer_serves_until_it_is_too_old(db, outside, clock, executions):
    first = await db.sql.items.get(id=1)
    await outside.execute("UPDATE items SET name = 'changed' WHERE id = 1")
    clock.advance(4.9)
    assert await db.sql.items.get(id=1) == first
    assert await executions() == 1
    clock.advance(0.2)
    assert (await db.sql.items.get(id=1)).name == "changed"
    assert await executions() == 2
    stats = db.cache_stats()
    assert (stats.hits, stats.misses, stats.joined, stats.entries) == (1, 2, 0, 1)
    assert 0 < stats.bytes <= stats.max_bytes == 64 * 1024 * 1024


async def test_each_set_of_parameters_has_an_answer_of_its_own(db):
    assert [(await db.sql.items.get(id=n)).name for n in (1, 2, 1)] == [
        "item 1",
        "item 2",
        "item 1",
    ]
    assert db.cache_stats().misses == 2
    assert [row.id for row in await db.sql.items.search(above=3)] == [4, 5]
    assert [row.id for row in await db.sql.items.search(above=4)] == [5]
    assert [row.id for row in await db.sql.items.search(name="item 3")] == [3]
    assert len(await db.sql.items.search()) == 5
    assert [row.id for row in await db.sql.items.search(above=3)] == [4, 5]
    assert (db.cache_stats().misses, db.cache_stats().hits) == (6, 2)


async def test_parameters_that_are_lists(db, executions):
    ids = [1, 2]
    assert [row.id for row in await db.sql.items.among(ids=ids)] == [1, 2]
    again = await db.sql.items.among(ids=[1, 2])
    assert [row.id for row in again] == [1, 2]
    ids.append(3)
    assert [row.id for row in await db.sql.items.among(ids=ids)] == [1, 2, 3]
    assert (db.cache_stats().misses, db.cache_stats().hits) == (2, 1)


async def test_a_list_that_its_owner_changes_meanwhile(db):
    ids = [1, 2]
    call = asyncio.create_task(db.sql.items.among(ids=ids))
    await asyncio.sleep(0)  # it has asked the cache; its query comes next
    ids.append(3)
    assert [row.id for row in await call] == [1, 2]
    assert [row.id for row in await db.sql.items.among(ids=[1, 2])] == [1, 2]


async def test_equal_values_of_different_types_differ(db):
    asked = [1, True, 1.5, "1", [1], [True], (1,), (True,), {"a": 1}, {"a": True}, None]
    for _ in range(2):
        texts = [await db.sql.items.same_json(value=value) for value in asked]
        assert texts == [
            "1", "true", "1.5", '"1"', "[1]", "[true]", "[1]", "[true]",
            '{"a": 1}', '{"a": true}', texts[-1],
        ]  # fmt: skip
    assert (db.cache_stats().misses, db.cache_stats().hits) == (len(asked), len(asked))


async def test_none_is_an_answer_and_an_error_is_not(db, outside):
    assert await db.sql.items.find(id=9) is None
    with pytest.raises(RowNotFound):
        await db.sql.items.get(id=9)
    await outside.execute("INSERT INTO items (id, name) VALUES (9, 'late')")
    assert await db.sql.items.find(id=9) is None
    assert (await db.sql.items.get(id=9)).name == "late"
    for _ in range(2):
        with pytest.raises(TooManyRows):
            await db.sql.items.one_of_two()
    assert db.cache_stats().entries == 2


async def test_no_caller_alters_what_another_one_gets(db, outside):
    rows = await db.sql.items.documents()
    await outside.execute("UPDATE items SET body = '{}', tags = '{}'")
    rows[0].body["colours"].append("green")
    rows[0].tags.append("mine")
    del rows[1:]
    document = await db.sql.items.document(id=1)
    assert document.tags == []
    await outside.execute("UPDATE items SET body = '{}', tags = '{z}'")

    again = await db.sql.items.documents()
    assert len(again) == 5
    assert (again[0].body, again[0]["tags"], again[0][0]) == ({"colours": ["red"]}, ["a", "b"], 1)
    assert again[0] is not (await db.sql.items.documents())[0]
    assert db.cache_stats().hits == 2


@pytest.mark.parametrize("name", ["document", "as_dataclass"])
async def test_models_are_made_for_each_caller(db, name):
    get = getattr(db.sql.items, name)
    first = await get(id=1)
    first.tags.append("mine")
    first.id = 7
    if name == "document":
        first.body["colours"] = []
    second = await get(id=1)
    assert (type(second), second.id, second.tags) == (type(first), 1, ["a", "b"])
    if name == "document":
        assert second.body == {"colours": ["red"]}
    assert db.cache_stats().hits == 1


async def test_a_scalar_of_json_is_the_callers_own(db):
    (await db.sql.items.body(id=1)).clear()
    assert await db.sql.items.body(id=1) == {"colours": ["red"]}
    assert db.cache_stats().hits == 1


async def test_values_of_every_kind_can_be_kept(opened, tmp_path):
    (tmp_path / "kinds.sql").write_text(
        "-- name: all :one\n-- cache: 1m\n-- access: read\n"
        "SELECT point '(1,2)' AS a, path '((1,2),(3,4))' AS b, circle '<(1,2),3>' AS c,"
        " box '((1,2),(3,4))' AS d, int4range(1, 5) AS e, B'101' AS f, '{1,2}'::int[] AS g,"
        " row(1, '{a}'::text[]) AS h, inet '10.0.0.1' AS i, interval '1 day' AS j,"
        " '{[1,2]}'::int4multirange AS k, 'NaN'::float8 AS l, '\\x00'::bytea AS m;\n"
    )
    async with opened(sql=tmp_path) as db:
        first, second = await db.sql.kinds.all(), await db.sql.kinds.all()
        assert db.cache_stats().hits == 1
        for name, value in first.items():
            assert name == "l" or second[name] == value
        first.g.append(3)
        first.h[1].append("b")
        third = await db.sql.kinds.all()
        assert third.g == [1, 2]
        assert third.h[1] == ["a"]


async def test_what_asks_the_server_itself(db, outside):
    await db.sql.items.get(id=1)
    await outside.execute("UPDATE items SET name = 'changed' WHERE id = 1")

    async def in_a_transaction():
        async with db.transaction() as tx:
            return await tx.sql.items.get(id=1)

    async def in_a_session():
        async with db.session() as session:
            return await session.sql.items.get(id=1)

    async def by_a_stream():
        return [row async for row in db.sql.items.search.stream(name="changed")]

    assert (await in_a_transaction()).name == "changed"
    assert (await in_a_session()).name == "changed"
    assert (await db.writer.sql.items.get(id=1)).name == "changed"
    assert len(await by_a_stream()) == 1
    assert (await db.sql.items.get(id=1)).name == "item 1"
    assert db.cache_stats().hits == 1


async def test_memory_is_bounded(opened, outside):
    await outside.execute(
        "INSERT INTO items (id, name) SELECT n, repeat('x', 1000) || n"
        " FROM generate_series(100, 199) AS n"
    )
    async with opened(cache_max_bytes=20_000) as db:
        for n in range(100, 200):
            assert (await db.sql.items.get(id=n)).id == n
            assert db.cache_stats().bytes <= 20_000
        stats = db.cache_stats()
        assert 3 < stats.entries < 20
        assert stats.evicted == 100 - stats.entries
        # What is asked for again and again stays.
        for n in range(100, 160):
            await db.sql.items.get(id=199)
            await db.sql.items.get(id=n)
        assert db.cache_stats().misses <= 161
        assert len(await db.sql.items.search()) == 105
        assert db.cache_stats().entries <= stats.entries  # too large to be kept
    async with opened(cache_max_bytes=0) as db:
        await db.sql.items.get(id=1)
        await db.sql.items.get(id=1)
        stats = db.cache_stats()
        assert (stats.misses, stats.hits, stats.entries, stats.bytes) == (2, 0, 0, 0)


async def test_answers_that_are_too_old_go_by_and_by(db, clock, outside):
    for n in range(1, 5):
        await db.sql.items.get(id=n)
    clock.advance(6)
    await db.sql.items.get(id=5)
    await db.sql.items.count()
    await db.sql.items.documents()
    stats = db.cache_stats()
    assert (stats.entries, stats.evicted) == (3, 0)


async def test_statements_that_also_travel_together(db, outside, executions):
    async def names():
        found = await asyncio.gather(*(db.sql.items.together(id=n) for n in [*range(1, 8)] * 4))
        return [one and one.name for one in found]

    expected = [*(f"item {n}" for n in range(1, 6)), None, None] * 4
    assert await names() == expected
    await outside.execute("UPDATE items SET name = name || '!'")
    assert await names() == expected
    stats = db.cache_stats()
    assert (stats.misses, stats.joined, stats.hits, stats.entries) == (7, 21, 28, 7)
    # Several in a batch, and one that waits alone.
    for count in (40, 5):
        numbers = range(1000 * count, 1000 * count + count)
        await outside.execute(
            "INSERT INTO items (id, name) SELECT n, 'more ' || n FROM unnest($1::int[]) AS n",
            [*numbers],
        )
        for _ in range(2):
            found = await asyncio.gather(*(db.sql.items.together(id=n) for n in numbers))
            assert [(one.id, one.name) for one in found] == [(n, f"more {n}") for n in numbers]
            for one in found:
                one.tags.clear()
        assert {tuple((await db.sql.items.together(id=n)).tags) for n in numbers} == {("a", "b")}
    one = await db.sql.items.together(id=1)
    one.tags.append("mine")
    assert (await db.sql.items.together(id=1)).tags == ["a", "b"]


async def test_observers_hear_of_each_call_once(opened):
    events = []
    async with opened(observers=[events.append]) as db:
        await asyncio.gather(*(db.sql.items.get(id=1) for _ in range(3)))
        await db.sql.items.get(id=1)
        with pytest.raises(RowNotFound):
            await db.sql.items.get(id=99)
        await db.sql.items.rename(id=1, name="x")
        with pytest.raises(UniqueViolation):
            await db.sql.items.rename(id=1, name="item 2")
    finished = [one for one in events if isinstance(one, StatementFinished)]
    assert [(one.statement, one.attempts, bool(one.instance), one.error) for one in finished] == [
        ("items.get", 1, True, None),
        ("items.get", 0, False, None),
        ("items.get", 0, False, None),
        ("items.get", 0, False, None),
        ("items.get", 1, True, "RowNotFound"),
        ("items.rename", 1, True, None),
        ("items.rename", 1, True, "UniqueViolation"),
    ]


async def test_a_changed_file_is_read_and_asked_anew(settings, schema, tmp_path):
    path = tmp_path / "a.sql"
    path.write_text("-- name: number :scalar\n-- cache: 1h\nSELECT 1 AS n;\n")
    async with Aurora(settings, sql=tmp_path, reload=True) as db:
        assert await db.sql.a.number() == 1
        path.write_text("-- name: number :scalar\n-- cache: 1h\nSELECT 2 AS n -- new;\n")
        db._statements.refresh()  # now, not in half a second
        assert await db.sql.a.number() == 2
