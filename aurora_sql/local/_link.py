"""One connection through the fault proxy: two sockets, two ways, and what faults do to them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from aurora_sql.local.faults import (
    Bandwidth,
    BlackHole,
    ByteLimit,
    Close,
    Direction,
    HalfClose,
    Latency,
    Reply,
    Request,
    Reset,
    Slices,
    SlowClose,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator

    from aurora_sql.local._wire import Conversation, Piece
    from aurora_sql.local.faults import Ending, Fault, Moment

_CHUNK: Final = 65536
_QUEUED: Final = 64
"""Chunks on their way in one direction: what the wire of a slow network would hold."""
_PACE: Final = 0.02
"""Seconds of its rate that a limited connection gets at once."""
_LINGER: Final = struct.pack("ii", 1, 0)


Target = tuple[
    socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]
"""A resolved address, and its family."""


@dataclass(slots=True)
class Counters:
    """What a proxy counts; written by its own thread alone."""

    accepted: int = 0
    refused: int = 0
    to_server: int = 0
    to_client: int = 0
    lost: int = 0
    injected: int = 0

    def passed(self, direction: Direction, size: int) -> None:
        """Count bytes that were passed on."""
        if direction is Direction.TO_SERVER:
            self.to_server += size
        else:
            self.to_client += size


@dataclass(slots=True)
class Shape:
    """How one way of one connection is at the moment."""

    latency: float = 0.0
    jitter: float = 0.0
    rate: float | None = None
    slices: int | None = None
    close_delay: float = 0.0
    left: int | None = None
    then: Ending = field(default_factory=Reset)
    lossy: bool = False
    """Bytes vanish."""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Not set: bytes are held back."""
    ended: bool = False
    """This way was closed by a fault; what still comes is dropped."""

    def apply(self, fault: Fault) -> None:
        """Take on a fault that shapes."""
        match fault:
            case Latency():
                self.latency, self.jitter = fault.seconds, fault.jitter
            case Bandwidth():
                self.rate = fault.bytes_per_second
            case Slices():
                self.slices = fault.size
            case SlowClose():
                self.close_delay = fault.seconds
            case ByteLimit():
                self.left, self.then = fault.size, fault.then
            case BlackHole(keep=True):
                self.open.clear()
            case BlackHole():
                self.lossy = True
            case _:
                raise AssertionError(fault)

    def heal(self) -> None:
        """Be as at first, except for what is closed."""
        self.latency = self.jitter = self.close_delay = 0.0
        self.rate = self.slices = self.left = None
        self.lossy = False
        self.open.set()


class _Injection(NamedTuple):
    fault: Fault


class _End(NamedTuple):
    broken: bool


