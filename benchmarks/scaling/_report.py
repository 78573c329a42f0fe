"""What people see: the measurements, the model beside them, and what it says of other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from benchmarks._report import new_table, place_lines, rate
from benchmarks.scaling._model import checks, readers_of, typical_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.table import Table

    from benchmarks.scaling._budget import Budget
    from benchmarks.scaling._model import Check, Outlook
    from benchmarks.scaling._results import Cell, Point, ScalingResult

_TITLES = {
    "callers": "simple read by callers, one process",
    "write": "simple write by callers, one process",
    "processes": "simple read by processes of the client",
    "readers": "simple read by readers, 2 processes of 16 callers",
    "rows": "read by rows of the result, 8 callers",
}
_MICROSECONDS = 1e6
_FAR = 0.25


def print_scaling(console: Console, result: ScalingResult) -> None:
    """Print what was measured, and the model beside it."""
    options = result.options
    heading = [
        *place_lines(result.machine, result.server, result.software),
        (
            f"run       {options.rounds} rounds of {options.seconds:g} s, {result.created}, load"
            f" average {result.load_average:.1f} before"
        ),
    ]
    console.print(Text("\n".join(heading)))
    found = checks(result)
    for sweep, text in _TITLES.items():
        lines = [check for check in found if check.point.cell.sweep == sweep]
        if lines:
            console.print()
            console.print(measured_table(text, lines))
    error, own = typical_error(found), typical_error(found, own=True)
    if error is not None and own is not None:
        console.print(
            f"  model: off by {error[0]:.0%} in the median and {error[1]:.0%} at most, where it was"
            " not fed (*)\n  with the measurement; fed with each measurement's own processor times"
            f" (last column): {own[0]:.0%} and {own[1]:.0%}.\n  Compared is the calmest round of"
            " each, with the cores that others left."
        )


def measured_table(text: str, found: Iterable[Check]) -> Table:
    """One sweep."""
    table = new_table(text)
    table.add_column("", no_wrap=True)
    for name in (
        *("ops/s", "range", "p50 ms", "p95", "client µs", "server µs", "others"),
        *("calmest", "model", "error", "own"),
    ):
        table.add_column(name, justify="right", style="dim" if name == "range" else None)
    for check in found:
        table.add_row(*_cells(check))
    return table


def label(cell: Cell) -> str:
    """What a cell has that others of its sweep have not."""
    match cell.sweep:
        case "processes":
            return f"{cell.processes} x {cell.callers} callers"
        case "readers":
            return readers_of(cell.readers)
        case "rows":
            return f"{cell.rows:,} rows" if cell.rows > 1 else "1 row"
    return f"{cell.callers} callers"


def _cells(check: Check) -> list[str]:
    point: Point = check.point
    spread, calm = point.throughput, point.calmest
    error = f"{check.error:+.0%}"
    if abs(check.error) > _FAR and not check.fed:
        error = f"[yellow]{error}[/yellow]"
    return [
        label(point.cell),
        rate(spread.median),
        f"{rate(spread.low)}-{rate(spread.high)}",
        f"{point.p50:.2f}",
        f"{point.p95:.2f}",
        f"{point.client_time.median * _MICROSECONDS:.1f}",
        f"{point.server_time.median * _MICROSECONDS:.1f}",
        f"{calm.others:.2f}",
        rate(calm.throughput),
        rate(check.predicted),
        f"{error} *" if check.fed else error,
        f"{check.own_error:+.0%}",
    ]


def print_outlook(console: Console, outlook: Outlook) -> None:
    """Print what the model says of a fleet, with what it assumes right beside."""
    fleet, times = outlook.fleet, outlook.times
    table = new_table(
        f"predicted, not measured: ops/s of services x readers ({fleet.cores} cores an instance)"
    )
    table.add_column("services", justify="right")
    counts = sorted({services for services, _ in outlook.grid})
    sizes = sorted({readers for _, readers in outlook.grid})
    for size in sizes:
        table.add_column(readers_of(size), justify="right", no_wrap=True)
        table.add_column("busiest", style="dim", no_wrap=True)
    for count in counts:
        cells = [str(count)]
        for size in sizes:
            solution = outlook.grid[count, size].solution
            busiest = solution.bottleneck
            cells += [
                rate(solution.throughput),
                f"{busiest} {solution.utilisation[busiest]:.0%}",
            ]
        table.add_row(*cells)
    console.print(table)
    client, server, waiting = (
        f"{one * _MICROSECONDS:.1f} µs" for one in (times.client, times.server, times.waiting)
    )
    console.print(
        f"  an operation takes {client} of the client's processor, {server} of the server's, and"
        f" waits {waiting}; assumed:"
    )
    for sentence in outlook.assumed:
        console.print(f"  - {sentence}")
    here = outlook.here.solution
    console.print(
        f"  {fleet.services} services, {readers_of(fleet.readers)}: {rate(here.throughput)} ops/s,"
        f" {here.response * 1000:.2f} ms each;"
        " with 20 % less and 20 % more of"
    )
    for one in outlook.sensitivity:
        low, high = (value / here.throughput - 1 for value in (one.fewer, one.more))
        console.print(
            f"  - {one.what}: {rate(one.fewer)} ({low:+.0%}), {rate(one.more)} ({high:+.0%})"
        )


def print_budget(console: Console, budget: Budget) -> None:
    """Print the connections of a fleet."""
    fleet = budget.fleet
    table = new_table("connections of the fleet")
    table.add_column("what")
    table.add_column("", justify="right")
    table.add_column("how", style="dim")
    table.add_row(
        "to each instance",
        f"{budget.instance:,}",
        f"{fleet.services} services x {fleet.processes} processes x (pool of {fleet.pool} and"
        " 1 for the monitor)",
    )
    table.add_row(
        "to the cluster", f"{budget.cluster:,}", f"x (1 writer + {fleet.readers} readers)"
    )
    if budget.allowed is not None:
        table.add_row("max_connections", f"{budget.allowed:,}", "of each instance")
        table.add_row("largest pool that fits", f"{budget.largest_pool:,}", "")
    table.add_row(
        "in use on average",
        f"{budget.busy:.1f}",
        f"in each pool: {rate(budget.rate)} ops/s x {budget.response * 1000:.2f} ms, Little's law",
    )
    table.add_row(
        "recommended max_pool_size",
        f"{budget.recommended}",
        "enough in 999 of 1,000 moments, if calls come by chance",
    )
    console.print(table)
    for warning in budget.warnings:
        console.print(f"  [yellow]careful:[/yellow] {warning}")
    if not budget.warnings:
        console.print("  [green]fits[/green]")
