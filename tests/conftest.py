"""What holds for every test."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncpg
import hypothesis
import pytest

from aurora_sql.local import LocalCluster
from tests.servers import LACKING, SERVERS

_MEMORY = Path("/dev/shm")
_ENOUGH = 8 << 30
"""Bytes: two runs side by side, each with three servers that keep up to a gigabyte of WAL."""


def pytest_configure() -> None:
    """Set up the process that runs tests, and what its children inherit."""
    _judge_no_example_by_its_time()
    _let_children_be_interrupted()
    _keep_files_in_memory()


def _judge_no_example_by_its_time() -> None:
    """On a busy machine any example can take long; each test as a whole has a time limit."""
    hypothesis.settings.register_profile(
        "any-machine",
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("any-machine")


def _let_children_be_interrupted() -> None:
    """Also where the run itself was started in the background.

    A shell starts background jobs with SIGINT and SIGQUIT ignored, and what is ignored is inherited:
    the tests that interrupt or end a process of ours would wait for it in vain.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def _keep_files_in_memory() -> None:
    """Put temporary folders into memory, unless TMPDIR says where or there is too little of it.

    A fresh database is 300 files on each of three instances, made and removed again. ext4 without
    a journal passes over every inode that was freed within seconds, so that making files takes
    the longer the more were removed: four times the CPU of the whole cluster's work.
    """
    if "TMPDIR" in os.environ or not _MEMORY.is_dir():
        return
    runs_programs = not os.statvfs(_MEMORY).f_flag & getattr(os, "ST_NOEXEC", 0)
    if runs_programs and shutil.disk_usage(_MEMORY).free >= _ENOUGH:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None


def pytest_addoption(parser) -> None:
    """Let the drills be run at full length."""
    parser.addoption(
        "--drills",
        choices=("short", "long"),
        default="short",
        help="how long each drill is; the long form takes minutes",
    )
    parser.addoption(
        "--drills-everywhere", action="store_true", help="the short drills on each kind of server"
    )
    parser.addoption("--drills-seed", type=int, help="seed of the drills' random numbers")
    parser.addoption("--soak", type=float, help="minutes of random faults, else some seconds")


THERE = {kind.name: kind for kind in SERVERS.values() if LACKING[kind.name] is None}
ONLY_MYSQL = pytest.mark.parametrize(
    "server",
    [pytest.param(kind, id=name) for name, kind in THERE.items() if kind.engine == "mysql"],
    indirect=True,
    scope="session",
)
"""Marks a test that says nothing of PostgreSQL: on MySQL and MariaDB, as far as they are there."""

ONE_PER_ENGINE = pytest.mark.parametrize(
    "server",
    # Of those of one engine the last: MariaDB starts four times as fast as MySQL.
    [
        pytest.param(one, id=one.name)
        for one in {one.engine: one for one in THERE.values()}.values()
    ],
    indirect=True,
    scope="session",
)
"""Marks a test with servers of its own that tries code of the engine, whoever made the server."""


@pytest.fixture(
    scope="session", params=[pytest.param(kind, id=name) for name, kind in THERE.items()]
)
def server(request):
    """Each kind of server that there is; one test names the others in the summary."""
    return request.param


@pytest.fixture(scope="session")
def clusters():
    """Start a cluster of a kind where none of that kind runs yet; all of them end with the run.

    For tests that leave a cluster as they found it, apart from what is in its database: starting
    one takes more of a machine than most tests do.
    """
    started: dict[Any, LocalCluster] = {}
    with ExitStack() as stack:

        def get(server, **options):
            key = server.name, repr(options)
            if key not in started:
                made = LocalCluster(server.engine, bin_dir=server.bin_dir, **options)
                started[key] = stack.enter_context(made)
            return started[key]

        yield get


@pytest.fixture
def lacking():
    return LACKING


@pytest.fixture(scope="session")
def short_folder():
    """Where temporary folders go whose paths end in a server's socket: those have 107 bytes."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= len("/dev/shm") else "/tmp"


@pytest.fixture
async def past_the_library():
    """Open bare connections to the first instance of a local cluster."""
    connections = []

    async def connect(cluster):
        writer = cluster.instances[0]
        connection = await asyncpg.connect(
            host=writer.host,
            port=writer.port,
            user=cluster.username,
            password=cluster.password,
            database=cluster.database,
            ssl=False,
        )
        connections.append(connection)
        return connection

    yield connect
    for connection in connections:
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
