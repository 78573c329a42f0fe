"""What the monitor keeps to each address that it asks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from aurora_sql.errors import AuroraError, ConnectionLost
from aurora_sql.settings import format_address

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aurora_sql.cluster._endpoints import Address
    from aurora_sql.cluster._report import Provider, Report
    from aurora_sql.drivers import DriverConnection

_GOOD_BYE = 0.5


class Link:
    """One address, and a connection to it that is opened when it is needed and then kept.

    Args:
        address: Host and port.
        connect: Opens a connection to it.
        provider: Knows what to ask.
        connection: One that is open already.

    Attributes:
        latency: Seconds that an answer takes, connecting not counted; newer answers count more.
            None before the first.
    """

    def __init__(
        self,
        address: Address,
        connect: Callable[[Address], Awaitable[DriverConnection]],
        provider: Provider,
        connection: DriverConnection | None = None,
    ) -> None:
        self.address = address
        self._connect = connect
        self._provider = provider
        self._connection = connection
        self._turn = asyncio.Lock()
        self.latency: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None and not self._connection.is_closed

    async def ask(self, limit: float, *, anew: bool = False) -> Report:
        """Ask the instance at the address.

        Args:
            limit: Seconds, connecting included.
            anew: Over a new connection, for the old one may lead where the address leads no more,
                or its way may be lost. If none can be had, the old one stays.

        Raises:
            AuroraError: No answer in that time, or a refusal.
        """
        try:
            async with asyncio.timeout(limit), self._turn:
                connection = self._connection
                if not anew and connection is not None and not connection.is_closed:
                    # That this one session was ended says nothing about the instance.
                    with suppress(ConnectionLost):
                        return await self._timed(connection)
                connection = await self._connect(self.address)
                self.drop()
                self._connection = connection
                return await self._timed(connection)
        except TimeoutError as error:
            raise ConnectionLost(
                f"{format_address(self.address)} did not answer within {limit:.3g} s",
                retry_safe=True,
            ) from error

    async def _timed(self, connection: DriverConnection) -> Report:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            report = await self._provider.ask(connection)
        except BaseException:
            self.drop()
            raise
        took = clock() - began
        self.latency = took if self.latency is None else self.latency + (took - self.latency) / 4
        return report

    def drop(self) -> None:
        """Close the connection at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def close(self) -> None:
        """Close the connection with a good-bye, for which there is half a second."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            with suppress(AuroraError, TimeoutError):
                async with asyncio.timeout(_GOOD_BYE):
                    await connection.close()
        finally:
            connection.abort()
