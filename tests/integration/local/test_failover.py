"""Failover, and readers that come, go and lag, on each PostgreSQL at hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

import pytest

from aurora_sql import errors
from aurora_sql.local import LocalCluster
from aurora_sql.types import Role

IDENTIFIER = "SELECT pg_catalog.aurora_db_instance_identifier()"


def address(instance):
    return instance.host, instance.port


def place_of(cluster):
    return str(cluster.log_path("writer").parent.parent)


class Ledger:
    """Writers that note each number once its commit was acknowledged."""

    def __init__(self, client):
        self.client = client
        self.acknowledged = []
        self._next = 0
        self._tasks = []

    async def begin(self, at, connections=6):
        if not self._next:
            async with self.client.at(at) as connection:
                await connection.execute("CREATE TABLE ledger (n int)")
        self._tasks = [asyncio.create_task(self._write(at)) for _ in range(connections)]

    async def _write(self, at):
        with contextlib.suppress(errors.AuroraError):
            async with self.client.at(at) as connection:
                while True:
                    self._next += 1
                    n = self._next
                    await connection.execute(f"INSERT INTO ledger VALUES ({n})")
                    self.acknowledged.append(n)

    async def reach(self, count):
        async with asyncio.timeout(60):
            while len(self.acknowledged) < count:  # noqa: ASYNC110 - a counter
                await asyncio.sleep(0.005)

    async def end(self):
        """Wait until all have lost their connection."""
        async with asyncio.timeout(30):
            await asyncio.gather(*self._tasks)

    async def cancel(self):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def missing(self, at):
        rows = await self.client.rows(at, "SELECT n FROM ledger")
        there = [row[0] for row in rows]
        assert len(there) == len(set(there))
        return sorted(set(self.acknowledged) - set(there))


async def stop_writer(cluster, how):
    writer = cluster.instances[0]
    if how == "killed":
        await cluster.kill("writer")
    elif how == "main process killed":
        os.kill(writer.pid, signal.SIGKILL)  # its children go on for a moment
    elif how == "paused":
        await cluster.pause("writer")
    else:
        assert how == "running"


@pytest.mark.parametrize("how", ["killed", "main process killed", "paused", "running"])
async def test_no_acknowledged_commit_is_lost(cluster, client, how):
    ledger = Ledger(client)
    before = cluster.instances
    async with client.at(address(before[0])) as connection:
        await connection.execute("DROP TABLE IF EXISTS ledger")
    await ledger.begin(address(before[0]))
    await ledger.reach(2000)
    await stop_writer(cluster, how)
    done = await cluster.failover()
    await ledger.end()
    assert done.old_writer == before[0].id
    assert done.new_writer != before[0].id
    assert 0 < done.accepted_at <= time.monotonic()
    after = cluster.instances
    assert [one.role for one in after] == [Role.WRITER, Role.READER, Role.READER]
    assert after[0].id == done.new_writer
    assert {one.id for one in after} == {one.id for one in before}
    assert await ledger.missing(address(after[0])) == []
    # All are there as readers, with the same rows, the old writer too.
    async with client.at(cluster.writer_endpoint) as connection:
        await connection.execute("INSERT INTO ledger VALUES (-1)")
    await cluster.wait_replayed()
    for one in after:
        assert await ledger.missing(address(one)) == []
        assert await client.value(address(one), "SELECT count(*) FROM ledger WHERE n = -1") == 1
    with pytest.raises(errors.ReadOnlyInstance):
        await client.value(address(after[-1]), "INSERT INTO ledger VALUES (0) RETURNING n")


async def test_a_reader_that_got_nothing_is_fed_from_the_storage(cluster, client):
    ledger = Ledger(client)
    writer, only, other = cluster.instances
    async with client.at(address(writer)) as connection:
        await connection.execute("DROP TABLE IF EXISTS ledger")
    await cluster.kill(other.id)
    await cluster.pause(only.id)
    await ledger.begin(address(writer))
    await ledger.reach(1000)
    await cluster.kill("writer")
    await ledger.end()
    with pytest.raises(errors.ConfigurationError, match="no reader can take over"):
        await cluster.failover()
    with pytest.raises(errors.ConfigurationError, match="is paused and cannot"):
        await cluster.failover(only.id)
    await cluster.resume(only.id)
    done = await cluster.failover()
    assert done.new_writer == only.id
    assert await ledger.missing(cluster.writer_endpoint) == []
    await cluster.restart(other.id)
    await cluster.wait_replayed()
    assert await ledger.missing(address(other)) == []


async def test_status_and_settings_follow_the_roles(cluster, client):
    async def sessions(at):
        rows = await client.rows(at, "SELECT * FROM pg_catalog.aurora_replica_status()")
        return {row["server_id"]: row["session_id"] for row in rows}

    old = cluster.instances[0]
    before = await sessions(address(old))
    done = await cluster.failover(cluster.instances[-1].id)
    for one in cluster.instances:
        after = await sessions(address(one))
        assert [i for i, s in after.items() if s == "MASTER_SESSION_ID"] == [done.new_writer]
        assert next(iter(after)) == done.new_writer
        assert len(set(after.values())) == 3
        kept = set(after) - {done.new_writer, done.old_writer}
        assert all(after[i] == before[i] for i in kept)
    writer = cluster.instances[0]
    assert cluster.settings().write_endpoint == f"{writer.host}:{writer.port}"
    assert await client.value(cluster.writer_endpoint, IDENTIFIER) == done.new_writer
    found = {await client.value(cluster.reader_endpoint, IDENTIFIER) for _ in range(2)}
    assert found == {one.id for one in cluster.instances[1:]}


async def test_a_lagging_reader_shows_what_was_and_takes_over_with_all_of_it(cluster, client):
    writer, late, prompt = cluster.instances
    async with client.at(address(writer)) as connection:
        await connection.execute("CREATE TABLE lagging (n int)")
        await cluster.wait_replayed()
        await cluster.set_lag(late.id, seconds=1.5)
        began = time.monotonic()
        await connection.execute("INSERT INTO lagging VALUES (1)")
    count = "SELECT count(*) FROM lagging"
    async with asyncio.timeout(30):
        while await client.value(address(prompt), count) == 0:  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.01)
        while await client.value(address(late), count) == 0:  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.01)
    assert time.monotonic() - began >= 1.4
    await cluster.set_lag(late.id, seconds=3600)
    async with client.at(address(writer)) as connection:
        await connection.execute("INSERT INTO lagging VALUES (2)")
    with pytest.raises(errors.OperationalError, match=f"{late.id} did not reach"):
        await cluster.wait_replayed(timeout=0.5)
    assert await client.value(address(late), count) == 1
    await cluster.kill("writer")
    done = await cluster.failover(late.id)
    assert done.new_writer == late.id
    assert await client.value(address(late), count) == 2
    await cluster.wait_replayed()
    for seconds in (-1, float("inf"), 1e9):
        with pytest.raises(errors.ConfigurationError, match="seconds="):
            await cluster.set_lag(prompt.id, seconds=seconds)
    with pytest.raises(errors.ConfigurationError, match="is the writer"):
        await cluster.set_lag("writer", seconds=1)


async def test_the_first_write_after_a_calm_time_is_not_as_late_as_the_last_is_old(client_of):
    behind = """
        SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn(),
               extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8,
               replica_lag_in_msec / 1000
        FROM pg_catalog.aurora_replica_status() WHERE server_id = 'instance-2'
    """
    async with LocalCluster(readers=1) as cluster:
        client = client_of(cluster)
        writer, reader = map(address, cluster.instances)
        async with client.at(writer) as connection:
            await connection.execute("CREATE TABLE t (n int)")
            await cluster.wait_replayed()
            await asyncio.sleep(6)
            await cluster.set_lag("instance-2", seconds=3600)
            await connection.execute("INSERT INTO t VALUES (1)")
        async with asyncio.timeout(30):
            while True:
                received, age, lag = (await client.rows(reader, behind))[0]
                if received:
                    break
        assert 0 < lag < age - 2  # the status table is about a second old


async def test_readers_come_and_go_under_load(cluster, client):
    ledger = Ledger(client)
    async with client.at(cluster.writer_endpoint) as connection:
        await connection.execute("DROP TABLE IF EXISTS ledger")
    await ledger.begin(address(cluster.instances[0]), connections=2)
    await ledger.reach(50)
    added = await cluster.add_reader()
    assert cluster.instances[-1].id == added
    gone = cluster.instances[1]
    folder = cluster.log_path(gone.id).parent
    await cluster.remove_reader(gone.id)
    assert not folder.exists()
    assert gone.id not in [one.id for one in cluster.instances]
    with pytest.raises(errors.ConnectionFailed):
        await client.value(address(gone), "SELECT 1")
    assert await cluster.add_reader() == gone.id
    await ledger.reach(len(ledger.acknowledged) + 50)
    done = await cluster.failover(added)
    await ledger.end()
    assert await ledger.missing(cluster.writer_endpoint) == []
    await cluster.wait_replayed()
    sql = "SELECT server_id FROM pg_catalog.aurora_replica_status()"
    rows = await client.rows(address(cluster.instances[-1]), sql)
    assert {row[0] for row in rows} == {one.id for one in cluster.instances}
    assert done.new_writer == added
    for which in ("writer", added):
        with pytest.raises(errors.ConfigurationError, match="is the writer"):
            await cluster.remove_reader(which)


async def test_a_writer_restarts_in_its_part(cluster, client):
    writer = cluster.instances[0]
    async with client.at(address(writer)) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS restarted AS SELECT 1 AS n")
    for prepare in (lambda: cluster.kill("writer"), lambda: asyncio.sleep(0)):
        await prepare()
        await cluster.restart("writer")
        assert cluster.instances[0].id == writer.id
        assert await client.value(cluster.writer_endpoint, "SELECT n FROM restarted") == 1
        await cluster.wait_replayed()


# With clusters of their own.


async def test_a_reader_that_can_follow_no_more_is_made_anew(client_of):
    steps = []
    settings = {"wal_keep_size": "0", "max_wal_size": "32MB", "min_wal_size": "32MB"}
    async with LocalCluster(readers=1, server_settings=settings, progress=steps.append) as cluster:
        await cluster.kill("instance-2")
        async with client_of(cluster).at(cluster.writer_endpoint) as connection:
            await connection.execute("CREATE TABLE t AS SELECT 1 AS n")
            for _ in range(4):
                await connection.execute("SELECT pg_switch_wal()")
                await connection.execute("CHECKPOINT")
        await cluster.restart("instance-2")
        assert any("made anew" in step for step in steps)
        await cluster.wait_replayed()
        assert await client_of(cluster).value(cluster.reader_endpoint, "SELECT n FROM t") == 1


async def test_endpoints_lead_to_the_old_instance_for_a_while(client_of):
    async with LocalCluster(readers=1, endpoint_lag=2.0) as cluster:
        client = client_of(cluster)
        done = await cluster.failover()
        assert await client.value(cluster.writer_endpoint, IDENTIFIER) == "instance-1"
        assert await client.value(cluster.reader_endpoint, IDENTIFIER) == "instance-2"
        async with asyncio.timeout(30):
            while await client.value(cluster.writer_endpoint, IDENTIFIER) != "instance-2":  # noqa: ASYNC110 - polls
                await asyncio.sleep(0.05)
        assert time.monotonic() - done.accepted_at >= 1.9
        async with asyncio.timeout(30):
            while await client.value(cluster.reader_endpoint, IDENTIFIER) != "instance-1":  # noqa: ASYNC110 - polls
                await asyncio.sleep(0.05)


async def test_without_a_reader_the_writer_is_left_alone(client_of):
    async with LocalCluster(readers=0) as cluster:
        pid = cluster.instances[0].pid
        with pytest.raises(errors.ConfigurationError, match="no reader can take over"):
            await cluster.failover()
        with pytest.raises(errors.ConfigurationError, match="is the writer"):
            await cluster.failover("instance-1")
        with pytest.raises(errors.ConfigurationError, match="no instance 'x'"):
            await cluster.failover("x")
        assert cluster.instances[0].pid == pid
        await cluster.kill("writer")
        with pytest.raises(errors.ConfigurationError, match="the writer instance-1 is down"):
            await cluster.add_reader()


async def test_data_that_is_kept_and_failover_do_not_go_together(temporary):
    async with LocalCluster(readers=1, data_dir=temporary / "kept") as cluster:
        with pytest.raises(errors.ConfigurationError, match="data_dir"):
            await cluster.failover()
        assert cluster.instances[0].id == "instance-1"


@pytest.mark.parametrize(
    "step", ["failover from", "stopping", "promoting", "starting instance-1 (r"]
)
@pytest.mark.parametrize("stop", [True, False])
async def test_cancelled_at_any_step_of_a_failover(step, stop, temporary, nothing_left, client_of):
    loop = asyncio.get_running_loop()
    reached = asyncio.Event()

    def progress(text):
        if text.startswith(step):
            loop.call_soon_threadsafe(reached.set)

    async with LocalCluster(readers=1, progress=progress) as cluster:
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
    assert os.listdir(temporary) == []  # noqa: PTH208 - no Path in a coroutine
