"""Drills 3, 7, 8 and 16 to 18: the writer changes, or stops answering, and callers are served."""

import asyncio
import socket
import threading
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from aurora_sql import (
    AuthenticationFailed,
    ConnectionLost,
    DeadlineExceeded,
    FailoverTimeout,
    InstanceSilent,
    TopologyChanged,
    deadline,
)
from aurora_sql.local import LocalCluster
from aurora_sql.local.faults import BlackHole
from aurora_sql.types import Engine, Role
from tests.drills.ledger import QUESTIONS
from tests.drills.load import place, replayed, under_load, until
from tests.drills.outside import INSTANCE, READING, SLEEP, USERS

CALLERS = 4


def writer_of(cluster):
    return next(one.id for one in cluster.instances if one.role is Role.WRITER)


def through(proxy):
    return {"write_endpoint": f"{proxy.host}:{proxy.port}", "read_endpoint": None}


class Load:
    """Callers that write units of work, and what they were told."""

    def __init__(self, db, ledger, limit=20.0):
        self.db, self.ledger, self.limit = db, ledger, limit
        self.acknowledged_at = []
        ledger.most_retries = QUESTIONS

    async def write(self, *args):
        await replayed(*args)
        self.acknowledged_at.append(time.monotonic())

    @asynccontextmanager
    async def going(self):
        load = under_load(self.db, self.ledger, self.write, callers=CALLERS, limit=self.limit)
        async with load:
            await until(lambda: len(self.acknowledged_at) > CALLERS)
            yield self

    async def more(self, seconds=20.0):
        """Wait until writes are acknowledged that began after now."""
        before = len(self.acknowledged_at)
        await until(lambda: len(self.acknowledged_at) > before + 2 * CALLERS, seconds)

    async def check(self, cluster, past_the_library):
        """Compare with the server, past the library; nobody saw an error."""
        server = await past_the_library(cluster)
        written = await server.written()
        self.ledger.compare(written)
        assert await server.fetchval("SELECT sum(value) FROM counters") == len(written)
        assert len(self.ledger.read().acknowledged) == len(written)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("topology", ["static", "aurora"])
async def test_a_frozen_writer_is_given_up_and_another_promoted(
    prepared, connected, ledger, past_the_library, at_rest, topology
):
    async with prepared() as cluster:
        frozen = writer_of(cluster)
        db, events = connected(cluster.settings(topology=topology))
        async with db:
            async with Load(db, ledger).going() as load:
                await cluster.pause(frozen)
                await until(lambda: any(isinstance(one, InstanceSilent) for one in events))
                await until(lambda: db.topology.writer is None)
                assert await db.reader.fetch_value("SELECT count(*) FROM counters") == 8
                await cluster.failover()
                await load.more()
            await at_rest(db)
        await load.check(cluster, past_the_library)
        changes = [one for one in events if isinstance(one, TopologyChanged)]
        assert [one.writer is None for one in changes][:2] == [True, False]


@pytest.mark.alike
@pytest.mark.timeout(120)
async def test_a_writer_that_was_frozen_goes_on(
    cluster, tables, connected, ledger, past_the_library, at_rest, length
):
    await tables(cluster)
    db, events = connected(cluster.settings())
    async with db:
        async with Load(db, ledger, limit=60.0).going() as load:
            await cluster.pause("writer")
            await asyncio.sleep(length(4, 30))
            assert any(isinstance(one, InstanceSilent) for one in events)
            await cluster.resume("writer")
            await load.more()
        await at_rest(db)
    await load.check(cluster, past_the_library)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("connections", ["open", "new", "all"])
async def test_packets_vanish(
    cluster, tables, connected, ledger, past_the_library, at_rest, length, connections
):
    """Of open connections, of new ones, or of both; callers are told, and served when it heals."""
    await tables(cluster)
    async with cluster.fault_proxy("writer") as proxy:
        db, events = connected(cluster.settings().replace(through(proxy)))
        async with db:
            async with Load(db, ledger, limit=60.0).going() as load:
                proxy.inject(BlackHole(), on=connections)
                if connections == "all":
                    began = time.monotonic()
                    await until(lambda: any(isinstance(one, InstanceSilent) for one in events))
                    print(  # noqa: T201 - the report
                        f"\na black hole was given up after {time.monotonic() - began:.1f} s"
                    )
                    with deadline(0.5), pytest.raises((DeadlineExceeded, FailoverTimeout)):
                        await db.fetch_value("SELECT 1")
                if connections == "new":
                    await load.more()  # they are served by those that are open
                await asyncio.sleep(length(0.5, 20))
                proxy.heal()
                await load.more()
            await at_rest(db)
        await load.check(cluster, past_the_library)


