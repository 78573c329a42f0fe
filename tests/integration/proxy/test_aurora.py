"""What callers of the library see when the network fails, and that it recovers."""

import asyncio
import time

import pytest

from aurora_sql import CommitInDoubt, ConnectionLost, DeadlineExceeded, PoolTimeout, deadline
from aurora_sql.local.faults import BlackHole, Latency, Reply, Request, Reset, Slices, Unanswered

INSERT = "INSERT INTO marks (n, t) VALUES (:n, 'x')"


async def at_rest(db):
    async with asyncio.timeout(10):
        while any(s.in_use or s.waiting or s.returning for s in db.pool_stats().values()):  # noqa: ASYNC110 - polls the pool
            await asyncio.sleep(0.01)


async def works(db, n):
    """All of the pool works: more calls at once than it has connections."""
    await asyncio.gather(*(db.execute(INSERT, {"n": n + i}) for i in range(6)))
    await at_rest(db)


async def test_a_dropped_reply_to_commit_leaves_it_in_doubt(proxy, aurora, marks):
    async with aurora() as db:
        proxy.inject(Reset(), at=Reply("COMMIT"))
        with pytest.raises(CommitInDoubt) as raised:
            async with db.transaction() as tx:
                await tx.execute(INSERT, {"n": 1})
        assert raised.value.outcome_unknown
        assert not raised.value.retry_safe
        assert await marks() == [1]
        await works(db, 10)


async def test_a_dropped_commit_leaves_it_in_doubt(proxy, aurora, marks):
    async with aurora() as db:
        proxy.inject(Reset(), at=Request("COMMIT"))
        with pytest.raises(CommitInDoubt) as raised:
            async with db.transaction() as tx:
                await tx.execute(INSERT, {"n": 1})
        assert raised.value.outcome_unknown
        assert await marks() == []
        await works(db, 10)


@pytest.mark.parametrize(("moment", "applied"), [(Reply, [1]), (Request, [])])
async def test_a_lone_write_without_an_answer_is_not_sent_again(
    proxy, aurora, marks, moment, applied
):
    async with aurora() as db:
        proxy.inject(Reset(), at=moment("INSERT"))
        with pytest.raises(ConnectionLost) as raised:
            await db.execute(INSERT, {"n": 1})
        assert raised.value.outcome_unknown
        assert proxy.stats.injected == 1
        assert await marks() == applied
        await works(db, 10)


@pytest.mark.parametrize("moment", [Reply, Request])
async def test_a_read_without_an_answer_is_sent_again(proxy, aurora, moment):
    async with aurora() as db:
        proxy.inject(Reset(), at=moment("SELECT count"), times=2)
        assert await db.fetch_value("SELECT count(*) FROM marks") == 0
        assert proxy.stats.injected == 2


async def test_a_write_that_was_not_sent_is_sent_again(proxy, aurora, marks):
    async with aurora() as db:
        proxy.inject(Reset(), at=Request("INSERT", message="P"))
        await db.execute(INSERT, {"n": 1})
        assert proxy.stats.injected == 1
        assert await marks() == [1]


async def test_a_transaction_lost_before_commit_is_replayed(proxy, aurora, marks):
    async with aurora() as db:
        proxy.inject(Reset(), at=Reply("INSERT"))
        tries = []

        async def work(tx):
            tries.append(1)
            await tx.execute(INSERT, {"n": 1})

        await db.run_in_transaction(work)
        assert len(tries) == 2
        assert await marks() == [1]


@pytest.mark.parametrize("fault", [BlackHole(), BlackHole(keep=True)], ids=repr)
async def test_a_black_hole_with_a_deadline(proxy, aurora, marks, fault):
    async with aurora() as db:
        await db.execute(INSERT, {"n": 1})
        proxy.inject(fault)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded), deadline(0.5):
            await db.fetch_value("SELECT count(*) FROM marks")
        assert 0.4 < time.monotonic() - started < 5
        with pytest.raises(DeadlineExceeded) as raised, deadline(0.5):
            await db.execute(INSERT, {"n": 2})
        # The read's connection is given up, and there is no other that it could have gone to.
        assert not raised.value.outcome_unknown
        proxy.heal()
        await works(db, 10)
        assert await marks() == [1, *range(10, 16)]


async def test_a_write_in_a_black_hole_is_in_doubt(proxy, aurora, marks):
    async with aurora() as db:
        await db.execute(INSERT, {"n": 1})
        proxy.inject(BlackHole(), at=Reply("INSERT"))
        with pytest.raises(DeadlineExceeded) as raised, deadline(0.5):
            await db.execute(INSERT, {"n": 2})
        assert raised.value.outcome_unknown
        assert await marks() == [1, 2]
        proxy.heal()
        await works(db, 10)


async def test_a_commit_in_a_black_hole_is_in_doubt_at_the_deadline(proxy, aurora, marks):
    async with aurora() as db:
        proxy.inject(BlackHole(), at=Reply("COMMIT"))
        started = time.monotonic()
        with pytest.raises(CommitInDoubt), deadline(0.5):
            async with db.transaction() as tx:
                await tx.execute(INSERT, {"n": 1})
        assert time.monotonic() - started < 5
        assert await marks() == [1]
        proxy.heal()
        await works(db, 10)


@pytest.mark.parametrize("fault", [BlackHole(), Unanswered()], ids=repr)
async def test_new_connections_that_are_not_answered(proxy, aurora, fault):
    async with aurora(max_pool_size=2) as db:
        await db.execute(INSERT, {"n": 1})
        proxy.inject(fault, on="new")
        # The open connection serves on; whoever needs a second one gives up in time.
        async with db.transaction() as tx:
            await tx.execute(INSERT, {"n": 2})
            started = time.monotonic()
            with pytest.raises((DeadlineExceeded, PoolTimeout)), deadline(0.4):
                await db.execute(INSERT, {"n": 3})
            assert time.monotonic() - started < 5
        proxy.heal()
        await works(db, 10)


async def test_all_sockets_reset_under_load(proxy, aurora, marks):
    async with aurora(max_pool_size=3) as db:
        acknowledged, in_doubt, refused = set(), set(), set()

        async def writer(start):
            for n in range(start, start + 40):
                try:
                    await db.execute(INSERT, {"n": n})
                    acknowledged.add(n)
                except ConnectionLost as error:
                    (in_doubt if error.outcome_unknown else refused).add(n)

        async def trouble():
            for _ in range(5):
                await asyncio.sleep(0.05)
                proxy.inject(Reset(), on="open")

        await asyncio.gather(trouble(), *(writer(100 * w) for w in range(1, 5)))
        there = await marks()
        assert len(there) == len(set(there))
        assert acknowledged <= set(there) <= acknowledged | in_doubt
        assert len(acknowledged | in_doubt | refused) == 160
        await works(db, 1000)


async def test_slices_and_latency_change_nothing_but_time(proxy, aurora, marks):
    proxy.inject(Slices(1))
    proxy.inject(Latency(0.002, jitter=0.003))
    async with aurora() as db:
        await works(db, 0)
        rows = await db.fetch_all("SELECT n, t FROM marks ORDER BY n")
        assert [(row.n, row.t) for row in rows] == [(n, "x") for n in range(6)]
        async with db.transaction() as tx:
            await tx.execute(INSERT, {"n": 50})
        assert await marks() == [*range(6), 50]
        await db.bulk_insert("marks", [{"n": n, "t": "é"} for n in range(100, 400)])
        assert await db.fetch_value("SELECT count(*) FROM marks WHERE t = 'é'") == 300
    assert proxy.stats.bytes_lost == 0
