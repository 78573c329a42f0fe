"""The client's processes, as the process that measures sees them."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Self

from aurora_sql.errors import OperationalError
from benchmarks.scaling._worker import ROOT, Measured, Order, Setup

if TYPE_CHECKING:
    from types import TracebackType

_START = 60.0
"""Seconds that a process may take to start, to connect, and to add up."""
_STOP = 10.0
_TAIL = 300


class ClientFailed(OperationalError):
    """A process of the client ended or hung before it had measured."""


class Client:
    """One process of the client. Use it with ``async with``.

    Args:
        setup: What holds for all its measurements.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: asyncio.subprocess.Process | None = None
        self._errors: asyncio.Task[bytes] | None = None

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.scaling",
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=ROOT,
        )
        if process.stderr is not None:
            # So that it never waits for somebody to listen.
            self._errors = asyncio.create_task(process.stderr.read())
        self._say(self._setup.model_dump_json())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()  # at the end of its input it goes
        try:
            async with asyncio.timeout(_STOP):
                await process.wait()
        except TimeoutError:
            pass  # it hangs; what made the block end matters more
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            if self._errors is not None:
                await self._errors

    async def prepare(self, order: Order) -> None:
        """Let it connect and warm up.

        Raises:
            ClientFailed: It could not.
        """
        self._say(order.model_dump_json())
        await self._expect(b"ready\n", _START + order.warm_up)

    async def run(self, order: Order) -> None:
        """Let it measure what was prepared, until that is done; its connections stay open.

        Raises:
            ClientFailed: It could not.
        """
        self._say("go")
        await self._expect(b"done\n", _START + order.seconds)

    async def measured(self) -> Measured:
        """Let it close its connections, and return what it measured.

        Raises:
            ClientFailed: It does not say.
        """
        self._say("end")
        return Measured.model_validate_json(await self._line(_START))

    def _say(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            # A line is far shorter than the pipe: nothing is to be awaited.
            self._process.stdin.write(line.encode() + b"\n")

    async def _expect(self, wanted: bytes, limit: float) -> None:
        line = await self._line(limit)
        if line != wanted:
            raise ClientFailed(f"a client process said {line[:_TAIL]!r}, not {wanted!r}")

    async def _line(self, limit: float) -> bytes:
        process = self._process
        if process is None or process.stdout is None:
            raise ClientFailed("the client process is not running: use it with `async with`")
        try:
            async with asyncio.timeout(limit):
                line = await process.stdout.readline()
                if line:
                    return line
                await process.wait()
        except TimeoutError:
            raise ClientFailed(f"a client process did not answer within {limit:g} s") from None
        text = b"" if self._errors is None else await self._errors
        last = (text.decode(errors="replace").strip().splitlines() or ["no word"])[-1]
        raise ClientFailed(f"a client process ended ({process.returncode}): {last[:_TAIL]}")