class _Way:
    """One direction: a reader that stamps bytes, a queue, and a writer that obeys the shape."""

    def __init__(self, link: Link, direction: Direction) -> None:
        self.link = link
        self.direction = direction
        self.shape = Shape()
        self.shape.open.set()
        self.source: socket.socket | None = None
        self.target: socket.socket | None = None
        self.done = False
        self._queue: asyncio.Queue[tuple[float, bytes | _Injection | _End]] = asyncio.Queue(_QUEUED)
        self._last_due = 0.0
        self._free_at = 0.0

    async def read(self) -> None:
        loop = asyncio.get_running_loop()
        source = self.source
        if source is None:
            return
        broken = False
        try:
            while data := await loop.sock_recv(source, _CHUNK):
                for item in self.link.look_at(self.direction, data):
                    await self._put(item)
        except OSError:
            broken = True
        if held := self.link.held_back(self.direction):
            await self._put(held)
        await self._put(_End(broken))

    async def _put(self, item: bytes | _Injection | _End) -> None:
        delay = self.shape.latency
        if self.shape.jitter:
            delay += self.link.random.uniform(0, self.shape.jitter)
        self._last_due = max(self._last_due, asyncio.get_running_loop().time() + delay)
        await self._queue.put((self._last_due, item))

    async def write(self) -> None:
        while not self.link.is_over:
            due, item = await self._queue.get()
            await _sleep_until(due)
            await self.shape.open.wait()
            if isinstance(item, bytes):
                await self._send(item)
            elif isinstance(item, _Injection):
                self.link.counters.injected += 1
                self.link.apply(item.fault)
            else:
                await self._finish(item)
                return

    async def _finish(self, end: _End) -> None:
        if self.shape.lossy:
            # The end is lost with everything else; healing deals with what is left.
            self.link.torn = True
            return
        await asyncio.sleep(self.shape.close_delay)
        if end.broken:
            self.link.end(reset=True)
            return
        self.shut()
        self.done = True
        self.link.check_done()

    def shut(self) -> None:
        """Tell the target that nothing more comes."""
        self.shape.ended = True
        if self.target is not None:
            with contextlib.suppress(OSError):
                self.target.shutdown(socket.SHUT_WR)

    async def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view and not self.link.is_over:
            if self._drops():
                self.link.counters.lost += len(view)
                # After a way was closed its target expects nothing; after a hole it would.
                self.link.torn = self.link.torn or self.shape.lossy
                return
            if self.shape.left == 0:
                self.shape.left = None
                self.link.counters.injected += 1
                self.link.apply(self.shape.then)
                continue
            size = await self._allowed(len(view))
            if not size or self._drops() or self.link.is_over:
                continue
            if not await self._write(view[:size]):
                return
            view = view[size:]

    def _drops(self) -> bool:
        return self.shape.lossy or self.shape.ended

    async def _allowed(self, size: int) -> int:
        """How many bytes may go in one write, after waiting for the rate."""
        shape = self.shape
        if shape.slices is not None:
            size = min(size, shape.slices)
        if (rate := shape.rate) is not None:
            size = min(size, max(1, int(rate * _PACE)))
            await _sleep_until(self._free_at)  # and the proxy may be healed meanwhile
            self._free_at = asyncio.get_running_loop().time() + size / rate
        elif shape.slices is not None:
            await asyncio.sleep(0)  # others go on meanwhile
        await shape.open.wait()
        return size if shape.left is None else min(size, shape.left)

    async def _write(self, data: memoryview) -> bool:
        if self.target is None:
            return False
        # Counted first: whoever has received bytes finds them counted.
        self.link.counters.passed(self.direction, len(data))
        try:
            await asyncio.get_running_loop().sock_sendall(self.target, data)
        except OSError:
            self.link.counters.passed(self.direction, -len(data))
            self.link.end(reset=True)
            return False
        if self.shape.left is not None:
            self.shape.left -= len(data)
        return True


