"""What people see: progress while it runs, tables afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from benchmarks._coalesced import PLAIN_OF
from benchmarks._results import BARE, OURS, compare, differences

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from rich.console import Console, RenderableType

    from benchmarks._engine import Sample
    from benchmarks._machine import Machine, Server, Software
    from benchmarks._results import Change, Result, Row, Subject
    from benchmarks._rows import Operation
    from benchmarks._stats import Spread
    from benchmarks._suite import Titled

_PRECISE_BELOW = 1_000


def rate(value: float) -> str:
    """A throughput, with decimals only where they say something."""
    return f"{value:,.0f}" if value >= _PRECISE_BELOW else f"{value:,.1f}"


def _range(spread: Spread) -> str:
    return f"{rate(spread.low)}-{rate(spread.high)}"


def _rates(spread: Spread) -> str:
    return f"{rate(spread.median)} [dim]({_range(spread)})[/dim]"


def _short_ratio(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.median:.2f}"


def new_table(title: str) -> Table:
    """A table in the style of all reports."""
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)


def _ratio(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{spread.median:.2f} [dim]({spread.low:.2f}-{spread.high:.2f})[/dim]"


def met(yes: bool) -> str:
    """Whether a target is met."""
    return "[green]met[/green]" if yes else "[red]not met[/red]"


class LiveReport:
    """Shows progress; on a terminal as a bar, elsewhere as a line for each finished row."""

    def __init__(self, console: Console, measurements: int) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=measurements)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def stage(self, text: str) -> None:
        """Say what goes on outside of measurements."""
        self._progress.update(self._task, description=text)
        if not self._console.is_terminal:
            self._console.print(text)

    def measuring(self, operation: Titled, subject: str, turn: int) -> None:
        """Show what is measured now."""
        self._progress.update(
            self._task, description=f"{operation.title}, round {turn + 1}: {subject}"
        )

    def measured(self, operation: Titled, subject: str, sample: Sample) -> None:
        """Show that one more is done."""
        del operation, subject, sample
        self.advance()

    def advance(self) -> None:
        """Move the bar."""
        self._progress.advance(self._task)

    def finished(self, row: Row) -> None:
        """Print a row's outcome in one line."""
        ours = row.ours
        if ours is None:
            return
        ratios = [(name, row.ratio(f"{OURS} / {name}")) for name in row.floors]
        beside = [
            f"{spread.median:.2f} {'in p95 against' if row.at_rate else 'of'} {name}"
            for name, spread in ratios
            if spread is not None
        ]
        self._console.print(
            f"{row.title}: {rate(ours.throughput.median)} {row.unit}/s,"
            f" p95 {ours.p95.median:.2f} ms, {', '.join(beside)}"
        )

    def skipped(self, operation: Operation, reason: str) -> None:
        """Say why a row is missing."""
        self._console.print(f"[yellow]{operation.title}: not measured, {reason}[/yellow]")


def place_lines(machine: Machine, server: Server, software: Software) -> list[str]:
    """Where it ran, and with what."""
    place = "shared with the server" if machine.shared_with_server else "the server is elsewhere"
    settings = ", ".join(f"{name}={value or '(empty)'}" for name, value in server.settings.items())
    kind = f"Aurora {server.aurora}" if server.aurora else f"{server.product} {server.version}"
    drivers = ("asyncpg", "aiomysql", "asyncmy")
    used = [f"{name} {getattr(software, name)}" for name in drivers if getattr(software, name)]
    return [
        (
            f"machine   {machine.processor}, {machine.cores} cores, {machine.memory_gib:g} GiB,"
            f" {machine.system} ({place})"
        ),
        f"server    {kind}, {server.readers} readers; {settings}",
        (
            f"software  Python {software.python}, aurora_sql {software.aurora_sql}"
            f" ({software.revision or 'no revision'}), {', '.join(used)}, {software.loop}"
        ),
    ]


