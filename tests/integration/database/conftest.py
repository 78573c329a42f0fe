"""A database with one table, opened through the library, and a look at the server from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from aurora_sql import Aurora

SQL = Path(__file__).parent / "sql"


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
async def db(opened, at_rest):
    async with opened() as db:
        yield db
        await at_rest(db)


@pytest.fixture
def sessions(outside, settings):
    """Server sessions of this database: of the pools, not the fixture's own or the monitor's."""

    async def count(state: str = "%") -> int:
        return await outside.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            " AND application_name NOT LIKE '% monitor' AND state LIKE $1",
            state,
        )

    return count


@pytest.fixture
def balance(outside):
    """The balance of an account, as another session sees it."""

    async def ask(account=1):
        return await outside.fetchval("SELECT balance FROM accounts WHERE id = $1", account)

    return ask
