"""One server for all tests of migrations, and an empty database for each."""

import asyncio
import itertools
import os

import psycopg
import pytest

from aurora_sql.local import LocalCluster


@pytest.fixture(scope="package")
def cluster():
    with LocalCluster(readers=1, password="geheim-7f1") as cluster:
        yield cluster


@pytest.fixture(scope="package")
def numbers():
    return itertools.count(1)


@pytest.fixture
def sql(settings):
    """Run SQL beside the migrations; the rows, if there are any."""
    host, port = settings.writer_address()
    with psycopg.connect(
        host=host, port=port, dbname=settings.database, user=settings.username,
        password=settings.password.get_secret_value(), autocommit=True,
    ) as connection:  # fmt: skip

        def run(text, *args):
            cursor = connection.execute(text, args or None)
            return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture
def settings(cluster, numbers):
    """Settings of a new, empty database."""
    base = cluster.settings()
    host, port = base.writer_address()
    name = f"test_{next(numbers)}"
    with psycopg.connect(
        host=host, port=port, dbname=base.database, user=base.username,
        password=base.password.get_secret_value(), autocommit=True,
    ) as admin:  # fmt: skip
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    return base.replace({"database": name})


@pytest.fixture
def sleeping(sql):
    """Wait until somebody's pg_sleep runs."""
    text = (
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' "
        "AND pid <> pg_backend_pid()"
    )

    async def wait():
        while not sql(text):  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def folder(tmp_path):
    """A folder with two SQL migrations and one in Python."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    files = {
        "0001-users.sql": "-- Users\nCREATE TABLE users (id int PRIMARY KEY, name text);\n"
        "INSERT INTO users VALUES (1, '100%s :x $$'); -- ; here\n",
        "0001-users.rollback.sql": "DROP TABLE users;\n",
        "0002-index.sql": "-- depends: 0001-users\n-- transactional: false\n"
        "CREATE INDEX CONCURRENTLY users_name ON users (name);\n",
        "0002-index.rollback.sql": "-- transactional: false\nDROP INDEX CONCURRENTLY users_name;\n",
        "0003-more.py": "from yoyo import step\n\n__depends__ = {'0002-index'}\n\n\n"
        "def forward(connection):\n"
        "    connection.execute(\"INSERT INTO users VALUES (2, 'python')\")\n\n\n"
        "def back(connection):\n"
        "    connection.execute('DELETE FROM users WHERE id = 2')\n\n\n"
        "steps = [step(forward, back)]\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def environment(monkeypatch, settings, tmp_path):
    """The settings as variables, for the command line."""
    for name in list(os.environ):
        if name.upper().startswith("AURORA_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AURORA_WRITE_ENDPOINT", settings.write_endpoint)
    monkeypatch.setenv("AURORA_DATABASE", settings.database)
    monkeypatch.setenv("AURORA_USERNAME", settings.username)
    monkeypatch.setenv("AURORA_PASSWORD", settings.password.get_secret_value())
    return settings
