"""Clusters of every PostgreSQL at hand, and a way to talk to one instance."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from aurora_sql import errors
from aurora_sql.drivers import ConnectOptions, connect
from aurora_sql.local import LocalCluster

POSTGRESQL_15 = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(None, id="default"),
        pytest.param(
            POSTGRESQL_15,
            id="15",
            marks=pytest.mark.skipif(
                not (POSTGRESQL_15 / "initdb").exists(), reason=f"no PostgreSQL in {POSTGRESQL_15}"
            ),
        ),
    ],
)
def cluster(request):
    with LocalCluster(readers=2, bin_dir=request.param) as running:
        yield running


class Talk:
    """Speaks to an instance of either engine, as the user of its clients."""

    lost = errors.AuroraError

    def __init__(self, cluster):
        self.cluster = cluster
        self.engine = cluster.engine

    def connection(self, address):
        return Client(self.cluster).at(address)

    @contextlib.asynccontextmanager
    async def at(self, address, *, database=None, password=None):
        client = Client(self.cluster)
        if password is not None:
            client._password = lambda: asyncio.sleep(0, password)
        async with client.at(address, database=database) as connection:

            async def execute(sql):
                if not sql.startswith("SELECT"):
                    await connection.execute(sql)
                    return []
                return await (await connection.prepare(sql)).fetch(())

            yield execute

    async def rows(self, address, sql, **options):
        async with self.at(address, **options) as execute:
            return await execute(sql)

    async def execute(self, address, sql, **options):
        await self.rows(address, sql, **options)

    async def value(self, address, sql, **options):
        return (await self.rows(address, sql, **options))[0][0]

    async def refused(self, address, sql):
        """Whether a reader refuses a statement because it is one."""
        try:
            await self.execute(address, sql)
        except errors.ReadOnlyInstance:
            return True
        return False


@pytest.fixture
def talk_to():
    return Talk


class Client:
    """Opens sessions with the library's own driver."""

    async def _password(self):
        return self.cluster.password

    def __init__(self, cluster):
        self.cluster = cluster

    @contextlib.asynccontextmanager
    async def at(self, address, *, database=None, user=None):
        connection = await connect(
            self.cluster.engine,
            ConnectOptions(
                host=address[0],
                port=address[1],
                database=database or self.cluster.database,
                user=user or self.cluster.username,
                password=self._password,
                connect_timeout=10,
            ),
        )
        try:
            yield connection
        finally:
            await connection.close()

    async def rows(self, address, sql, **options):
        async with self.at(address, **options) as connection:
            return await (await connection.prepare(sql)).fetch(())

    async def value(self, address, sql, **options):
        return (await self.rows(address, sql, **options))[0][0]


@pytest.fixture
def client_of():
    return Client


@pytest.fixture
def client(cluster):
    return Client(cluster)


@pytest.fixture
def temporary(monkeypatch, tmp_path_factory, short_folder):
    """A temporary folder of this test alone, so that what is in it is ours."""
    tmp_path_factory.getbasetemp()  # before, or pytest makes its own in there
    with tempfile.TemporaryDirectory(prefix="t-", dir=short_folder) as name:
        Path(name).chmod(0o777)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.fixture
def environment(temporary):
    """The variables with which another Python finds what this one finds.

    Its clusters have a temporary folder of their own: no cluster beside cleans up after them.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AURORA_", "PYTEST_"))}
    return {**kept, "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def left_behind(places):
    """Processes and folders of these run folders that still exist."""
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True
    )
    lines = [line for line in listing.stdout.splitlines() if any(place in line for place in places)]
    return lines + [place for place in places if Path(place).exists()]


@pytest.fixture
def nothing_left():
    return left_behind
