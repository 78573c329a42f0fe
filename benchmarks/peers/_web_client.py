"""A load generator for HTTP, in a process of its own: keep-alive connections, one request each."""

from __future__ import annotations

import asyncio
import time
from array import array
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import OperationalError
from benchmarks._engine import Sample
from benchmarks._loop import LoopKind, choose

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_NANOSECONDS = 1_000_000_000
_OK = b"HTTP/1.1 200 "
_TAIL = 200


class _Caller(asyncio.Protocol):
    """One connection: asks again as soon as it has the whole answer, until the time is up."""

    def __init__(self, request: bytes, until: int) -> None:
        self._request = request
        self._until = until
        self._parts = b""
        self._length = 0
        self._started = 0
        # uvloop's are no subclass of asyncio.Transport.
        self._transport: Any = None
        self.latencies = array("q")
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._started = time.perf_counter_ns()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parts += data
        if not self._length:
            head = self._parts.find(b"\r\n\r\n")
            if head < 0:
                return
            self._length = head + 4 + content_length(self._parts[:head])
        if len(self._parts) < self._length:
            return
        now = time.perf_counter_ns()
        self.last, self._parts, self._length = self._parts, b"", 0
        if not self.last.startswith(_OK):
            self._fail(self.last[:_TAIL].decode("latin-1"))
            return
        self.latencies.append(now - self._started)
        if now < self._until:
            self._ask()
        else:
            self._end()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(str(error or "the server closed the connection"))

    def _fail(self, words: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(OperationalError(f"a request was not answered: {words}"))
        self.close()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


def content_length(head: bytes) -> int:
    """The length of the body, as the head of an answer tells.

    Raises:
        OperationalError: It does not tell.
    """
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    raise OperationalError("an answer without content-length: the load generator reads no other")


async def load(port: int, path: str, connections: int, seconds: float) -> tuple[Sample, bytes]:
    """Ask one path on so many connections for so long.

    Returns:
        The measurement, and the last answer with its head.

    Raises:
        OperationalError: A request was not answered, or not with 200.
        OSError: Nobody listens.
    """
    loop = asyncio.get_running_loop()
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("ascii")
    begin = time.perf_counter_ns()
    until = begin + int(seconds * _NANOSECONDS)
    callers: list[_Caller] = []
    try:
        for _ in range(connections):
            _, caller = await loop.create_connection(
                lambda: _Caller(request, until), "127.0.0.1", port
            )
            callers.append(caller)
        await asyncio.gather(*(caller.ended for caller in callers))
    finally:
        for caller in callers:
            caller.close()
            if not caller.ended.done():
                caller.ended.cancel()
    elapsed = (time.perf_counter_ns() - begin) / _NANOSECONDS
    latencies = array("q")
    for caller in callers:
        latencies.extend(caller.latencies)
    return Sample(seconds=elapsed, latencies=latencies), callers[-1].last


def serve(pipe: Connection) -> None:
    """Load as the pipe says, until it says nothing more.

    Each order is (port, path, connections, seconds); each answer a sample with the last answer of
    the server, or the sentence that says what failed.
    """
    with asyncio.Runner(loop_factory=choose(LoopKind.AUTO)[1]) as runner:
        while True:
            try:
                order = pipe.recv()
            except EOFError:
                return
            if order is None:
                return
            try:
                answer: object = runner.run(load(*order))
            except (OperationalError, OSError) as error:
                answer = str(error)
            pipe.send(answer)
