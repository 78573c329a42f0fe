"""Drills 19 and 20: readers go, come, stop answering and fall behind, and no read fails."""

import asyncio
from collections import Counter

import pytest

from aurora_sql import InstanceSilent, TopologyChanged, deadline
from aurora_sql.local.faults import Latency
from tests.drills.load import until
from tests.drills.outside import INSTANCE, READING

CALLERS = 4


@pytest.mark.timeout(120)
async def test_all_readers_go_and_come_back(with_readers, tables, connected):
    cluster = with_readers
    await tables(cluster)
    readers = [one.id for one in cluster.instances[1:]]
    db, _ = connected(cluster.settings(topology="aurora"), topology_refresh=0.3)
    errors, served, working = [], Counter(), True

    async def read():
        while working:
            with deadline(10):
                try:
                    served[await db.reader.fetch_value(READING[cluster.engine])] += 1
                except Exception as error:  # noqa: BLE001 - any is one too many
                    errors.append(error)

    async with db, asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(read())
        for _ in range(2):
            for which in readers:
                await cluster.kill(which)
            before = served[False]
            await until(lambda: served[False] > before + 10)  # noqa: B023 - the writer's
            for which in readers:
                await cluster.restart(which)
            before = served[True]
            await until(lambda: served[True] > before + 10)  # noqa: B023
        working = False
    assert errors == []


@pytest.mark.alike
@pytest.mark.timeout(120)
async def test_a_frozen_reader_costs_no_read(with_readers, tables, connected):
    """Reads under way are given up with it and run elsewhere, and so does every later one."""
    cluster = with_readers
    await tables(cluster)
    db, events = connected(cluster.settings(topology="aurora"), failure_detection=1.0)
    served, errors, working = Counter(), [], True

    async def read():
        while working:
            with deadline(10):
                try:
                    name = await db.reader.fetch_value(INSTANCE[cluster.engine])
                    served[name] += 1
                except Exception as error:  # noqa: BLE001 - any is one too many
                    errors.append(error)

    async with db, asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(read())
        await until(lambda: served["instance-2"] and served["instance-3"])
        await cluster.pause("instance-2")
        await until(lambda: InstanceSilent("instance-2", 1.0) in events)
        # Nobody can connect either, and that is found out in the same time.
        await until(lambda: db.pool_stats()["instance-2"].open_failures > 1)
        before = served.copy()
        await until(lambda: served["instance-3"] > before["instance-3"] + 50)
        assert served["instance-2"] == before["instance-2"]
        await cluster.resume("instance-2")
        await until(lambda: served["instance-2"] > before["instance-2"])
        working = False
    assert errors == []


@pytest.mark.timeout(120)
async def test_readers_join_and_leave_without_a_restart(prepared, connected, at_rest):
    async with prepared(readers=1) as cluster:
        db, events = connected(cluster.settings(topology="aurora"), topology_refresh=0.2)
        async with db:
            added = await cluster.add_reader()
            await until(lambda: added in {one.id for one in db.topology.readers})
            asked = {await db.reader.fetch_value(INSTANCE[cluster.engine]) for _ in range(20)}
            assert asked == {"instance-2", added}
            (pool,) = (one for one in db._shared.cluster.reader_pools if one.name == added)
            await cluster.remove_reader(added)
            await until(lambda: added not in {one.id for one in db.topology.readers})
            assert set(db.pool_stats()) == {"instance-1", "instance-2"}
            await until(lambda: " closed" in repr(pool))
            assert await db.reader.fetch_value("SELECT 1") == 1
            await at_rest(db)
        told = [
            (one.readers_added, one.readers_removed)
            for one in events
            if isinstance(one, TopologyChanged)
        ]
        assert ((added,), ()) in told
        assert ((), (added,)) in told


@pytest.mark.alike
@pytest.mark.timeout(120)
@pytest.mark.parametrize("topology", ["static", "aurora"])
async def test_a_reader_too_far_behind_gets_no_reads(prepared, connected, topology):
    async with prepared() as cluster:
        settings = cluster.settings(topology=topology)
        db, _ = connected(settings, topology_refresh=0.2, max_replica_lag=1.0)
        late = cluster.instances[1]
        async with db:
            await cluster.set_lag(late.id, seconds=30)

            async def readers_asked():
                await db.execute("UPDATE counters SET value = value + 1")
                query = INSTANCE[cluster.engine]
                return {await db.reader.fetch_value(query) for _ in range(10)}

            others = {one.id for one in cluster.instances} - {late.id}
            await until_read_from(readers_asked, others - {cluster.instances[0].id})
            await cluster.set_lag(cluster.instances[2].id, seconds=30)
            await until_read_from(readers_asked, {cluster.instances[0].id})  # the writer
            await cluster.set_lag(late.id, seconds=0)
            await until_read_from(readers_asked, {late.id})


async def until_read_from(readers_asked, names):
    async with asyncio.timeout(30):
        while await readers_asked() != names:  # noqa: ASYNC110 - asks servers
            await asyncio.sleep(0.1)


@pytest.mark.alike
@pytest.mark.timeout(120)
@pytest.mark.parametrize("topology", ["static", "aurora"])
async def test_the_fastest_reader_gets_the_reads(with_readers, tables, connected, topology):
    cluster = with_readers
    await tables(cluster)
    async with cluster.fault_proxy("instance-2") as slow:
        settings = cluster.settings(topology=topology)
        slow.inject(Latency(0.05))
        place = f"{slow.host}:{slow.port}"
        if topology == "aurora":
            places = settings.instance_addresses() | {"instance-2": (slow.host, slow.port)}
            text = ",".join(f"{name}={host}:{port}" for name, (host, port) in places.items())
            settings = settings.replace({"instance_endpoints": text})
        else:
            last = cluster.instances[2]
            settings = settings.replace({"read_endpoint": f"{place},{last.host}:{last.port}"})
        db, _ = connected(settings, topology_refresh=0.1, reader_selection="fastest")
        async with db:
            await asyncio.sleep(1)
            query = INSTANCE[cluster.engine]
            asked = {await db.reader.fetch_value(query) for _ in range(10)}
            assert asked == {"instance-3"}
