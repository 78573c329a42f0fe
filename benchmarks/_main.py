"""The command line of the suite."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aurora_sql.errors import AuroraError, ConfigurationError
from aurora_sql.types import Engine
from benchmarks._arguments import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    Callers,
    DriverName,
    EngineName,
    Environment,
    FailBelow,
    Loop,
    Readers,
    Scale,
    SettingsFile,
    Shop,
    Url,
    console,
    errors,
)
from benchmarks._comparing import compare, compared, show
from benchmarks._loop import LoopKind, choose
from benchmarks._loop import run as run_loop
from benchmarks._options import Pace, Place, choose_rows, result_path
from benchmarks._report import LiveReport, print_result
from benchmarks._results import Result
from benchmarks._schedule import Arrivals
from benchmarks._shop import Size, shop_files
from benchmarks._sides import failures, side_of
from benchmarks._suite import Suite
from benchmarks.scaling import _command as scaling_command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

app = typer.Typer(
    name="benchmarks",
    help="Measure aurora_sql against its targets and against bare drivers.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
)
app.command()(compare)
app.command()(show)
scaling_command.register(app, console)


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
    engine: EngineName = None,
    driver: DriverName = None,
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
    """Measure the rows, each beside bare connections of the drivers and beside their pools."""
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
    place = Place(
        url=url,
        settings=settings,
        environment=environment,
        readers=readers,
        engine=engine,
        driver=driver,
    )
    # Read before anything runs: a wrong path is not to be found out minutes later.
    earlier = None if compare_with is None else Result.load(compare_with)
    result, interrupted = _measure(pace, place, rows, loop, shop)
    if result is not None and result.rows:
        console.print()
        print_result(console, result)
        path = result_path(output)
        result.save(path)
        console.print(f"result: {path}")
        if earlier is not None:
            compared(earlier, result, None if interrupted else fail_below)
    if interrupted:
        errors.print("interrupted; everything that was made has been removed")
        raise typer.Exit(EXIT_INTERRUPTED)


def _measure(
    pace: Pace, place: Place, rows: str | None, loop: LoopKind, shop: Path | None
) -> tuple[Result | None, bool]:
    """Run the suite; the result, of whole rows only, and whether it was interrupted."""
    options = pace.options()
    operations = choose_rows(rows)
    # Wrong settings are refused before anything starts.
    engine = place.engine_of()
    files, size = shop_files(shop, engine), Size.of(options.scale)
    name, _ = choose(loop)
    subjects = side_of(engine).most_subjects - (not pace.with_models)
    suite: Suite | None = None

    async def work() -> None:
        nonlocal suite
        with LiveReport(console, len(operations) * subjects * options.rounds) as report:
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
    console.print(f"dropped: {', '.join(dropped) or 'nothing to drop'}")


def _only_postgresql(place: Place, command: str) -> None:
    if place.engine_of() is not Engine.POSTGRESQL:
        raise ConfigurationError(f"{command} looks inside asyncpg: it needs PostgreSQL")


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
    _only_postgresql(place, "layers")
    files, size = shop_files(shop), Size.of(scale or 0.3)

    async def work() -> list[_layers.LayerCost]:
        with LiveReport(console, 0) as report:
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

    console.print(_layers.table(run_loop(work, loop), callers))


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
    files, size = shop_files(shop, place.engine_of()), Size.of(0.3)

    async def work() -> _monitor.MonitorCost:
        with LiveReport(console, 0) as report:
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

    console.print(_monitor.table(run_loop(work, loop)))


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
    _only_postgresql(place, "memory")
    files = shop_files(shop)

    async def work() -> list[tuple[_memory.Way, _memory.Growth]]:
        with LiveReport(console, 0) as report:
            report.stage("preparing servers and data")
            async with place.shop(files, Size.of(0.01)) as target:
                return await _memory.measure(target, rows, report.stage)

    console.print(_memory.table(run_loop(work, LoopKind.ASYNCIO)))


@app.command()
def load(
    *,
    rows: Annotated[int, typer.Option(min=1, help="Rows of a load.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="Loads of each way, in turns.")] = 5,
    lanes: Annotated[
        int, typer.Option(min=2, max=64, help="Connections of the ways with several.")
    ] = 4,
    url: Url = None,
    settings: SettingsFile = None,
    environment: Environment = False,
    shop: Shop = None,
) -> None:
    """Measure bulk_insert from tuples and Arrow, on one and several connections."""
    from benchmarks import _load  # noqa: PLC0415 - only this command needs it

    place = Place(url=url, settings=settings, environment=environment, readers=0)
    _only_postgresql(place, "load")
    files = shop_files(shop)

    async def work() -> list[_load.Timed]:
        with LiveReport(console, 0) as report:
            report.stage("preparing servers and data")
            async with place.shop(files, Size.of(0.01)) as target:
                return await _load.measure(target, rows, rounds, lanes, report.stage)

    console.print(_load.table(run_loop(work, LoopKind.ASYNCIO), rows))


@app.command()
def startup(
    *,
    repetitions: Annotated[int, typer.Option(min=1, help="Fresh processes of each kind.")] = 9,
) -> None:
    """Measure import time and the loading of 1,000 statements in fresh processes."""
    from benchmarks import _startup  # noqa: PLC0415 - only this command needs it

    with LiveReport(console, 0) as report:
        measured = _startup.measure(repetitions, report.stage)
    console.print(_startup.table(measured))


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
    with drills.FailoverReport(console, len(chosen), options) as report:
        drill = drills.Run(chosen, options, skipped=skipped, listener=report)
        try:
            run_loop(drill.work, LoopKind.ASYNCIO)
        except KeyboardInterrupt:
            interrupted = True
    result = drill.result()
    if result is not None:
        console.print()
        drills.print_failover(console, result)
        path = result_path(output, "failover-")
        result.save(path)
        console.print(f"result: {path}")
    if interrupted:
        errors.print("interrupted; everything that was made has been removed")
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
        errors.print("interrupted")
        return EXIT_INTERRUPTED
    except (AuroraError, *failures(), OSError) as error:
        errors.print(f"error: {error}", markup=False)
        return EXIT_ERROR
    except BaseExceptionGroup as group:
        errors.print(f"error: a call failed: {_first(group)!r}", markup=False)
        return EXIT_ERROR
    return 0


def _name(callback: Callable[..., Any] | None) -> str:
    return "" if callback is None else callback.__name__.replace("_", "-")


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
