"""Drill 1: the writer is killed under load and a reader is promoted."""

import asyncio
import statistics
import time
from collections import Counter

import pytest

from aurora_sql import Aurora, CommitResolved, deadline
from aurora_sql.local import LocalCluster
from aurora_sql.migrations import apply, new
from aurora_sql.types import Role

CALLERS, READERS = 8, 2


@pytest.fixture
async def failing(tmp_path):
    """A cluster with two readers and the tables of the drills."""
    async with LocalCluster(readers=2) as cluster:
        new(tmp_path, "commit markers", commit_markers=True)
        await apply(cluster.settings(), tmp_path)
        async with Aurora(cluster.settings()) as db:
            await db.execute("CREATE TABLE ledger (id int NOT NULL, caller int NOT NULL)")
            await db.execute("CREATE TABLE counters (id int PRIMARY KEY, value int NOT NULL)")
            await db.execute("INSERT INTO counters SELECT n, 0 FROM generate_series(1, 8) AS n")
        yield cluster


def through_endpoints(cluster):
    (writer, writer_port), (reader, reader_port) = cluster.writer_endpoint, cluster.reader_endpoint
    return cluster.settings().replace(
        {
            "write_endpoint": f"{writer}:{writer_port}",
            "read_endpoint": f"{reader}:{reader_port}",
            "min_pool_size": 4,
            "max_pool_size": 16,
        }
    )


async def place(tx, number, caller):
    assert await tx.sql.ledger.count_up(id=1 + number % 8) == 1
    return await tx.sql.ledger.add(id=number, caller=caller)


@pytest.mark.timeout(400)
async def test_the_writer_is_killed(failing, ledger, length, sql_folder):
    """No caller with a deadline of ten seconds sees an error; nothing is lost or doubled."""
    cluster, events = failing, Counter()
    acknowledged_at, reads = [], Counter()
    working = True

    def observe(event):
        if isinstance(event, CommitResolved):
            events[event.applied] += 1

    async def write(db, caller):
        number = caller
        while working:
            with deadline(10):
                assert (await db.run_in_transaction(place, number, caller)).id == number
            acknowledged_at.append(time.monotonic())
            ledger.acknowledged.add(number)
            number += CALLERS

    async def read(db):
        while working:
            with deadline(10):
                assert await db.reader.fetch_value("SELECT count(*) FROM counters") == 8
            reads["answered"] += 1

    pauses = []
    async with (
        Aurora(through_endpoints(cluster), sql=sql_folder, observers=[observe]) as db,
        asyncio.TaskGroup() as group,
    ):
        for caller in range(CALLERS):
            group.create_task(write(db, caller))
        for _ in range(READERS):
            group.create_task(read(db))
        for _ in range(length(2, 10)):
            await asyncio.sleep(1)
            (writer,) = (one.id for one in cluster.instances if one.role is Role.WRITER)
            await cluster.kill(writer)
            change = await cluster.failover()
            await asyncio.sleep(2)
            first = min(at for at in acknowledged_at if at > change.accepted_at)
            pauses.append(first - change.accepted_at)
            await cluster.restart(writer)
        working = False
    async with Aurora(cluster.settings()) as db:
        written = [row.id for row in await db.fetch_all("SELECT id FROM ledger")]
        counted = await db.fetch_value("SELECT sum(value) FROM counters")
    ledger.compare(written)
    assert counted == len(written) == len(ledger.acknowledged)
    print(  # noqa: T201 - the report
        f"\n{len(pauses)} failovers, {len(written)} writes acknowledged, 0 lost, 0 doubled;"
        f" {reads['answered']} reads; in doubt and resolved: {events[True]} applied,"
        f" {events[False]} not; from the new writer's first write to the first acknowledged one:"
        f" median {statistics.median(pauses) * 1000:.0f} ms, worst {max(pauses) * 1000:.0f} ms"
    )
