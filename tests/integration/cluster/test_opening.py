"""What opening finds out, or refuses."""

import asyncio
import time

import pytest

from aurora_sql import Aurora, ConfigurationError, ConnectionFailed, NoWriterAvailable
from aurora_sql.cluster._providers_postgresql import StaticPostgreSQL
from aurora_sql.cluster._sight import StaticSight
from aurora_sql.local import LocalCluster
from aurora_sql.local.faults import Unanswered
from aurora_sql.types import Instance

CUSTOM = "reads.cluster-custom-c9akciq32.eu-west-1.rds.amazonaws.com"


@pytest.fixture
def settings(aurora_cluster, aurora_database):
    """Settings that reach a fresh database, with small pools."""

    def make(kind="static", **changes):
        found = aurora_cluster.settings(aurora_database, topology=kind)
        return found.replace({"min_pool_size": 1, "max_pool_size": 4} | changes)

    return make


@pytest.fixture
async def prepared_sight(opened):
    """A cluster of two, its static sight, and a function that writes."""
    async with LocalCluster(readers=1) as cluster:
        writer, reader = (Instance(o.id, o.host, o.port, o.role) for o in cluster.instances)
        places = {(o.host, o.port): o for o in cluster.instances}
        sight = StaticSight(
            writer, [reader], StaticPostgreSQL(), lambda a: opened(cluster, places[a]), None
        )
        session = await opened(cluster, cluster.instances[0])
        await session.execute("CREATE TABLE t (n int)")
        yield cluster, sight, lambda: session.execute("INSERT INTO t VALUES (1)")
        await sight.close()


async def test_the_instances_are_known_by_their_identifiers(settings, aurora_cluster):
    async with Aurora(settings("aurora")) as db:
        known = [(one.id, one.host, one.port, one.role) for one in db.topology.instances]
        assert known == [(o.id, o.host, o.port, o.role) for o in aurora_cluster.instances]
        assert list(db.pool_stats()) == [one.id for one in aurora_cluster.instances]
        assert repr(db) == "<Aurora open: writer instance-1, readers instance-2, instance-3>"


async def test_automatic_means_the_cluster_where_the_instances_can_be_found(settings):
    found = settings("aurora", topology="auto")
    async with Aurora(found) as db:
        assert db.topology.writer.id == "instance-1"
    async with Aurora(found.replace({"instance_endpoints": None})) as db:
        assert db.topology.writer.id == found.write_endpoint


async def test_named_readers_are_the_only_ones(settings, aurora_cluster):
    chosen = aurora_cluster.instances[2]
    async with Aurora(settings("aurora", read_endpoint=f"{chosen.host}:{chosen.port}")) as db:
        query = "SELECT aurora_db_instance_identifier()"
        assert {await db.reader.fetch_value(query) for _ in range(6)} == {chosen.id}
        assert set(db.pool_stats()) == {"instance-1", chosen.id}
    async with Aurora(settings("aurora", enable_read_replicas=False)) as db:
        assert set(db.pool_stats()) == {"instance-1"}


async def test_what_cannot_be_is_refused_with_what_to_do(settings, plain):
    with pytest.raises(ConfigurationError, match=r"read_endpoint \(reads.*name them"):
        async with Aurora(settings("aurora", read_endpoint=CUSTOM)):
            pass
    with pytest.raises(ConfigurationError, match=r"write_endpoint \(127.*set instance_endpoints"):
        async with Aurora(settings("aurora", instance_endpoints=None)):
            pass
    # The fixture has taken Aurora's functions away.
    with pytest.raises(
        ConfigurationError, match=r"nothing that tells the instances.*use topology static"
    ):
        async with Aurora(settings("aurora")):
            pass
    async with Aurora(settings("aurora", topology="auto")) as db:
        assert db.topology.writer.id == settings("aurora").write_endpoint


async def test_the_write_endpoint_leads_to_a_reader(settings, aurora_cluster):
    reader = aurora_cluster.instances[1]
    place = f"{reader.host}:{reader.port}"
    async with Aurora(settings("aurora", write_endpoint=place)) as db:
        assert db.topology.writer.id == "instance-1"
        await db.execute("CREATE TABLE t (a int)")
    writer = settings().write_endpoint
    async with Aurora(settings(write_endpoint=place, read_endpoint=writer)) as db:
        assert db.topology.writer.id == writer
        await db.execute("CREATE TABLE u (a int)")
    with pytest.raises(
        NoWriterAvailable, match=rf"no endpoint accepts writes: {place} is a reader"
    ):
        async with Aurora(settings(write_endpoint=place, read_endpoint=None)):
            pass


async def test_the_write_endpoint_is_down(settings):
    writer = settings().write_endpoint
    async with Aurora(settings(write_endpoint="127.0.0.1:9", read_endpoint=writer)) as db:
        assert db.topology.writer.id == writer
        assert [one.id for one in db.topology.readers] == ["127.0.0.1:9"]
        assert await db.reader.fetch_value("SELECT 1") == 1
    with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1:9"):
        async with Aurora(settings("aurora", write_endpoint="127.0.0.1:9")):
            pass


async def test_a_reader_that_does_not_answer_does_not_hold_up_the_opening(settings, aurora_cluster):
    async with aurora_cluster.fault_proxy("instance-2") as proxy:
        proxy.inject(Unanswered(), on="new")
        silent = settings(read_endpoint=f"{proxy.host}:{proxy.port}")
        began = time.monotonic()
        async with Aurora(silent) as db:
            assert time.monotonic() - began < 20  # a connection may take 30
            assert await asyncio.wait_for(db.reader.fetch_value("SELECT 1"), 20) == 1


async def test_an_idle_writer_makes_no_reader_late(prepared_sight):
    """The next write after a calm time is not as late as the last one is old."""
    cluster, sight, write = prepared_sight
    await write()
    await cluster.wait_replayed()
    assert [one.lag for one in (await sight.look(5.0, troubled=False)).readers] == [0.0]
    await asyncio.sleep(3)
    began = time.monotonic()
    assert [one.lag for one in (await sight.look(5.0, troubled=False)).readers] == [0.0]
    await cluster.set_lag("instance-2", seconds=3600)
    await write()
    [late] = (await sight.look(5.0, troubled=False)).readers
    assert 0 < late.lag <= time.monotonic() - began
