"""What each layer costs on the simple read, in microseconds per call.

The same read is made by ever more of the library, from asyncpg's protocol up to the public
call; what one step takes more than the one before is that layer's cost. Two ways to measure:

* with the server, as many callers as connections: the time per call of the whole client, which
  is what throughput is made of, but noisy;
* without network: the driver's one call into asyncpg is replaced by an answer that is there
  already, so that only the library's own instructions are left.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from aurora_sql import Aurora
from aurora_sql.deadlines import surrounding_deadline
from aurora_sql.statements import StatementRegistry
from aurora_sql.types import Role
from benchmarks import _shop
from benchmarks._engine import closed_loop
from benchmarks._library import pool_settings
from benchmarks._report import new_table
from benchmarks._rows import OPERATIONS
from benchmarks._stats import rotated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from rich.table import Table

    from aurora_sql.pool import Pool, Pooled
    from aurora_sql.statements import Statement, Variant
    from benchmarks._shop import ShopFiles, Size
    from benchmarks._target import Target
    from benchmarks._work import Value, Work

    Call = Callable[[Any], Awaitable[Any]]

STATEMENT = "users.get"
_NULL_CALLS = 1_000
_NULL_REPETITIONS = 10
_MICROSECONDS = 1_000_000

STEPS = (
    ("asyncpg's protocol", "bind and execute, a connection per caller"),
    ("driver seam", "errors translated, was it sent"),
    ("prepared lookup", "by text, on this connection"),
    ("lease and release", "clock, idle connection, and back"),
    ("bind", "names to positions, variant of the text"),
    ("deadline", "context variable, limit, sweeper, task"),
    ("rows and books", "cardinality, the row, session state"),
    ("public call", "db.sql.users.get(id=…): route, retries"),
)


class LayerCost:
    """One line of the table.

    Attributes:
        name: Of the layer.
        what: It does.
        network: Microseconds per call up to and with this layer, with the server; the best round.
        alone: The same without network.
    """

    __slots__ = ("alone", "name", "network", "what")

    def __init__(self, name: str, what: str, network: float, alone: float) -> None:
        self.name = name
        self.what = what
        self.network = network
        self.alone = alone


class _Ladder:
    """The steps, each a call that goes one layer higher."""

    def __init__(self, db: Aurora, statement: Statement) -> None:
        # The layers are what is measured here, so this looks inside.
        shared = db._shared  # noqa: SLF001 - see above
        self.context = shared.context
        self.pool: Pool = shared.cluster.writer_pool
        self.public = db.sql[STATEMENT]
        self.statement = statement
        self.variant: Variant = statement.variants[0]

    async def leases(self, count: int) -> list[Pooled]:
        """Lease connections and prepare the statement on them."""
        found = []
        for _ in range(count):
            pooled = await self.pool.acquire()
            found.append(pooled)
            if self.variant not in pooled.prepared:
                await self.context.preparer.prepare(pooled, self.statement, self.variant)
        return found

    def on_connection(self, pooled: Pooled) -> list[Call]:
        """The steps of a caller with a connection of its own."""
        variant, prepared = self.variant, pooled.prepared
        entry = prepared[variant]
        # Held by the driver's statement under these names, which are its hot path.
        statement: Any = entry.prepared
        state, bind_execute = statement._state, statement._bind_execute  # noqa: SLF001 - see above
        fetch = statement.fetch

        async def lookup(value: Value) -> Any:
            found: Any = prepared.get(variant)
            return await found.fetch(value.args, found.limit)

        limit = entry.limit
        return [
            lambda value: bind_execute(state, value.args, "", limit, False, None),  # noqa: FBT003 - asyncpg's own order
            lambda value: fetch(value.args, limit),
            lookup,
        ]

    def on_pool(self) -> list[Call]:
        """The steps of a caller of the pool."""
        public = self.public
        return [
            self._leased(),
            self._bound(),
            self._limited(),
            self._finished(),
            lambda value: public(**value.named),
        ]

    def _leased(self) -> Call:
        pool, variant, clock = self.pool, self.variant, self.context.loop.time

        async def leased(value: Value) -> Any:
            pooled = pool.try_acquire(clock()) or await pool.acquire()
            try:
                entry: Any = pooled.prepared.get(variant)
                return await entry.fetch(value.args, entry.limit)
            finally:
                pool.release(pooled)

        return leased

    def _bound(self) -> Call:
        pool, statement, clock = self.pool, self.statement, self.context.loop.time

        async def bound(value: Value) -> Any:
            variant, args = statement.bind(value.named)
            pooled = pool.try_acquire(clock()) or await pool.acquire()
            try:
                entry: Any = pooled.prepared.get(variant)
                return await entry.fetch(args, entry.limit)
            finally:
                pool.release(pooled)

        return bound

    def _limited(self) -> Call:
        pool, statement, clock = self.pool, self.statement, self.context.loop.time
        due, timeout = self.context.sweeper.due, self.context.command_timeout
        current_task = asyncio.current_task

        async def limited(value: Value) -> Any:
            variant, args = statement.bind(value.named)
            now = clock()
            limit = now + (statement.timeout or timeout)
            surrounding = surrounding_deadline()
            if surrounding is not None and surrounding < limit:
                limit = surrounding
            pooled = pool.try_acquire(now) or await pool.acquire()
            pooled.deadline = limit
            pooled.task = current_task()
            due(limit)
            try:
                entry: Any = pooled.prepared.get(variant)
                return await entry.fetch(args, entry.limit)
            finally:
                pooled.task = None
                pool.release(pooled)

        return limited

    def _finished(self) -> Call:
        pool, statement, clock = self.pool, self.statement, self.context.loop.time
        due, timeout = self.context.sweeper.due, self.context.command_timeout
        current_task = asyncio.current_task

        async def finished(value: Value) -> Any:
            variant, args = statement.bind(value.named)
            now = clock()
            limit = now + (statement.timeout or timeout)
            surrounding = surrounding_deadline()
            if surrounding is not None and surrounding < limit:
                limit = surrounding
            pooled = pool.try_acquire(now) or await pool.acquire()
            pooled.deadline = limit
            pooled.task = current_task()
            due(limit)
            try:
                entry: Any = pooled.prepared.get(variant)
                rows = await entry.fetch(args, entry.limit)
            finally:
                pooled.task = None
                pool.release(pooled)
            entry.used = True
            if not entry.clean:
                pooled.dirty = True
            finish = entry.finish
            return rows if finish is None else finish(rows)

        return finished


def _answer_at_once(pooled: Pooled, variant: Variant, rows: list[Any]) -> None:
    """Put an answer that is there already in the place of asyncpg's call."""

    async def answer(*_: Any) -> list[Any]:
        return rows

    statement: Any = pooled.prepared[variant].prepared
    statement._bind_execute = answer  # noqa: SLF001 - the one way to take the network out


