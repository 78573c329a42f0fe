"""Sessions of the cluster's own administrator, over a server's socket."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from aurora_sql.drivers import ConnectOptions, connect
from aurora_sql.errors import AuroraError
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aurora_sql.drivers import DriverConnection
    from aurora_sql.local._mysql._members import MySQLServer

ADMINISTRATOR = "aurora_local"
"""The cluster's own user: it exists for the sockets alone, in no client's settings."""


class Session:
    """One session; its statements may take as long as it was opened for."""

    def __init__(self, connection: DriverConnection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, server: MySQLServer, secret: str, limit: float) -> Session:
        """Log in over the server's socket.

        Args:
            server: The server.
            secret: The administrator's password.
            limit: Seconds that this, and each statement, may take.

        Raises:
            ConfigurationError: The driver is not installed.
            ConnectionFailed: The server does not answer.
        """

        async def password() -> str | None:
            return secret

        options = ConnectOptions(
            host=str(server.socket),
            port=server.port,
            database="",
            user=ADMINISTRATOR,
            password=password,
            connect_timeout=limit,
            command_timeout=limit,
            application_name="aurora_sql local cluster",
        )
        return cls(await connect(Engine.MYSQL, options))

    async def rows(self, sql: str) -> list[dict[str, Any]]:
        """Run one statement and return its rows, by the names of the columns."""
        statement = await self._connection.prepare(sql)
        try:
            found = await statement.fetch(())
            # Known now at the latest: MySQL does not tell those of a SHOW before it has run.
            names = [column.name for column in statement.columns]
        finally:
            with suppress(AuroraError):
                await statement.close()
        return [dict(zip(names, row, strict=True)) for row in found]

    async def value(self, sql: str) -> Any:
        """The first column of the first row."""
        return next(iter((await self.rows(sql))[0].values()))

    async def execute(self, sql: str) -> None:
        """Run one statement that has no rows."""
        await self._connection.execute(sql)

    def abort(self) -> None:
        """Drop it."""
        self._connection.abort()


@asynccontextmanager
async def session(server: MySQLServer, secret: str, limit: float) -> AsyncIterator[Session]:
    """A session for a block."""
    opened = await Session.open(server, secret, limit)
    try:
        yield opened
    finally:
        opened.abort()
