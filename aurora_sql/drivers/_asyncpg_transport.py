"""A transport under asyncpg that can hold bytes back until asyncpg's next write.

So BEGIN leaves in one packet with the statement after it: a write of its own would be another
system call, another packet and another time that the server is woken. And when asyncpg writes
nothing, because it cannot encode a value, nothing has been sent.

asyncpg takes its transport from the event loop, and the loop as an argument: it is given one that
passes everything on and wraps the transports of PostgreSQL sessions.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from asyncpg.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class HoldingTransport:
    """Passes everything on to a transport.

    Attributes:
        write: The transport's own ``write``, but for the one call after :meth:`hold`.
        writelines: Likewise.
    """

    __slots__ = ("_held", "_inner", "write", "writelines")

    def __init__(self, inner: asyncio.Transport) -> None:
        self._inner = inner
        self._held = b""
        self.write: Callable[[Any], None] = inner.write
        self.writelines: Callable[[list[Any]], None] = inner.writelines

    def hold(self, data: bytes) -> None:
        """Send ``data`` in front of what is written next."""
        self._held = data
        self.write = self._write
        self.writelines = self._writelines

    def drop(self) -> bool:
        """Forget what is held; return whether there was anything."""
        return bool(self._take())

    def _take(self) -> bytes:
        held, self._held = self._held, b""
        self.write = self._inner.write
        self.writelines = self._inner.writelines
        return held

    def _write(self, data: Any) -> None:
        self._inner.write(self._take() + bytes(data))

    def _writelines(self, lines: list[Any]) -> None:
        self._inner.writelines([self._take(), *lines])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Introduction(asyncio.Protocol):
    """Hands a new transport to asyncpg's protocol, wrapped, and steps out of the way."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self.transport: HoldingTransport | None = None

    def connection_made(self, transport: Any) -> None:
        # uvloop's transports are of no class of asyncio's.
        transport.set_protocol(self._protocol)
        self.transport = HoldingTransport(transport)
        self._protocol.connection_made(self.transport)


class ConnectingLoop:
    """The event loop as asyncpg sees it while it connects."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # Kept by asyncpg's protocol, which asks for one future per command.
        self.create_future = loop.create_future

    async def create_connection(self, factory: Callable[[], Any], *args: Any, **kwargs: Any) -> Any:
        """Connect by TCP."""
        return await self._connect(self._loop.create_connection, factory, *args, **kwargs)

    async def create_unix_connection(
        self, factory: Callable[[], Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Connect by a Unix socket."""
        return await self._connect(self._loop.create_unix_connection, factory, *args, **kwargs)

    async def start_tls(self, *args: Any, **kwargs: Any) -> Any:
        """Upgrade to TLS, which comes before asyncpg's protocol for the session is made."""
        transport = await self._loop.start_tls(*args, **kwargs)
        return None if transport is None else HoldingTransport(transport)

    async def _connect(
        self, connect: Any, factory: Callable[[], Any], *args: Any, **kwargs: Any
    ) -> Any:
        protocol = factory()
        if not isinstance(protocol, Protocol):
            return await connect(lambda: protocol, *args, **kwargs)
        introduction = _Introduction(protocol)
        await connect(lambda: introduction, *args, **kwargs)
        return introduction.transport, protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)