async def _alone(call: Call, values: Sequence[Value]) -> float:
    """Microseconds per call of one caller."""
    begin = time.perf_counter()
    done = 0
    while done < _NULL_CALLS:
        for value in values:
            await call(value)
        done += len(values)
    return (time.perf_counter() - begin) / done * _MICROSECONDS


async def measure(
    target: Target,
    files: ShopFiles,
    size: Size,
    *,
    callers: int,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> list[LayerCost]:
    """Measure all layers on a target that has the shop.

    Args:
        target: Servers with the shop's data.
        files: The shop's statements.
        size: Of the data.
        callers: Callers, and connections.
        rounds: Repetitions; the best is reported.
        seconds: Length of one measurement with the server.
        progress: Told what is done.
    """
    with TemporaryDirectory(prefix="aurora-bench-") as folder:
        _shop.without_models(files.sql, Path(folder))
        registry = StatementRegistry.load(folder, dialect="postgresql")
    work = next(one for one in OPERATIONS if one.name == "read-writer").make(registry, size, 1)
    settings = pool_settings(target.settings, Role.WRITER, callers)
    async with AsyncExitStack() as stack:
        # Two pools: one whose connections belong to the callers, one that is shared.
        owned = _Ladder(
            await stack.enter_async_context(Aurora(settings, sql=registry)), registry[STATEMENT]
        )
        shared = _Ladder(
            await stack.enter_async_context(Aurora(settings, sql=registry)), registry[STATEMENT]
        )
        leases = await owned.leases(callers)
        for pooled in leases:
            stack.callback(owned.pool.release, pooled)
        warm = await shared.leases(callers)
        for pooled in warm:
            shared.pool.release(pooled)
        network = await _with_server(owned, shared, leases, work, rounds, seconds, progress)
        progress("without network")
        alone = await _without_network(owned, shared, leases, work, callers, rounds)
    return [
        LayerCost(name, what, network[number], alone[number])
        for number, (name, what) in enumerate(STEPS)
    ]


async def _with_server(
    owned: _Ladder,
    shared: _Ladder,
    leases: Sequence[Pooled],
    work: Work,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> list[float]:
    by_caller = [owned.on_connection(pooled) for pooled in leases]
    ladders = [[calls[step] for calls in by_caller] for step in range(len(by_caller[0]))]
    ladders += [[call] * len(leases) for call in shared.on_pool()]
    found: list[list[float]] = [[] for _ in ladders]
    values = work.streams(len(leases))
    for turn in range(rounds):
        progress(f"with the server, round {turn + 1} of {rounds}")
        for step in rotated(range(len(ladders)), turn):
            await closed_loop(ladders[step], values, seconds / 5)
            sample = await closed_loop(ladders[step], values, seconds)
            found[step].append(_MICROSECONDS / sample.throughput)
    # The best rather than the median: a layer costs what it costs, the rest is disturbance.
    return [min(one) for one in found]


async def _without_network(
    owned: _Ladder,
    shared: _Ladder,
    leases: Sequence[Pooled],
    work: Work,
    callers: int,
    rounds: int,
) -> list[float]:
    values: list[Value] = list(work.values[:100])
    rows = await leases[0].prepared[owned.variant].fetch(values[0].args, 0)
    for ladder, pooled_ones in ((owned, leases), (shared, await shared.leases(callers))):
        for pooled in pooled_ones:
            _answer_at_once(pooled, ladder.variant, rows)
            if ladder is shared:
                shared.pool.release(pooled)
    # The steps of the connection read the replaced call anew.
    ladders = [*owned.on_connection(leases[0]), *shared.on_pool()]
    found: list[list[float]] = [[] for _ in ladders]
    for turn in range(rounds * _NULL_REPETITIONS):
        for step in rotated(range(len(ladders)), turn):
            found[step].append(await _alone(ladders[step], values))
    return [min(one) for one in found]


def table(costs: Sequence[LayerCost], callers: int) -> Table:
    """The costs for people."""
    shown = new_table("simple read: what each layer costs, µs per call")
    shown.add_column("layer")
    shown.add_column("alone: adds", justify="right")
    shown.add_column("sum", justify="right")
    shown.add_column(f"{callers} callers: adds", justify="right")
    shown.add_column("sum", justify="right")
    shown.add_column("what it does")
    before: LayerCost | None = None
    for cost in costs:
        shown.add_row(
            cost.name,
            f"{cost.alone - (before.alone if before else 0.0):.2f}",
            f"{cost.alone:.2f}",
            f"{cost.network - (before.network if before else 0.0):.2f}",
            f"{cost.network:.2f}",
            cost.what,
        )
        before = cost
    return shown
