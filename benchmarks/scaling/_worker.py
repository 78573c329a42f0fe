"""A process of the client: it opens the library, waits for the word, and measures itself.

It is told what to do by lines of JSON on its standard input, and answers by lines on its standard
output. The password comes that way too: neither arguments nor variables are private.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from aurora_sql.errors import AuroraError
from aurora_sql.settings import AuroraSettings
from aurora_sql.statements import StatementRegistry
from benchmarks._engine import closed_loop
from benchmarks._histogram import Latencies
from benchmarks._library import Library
from benchmarks._loop import LoopKind, run
from benchmarks._shop import Size
from benchmarks._target import Target
from benchmarks.scaling import _processor
from benchmarks.scaling._cells import work_of
from benchmarks.scaling._results import Cell

ROOT = Path(__file__).resolve().parents[2]


class Setup(BaseModel):
    """The first line: what holds for all measurements of a process.

    Attributes:
        settings: Values of ``AuroraSettings``.
        sql: Folder of the statements.
        scale: Size of the data.
        seed: Of the parameters.
    """

    settings: dict[str, Any]
    sql: str
    scale: float
    seed: int


class Order(BaseModel):
    """A further line: one measurement.

    The line after it, whatever it says, starts it. The next one, sent once it is done, ends it:
    the connections are closed, and what was measured is told.

    Attributes:
        cell: What is measured.
        seconds: For how long.
        warm_up: Seconds of the same before.
    """

    cell: Cell
    seconds: float
    warm_up: float


class Measured(BaseModel):
    """The answer to an order.

    Attributes:
        operations: Calls that were answered.
        throughput: Operations per second.
        p50: Milliseconds.
        p95: Milliseconds.
        cpu: Seconds of processor time, user and system, of this process.
        seconds: Length of the measurement.
        busy: Seconds for which the machine's cores were busy in it, all together.
    """

    operations: int
    throughput: float
    p50: float
    p95: float
    cpu: float
    seconds: float
    busy: float


def settings_for(settings: AuroraSettings, readers: int) -> AuroraSettings:
    """Settings of which only so many readers are left."""
    kept = (settings.read_endpoint or "").split(",")[:readers]
    return settings.replace({"read_endpoint": ",".join(kept) or None})


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


async def _measure(
    order: Order, setup: Setup, registry: StatementRegistry, lines: asyncio.StreamReader
) -> Measured | None:
    cell = order.cell
    settings = settings_for(AuroraSettings.from_values(setup.settings), cell.readers)
    work = work_of(cell, registry, Size.of(setup.scale), setup.seed)
    library = Library("aurora_sql", Target(settings), registry, work, cell.callers)
    await library.open()
    try:
        calls, values = await library.calls(), work.streams(cell.callers)
        await closed_loop(calls, values, order.warm_up)
        print("ready", flush=True)
        if not await lines.readline():
            return None
        # What the warm-up left is collected now, not at the cost of the measurement.
        gc.collect()
        # Looked at from here, next to the calls: what the machine does before the first and after
        # the last one, others included, is none of this.
        busy, used = _processor.busy(), time.process_time()
        sample = await closed_loop(calls, values, order.seconds)
        busy, used = _processor.busy() - busy, time.process_time() - used
        print("done", flush=True)
        # Until the accounts were read: a server's process that ended takes its account along.
        if not await lines.readline():
            return None
    finally:
        await library.close()
    latency = Latencies(sample.latencies).percentiles()
    return Measured(
        operations=len(sample.latencies),
        throughput=sample.throughput,
        p50=latency.p50,
        p95=latency.p95,
        cpu=used,
        seconds=sample.seconds,
        busy=busy,
    )


async def work() -> None:
    """Measure what is ordered, until the input ends."""
    lines = await _lines()
    setup = Setup.model_validate_json(await lines.readline())
    engine = AuroraSettings.from_values(setup.settings).engine
    registry = StatementRegistry.load(setup.sql, dialect=engine.value)
    while line := await lines.readline():
        measured = await _measure(Order.model_validate_json(line), setup, registry, lines)
        if measured is None:
            return
        print(measured.model_dump_json(), flush=True)


def main() -> int:
    """Work in this process, and return its exit code."""
    try:
        run(work, LoopKind.AUTO)
    except KeyboardInterrupt:
        return 130
    except (AuroraError, OSError, BaseExceptionGroup) as failure:
        error: BaseException = failure
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0
