"""Opening, closing and reloading, cut short at any moment too."""

import asyncio
import contextlib
import logging

import pytest

from aurora_sql import (
    Aurora,
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    ConnectionLost,
    NoWriterAvailable,
    PoolClosed,
    UsageError,
)


async def no_session_is_left(sessions):
    for _ in range(100):
        if await sessions() == 0:
            return
        await asyncio.sleep(0.05)
    assert await sessions() == 0


async def test_what_keeps_an_aurora_from_opening_is_named(settings, tmp_path):
    with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1:9"):
        async with Aurora(
            settings.replace({"write_endpoint": "127.0.0.1:9", "read_endpoint": None})
        ):
            pass
    with pytest.raises(AuthenticationFailed) as raised:
        async with Aurora(settings.replace({"password": "wr0ng"})):
            pass
    assert "wr0ng" not in str(raised.value)
    with pytest.raises((ConnectionFailed, ConfigurationError), match="no_such_database"):
        async with Aurora(settings.replace({"database": "no_such_database"})):
            pass
    with pytest.raises(NoWriterAvailable, match="is a reader"):
        reader = settings.read_endpoint.split(",")[0]
        async with Aurora(settings.replace({"write_endpoint": reader, "read_endpoint": None})):
            pass
    with pytest.raises(ConfigurationError, match="nowhere"):
        async with Aurora(settings, sql=tmp_path / "nowhere"):
            pass
    with pytest.raises(ConfigurationError, match="reload"):
        Aurora(settings, reload=True)


async def test_an_aurora_that_is_not_open_says_so(settings):
    db = Aurora(settings)
    with pytest.raises(UsageError, match="not open"):
        db.sql
    with pytest.raises(UsageError, match="not open"):
        await db.fetch_value("SELECT 1")
    async with db:
        assert await db.fetch_value("SELECT 1") == 1
        with pytest.raises(AttributeError, match="without sql="):
            db.sql.users
    with pytest.raises(UsageError, match="closed"):
        await db.__aenter__()
    with pytest.raises(PoolClosed):
        await db.fetch_value("SELECT 1")


async def test_one_aurora_entered_twice_at_once(settings, sessions, schema):
    db = Aurora(settings)
    found = await asyncio.gather(db.__aenter__(), db.__aenter__(), return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["Aurora", "UsageError"]
    await db.__aexit__(None, None, None)
    await no_session_is_left(sessions)


async def test_opening_cancelled_at_any_moment_leaves_nothing(opened, sessions):
    before = asyncio.all_tasks()
    for turns in range(25):
        db = opened(min_pool_size=2)

        async def enter(db=db):
            async with db:
                await db.sql.accounts.get(id=1)

        task = asyncio.create_task(enter())
        await asyncio.sleep(turns * 0.004)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == before
    await no_session_is_left(sessions)


async def test_closing_leaves_no_session_and_no_task(opened, sessions):
    before = asyncio.all_tasks()
    async with opened() as db:
        await asyncio.gather(*(db.sql.accounts.get(id=1) for _ in range(20)))
    assert asyncio.all_tasks() == before
    await no_session_is_left(sessions)


async def test_closing_cancelled_leaves_nothing(opened, sessions):
    before = asyncio.all_tasks()

    async def work(db):
        async with db:
            slow = asyncio.create_task(db.sql.accounts.slow(seconds=2))
            await asyncio.sleep(0.1)
            tasks.append(slow)

    for _ in range(3):
        tasks = []
        task = asyncio.create_task(work(opened()))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises((ConnectionLost, PoolClosed)):
            await tasks[0]
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == before
    await no_session_is_left(sessions)


async def test_reload_picks_up_a_changed_file(opened, tmp_path, caplog):
    file = tmp_path / "x.sql"
    file.write_text("-- name: y :scalar\nSELECT 1;\n")
    async with Aurora((opened()._settings), sql=tmp_path, reload=True) as db:
        assert await db.sql.x.y() == 1
        file.write_text("-- name: y :scalar\nSELECT 22;\n\n-- name: z :scalar\nSELECT 3;\n")
        await asyncio.sleep(0.6)
        assert await db.sql.x.y() == 22
        assert await db.sql.x.z() == 3
        with caplog.at_level(logging.WARNING):
            file.write_text("-- name: y :scalar\nSELECT 'broken;\n")
            await asyncio.sleep(0.6)
            assert await db.sql.x.y() == 22
        assert "x.sql" in caplog.text
