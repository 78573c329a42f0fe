"""A small cluster for the suite to run on, and a look at what a run leaves behind."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import asyncpg
import pytest

from aurora_sql.local import LocalCluster
from benchmarks._target import Target

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def cluster_settings():
    with LocalCluster(engine="postgresql", readers=1) as cluster:
        yield cluster.settings()


@pytest.fixture
def target(cluster_settings):
    return Target(cluster_settings)


@pytest.fixture
def environment(cluster_settings):
    """The environment of a process that is to find the cluster by AURORA_* variables."""
    settings = cluster_settings
    values = {name: value for name, value in os.environ.items() if not name.startswith("AURORA_")}
    password = settings.password.get_secret_value()
    given = {
        "AURORA_WRITE_ENDPOINT": settings.write_endpoint,
        "AURORA_READ_ENDPOINT": settings.read_endpoint,
        "AURORA_PORT": str(settings.port),
        "AURORA_DATABASE": settings.database,
        "AURORA_USERNAME": settings.username,
        "AURORA_PASSWORD": password,
    }
    return values | given | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def databases(target):
    """Ask for the names of all databases."""

    async def names():
        async with target.connect() as connection:
            rows = await connection.fetch("SELECT datname FROM pg_database ORDER BY 1")
        return [row["datname"] for row in rows]

    return names


@pytest.fixture
async def suite_process(environment, tmp_path):
    """Start `python -m benchmarks`; whatever still runs at the end is killed."""
    started = []

    async def start(*arguments):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-u",
            "-m",
            "benchmarks",
            *arguments,
            env=environment,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def limited_user(target):
    """A user who may not create databases, with a database of its own that is empty."""
    name = "bench_limited"
    async with target.connect() as admin:
        await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'limited'")
        await admin.execute(f"CREATE DATABASE {name} OWNER {name} TEMPLATE template0")
    settings = target.settings.replace({"username": name, "password": "limited", "database": name})
    yield Target(settings)
    async with target.connect() as admin:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.execute(f"DROP ROLE {name}")


@pytest.fixture
def tables():
    """Ask for the names of all tables at a target."""

    async def names(target):
        connection = await asyncpg.connect(**target.options("writer")[0])
        try:
            rows = await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            )
        finally:
            await connection.close()
        return [row["tablename"] for row in rows]

    return names
