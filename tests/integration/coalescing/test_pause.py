"""Batches that are not worth it."""

import asyncio
from time import perf_counter

import pytest

from aurora_sql import Aurora, CoalescingPaused
from aurora_sql.execution._group_reads import ReadGroup


@pytest.fixture
def batches(monkeypatch):
    """How many batches have left."""
    sent = []
    serve = ReadGroup._serve_many

    async def count(self, members, trace):
        sent.append(len(members))
        await serve(self, members, trace)

    monkeypatch.setattr(ReadGroup, "_serve_many", count)
    return sent


@pytest.fixture
async def db(aurora_settings, tmp_path):
    (tmp_path / "t.sql").write_text(
        "-- name: get :scalar\n-- coalesce: on\nSELECT note FROM t WHERE id = :id;\n", "utf-8"
    )
    events = []
    async with Aurora(aurora_settings, sql=tmp_path, observers=[events.append]) as db:
        await db.execute("CREATE TABLE t (id int PRIMARY KEY, note text)")
        await db.execute("INSERT INTO t SELECT n, 'n' || n FROM generate_series(1, 100) AS n")
        db.events = events
        yield db


def pauses(db):
    return [one for one in db.events if isinstance(one, CoalescingPaused)]


async def ask(db, calls=40):
    answers = await asyncio.gather(*(db.sql.t.get(id=n) for n in range(1, calls + 1)))
    assert answers == [f"n{n}" for n in range(1, calls + 1)]


async def test_batches_that_take_longer_than_calls_alone_are_given_up(db, batches, monkeypatch):
    monkeypatch.setattr("aurora_sql.execution._group_reads._SLOW", 1e-9)
    assert await db.sql.t.get(id=1) == "n1"  # the time that it takes alone
    for _ in range(100):
        await ask(db)
        if pauses(db):
            break
    (pause,) = pauses(db)
    assert pause.statement == "t.get"
    assert pause.pause == 60.0
    assert "ms alone" in pause.reason
    before = len(batches)
    await ask(db)
    assert len(batches) == before
    monkeypatch.setattr("aurora_sql.execution._group.perf_counter", lambda: perf_counter() + 61)
    await ask(db)
    assert len(batches) > before


async def test_batches_that_are_worth_it_go_on(db, batches):
    assert await db.sql.t.get(id=1) == "n1"
    for _ in range(50):
        await ask(db)
    assert len(batches) > 50
    assert pauses(db) == []
