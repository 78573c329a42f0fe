"""The socket of one MySQL session: one command at a time, answered in one turn of the loop.

Commands are never pipelined: Aurora MySQL is known to hang on it (MariaDB Connector/J 1.5.5,
release notes, CONJ-386).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aurora_sql.drivers import _mysql_protocol as p

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.drivers._mysql_answers import Answer, Results


class Wire(asyncio.Protocol):
    """Takes over a transport after the login.

    Args:
        transport: The transport, logged in, nothing unread.
        loop: Its event loop.
        keep: Held as long as the transport is in use: what made it would close it when it goes.

    Attributes:
        status: The server's status as of its last answer that told it.
        lost: Why the connection ended, None while it is open.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        keep: object,
        status: int,
    ) -> None:
        self._transport = transport
        self._write = straight(transport)
        self._new_future = loop.create_future
        self._keep = keep
        self._buffer: bytearray | None = None
        self._answer: Answer | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._watchers: list[asyncio.Future[None]] = []
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        # The server has asked for a file in the answer that is under way.
        self._asked = False
        self.status = status
        self.lost: Exception | None = None
        transport.set_protocol(self)
        transport.resume_reading()

    # --- asyncio ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self._unasked(data)
            return
        buffer: p.Buffer = data
        if self._buffer is not None:
            self._buffer += data
            buffer = self._buffer
        try:
            pos = answer.feed(buffer, 0)
        except (p.ProtocolError, struct.error, IndexError, ValueError) as exc:
            self.abort(ConnectionError(f"the server's answer cannot be read: {exc}"))
            return
        if answer.done:
            self._buffer = self._answer = None
            if answer.status is not None:
                self.status = answer.status
            # As _wake, whose call would be felt here.
            waiter, self._waiter = self._waiter, None
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
            if self._watchers:
                self._wake()
            if pos < len(buffer):
                self._unasked(bytes(buffer[pos:]))
        else:
            self._incomplete(answer, buffer, pos)

    def _incomplete(self, answer: Answer, buffer: p.Buffer, pos: int) -> None:
        """Keep what has not been read of an answer that is not complete yet."""
        if not self._asked and answer.upload is not None:
            self._asked_for_file()
        if pos == len(buffer):
            self._buffer = None
        elif self._buffer is None:
            self._buffer = bytearray(memoryview(buffer)[pos:])
        else:
            del self._buffer[:pos]

    def _asked_for_file(self) -> None:
        self._asked = True
        if self._waiter is None or self._waiter.done():
            # Whoever would answer is gone: an empty file, or the server waits for ever.
            self._transport.write(p.frame(b"", 2))
        self._wake()

    def _unasked(self, data: bytes) -> None:
        # A server that ends a session (idle for too long, shut down) says so first.
        reason = "the server sent something unasked"
        if len(data) > 5 and data[4] == p.ERR:  # noqa: PLR2004 - a header and a kind
            err = p.read_err(data, 4, len(data))
            reason = f"{err.message} ({err.code})"
        self.abort(ConnectionError(reason))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the server closed the connection"))

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # --- commands ---------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Commands can be sent."""
        return self.lost is None

    @property
    def in_transaction(self) -> bool:
        """A transaction is open, by the server's last status."""
        return bool(self.status & p.IN_TRANSACTION) and self.lost is None

    @property
    def is_busy(self) -> bool:
        """A command is not answered yet."""
        return self._answer is not None

    def send(self, packet: bytes, answer: Answer) -> asyncio.Future[None]:
        """Send a command; the future is done when its answer is.

        Cancelling the future lets go of the answer, which arrives all the same.

        Raises:
            OSError: The connection is closed.
        """
        if self.lost is not None:
            raise self.lost
        self._answer = answer
        self._asked = False
        waiter = self._waiter = self._new_future()
        self._write(packet)
        return waiter

    def post(self, packet: bytes) -> None:
        """Send a command that is not answered, or data for one that is under way."""
        if self.lost is None:
            self._transport.write(packet)

    def resume(self) -> asyncio.Future[None]:
        """Wait for the answer that the server's question for a file has interrupted.

        Raises:
            OSError: The connection is closed.
        """
        if self.lost is not None:
            raise self.lost
        waiter = self._waiter = self._new_future()
        if self._answer is None:
            waiter.set_result(None)
        return waiter

    async def idle(self) -> None:
        """Wait until the command under way is answered or the connection lost."""
        if self._answer is None or self.lost is not None:
            return
        watcher = self._new_future()
        self._watchers.append(watcher)
        await watcher

    async def drain(self) -> None:
        """Wait until the socket takes more.

        Raises:
            OSError: The connection is closed.
        """
        if self._paused and self.lost is None:
            if self._drained is None:
                self._drained = self._new_future()
            await asyncio.shield(self._drained)
        if self.lost is not None:
            raise self.lost

    def get_extra_info(self, name: str) -> Any:
        """What the transport knows of its socket."""
        return self._transport.get_extra_info(name)

    def abort(self, reason: Exception | None = None) -> None:
        """Close at once."""
        self._end(reason or ConnectionError("the connection was closed"))
        with contextlib.suppress(Exception):
            self._transport.abort()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._answer is None:
            for watcher in self._watchers:
                if not watcher.done():
                    watcher.set_result(None)
            self._watchers.clear()

    def _end(self, reason: Exception) -> None:
        if self.lost is not None:
            return
        self.lost = reason if isinstance(reason, OSError) else ConnectionError(str(reason))
        self._answer = self._buffer = None
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(self.lost)
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_result(None)
        self._watchers.clear()
        self.resume_writing()


@dataclass(frozen=True, slots=True)
class Session:
    """What comes out of a login.

    Attributes:
        wire: The socket, logged in.
        thread: The server's number for the session, as its greeting said.
        version: The server's version, as it writes it.
        encrypted: It runs over TLS.
        extended: Columns come with MariaDB's extended type information.
    """

    wire: Wire
    thread: int
    version: str
    encrypted: bool
    extended: bool


def straight(transport: asyncio.Transport) -> Callable[[bytes], None]:
    """What writes to a transport, past it where it can: to its socket.

    That spares a transport's own bookkeeping. Whatever the socket does not take at once is the
    transport's: it waits until the socket takes more, and meets the error of one that is lost
    again, which ends the connection in the usual way.

    The socket stays open until the protocol has been told that the connection is lost; nothing
    may be written after that.
    """
    write = transport.write
    socket = transport.get_extra_info("socket")
    # TLS is the transport's; sockets of Windows are no files.
    if socket is None or transport.get_extra_info("ssl_object") is not None or os.name != "posix":
        return write
    number, waiting, put = socket.fileno(), transport.get_write_buffer_size, os.write

    def write_straight(data: bytes) -> None:
        if waiting():
            write(data)
            return
        try:
            sent = put(number, data)
        except OSError:
            sent = 0
        if sent != len(data):
            write(data[sent:])

    return write_straight


def asks_for(answer: Results, name: str) -> bool:
    """Whether the server asks for this file, and for no other."""
    return answer.upload == name
