"""A database with tables of many kinds, opened through the library."""

from __future__ import annotations

import pytest

from aurora_sql import Aurora

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE things (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    amount numeric(8, 2) CHECK (amount >= 0),
    at timestamptz,
    tags text[],
    data jsonb,
    mood mood
);
CREATE TABLE one (n integer PRIMARY KEY);
"""


@pytest.fixture
async def outside(outside):
    """A bare connection to the writer, past the library; it has made the schema."""
    await outside.execute(SCHEMA)
    return outside


@pytest.fixture
def opened(settings, outside):
    """Open an Aurora; settings can be changed by keyword."""

    def make(observers=(), **changes):
        return Aurora(settings.replace(changes), observers=observers)

    return make


@pytest.fixture
async def db(opened, outside, at_rest):
    """The database; at the end nothing is leased and no staging table is left."""
    async with opened() as db:
        yield db
        await at_rest(db)
        left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'aurora_sql_stage%'"
        assert await outside.fetchval(left) == 0


@pytest.fixture
def count(outside):
    """Rows of a table, as another session sees them."""

    async def ask(table="things"):
        return await outside.fetchval(f"SELECT count(*) FROM {table}")

    return ask


async def several(rows):
    for row in rows:
        yield row


@pytest.fixture(params=["list", "iterator", "async"])
def shape(request):
    """Rows in the three forms that take ways of their own."""
    return {"list": list, "iterator": iter, "async": several}[request.param]


@pytest.fixture
def as_async():
    return several


@pytest.fixture
def thing():
    """Make a row of ``things`` as a dict."""

    def make(number, **changes):
        return {"id": number, "name": f"thing {number}", "amount": None} | changes

    return make
