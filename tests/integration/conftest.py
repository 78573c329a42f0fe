"""What the integration tests share: settings, a look at the server from outside, pools at rest."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest


@pytest.fixture
def settings(aurora_settings):
    """Settings that reach a fresh database, with small pools."""
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
def at_rest():
    """Wait until no connection is leased, on its way or waited for; fail if that never comes."""

    async def wait(db, seconds=5.0):
        limit = asyncio.get_running_loop().time() + seconds
        while True:
            stats = db.pool_stats().values()
            busy = [one for one in stats if one.in_use or one.waiting or one.returning]
            if not busy:
                return
            assert asyncio.get_running_loop().time() < limit, f"the pool is not at rest: {busy}"
            await asyncio.sleep(0.01)

    return wait
