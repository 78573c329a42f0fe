"""Drills: the library under faults of the network and the server, judged from outside.

Each drill keeps a ledger of its own of what the library acknowledged, and compares it with what
the server has once all is calm. ``--drills long`` runs them at full length.
"""

from __future__ import annotations

import asyncio
import gc
import random
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from aurora_sql import Aurora
from aurora_sql.local import LocalCluster
from aurora_sql.migrations import apply, new
from tests.drills.ledger import Ledger

SQL = Path(__file__).parent / "sql"
SEED = 20260701
TABLES = (
    "DROP TABLE IF EXISTS ledger, counters;"
    "CREATE TABLE ledger (id int NOT NULL, caller int NOT NULL);"
    "CREATE TABLE counters (id int PRIMARY KEY, value int NOT NULL);"
    "INSERT INTO counters SELECT n, 0 FROM generate_series(1, 8) AS n"
)
SESSIONS = "FROM pg_stat_activity WHERE application_name = 'aurora_sql'"


def tasks():
    """The tasks of the running loop, but for the one that asks."""
    return asyncio.all_tasks() - {asyncio.current_task()}


def sockets():
    """How many TCP sockets this process has; 0 where the system does not tell (it is not Linux).

    Those of other kinds are the local cluster's, which comes and goes as it looks after servers.
    """
    tables = [Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6")]
    lines = [line for one in tables if one.exists() for line in one.read_text().splitlines()[1:]]
    inodes = {f"socket:[{line.split()[9]}]" for line in lines}
    return sum(name in inodes for name in descriptors())


def descriptors():
    """What the descriptors of this process stand for."""
    for one in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):  # closed meanwhile, as that of this listing
            yield str(one.readlink())


async def eventually(condition, what, seconds=10.0):
    """Wait until something holds that can be asked at once."""
    limit = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < limit, what()
        await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def cluster():
    # Few, so that they are quickly used up.
    with LocalCluster(readers=0, server_settings={"max_connections": "50"}) as running:
        yield running


@pytest.fixture(autouse=True)
async def baseline(request):
    """Tasks and sockets of this process are in the end what they were, and nobody complained."""
    if "cluster" in request.fixturenames:
        request.getfixturevalue("cluster")  # it has sockets of its own
    loop, complaints = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    gc.collect()
    before, count = tasks(), sockets()
    yield
    await eventually(lambda: tasks() <= before, lambda: f"tasks are left: {tasks() - before}")
    await eventually(
        lambda: sockets() <= count, lambda: f"{sockets()} sockets, {count} at the beginning"
    )
    gc.collect()
    assert complaints == []


@pytest.fixture
async def look(cluster):
    """Ask the writer past proxy and library, on a connection of its own: others may be gone."""

    async def ask(sql, *args):
        writer = cluster.instances[0]
        connection = await asyncpg.connect(
            host=writer.host,
            port=writer.port,
            user=cluster.username,
            password=cluster.password,
            database=cluster.database,
            ssl=False,
        )
        try:
            return [tuple(row) for row in await connection.fetch(sql, *args)]
        finally:
            await connection.close()

    return ask


@pytest.fixture
async def outside(cluster, past_the_library):
    """A bare connection past the proxy and the library."""
    connection = await past_the_library(cluster)
    await connection.execute(TABLES)
    return connection


@pytest.fixture
async def markers(cluster, outside, tmp_path):
    """The table of commit markers, by its migration."""
    if await outside.fetchval("SELECT to_regclass('aurora_sql_commits')"):
        await outside.execute("TRUNCATE aurora_sql_commits")
        return
    await outside.execute(
        "DROP TABLE IF EXISTS _yoyo_migration, _yoyo_log, _yoyo_version, yoyo_lock"
    )
    new(tmp_path, "commit markers", commit_markers=True)
    await apply(cluster.settings(), tmp_path)


@pytest.fixture
def sql_folder():
    return SQL


@pytest.fixture
def ledger(request, tmp_path):
    ledger = Ledger(tmp_path / "ledger", request.node.name)
    yield ledger
    ledger.close()


@pytest.fixture
def rng(request):
    """Random numbers that ``--drills-seed`` brings again."""
    seed = request.config.getoption("--drills-seed")
    return random.Random(SEED if seed is None else seed)


@pytest.fixture
async def proxy(cluster):
    async with cluster.fault_proxy("writer") as proxy:
        yield proxy


@pytest.fixture
async def opened(cluster, proxy, ledger, at_rest, look):
    """Open an Aurora whose way to the writer is the proxy.

    Its gauges must come to rest, and in the end the server has no session of it.
    """
    made = []

    @asynccontextmanager
    async def make(observers=(), **changes):
        settings = cluster.settings().replace(
            {"write_endpoint": f"{proxy.host}:{proxy.port}", "read_endpoint": None}
            | {"min_pool_size": 1, "max_pool_size": 8, "connection_timeout": 5.0}
            | changes
        )
        made.append(settings)
        async with Aurora(settings, sql=SQL, observers=[ledger.observe, *observers]) as db:
            yield db
            await at_rest(db, 20)

    yield make
    if made:
        await no_session(look)


async def no_session(look):
    async with asyncio.timeout(15):
        while (await look(f"SELECT count(*) {SESSIONS}"))[0][0]:  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.02)


@pytest.fixture
def calm(look):
    """Wait until no session of the library is busy any more."""

    async def wait():
        async with asyncio.timeout(20):
            while (await look(f"SELECT count(*) {SESSIONS} AND state <> 'idle'"))[0][0]:  # noqa: ASYNC110 - polls a server
                await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def check(look, calm, ledger):
    """Hold the ledger against the server's tables, once all is calm."""

    async def compare():
        await calm()
        ledger.compare(number for (number,) in await look("SELECT id FROM ledger"))
        # Each transaction counted up once: none was applied by half.
        ((counted, entries),) = await look(
            "SELECT (SELECT sum(value) FROM counters),"
            " (SELECT count(*) FROM ledger WHERE caller >= 0)"
        )
        assert counted == entries

    return compare


@pytest.fixture
def length(request):
    """How long a drill is: the short form for each run, or the long one."""
    long = request.config.getoption("--drills") == "long"

    def choose(short, full):
        return full if long else short

    return choose
