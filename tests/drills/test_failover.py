"""Drill 1: the writer is killed under load and a reader is promoted."""

import asyncio
import statistics
import time

import pytest

from aurora_sql import Aurora, ConnectionLost, DeadlineExceeded
from aurora_sql.local import LocalCluster
from aurora_sql.migrations import apply, new
from aurora_sql.types import Role
from tests.drills.conftest import eventually
from tests.drills.ledger import QUESTIONS
from tests.drills.load import read_reader, replayed, tolerant, under_load

CALLERS = 10


@pytest.fixture
async def failing(server, tmp_path, past_the_library):
    """A cluster with two readers and the tables of the drills."""
    async with LocalCluster(server.engine, readers=2, bin_dir=server.bin_dir) as cluster:
        new(tmp_path, "commit markers", commit_markers=True, engine=server.engine)
        await apply(cluster.settings(), tmp_path)
        await (await past_the_library(cluster)).make_tables()
        await cluster.wait_replayed()
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


@pytest.mark.telling
@pytest.mark.timeout(400)
async def test_the_writer_is_killed(failing, ledger, at_rest, length, sql_folder):
    """No caller with a deadline of ten seconds sees an error; nothing is lost or doubled."""
    cluster, pauses, acknowledged_at = failing, [], []
    ledger.most_retries = QUESTIONS

    async def write(*args):
        await replayed(*args)
        acknowledged_at.append(time.monotonic())

    async with Aurora(through_endpoints(cluster), sql=sql_folder, observers=[ledger.observe]) as db:
        async with under_load(db, ledger, *[write] * 4, read_reader, callers=CALLERS):
            for _ in range(length(2, 10)):
                await asyncio.sleep(1)
                (writer,) = (one.id for one in cluster.instances if one.role is Role.WRITER)
                await cluster.kill(writer)
                change = await cluster.failover()
                ledger.faults += 1
                await asyncio.sleep(2)
                first = min(at for at in acknowledged_at if at > change.accepted_at)
                pauses.append(first - change.accepted_at)
                await cluster.restart(writer)
        await at_rest(db, 15)
    async with Aurora(cluster.settings()) as db:
        written = [row.id for row in await db.fetch_all("SELECT id FROM ledger")]
        counted = await db.fetch_value("SELECT sum(value) FROM counters")
    ledger.compare(written)
    told = ledger.read()
    assert counted == len(written) == len(told.acknowledged)
    assert not told.refused
    print(  # noqa: T201 - the report
        "from the new writer's first write to the first acknowledged one: median"
        f" {statistics.median(pauses) * 1000:.0f} ms, worst {max(pauses) * 1000:.0f} ms"
    )


@pytest.mark.timeout(400)
async def test_the_writer_is_killed_under_writes_that_travel_together(
    failing, ledger, at_rest, length, sql_folder
):
    """Who asked for exactly once sees no error; of the others, whom it struck is in doubt."""
    cluster = failing
    ledger.most_retries = QUESTIONS

    async def once(db, ledger, caller, limit):
        with ledger.unit(limit) as number:
            await db.sql.ledger.add_together_quietly_once(id=number, caller=-1 - caller)

    async def quietly(db, ledger, caller, limit):
        with ledger.unit(limit) as number:
            await db.sql.ledger.add_together_quietly(id=number, caller=-1 - caller)

    doubtful = tolerant(quietly, ConnectionLost, DeadlineExceeded)
    async with Aurora(through_endpoints(cluster), sql=sql_folder, observers=[ledger.observe]) as db:
        async with under_load(db, ledger, once, doubtful, callers=4 * CALLERS):
            for _ in range(length(1, 10)):
                told = ledger.acknowledgements
                await eventually(lambda: ledger.acknowledgements > told + 100, lambda: "no writes")  # noqa: B023
                (writer,) = (one.id for one in cluster.instances if one.role is Role.WRITER)
                await cluster.kill(writer)
                await cluster.failover()
                ledger.faults += 1
                told = ledger.acknowledgements
                await eventually(lambda: ledger.acknowledgements > told + 100, lambda: "no writes")  # noqa: B023
                await cluster.restart(writer)
        await at_rest(db, 15)
    async with Aurora(cluster.settings()) as db:
        ledger.compare(row.id for row in await db.fetch_all("SELECT id FROM ledger"))