@pytest.mark.alike
@pytest.mark.timeout(120)
async def test_calls_in_a_black_hole_end_long_before_their_deadline(cluster, tables, connected):
    await tables(cluster)
    async with cluster.fault_proxy("writer") as proxy:
        settings = cluster.settings().replace(through(proxy))
        db, _ = connected(settings, enable_retry_on_failure=False, connection_timeout=4.0)
        async with db:
            await db.sql.ledger.add(id=0, caller=1)  # prepared: the next one is sent at once
            began = time.monotonic()
            proxy.inject(BlackHole())
            with pytest.raises(ConnectionLost) as caught:
                await db.sql.ledger.add(id=1, caller=1)
            assert caught.value.outcome_unknown
            assert time.monotonic() - began < 30  # its deadline would be after 60
            with pytest.raises(FailoverTimeout, match="no instance accepts writes since"):
                await db.execute("SELECT 1")
            proxy.heal()


@pytest.mark.alike
@pytest.mark.timeout(120)
async def test_a_long_query_is_left_in_peace(with_readers, tables, connected):
    """An instance that is busy, and answers others, is not silent."""
    cluster = with_readers
    await tables(cluster)
    db, events = connected(cluster.settings(), failure_detection=1.0)
    async with db:
        await asyncio.gather(
            db.fetch_value(SLEEP[cluster.engine].format(4)),
            db.reader.fetch_value(SLEEP[cluster.engine].format(4)),
        )
    assert events == [one for one in events if not isinstance(one, InstanceSilent)]


@pytest.mark.not_on(
    "mysql", "mariadb", because="it has no timelines: nothing tells which of two was promoted last"
)
@pytest.mark.timeout(120)
async def test_two_servers_claim_to_be_the_writer(prepared, connected, past_the_library):
    """The one that was promoted last is, and the old one is refused even when it comes first."""
    async with prepared() as cluster:
        old, heir, _ = cluster.instances
        settings = cluster.settings()
        db, _ = connected(settings, topology_refresh=0.2)
        async with db:
            assert await db.reader.fetch_value(READING[cluster.engine])
            await (await past_the_library(cluster, heir)).promote()
            await until(lambda: db.topology.writer.port and db.topology.writer.host == heir.host)
            await asyncio.sleep(1)
            assert db.topology.writer.host == heir.host
            assert {one.host for one in db.topology.readers} >= {old.host}
            assert await db.fetch_value(INSTANCE[cluster.engine]) == heir.id
        # The settings name the old one first: who opens anew goes to the new one too.
        again, _ = connected(settings)
        async with again:
            assert again.topology.writer.host == heir.host


@pytest.mark.timeout(120)
async def test_the_writer_is_demoted_while_its_connections_stay(
    prepared, connected, ledger, past_the_library, at_rest
):
    """It answers, and refuses writes; the pool must not go on handing its connections out."""
    async with prepared() as cluster:
        old, heir, _ = cluster.instances
        db, _ = connected(cluster.settings(), topology_refresh=60.0)
        async with db:
            demoted = await past_the_library(cluster, old)
            promoted = await past_the_library(cluster, heir)
            await db.run_in_transaction(place, -1, -1)  # on what will be the old one
            await cluster.wait_replayed()
            await demoted.demote()
            await promoted.promote()
            await asyncio.sleep(0.3)
            for number in range(4):
                with deadline(20):
                    await db.run_in_transaction(place, number, 0)
            assert db.topology.writer.host == heir.host
            await at_rest(db)
        assert sorted(await promoted.written()) == [-1, 0, 1, 2, 3]
        assert await demoted.written() == [-1]


