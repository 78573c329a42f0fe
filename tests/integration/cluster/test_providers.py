"""What real servers answer, and what follows from it."""

from __future__ import annotations

import asyncio
import datetime as dt
from uuid import uuid4

import pytest

from aurora_sql import errors
from aurora_sql.cluster._endpoints import InstanceAddresses
from aurora_sql.cluster._providers_postgresql import (
    AuroraPostgreSQL,
    MultiAzPostgreSQL,
    StaticPostgreSQL,
    detect,
)
from aurora_sql.cluster._topology import changes, settle, settle_static
from aurora_sql.local import LocalCluster
from aurora_sql.rows import Row
from aurora_sql.types import Instance, Role


def now():
    return dt.datetime.now(dt.UTC)


def places(cluster):
    return {one.id: (one.host, one.port) for one in cluster.instances}


def expected(cluster):
    """The topology as the cluster itself knows it."""
    return {(one.id, one.host, one.port, one.role) for one in cluster.instances}


def found(topology):
    return {(one.id, one.host, one.port, one.role) for one in topology.instances}


@pytest.fixture(params=[Row, None], ids=["row", "record"])
def row_base(request):
    return request.param


async def test_every_instance_reports_the_whole_cluster(aurora_cluster, opened, row_base):
    for asked in aurora_cluster.instances:
        connection = await opened(aurora_cluster, asked, row_base=row_base)
        provider = await detect(connection)
        assert provider == AuroraPostgreSQL()
        report = await provider.ask(connection)
        assert report.instance_id == asked.id
        assert report.in_recovery is (asked.role is Role.READER)
        rows = {row.instance_id: row for row in report.rows}
        assert set(rows) == set(places(aurora_cluster))
        writer = aurora_cluster.instances[0].id
        assert [name for name, row in rows.items() if row.is_writer] == [writer]
        assert rows[asked.id].age == 0.0
        for row in report.rows:
            assert row.lag is not None
            assert 0 <= row.lag < 60
            assert row.cpu is not None
            assert row.age is not None
            assert row.age < 60
            assert row.address is None
        topology = settle(report, places(aurora_cluster).get, now=now())
        assert found(topology) == expected(aurora_cluster)
        assert topology.writer.id == writer


async def test_an_ordinary_user_may_ask_and_no_schema_of_his_misleads(
    aurora_cluster, aurora_database, opened
):
    name = f"nobody_{uuid4().hex[:8]}"
    at = aurora_cluster.instances[0]
    admin = await opened(aurora_cluster, at, database=aurora_database)
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{aurora_cluster.password}'")
    try:
        await admin.execute(
            "CREATE SCHEMA bent; GRANT USAGE ON SCHEMA bent TO PUBLIC;"
            "CREATE FUNCTION bent.pg_is_in_recovery() RETURNS bool LANGUAGE sql"
            " AS 'SELECT true';"
            "CREATE FUNCTION bent.aurora_db_instance_identifier() RETURNS text LANGUAGE sql"
            " AS $$ SELECT 'bent' $$;"
        )
        connection = await opened(aurora_cluster, at, database=aurora_database, user=name)
        await connection.execute("SET search_path = bent, pg_catalog")
        provider = await detect(connection)
        assert provider == AuroraPostgreSQL()
        report = await provider.ask(connection)
        assert (report.instance_id, report.in_recovery) == (at.id, False)
        assert found(settle(report, places(aurora_cluster).get, now=now())) == expected(
            aurora_cluster
        )
    finally:
        await admin.execute(f"DROP ROLE {name}")


async def test_asking_leaves_no_statement_behind(aurora_cluster, opened):
    connection = await opened(aurora_cluster, aurora_cluster.instances[0])
    for _ in range(3):
        await (await detect(connection)).ask(connection)
    left = await connection.prepare("SELECT statement FROM pg_prepared_statements")
    assert len(await left.fetch(())) == 1  # this one


async def seen_by(asked, cluster, opened):
    connection = await opened(cluster, asked)
    report = await (await detect(connection)).ask(connection)
    connection.abort()
    return settle(report, places(cluster).get, now=now())


async def test_failover_and_readers_that_come_and_go_are_seen(opened):
    async with LocalCluster(readers=2) as cluster:
        before = await seen_by(cluster.instances[0], cluster, opened)
        assert found(before) == expected(cluster)

        done = await cluster.failover()
        for asked in cluster.instances:
            after = await seen_by(asked, cluster, opened)
            assert after.writer.id == done.new_writer != before.writer.id
            assert found(after) == expected(cluster)
        change = changes(before, after)
        assert (change.old_writer.id, change.new_writer.id) == (done.old_writer, done.new_writer)
        assert [one.id for one in change.readers_added] == [done.old_writer]
        assert [one.id for one in change.readers_removed] == [done.new_writer]

        added = await cluster.add_reader()
        grown = await seen_by(cluster.instances[0], cluster, opened)
        assert found(grown) == expected(cluster)
        assert [one.id for one in changes(after, grown).readers_added] == [added]
        await cluster.remove_reader(added)
        shrunk = await seen_by(cluster.instances[0], cluster, opened)
        assert [one.id for one in changes(grown, shrunk).readers_removed] == [added]


