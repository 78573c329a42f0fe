"""How fast a million rows are loaded, each way, in turns.

The floor is one bare ``copy_records_to_table`` of asyncpg with the same tuples. Each round empties
the table and loads it every way, another one first each time.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from aurora_sql import Aurora
from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Role
from benchmarks._report import new_table
from benchmarks._stats import Spread, rotated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from rich.table import Table

    from benchmarks._target import Target

    Load = Callable[[], Awaitable[Any]]

_TABLE: Final = "benchmark_load"
_SCHEMA: Final = f"""
CREATE TABLE {_TABLE} (
    id bigint NOT NULL, customer_id integer NOT NULL, status text NOT NULL, email varchar(80),
    total_amount numeric(12, 2) NOT NULL, created_at timestamptz NOT NULL, paid boolean NOT NULL,
    score double precision
)
"""
_COLUMNS: Final = (
    "id", "customer_id", "status", "email", "total_amount", "created_at", "paid", "score",
)  # fmt: skip
_BATCH: Final = 20_000
"""Rows of a batch of the ways with lanes: a lane encodes tuples of a batch without a pause."""

_STATUSES: Final = ("pending", "paid", "shipped")
FLOOR: Final = "bare copy_records_to_table, tuples"


@dataclass(frozen=True)
class Timed:
    """What one way took.

    Attributes:
        way: Name of it.
        seconds: Wall-clock time of a load.
        processor: Seconds of this process's processor time.
        ratio: Rows per second, as a multiple of the floor's in the same round.
    """

    way: str
    seconds: Spread
    processor: Spread
    ratio: Spread


def make_rows(count: int) -> list[tuple[Any, ...]]:
    """Orders as tuples; every seventh has no address."""
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    return [
        (
            number,
            number % 9973,
            _STATUSES[number % 3],
            f"person{number}@example.com" if number % 7 else None,
            Decimal(number % 1_000_000) / 100,
            begin + timedelta(seconds=number),
            number % 2 == 0,
            number * 0.5,
        )
        for number in range(count)
    ]


def _arrow(rows: list[tuple[Any, ...]]) -> Any:
    try:
        import pyarrow as pa  # noqa: PLC0415 - only this command needs it
    except ModuleNotFoundError as error:
        raise ConfigurationError("load needs pyarrow: pip install 'aurora-sql[arrow]'") from error
    kinds = (
        pa.int64(), pa.int32(), pa.string(), pa.string(), pa.decimal128(12, 2),
        pa.timestamp("us", "UTC"), pa.bool_(), pa.float64(),
    )  # fmt: skip
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(dict(zip(_COLUMNS, arrays, strict=True)))


@asynccontextmanager
async def _connections(target: Target, lanes: int) -> AsyncIterator[tuple[Aurora, Any]]:
    settings = target.settings.replace(
        {"min_pool_size": lanes, "max_pool_size": lanes + 1, "enable_read_replicas": False}
    )
    bare = await asyncpg.connect(**target.options(Role.WRITER)[0])
    try:
        async with Aurora(settings) as db:
            yield db, bare
    finally:
        await bare.close()


async def measure(
    target: Target, count: int, rounds: int, lanes: int, progress: Callable[[str], None]
) -> list[Timed]:
    """Load ``count`` rows each way, ``rounds`` times.

    Args:
        target: Where.
        count: Rows of a load.
        rounds: How often each way is measured.
        lanes: Connections of the ways with several.
        progress: Is told what is going on.

    Raises:
        ConfigurationError: pyarrow is missing, or not all rows arrived.
    """
    progress(f"making {count:,} rows")
    rows = make_rows(count)
    table = _arrow(rows)
    taken: dict[str, list[tuple[float, float]]] = {}
    async with _connections(target, lanes) as (db, bare):
        insert = partial(db.bulk_insert, _TABLE)
        tuples = partial(insert, rows, columns=_COLUMNS)
        several = {"lanes": lanes, "batch_size": _BATCH}
        ways: dict[str, Load] = {
            FLOOR: lambda: bare.copy_records_to_table(_TABLE, records=rows, columns=_COLUMNS),
            "bulk_insert, tuples": tuples,
            "bulk_insert, Arrow": partial(insert, table),
            f"bulk_insert, Arrow, {lanes} lanes, by batch": partial(
                insert, table, atomic=False, **several
            ),
            f"bulk_insert, Arrow, {lanes} lanes, staged": partial(insert, table, **several),
            f"bulk_insert, tuples, {lanes} lanes, staged": partial(tuples, **several),
        }
        await bare.execute(f"DROP TABLE IF EXISTS {_TABLE}")
        await bare.execute(_SCHEMA)
        try:
            for number in range(rounds):
                order = rotated(tuple(ways), number)
                # Backwards every other time: what a load leaves to be flushed falls on its next.
                for way in reversed(order) if number % 2 else order:
                    progress(f"round {number + 1} of {rounds}: {way}")
                    taken.setdefault(way, []).append(await _once(bare, ways[way], count))
        finally:
            await bare.execute(f"DROP TABLE IF EXISTS {_TABLE}")
    floor = [seconds for seconds, _ in taken[FLOOR]]
    return [
        Timed(
            way,
            Spread.of([seconds for seconds, _ in taken[way]]),
            Spread.of([processor for _, processor in taken[way]]),
            Spread.of([own / one for own, (one, _) in zip(floor, taken[way], strict=True)]),
        )
        for way in ways
    ]


async def _once(bare: Any, load: Load, count: int) -> tuple[float, float]:
    """Empty the table, load it and count the rows; wall-clock and processor seconds."""
    await bare.execute(f"TRUNCATE {_TABLE}")
    processor, begin = time.process_time(), time.perf_counter()
    await load()
    seconds, used = time.perf_counter() - begin, time.process_time() - processor
    found = await bare.fetchval(f"SELECT count(*) FROM {_TABLE}")
    if found != count:
        raise ConfigurationError(f"{found:,} rows arrived instead of {count:,}")
    return seconds, used


def table(found: list[Timed], count: int) -> Table:
    """The times for people."""
    shown = new_table(f"{count:,} rows")
    shown.add_column("way")
    for name in ("seconds", "low", "high", "rows/s", "client s", "x bare", "low", "high"):
        shown.add_column(name, justify="right")
    for timed in found:
        seconds, ratio = timed.seconds, timed.ratio
        shown.add_row(
            timed.way,
            f"{seconds.median:.2f}",
            f"{seconds.low:.2f}",
            f"{seconds.high:.2f}",
            f"{count / seconds.median:,.0f}",
            f"{timed.processor.median:.2f}",
            f"{ratio.median:.2f}",
            f"{ratio.low:.2f}",
            f"{ratio.high:.2f}",
        )
    return shown
