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

import pytest

from aurora_sql import Aurora
from aurora_sql.local import LocalCluster
from aurora_sql.migrations import apply, new
from tests.conftest import THERE
from tests.drills.ledger import Ledger
from tests.drills.outside import BUSY, Outside

SQL = Path(__file__).parent / "sql"
SEED = 20260701
SHORT = ("postgresql", "mysql")
"""What the short form runs on, unless a drill is marked as telling, or as alike on all servers."""


def pytest_generate_tests(metafunc):
    """Run each drill on the servers that there are, and that it is for."""
    if "server" not in metafunc.fixturenames:
        return
    marks = metafunc.definition
    without = {name for mark in marks.iter_markers("not_on") for name in mark.args}
    option = metafunc.config.getoption
    every = (
        option("--drills") == "long"
        or option("--drills-everywhere")
        or marks.get_closest_marker("telling") is not None
    )
    short = SHORT[:1] if marks.get_closest_marker("alike") is not None else SHORT
    chosen = [
        pytest.param(kind, id=name)
        for name, kind in THERE.items()
        if name not in without and (every or name in short)
    ]
    metafunc.parametrize("server", chosen, indirect=True, scope="session")


@pytest.fixture(scope="session")
def server(request):
    return request.param


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
def cluster(server, clusters):
    # Few, so that they are quickly used up.
    return clusters(server, readers=0, server_settings={"max_connections": "50"})


@pytest.fixture(scope="session")
def with_readers(server, clusters):
    """One with two readers, for drills that leave it as it was."""
    return clusters(server, readers=2)


@pytest.fixture
def tables(server, tmp_path, past_the_library):
    """Make the tables of the drills in a cluster."""

    async def make(cluster):
        outside = await past_the_library(cluster)
        if not await outside.has_table("aurora_sql_commits"):
            new(tmp_path, "commit markers", commit_markers=True, engine=server.engine)
            await apply(cluster.settings(), tmp_path)
        await outside.make_tables()
        await cluster.wait_replayed()

    return make


@pytest.fixture
def prepared(server, tables):
    """A cluster of its own for a drill after which it is another one."""

    @asynccontextmanager
    async def make(readers=2, **options):
        async with LocalCluster(
            server.engine, readers=readers, bin_dir=server.bin_dir, **options
        ) as cluster:
            await tables(cluster)
            yield cluster

    return make


@pytest.fixture
def connected(sql_folder, ledger):
    """Open an Aurora with small pools, and gather its events."""

    def make(settings, **changes):
        events = []
        settings = settings.replace({"min_pool_size": 2, "max_pool_size": 8} | changes)
        return Aurora(settings, sql=sql_folder, observers=[events.append, ledger.observe]), events

    return make


@pytest.fixture
def on_mysql(server):
    return server.engine == "mysql"


@pytest.fixture(autouse=True)
async def baseline(request):
    """Tasks and sockets of this process are in the end what they were, and nobody complained."""
    for one in {"cluster", "with_readers"} & set(request.fixturenames):
        request.getfixturevalue(one)  # it has sockets of its own
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
async def past_the_library():
    """Open sessions past the proxies and the library."""
    opened = []

    async def connect(cluster, instance=None):
        opened.append(await Outside.open(cluster, instance))
        return opened[-1]

    yield connect
    for one in opened:
        await one.close()


@pytest.fixture
async def outside(cluster, past_the_library):
    """One of them, and the tables of the drills."""
    found = await past_the_library(cluster)
    await found.make_tables()
    return found


@pytest.fixture
def look(cluster):
    """Ask the server in a session of its own, which a crash of it may end."""

    @asynccontextmanager
    async def session():
        found = await Outside.open(cluster)
        try:
            yield found
        finally:
            await found.close()

    return session


@pytest.fixture
async def markers(server, cluster, outside, tmp_path):
    """The table of commit markers, by its migration."""
    if await outside.has_table("aurora_sql_commits"):
        await outside.execute("TRUNCATE TABLE aurora_sql_commits")
        return
    await outside.execute(
        "DROP TABLE IF EXISTS _yoyo_migration, _yoyo_log, _yoyo_version, yoyo_lock"
    )
    new(tmp_path, "commit markers", commit_markers=True, engine=server.engine)
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
    async with asyncio.timeout(15), look() as outside:
        while await outside.count_sessions():  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.02)


@pytest.fixture
def calm(look):
    """Wait until no session of the library is busy any more."""

    async def wait():
        async with asyncio.timeout(20), look() as outside:
            while await outside.count_sessions(BUSY[outside.engine]):  # noqa: ASYNC110 - polls a server
                await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def check(look, calm, ledger):
    """Hold the ledger against the server's tables, once all is calm."""

    async def compare():
        await calm()
        async with look() as outside:
            ledger.compare(await outside.written())
            # Each transaction counted up once: none was applied by half.
            ((counted, entries),) = await outside.fetch(
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