_FIXED_ROWS = """
CREATE OR REPLACE FUNCTION pg_catalog.aurora_replica_status()
RETURNS TABLE (
    server_id text, session_id text, durable_lsn bigint, highest_lsn_rcvd bigint,
    current_read_lsn bigint, cur_replay_latency_in_usec bigint,
    last_update_timestamp timestamptz, replica_lag_in_msec double precision, cpu double precision
) LANGUAGE sql AS $$
    VALUES
        ('w', 'MASTER_SESSION_ID', 0, 0, 0, 0, clock_timestamp() - interval '9 s', 0.0, 12.5),
        ('r', 'd290f1ee-6c54', 0, 0, 0, 0, clock_timestamp() - interval '1 minute', 1500.0, 80.0),
        ('unknown', 'c3b9c2f1-aa01', 0, 0, 0, 0, NULL, NULL, NULL),
        ('ahead', 'a8098c1a-f86e', 0, 0, 0, 0, clock_timestamp() + interval '9 s', 20.0, 0.0)
$$
"""


async def test_the_figures_of_the_rows_are_seconds_and_percent(
    aurora_cluster, aurora_database, opened
):
    connection = await opened(aurora_cluster, aurora_cluster.instances[0], database=aurora_database)
    await connection.execute(_FIXED_ROWS)
    report = await AuroraPostgreSQL().ask(connection)
    assert report.instance_id == aurora_cluster.instances[0].id  # it has no row of its own
    rows = {row.instance_id: row for row in report.rows}
    assert {name: (row.lag, row.cpu) for name, row in rows.items()} == {
        "w": (0.0, 12.5),
        "r": (1.5, 80.0),
        "unknown": (None, None),
        "ahead": (0.02, 0.0),
    }
    assert rows["unknown"].age is None
    assert rows["ahead"].age == 0.0
    assert rows["w"].age == pytest.approx(9, abs=1)
    assert rows["r"].age == pytest.approx(60, abs=1)
    assert [name for name, row in rows.items() if row.is_writer] == ["w"]


async def test_a_server_without_any_row_still_says_who_it_is(
    aurora_cluster, aurora_database, opened
):
    asked = aurora_cluster.instances[0]
    connection = await opened(aurora_cluster, asked, database=aurora_database)
    await connection.execute(
        _FIXED_ROWS.replace("    VALUES", "SELECT * FROM (VALUES").replace(
            "\n$$", ") AS v WHERE false\n$$"
        )
    )
    report = await AuroraPostgreSQL().ask(connection)
    assert (report.instance_id, report.in_recovery, report.rows) == (asked.id, False, ())


async def test_a_silent_reader_grows_old_and_is_left_out_in_the_end(opened):
    async with LocalCluster(readers=1) as cluster:
        writer, silent = cluster.instances
        connection = await opened(cluster, writer)
        await cluster.pause(silent.id)
        try:
            async with asyncio.timeout(30):
                while True:
                    report = await AuroraPostgreSQL().ask(connection)
                    ages = {row.instance_id: row.age for row in report.rows}
                    if ages[silent.id] > 2.5:
                        break
                    await asyncio.sleep(0.1)
        finally:
            await cluster.resume(silent.id)
        at, where = now(), places(cluster).get
        [kept] = settle(report, where, now=at).readers
        assert kept.id == silent.id
        assert at - kept.last_seen == dt.timedelta(seconds=ages[silent.id])
        assert not settle(report, where, now=at, stale_after=2.5).readers


async def test_plain_postgresql_is_static_endpoints(aurora_cluster, plain, row_base):
    reports = {}
    for asked in aurora_cluster.instances:
        connection = await plain(asked, row_base=row_base)
        provider = await detect(connection)
        assert provider == StaticPostgreSQL()
        reports[asked.id] = await provider.ask(connection)
        assert reports[asked.id].instance_id is None
        assert reports[asked.id].rows == ()
    given = [Instance(o.id, o.host, o.port, Role.READER) for o in aurora_cluster.instances]
    assert found(settle_static(given, reports, now=now())) == expected(aurora_cluster)


async def test_the_log_is_told_also_where_the_control_file_is_closed(plain, aurora_cluster):
    connection = await plain(aurora_cluster.instances[0])
    whole = await StaticPostgreSQL().ask(connection)
    assert whole.system is not None
    systems = {
        (await StaticPostgreSQL().ask(await plain(o))).system for o in aurora_cluster.instances
    }
    assert systems == {whole.system}
    name = f"nobody_{uuid4().hex[:8]}"
    await connection.execute(
        f"CREATE ROLE {name};"
        "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC;"
        f"SET ROLE {name}"
    )
    try:
        report = await StaticPostgreSQL().ask(connection)
    finally:
        await connection.execute(
            "RESET ROLE; GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO PUBLIC;"
            f"DROP ROLE {name}"
        )
    assert (report.system, report.epoch) == (None, whole.epoch)
    assert report.position >= whole.position


