"""Statements marked ``coalesce: on``."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from aurora_sql import Aurora


@pytest.fixture
def opened(settings, tmp_path, at_rest):
    """Open a database with statements of a text; at the end nothing may be leased or logged."""

    @asynccontextmanager
    async def make(text, observers=(), **changes):
        sql = tmp_path / "sql"
        sql.mkdir(exist_ok=True)
        (sql / "t.sql").write_text(text)
        before = asyncio.all_tasks()
        async with Aurora(settings.replace(changes), sql=sql, observers=observers) as db:
            yield db
            await at_rest(db)
        assert not [one for one in asyncio.all_tasks() - before if "_carry" in repr(one)]

    return make


@pytest.fixture(autouse=True)
async def quiet():
    """Nothing is left to the event loop's handler of errors."""
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
    yield
    assert not told
