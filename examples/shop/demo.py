"""The whole shop on this machine, from nothing: ``python -m examples.shop.demo``.

Starts a local Aurora (a writer and replicating readers) of PostgreSQL or, by ``--engine mysql``,
of MySQL, applies the migrations, loads the generated data, runs the four scenarios and a short
benchmark, and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from aurora_sql import Aurora, migrations
from aurora_sql.errors import AuroraError
from aurora_sql.local import LocalCluster
from aurora_sql.types import Engine
from examples.shop import scenarios
from examples.shop.load import load_shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from examples.shop.load import LoadReport
    from examples.shop.scenarios import Table

ROOT = Path(__file__).resolve().parents[2]
SQL = ROOT / "sql"
MIGRATIONS = ROOT / "migrations"

_INTERRUPTED = 130
# MySQL's readers begin to replay a transaction when it has committed, and the load is one.
_CATCH_UP = 300.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says.

    Attributes:
        engine: Of the cluster.
        customers: How many to generate.
        orders: How many to generate.
        readers: Readers of the cluster.
        seed: Of the generated data.
        bench: Run the benchmark at the end.
        keep: Leave the cluster running at the end, until interrupted.
    """

    engine: Engine = Engine.POSTGRESQL
    customers: int = 100_000
    orders: int = 500_000
    readers: int = 2
    seed: int = 1
    bench: bool = True
    keep: bool = False

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> Options:
        """Read them from the command line."""
        default = cls()
        parser = argparse.ArgumentParser(
            prog="python -m examples.shop.demo", description=(__doc__ or "").partition("\n\n")[2]
        )
        parser.add_argument("--engine", type=Engine, choices=tuple(Engine), default=default.engine)
        parser.add_argument("--customers", type=_at_least(1), default=default.customers)
        parser.add_argument("--orders", type=_at_least(0), default=default.orders)
        parser.add_argument("--readers", type=_at_least(0), default=default.readers)
        parser.add_argument("--seed", type=int, default=default.seed)
        parser.add_argument(
            "--no-bench", dest="bench", action="store_false", help="skip the benchmark"
        )
        parser.add_argument(
            "--keep", action="store_true", help="leave the cluster running until Ctrl-C"
        )
        return cls(**vars(parser.parse_args(arguments)))


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {value}")
        return value

    return number


