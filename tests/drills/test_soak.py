"""Drill 27: random faults every few seconds, under mixed load, for as long as one likes.

``make soak MINUTES=60`` runs it at length and prints what happens; ``SEED=…`` brings a run again:
the same faults in the same order with the same pauses.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from aurora_sql import Aurora
from aurora_sql.local import LocalCluster
from aurora_sql.local.faults import (
    Bandwidth,
    BlackHole,
    Close,
    Connections,
    HalfClose,
    Latency,
    Reply,
    Request,
    Reset,
    Slices,
)
from aurora_sql.migrations import apply, new
from aurora_sql.types import Role
from tests.drills.ledger import QUESTIONS, UNDOING
from tests.drills.load import bulk, plain, read, read_reader, replayed, stream, tolerant, under_load
from tests.drills.outside import Outside

if TYPE_CHECKING:
    from aurora_sql.local import FaultProxy

CALLERS = 14


@dataclass
class Bench:
    """What a fault has at hand.

    Attributes:
        cluster: The servers.
        proxies: What stands before each, by the instance's id.
        rng: Random numbers, the same for the same seed.
    """

    cluster: LocalCluster
    proxies: dict[str, FaultProxy]
    rng: random.Random

    @property
    def readers(self) -> list[str]:
        return [one.id for one in self.cluster.instances if one.role is Role.READER]

    def any_proxy(self) -> FaultProxy:
        return self.proxies[self.rng.choice(sorted(self.proxies))]


async def network(bench):
    """A proxy shapes what passes, for a while."""
    proxy = bench.any_proxy()
    proxy.inject(
        bench.rng.choice([Latency(0.05, jitter=0.1), Bandwidth(50_000), Slices(1), Slices(100)])
    )
    await asyncio.sleep(bench.rng.uniform(0.5, 3))
    proxy.heal()


async def black_hole(bench):
    """Nothing passes, on open connections, on new ones or on all."""
    proxy = bench.any_proxy()
    fault = BlackHole(keep=bench.rng.random() < 0.5)
    proxy.inject(fault, on=bench.rng.choice(list(Connections)))
    await asyncio.sleep(bench.rng.uniform(0.5, 3))
    proxy.heal()


async def sockets(bench):
    """All connections through one proxy end."""
    fault = bench.rng.choice([Reset(), Close(), HalfClose()])
    bench.any_proxy().inject(fault, on=Connections.OPEN)


async def commits(bench):
    """Some COMMITs, or the answers to them, are lost on the way to the writer."""
    (writer,) = (one.id for one in bench.cluster.instances if one.role is Role.WRITER)
    proxy = bench.proxies[writer]
    moment = bench.rng.choice([Reply("COMMIT"), Request("COMMIT")])
    proxy.inject(Reset(), at=moment, times=bench.rng.randint(1, 5))
    await asyncio.sleep(1)
    proxy.heal()


async def sessions(bench):
    """The server ends some sessions of one instance."""
    instance = bench.rng.choice(bench.cluster.instances)
    outside = await Outside.open(bench.cluster, instance)
    try:
        await outside.end_sessions(bench.rng.randint(1, 6))
    finally:
        await outside.close()


async def pause_reader(bench):
    reader = bench.rng.choice(bench.readers)
    await bench.cluster.pause(reader)
    try:
        await asyncio.sleep(bench.rng.uniform(0.5, 4))
    finally:
        await bench.cluster.resume(reader)


async def kill_reader(bench):
    reader = bench.rng.choice(bench.readers)
    await bench.cluster.kill(reader)
    await asyncio.sleep(bench.rng.uniform(0, 3))
    await bench.cluster.restart(reader)


async def lag(bench):
    reader = bench.rng.choice(bench.readers)
    await bench.cluster.set_lag(reader, seconds=bench.rng.uniform(0.5, 5))
    await asyncio.sleep(bench.rng.uniform(0.5, 4))
    await bench.cluster.set_lag(reader, seconds=0)


async def restart_writer(bench):
    await bench.cluster.kill("writer")
    await asyncio.sleep(bench.rng.uniform(0, 1))
    await bench.cluster.restart("writer")


async def pause_writer(bench):
    await bench.cluster.pause("writer")
    try:
        await asyncio.sleep(bench.rng.uniform(0.5, 5))
    finally:
        await bench.cluster.resume("writer")


async def fail_over(bench):
    """The writer is killed, or stopped in good order, and another takes its place."""
    if bench.rng.random() < 0.7:
        await bench.cluster.kill("writer")
        await asyncio.sleep(bench.rng.uniform(0, 1))
    await bench.cluster.failover()


Fault = Callable[[Bench], Awaitable[None]]
FAULTS: tuple[Fault, ...] = (
    network,
    black_hole,
    sockets,
    commits,
    sessions,
    pause_reader,
    kill_reader,
    lag,
    restart_writer,
    pause_writer,
    fail_over,
)
"""Each is a function that breaks something and has mended it when it returns."""
SHORT: tuple[Fault, ...] = (commits, kill_reader, fail_over, sockets)


@pytest.fixture
async def bench(server, tmp_path, past_the_library, soak_seed):
    """A writer and two readers, each behind a proxy, and the tables of the drills."""
    cluster = LocalCluster(server.engine, readers=2, bin_dir=server.bin_dir)
    async with cluster, AsyncExitStack() as stack:
        new(tmp_path / "migrations", "commit markers", commit_markers=True, engine=server.engine)
        await apply(cluster.settings(), tmp_path / "migrations")
        await (await past_the_library(cluster)).make_tables()
        await cluster.wait_replayed()
        proxies = {
            one.id: await stack.enter_async_context(cluster.fault_proxy(one.id))
            for one in cluster.instances
        }
        yield Bench(cluster, proxies, random.Random(soak_seed))


@pytest.fixture
def soak_seconds(request):
    """How long it runs; None for the short form."""
    minutes = request.config.getoption("--soak")
    return None if minutes is None else minutes * 60


@pytest.fixture
def soak_seed(request, soak_seconds, rng):
    """The seed that was asked for; else a new one at length, and always the same in short."""
    seed = request.config.getoption("--drills-seed")
    if seed is None:
        seed = (
            rng.getrandbits(32) if soak_seconds is None else random.SystemRandom().getrandbits(32)
        )
    return seed


def through(proxies):
    writer, *readers = (f"{proxy.host}:{proxy.port}" for proxy in proxies.values())
    return {
        "write_endpoint": writer,
        "read_endpoint": ",".join(readers),
        "min_pool_size": 2,
        "max_pool_size": 10,
        "connection_timeout": 5.0,
    }


async def break_things(bench, ledger, seconds):
    """Let one fault after the other happen, with a pause between them; say so."""
    started = time.monotonic()
    faults = iter(SHORT)
    while True:
        pause = bench.rng.uniform(1, 2) if seconds is None else bench.rng.uniform(5, 20)
        await asyncio.sleep(pause)
        if seconds is not None and time.monotonic() - started > seconds:
            return
        fault = next(faults, None) if seconds is None else bench.rng.choice(FAULTS)
        if fault is None:
            return
        before = ledger.acknowledgements
        await fault(bench)
        ledger.faults += 1
        print(  # noqa: T201 - the report
            f"{time.monotonic() - started:7.1f} s  {fault.__name__:<14}"
            f" {ledger.acknowledgements - before:6} writes meanwhile, {ledger.progress}",
            flush=True,
        )


async def test_soak(bench, ledger, at_rest, soak_seconds, soak_seed, sql_folder):
    print(f"\nseed {soak_seed}: --drills-seed {soak_seed} brings it again", flush=True)  # noqa: T201 - the report
    ledger.most_retries = QUESTIONS
    ledger.grace += UNDOING
    settings = bench.cluster.settings().replace(through(bench.proxies))
    # What the library says is in the ledger; here it is only asked whether it was true.
    works = [tolerant(one) for one in (replayed, plain, read_reader, read, stream, bulk, replayed)]
    async with Aurora(settings, sql=sql_folder, observers=[ledger.observe]) as db:
        async with under_load(db, ledger, *works, callers=CALLERS):
            await break_things(bench, ledger, soak_seconds)
            # It works as if nothing had been: every caller, on every instance.
            before = ledger.acknowledgements
            async with asyncio.timeout(30):
                while ledger.acknowledgements < before + 5 * CALLERS:  # noqa: ASYNC110 - the load itself
                    await asyncio.sleep(0.05)
        await at_rest(db, 30)
        for work in (replayed, plain, read, read_reader, stream, bulk):
            await work(db, ledger, 0)
        await at_rest(db)
    await hold_to_account(bench, ledger)


async def hold_to_account(bench, ledger):
    """Compare with the writer; no instance has a session left, and the readers have it all too."""
    await bench.cluster.wait_replayed()
    found = {}
    for instance in bench.cluster.instances:
        outside = await Outside.open(bench.cluster, instance)
        try:
            async with asyncio.timeout(15):
                while await outside.count_sessions():  # noqa: ASYNC110 - polls a server
                    await asyncio.sleep(0.05)
            found[instance.role] = sorted(await outside.written())
            assert await outside.fetchval("SELECT sum(value) FROM counters") == (
                await outside.fetchval("SELECT count(*) FROM ledger WHERE caller >= 0")
            )
        finally:
            await outside.close()
    ledger.compare(found[Role.WRITER])
    assert found[Role.READER] == found[Role.WRITER]
