"""What a local cluster promises whatever its engine: PostgreSQL, MySQL and MariaDB."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from aurora_sql import errors
from aurora_sql.local import LocalCluster
from aurora_sql.types import Engine, Role
from tests.conftest import ONE_PER_ENGINE, ONLY_MYSQL

STATUS = {
    Engine.POSTGRESQL: "SELECT server_id, session_id, replica_lag_in_msec, cpu,"
    " last_update_timestamp FROM pg_catalog.aurora_replica_status()",
    Engine.MYSQL: "SELECT server_id, session_id, replica_lag_in_milliseconds, cpu,"
    " last_update_timestamp FROM aurora_sql_local.replica_host_status",
}
IDENTIFIER = {
    Engine.POSTGRESQL: "SELECT pg_catalog.aurora_db_instance_identifier()",
    Engine.MYSQL: "SELECT aurora_sql_local.aurora_server_id()",
}
READS_ONLY = {
    Engine.POSTGRESQL: "SELECT pg_catalog.pg_is_in_recovery()",
    Engine.MYSQL: "SELECT @@global.read_only OR @@global.innodb_read_only",
}


def address(instance):
    return instance.host, instance.port


def place_of(cluster):
    return str(cluster.log_path("writer").parent.parent)


class Ledger:
    """Writers that note each number once its commit was acknowledged."""

    def __init__(self, talk):
        self.talk = talk
        self.acknowledged = []
        self._next = 0
        self._tasks = []

    async def begin(self, at, connections=6):
        await self.talk.execute(at, "DROP TABLE IF EXISTS ledger")
        await self.talk.execute(at, "CREATE TABLE ledger (n int PRIMARY KEY)")
        self._tasks = [asyncio.create_task(self._write(at)) for _ in range(connections)]

    async def _write(self, at):
        with contextlib.suppress(self.talk.lost):
            async with self.talk.at(at) as execute:
                while True:
                    self._next += 1
                    n = self._next
                    await execute(f"INSERT INTO ledger VALUES ({n})")
                    self.acknowledged.append(n)

    async def reach(self, count):
        async with asyncio.timeout(60):
            while len(self.acknowledged) < count:  # noqa: ASYNC110 - a counter
                await asyncio.sleep(0.005)

    async def end(self):
        """Wait until all have lost their connection."""
        async with asyncio.timeout(30):
            await asyncio.gather(*self._tasks)

    async def missing(self, at):
        there = [row[0] for row in await self.talk.rows(at, "SELECT n FROM ledger")]
        return sorted(set(self.acknowledged) - set(there))


@pytest.fixture(scope="module")
def any_cluster(server):
    with LocalCluster(server.engine, readers=2, bin_dir=server.bin_dir) as running:
        assert running.server_product.lower() == server.name
        yield running


@pytest.fixture
def talk(any_cluster, talk_to):
    return talk_to(any_cluster)


@pytest.mark.parametrize("name", ["postgresql", "mysql", "mariadb"])
def test_there_is_a_server_to_try(name, lacking):
    if lacking[name] is None:
        return
    if os.environ.get("AURORA_SQL_TEST_EVERY_SERVER"):  # a run that leaves one out is no proof
        pytest.fail(f"there is no {name} to try: {lacking[name]}")
    pytest.skip(f"NOTHING WAS TRIED ON {name.upper()}: {lacking[name]}")


async def test_what_the_writer_writes_the_readers_have_and_they_refuse_to_write(any_cluster, talk):
    writer, *readers = any_cluster.instances
    assert [one.role for one in any_cluster.instances] == [Role.WRITER, Role.READER, Role.READER]
    await talk.execute(address(writer), "CREATE TABLE t (id int PRIMARY KEY)")
    await talk.execute(address(writer), "INSERT INTO t VALUES (1), (2), (3)")
    await any_cluster.wait_replayed()
    for one in any_cluster.instances:
        assert await talk.value(address(one), "SELECT count(*) FROM t") == 3
        assert bool(await talk.value(address(one), READS_ONLY[talk.engine])) is (one != writer)
    for reader in readers:
        assert await talk.refused(address(reader), "INSERT INTO t VALUES (4)")


async def test_wait_replayed_sees_every_commit(any_cluster, talk):
    writer, *readers = any_cluster.instances
    await talk.execute(address(writer), "CREATE TABLE steps (n int PRIMARY KEY)")
    for n in range(20):
        await talk.execute(address(writer), f"INSERT INTO steps VALUES ({n})")
        await any_cluster.wait_replayed()
        for reader in readers:
            assert await talk.value(address(reader), "SELECT max(n) FROM steps") == n


async def test_every_instance_says_who_it_is_and_answers_for_all(any_cluster, talk):
    for one in any_cluster.instances:
        assert await talk.value(address(one), IDENTIFIER[talk.engine]) == one.id
        rows = await talk.rows(address(one), STATUS[talk.engine])
        assert {row[0] for row in rows} == {i.id for i in any_cluster.instances}
        masters = [row[0] for row in rows if row[1] == "MASTER_SESSION_ID"]
        assert masters == [any_cluster.instances[0].id]
        assert len({row[1] for row in rows}) == 3
        for row in rows:
            assert row[2] >= 0
            assert row[3] >= 0


async def test_the_library_finds_the_topology_at_every_instance(any_cluster, talk, talk_to):
    if talk.engine is Engine.POSTGRESQL:
        pytest.skip("the providers' own tests run on PostgreSQL's local cluster")
    from aurora_sql.cluster import _providers_mysql

    for _ in range(2):
        for one in any_cluster.instances:
            async with talk.connection(address(one)) as connection:
                provider = await _providers_mysql.detect(connection)
                assert provider == _providers_mysql.AuroraMySQL("aurora_sql_local")
                report = await provider.ask(connection)
            assert report.instance_id == one.id
            assert report.in_recovery is (one.role is Role.READER)
            found = {row.instance_id: row.is_writer for row in report.rows}
            assert found == {each.id: each.role is Role.WRITER for each in any_cluster.instances}
            assert all(row.age is not None and -1 < row.age < 60 for row in report.rows)
        await any_cluster.failover()


async def test_the_status_is_kept_current_on_readers(any_cluster, talk):
    reader = any_cluster.instances[1]

    async def newest():
        rows = await talk.rows(address(reader), STATUS[talk.engine])
        return max(row[4] for row in rows if row[4] is not None)

    first = await newest()
    async with asyncio.timeout(10):
        while await newest() <= first:  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.1)


async def test_databases_come_from_a_template_and_go_with_their_sessions(any_cluster, talk):
    writer, reader, _ = any_cluster.instances
    await any_cluster.create_database("model")
    await talk.execute(address(writer), "CREATE TABLE things (n int PRIMARY KEY)", database="model")
    await talk.execute(address(writer), "INSERT INTO things VALUES (7)", database="model")
    name = 'odd "name"' if talk.engine is Engine.POSTGRESQL else "odd `name`"
    await any_cluster.create_database(name, template="model")
    assert await talk.value(address(reader), "SELECT n FROM things", database=name) == 7
    with pytest.raises(errors.DatabaseError, match="exists"):
        await any_cluster.create_database(name)
    with pytest.raises(errors.DatabaseError, match="nothing_here"):
        await any_cluster.create_database("other", template="nothing_here")
    async with talk.at(address(writer), database=name):
        await any_cluster.drop_database(name)
    await any_cluster.drop_database(name)
    with pytest.raises(talk.lost):
        await talk.value(address(writer), "SELECT n FROM things", database=name)


async def test_only_the_password_lets_in_and_it_is_in_no_process_list(any_cluster, talk):
    for one in any_cluster.instances:
        with pytest.raises(talk.lost):
            await talk.value(address(one), "SELECT 1", password="wrong")
    assert any_cluster.password not in process_list()
    assert unprotected(Path(place_of(any_cluster)), any_cluster.password) == []


def process_list():
    done = subprocess.run(
        ["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True
    )
    return done.stdout


def unprotected(place, password):
    """Folders and files that others can read and that give the password away."""
    readable = [path for path in place.rglob("*") if path.is_file() and path.stat().st_mode & 0o044]
    # The status is for all, and has no secret in it.
    found = [path for path in readable if password.encode() in path.read_bytes()]
    return found + ([place] if place.stat().st_mode & 0o077 else [])


async def test_settings_reach_the_instances(any_cluster):
    environment = any_cluster.environment()
    writer, *readers = any_cluster.instances
    assert environment["AURORA_ENGINE"] == any_cluster.engine.value
    assert environment["AURORA_WRITE_ENDPOINT"] == f"{writer.host}:{writer.port}"
    assert environment["AURORA_READ_ENDPOINT"] == ",".join(f"{r.host}:{r.port}" for r in readers)
    late = any_cluster.environment(topology="aurora")
    assert late["AURORA_TOPOLOGY"] == "aurora"
    assert f"{writer.id}={writer.host}:{writer.port}" in late["AURORA_INSTANCE_ENDPOINTS"]


@ONLY_MYSQL  # PostgreSQL keeps them in the folder of its data
async def test_no_instance_shares_its_temporary_tables(any_cluster, talk):
    """A server that starts deletes those that it finds, also another's that still runs."""
    found = {await talk.value(address(one), "SELECT @@tmpdir") for one in any_cluster.instances}
    assert len(found) == len(any_cluster.instances)
    assert not found & {"/tmp", tempfile.gettempdir()}


