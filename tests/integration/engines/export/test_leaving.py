"""Reports that are cancelled, or run out of time, or share a transaction."""

from __future__ import annotations

import asyncio
import io
import threading

import pytest

from aurora_sql import (
    DeadlineExceeded,
    UsageError,
    deadline,
)
from tests.integration.engines.export.rows import ROWS, names


async def test_cancelled_at_any_moment(kept, many, tmp_path, at_rest):
    target = tmp_path / "out.csv"

    async def cancelled(work, turns):
        task = asyncio.ensure_future(work)
        await asyncio.sleep(turns * 0.013)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return True
        return False

    seen = [
        await cancelled(make(), turns)
        for turns in range(12)
        for make in (
            lambda: kept.export_csv(target, many),
            lambda: kept.fetch_arrow(many),
        )
    ]
    assert sum(seen) >= 6
    if all(seen):
        assert names(tmp_path) == ["sql"]
    assert not [name for name in names(tmp_path) if name.endswith(".part")]
    await at_rest(kept)
    assert len(await kept.sql.r.all()) == len(ROWS)


async def test_cancelled_while_the_disk_is_slow(kept, many, at_rest):
    writing, go_on = threading.Event(), threading.Event()

    class Stuck:
        closed = False

        def write(self, data):
            writing.set()
            go_on.wait(20)
            assert not self.closed

    stuck = Stuck()
    task = asyncio.ensure_future(kept.export_csv(stuck, many))
    await asyncio.to_thread(writing.wait, 20)
    task.cancel()
    await at_rest(kept)  # the connection is back although the disk is not
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    stuck.closed = True


async def test_a_deadline(kept, many, tmp_path, at_rest):
    for seconds in (0, 0.001, 0.01, 0.05):
        with pytest.raises(DeadlineExceeded), deadline(seconds):
            await kept.export_csv(tmp_path / "out.csv", many)
        with pytest.raises(DeadlineExceeded), deadline(seconds):
            await kept.fetch_arrow(many)
    assert names(tmp_path) == ["sql"]
    await at_rest(kept)


async def test_others_have_their_turn(kept, many):
    done, turns = False, 0

    async def count():
        nonlocal turns
        while not done:
            await asyncio.sleep(0)
            turns += 1

    watcher = asyncio.ensure_future(count())
    await kept.fetch_arrow(many)
    await kept.export_csv(io.BytesIO(), many)
    done = True
    await watcher
    assert turns > 100


async def test_a_transaction_whose_other_task_goes_on(kept, many, on_mysql):
    """A COPY has the connection for itself; a cursor leaves room between two pieces."""
    writing, go_on = threading.Event(), threading.Event()

    class Stuck:
        def write(self, data):
            writing.set()
            go_on.wait(20)

    async with kept.transaction() as tx:
        await tx.fetch_value("SELECT 1")
        task = asyncio.ensure_future(tx.export_csv(Stuck(), many))
        await asyncio.to_thread(writing.wait, 20)
        if on_mysql:
            assert await tx.fetch_value("SELECT 1") == 1
        else:
            for _ in range(2):
                with pytest.raises(UsageError, match="another task"):
                    await tx.fetch_value("SELECT 1")
                with pytest.raises(UsageError, match="another task"):
                    await tx.fetch_arrow("SELECT 1")
        go_on.set()
        assert await task > 100_000
        assert await tx.fetch_value("SELECT 1") == 1


async def test_a_transaction_that_ends_before_its_export(kept, many, on_mysql, at_rest):
    if on_mysql:
        pytest.skip("a cursor leaves room for COMMIT; the stream then says that it is over")
    writing, go_on = threading.Event(), threading.Event()

    class Stuck:
        def write(self, data):
            writing.set()
            go_on.wait(20)

    with pytest.raises(UsageError, match="another task was still using it"):
        async with kept.transaction() as tx:
            await tx.sql.r.put(n=600, label="lost")
            task = asyncio.ensure_future(tx.export_csv(Stuck(), many))
            await asyncio.to_thread(writing.wait, 20)
    go_on.set()
    with pytest.raises(UsageError, match="this transaction is over"):
        await task
    await at_rest(kept)
    assert [row.n for row in await kept.sql.r.all() if row.n >= 600] == []
