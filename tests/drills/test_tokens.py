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
SELECT value, (SELECT sum(value) FROM counters) AS total,
       aurora_db_instance_identifier() AS instance
FROM counters WHERE id = :id
"""
WRITE = "UPDATE counters SET value = value + 1 WHERE id = :id RETURNING value"
LAGS = (0.0, 0.01, 0.03, 0.08, 0.3)


@pytest.fixture
async def lagging():
    """A cluster whose readers lag by turns, differently."""
    async with LocalCluster(readers=2) as cluster:
        async with Aurora(cluster.settings()) as db:
            await db.execute("CREATE TABLE counters (id int PRIMARY KEY, value int NOT NULL)")
            await db.execute(f"INSERT INTO counters SELECT n, 0 FROM generate_series(1, {ROWS}) n")
        await cluster.wait_replayed()
        for one, seconds in zip(cluster.instances[1:], (0.05, 0.3), strict=True):
            await cluster.set_lag(one.id, seconds=seconds)
        yield cluster


async def change_lags(cluster, rng):
    while True:
        await asyncio.sleep(rng.uniform(0.2, 1.0))
        for one in cluster.instances:
            if one.role is Role.READER:
                await cluster.set_lag(one.id, seconds=rng.choice(LAGS))


@pytest.mark.timeout(1_800)
async def test_no_read_is_stale(lagging, length):
    """Those who read have an Aurora and a reader of their own: only the token is common."""
    pairs, rng = length(600, 100_000), random.Random(19)
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
                rows += [await s.fetch_one(READ, {"id": number}) for _ in range(2)]
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
                value = await s.fetch_value(WRITE, {"id": number})
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
