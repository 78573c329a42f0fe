"""What holds for every test."""

from __future__ import annotations

import asyncio
import signal

import asyncpg
import pytest


def pytest_configure() -> None:
    """Let children be interrupted, also where the run itself was started in the background.

    A shell starts background jobs with SIGINT ignored, and what is ignored is inherited: the tests
    that interrupt a process of ours would wait for it in vain.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser) -> None:
    """Let the drills be run at full length."""
    parser.addoption(
        "--drills",
        choices=("short", "long"),
        default="short",
        help="how long each drill is; the long form takes minutes",
    )
    parser.addoption("--drills-seed", type=int, help="seed of the drills' random numbers")
    parser.addoption("--soak", type=float, help="minutes of random faults, else some seconds")


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