@pytest.mark.alike
@pytest.mark.timeout(120)
async def test_a_cluster_that_was_built_anew_is_taken_over_without_a_restart(
    server, prepared, connected, at_rest
):
    """Its timeline is lower than that of the one before."""
    async with prepared(readers=1, password="same") as old:
        await old.failover()
        leads_to = [next(one for one in old.instances if one.role is Role.WRITER)]
        async with name_for(leads_to) as name:
            settings = old.settings().replace({"write_endpoint": name, "read_endpoint": None})
            db, _ = connected(settings, topology_refresh=0.2)
            another = LocalCluster(
                server.engine, readers=0, bin_dir=server.bin_dir, password="same"
            )
            query = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'counters'"
            async with db, another as new:
                assert await db.fetch_value("SELECT count(*) FROM counters") == 8
                leads_to[0] = new.instances[0]
                await old.kill("writer")
                async with asyncio.timeout(20):
                    assert await db.fetch_value(query) == 0
                await asyncio.sleep(1)  # the monitor has noticed by now
                await until(lambda: db.topology.writer is not None)
                await asyncio.sleep(0.5)
                assert db.topology.writer is not None
                await at_rest(db)


@pytest.mark.alike
@pytest.mark.timeout(120)
@pytest.mark.parametrize("topology", ["static", "aurora"])
async def test_a_login_that_is_refused_is_no_lost_writer(
    prepared, connected, past_the_library, at_rest, topology
):
    """Who has connections goes on with those; who needs a new one is told why there is none."""
    async with prepared(readers=1) as cluster:
        server = await past_the_library(cluster)
        await server.make_user("shop", "old")
        shop = replace(server, sessions=USERS[server.engine].format("shop"))
        await cluster.wait_replayed()
        settings = cluster.settings(topology=topology)
        settings = settings.replace({"username": "shop", "password": "old"})
        db, events = connected(settings, topology_refresh=0.2, connection_timeout=2.0)
        async with db:
            before = db.topology.writer
            async with db.transaction() as one, db.transaction() as two:
                for tx in (one, two):
                    await tx.execute("SELECT 1")
            await server.change_password("shop", "new")
            if server.engine is Engine.POSTGRESQL:  # elsewhere they cannot be told apart
                await server.end_monitors()
            await shop.end_sessions(1)
            until_when = time.monotonic() + 3
            while time.monotonic() < until_when:
                assert await db.execute("UPDATE counters SET value = 1 WHERE id = 1") == 1
                assert db.topology.writer == before
            async with db.transaction() as tx:
                await tx.execute("SELECT 1")
                with pytest.raises(AuthenticationFailed, match="shop"):
                    await db.fetch_value("SELECT 1")
            await shop.end_sessions(100)
            with pytest.raises(AuthenticationFailed, match="shop"):
                await db.fetch_value("SELECT 1")
            await server.change_password("shop", "old")
            async with asyncio.timeout(10):
                while True:
                    with suppress(AuthenticationFailed):
                        await db.fetch_value("SELECT 1")
                        break
                    await asyncio.sleep(0.05)
            assert not [one for one in events if isinstance(one, TopologyChanged)]
            await at_rest(db)


@pytest.mark.alike
@pytest.mark.timeout(120)
async def test_the_name_leads_elsewhere_while_connections_stay(
    prepared, connected, past_the_library, at_rest
):
    """The old writer lives on, and statements on it would pass for ever."""
    async with prepared() as cluster:
        old, heir, _ = cluster.instances
        leads_to = [old]

        async def forward(reader, writer):
            there = await asyncio.open_connection(leads_to[0].host, leads_to[0].port)
            async with asyncio.TaskGroup() as group:
                group.create_task(pump(reader, there[1]))
                group.create_task(pump(there[0], writer))

        async def pump(reader, writer):
            while data := await reader.read(65536):
                writer.write(data)
            writer.close()

        name = await asyncio.start_server(forward, "127.0.0.1", 0)
        place = "{}:{}".format(*name.sockets[0].getsockname())
        settings = cluster.settings().replace({"write_endpoint": place, "read_endpoint": None})
        db, _ = connected(settings, topology_refresh=0.2)
        query = INSTANCE[cluster.engine]
        async with db:
            assert {await db.fetch_value(query) for _ in range(4)} == {old.id}
            await (await past_the_library(cluster, heir)).promote()
            leads_to[0] = heir
            # The next question of the monitor goes to the new writer, by the same name.
            await (await past_the_library(cluster, old)).end_monitors()
            async with asyncio.timeout(20):
                while await db.fetch_value(query) != heir.id:  # noqa: ASYNC110 - asks a server
                    await asyncio.sleep(0.05)
            assert {await db.fetch_value(query) for _ in range(4)} == {heir.id}
            await at_rest(db)
        name.close()


