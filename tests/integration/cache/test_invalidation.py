"""Writes that put answers out of date: when they take effect, and when not."""

from __future__ import annotations

import asyncio

import pytest

from aurora_sql import (
    Aurora,
    CommitInDoubt,
    ConnectionLost,
    ParameterError,
    TooManyRows,
    UniqueViolation,
)
from aurora_sql.local.faults import Reply, Request, Reset
from aurora_sql.migrations import apply, new
from tests.integration.cache.conftest import SQL


class _Undo(Exception):
    """Rolls a transaction back."""


@pytest.fixture
async def markers(settings, tmp_path):
    new(tmp_path, "commit markers", commit_markers=True)
    await apply(settings, tmp_path)


@pytest.fixture
async def faulty(aurora_faulty_settings, schema, at_rest):
    """The database through a proxy that can break connections."""
    few = aurora_faulty_settings.replace({"min_pool_size": 1, "max_pool_size": 2})
    async with Aurora(few, sql=SQL) as db:
        yield db
        await at_rest(db)


@pytest.fixture
def is_kept():
    """Whether the answer for item 1, which must have been asked for, is still there."""

    async def ask(db):
        before = db.cache_stats().hits
        await db.sql.items.get(id=1)
        return db.cache_stats().hits > before

    return ask


async def test_a_write_drops_the_answers_it_names(db, is_kept):
    await db.sql.items.get(id=1)
    await db.sql.items.get(id=2)
    assert await db.sql.items.count() == 5
    assert await db.sql.items.rename(id=1, name="new") == 1
    stats = db.cache_stats()
    assert (stats.entries, stats.invalidated) == (1, 2)
    assert (await db.sql.items.get(id=1)).name == "new"
    assert await is_kept(db)


@pytest.mark.parametrize(
    "write",
    [
        lambda sql: sql.items.rename_together(id=1, name="new"),
        lambda sql: sql.items.rename_many([{"id": 1, "name": "new"}]),
        lambda sql: sql.items.reset(),
        lambda sql: sql.items.rename_each(suffix="!"),
    ],
    ids=["together", "batch", "script", "many"],
)
@pytest.mark.parametrize("scope", ["database", "writer", "session", "transaction"])
async def test_every_kind_of_write_in_every_scope(db, is_kept, write, scope):
    await db.sql.items.get(id=1)
    match scope:
        case "database":
            await write(db.sql)
        case "writer":
            await write(db.writer.sql)
        case "session":
            async with db.session() as session:
                await write(session.sql)
        case _:
            async with db.transaction() as tx:
                await write(tx.sql)
                assert await is_kept(db)
    assert not await is_kept(db)


async def test_a_write_that_is_streamed(db, is_kept):
    await db.sql.items.get(id=1)
    assert len([row async for row in db.sql.items.rename_each.stream(suffix="!")]) == 5
    assert not await is_kept(db)
    async with db.transaction() as tx:
        assert len([row async for row in tx.sql.items.rename_each.stream(suffix="!")]) == 5
        assert await is_kept(db)
    assert not await is_kept(db)


async def test_a_write_that_runs_exactly_once(db, is_kept, markers):
    await db.sql.items.get(id=1)
    assert await db.sql.items.rename_once(id=1, name="new") == 1
    assert not await is_kept(db)


async def test_a_write_that_was_not_applied_drops_nothing(db, is_kept):
    await db.sql.items.get(id=1)
    with pytest.raises(UniqueViolation):
        await db.sql.items.rename(id=1, name="item 2")
    with pytest.raises(ParameterError):
        await db.sql.items.rename(id=1)
    assert await is_kept(db)


async def test_a_write_whose_result_is_refused_was_applied(db, is_kept):
    await db.sql.items.get(id=1)
    with pytest.raises(TooManyRows):
        await db.sql.items.rename_all(suffix="!")
    assert (await db.sql.items.get(id=1)).name == "item 1!"


