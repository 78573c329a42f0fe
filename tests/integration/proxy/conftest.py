"""A server, a proxy in front of it, and a look at the server past the proxy."""

import asyncio

import pytest

from aurora_sql import Aurora
from aurora_sql.drivers import ConnectOptions, connect
from aurora_sql.local import LocalCluster
from aurora_sql.rows import Row
from aurora_sql.types import Engine


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(readers=0) as running:
        yield running


@pytest.fixture
async def proxy(cluster):
    async with cluster.fault_proxy("writer") as proxy:
        yield proxy


@pytest.fixture
async def outside(cluster, past_the_library):
    """A bare connection past the proxy and the library, and an empty table."""
    connection = await past_the_library(cluster)
    await connection.execute(
        "DROP TABLE IF EXISTS marks; CREATE TABLE marks (n int PRIMARY KEY, t text)"
    )
    return connection


@pytest.fixture
def marks(outside):
    """What the table holds, once no session is busy any more."""

    async def read():
        async with asyncio.timeout(10):
            while await outside.fetchval(  # noqa: ASYNC110 - polls a server
                "SELECT count(*) FROM pg_stat_activity WHERE state LIKE '%active%'"
                " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ):
                await asyncio.sleep(0.01)
        return [row["n"] for row in await outside.fetch("SELECT n FROM marks ORDER BY n")]

    return read


@pytest.fixture
async def opened(cluster, proxy):
    """Open driver connections through the proxy."""
    connections = []

    async def password():
        return cluster.password

    async def make(through=None, connect_timeout=10.0):
        at = through or proxy
        connection = await connect(
            Engine.POSTGRESQL,
            ConnectOptions(
                host=at.host,
                port=at.port,
                database=cluster.database,
                user=cluster.username,
                password=password,
                connect_timeout=connect_timeout,
            ),
            row_base=Row,
        )
        connections.append(connection)
        return connection

    yield make
    for connection in connections:
        connection.abort()
    # Aborted transports go at the loop's next turns.
    await asyncio.sleep(0.01)


@pytest.fixture
def aurora(cluster, proxy, outside):
    """An Aurora through the proxy; settings can be changed by keyword."""

    def make(**changes):
        given = {
            "write_endpoint": f"{proxy.host}:{proxy.port}",
            "min_pool_size": 1,
            "max_pool_size": 3,
            "connection_timeout": 2.0,
        }
        return Aurora(cluster.settings().replace(given | changes))

    return make


@pytest.fixture
def eventually():
    """Wait until something is so."""

    async def wait(condition, seconds=5.0):
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - polls another thread
                await asyncio.sleep(0.005)

    return wait
