"""The command ``scaling``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Engine
from benchmarks._loop import LoopKind, choose
from benchmarks._loop import run as run_loop
from benchmarks._options import result_path
from benchmarks._report import LiveReport
from benchmarks._shop import Size, shop_files
from benchmarks.scaling._model import Fleet, checks, outlook, service_times, typical_error
from benchmarks.scaling._results import ScalingOptions, ScalingResult

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.scaling._budget import Budget
    from benchmarks.scaling._model import Outlook

MEASURED_READERS = 2
_MILLISECONDS = 1_000


@dataclass(frozen=True, slots=True)
class Demand:
    """What a fleet is to do, and what its instances allow.

    Attributes:
        rate: Operations per second of the whole fleet; None for 70 % of what it can do.
        memory: GiB of the instances' class; None if not known.
        allowed: ``max_connections``; None for Aurora's default for that memory.
    """

    rate: float | None = None
    memory: float | None = None
    allowed: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a result says of a fleet, as plain data: for reports of all kinds."""

    outlook: Outlook
    budget: Budget


def plan(result: ScalingResult, fleet: Fleet, demand: Demand | None = None) -> Plan:
    """What a result says of a fleet.

    Raises:
        ConfigurationError: The fleet cannot do the rate, or the result lacks a measurement.
    """
    from benchmarks.scaling import _budget  # noqa: PLC0415 - other commands do not need it

    demand = demand or Demand()
    allowed = demand.allowed
    if allowed is None and demand.memory is not None:
        engine = Engine.POSTGRESQL if result.server.product == "PostgreSQL" else Engine.MYSQL
        allowed = _budget.default_max_connections(engine, _budget.class_memory(demand.memory))
    read = service_times(result)
    write = service_times(result, "write") if result.sweep("write") else None
    return Plan(
        outlook(fleet, read, write),
        _budget.budget(fleet, read, write, rate=demand.rate, allowed=allowed),
    )


def show(console: Console, result: ScalingResult, fleet: Fleet, demand: Demand) -> Plan:
    """Print a result and what it says of a fleet."""
    from benchmarks.scaling import _report  # noqa: PLC0415 - other commands do not need it

    planned = plan(result, fleet, demand)
    _report.print_scaling(console, result)
    console.print()
    _report.print_outlook(console, planned.outlook)
    console.print()
    _report.print_budget(console, planned.budget)
    return planned


def register(app: typer.Typer, console: Console) -> None:
    """Add the command."""

    @app.command()
    def scaling(
        *,
        quick: Annotated[bool, typer.Option("--quick", help="One short round.")] = False,
        rounds: Annotated[int | None, typer.Option(min=1, help="Interleaved repetitions.")] = None,
        seconds: Annotated[
            float | None, typer.Option(min=0.05, help="Length of one measurement.")
        ] = None,
        scale: Annotated[float, typer.Option(help="Size of the data; 1.0 is 10,000 users.")] = 0.3,
        seed: Annotated[int, typer.Option(help="Of parameters.")] = 1,
        engine: Annotated[Engine, typer.Option(help="Of the cluster.")] = Engine.POSTGRESQL,
        earlier: Annotated[
            Path | None, typer.Option("--from", help="Measure nothing: take this earlier result.")
        ] = None,
        services: Annotated[int, typer.Option(min=1, help="Of the fleet.")] = 4,
        processes: Annotated[int, typer.Option(min=1, help="Of each service.")] = 2,
        callers: Annotated[int, typer.Option(min=1, max=64, help="Of each process.")] = 8,
        readers: Annotated[int, typer.Option(min=0, max=15, help="Of the fleet's cluster.")] = 2,
        pool: Annotated[int, typer.Option(min=1, help="The fleet's max_pool_size.")] = 20,
        cores: Annotated[int, typer.Option(min=1, help="Of each of its instances.")] = 8,
        network_ms: Annotated[
            float, typer.Option(help="A round trip; 0.1 to 1 in a region.")
        ] = 0.5,
        think_ms: Annotated[float, typer.Option(help="Of a caller between two operations.")] = 0.0,
        reads: Annotated[float, typer.Option(help="Share of reads; the rest are writes.")] = 1.0,
        rate: Annotated[
            float | None, typer.Option(help="Operations/s of the fleet; default 70 % of its most.")
        ] = None,
        instance_memory: Annotated[
            float | None, typer.Option(help="GiB of the instance class, for max_connections.")
        ] = None,
        max_connections: Annotated[
            int | None, typer.Option(min=1, help="Of an instance, where it is not the default.")
        ] = None,
        shop: Annotated[
            Path | None, typer.Option(help="Folder with sql and migrations of the shop.")
        ] = None,
        output: Annotated[
            Path | None, typer.Option(help="Where the JSON result goes; default bench-results/.")
        ] = None,
        html: Annotated[Path | None, typer.Option(help="Also write a page with a chart.")] = None,
    ) -> None:
        """Measure how throughput grows on a local cluster, and predict it for a fleet."""
        fleet = Fleet(
            services=services,
            processes=processes,
            callers=callers,
            readers=readers,
            pool=pool,
            cores=cores,
            network=network_ms / _MILLISECONDS,
            think=think_ms / _MILLISECONDS,
            reads=reads,
        )
        demand = Demand(rate, instance_memory, max_connections)
        if earlier is not None:
            result = ScalingResult.load(earlier)
        else:
            Size.of(scale)  # a wrong one is refused before anything starts
            options = ScalingOptions(
                rounds=rounds or (1 if quick else 5),
                seconds=seconds or (0.2 if quick else 1.0),
                warm_up=0.1 if quick else 0.3,
                scale=scale,
                seed=seed,
            )
            result = _measured(console, engine, options, shop)
            path = result_path(output, "scaling-")
            result.save(path)
            console.print(f"result: {path}")
        planned = show(console, result, fleet, demand)
        if html is not None:
            _write_page(html, planned, result)
            console.print(f"page: {html}")


def _measured(
    console: Console, engine: Engine, options: ScalingOptions, shop: Path | None
) -> ScalingResult:
    from benchmarks.scaling import _cells, _measure  # noqa: PLC0415 - only here

    files, (loop, _) = shop_files(shop, engine), choose(LoopKind.AUTO)
    chosen = _cells.cells(MEASURED_READERS, most_rows=Size.of(options.scale).customers)
    with LiveReport(console, len(chosen) * options.rounds) as report:
        return run_loop(
            lambda: _measure.measure(
                engine,
                files,
                options,
                readers=MEASURED_READERS,
                loop=loop,
                progress=report.stage,
                measured=report.advance,
                chosen=chosen,
            ),
            LoopKind.AUTO,
        )


def _write_page(path: Path, planned: Plan, result: ScalingResult) -> None:
    from benchmarks.scaling import _chart  # noqa: PLC0415 - only here

    machine, times = result.machine, planned.outlook.times
    notes = [
        (
            f"Service times measured on {machine.processor}, {machine.cores} cores, at"
            f" {result.created}: {times.client * 1e6:.1f} µs of client and"
            f" {times.server * 1e6:.1f} µs of server for an operation."
        )
    ]
    error = typical_error(checks(result))
    if error is not None:
        notes.append(
            f"On that machine the model is off by {error[0]:.0%} in the median and {error[1]:.0%}"
            " at most."
        )
    try:
        path.write_text(_chart.page(planned.outlook, notes), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--html {path}: {error.strerror}") from error
