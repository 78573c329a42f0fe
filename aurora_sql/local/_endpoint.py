"""The cluster's endpoints: what a cluster's DNS names are to Aurora, here a TCP forwarder."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.local._addresses import Address

_CHUNK = 65536


class Endpoint:
    """Listens on one address and forwards each connection to the instance chosen for it.

    The choice is made once per connection, as with DNS: a connection that stands stays where it is.
    """

    def __init__(self, address: Address, choose: Callable[[], Address | None]) -> None:
        self.address = address
        self._choose = choose
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: The address is taken.
        """
        host, port = self.address
        self._server = await asyncio.start_server(self._accept, host, port, backlog=512)

    def close(self) -> None:
        """Stop listening and cut all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._connections:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._connections.add(task)
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            # Cancelled by close() alone. Not passed on: the stream server of Python 3.11 would
            # report it as an error.
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = self._choose()
        if target is None:
            return
        server_reader, server_writer = await asyncio.open_connection(*target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, server_writer))
                group.create_task(_pump(server_reader, writer))
        except* OSError:
            pass  # one side was reset; the other is told by closing it
        finally:
            server_writer.transport.abort()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        target.write(data)
        await target.drain()
    # Half-close, and let the other direction end by itself.
    with contextlib.suppress(OSError):
        target.write_eof()