class Link:
    """One connection of a client, and the one to the server that belongs to it.

    Args:
        number: Counts up in the proxy.
        client: The client's socket, not blocking; the link closes it.
        target: Where the server is.
        watch: Gives the faults whose moment has come, for a moment's type, message and SQL.
        counters: The proxy's.
        random: For jitter.
        conversation: Reads what is said.
    """

    def __init__(
        self,
        number: int,
        client: socket.socket,
        target: Target,
        watch: Callable[[Link, type[Moment], str, str | None], Iterable[Fault]],
        counters: Counters,
        random: random.Random,
        conversation: Conversation,
    ) -> None:
        self.number = number
        self.counters = counters
        self.random = random
        self.torn = False
        self._client = client
        self._server: socket.socket | None = None
        self._target = target
        self._watch = watch
        self._ways = {direction: _Way(self, direction) for direction in Direction}
        self._conversation = conversation
        self._replies: list[tuple[int, Fault]] = []
        self._over = asyncio.Event()
        self._reset = False

    @property
    def is_over(self) -> bool:
        """It ended, or is about to."""
        return self._over.is_set()

    async def run(self) -> None:
        """Serve the connection until it ends."""
        serving = asyncio.ensure_future(self._serve())
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait((serving, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            serving.cancel()
            over.cancel()
            self._over.set()
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await serving
            finally:
                self._close_sockets()

    async def _serve(self) -> None:
        to_server, to_client = self._ways[Direction.TO_SERVER], self._ways[Direction.TO_CLIENT]
        to_server.source = to_client.target = self._client
        if to_client.shape.ended:
            to_client.shut()
        async with asyncio.TaskGroup() as group:
            group.create_task(to_server.read())
            await to_server.shape.open.wait()
            if to_server.shape.lossy:
                self.torn = True
            elif await self._connect():
                group.create_task(to_client.read())
                group.create_task(to_client.write())
            group.create_task(to_server.write())
            # A way may be over while the other goes on, or while a black hole keeps both.
            await self._over.wait()

    async def _connect(self) -> bool:
        family, address = self._target
        server = socket.socket(family, socket.SOCK_STREAM)
        self._server = server
        server.settimeout(0)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().sock_connect(server, address)
        except OSError:
            # As near as a proxy comes to what the server said: it refused.
            self.counters.refused += 1
            self.end(reset=True)
            return False
        to_server, to_client = self._ways[Direction.TO_SERVER], self._ways[Direction.TO_CLIENT]
        to_server.target = to_client.source = server
        if to_server.shape.ended:
            to_server.shut()
        return True

    def look_at(self, direction: Direction, data: bytes) -> Iterator[bytes | _Injection]:
        """What to put on the way for bytes that came: they, and faults whose moment they are."""
        ready = bytearray()
        to_server = direction is Direction.TO_SERVER
        split = self._conversation.from_client if to_server else self._conversation.from_server
        for piece in split(data):
            for fault in self._due(piece, to_server=to_server):
                if ready:
                    yield bytes(ready)
                    ready.clear()
                yield _Injection(fault)
            if to_server or not self._is_dropped(piece):
                ready += piece.data
            else:
                self.counters.lost += len(piece.data)
        if ready:
            yield bytes(ready)

    def held_back(self, direction: Direction) -> bytes:
        """Bytes of an unfinished message, when its source has ended."""
        client, server = self._conversation.rest()
        return client if direction is Direction.TO_SERVER else server

    def _due(self, piece: Piece, *, to_server: bool) -> Iterator[Fault]:
        if not piece.message:
            return
        if to_server:
            yield from self._watch(self, Request, piece.message, piece.sql)
            for fault in self._watch(self, Reply, piece.message, piece.sql):
                self._replies.append((piece.cycle, fault))
            return
        for entry in [entry for entry in self._replies if piece.cycle >= entry[0]]:
            # An answer is complete with ReadyForQuery; COPY and LOAD DATA wait for the client.
            if not _is_ending(entry[1]) or piece.message in "ZGHW":
                self._replies.remove(entry)
                yield entry[1]

    def _is_dropped(self, piece: Piece) -> bool:
        """Whether it belongs to an answer that a fault at its end will drop."""
        return any(_is_ending(fault) and piece.cycle >= cycle for cycle, fault in self._replies)

    def apply(self, fault: Fault) -> None:
        """Let a fault take effect now."""
        match fault:
            case Reset():
                self.end(reset=True)
            case Close():
                self.end(reset=False)
            case HalfClose():
                self._ways[fault.direction].shut()
            case Latency() | Bandwidth() | Slices() | SlowClose() | ByteLimit() | BlackHole() as it:
                for direction, way in self._ways.items():
                    if it.direction in {None, direction}:
                        way.shape.apply(it)
            case _:
                raise AssertionError(fault)

    def heal(self) -> None:
        """Be a plain connection again; one that lost bytes is reset."""
        self._replies.clear()
        for way in self._ways.values():
            way.shape.heal()
        if self.torn:
            self.end(reset=True)

    def check_done(self) -> None:
        """End it when both ways have."""
        if all(way.done for way in self._ways.values()):
            self.end(reset=False)

    def end(self, *, reset: bool) -> None:
        """End it now; the first call counts."""
        if not self._over.is_set():
            self._reset = reset
            self._over.set()

    def _close_sockets(self) -> None:
        for sock in (self._client, self._server):
            if sock is None:
                continue
            with contextlib.suppress(OSError):
                if self._reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
                else:
                    sock.shutdown(socket.SHUT_WR)
                    _drain(sock)
            sock.close()


def _is_ending(fault: Fault) -> bool:
    """Whether an answer at which it is due is lost."""
    match fault:
        case Reset() | Close() | HalfClose(Direction.TO_CLIENT):
            return True
        case BlackHole(keep=False):
            return fault.direction is not Direction.TO_SERVER
    return False


def _drain(sock: socket.socket) -> None:
    """Read what has come: closing a socket with unread bytes resets it."""
    while sock.recv(_CHUNK):
        pass


async def _sleep_until(moment: float) -> None:
    delay = moment - asyncio.get_running_loop().time()
    if delay > 0:
        await asyncio.sleep(delay)