async def test_the_endpoints_lead_to_the_writer_and_to_the_readers_in_turn(any_cluster, talk):
    sql = IDENTIFIER[talk.engine]
    assert await talk.value(any_cluster.writer_endpoint, sql) == any_cluster.instances[0].id
    found = {await talk.value(any_cluster.reader_endpoint, sql) for _ in range(4)}
    assert found == {one.id for one in any_cluster.instances[1:]}


async def test_a_paused_reader_is_waited_for_and_named(any_cluster, talk):
    reader = any_cluster.instances[1]
    await any_cluster.pause(reader.id)
    await talk.execute(any_cluster.writer_endpoint, "CREATE TABLE missed (n int PRIMARY KEY)")
    with pytest.raises(errors.OperationalError, match=f"{reader.id} did not reach"):
        await any_cluster.wait_replayed(timeout=1.0)
    await any_cluster.resume(reader.id)
    await any_cluster.wait_replayed()
    assert await talk.value(address(reader), "SELECT count(*) FROM missed") == 0


@pytest.mark.parametrize("how", ["killed", "paused", "running"])
async def test_no_acknowledged_commit_is_lost(any_cluster, talk, how):
    ledger = Ledger(talk)
    before = any_cluster.instances
    await ledger.begin(address(before[0]))
    await ledger.reach(1000)
    if how == "killed":
        os.kill(before[0].pid, signal.SIGKILL)
    elif how == "paused":
        await any_cluster.pause("writer")
    done = await any_cluster.failover()
    await ledger.end()
    assert done.old_writer == before[0].id
    after = any_cluster.instances
    assert [one.role for one in after] == [Role.WRITER, Role.READER, Role.READER]
    assert after[0].id == done.new_writer != before[0].id
    assert await ledger.missing(address(after[0])) == []
    # What clients are told right after it.
    for one in after:
        rows = await talk.rows(address(one), STATUS[talk.engine])
        assert [r[0] for r in rows if r[1] == "MASTER_SESSION_ID"] == [done.new_writer]
        assert {row[0] for row in rows} == {i.id for i in after}
    # All are there as readers, with the same rows, the old writer too.
    await talk.execute(any_cluster.writer_endpoint, "INSERT INTO ledger VALUES (-1)")
    await any_cluster.wait_replayed()
    for one in after:
        assert await ledger.missing(address(one)) == []
        assert await talk.value(address(one), "SELECT count(*) FROM ledger WHERE n = -1") == 1
    old = next(one for one in after if one.id == done.old_writer)
    assert await talk.refused(address(old), "INSERT INTO ledger VALUES (0)")