async def test_a_function_of_that_name_elsewhere_is_not_auroras(aurora_cluster, plain):
    connection = await plain(aurora_cluster.instances[0])
    await connection.execute(
        "CREATE FUNCTION public.aurora_replica_status() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION public.aurora_db_instance_identifier() RETURNS int LANGUAGE sql"
        " AS 'SELECT 1'"
    )
    assert await detect(connection) == StaticPostgreSQL()


async def test_a_multi_az_cluster_is_known_by_rds_tools(aurora_cluster, plain, multi_az, row_base):
    domain = "c9akciq32.eu-west-1.rds.amazonaws.com"
    addresses = InstanceAddresses({}, (f"?.{domain}", 5432))
    for asked in aurora_cluster.instances:
        connection = await plain(asked, row_base=row_base)
        provider = await detect(connection)
        assert provider == MultiAzPostgreSQL()
        report = await provider.ask(connection)
        assert report.instance_id == asked.id
        assert report.in_recovery is (asked.role is Role.READER)
        for locate in (addresses.find, lambda _: None):
            topology = settle(report, locate, now=now())
            assert found(topology) == {
                (one.id, f"{one.id}.{domain}", 5432, one.role) for one in aurora_cluster.instances
            }


async def test_a_multi_az_reader_with_a_stale_source_proves_nothing(
    aurora_cluster, plain, multi_az
):
    writer, reader, _ = aurora_cluster.instances
    await multi_az(f"UPDATE rds_tools.source SET id = 'db-{reader.id.upper()}'")
    for asked, reason in ((writer, "accepts writes and says that"), (reader, "knows of no writer")):
        report = await MultiAzPostgreSQL().ask(await plain(asked))
        with pytest.raises(errors.NoWriterAvailable) as caught:
            settle(report, lambda _: None, now=now())
        assert f"{asked.id} {reason}" in str(caught.value)


@pytest.mark.parametrize("answer", ["DELETE FROM rds_tools.source", None], ids=["none", "no rows"])
async def test_a_multi_az_writer_without_a_source_is_the_source(
    aurora_cluster, plain, multi_az, answer
):
    await multi_az(
        answer
        or "DROP FUNCTION rds_tools.multi_az_db_cluster_source_dbi_resource_id();"
        "CREATE FUNCTION rds_tools.multi_az_db_cluster_source_dbi_resource_id() RETURNS SETOF text"
        " LANGUAGE sql AS 'SELECT NULL::text WHERE false'"
    )
    writer, reader, _ = aurora_cluster.instances
    report = await MultiAzPostgreSQL().ask(await plain(writer))
    assert settle(report, lambda _: None, now=now()).writer.id == writer.id
    report = await MultiAzPostgreSQL().ask(await plain(reader))
    assert not any(row.is_writer for row in report.rows)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("DELETE FROM rds_tools.source", id="in no cluster"),
        pytest.param(
            "CREATE OR REPLACE FUNCTION rds_tools.multi_az_db_cluster_source_dbi_resource_id()"
            " RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'not supported here'; END $$",
            id="refuses to tell",
        ),
        pytest.param("DROP FUNCTION rds_tools.show_topology(text)", id="an older version"),
    ],
)
async def test_rds_tools_without_a_cluster_is_a_static_endpoint(
    aurora_cluster, plain, multi_az, change
):
    await multi_az(change)
    connection = await plain(aurora_cluster.instances[0])
    assert await detect(connection) == StaticPostgreSQL()
    assert connection.is_ready


@pytest.mark.parametrize(
    "change",
    [
        "REVOKE USAGE ON SCHEMA rds_tools FROM PUBLIC",
        "REVOKE EXECUTE ON FUNCTION rds_tools.show_topology(text) FROM PUBLIC",
    ],
)
async def test_functions_that_the_user_may_not_call_do_not_count(
    aurora_cluster, plain, multi_az, change
):
    name = f"nobody_{uuid4().hex[:8]}"
    await multi_az(f"CREATE ROLE {name} LOGIN PASSWORD '{aurora_cluster.password}'")
    try:
        connection = await plain(aurora_cluster.instances[0], user=name)
        assert await detect(connection) == MultiAzPostgreSQL()
        await multi_az(change)
        assert await detect(connection) == StaticPostgreSQL()
    finally:
        await multi_az(f"DROP ROLE {name}")


async def test_a_lost_connection_is_not_taken_for_plain_postgresql(aurora_cluster, opened):
    connection = await opened(aurora_cluster, aurora_cluster.instances[0])
    connection.abort()
    with pytest.raises(errors.AuroraError):
        await detect(connection)
    with pytest.raises(errors.AuroraError):
        await AuroraPostgreSQL().ask(connection)