async def test_a_transaction_counts_once_it_has_committed(db, is_kept):
    await db.sql.items.get(id=1)
    with pytest.raises(_Undo):
        async with db.transaction() as tx:
            await tx.sql.items.rename(id=1, name="never")
            raise _Undo
    assert await is_kept(db)

    async def work(tx):
        await tx.sql.items.rename(id=1, name="new")
        assert await is_kept(db)

    await db.run_in_transaction(work)
    assert (await db.sql.items.get(id=1)).name == "new"


@pytest.mark.parametrize(("moment", "name"), [(Reply, "new"), (Request, "item 1")])
async def test_a_write_in_doubt_counts(faulty, aurora_fault_proxy, is_kept, moment, name):
    db = faulty
    await db.sql.items.get(id=1)
    await db.sql.items.get(id=1)
    aurora_fault_proxy.inject(Reset(), at=moment("UPDATE items"))
    with pytest.raises(ConnectionLost) as raised:
        await db.sql.items.rename(id=1, name="new")
    assert raised.value.outcome_unknown
    assert not await is_kept(db)
    assert (await db.fetch_value("SELECT name FROM items WHERE id = 1")) == name


async def test_a_commit_in_doubt_counts(faulty, aurora_fault_proxy, is_kept):
    db = faulty
    await db.sql.items.get(id=1)
    aurora_fault_proxy.inject(Reset(), at=Reply("COMMIT"))
    with pytest.raises(CommitInDoubt):
        async with db.transaction() as tx:
            await tx.sql.items.rename(id=1, name="new")
    assert not await is_kept(db)


async def test_a_commit_found_to_be_applied_counts_again(
    faulty, aurora_fault_proxy, is_kept, markers
):
    """Between the doubt and the answer somebody may have read what was there before."""
    db, runs = faulty, []

    async def work(tx):
        runs.append(1)
        await tx.sql.items.rename(id=1, name="new")

    await db.sql.items.get(id=1)
    aurora_fault_proxy.inject(Reset(), at=Reply("COMMIT"))
    cache = db._shared.context.cache
    told, invalidate = [], cache.invalidate

    def noted(names):
        told.append(len(runs))
        invalidate(names)

    cache.invalidate = noted
    await db.run_in_transaction(work)
    assert runs == [1]
    assert len(told) >= 2
    assert not await is_kept(db)


async def test_a_cancelled_write_counts(db, is_kept, outside):
    await db.sql.items.get(id=1)
    async with outside.transaction():
        await outside.execute("SELECT 1 FROM items WHERE id = 1 FOR UPDATE")
        call = asyncio.create_task(db.sql.items.rename(id=1, name="new"))
        async with asyncio.timeout(30):
            while not await outside.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - the server sends no event
                await asyncio.sleep(0.005)
        assert await is_kept(db)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert not await is_kept(db)


async def test_a_query_under_way_is_neither_joined_nor_kept(db, gate, waiting_calls):
    old = asyncio.create_task(db.sql.items.gated_name(id=1))
    await gate.waiting(1)
    await db.sql.items.rename(id=1, name="new")
    new = asyncio.create_task(db.sql.items.gated_name(id=1))
    await gate.waiting(2)
    await gate.open()
    assert await old == "item 1"
    assert await new == "new"
    assert await db.sql.items.gated_name(id=1) == "new"
    stats = db.cache_stats()
    assert (stats.misses, stats.joined, stats.hits) == (2, 0, 1)


async def test_by_hand(db, is_kept, outside):
    await db.sql.items.get(id=1)
    await db.bulk_update("items", [{"id": 1, "name": "bulk"}], keys=["id"])
    assert await is_kept(db)
    for names, message in (
        (["items.gt"], r"'items\.gt'"),
        (["items.get", "items.rename"], r"items\.rename .* no 'cache'"),
    ):
        with pytest.raises(ParameterError, match=message):
            db.invalidate(*names)
    assert await is_kept(db)
    db.invalidate("items.get", "items.count")
    assert (await db.sql.items.get(id=1)).name == "bulk"
