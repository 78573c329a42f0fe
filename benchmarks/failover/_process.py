"""Each subject in a process of its own: one that ends its process takes no other with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from aurora_sql.errors import AuroraError, OperationalError
from benchmarks._loop import LoopKind, run
from benchmarks._machine import Server
from benchmarks.failover._drill import measure
from benchmarks.failover._results import FailoverOptions, Outcome
from benchmarks.failover._subjects import CONTENDERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.failover._subjects import Contender

_ROOT = Path(__file__).resolve().parents[2]
_START = 60.0
"""Seconds that a cluster may take to start, and again to be taken down."""
_STOP = 20.0
_TAIL = 300


class Measured(BaseModel):
    """What the process of a subject prints in the end."""

    outcome: Outcome
    server: Server


class Failed(OperationalError):
    """The process of a subject ended without an outcome."""


async def measure_apart(
    contender: Contender, options: FailoverOptions, paused: Callable[[int, float | None], None]
) -> Measured:
    """Measure one subject in a fresh process.

    Args:
        contender: The subject.
        options: How it is measured.
        paused: Is told of each failover: its number from 0, and the pause.

    Raises:
        Failed: The process died, hung, or could not measure.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.failover",
        contender.name,
        options.model_dump_json(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    errors = asyncio.create_task(_text(process.stderr))
    turns, measured = 0, None
    try:
        async with asyncio.timeout(_limit(options)):
            while line := await _line(process.stdout):
                said = json.loads(line)
                if "outcome" in said:
                    measured = Measured.model_validate(said)
                else:
                    paused(turns, said["pause"])
                    turns += 1
            await process.wait()
    except TimeoutError:
        raise Failed(f"its process hung after {turns} failovers") from None
    finally:
        await _stop(process)
        text = await errors
    if measured is not None:
        return measured
    raise Failed(f"its process {_end(process.returncode, text)} after {turns} failovers")


def _limit(options: FailoverOptions) -> float:
    each = options.endpoint_lag + options.calm + options.patience + options.deadline
    return 2 * _START + options.failovers * each


async def _line(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.readline()


async def _text(stream: asyncio.StreamReader | None) -> str:
    """All that a process says, so that it never waits for somebody to listen."""
    return "" if stream is None else (await stream.read()).decode(errors="replace").strip()


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Let a process that still runs clean up; one that does not is killed."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _end(code: int | None, text: str) -> str:
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"failed with {(text.splitlines() or ['no word'])[-1][:_TAIL]}"


def main(arguments: list[str]) -> int:
    """Measure one subject in this process, and print what happens as lines of JSON."""
    (contender,) = (one for one in CONTENDERS if one.name == arguments[0])
    options = FailoverOptions.model_validate_json(arguments[1])
    # Broken connections are the point, and all subjects tell of them.
    logging.getLogger().addHandler(logging.NullHandler())

    def paused(pause: float | None) -> None:
        print(json.dumps({"pause": pause}), flush=True)

    async def work() -> Measured:
        outcome, server = await measure(contender, options, paused)
        return Measured(outcome=outcome, server=server)

    try:
        # Not uvloop: AWS's wrapper closes sockets under it, and it ends the process.
        print(run(work, LoopKind.ASYNCIO).model_dump_json(), flush=True)
    except KeyboardInterrupt:
        return 130
    except AuroraError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