async def test_a_reader_that_got_nothing_is_fed_from_the_storage(any_cluster, talk):
    ledger = Ledger(talk)
    writer, only, other = any_cluster.instances
    await talk.execute(address(writer), "DROP TABLE IF EXISTS ledger")
    await any_cluster.wait_replayed()
    await any_cluster.kill(other.id)
    await any_cluster.pause(only.id)
    await ledger.begin(address(writer))
    await ledger.reach(500)
    await any_cluster.kill("writer")
    await ledger.end()
    with pytest.raises(errors.ConfigurationError, match="no reader can take over"):
        await any_cluster.failover()
    with pytest.raises(errors.ConfigurationError, match="is paused and cannot"):
        await any_cluster.failover(only.id)
    await any_cluster.resume(only.id)
    done = await any_cluster.failover()
    assert done.new_writer == only.id
    assert await ledger.missing(any_cluster.writer_endpoint) == []
    await any_cluster.restart(other.id)
    await any_cluster.wait_replayed()
    assert await ledger.missing(address(other)) == []


async def test_a_reader_that_slept_through_a_failover_follows_the_new_writer(any_cluster, talk):
    writer, sleeper, other = any_cluster.instances
    await any_cluster.pause(sleeper.id)
    done = await any_cluster.failover(other.id)
    assert done.new_writer == other.id
    await any_cluster.resume(sleeper.id)
    # Not by way of the old writer.
    await any_cluster.kill(writer.id)
    await talk.execute(any_cluster.writer_endpoint, "CREATE TABLE woken (n int PRIMARY KEY)")
    await any_cluster.wait_replayed()
    assert await talk.value(address(sleeper), "SELECT count(*) FROM woken") == 0
    await any_cluster.restart(writer.id)
    await any_cluster.wait_replayed()


