"""Drills 9 to 13: peers that never answer, sockets that are reset, bytes that come one by one."""

import asyncio
from contextlib import suppress

import pytest

from aurora_sql import AuroraError, DeadlineExceeded
from aurora_sql.local.faults import (
    Bandwidth,
    BlackHole,
    Close,
    Direction,
    HalfClose,
    Reset,
    Slices,
    SlowClose,
)
from tests.drills.ledger import QUESTIONS, UNDOING
from tests.drills.load import (
    EVERY_KIND,
    LARGE,
    bulk,
    plain,
    read,
    replayed,
    stream,
    tolerant,
    under_load,
)


async def test_a_peer_that_never_answers(opened, proxy, markers, check, length, ledger):
    """It takes what is sent and is silent, on old connections and on new ones."""
    ledger.most_retries = QUESTIONS
    ledger.grace += UNDOING
    impatient = [tolerant(work) for work in (replayed, plain, read, stream, bulk)]
    async with opened(connection_timeout=2.0) as db:
        for _ in range(length(1, 10)):
            async with under_load(db, ledger, *impatient, callers=10, limit=1.0):
                await asyncio.sleep(0.3)
                proxy.inject(BlackHole())
                ledger.faults += 1
                await asyncio.sleep(2)
                proxy.heal()
                await asyncio.sleep(0.5)
            await replayed(db, ledger, 0)
        assert ledger.read().in_doubt
    await check()


@pytest.mark.parametrize(
    "faults",
    [
        [Reset()],
        [Close()],
        [HalfClose(Direction.TO_CLIENT)],
        [HalfClose(Direction.TO_SERVER)],
        [SlowClose(0.2), Close()],
    ],
    ids=["reset", "close", "half-close to the client", "half-close to the server", "slow close"],
)
async def test_all_sockets_at_once(opened, proxy, markers, check, length, rng, ledger, faults):
    ledger.most_retries = QUESTIONS
    # So many in a row use up the retries that one call has by default.
    async with opened(max_retry_count=10, retry_budget=0) as db:
        async with under_load(db, ledger, *EVERY_KIND, tolerant(bulk), callers=12):
            for _ in range(length(6, 100)):
                await asyncio.sleep(rng.uniform(0.05, 0.2))
                for fault in faults:
                    proxy.inject(fault, on="open")
                ledger.faults += 1
        proxy.heal()
    await check()


async def test_one_byte_at_a_time(opened, proxy, markers, check, length, ledger):
    """Frames end anywhere, in rows of any size."""
    size, rows = length(500, 200_000), 20
    async with opened() as db:
        proxy.inject(Slices(1))
        ledger.faults += 1
        async with under_load(db, ledger, replayed, plain, bulk, read, callers=4):
            with ledger.call(60.0):
                found = await db.fetch_all(LARGE, {"size": size, "rows": rows})
            with ledger.call(60.0):
                streamed = [
                    row
                    async for row in db.stream(LARGE, {"size": size, "rows": rows}, batch_size=7)
                ]
        assert streamed == found
        assert [row.text for row in found] == [chr(64 + n % 26) * size for n in range(1, rows + 1)]
        with ledger.unit(60.0) as number:
            await db.bulk_insert(
                "ledger",
                [(number, -1)] + [(-n, -1) for n in range(1, 50)],
                columns=("id", "caller"),
            )
        assert await db.execute("DELETE FROM ledger WHERE id < 0") == 49
    await check()


async def test_a_slow_reader_is_cancelled(opened, proxy, markers, check, length, ledger):
    """Rows are waiting in every buffer on the way when their reader loses interest."""

    async def dawdle(db, pause):
        rows = db.stream(LARGE, {"size": 10_000, "rows": 2_000}, batch_size=10)
        with ledger.call(20.0):
            async with rows:
                async for _ in rows:
                    await asyncio.sleep(pause)

    async with opened(max_pool_size=3) as db:
        for number in range(length(9, 200)):
            slow_network = number % 3 == 2
            if slow_network:
                proxy.inject(Bandwidth(100_000, Direction.TO_CLIENT))
            readers = [asyncio.create_task(dawdle(db, 0.001 * (number % 3))) for _ in range(3)]
            await asyncio.sleep(0.02 + 0.01 * number % 0.2)
            for reader in readers:
                reader.cancel()
                ledger.faults += 1
            proxy.heal()
            ended = await asyncio.gather(*readers, return_exceptions=True)
            assert {type(one) for one in ended} <= {asyncio.CancelledError}
            # None of the three is lost.
            await asyncio.gather(*(replayed(db, ledger, n) for n in range(3)))
    await check()


async def test_a_slow_producer_is_cancelled(opened, proxy, markers, check, length, ledger):
    """COPY ends with nothing written, whether the rows were slow or the network."""

    async def rows(number, pause):
        yield number, -1
        for _ in range(2_000):
            yield -1, -1
            if pause:
                await asyncio.sleep(pause)

    async def produce(db, pause):
        with ledger.unit(20.0) as number:
            await db.bulk_insert("ledger", rows(number, pause), columns=("id", "caller"))

    async with opened(max_pool_size=3) as db:
        for number in range(length(9, 200)):
            slow_network = number % 3 == 2
            if slow_network:
                proxy.inject(Bandwidth(10_000, Direction.TO_SERVER))
            pause = 0.0 if slow_network else 0.001
            producers = [asyncio.create_task(produce(db, pause)) for _ in range(3)]
            await asyncio.sleep(0.05 + 0.01 * number % 0.2)
            for producer in producers:
                producer.cancel()
                ledger.faults += 1
            proxy.heal()
            ended = await asyncio.gather(*producers, return_exceptions=True)
            assert {type(one) for one in ended} <= {asyncio.CancelledError, type(None)}
            await asyncio.gather(*(replayed(db, ledger, n) for n in range(3)))
        await db.execute("DELETE FROM ledger WHERE id < 0")
    await check()


async def test_a_deadline_ends_a_slow_stream(opened, proxy, markers, check, ledger):
    async with opened(max_pool_size=2) as db:
        proxy.inject(Bandwidth(20_000, Direction.TO_CLIENT))
        ledger.faults += 1
        with pytest.raises(DeadlineExceeded), ledger.call(0.5):
            async for _ in db.stream(LARGE, {"size": 10_000, "rows": 100}):
                pass
        proxy.heal()
        with suppress(AuroraError):
            await replayed(db, ledger, 0)
        await replayed(db, ledger, 0)
    await check()


@pytest.mark.parametrize("left", ["by an error", "by a deadline"])
async def test_a_stream_is_left_while_the_peer_is_silent(
    opened, proxy, markers, check, ledger, monkeypatch, left
):
    monkeypatch.setattr("aurora_sql.execution._watch._UNDO_LIMIT", 0.3)
    async with opened(max_pool_size=2) as db:
        expected = ZeroDivisionError if left == "by an error" else DeadlineExceeded
        with pytest.raises(expected), ledger.call(0.5):
            async with (
                asyncio.timeout(10),
                db.stream(LARGE, {"size": 9, "rows": 50}, batch_size=10) as rows,
            ):
                async for _ in rows.batches():
                    proxy.inject(BlackHole())
                    ledger.faults += 1
                    if left == "by an error":
                        raise ZeroDivisionError
                    await asyncio.sleep(0.6)
        proxy.heal()
        await replayed(db, ledger, 0)
    await check()
