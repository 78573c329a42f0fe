"""The commands that compare: two results with each other, or the library with its peers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aurora_sql.errors import ConfigurationError
from benchmarks._arguments import (
    EXIT_INTERRUPTED,
    EXIT_SLOWER,
    Callers,
    DriverName,
    EngineName,
    Environment,
    FailBelow,
    Loop,
    Readers,
    SettingsFile,
    Shop,
    Url,
    console,
    errors,
)
from benchmarks._loop import LoopKind, choose
from benchmarks._loop import run as run_loop
from benchmarks._options import Pace, Place, result_path
from benchmarks._report import LiveReport, print_comparison, print_result
from benchmarks._results import Result, regressions
from benchmarks._schedule import Arrivals
from benchmarks._shop import Size, shop_files

if TYPE_CHECKING:
    from benchmarks.peers import PeerResult

Html = Annotated[
    Path | None,
    typer.Option(help="Write the page of a comparison with peers here, and its JSON beside it."),
]


def compare(
    earlier: Annotated[
        Path | None, typer.Argument(help="Result of an earlier run; none: compare with peers.")
    ] = None,
    now: Annotated[Path | None, typer.Argument(help="Result of a later run.")] = None,
    *,
    fail_below: FailBelow = None,
    html: Html = None,
    json: Annotated[
        Path | None,
        typer.Option(help="Where the JSON result of a comparison with peers goes."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="With peers: all rows in about a minute.")
    ] = False,
    rows: Annotated[
        str | None, typer.Option(help="With peers: names of rows, by comma; default all.")
    ] = None,
    peers: Annotated[
        str | None, typer.Option(help="Names of peers, by comma; default all.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="With peers: interleaved repetitions; default 5.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="With peers: length of one measurement; default 1.")
    ] = None,
    callers: Callers = 16,
    engine: EngineName = None,
    driver: DriverName = None,
    readers: Readers = 2,
    loop: Loop = LoopKind.AUTO,
    url: Url = None,
    settings: SettingsFile = None,
    environment: Environment = False,
    shop: Shop = None,
) -> None:
    """Compare two results, of ``run`` or of ``failover``; or, without files, with peers."""
    if earlier is not None:
        if now is None:
            raise ConfigurationError(
                "compare needs two results, an earlier and a later one; without any it compares"
                " with peers"
            )
        if html is not None or json is not None:
            raise ConfigurationError(
                "--html and --json are for a comparison with peers: leave the two results out, or"
                " make the page of such a comparison anew by `show RESULT --html PAGE`"
            )
        _compare_files(earlier, now, fail_below)
        return
    if fail_below is not None:
        raise ConfigurationError("--fail-below needs two results")
    pace = Pace(
        quick=quick,
        rounds=rounds or (3 if quick else 5),
        seconds=seconds or (0.12 if quick else 1.0),
        warm_up=0.06 if quick else 0.25,
        callers=callers,
        scale=None,
        seed=1,
        models=False,
        open_loop=False,
        rate=None,
        arrivals=Arrivals.POISSON,
        queue=None,
    )
    place = Place(
        url=url,
        settings=settings,
        environment=environment,
        readers=readers,
        engine=engine,
        driver=driver,
    )
    _compare_with_peers(
        pace, place, rows=rows, peers=peers, loop=loop, shop=shop, html=html, json=json
    )


def _compare_with_peers(
    pace: Pace,
    place: Place,
    *,
    rows: str | None,
    peers: str | None,
    loop: LoopKind,
    shop: Path | None,
    html: Path | None,
    json: Path | None,
) -> None:
    from benchmarks import peers as comparison  # noqa: PLC0415 - most commands do not need it

    # Wrong options are refused before anything starts.
    engine = place.engine_of()
    plan = comparison.plan(engine, pace.options(), rows=rows, peers=peers, quick=pace.quick)
    files, size = shop_files(shop, engine), Size.of(plan.options.scale)
    name, _ = choose(loop)
    for missing, why in plan.missing.items():
        console.print(f"[yellow]{missing}: not measured, {why}[/yellow]")
    run: comparison.Comparison | None = None

    async def work() -> None:
        nonlocal run
        with LiveReport(console, plan.measurements()) as report:
            report.stage("preparing servers and data")
            async with place.shop(files, size) as target:
                run = comparison.Comparison(target, files, size, plan, report)
                await run.run(name)
                report.stage("cleaning up")

    interrupted = False
    try:
        run_loop(work, loop)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        # Also what there is when a peer fails in the middle: an error must not cost the rest.
        result = None if run is None else run.result()
        if result is not None:
            _shown(result, html, json)
    if interrupted:
        errors.print("interrupted; everything that was made has been removed")
        raise typer.Exit(EXIT_INTERRUPTED)


def _shown(result: PeerResult, html: Path | None, json: Path | None) -> None:
    from benchmarks import peers as comparison  # noqa: PLC0415 - most commands do not need it

    console.print()
    comparison.print_peers(console, result)
    beside = None if html is None else html.with_suffix(".json")
    path = result_path(json or beside, "peers-")
    result.save(path)
    console.print(f"result: {path}")
    if html is not None:
        comparison.write_page(result, html)
        console.print(f"page: {html}")


def _compare_files(earlier: Path, now: Path, fail_below: float | None) -> None:
    from benchmarks import failover as drills  # noqa: PLC0415 - most commands do not need it

    kinds = [drills.is_failover(path) for path in (earlier, now)]
    if kinds == [False, False]:
        compared(Result.load(earlier), Result.load(now), fail_below)
        return
    if kinds != [True, True]:
        other = earlier if kinds[1] else now
        raise ConfigurationError(
            f"{other}: no result of failover, and the other one is: only like can be compared"
        )
    then, today = (drills.FailoverResult.load(path) for path in (earlier, now))
    drills.print_failover_comparison(console, then, today)
    worse = [] if fail_below is None else drills.regressions(then, today, fail_below)
    for sentence in worse:
        errors.print(f"aurora_sql: {sentence}")
    if worse:
        raise typer.Exit(EXIT_SLOWER)


def compared(earlier: Result, now: Result, fail_below: float | None) -> None:
    """Print how a result differs from an earlier one; leave with 1 where it fell too far."""
    changes = print_comparison(console, earlier, now)
    if fail_below is None:
        return
    slower = regressions(changes, fail_below)
    for change in slower:
        errors.print(f"{change.row}, {change.subject}: {change.judged:.2f} is below {fail_below:g}")
    if slower:
        raise typer.Exit(EXIT_SLOWER)


def show(
    result: Annotated[Path, typer.Argument(help="Result of a run.")], *, html: Html = None
) -> None:
    """Print a result again, of ``run``, ``failover``, ``scaling`` or a comparison with peers."""
    from benchmarks import failover as drills  # noqa: PLC0415 - most commands do not need it
    from benchmarks import peers as comparison  # noqa: PLC0415 - the same
    from benchmarks import scaling  # noqa: PLC0415 - the same

    if comparison.is_peers(result):
        found = comparison.PeerResult.load(result)
        comparison.print_peers(console, found)
        if html is not None:
            comparison.write_page(found, html)
            console.print(f"page: {html}")
        return
    if html is not None:
        raise ConfigurationError(f"{result}: only a comparison with peers has a page (--html)")
    if drills.is_failover(result):
        drills.print_failover(console, drills.FailoverResult.load(result))
    elif scaling.is_scaling(result):
        scaling.show(console, scaling.ScalingResult.load(result), scaling.Fleet(), scaling.Demand())
    else:
        print_result(console, Result.load(result))