def heading(result: Result) -> Text:
    """Where and how it ran."""
    options = result.options
    how = f"{options.callers} callers, {options.rounds} rounds of {options.seconds:g} s"
    if options.mode == "open":
        how += (
            f", open loop at {options.rate:,.0f}/s ({options.arrivals} arrivals,"
            f" queue of {options.queue_limit:,})"
        )
    lines = [
        *place_lines(result.machine, result.server, result.software),
        f"run       {how}, {result.created}",
    ]
    if options.reconnect:
        lines.append(
            "note      the server has too few connections for all subjects at once: each one"
            " connected for its own measurements"
        )
    if not result.complete:
        lines.append("note      interrupted: rows are missing")
    return Text("\n".join(lines))


def _subject_cells(row: Row, subject: Subject) -> list[str]:
    latency = subject.latency
    cells = [
        subject.name,
        rate(subject.throughput.median),
        _range(subject.throughput),
        *(
            f"{value:.2f}"
            for value in (latency.p50, latency.p95, latency.p99, latency.p999, latency.max)
        ),
    ]
    cells += [
        _ratio(row.ratio(f"{subject.name} / {floor}")) if subject.name not in row.floors else ""
        for floor in row.floors[:2]
    ]
    return cells


def row_table(row: Row) -> RenderableType:
    """One row: every subject, the targets, the ratios."""
    table = new_table(row.title)
    table.add_column("subject")
    table.add_column(f"{row.unit}/s", justify="right")
    table.add_column("range", justify="right", style="dim")
    for name in ("p50 ms", "p95", "p99", "p99.9", "max"):
        table.add_column(name, justify="right")
    for floor in row.floors[:2]:
        # In an open loop the ratio is that of the 95th percentiles.
        table.add_column(f"p95 vs {floor}" if row.at_rate else f"of {floor}", justify="right")
    for subject in row.subjects:
        table.add_row(*_subject_cells(row, subject))
    lines = [*_target_lines(row), *_further_lines(row), *_goal_lines(row), *_open_lines(row)]
    return Group(table, *(Text.from_markup(f"  {line}") for line in lines))


def _target_lines(row: Row) -> list[str]:
    ours = row.ours
    if ours is None:
        return []
    lines = []
    if ours.held is None:
        throughput = ours.throughput.median
        lines.append(
            f"target {row.target_throughput:,.0f} {row.unit}/s: {rate(throughput)},"
            f" {met(throughput >= row.target_throughput)}"
        )
    p95 = ours.p95.median
    lines.append(f"target p95 {row.target_p95:g} ms: {p95:.2f}, {met(p95 <= row.target_p95)}")
    return lines


def _further_lines(row: Row) -> list[str]:
    """The ratios that found no column: over floors other than bare connections and their pool."""
    lines = []
    for key, spread in row.floor_ratios().items():
        if key.split(" / ")[1] in row.floors[2:] and key not in row.goals:
            what = "p95 vs" if row.at_rate else "of"
            above, floor = key.split(" / ")
            lines.append(f"{above}, {what} {floor}: {_ratio(spread)}")
    return lines


def _goal_lines(row: Row) -> list[str]:
    if row.at_rate:
        return []  # the goals are for throughputs
    lines = []
    for key, goal in row.goals.items():
        spread = row.ratio(key)
        if spread is not None:
            lines.append(
                f"{key} at least {goal:g}: {spread.median:.2f}"
                f" ({spread.low:.2f}-{spread.high:.2f}), {met(spread.median >= goal)}"
            )
    return lines


def _open_lines(row: Row) -> list[str]:
    lines = []
    for subject in row.subjects:
        figures = [one.open for one in subject.rounds if one.open is not None]
        if not figures:
            continue
        dropped = sum(one.dropped for one in figures)
        unserved = sum(one.unserved for one in figures)
        lag = max(one.lag_p99 for one in figures)
        text = f"{subject.name}: the rate was "
        text += "held" if subject.held else "[red]not held[/red]"
        if dropped or unserved:
            text += (
                f" ({dropped:,} arrivals turned away, {unserved:,} never answered: their latencies"
                " are missing, the true percentiles are higher)"
            )
        lines.append(f"{text}; arrivals handed over at most {lag:.2f} ms late (p99)")
    return lines


