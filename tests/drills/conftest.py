"""Drills: the library under faults of the network and the server, judged from outside.

Each drill keeps a ledger of its own of what the library acknowledged, and compares it with what
the server has once all is calm. ``--drills long`` runs them at full length.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aurora_sql import Aurora
from aurora_sql.local import LocalCluster
from aurora_sql.migrations import apply, new

SQL = Path(__file__).parent / "sql"


@dataclass
class Ledger:
    """What callers were told, by the id of each unit of work; counted, so that twice shows."""

    acknowledged: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    in_doubt: set[int] = field(default_factory=set)

    def compare(self, written: list[int]) -> None:
        """Check what the server has against what was told."""
        there = set(written)
        assert len(written) == len(there), "an id is there twice"
        assert not self.acknowledged - there, "acknowledged writes are lost"
        assert not self.refused & there, "writes that were said not to be applied are there"
        assert not there - self.acknowledged - self.in_doubt, "writes nobody knows of"


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(readers=0) as running:
        yield running


@pytest.fixture
async def outside(cluster, past_the_library):
    """A bare connection past the proxy and the library."""
    connection = await past_the_library(cluster)
    await connection.execute(
        "DROP TABLE IF EXISTS ledger, counters;"
        "CREATE TABLE ledger (id int NOT NULL, caller int NOT NULL);"
        "CREATE TABLE counters (id int PRIMARY KEY, value int NOT NULL);"
        "INSERT INTO counters SELECT n, 0 FROM generate_series(1, 8) AS n"
    )
    return connection


@pytest.fixture
async def markers(cluster, outside, tmp_path):
    """The table of commit markers, by its migration."""
    new(tmp_path, "commit markers", commit_markers=True)
    await outside.execute("DROP TABLE IF EXISTS aurora_sql_commits")
    await outside.execute(
        "DROP TABLE IF EXISTS _yoyo_migration, _yoyo_log, _yoyo_version, yoyo_lock"
    )
    await apply(cluster.settings(), tmp_path)


@pytest.fixture
def sql_folder():
    return SQL


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
async def proxy(cluster):
    async with cluster.fault_proxy("writer") as proxy:
        yield proxy


@pytest.fixture
def opened(cluster, proxy):
    """Open an Aurora whose way to the writer is the proxy; its gauges must come to rest."""

    def make(observers=(), **changes):
        settings = cluster.settings().replace(
            {"write_endpoint": f"{proxy.host}:{proxy.port}", "read_endpoint": None}
            | {"min_pool_size": 1, "max_pool_size": 8, "connection_timeout": 5.0}
            | changes
        )
        return Aurora(settings, sql=SQL, observers=observers)

    return make


@pytest.fixture
def calm(outside):
    """Wait until no session of the library is busy any more."""

    async def wait():
        async with asyncio.timeout(20):
            while await outside.fetchval(  # noqa: ASYNC110 - polls a server
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                " AND pid <> pg_backend_pid() AND datname = current_database() AND state <> 'idle'"
            ):
                await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def length(request):
    """How long a drill is: the short form for each run, or the long one."""
    long = request.config.getoption("--drills") == "long"

    def choose(short, full):
        return full if long else short

    return choose
