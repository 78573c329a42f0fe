"""Drill 25: a synchronous standby stops while COMMIT waits for it."""

import asyncio

import pytest

from aurora_sql import Aurora, CommitInDoubt
from aurora_sql.local import LocalCluster
from aurora_sql.migrations import apply, new
from tests.drills.load import after, place


@pytest.fixture
async def standby(server, tmp_path, past_the_library, ledger, sql_folder):
    """A cluster whose commits wait for its reader, and an Aurora on it."""
    async with LocalCluster(readers=1) as cluster:
        new(tmp_path / "migrations", "commit markers", commit_markers=True)
        await apply(cluster.settings(), tmp_path / "migrations")
        outside = await past_the_library(cluster)
        await outside.make_tables()
        reader = cluster.instances[1].id
        await outside.execute(f"ALTER SYSTEM SET synchronous_standby_names = '\"{reader}\"'")
        await outside.execute("SELECT pg_reload_conf()")
        settings = cluster.settings().replace({"min_pool_size": 1, "max_pool_size": 4})
        async with Aurora(settings, sql=sql_folder, observers=[ledger.observe]) as db:
            yield cluster, db


@pytest.mark.not_on(
    "mysql",
    "mariadb",
    because="the cluster's commits wait for no reader; what waits is tried with a lock instead",
)
async def test_a_standby_stops_during_commit(
    standby, past_the_library, ledger, at_rest, sql_folder
):
    """COMMIT waits for a synchronous standby that is paused; the caller cannot wait for ever."""
    cluster, db = standby
    outside = await past_the_library(cluster)
    reader = cluster.instances[1].id
    with ledger.unit():
        await db.run_in_transaction(place, 1, 0)

    async def cancelled():
        with ledger.unit(10.0, 2):
            await db.run_in_transaction(place, 2, 0)

    async def waiting(count):
        async with asyncio.timeout(10):
            while (  # noqa: ASYNC110 - polls a server
                await outside.fetchval(
                    f"SELECT count(*) {outside.sessions} AND wait_event = 'SyncRep'"
                )
                < count
            ):
                await asyncio.sleep(0.01)

    await cluster.pause(reader)
    ledger.faults += 1
    try:
        task = asyncio.create_task(cancelled())
        await waiting(1)
        task.cancel()
        with pytest.raises(CommitInDoubt), ledger.unit(1.0, 3):
            await db.run_in_transaction(place, 3, 0)
        # The COMMIT of the first is shielded: cancelled, it still waits for the answer.
        assert not task.done()
        resuming = after(0.2, cluster.resume, reader)
        with pytest.raises(asyncio.CancelledError):
            await task
        await resuming
    finally:
        await cluster.resume(reader)
    with ledger.unit(10.0, 4):
        await db.run_in_transaction(place, 4, 0)
    await at_rest(db, 15)
    written = await outside.written()
    ledger.compare(written)
    assert sorted(written) == [1, 2, 3, 4]
