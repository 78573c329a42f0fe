"""A running cluster: replication, Aurora's functions, endpoints, on each PostgreSQL at hand."""

from __future__ import annotations

import asyncio
import time

import pytest

from aurora_sql import errors
from aurora_sql.local import LocalCluster
from aurora_sql.types import Role


def address(instance):
    return instance.host, instance.port


async def test_what_the_writer_writes_the_readers_have_and_they_refuse_to_write(cluster, client):
    writer, *readers = cluster.instances
    assert [one.role for one in cluster.instances] == [Role.WRITER, Role.READER, Role.READER]
    async with client.at(address(writer)) as connection:
        await connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS id")
    await cluster.wait_replayed()
    for reader in readers:
        assert await client.value(address(reader), "SELECT count(*) FROM t") == 1000
        with pytest.raises(errors.ReadOnlyInstance) as caught:
            await client.value(address(reader), "INSERT INTO t VALUES (1) RETURNING id")
        assert caught.value.code == "25006"


async def test_wait_replayed_sees_every_commit(cluster, client):
    writer, *readers = cluster.instances
    async with client.at(address(writer)) as connection:
        await connection.execute("CREATE TABLE steps (n int)")
        for n in range(20):
            await connection.execute(f"INSERT INTO steps VALUES ({n})")
            await cluster.wait_replayed()
            for reader in readers:
                assert await client.value(address(reader), "SELECT max(n) FROM steps") == n


async def test_wait_replayed_waits_for_the_replay_not_for_the_connection(cluster, client):
    writer, reader, _ = cluster.instances
    async with client.at(address(reader)) as connection:
        await connection.execute("SELECT pg_wal_replay_pause()")
        async with client.at(address(writer)) as other:
            await other.execute("CREATE TABLE held (n int)")
        with pytest.raises(errors.OperationalError, match="instance-2 did not reach"):
            await cluster.wait_replayed(timeout=0.5)
        await connection.execute("SELECT pg_wal_replay_resume()")
        await cluster.wait_replayed()
        assert await client.value(address(reader), "SELECT count(*) FROM held") == 0


async def test_every_instance_says_who_it_is_and_answers_for_all(cluster, client):
    for one in cluster.instances:
        sql = "SELECT pg_catalog.aurora_db_instance_identifier()"
        assert await client.value(address(one), sql) == one.id
        version = await client.value(address(one), "SELECT pg_catalog.aurora_version()")
        assert version.startswith(cluster.server_version.split(".")[0] + ".")
        rows = await client.rows(address(one), "SELECT * FROM pg_catalog.aurora_replica_status()")
        assert [row["server_id"] for row in rows] == [i.id for i in cluster.instances]
        masters = [row["server_id"] for row in rows if row["session_id"] == "MASTER_SESSION_ID"]
        assert masters == ["instance-1"]
        assert len({row["session_id"] for row in rows}) == 3
        for row in rows:
            assert (row["last_update_timestamp"] is None) == (row["server_id"] == one.id)
            assert row["durable_lsn"] > 0
            assert row["replica_lag_in_msec"] >= 0
            assert row["cpu"] >= 0


async def test_the_status_is_kept_current_on_readers(cluster, client):
    reader = cluster.instances[1]
    sql = (
        "SELECT extract(epoch FROM max(last_update_timestamp))::float8"
        " FROM pg_catalog.aurora_replica_status() WHERE server_id = 'instance-1'"
    )
    first = await client.value(address(reader), sql)
    async with asyncio.timeout(10):
        while await client.value(address(reader), sql) <= first:  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.1)


async def test_the_functions_are_in_every_database_and_for_every_user(cluster, client):
    writer = address(cluster.instances[0])
    async with client.at(writer) as connection:
        await connection.execute(f"CREATE ROLE app LOGIN PASSWORD '{cluster.password}'")
        await connection.execute("CREATE DATABASE bare TEMPLATE template0")
    await cluster.wait_replayed()
    for one in cluster.instances:
        for database in ("postgres", "bare", cluster.database):
            sql = "SELECT count(*) FROM pg_catalog.aurora_replica_status()"
            assert await client.value(address(one), sql, database=database, user="app") == 3
    with pytest.raises(errors.DatabaseError):
        await client.value(writer, "SELECT pg_read_file('aurora_status.json')", user="app")


