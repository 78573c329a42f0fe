"""The pytest plugin, in a pytest run of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

SUITE = """
import asyncio, sys
import pytest

seen = []

@pytest.fixture(scope="session")
def aurora_template(aurora_cluster):
    asyncio.run(aurora_cluster.create_database("mine"))
    return "mine"

@pytest.mark.parametrize("n", [1, 2])
def test_sync(aurora_settings, aurora_database, aurora_cluster, n):
    assert aurora_settings.database == aurora_database
    assert aurora_database not in seen
    seen.append(aurora_database)
    assert len(aurora_cluster.instances) == READERS + 1

async def test_async(aurora_settings, aurora_cluster):
    from aurora_sql.drivers import ConnectOptions, connect
    from aurora_sql.types import Engine
    async def password():
        return aurora_settings.password.get_secret_value()
    host, port = aurora_settings.write_endpoint.split(":")
    for database, found in ((aurora_settings.database, True), (seen[0], False)):
        options = ConnectOptions(host=host, port=int(port), database=database,
                                 user=aurora_settings.username, password=password)
        try:
            connection = await connect(Engine.POSTGRESQL, options)
        except Exception:
            assert not found
        else:
            assert found
            await connection.close()
    await aurora_cluster.wait_replayed()
"""
FAULTY = """
from aurora_sql import Aurora, CommitInDoubt
from aurora_sql.local.faults import Reply, Reset
import pytest

async def test_faulty(aurora_faulty_settings, aurora_fault_proxy, aurora_database):
    assert aurora_faulty_settings.database == aurora_database
    async with Aurora(aurora_faulty_settings) as db:
        await db.execute("CREATE TABLE t (a int)")
        aurora_fault_proxy.inject(Reset(), at=Reply("COMMIT"))
        with pytest.raises(CommitInDoubt):
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO t VALUES (1)")
        assert await db.fetch_value("SELECT count(*) FROM t") == 1
        assert aurora_fault_proxy.stats.injected == 1
"""


@pytest.fixture
def run_pytest(tmp_path, environment):
    installed = any(
        entry.value == "aurora_sql.testing.plugin" for entry in entry_points(group="pytest11")
    )
    plugin = [] if installed else ["-p", "aurora_sql.testing.plugin"]

    def run(source, *options, ini=""):
        (tmp_path / "test_it.py").write_text(source)
        (tmp_path / "pytest.ini").write_text(f"[pytest]\nasyncio_mode = auto\n{ini}")
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *plugin, *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )

    return run


def test_each_test_gets_a_fresh_database(run_pytest):
    done = run_pytest(SUITE.replace("READERS", "1"), "--aurora-readers=1")
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_a_proxy_stands_before_the_writer(run_pytest):
    done = run_pytest(FAULTY, "--aurora-readers=0")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


COUNTED = """
from aurora_sql import Aurora

async def test_right(aurora_settings, aurora_assert_statements):
    async with Aurora(aurora_settings) as db:
        with aurora_assert_statements(2) as counted, aurora_assert_statements(at_most=3):
            for _ in range(2):
                await db.fetch_value("SELECT 1")
        assert counted.total == 2

async def test_too_many(aurora_settings, aurora_assert_statements):
    async with Aurora(aurora_settings) as db:
        with aurora_assert_statements(at_most=1):
            for _ in range(2):
                await db.fetch_value("SELECT 1")

async def test_too_few(aurora_settings, aurora_assert_statements):
    async with Aurora(aurora_settings) as db:
        with aurora_assert_statements(1):
            pass

async def test_the_error_of_the_block_is_told(aurora_assert_statements):
    with aurora_assert_statements(1):
        raise LookupError("mine")
"""


def test_statements_are_counted(run_pytest):
    done = run_pytest(COUNTED, "--aurora-readers=0")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert "3 failed" in done.stdout
    assert "at most 1 statements, not 2: 2 x <ad hoc>" in done.stdout
    assert "1 statements were to be sent, not 0: none" in done.stdout
    assert "LookupError: mine" in done.stdout


def test_the_ini_file_and_errors_in_it(run_pytest):
    done = run_pytest(SUITE.replace("READERS", "0"), "-k", "sync and 1", ini="aurora_readers = 0\n")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    done = run_pytest(SUITE, "-k", "sync and 1", ini="aurora_readers = many\n")
    assert "aurora_readers = 'many'" in done.stdout
    done = run_pytest(SUITE, "-k", "sync and 1", "--aurora-bin-dir=/nowhere")
    assert "/nowhere has no program" in done.stdout


def test_loading_it_costs_nothing(run_pytest):
    done = run_pytest(
        "import sys\n"
        "def test_it():\n"
        "    for name in ('pydantic', 'asyncpg', 'aurora_sql.local', 'aurora_sql.settings'):\n"
        "        assert name not in sys.modules\n",
        "-p",
        "no:asyncio",
    )
    assert "1 passed" in done.stdout, done.stdout