@asynccontextmanager
async def name_for(leads_to):
    """An address that leads to the first of a list of instances."""

    async def forward(reader, writer):
        try:
            there = await asyncio.open_connection(leads_to[0].host, leads_to[0].port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    async def pump(reader, writer):
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    name = await asyncio.start_server(forward, "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*name.sockets[0].getsockname())
    finally:
        name.close()


@pytest.mark.not_on(
    "mysql",
    "mariadb",
    because="who holds up its statements holds up its demotion, and no timeline tells otherwise",
)
@pytest.mark.timeout(120)
@pytest.mark.parametrize("by", ["address", "name"])
async def test_calls_in_flight_at_the_old_writer_end_when_the_new_one_is_known(
    prepared, connected, past_the_library, at_rest, by
):
    """The old one answers its questions, so that nobody gives it up; the calls on it hang."""
    async with prepared() as cluster:
        old, heir, _ = cluster.instances
        leads_to = [old]
        async with name_for(leads_to) as name:
            settings = cluster.settings()
            if by == "name":
                settings = settings.replace({"write_endpoint": name, "read_endpoint": None})
            db, _ = connected(settings, topology_refresh=0.2)
            async with db:
                promoted, holder = [await past_the_library(cluster, one) for one in (heir, old)]
                await holder.execute("BEGIN; LOCK TABLE ledger; UPDATE counters SET value = 5")
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                write = asyncio.create_task(db.execute("UPDATE counters SET value = 7"))
                read = asyncio.create_task(db.fetch_value("SELECT count(*) FROM ledger"))
                while await holder.fetchval(waiting) < 2:  # noqa: ASYNC110 - asks a server
                    await asyncio.sleep(0.02)
                leads_to[0] = heir
                await promoted.promote()
                await holder.end_monitors()
                done, _ = await asyncio.wait([write, read], timeout=20)
                assert done == {write, read}
                assert isinstance(write.exception(), ConnectionLost)
                assert write.exception().outcome_unknown
                assert read.result() == 0  # it ran again, on the new one
                assert await db.fetch_value(INSTANCE[cluster.engine]) == heir.id
                await at_rest(db)


@pytest.mark.alike
@pytest.mark.timeout(120)
@pytest.mark.parametrize("topology", ["static", "aurora"])
async def test_the_name_leads_to_the_old_writer_for_a_while(
    prepared, connected, ledger, past_the_library, at_rest, topology
):
    async with prepared(endpoint_lag=2.0) as cluster:
        (writer, port), (reader, reader_port) = cluster.writer_endpoint, cluster.reader_endpoint
        settings = cluster.settings(topology=topology)
        if topology == "static":
            settings = settings.replace(
                {"write_endpoint": f"{writer}:{port}", "read_endpoint": f"{reader}:{reader_port}"}
            )
        db, _ = connected(settings)
        async with db:
            async with Load(db, ledger).going() as load:
                for _ in range(2):
                    await cluster.kill(writer_of(cluster))
                    change = await cluster.failover()
                    await until(lambda: load.acknowledged_at[-1] > change.accepted_at)  # noqa: B023
                    await load.more()
            # While the name still leads to the old writer, a new process must not settle on it.
            again, _ = connected(settings)
            if topology == "aurora":
                async with again:
                    assert again.topology.writer.id == writer_of(cluster)
            await at_rest(db)
        await load.check(cluster, past_the_library)


@pytest.mark.alike
@pytest.mark.timeout(120)
async def test_the_resolver_stalls(
    prepared, connected, ledger, past_the_library, at_rest, monkeypatch
):
    """No connection can be opened; who has a deadline is told in time, and all heals."""
    really, stalled, asked = socket.getaddrinfo, threading.Event(), []
    async with prepared(readers=0) as cluster:
        writer = cluster.instances[0]

        def resolve(host, *args, **options):
            if host != "writer.test":
                return really(host, *args, **options)
            asked.append(host)
            while stalled.is_set():
                time.sleep(0.05)
            return really(writer.host, *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        settings = cluster.settings().replace({"write_endpoint": f"writer.test:{writer.port}"})
        db, _ = connected(settings)
        async with db:
            async with Load(db, ledger, limit=60.0).going() as load:
                stalled.set()
                server = await past_the_library(cluster)
                await server.end_sessions(100)
                before = len(asked)
                await until(lambda: len(asked) > before)
                with ledger.call(0.5), pytest.raises((DeadlineExceeded, FailoverTimeout)):
                    await db.fetch_value("SELECT 1")
                await asyncio.sleep(2)
                stalled.clear()
                await load.more()
            await at_rest(db)
        await load.check(cluster, past_the_library)
