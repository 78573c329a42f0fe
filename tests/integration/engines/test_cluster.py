"""Readers, sessions and failovers."""

from __future__ import annotations

import asyncio

import pytest

from aurora_sql import Aurora
from aurora_sql.local import LocalCluster
from aurora_sql.migrations import apply, new
from aurora_sql.types import Role
from tests.conftest import ONE_PER_ENGINE

from .conftest import SQL, TABLES


def leases(db):
    return {name: stats.leases for name, stats in db.pool_stats().items()}


async def test_health_and_topology(db):
    health = await db.health()
    assert health.ok, health
    assert db.topology.writer is not None
    assert [one.role for one in db.topology.readers] == [Role.READER] * 2


async def test_reads_go_to_readers_where_they_may(db):
    before, writer = leases(db), db.topology.writer.id
    assert len(await db.sql.accounts.on_reader()) == 10
    assert len(await db.reader.sql.accounts.everyone()) == 10
    after = leases(db)
    assert after[writer] == before[writer]
    assert sum(after.values()) == sum(before.values()) + 2


async def test_a_session_sees_its_writes_on_lagging_readers(cluster, opened):
    async with opened() as db:
        for reader in cluster.instances[1:]:
            await cluster.set_lag(reader.id, seconds=0.05)
        try:
            token = None
            for n in range(40):
                async with db.session(token=token) as s:
                    await s.sql.accounts.deposit(id=1, amount=1)
                    assert (await s.sql.accounts.get(id=1)).balance == 101 + n
                token = s.token
                async with db.session(token=token) as s:
                    assert (await s.sql.accounts.get(id=1)).balance == 101 + n
        finally:
            for reader in cluster.instances[1:]:
                await cluster.set_lag(reader.id, seconds=0)


async def test_readers_serve_sessions_once_they_have_caught_up(cluster, opened):
    async with opened() as db:
        writer = db.topology.writer.id
        async with db.session() as s:
            await s.sql.accounts.deposit(id=1, amount=1)
            await cluster.wait_replayed()
            before = leases(db)[writer]
            for _ in range(20):
                assert (await s.sql.accounts.get(id=1)).balance == 101
            assert leases(db)[writer] - before <= 2  # it was asked for its position


async def place(tx, number):
    await tx.sql.accounts.deposit(id=1, amount=1)
    await tx.sql.accounts.add(id=number, owner=f"order {number}", balance=0)


@ONE_PER_ENGINE  # tests/drills/test_failover.py has all kinds
@pytest.mark.parametrize("topology", ["static", "aurora"])
async def test_a_failover_loses_and_doubles_nothing(server, tmp_path, topology):
    async with LocalCluster(engine=server.engine, readers=2, bin_dir=server.bin_dir) as cluster:
        settings = cluster.settings(topology=topology).replace(
            {"min_pool_size": 2, "max_pool_size": 8}
        )
        new(tmp_path, "commit markers", commit_markers=True, engine=cluster.engine)
        await apply(settings, tmp_path)
        async with Aurora(settings, sql=SQL) as db:
            for sql in TABLES[cluster.engine]:
                await db.execute(sql)
            await db.sql.accounts.add(id=1, owner="all", balance=0)
            done, numbers, reads, going = [], iter(range(100, 10**9)), 0, True

            async def write():
                while going:
                    number = next(numbers)
                    await db.run_in_transaction(place, number)
                    done.append(number)

            async def read():
                nonlocal reads
                while going:
                    await db.reader.sql.accounts.how_many()
                    reads += 1
                    await asyncio.sleep(0.01)

            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(write())
                group.create_task(read())
                await asyncio.sleep(0.5)
                acknowledged = len(done)
                await cluster.kill("writer")
                await cluster.failover()
                async with asyncio.timeout(20):
                    while len(done) < acknowledged + 50:  # noqa: ASYNC110 - a counter
                        await asyncio.sleep(0.02)
                going = False
            found = await db.fetch_all("SELECT id FROM accounts WHERE id >= 100 ORDER BY id")
            assert [one.id for one in found] == sorted(done)
            assert (await db.sql.accounts.get(id=1)).balance == len(done)
            assert reads


async def test_exactly_once(db, cluster, settings, tmp_path, outside):
    await outside.execute("DROP TABLE IF EXISTS aurora_sql_commits")
    for table in ("_yoyo_migration", "_yoyo_log", "_yoyo_version", "yoyo_lock"):
        await outside.execute(f"DROP TABLE IF EXISTS {table}")
    new(tmp_path, "commit markers", commit_markers=True, engine=cluster.engine)
    await apply(settings, tmp_path)
    await db.sql.accounts.add_once(id=300, owner="once", balance=0)
    assert await outside.value("SELECT count(*) FROM aurora_sql_commits") == 1
    assert (await db.sql.accounts.get(id=300)).owner == "once"
