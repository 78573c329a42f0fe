"""The command line of the suite."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import asyncpg
import typer
from rich.console import Console

from aurora_sql.errors import AuroraError, ConfigurationError
from benchmarks._loop import LoopKind, choose
from benchmarks._loop import run as run_loop
from benchmarks._options import Pace, Place, choose_rows, result_path
from benchmarks._report import LiveReport, print_comparison, print_result
from benchmarks._results import Result, regressions
from benchmarks._schedule import Arrivals
from benchmarks._shop import Size, shop_files
from benchmarks._suite import Suite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXIT_SLOWER = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="benchmarks",
    help="Measure aurora_sql against its targets and against bare asyncpg.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
)
# Where nobody sees a terminal (a log, a pipe) the tables keep their full width.
_console = Console(width=None if sys.stdout.isatty() else 132)
_errors = Console(stderr=True, soft_wrap=True)

Url = Annotated[
    str | None,
    typer.Option(
        help="Run on this writer: postgresql://user@host/database?read=host. A URL is visible to"
        " all users of the machine: leave the password to AURORA_PASSWORD."
    ),
]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="Run on what this JSON file describes.")
]
Environment = Annotated[
    bool, typer.Option("--environment", help="Run on what AURORA_* variables and .env describe.")
]
Readers = Annotated[int, typer.Option(min=0, max=15, help="Readers of the local cluster.")]
Shop = Annotated[
    Path | None, typer.Option(help="Folder with sql and migrations/postgresql of the shop.")
]
Loop = Annotated[LoopKind, typer.Option(help="Event loop; auto is uvloop where it is installed.")]
Callers = Annotated[int, typer.Option(min=1, max=1_000, help="Callers, and connections of each.")]
Scale = Annotated[float | None, typer.Option(help="Size of the data; 1.0 is 50,000 orders.")]
Earlier = Annotated[Path, typer.Argument(help="Result of an earlier run.")]
FailBelow = Annotated[
    float | None,
    typer.Option(
        help="With a comparison: exit with 1 if a row of aurora_sql has less than this share of"
        " the earlier figure (of its share of bare asyncpg, where that was measured)."
    ),
]


@app.command()
def run(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="All rows in under a minute.")] = False,
    rows: Annotated[str | None, typer.Option(help="Names of rows, by comma; default all.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Interleaved repetitions.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of one measurement.")] = None,
    warm_up: Annotated[
        float | None, typer.Option(min=0.0, help="Seconds before each that do not count.")
    ] = None,
    callers: Callers = 16,
    open_loop: Annotated[
        bool, typer.Option("--open-loop", help="Start calls at a fixed rate, answered or not.")
    ] = False,
    rate: Annotated[float | None, typer.Option(help="Arrivals per second.")] = None,
    arrivals: Annotated[
        Arrivals, typer.Option(help="How arrivals are spread over time.")
    ] = Arrivals.POISSON,
    queue: Annotated[
        int | None, typer.Option(min=1, help="Arrivals that may wait; default a second's worth.")
    ] = None,
    models: Annotated[
        bool | None,
        typer.Option("--models/--no-models", help="Also with the shop's models."),
    ] = None,
    scale: Scale = None,
    seed: Annotated[int, typer.Option(help="Of parameters and arrivals.")] = 1,
    loop: Loop = LoopKind.AUTO,
    readers: Readers = 2,
    url: Url = None,
    settings: SettingsFile = None,
    environment: Environment = False,
    shop: Shop = None,
    output: Annotated[
        Path | None, typer.Option(help="Where the JSON result goes; default bench-results/.")
    ] = None,
    compare_with: Annotated[
        Path | None, typer.Option("--compare", help="Compare with this earlier result.")
    ] = None,
    fail_below: FailBelow = None,
) -> None:
    """Measure the rows, each beside bare asyncpg connections and asyncpg.Pool."""
    if fail_below is not None and compare_with is None:
        raise ConfigurationError("--fail-below needs --compare")
    pace = Pace(
        quick=quick,
        rounds=rounds,
        seconds=seconds,
        warm_up=warm_up,
        callers=callers,
        scale=scale,
        seed=seed,
        models=models,
        open_loop=open_loop,
        rate=rate,
        arrivals=arrivals,
        queue=queue,
    )
    place = Place(url=url, settings=settings, environment=environment, readers=readers)
    # Read before anything runs: a wrong path is not to be found out minutes later.
    earlier = None if compare_with is None else Result.load(compare_with)
    result, interrupted = _measure(pace, place, rows, loop, shop)
    if result is not None and result.rows:
        _console.print()
        print_result(_console, result)
        path = result_path(output)
        result.save(path)
        _console.print(f"result: {path}")
        if earlier is not None:
            _compared(earlier, result, None if interrupted else fail_below)
    if interrupted:
        _errors.print("interrupted; everything that was made has been removed")
        raise typer.Exit(EXIT_INTERRUPTED)


def _measure(
    pace: Pace, place: Place, rows: str | None, loop: LoopKind, shop: Path | None
) -> tuple[Result | None, bool]:
    """Run the suite; the result, of whole rows only, and whether it was interrupted."""
    options = pace.options()
    operations = choose_rows(rows)
    files, size = shop_files(shop), Size.of(options.scale)
    place.given()  # wrong settings are refused before anything starts
    name, _ = choose(loop)
    subjects = 4 if pace.with_models else 3
    suite: Suite | None = None

    async def work() -> None:
        nonlocal suite
        with LiveReport(_console, len(operations) * subjects * options.rounds) as report:
            report.stage("preparing servers and data")
            async with place.shop(files, size) as target:
                suite = Suite(
                    target, files, size, options, models=pace.with_models, listener=report
                )
                await suite.run(operations, name)
                report.stage("cleaning up")

    interrupted = False
    try:
        run_loop(work, loop)
    except KeyboardInterrupt:
        interrupted = True
    progress = None if suite is None else suite.progress
    return None if progress is None else progress.result(), interrupted


def _compared(earlier: Result, now: Result, fail_below: float | None) -> None:
    changes = print_comparison(_console, earlier, now)
    if fail_below is None:
        return
    slower = regressions(changes, fail_below)
    for change in slower:
        _errors.print(
            f"{change.row}, {change.subject}: {change.judged:.2f} is below {fail_below:g}"
        )
    if slower:
        raise typer.Exit(EXIT_SLOWER)


@app.command()
def compare(
    earlier: Earlier,
    now: Annotated[Path, typer.Argument(help="Result of a later run.")],
    fail_below: FailBelow = None,
) -> None:
    """Compare two results."""
    _compared(Result.load(earlier), Result.load(now), fail_below)


@app.command()
def show(result: Annotated[Path, typer.Argument(help="Result of a run.")]) -> None:
    """Print a result again."""
    print_result(_console, Result.load(result))


@app.command()
def clean(
    *, url: Url = None, settings: SettingsFile = None, environment: Environment = False
) -> None:
    """Drop the databases that runs left behind which were killed."""
    from benchmarks._target import leftovers  # noqa: PLC0415 - only this command needs it

    place = Place(url=url, settings=settings, environment=environment)
    if place.given() is None:
        raise ConfigurationError("clean needs --url, --settings or --environment")

    async def work() -> list[str]:
        async with place.target() as target:
            return await leftovers(target)

    dropped = run_loop(work, LoopKind.ASYNCIO)
    _console.print(f"dropped: {', '.join(dropped) or 'nothing to drop'}")


@app.command()
def layers(
    *,
    callers: Callers = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved repetitions.")] = 7,
    seconds: Annotated[float, typer.Option(help="Length of one measurement.")] = 0.4,
    scale: Scale = None,
    loop: Loop = LoopKind.AUTO,
    url: Url = None,
    settings: SettingsFile = None,
    environment: Environment = False,
    shop: Shop = None,
) -> None:
    """Show what each layer of the library costs on the simple read."""
    from benchmarks import _layers  # noqa: PLC0415 - only this command needs it

    place = Place(url=url, settings=settings, environment=environment, readers=0)
    files, size = shop_files(shop), Size.of(scale or 0.3)
    place.given()

    async def work() -> list[_layers.LayerCost]:
        with LiveReport(_console, 0) as report:
            report.stage("preparing servers and data")
            async with place.shop(files, size) as target:
                return await _layers.measure(
                    target,
                    files,
                    size,
                    callers=callers,
                    rounds=rounds,
                    seconds=seconds,
                    progress=report.stage,
                )

    _console.print(_layers.table(run_loop(work, loop), callers))


@app.command()
def monitor(
    *,
    callers: Callers = 16,
    pairs: Annotated[int, typer.Option(min=2, help="Interleaved pairs.")] = 20,
    seconds: Annotated[float, typer.Option(help="Length of one measurement.")] = 1.0,
    rest: Annotated[float, typer.Option(help="Seconds at rest, each way.")] = 20.0,
    readers: Readers = 2,
    loop: Loop = LoopKind.AUTO,
    url: Url = None,
    settings: SettingsFile = None,
    environment: Environment = False,
    shop: Shop = None,
) -> None:
    """Measure what following the topology costs, at rest and under load."""
    from benchmarks import _monitor  # noqa: PLC0415 - only this command needs it

    place = Place(url=url, settings=settings, environment=environment, readers=readers)
    files, size = shop_files(shop), Size.of(0.3)
    place.given()

    async def work() -> _monitor.MonitorCost:
        with LiveReport(_console, 0) as report:
            report.stage("preparing servers and data")
            async with place.shop(files, size) as target:
                return await _monitor.measure(
                    target,
                    files,
                    size,
                    callers=callers,
                    pairs=pairs,
                    seconds=seconds,
                    rest=rest,
                    progress=report.stage,
                )

    _console.print(_monitor.table(run_loop(work, loop)))


@app.command()
def memory(
    *,
    rows: Annotated[int, typer.Option(min=1, help="Rows, each way.")] = 1_000_000,
    url: Url = None,
    settings: SettingsFile = None,
    environment: Environment = False,
    shop: Shop = None,
) -> None:
    """Measure by how much memory grows while rows are inserted and streamed."""
    from benchmarks import _memory  # noqa: PLC0415 - only this command needs it

    place = Place(url=url, settings=settings, environment=environment, readers=0)
    files = shop_files(shop)
    place.given()

    async def work() -> list[tuple[_memory.Way, _memory.Growth]]:
        with LiveReport(_console, 0) as report:
            report.stage("preparing servers and data")
            async with place.shop(files, Size.of(0.01)) as target:
                return await _memory.measure(target, rows, report.stage)

    _console.print(_memory.table(run_loop(work, LoopKind.ASYNCIO)))


@app.command()
def startup(
    *,
    repetitions: Annotated[int, typer.Option(min=1, help="Fresh processes of each kind.")] = 9,
) -> None:
    """Measure import time and the loading of 1,000 statements in fresh processes."""
    from benchmarks import _startup  # noqa: PLC0415 - only this command needs it

    with LiveReport(_console, 0) as report:
        measured = _startup.measure(repetitions, report.stage)
    _console.print(_startup.table(measured))


@app.command()
def failover(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Three failovers of each subject.")
    ] = False,
    failovers: Annotated[
        int | None, typer.Option(min=1, help="Failovers of each subject; default 10.")
    ] = None,
    subjects: Annotated[
        str | None, typer.Option(help="Names of subjects, by comma; default all.")
    ] = None,
    callers: Annotated[int, typer.Option(min=1, max=100, help="Callers that write.")] = 8,
    endpoint_lag: Annotated[
        float,
        typer.Option(min=0.0, help="Seconds for which endpoints still lead to the old writer."),
    ] = 2.0,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds for each call.")] = 10.0,
    output: Annotated[
        Path | None, typer.Option(help="Where the JSON result goes; default bench-results/.")
    ] = None,
) -> None:
    """Kill the writer of a local cluster under load, beside asyncpg.Pool and AWS's wrapper."""
    from benchmarks import failover as drills  # noqa: PLC0415 - only this command needs it

    chosen, skipped = drills.choose_subjects(subjects)
    options = drills.FailoverOptions(
        failovers=failovers or (3 if quick else 10),
        writers=callers,
        endpoint_lag=endpoint_lag,
        deadline=deadline,
    )
    interrupted = False
    with drills.FailoverReport(_console, len(chosen), options) as report:
        drill = drills.Run(chosen, options, skipped=skipped, listener=report)
        try:
            run_loop(drill.work, LoopKind.ASYNCIO)
        except KeyboardInterrupt:
            interrupted = True
    result = drill.result()
    if result is not None:
        _console.print()
        drills.print_failover(_console, result)
        path = result_path(output, "failover-")
        result.save(path)
        _console.print(f"result: {path}")
    if interrupted:
        _errors.print("interrupted; everything that was made has been removed")
        raise typer.Exit(EXIT_INTERRUPTED)
    if result is None:
        raise ConfigurationError("; ".join(f"{name}: {why}" for name, why in drill.skipped.items()))


def main(arguments: Sequence[str] | None = None, program: str = "python -m benchmarks") -> int:
    """Run the command line and return its exit code.

    ``run`` is the command when none is named.

    Args:
        arguments: Default: those of the process.
        program: Its name in help texts.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    names = {command.name or _name(command.callback) for command in app.registered_commands}
    if not given or (given[0] not in names and given[0] not in ("--help", "-h")):
        given.insert(0, "run")
    try:
        app(args=given, prog_name=program)
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else EXIT_ERROR
    except KeyboardInterrupt:
        _errors.print("interrupted")
        return EXIT_INTERRUPTED
    except (AuroraError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        _errors.print(f"error: {error}", markup=False)
        return EXIT_ERROR
    except BaseExceptionGroup as group:
        _errors.print(f"error: a call failed: {_first(group)!r}", markup=False)
        return EXIT_ERROR
    return 0


def _name(callback: Callable[..., Any] | None) -> str:
    return "" if callback is None else callback.__name__.replace("_", "-")


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
