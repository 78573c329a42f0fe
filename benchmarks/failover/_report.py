"""What people see of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.text import Text

from benchmarks._report import LiveReport, met, new_table, place_lines
from benchmarks._results import differences
from benchmarks.failover._results import MEDIAN_GOAL, OURS, WORST_GOAL

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from benchmarks.failover._results import FailoverOptions, FailoverResult, Outcome


class FailoverReport(LiveReport):
    """Shows progress: each failover as it ends."""

    def __init__(self, console: Console, subjects: int, options: FailoverOptions) -> None:
        super().__init__(console, subjects * options.failovers)
        self._patience = options.patience

    def paused(self, subject: str, turn: int, pause: float | None) -> None:
        """Show the pause of one failover."""
        self.stage(f"{subject}: failover {turn + 1}, {duration(pause, self._patience)}")
        self.advance()


def duration(seconds: float | None, patience: float) -> str:
    """A pause in milliseconds; one that did not end is longer than anybody waited."""
    if seconds is None or math.isinf(seconds):
        return f"> {patience:g} s"
    return f"{seconds * 1000:,.0f} ms"


def print_failover(console: Console, result: FailoverResult) -> None:
    """Print everything."""
    console.print(_heading(result))
    console.print()
    console.print(_table(result))
    for line in _notes(result):
        console.print(f"  {line}")


def print_failover_comparison(
    console: Console, earlier: FailoverResult, now: FailoverResult
) -> None:
    """Print how a result differs from an earlier one, for each subject that both have."""
    table = new_table(f"against {earlier.created} ({earlier.software.revision or 'no revision'})")
    table.add_column("subject")
    for name in ("median", "worst", "longest gap", "lost", "doubled", "in doubt", "errors"):
        table.add_column(name, justify="right")
    for one in now.outcomes:
        before = earlier.outcome(one.name)
        if before is not None:
            cells = zip(_compared(before, earlier), _compared(one, now), strict=True)
            table.add_row(one.name, *(f"[dim]{then} →[/dim] {today}" for then, today in cells))
    console.print(table)
    for difference in differences(earlier, now):
        console.print(f"  careful: {difference}", style="yellow")


def _compared(one: Outcome, result: FailoverResult) -> list[str]:
    patience = result.options.patience
    return [
        *(duration(value, patience) for value in (one.median, one.worst, one.longest_gap)),
        _bad(one.lost),
        _bad(one.doubled),
        f"{one.in_doubt:,}",
        f"{sum(one.errors.values()):,}",
    ]


def _heading(result: FailoverResult) -> Text:
    options = result.options
    packages = ", ".join(f"{name} {version}" for name, version in result.packages.items())
    lines = [
        *place_lines(result.machine, result.server, result.software),
        f"others    {packages or 'none'}",
        (
            f"run       {options.failovers} failovers of each subject, by kill -9 and promotion,"
            f" under {options.writers} callers that write and {options.readers} that read, each"
            f" with {options.deadline:g} s for a call; {result.created}"
        ),
        (
            f"endpoints lead to the old writer for {options.endpoint_lag:g} s after a promotion, as"
            " DNS does"
        ),
    ]
    if not result.complete:
        lines.append("note      interrupted: subjects are missing")
    return Text("\n".join(lines))


def _table(result: FailoverResult) -> Table:
    table = new_table("from the promoted instance accepting writes to the first acknowledged write")
    table.add_column("subject")
    table.add_column("writer by", style="dim")
    for name in (
        "median",
        "worst",
        "longest gap",
        "writes",
        "lost",
        "doubled",
        "in doubt",
        "errors",
        "reads",
        "failed",
    ):
        table.add_column(name, justify="right")
    for one in result.outcomes:
        table.add_row(*_cells(one, result.options.patience))
    return table


def _cells(one: Outcome, patience: float) -> list[str]:
    return [
        one.name,
        one.finds,
        duration(one.median, patience),
        duration(one.worst, patience),
        duration(one.longest_gap, patience),
        f"{one.acknowledged:,}",
        _bad(one.lost),
        _bad(one.doubled),
        f"{one.in_doubt:,}",
        f"{sum(one.errors.values()):,}",
        f"{one.reads:,}",
        f"{sum(one.read_errors.values()):,}",
    ]


def _bad(count: int) -> str:
    return f"[red]{count:,}[/red]" if count else "0"


def _notes(result: FailoverResult) -> list[str]:
    lines = []
    for one in result.outcomes:
        if one.in_doubt:
            lines.append(f"{one.name}: of {one.in_doubt} in doubt {one.applied} were applied")
        for what, errors in (("writes", one.errors), ("reads", one.read_errors)):
            if errors:
                said = ", ".join(f"{name} {count}" for name, count in errors.items())
                lines.append(f"{one.name}: {what} failed with {said}")
        if one.unaccounted:
            lines.append(
                f"[red]{one.name}: {one.unaccounted} units are there though their callers were"
                " told that they are not[/red]"
            )
        if one.settings:
            said = ", ".join(f"{name}={value}" for name, value in one.settings.items())
            lines.append(f"[dim]{one.name}: {said}[/dim]")
    lines += [f"[yellow]{name}: not measured, {why}[/yellow]" for name, why in _skipped(result)]
    ours = result.outcome(OURS)
    return lines if ours is None else [*lines, *_goals(ours, result)]


def _skipped(result: FailoverResult) -> list[tuple[str, str]]:
    # The names of extras stand in brackets, which are markup.
    return [(name, why.replace("[", r"\[")) for name, why in result.skipped.items()]


def _goals(ours: Outcome, result: FailoverResult) -> list[str]:
    patience = result.options.patience
    failed = ours.in_doubt + sum(ours.errors.values())
    return [
        f"{OURS}, {what} under {duration(goal, patience)}: {duration(value, patience)},"
        f" {met(value < goal)}"
        for what, value, goal in (
            ("median", ours.median, MEDIAN_GOAL),
            ("worst", ours.worst, WORST_GOAL),
        )
    ] + [f"{OURS}, units of work that failed or are in doubt, none: {failed}, {met(not failed)}"]