async def test_a_lagging_reader_shows_what_was_and_takes_over_with_all_of_it(any_cluster, talk):
    writer, late, prompt = any_cluster.instances
    await talk.execute(address(writer), "CREATE TABLE lagging (n int PRIMARY KEY)")
    await any_cluster.wait_replayed()
    await any_cluster.set_lag(late.id, seconds=1.5)
    began = time.monotonic()
    await talk.execute(address(writer), "INSERT INTO lagging VALUES (1)")
    count = "SELECT count(*) FROM lagging"
    async with asyncio.timeout(30):
        while await talk.value(address(prompt), count) == 0:  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.01)
        while await talk.value(address(late), count) == 0:  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.01)
    assert time.monotonic() - began >= 1.4
    await any_cluster.set_lag(late.id, seconds=3600)
    await talk.execute(address(writer), "INSERT INTO lagging VALUES (2)")
    with pytest.raises(errors.OperationalError, match=f"{late.id} did not reach"):
        await any_cluster.wait_replayed(timeout=0.5)
    assert await talk.value(address(late), count) == 1
    # And the status says so.
    async with asyncio.timeout(20):
        while True:
            rows = {row[0]: row[2] for row in await talk.rows(address(writer), STATUS[talk.engine])}
            if rows[late.id] > 500:
                break
            await asyncio.sleep(0.1)
    await any_cluster.kill("writer")
    done = await any_cluster.failover(late.id)
    assert done.new_writer == late.id
    assert await talk.value(address(late), count) == 2
    await any_cluster.wait_replayed()


async def test_readers_come_and_go_under_load(any_cluster, talk):
    ledger = Ledger(talk)
    await ledger.begin(address(any_cluster.instances[0]), connections=2)
    await ledger.reach(50)
    added = await any_cluster.add_reader()
    assert any_cluster.instances[-1].id == added
    gone = any_cluster.instances[1]
    folder = any_cluster.log_path(gone.id).parent
    await any_cluster.remove_reader(gone.id)
    assert not folder.exists()
    with pytest.raises(talk.lost):
        await talk.value(address(gone), "SELECT 1")
    assert await any_cluster.add_reader() == gone.id
    await ledger.reach(len(ledger.acknowledged) + 50)
    done = await any_cluster.failover(added)
    await ledger.end()
    assert done.new_writer == added
    assert await ledger.missing(any_cluster.writer_endpoint) == []
    await any_cluster.wait_replayed()
    rows = await talk.rows(address(any_cluster.instances[-1]), STATUS[talk.engine])
    assert {row[0] for row in rows} == {one.id for one in any_cluster.instances}
    await any_cluster.remove_reader(any_cluster.instances[-1].id)


async def test_a_writer_restarts_in_its_part(any_cluster, talk):
    writer = any_cluster.instances[0]
    await talk.execute(address(writer), "CREATE TABLE restarted (n int PRIMARY KEY)")
    await talk.execute(address(writer), "INSERT INTO restarted VALUES (1)")
    for prepare in (lambda: any_cluster.kill("writer"), lambda: asyncio.sleep(0)):
        await prepare()
        await any_cluster.restart("writer")
        assert any_cluster.instances[0].id == writer.id
        assert await talk.value(any_cluster.writer_endpoint, "SELECT n FROM restarted") == 1
        await any_cluster.wait_replayed()