async def test_the_endpoints_lead_to_the_writer_and_to_the_readers_in_turn(cluster, client):
    sql = "SELECT pg_catalog.aurora_db_instance_identifier()"
    assert await client.value(cluster.writer_endpoint, sql) == "instance-1"
    found = [await client.value(cluster.reader_endpoint, sql) for _ in range(4)]
    assert sorted(found) == ["instance-2", "instance-2", "instance-3", "instance-3"]


async def test_only_the_password_lets_in(cluster, client, monkeypatch):
    for one in cluster.instances:
        monkeypatch.setattr(type(client), "_password", lambda self: asyncio.sleep(0, "wrong"))
        with pytest.raises(errors.AuthenticationFailed):
            await client.value(address(one), "SELECT 1")


async def test_settings_reach_the_instances(cluster):
    settings = cluster.settings()
    writer, *readers = cluster.instances
    assert settings.write_endpoint == f"{writer.host}:{writer.port}"
    assert settings.read_endpoint == ",".join(f"{r.host}:{r.port}" for r in readers)
    assert settings.password.get_secret_value() == cluster.password
    assert cluster.password not in repr(settings)
    assert cluster.settings("other").database == "other"


async def test_databases_come_from_a_template_and_go_with_their_sessions(cluster, client):
    writer, reader, _ = cluster.instances
    async with client.at(address(writer), database="postgres") as connection:
        await connection.execute("CREATE DATABASE model")
    async with client.at(address(writer), database="model") as connection:
        await connection.execute("CREATE TABLE things AS SELECT 7 AS n")
    await cluster.create_database('odd "name"', template="model")
    sql = "SELECT n FROM things"
    assert await client.value(address(reader), sql, database='odd "name"') == 7
    with pytest.raises(errors.DatabaseError, match="already exists"):
        await cluster.create_database('odd "name"')
    async with client.at(address(writer), database='odd "name"'):
        await cluster.drop_database('odd "name"')
    await cluster.drop_database('odd "name"')
    with pytest.raises(errors.AuroraError, match="there is no database"):
        await client.value(address(writer), sql, database='odd "name"')


async def test_two_clusters_know_nothing_of_each_other(cluster, client, client_of):
    async with LocalCluster(readers=0, database="other") as second:
        other = client_of(second)
        assert second.instances[0].pid != cluster.instances[0].pid
        async with other.at(second.writer_endpoint) as connection:
            await connection.execute("CREATE TABLE only_here (n int)")
        with pytest.raises(errors.ProgrammingError):
            await client.value(cluster.writer_endpoint, "SELECT n FROM only_here")
        # Without readers the reader endpoint leads to the writer, as Aurora's does.
        sql = "SELECT pg_is_in_recovery()"
        assert await other.value(second.reader_endpoint, sql) is False
        assert second.settings().read_endpoint is None
        await second.wait_replayed()


async def test_unknown_instances_are_refused_by_name(cluster):
    with pytest.raises(
        errors.ConfigurationError, match="no instance 'x'; there are 'writer', inst"
    ):
        cluster.log_path("x")
    assert "ready to accept connections" in cluster.logs("writer")
    assert "streaming" in cluster.logs("instance-2")


# What breaks the cluster comes last, each with one of its own.


async def test_a_paused_reader_is_waited_for_and_named(client_of):
    async with LocalCluster(readers=1) as cluster:
        await cluster.pause("instance-2")
        async with client_of(cluster).at(cluster.writer_endpoint) as connection:
            await connection.execute("CREATE TABLE t (n int)")
        before = time.monotonic()
        with pytest.raises(errors.OperationalError, match="instance-2 did not reach"):
            await cluster.wait_replayed(timeout=0.5)
        assert time.monotonic() - before >= 0.5
        await cluster.resume("instance-2")
        await cluster.wait_replayed()
        await cluster.pause("writer")  # and stays so: the end copes with it


async def test_a_killed_writer_is_gone_and_the_readers_serve_on(client_of):
    async with LocalCluster(readers=1) as cluster:
        client = client_of(cluster)
        writer, reader = cluster.instances
        await cluster.kill("writer")
        assert [one.pid for one in cluster.instances] == [None, reader.pid]
        with pytest.raises(errors.ConnectionFailed):
            await client.value(address(writer), "SELECT 1")
        with pytest.raises(errors.NoWriterAvailable):
            await cluster.wait_replayed()
        rows = await client.rows(address(reader), "SELECT * FROM aurora_replica_status()")
        assert [row["server_id"] for row in rows] == ["instance-1", "instance-2"]
        await cluster.kill("instance-2")
        await cluster.kill("instance-2")
