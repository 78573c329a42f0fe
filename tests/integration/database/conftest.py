"""A database with one table, opened through the library, and a look at the server from outside."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from aurora_sql import Aurora

SQL = Path(__file__).parent / "sql"


@pytest.fixture
def settings(aurora_settings):
    return aurora_settings.replace({"min_pool_size": 1, "max_pool_size": 8})


@pytest.fixture
async def outside(settings):
    """A bare connection to the writer, past the library."""
    host, port = settings.writer_address()
    connection = await asyncpg.connect(
        host=host,
        port=port,
        user=settings.username,
        password=settings.password.get_secret_value(),
        database=settings.database,
    )
    yield connection
    await connection.close()


@pytest.fixture
async def schema(outside):
    await outside.execute(
        """
        CREATE TABLE accounts (
            id bigint PRIMARY KEY,
            owner text NOT NULL UNIQUE,
            balance numeric(12, 2) NOT NULL DEFAULT 0 CHECK (balance >= 0),
            version integer NOT NULL DEFAULT 1
        );
        INSERT INTO accounts (id, owner, balance)
        SELECT n, 'owner ' || n, 100 FROM generate_series(1, 10) AS n;
        """
    )


@pytest.fixture
def opened(settings, schema):
    """Open an Aurora; settings can be changed by keyword. Its gauges must be at rest at the end."""

    def make(observers=(), sql=SQL, **changes):
        return Aurora(settings.replace(changes), sql=sql, observers=observers)

    return make


@pytest.fixture
async def db(opened):
    async with opened() as db:
        yield db
        await at_rest_of(db)


async def at_rest_of(db, seconds=5.0):
    """Wait until no connection is leased, on its way or waited for; fail if that never comes."""
    limit = asyncio.get_running_loop().time() + seconds
    while True:
        stats = db.pool_stats().values()
        busy = [one for one in stats if one.in_use or one.waiting or one.returning]
        if not busy:
            return
        assert asyncio.get_running_loop().time() < limit, f"the pool is not at rest: {busy}"
        await asyncio.sleep(0.01)


@pytest.fixture
def at_rest():
    return at_rest_of


@pytest.fixture
def sessions(outside, settings):
    """Server sessions of this database that are not the fixture's own."""

    async def count(state: str = "%") -> int:
        return await outside.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            " AND state LIKE $1",
            state,
        )

    return count