async def test_two_clusters_know_nothing_of_each_other(any_cluster, talk, talk_to, server):
    async with LocalCluster(
        server.engine, readers=0, bin_dir=server.bin_dir, database="other"
    ) as second:
        other = talk_to(second)
        assert second.instances[0].pid != any_cluster.instances[0].pid
        await other.execute(second.writer_endpoint, "CREATE TABLE only_here (n int PRIMARY KEY)")
        with pytest.raises(talk.lost):
            await talk.value(any_cluster.writer_endpoint, "SELECT n FROM only_here")
        # Without readers the reader endpoint leads to the writer, as Aurora's does.
        assert not await other.value(second.reader_endpoint, READS_ONLY[other.engine])
        await second.wait_replayed()


# With clusters of their own: however one ends, nothing is left.


@ONE_PER_ENGINE
async def test_a_normal_end_and_a_second_start(server, temporary, nothing_left):
    cluster = LocalCluster(server.engine, readers=1, bin_dir=server.bin_dir)
    seen = []
    for _ in range(2):
        async with cluster:
            seen.append(place_of(cluster))
            with pytest.raises(errors.UsageError, match="runs already"):
                cluster.start()
            await cluster.pause("writer")  # and stays so: the end copes with it
        assert nothing_left(seen) == []
        assert list(temporary.iterdir()) == []


PARENT = """
import json, sys, time
from aurora_sql.local import LocalCluster
with LocalCluster(sys.argv[1], readers=1, bin_dir=sys.argv[2] or None) as cluster:
    print(json.dumps(str(cluster.log_path("writer").parent.parent)), flush=True)
    time.sleep(60)
"""


@ONE_PER_ENGINE
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_death_of_the_parent(number, server, environment, nothing_left):
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, server.engine, str(server.bin_dir or "")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    place = process.stdout.readline().strip().strip('"')
    assert place, process.communicate()[1]
    assert len(nothing_left([place])) >= 3
    process.send_signal(number)
    process.communicate()
    give_up = time.monotonic() + 20
    while left := nothing_left([place]):
        assert time.monotonic() < give_up, left
        time.sleep(0.05)


@ONE_PER_ENGINE
@pytest.mark.parametrize("step", ["initialising", "copying", "starting instance-2"])
async def test_cancelled_at_a_step_of_the_start(step, server, temporary, nothing_left):
    loop = asyncio.get_running_loop()
    reached = asyncio.Event()

    def progress(text):
        if text.startswith(step):
            loop.call_soon_threadsafe(reached.set)

    async def run():
        async with LocalCluster(
            server.engine, readers=1, bin_dir=server.bin_dir, progress=progress
        ):
            pytest.fail("started all the same")

    task = asyncio.create_task(run())
    await reached.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert nothing_left([str(temporary) + "/"]) == [str(temporary) + "/"]
    assert list(temporary.iterdir()) == []


@ONE_PER_ENGINE
@pytest.mark.parametrize("step", ["stopping", "reading the storage", "promoting"])
async def test_cancelled_at_a_step_of_a_failover(step, server, temporary, nothing_left, talk_to):
    if server.engine == "postgresql":
        pytest.skip("PostgreSQL has more such steps, in test_failover.py")
    loop = asyncio.get_running_loop()
    reached = asyncio.Event()

    def progress(text):
        if text.startswith(step):
            loop.call_soon_threadsafe(reached.set)

    for stop in (False, True):
        reached.clear()
        async with LocalCluster(
            server.engine, readers=1, bin_dir=server.bin_dir, progress=progress
        ) as cluster:
            place = place_of(cluster)
            task = asyncio.create_task(cluster.failover())
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if not stop:
                # It goes on by itself, and what comes next waits for it.
                await cluster.set_lag("instance-1", seconds=0)
                assert cluster.instances[0].id == "instance-2"
                await cluster.wait_replayed()
        assert nothing_left([place]) == []


