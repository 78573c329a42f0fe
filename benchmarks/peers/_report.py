"""A comparison with peers for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks._report import met, new_table, place_lines, rate
from benchmarks._results import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from benchmarks._results import Measured
    from benchmarks._stats import Spread
    from benchmarks.peers._results import PeerResult


def times(spread: Spread | None) -> str:
    """A ratio for people: how many times as much."""
    if spread is None:
        return ""
    return f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"


def _table(measured: Measured, limits: frozenset[str]) -> Table:
    table = new_table(measured.title)
    table.add_column("")
    table.add_column(f"{measured.unit}/s", justify="right")
    table.add_column("range", justify="right", style="dim")
    for name in ("p50 ms", "p95", "p99", "p99.9"):
        table.add_column(name, justify="right")
    table.add_column(f"{OURS} to it", justify="right")
    ordered = sorted(measured.subjects, key=lambda one: -one.throughput.median)
    for subject in ordered:
        spread, latency = subject.throughput, subject.latency
        ours = subject.name == OURS
        name = f"{subject.name} (limit)" if subject.name in limits else subject.name
        table.add_row(
            name,
            rate(spread.median),
            f"{rate(spread.low)}-{rate(spread.high)}",
            *(f"{one:.2f}" for one in (latency.p50, latency.p95, latency.p99, latency.p999)),
            "" if ours else times(measured.ratio(f"{OURS} / {subject.name}")),
            style="bold" if ours else None,
        )
    return table


def _crowds(result: PeerResult) -> Table:
    table = new_table("simple read, writer: operations per second by callers")
    table.add_column("callers", justify="right")
    names = [subject.name for subject in result.crowds[0].measured.subjects]
    for name in names:
        table.add_column(name, justify="right")
    for crowd in result.crowds:
        found = [crowd.measured.subject(name) for name in names]
        table.add_row(
            str(crowd.callers),
            *("" if one is None else rate(one.throughput.median) for one in found),
        )
    return table


def _layers(result: PeerResult) -> Table:
    table = new_table("simple read: what each layer costs, µs per call")
    table.add_column("layer")
    table.add_column("alone, sum", justify="right")
    table.add_column(f"{result.layer_callers} callers, sum", justify="right")
    table.add_column("what it does")
    for layer in result.layers:
        table.add_row(layer.name, f"{layer.alone:.2f}", f"{layer.network:.2f}", layer.what)
    return table


def _targets(result: PeerResult) -> Table:
    table = new_table("aurora_sql against its targets")
    for name in ("operation", "per second", "target", "", "p95 ms", "target", ""):
        table.add_column(name, justify="right" if name not in ("operation", "") else "left")
    for row in result.rows:
        ours = row.ours
        if ours is None:
            continue
        throughput, p95 = ours.throughput.median, ours.p95.median
        table.add_row(
            row.title,
            rate(throughput),
            f"{row.target_throughput:,.0f}",
            met(throughput >= row.target_throughput),
            f"{p95:.2f}",
            f"{row.target_p95:g}",
            met(p95 <= row.target_p95),
        )
    return table


def remarks(result: PeerResult) -> list[str]:
    """What a reader has to know before comparing: what is missing, and what cannot be compared."""
    found = [f"{name}: not measured, {why}" for name, why in result.missing.items()]
    found += result.left_out
    if not result.complete:
        found.append("interrupted: rows are missing")
    if result.options.reconnect:
        found.append(
            "the server has too few connections for all at once: each one connected for its own"
            " measurements"
        )
    return found


def run_line(result: PeerResult) -> str:
    """How it was measured."""
    options = result.options
    return (
        f"{options.callers} callers, as many connections of each, {options.rounds} interleaved"
        f" rounds of {options.seconds:g} s after {options.warm_up:g} s of warm-up,"
        f" {result.created}"
    )


def versions_line(versions: dict[str, str]) -> str:
    """All versions in one line."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def print_peers(console: Console, result: PeerResult) -> None:
    """Print everything."""
    for line in place_lines(result.machine, result.server, result.software):
        console.print(line, highlight=False)
    console.print(f"peers     {versions_line(result.versions)}", highlight=False)
    console.print(f"run       {run_line(result)}", highlight=False)
    tables: Sequence[Measured] = (*result.rows, *result.coalesced, *result.web)
    for measured in tables:
        console.print()
        console.print(_table(measured, result.limits))
    if result.crowds:
        console.print(_crowds(result))
    if result.layers:
        console.print(_layers(result))
    if result.rows:
        console.print(_targets(result))
    for sentence in remarks(result):
        console.print(f"  {sentence}", style="yellow", markup=False, highlight=False)
    console.print(
        "Medians of the rounds; the ratios are made within each round. The targets were set for a"
        " database server of 8 cores of its own.",
        style="dim",
    )
