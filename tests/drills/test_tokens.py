"""Reads with a token see the write, on readers that lag: pairs of a write and a read elsewhere."""

import asyncio
import itertools
import random
from collections import Counter

import pytest

from aurora_sql import Aurora
from aurora_sql.local import LocalCluster
from aurora_sql.types import Role

CALLERS = 8
ROWS = 400
# What all callers wrote together only grows: it shows where time goes back.
READ = """
SELECT value, (SELECT sum(value) FROM counters) AS total, {} AS instance
FROM counters WHERE id = :id
"""
INSTANCE = {
    "postgresql": "aurora_db_instance_identifier()",
    "mysql": "@@report_host",  # an unknown function might write
}
WRITE = "UPDATE counters SET value = value + 1 WHERE id = :id"
WRITTEN = "SELECT value FROM counters WHERE id = :id"
# Lags and how long they last, in seconds. MySQL knows whole seconds only, and none below two.
LAGS = {
    "postgresql": ((0.0, 0.01, 0.03, 0.08, 0.3), (0.2, 1.0)),
    "mysql": ((0.0, 0.0, 0.0, 1.0), (0.5, 3.0)),
}


@pytest.fixture
async def lagging(server):
    """A cluster whose readers lag by turns, differently."""
    async with LocalCluster(server.engine, readers=2, bin_dir=server.bin_dir) as cluster:
        async with Aurora(cluster.settings()) as db:
            await db.execute("CREATE TABLE counters (id int PRIMARY KEY, value int NOT NULL)")
            rows = [(n, 0) for n in range(1, ROWS + 1)]
            await db.bulk_insert("counters", rows, columns=("id", "value"))
        await cluster.wait_replayed()
        await cluster.set_lag(cluster.instances[1].id, seconds=0.3)
        yield cluster


async def change_lags(cluster, rng):
    lags, pauses = LAGS[cluster.engine]
    while True:
        await asyncio.sleep(rng.uniform(*pauses))
        for one in cluster.instances:
            if one.role is Role.READER:
                await cluster.set_lag(one.id, seconds=rng.choice(lags))


@pytest.mark.timeout(1_800)
async def test_no_read_is_stale(server, lagging, length):
    """Those who read have an Aurora and a reader of their own: only the token is common."""
    pairs, rng = length(600, 100_000), random.Random(19)
    query = READ.format(INSTANCE[server.engine])
    settings = lagging.settings().replace(
        {"min_pool_size": 2, "max_pool_size": 16, "token_secret": "the same for both, and long"}
    )
    addresses = [f"{r.host}:{r.port}" for r in lagging.instances if r.role is Role.READER]
    (writer,) = [one.id for one in lagging.instances if one.role is Role.WRITER]
    served, kept = Counter(), []  # tokens that were kept for a while, with what they promise
    stale, back = [], []

    async def read(others, token, number, value):
        rows = []
        for _ in range(3):
            # What was shown goes on to the next session, on whatever reader.
            async with rng.choice(others).session(token=token) as s:
                rows += [await s.fetch_one(query, {"id": number}) for _ in range(2)]
            token = s.token
        served.update(row.instance for row in rows)
        if rows[0].value < value:
            stale.append((value, rows))
        if any(then.total < before.total for before, then in itertools.pairwise(rows)):
            back.append(rows)

    async def caller(one, others, name):
        for turn in range(pairs // CALLERS):
            number = 1 + (name + CALLERS * turn) % ROWS
            async with one.session() as s:
                async with s.transaction() as tx:
                    await tx.execute(WRITE, {"id": number})
                    value = await tx.fetch_value(WRITTEN, {"id": number})
                token = s.token  # in the block: the position is still to be asked for
            await read(others, rng.choice((token, s.token)), number, value)
            kept.append((s.token, number, value))
            if len(kept) > 50:
                await read(others, *kept.pop(rng.randrange(len(kept))))

    own = [Aurora(settings.replace({"read_endpoint": address})) for address in addresses]
    async with Aurora(settings) as one, own[0], own[1]:
        lags = asyncio.create_task(change_lags(lagging, rng))
        try:
            async with asyncio.TaskGroup() as group:
                for name in range(CALLERS):
                    group.create_task(caller(one, own, name))
        finally:
            lags.cancel()
            await asyncio.gather(lags, return_exceptions=True)
        questions = sum(db._shared.consistency._sent for db in (one, *own))
    total = served.total()
    by_readers = total - served[writer]
    print(  # noqa: T201 - the report
        f"\n{pairs} writes, {total} reads by token, {len(stale)} stale, {len(back)} back in time;"
        f" {by_readers / total:.0%} served by readers; the writer was asked {questions} times"
    )
    assert not stale
    assert not back
    assert by_readers > 0