class Demo:
    """One run of the demo.

    Args:
        options: What to do.
        console: Where to print.
    """

    def __init__(self, options: Options, console: Console) -> None:
        self._options = options
        self._console = console
        self._times: list[tuple[str, float, str]] = []

    async def run(self) -> None:
        """Run everything and clean up, also when interrupted."""
        options = self._options
        begin = time.perf_counter()
        async with self._cluster() as cluster:
            await self._migrate(cluster)
            async with Aurora(cluster.settings(), sql=SQL) as db:
                await self._load(db, cluster)
                await self._scenarios(db, cluster)
                self._served(db)
            if options.bench:
                await self._bench(cluster)
            self._summary(time.perf_counter() - begin)
            if options.keep:
                await self._wait(cluster)
        self._console.print("The cluster is stopped and its files are gone.")

    @asynccontextmanager
    async def _cluster(self) -> AsyncIterator[LocalCluster]:
        readers = self._options.readers
        self._headline(f"A local Aurora: one writer, {readers} reader(s)")
        begin = time.perf_counter()
        async with LocalCluster(
            engine=self._options.engine.value, readers=readers, database="shop"
        ) as cluster:
            self._took(
                "start the cluster", begin, f"{cluster.server_product} {cluster.server_version}"
            )
            self._print(
                scenarios.Table(
                    "Instances",
                    ("id", "role", "address", "process"),
                    tuple(
                        (one.id, one.role.value, f"{one.host}:{one.port}", str(one.pid))
                        for one in cluster.instances
                    ),
                )
            )
            yield cluster

    async def _migrate(self, cluster: LocalCluster) -> None:
        self._headline("Migrations")
        begin = time.perf_counter()
        applied = await migrations.apply(
            cluster.settings(), MIGRATIONS / self._options.engine.value
        )
        self._took("migrate", begin, f"{len(applied)} migrations")
        for migration in applied:
            self._console.print(f"  applied {migration.id}")

    async def _load(self, db: Aurora, cluster: LocalCluster) -> None:
        options = self._options
        self._headline(f"Data: {options.customers:,} customers, {options.orders:,} orders")
        report = await load_with_bar(
            db,
            self._console,
            customers=options.customers,
            orders=options.orders,
            seed=options.seed,
        )
        rate = report.total / report.seconds
        text = f"{report.total:,} rows, {rate:,.0f} per second"
        self._times.append(("generate and load", report.seconds, text))
        self._console.print(f"  {text}")
        self._console.print("  the readers catch up")
        begin = time.perf_counter()
        await cluster.wait_replayed(_CATCH_UP)
        self._took("readers catch up", begin)

    async def _scenarios(self, db: Aurora, cluster: LocalCluster) -> None:
        self._headline("1. Placing orders")
        begin = time.perf_counter()
        for table in await scenarios.place_orders(db):
            self._print(table)
        self._took("scenario 1: orders", begin)
        # The next ones read from readers, and want to see what this one wrote.
        await cluster.wait_replayed()

        self._headline("2. Customer pages")
        begin = time.perf_counter()
        self._print(await scenarios.customer_pages(db))
        self._took("scenario 2: pages", begin)

        self._headline("3. Search and export")
        begin = time.perf_counter()
        self._print(await scenarios.search_shop(db))
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as out:
            since = scenarios.CLOSING - timedelta(days=90)
            self._print(await scenarios.export_orders(db, since, out))
            self._took("scenario 3: search, export", begin, f"{out.tell() / 1e6:.1f} MB of CSV")

        self._headline("4. The daily report, and what comes of it")
        begin = time.perf_counter()
        for table in await scenarios.daily_report(db):
            self._print(table)
        self._print(await scenarios.restock_and_ship(db))
        self._took("scenario 4: report, restock", begin)

    def _served(self, db: Aurora) -> None:
        self._headline("Who did the work")
        self._print(
            scenarios.Table(
                "Connection pools",
                ("instance", "connections", "leases", "of them waited"),
                tuple(
                    (id_, stats.size, stats.leases, stats.waited)
                    for id_, stats in sorted(db.pool_stats().items())
                ),
            )
        )

    async def _bench(self, cluster: LocalCluster) -> None:
        self._headline("A short benchmark")
        begin = time.perf_counter()
        # A process of its own: it chooses its event loop, and its garbage is not ours. The
        # password goes by the environment, which other users cannot read.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks", "run", "--quick", "--environment",
            cwd=ROOT,
            env={**os.environ, **cluster.environment()},
        )  # fmt: skip  # a command line is one line
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            # Ctrl-C on a terminal has reached it as well; it removes its database and ends.
            await process.wait()
            raise
        if code:
            raise RuntimeError(f"the benchmark ended with exit code {code}")
        self._took("benchmark", begin)

    def _summary(self, seconds: float) -> None:
        self._headline("Summary")
        rows = (*self._times, ("all of it", seconds, ""))
        self._print(
            scenarios.Table(
                "Seconds",
                ("step", "seconds", ""),
                tuple((step, f"{took:.1f}", note) for step, took, note in rows),
            )
        )

    async def _wait(self, cluster: LocalCluster) -> None:
        self._headline("The cluster keeps running: Ctrl-C stops it")
        for name, value in cluster.environment().items():
            # Plain print: rich would wrap and colour what is meant to be pasted.
            print(f"export {name}={shlex.quote(value)}")
        await asyncio.Event().wait()

    def _headline(self, text: str) -> None:
        self._console.print()
        self._console.rule(f"[bold]{text}", align="left")

    def _took(self, step: str, begin: float, note: str = "") -> None:
        self._times.append((step, time.perf_counter() - begin, note))

    def _print(self, table: Table) -> None:
        self._console.print()
        # Apart from the table: a title inside it would be cut to the table's width.
        self._console.print(table.title, style="italic", highlight=False, markup=False)
        self._console.print(as_rich(table))


async def load_with_bar(
    db: Aurora, console: Console, *, customers: int, orders: int, seed: int = 1
) -> LoadReport:
    """Call :func:`load_shop` under a progress bar for each table.

    Args:
        db: An open Aurora with the shop's ``sql``.
        console: Where to draw.
        customers: How many.
        orders: How many.
        seed: Of the data.
    """
    # How many users and items there will be is known to the generator only; these are
    # its averages, corrected at the end.
    expected = {
        "users": customers * 0.88,
        "customers": customers,
        "products": 2_000,
        "orders": orders,
        "order_items": orders * 1.91,
    }
    bar = Progress(
        TextColumn("  {task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    with bar:
        tasks = {
            table: bar.add_task(table, total=round(total), start=False)
            for table, total in expected.items()
        }

        def progress(table: str, rows: int) -> None:
            bar.start_task(tasks[table])
            bar.update(tasks[table], completed=rows)

        report = await load_shop(
            db, customers=customers, orders=orders, seed=seed, progress=progress
        )
        for table, rows in report.rows.items():
            bar.update(tasks[table], completed=rows, total=rows)
    return report


def as_rich(table: Table) -> RichTable:
    """A scenario's table for the terminal: numbers to the right, gaps as a dash."""
    drawn = RichTable()
    for number, column in enumerate(table.columns):
        cells = [row[number] for row in table.rows]
        numeric = bool(cells) and not any(isinstance(cell, str) for cell in cells)
        drawn.add_column(column, justify="right" if numeric else "left")
    for row in table.rows:
        drawn.add_row(*(_cell(value) for value in row))
    return drawn


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, str) or not hasattr(value, "__round__") else f"{value:,}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code.

    Args:
        arguments: Default: those of the process.
    """
    options = Options.parse(arguments)
    console = Console()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(Demo(options, console).run())
    except KeyboardInterrupt:
        console.print("Interrupted; the cluster is stopped and its files are gone.")
        return 0 if options.keep else _INTERRUPTED
    except (AuroraError, RuntimeError) as error:
        Console(stderr=True).print(f"{type(error).__name__}: {error}", style="red", markup=False)
        return 1
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop where it is installed."""
    try:
        import uvloop  # noqa: PLC0415  # optional
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