async def test_data_that_is_kept(server, temporary, talk_to):
    data = temporary / "kept"
    for run in range(2):
        async with LocalCluster(
            server.engine, readers=1, bin_dir=server.bin_dir, data_dir=data, database="shop"
        ) as cluster:
            talk = talk_to(cluster)
            if run == 0:
                at = cluster.writer_endpoint
                await talk.execute(at, "CREATE TABLE kept (n int PRIMARY KEY)")
                await talk.execute(at, "INSERT INTO kept VALUES (1)")
                with pytest.raises(errors.ConfigurationError, match="data_dir"):
                    await cluster.failover()
            else:
                assert await talk.value(cluster.reader_endpoint, "SELECT n FROM kept") == 1
    assert [path.name for path in temporary.iterdir()] == ["kept"]


@ONE_PER_ENGINE
async def test_endpoints_lead_to_the_old_instance_for_a_while(server, talk_to):
    async with LocalCluster(
        server.engine, readers=1, bin_dir=server.bin_dir, endpoint_lag=4.0
    ) as cluster:
        talk = talk_to(cluster)
        sql = IDENTIFIER[talk.engine]
        done = await cluster.failover()
        assert await talk.value(cluster.writer_endpoint, sql) == "instance-1"
        async with asyncio.timeout(30):
            while await talk.value(cluster.writer_endpoint, sql) != "instance-2":  # noqa: ASYNC110 - polls
                await asyncio.sleep(0.05)
        assert time.monotonic() - done.accepted_at >= 3.9


def test_a_setting_the_server_refuses_shows_its_log(server, temporary):
    setting = {"work_mem": "lots"} if server.engine == "postgresql" else {"no_such_setting": "1"}
    with pytest.raises(errors.OperationalError, match=next(iter(setting))):
        LocalCluster(
            server.engine, readers=0, bin_dir=server.bin_dir, server_settings=setting
        ).start()
    assert list(temporary.iterdir()) == []


# The command line and the plugin


RUN = "from aurora_sql.cli._local import app; app()"


@ONE_PER_ENGINE
def test_the_commands(server, environment, tmp_path, nothing_left):
    state = tmp_path / "state"

    def command(*words):
        done = subprocess.run(
            [sys.executable, "-c", RUN, *words, "--state-dir", str(state)],
            capture_output=True,
            text=True,
            env={**environment, "COLUMNS": "200"},
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = [] if server.bin_dir is None else ["--bin-dir", str(server.bin_dir)]
    shown = command("up", "--engine", server.engine, "--readers", "1", *where)
    try:
        assert f"AURORA_ENGINE={server.engine}" in shown
        assert "instance-2 is the writer" in command("failover")
        assert "instance-1 is paused" in command("pause", "instance-1")
        assert "instance-1 is resumed" in command("resume", "instance-1")
        assert "instance-1 lags 1 s" in command("lag", "instance-1", "1")
        shown = command("status")
        assert shown.count("available") == 2
        assert " ms" in shown
        product = {"postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}
        assert f"{product[server.name]} " in shown
    finally:
        assert "stopped" in command("down")
    assert nothing_left([str(state)]) == []


SUITE = """
def test_it(aurora_cluster, aurora_database):
    environment = aurora_cluster.environment(aurora_database)
    assert aurora_cluster.engine == environment["AURORA_ENGINE"] == EXPECTED
    assert environment["AURORA_DATABASE"] == aurora_database
"""


@ONE_PER_ENGINE
@pytest.mark.parametrize("how", ["option", "ini"])
def test_the_plugin_starts_the_engine_that_is_asked_for(how, server, environment, tmp_path):
    (tmp_path / "test_it.py").write_text(SUITE.replace("EXPECTED", repr(server.engine)))
    ini = f"aurora_engine = {server.engine}\n" if how == "ini" else ""
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini}")
    option = [f"--aurora-engine={server.engine}"] if how == "option" else []
    where = [] if server.bin_dir is None else [f"--aurora-bin-dir={server.bin_dir}"]
    plugin = ["-p", "aurora_sql.testing.plugin"]
    if any(e.value == "aurora_sql.testing.plugin" for e in entry_points(group="pytest11")):
        plugin = []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--aurora-readers=0", *plugin, *option, *where],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
