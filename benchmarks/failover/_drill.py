"""The drill: kill the writer under load, promote a reader, and look at what callers saw."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from aurora_sql.errors import OperationalError
from aurora_sql.local import LocalCluster
from aurora_sql.types import Role
from benchmarks._postgresql import PostgreSQL
from benchmarks.failover._ledger import Ledger
from benchmarks.failover._results import Outcome
from benchmarks.failover._work import COUNTERS, InDoubt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from benchmarks._machine import Server
    from benchmarks.failover._results import FailoverOptions
    from benchmarks.failover._subjects import Contender
    from benchmarks.failover._work import Subject

_READERS = 2
_POLL = 0.005
_AFTER_ERROR = 0.05
"""Seconds that a caller waits after an error, so that one which comes at once is no busy loop."""

_TABLES = f"""
CREATE TABLE ledger (id int NOT NULL, caller int NOT NULL);
CREATE TABLE counters (id int PRIMARY KEY, value int NOT NULL);
INSERT INTO counters SELECT n, 0 FROM generate_series(1, {COUNTERS}) AS n;
"""


async def measure(
    contender: Contender,
    options: FailoverOptions,
    paused: Callable[[float | None], None],
) -> tuple[Outcome, Server]:
    """Measure one subject on a cluster of its own.

    Args:
        contender: The subject.
        options: How it is measured.
        paused: Is told of the pause of each failover.

    Raises:
        OperationalError: The cluster did not do what it promises.
    """
    async with LocalCluster(readers=_READERS, endpoint_lag=options.endpoint_lag) as cluster:
        async with _outside(cluster) as connection:
            await connection.execute(_TABLES)
            server = await PostgreSQL().server(connection, _READERS)
        ledger, pauses = await _drill(contender, cluster, options, paused)
        async with _outside(cluster) as connection:
            written = [row["id"] for row in await connection.fetch("SELECT id FROM ledger")]
            counted = await connection.fetchval("SELECT sum(value) FROM counters")
    if counted != len(written):
        raise OperationalError(
            f"{counted} units were counted and {len(written)} were noted, in the same"
            " transactions: the cluster itself has lost something"
        )
    verdict = ledger.compare(written)
    outcome = Outcome(
        name=contender.name,
        finds=contender.finds,
        settings=dict(contender.settings),
        pauses=pauses,
        longest_gap=ledger.longest_gap(),
        acknowledged=len(ledger.acknowledged),
        lost=verdict.lost,
        doubled=verdict.doubled,
        in_doubt=len(ledger.in_doubt),
        applied=verdict.applied,
        unaccounted=verdict.unaccounted,
        errors=dict(ledger.errors),
        reads=ledger.reads,
        read_errors=dict(ledger.read_errors),
    )
    return outcome, server


async def _drill(
    contender: Contender,
    cluster: LocalCluster,
    options: FailoverOptions,
    paused: Callable[[float | None], None],
) -> tuple[Ledger, tuple[float | None, ...]]:
    ledger = Ledger()
    pauses: list[float | None] = []
    async with contender.open(cluster, options, contender.settings) as subject:
        load = _Load(subject, ledger, options)
        async with asyncio.TaskGroup() as group:
            load.start(group)
            for _ in range(options.failovers):
                await asyncio.sleep(options.endpoint_lag + options.calm)
                accepted_at = await _fail_over(cluster)
                pause = await _first(ledger, accepted_at, options.patience)
                pauses.append(pause)
                paused(pause)
            load.stop()
    return ledger, tuple(pauses)


async def _first(ledger: Ledger, accepted_at: float, patience: float) -> float | None:
    """Wait for the first unit that the new writer acknowledges; None if there is none."""
    while (first := ledger.first_after(accepted_at)) is None:
        if time.monotonic() > accepted_at + patience:
            return None
        await asyncio.sleep(_POLL)
    return first - accepted_at


async def _fail_over(cluster: LocalCluster) -> float:
    """Kill the writer, promote a reader, and return when that accepted writes."""
    (writer,) = (one.id for one in cluster.instances if one.role is Role.WRITER)
    await cluster.kill(writer)
    change = await cluster.failover()
    # The old writer has been started again by the failover, as a reader.
    return change.accepted_at


@asynccontextmanager
async def _outside(cluster: LocalCluster) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A bare connection to the writer, past all subjects."""
    writer = cluster.instances[0]
    connection = await asyncpg.connect(
        host=writer.host,
        port=writer.port,
        user=cluster.username,
        password=cluster.password,
        database=cluster.database,
    )
    try:
        yield connection
    finally:
        await connection.close()


class _Load:
    """Callers that write and read until they are told to stop."""

    def __init__(self, subject: Subject, ledger: Ledger, options: FailoverOptions) -> None:
        self._subject = subject
        self._ledger = ledger
        self._options = options
        self._working = True

    def start(self, group: asyncio.TaskGroup) -> None:
        for caller in range(self._options.writers):
            group.create_task(self._write(caller))
        for caller in range(self._options.readers):
            group.create_task(self._read(caller))

    def stop(self) -> None:
        self._working = False

    async def _write(self, caller: int) -> None:
        number = caller
        while self._working:
            try:
                await self._subject.write(number, caller)
            except InDoubt:
                self._ledger.in_doubt.add(number)
            except Exception as error:  # noqa: BLE001 - whatever reaches a caller is what is counted
                self._ledger.refuse(number, error)
                await asyncio.sleep(_AFTER_ERROR)
            else:
                self._ledger.acknowledge(number, time.monotonic())
            number += self._options.writers

    async def _read(self, caller: int) -> None:
        while self._working:
            try:
                await self._subject.read(caller)
            except Exception as error:  # noqa: BLE001 - the same
                self._ledger.read_errors[type(error).__name__] += 1
                await asyncio.sleep(_AFTER_ERROR)
            else:
                self._ledger.reads += 1