def summary_table(rows: Sequence[Row]) -> Table:
    """All rows of the library against their targets."""
    table = new_table("aurora_sql against its targets")
    table.add_column("operation")
    at_rate = any(row.at_rate for row in rows)
    # All rows of a run have the same two first.
    names = rows[0].floors[:2] if rows else ()
    floors = [f"p95 vs {name}" if at_rate else f"of {name}" for name in names]
    for name in ("per second", "target", "", "p95 ms", "target", "", *floors):
        table.add_column(name, justify="right")
    for row in rows:
        ours = row.ours
        if ours is None:
            continue
        throughput, p95 = ours.throughput.median, ours.p95.median
        table.add_row(
            row.title,
            rate(throughput),
            "" if at_rate else f"{row.target_throughput:,.0f}",
            "" if at_rate else met(throughput >= row.target_throughput),
            f"{p95:.2f}",
            f"{row.target_p95:g}",
            met(p95 <= row.target_p95),
            *(_short_ratio(row.ratio(f"{OURS} / {name}")) for name in names),
        )
    return table


def targets(rows: Sequence[Row]) -> list[str]:
    """Which of the targets are met, each call by itself or together with others."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.ours is not None and not row.at_rate:
            plain = PLAIN_OF.get(row.name)
            found.setdefault(row.name if plain is None else plain.name, []).append(row)
    reached, missed = [], []
    for group in found.values():
        best = max(group, key=lambda row: (_reached(row), _of_target(row)))
        if _reached(best):
            reached.append(best.title)
        else:
            p95 = 0.0 if best.ours is None else best.ours.p95.median
            missed.append(
                f"{best.title} ({_of_target(best):.0%} of the throughput,"
                f" p95 {p95:.2f} of {best.target_p95:g} ms)"
            )
    lines = []
    if reached:
        lines.append(f"[green]met[/green]: {'; '.join(reached)}")
    if missed:
        lines.append(f"[red]not met[/red]: {'; '.join(missed)}")
    return lines


def _of_target(row: Row) -> float:
    return 0.0 if row.ours is None else row.ours.throughput.median / row.target_throughput


def _reached(row: Row) -> bool:
    ours = row.ours
    return ours is not None and _of_target(row) >= 1 and ours.p95.median <= row.target_p95


def print_result(console: Console, result: Result) -> None:
    """Print everything."""
    console.print(heading(result))
    for row in result.rows:
        console.print()
        console.print(row_table(row))
    console.print()
    console.print(summary_table(result.rows))
    for line in targets(result.rows):
        console.print(line)
    console.print(
        "The targets were set for a database server of 8 cores of its own; the ratios compare"
        " within this run.",
        style="dim",
    )


def _change_cells(change: Change) -> list[str]:
    style = {"better": "green", "worse": "red", "within the spread": "dim"}
    normalised = ""
    if change.normalised is not None and change.normalised_verdict is not None:
        colour = style[change.normalised_verdict]
        normalised = f"{change.normalised:.2f} [{colour}]{change.normalised_verdict}[/{colour}]"
    colour = style[change.verdict]
    return [
        change.row,
        change.subject,
        _rates(change.earlier),
        _rates(change.now),
        f"{change.ratio:.2f} [{colour}]{change.verdict}[/{colour}]",
        normalised,
        f"{change.earlier_p95:.2f} → {change.p95:.2f}",
    ]


def print_comparison(console: Console, earlier: Result, now: Result) -> list[Change]:
    """Print how a result differs from an earlier one, and return the changes."""
    changes = compare(earlier, now)
    bare = now.rows[0].floors[0] if now.rows else BARE
    table = new_table(f"against {earlier.created} ({earlier.software.revision or 'no revision'})")
    for name in ("row", "subject"):
        table.add_column(name)
    for name in ("earlier /s", "now /s", "ratio", f"the same for 'of {bare}'", "p95 ms"):
        table.add_column(name, justify="right")
    for change in changes:
        table.add_row(*_change_cells(change))
    console.print(table)
    for difference in differences(earlier, now):
        console.print(f"  careful: {difference}", style="yellow")
    return changes
