"""Client processes against the local cluster, with everybody's processor time."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from aurora_sql.local import LocalCluster
from aurora_sql.types import Role
from benchmarks import _shop
from benchmarks._machine import machine, software
from benchmarks._stats import rotated
from benchmarks._target import Target, sandbox
from benchmarks.scaling import _processor
from benchmarks.scaling._cells import cells
from benchmarks.scaling._client import Client
from benchmarks.scaling._results import Point, Round, ScalingResult
from benchmarks.scaling._worker import Order, Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aurora_sql.types import Engine
    from benchmarks._shop import ShopFiles
    from benchmarks.scaling._results import Cell, ScalingOptions
    from benchmarks.scaling._worker import Measured

_PREFIX = "AURORA_"


async def measure(
    engine: Engine,
    files: ShopFiles,
    options: ScalingOptions,
    *,
    readers: int,
    loop: str,
    progress: Callable[[str], None],
    measured: Callable[[], None] = lambda: None,
    chosen: Sequence[Cell] | None = None,
) -> ScalingResult:
    """Measure all cells on a local cluster of its own.

    Args:
        engine: Of the cluster.
        files: The shop's.
        options: How.
        readers: Of the cluster.
        loop: Name of the client's event loop, for the record.
        progress: Told of each step.
        measured: Called when one more round of a cell is done.
        chosen: The cells; default all.

    Raises:
        ConfigurationError: The system does not tell processor times.
        ClientFailed: A process of the client failed.
    """
    _processor.check()
    size = _shop.Size.of(options.scale)
    if chosen is None:
        chosen = cells(readers, most_rows=size.customers)
    load = os.getloadavg()[0]
    async with AsyncExitStack() as stack:
        progress("preparing servers and data")
        cluster = await stack.enter_async_context(
            LocalCluster(engine=engine.value, readers=readers)
        )
        place = await stack.enter_async_context(sandbox(Target(cluster.settings()), files, size))
        folder = stack.enter_context(TemporaryDirectory(prefix="aurora-bench-"))
        _shop.without_models(files.sql, Path(folder))
        async with place.connect() as admin:
            described = await place.side.server(admin, readers)
        values = cluster.environment(place.settings.database)
        setup = Setup(
            settings={name.removeprefix(_PREFIX).lower(): text for name, text in values.items()},
            sql=folder,
            scale=options.scale,
            seed=options.seed,
        )
        clients = [
            await stack.enter_async_context(Client(setup))
            for _ in range(max(cell.processes for cell in chosen))
        ]
        bench = _Bench(cluster, clients, options)
        rounds: dict[Cell, list[Round]] = {cell: [] for cell in chosen}
        for turn in range(options.rounds):
            for cell in rotated(chosen, turn):
                progress(f"round {turn + 1}: {title(cell)}")
                rounds[cell].append(await bench.measure(cell))
                measured()
        progress("cleaning up")
    return ScalingResult(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(shared_with_server=True),
        server=described,
        software=software(loop, engine),
        options=options,
        load_average=load,
        points=tuple(Point(cell=cell, rounds=tuple(found)) for cell, found in rounds.items()),
    )


def title(cell: Cell) -> str:
    """A cell in a few words."""
    what = {"read": "simple read", "write": "simple write", "rows": f"read of {cell.rows:,} rows"}
    where = f" on {cell.readers} readers" if cell.readers else ""
    who = (
        f"{cell.processes} x {cell.callers} callers"
        if cell.processes > 1
        else f"{cell.callers} callers"
    )
    return f"{what[cell.operation]}{where}, {who}"


@dataclass(frozen=True, slots=True)
class _Accounts:
    """What each process of both kinds of instances has used so far."""

    serving: dict[int, float]
    replication: dict[int, float]


class _Bench:
    """Client processes and the cluster that they work on."""

    def __init__(
        self, cluster: LocalCluster, clients: Sequence[Client], options: ScalingOptions
    ) -> None:
        self._cluster = cluster
        self._clients = clients
        self._options = options

    async def measure(self, cell: Cell) -> Round:
        options = self._options
        clients = self._clients[: cell.processes]
        order = Order(cell=cell, seconds=options.seconds, warm_up=options.warm_up)
        await asyncio.gather(*(client.prepare(order) for client in clients))
        before = self._accounts(cell)
        await asyncio.gather(*(client.run(order) for client in clients))
        after = self._accounts(cell)
        found = [await client.measured() for client in clients]
        return sum_up(found, before, after)

    def _accounts(self, cell: Cell) -> _Accounts:
        serving: set[int] = set()
        replication: set[int] = set()
        for instance in self._cluster.instances:
            if instance.pid is None:
                continue
            at_work = (instance.role is Role.READER) == (cell.readers > 0)
            # Of more readers than the cell asks for, the idle ones use next to nothing.
            (serving if at_work else replication).add(instance.pid)
        return _Accounts(
            serving=_processor.used_by_families(serving),
            replication=_processor.used_by_families(replication),
        )


def sum_up(found: Sequence[Measured], before: _Accounts, after: _Accounts) -> Round:
    """One round of what the processes measured and of two looks at the accounts."""
    seconds = fmean(one.seconds for one in found)
    client = sum(one.cpu for one in found)
    server = _processor.spent(before.serving, after.serving)
    replication = _processor.spent(before.replication, after.replication)
    busy = fmean(one.busy / one.seconds for one in found)
    return Round(
        seconds=seconds,
        operations=sum(one.operations for one in found),
        throughput=sum(one.throughput for one in found),
        p50=fmean(one.p50 for one in found),
        p95=fmean(one.p95 for one in found),
        client_cpu=client,
        server_cpu=server,
        replication_cpu=replication,
        others=max(0.0, busy - (client + server + replication) / seconds),
    )
