"""What the integration tests share: settings, a look at the server from outside, pools at rest."""

from __future__ import annotations

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
        ssl=False,
    )
    yield connection
    await connection.close()
