"""A commit that readers show before the writer does.

PostgreSQL sends a commit to readers once it is on disk, and shows it on the writer when the session
that made it has got round to that. A standby that is waited for in vain keeps a commit in between.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

VALUE = "SELECT value FROM counters WHERE id = 1"


async def wait_for(writer, names):
    await writer.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    await writer.execute("SELECT pg_reload_conf()")
    while await writer.fetchval("SHOW synchronous_standby_names") != names:  # noqa: ASYNC110 - polls a server
        await asyncio.sleep(0.005)


async def first_held(writer, other):
    """Commit until one is held: sessions learn of the setting from the checkpointer, later."""
    waits = "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = $1"
    while True:
        commit = asyncio.create_task(
            other.execute("UPDATE counters SET value = value WHERE id = 8")
        )
        while not commit.done():
            if await writer.fetchval(waits, other.get_server_pid()):
                return commit
            await asyncio.sleep(0.005)
        await commit


@pytest.fixture
def half_committed(bare):
    """Hold back a commit on the writer, while readers show it already."""

    @asynccontextmanager
    async def hold(readers):
        writer, first, other = await bare(), await bare(), await bare()
        await wait_for(writer, "nobody")
        held = await first_held(writer, first)
        commit = asyncio.create_task(other.execute("UPDATE counters SET value = 7 WHERE id = 1"))
        try:
            for reader in readers:
                looking = await bare(reader)
                while await looking.fetchval(VALUE) != 7:  # noqa: ASYNC110 - polls a server
                    await asyncio.sleep(0.005)
            assert await writer.fetchval(VALUE) == 0

            async def finish():
                await wait_for(writer, "")
                await asyncio.gather(commit, held)

            yield finish
        finally:
            await wait_for(writer, "")
            await asyncio.gather(commit, held)

    return hold


async def test_the_writer_shows_a_session_what_a_reader_showed_it(
    db, readers, half_committed, monkeypatch
):
    monkeypatch.setattr("aurora_sql.session._consistency._OVERTAKE", 10.0)
    async with half_committed(readers) as finish, db.session() as s:
        assert await s.sql.counters.value_on_reader(id=1) == 7
        reading = asyncio.create_task(s.fetch_value(VALUE))
        await asyncio.wait((reading,), timeout=0.3)
        assert not reading.done()
        await finish()
        assert await reading == 7


async def test_a_token_of_a_reader_s_reads_is_enough(db, readers, half_committed, monkeypatch):
    monkeypatch.setattr("aurora_sql.session._consistency._OVERTAKE", 10.0)
    async with half_committed(readers) as finish:
        async with db.session() as s:
            assert await s.sql.counters.value_on_reader(id=1) == 7
        async with db.session(token=s.token) as s:
            reading = asyncio.create_task(s.sql.counters.value_on_writer(id=1))
            await asyncio.wait((reading,), timeout=0.3)
            assert not reading.done()
            await finish()
            assert await reading == 7


async def test_a_long_statement_is_waited_for_once_and_not_long(db, bare, readers):
    other = await bare()
    long = asyncio.create_task(
        other.execute(
            "DO $$ BEGIN UPDATE counters SET value = 1 WHERE id = 9; PERFORM pg_sleep(2); END $$"
        )
    )
    try:
        await asyncio.sleep(0.2)
        async with db.session() as s:
            for _ in range(20):
                await s.sql.counters.value_on_reader(id=2)
                assert await s.fetch_value("SELECT value FROM counters WHERE id = 2") == 0
        assert not long.done()  # 20 full waits would have outlasted it
        assert len(db._shared.consistency._long) == 1
    finally:
        await long


async def test_an_idle_transaction_is_not_waited_for(db, bare, monkeypatch):
    monkeypatch.setattr("aurora_sql.session._consistency._OVERTAKE", 60.0)
    other = await bare()
    async with other.transaction():
        await other.execute("UPDATE counters SET value = 1 WHERE id = 9")
        async with db.session() as s, asyncio.timeout(10):
            await s.sql.counters.value_on_reader(id=2)
            assert await s.fetch_value("SELECT value FROM counters WHERE id = 9") == 0


async def test_a_cancelled_wait_gives_its_connection_back(
    db, readers, half_committed, at_rest, monkeypatch
):
    monkeypatch.setattr("aurora_sql.session._consistency._OVERTAKE", 60.0)
    async with half_committed(readers), db.session() as s:
        assert await s.sql.counters.value_on_reader(id=1) == 7
        for pause in (0.0, 0.001, 0.01, 0.1):
            reading = asyncio.create_task(s.fetch_value(VALUE))
            await asyncio.sleep(pause)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        await at_rest(db)


async def test_outside_of_sessions_nothing_is_waited_for(db, readers, half_committed, monkeypatch):
    monkeypatch.setattr("aurora_sql.session._consistency._OVERTAKE", 60.0)
    async with half_committed(readers), asyncio.timeout(10):
        assert await db.sql.counters.value_on_reader(id=1) == 7
        assert await db.fetch_value(VALUE) == 0
