"""What the cluster asks its PostgreSQL servers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from aurora_sql.drivers import ConnectOptions, DriverConnection, connect
from aurora_sql.errors import AuroraError, NoWriterAvailable, OperationalError
from aurora_sql.types import Engine, Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aurora_sql.local._server import Server

_STATEMENT = 60.0
_POLL = 0.01

_FLUSHED = "SELECT pg_catalog.pg_current_wal_flush_lsn()::text"
_REPLAYED = """
SELECT pg_catalog.pg_last_wal_replay_lsn() >= '{position}'::pg_lsn
       AND EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver WHERE status = 'streaming')
"""


async def _no_password() -> str | None:
    return None  # the server's socket asks the kernel who we are


async def open_session(server: Server, user: str, limit: float) -> DriverConnection:
    """A session of the administrator; the caller closes it."""
    options = ConnectOptions(
        host=str(server.folder),
        port=server.port,
        database="postgres",
        user=user,
        password=_no_password,
        connect_timeout=limit,
        command_timeout=limit,
        application_name="aurora_sql local cluster",
    )
    return await connect(Engine.POSTGRESQL, options)


@asynccontextmanager
async def session(server: Server, user: str, limit: float) -> AsyncIterator[DriverConnection]:
    """A session of the administrator, whose statements may take ``limit`` seconds."""
    connection = await open_session(server, user, limit)
    try:
        yield connection
        await connection.close()
    finally:
        connection.abort()


async def value(connection: DriverConnection, sql: str) -> Any:
    """The first column of the first row."""
    statement = await connection.prepare(sql)
    try:
        return (await statement.fetch(()))[0][0]
    finally:
        with suppress(AuroraError):
            await statement.close()


def running_writer(servers: Sequence[Server]) -> Server:
    for server in servers:
        if server.role is Role.WRITER and server.pid is not None:
            return server
    raise NoWriterAvailable("the writer of the local cluster does not run")


async def execute(servers: Sequence[Server], user: str, sql: str) -> None:
    """Run one statement on the writer.

    Raises:
        NoWriterAvailable: The writer does not run.
        AuroraError: The statement failed.
    """
    async with session(running_writer(servers), user, _STATEMENT) as asked:
        await asked.execute(sql)


async def wait_replayed(servers: Sequence[Server], user: str, limit: float) -> None:
    """Wait until every running reader streams and has replayed what the writer has flushed.

    Args:
        servers: All instances.
        user: The cluster's administrator.
        limit: Seconds to wait.

    Raises:
        NoWriterAvailable: The writer does not run, so that nobody knows how far it came.
        OperationalError: A reader has not replayed it in that time.
    """
    writer = running_writer(servers)
    waiting = {s.id for s in servers if s.role is Role.READER and s.pid is not None}
    position = "its position"
    try:
        async with asyncio.timeout(limit):
            async with session(writer, user, limit) as asked:
                position = await value(asked, _FLUSHED)
            await _wait_for_all(servers, user, position, limit, waiting)
    except TimeoutError as error:
        late = ", ".join(sorted(waiting)) or writer.id
        raise OperationalError(
            f"{late} did not reach {position} of {writer.id} within {limit:g} s; is it paused, or "
            "held up by a long query there?"
        ) from error


async def _wait_for_all(
    servers: Sequence[Server], user: str, position: str, limit: float, waiting: set[str]
) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for server in servers:
                if server.id in waiting:
                    group.create_task(_wait_for(server, user, position, limit, waiting))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _wait_for(
    server: Server, user: str, position: str, limit: float, waiting: set[str]
) -> None:
    sql = _REPLAYED.format(position=position)
    async with session(server, user, limit) as asked:
        # Short queries, not one that waits at the server: its snapshot could hold up the replay.
        while not await value(asked, sql):  # noqa: ASYNC110 - the server sends no event
            await asyncio.sleep(_POLL)
    waiting.discard(server.id)
