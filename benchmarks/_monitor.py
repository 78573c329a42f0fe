"""What the monitor costs: processor time at rest, and throughput with it and without."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from aurora_sql import Aurora
from aurora_sql.statements import StatementRegistry
from benchmarks import _shop
from benchmarks._engine import closed_loop
from benchmarks._report import new_table
from benchmarks._rows import OPERATIONS
from benchmarks._stats import rotated

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from benchmarks._shop import ShopFiles, Size
    from benchmarks._target import Target

REST_TARGET = 0.01
SHARE_TARGET = 0.96
# Longer than any run: what is due then never comes.
_NEVER = "24d"
_SETTLE = 1.0
# Of Student's distribution, two-sided, 95 %, by degrees of freedom; the last holds for all above.
_STUDENT = ((4, 2.776), (6, 2.447), (9, 2.262), (14, 2.145), (19, 2.093), (29, 2.045), (60, 2.0))


@dataclass(frozen=True, slots=True)
class MonitorCost:
    """What was measured.

    Attributes:
        at_rest: Share of one core that an open, idle Aurora takes with the monitor.
        at_rest_without: The same without it.
        share: Throughput with the monitor divided by that without, geometric mean of the pairs.
        low: Lower end of the 95 % interval of ``share``.
        high: Upper end of it.
        pairs: How many there were.
    """

    at_rest: float
    at_rest_without: float
    share: float
    low: float
    high: float
    pairs: int


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Geometric mean of ratios, and the ends of its 95 % interval."""
    logs = [math.log(one) for one in ratios]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(mean), 0.0, math.inf
    freedom = len(logs) - 1
    factor = next((one for most, one in reversed(_STUDENT) if freedom >= most), 12.706)
    half = factor * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


async def measure(
    target: Target,
    files: ShopFiles,
    size: Size,
    *,
    callers: int,
    pairs: int,
    seconds: float,
    rest: float,
    progress: Callable[[str], None],
) -> MonitorCost:
    """Measure both ways on one cluster.

    Args:
        target: Where.
        files: The shop's statements.
        size: Of its data.
        callers: Callers, and connections of each way.
        pairs: Interleaved pairs of measurements.
        seconds: Length of one.
        rest: Seconds of each measurement at rest.
        progress: Told of each step.
    """
    with TemporaryDirectory(prefix="aurora-bench-") as folder:
        _shop.without_models(files.sql, Path(folder))
        registry = StatementRegistry.load(folder, dialect=target.settings.engine.value)
    work = next(one for one in OPERATIONS if one.name == "read-writer").make(registry, size, 1)
    watched = target.settings.replace({"min_pool_size": callers, "max_pool_size": callers})
    blind = watched.replace({"topology_refresh": _NEVER, "failure_detection": _NEVER})
    resting = []
    for settings in (watched, blind):
        progress("at rest")
        async with Aurora(settings, sql=registry):
            await asyncio.sleep(_SETTLE)
            used = time.process_time()
            await asyncio.sleep(rest)
            resting.append((time.process_time() - used) / rest)
    ratios = []
    async with AsyncExitStack() as stack:
        calls = [
            [work.ours(await stack.enter_async_context(Aurora(settings, sql=registry)))] * callers
            for settings in (watched, blind)
        ]
        values = work.streams(callers)
        for pair in range(pairs):
            progress(f"pair {pair + 1} of {pairs}")
            rates = [0.0, 0.0]
            for way in rotated((0, 1), pair):
                await closed_loop(calls[way], values, seconds / 5)
                rates[way] = (await closed_loop(calls[way], values, seconds)).throughput
            ratios.append(rates[0] / rates[1])
    return MonitorCost(resting[0], resting[1], *interval(ratios), pairs)


def table(cost: MonitorCost) -> Table:
    """The figures for people."""
    shown = new_table(f"the monitor's cost, {cost.pairs} interleaved pairs")
    shown.add_column("what")
    for name in ("with", "without", "with / without", "95 % interval", "target", ""):
        shown.add_column(name, justify="right")
    shown.add_row(
        "at rest, share of one core",
        f"{cost.at_rest:.3%}",
        f"{cost.at_rest_without:.3%}",
        "",
        "",
        f"under {REST_TARGET:.0%}",
        _verdict(good=cost.at_rest < REST_TARGET),
    )
    shown.add_row(
        "simple read, throughput",
        "",
        "",
        f"{cost.share:.3f}",
        f"{cost.low:.3f}-{cost.high:.3f}",
        f"{SHARE_TARGET:g} or more",
        _verdict(good=cost.low >= SHARE_TARGET),
    )
    return shown


def _verdict(*, good: bool) -> str:
    return "[green]met[/green]" if good else "[red]not met[/red]"
