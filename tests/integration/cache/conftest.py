"""A table of settings, statements that cache it, a clock to set, and a gate that holds queries up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

from aurora_sql import Aurora
from aurora_sql.execution import _cache

SQL = Path(__file__).parent / "sql"
GATE = 4711
"""The advisory lock that ``gated`` statements wait for."""


@dataclass
class Plain:
    """A mutable model for rows."""

    id: int
    tags: list[str]


class Document(BaseModel):
    """A mutable model with a JSON column."""

    id: int
    body: dict[str, object]
    tags: list[str]


class Clock:
    """The cache's clock: the real one, and what a test adds to it."""

    def __init__(self, monotonic):
        self._monotonic = monotonic
        self._ahead = 0.0

    def __call__(self):
        return self._monotonic() + self._ahead

    def advance(self, seconds):
        self._ahead += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(_cache.monotonic)
    monkeypatch.setattr(_cache, "monotonic", clock)
    return clock


@pytest.fixture
async def schema(outside):
    await outside.execute(
        """
        CREATE SEQUENCE ticks;
        CREATE TABLE items (
            id int PRIMARY KEY,
            name text NOT NULL UNIQUE,
            body jsonb NOT NULL DEFAULT '{"colours": ["red"]}',
            tags text[] NOT NULL DEFAULT '{a,b}'
        );
        INSERT INTO items (id, name) SELECT n, 'item ' || n FROM generate_series(1, 5) AS n;
        """
    )


@pytest.fixture
def executions(outside):
    """How often statements with ``nextval('ticks')`` ran, by the server's own account."""

    async def ask():
        row = await outside.fetchrow("SELECT last_value, is_called FROM ticks")
        return row["last_value"] if row["is_called"] else 0

    return ask


@pytest.fixture
def opened(settings, schema):
    """Open an Aurora; settings can be changed by keyword."""

    def make(observers=(), sql=SQL, **changes):
        return Aurora(settings.replace(changes), sql=sql, observers=observers)

    return make


@pytest.fixture
async def db(opened, at_rest):
    async with opened() as db:
        yield db
        await at_rest(db)


@pytest.fixture
async def gate(outside):
    """Holds every ``gated`` statement up at the server until it is opened."""

    async def waiting(count):
        asked = (
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        async with asyncio.timeout(30):
            while await outside.fetchval(asked) != count:  # noqa: ASYNC110 - the server sends no event
                await asyncio.sleep(0.005)

    async def close():
        await outside.execute(f"SELECT pg_advisory_lock({GATE})")

    async def open_():
        await outside.execute(f"SELECT pg_advisory_unlock({GATE})")

    await close()
    return SimpleNamespace(close=close, open=open_, waiting=waiting)


@pytest.fixture
def waiting_calls():
    """Wait until so many calls have asked the cache and found nothing."""

    async def wait(db, count):
        async with asyncio.timeout(30):
            while True:
                stats = db.cache_stats()
                if stats.misses + stats.joined >= count:
                    return
                await asyncio.sleep(0)

    return wait
