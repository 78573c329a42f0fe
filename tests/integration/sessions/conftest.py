"""A cluster of their own, whose readers lag, stop and die; and who answers a session's reads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from aurora_sql import Aurora
from aurora_sql.local import LocalCluster
from aurora_sql.types import Role

SQL = Path(__file__).parent / "sql"
SECRET = "a secret of the sessions' tests"


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(readers=2) as running:
        yield running


@pytest.fixture
async def bare(cluster):
    """Open bare connections past the library: to an instance, as a user."""
    connections = []

    async def connect(instance=None, user=None):
        at = instance or cluster.instances[0]
        connections.append(
            await asyncpg.connect(
                host=at.host,
                port=at.port,
                user=user or cluster.username,
                password=cluster.password,
                database=cluster.database,
            )
        )
        return connections[-1]

    yield connect
    for connection in connections:
        await connection.close()


@pytest.fixture
async def table(cluster, bare):
    """One counter, on all instances."""
    writer = await bare()
    await writer.execute("DROP TABLE IF EXISTS counters")
    await writer.execute("CREATE TABLE counters (id int PRIMARY KEY, value int NOT NULL)")
    await writer.execute("INSERT INTO counters SELECT n, 0 FROM generate_series(1, 100) AS n")
    await cluster.wait_replayed()
    return writer


@pytest.fixture
def opened(cluster, table):
    """Open an Aurora on the cluster; settings can be changed by keyword."""

    def make(observers=(), **changes):
        settings = cluster.settings().replace(
            {"min_pool_size": 1, "max_pool_size": 8, "token_secret": SECRET} | changes
        )
        return Aurora(settings, sql=SQL, observers=observers)

    return make


@pytest.fixture
async def db(opened, at_rest):
    async with opened() as db:
        yield db
        await at_rest(db)


@pytest.fixture
def writer(cluster):
    """Identifier of the writer."""
    return next(one.id for one in cluster.instances if one.role is Role.WRITER)


@pytest.fixture
def readers(cluster):
    return tuple(one for one in cluster.instances if one.role is Role.READER)


@pytest.fixture
async def stop_replay(bare):
    """Stop the replay of readers; it goes on at the end of the test."""
    stopped = []

    async def stop(*readers):
        for reader in readers:
            connection = await bare(reader)
            await connection.execute("SELECT pg_wal_replay_pause()")
            stopped.append(connection)
            state = "SELECT pg_get_wal_replay_pause_state()"
            while await connection.fetchval(state) != "paused":  # noqa: ASYNC110 - polls a server
                await asyncio.sleep(0.005)

    async def resume():
        while stopped:
            await stopped.pop().execute("SELECT pg_wal_replay_resume()")

    stop.resume = resume
    yield stop
    await resume()


@pytest.fixture
def questions():
    """How often the writer was asked for its position."""

    def count(db):
        return db._shared.consistency._sent

    return count
