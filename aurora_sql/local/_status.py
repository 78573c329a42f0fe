"""What the cluster asks its servers: how far they are, and the status table of Aurora's storage."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aurora_sql.drivers import ConnectOptions, DriverConnection, connect
from aurora_sql.errors import AuroraError, NoWriterAvailable, OperationalError
from aurora_sql.types import Engine, Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from aurora_sql.local._server import Server

STATUS_FILE = "aurora_status.json"
_WRITER_SESSION = "MASTER_SESSION_ID"
_REFRESH = 1.0
"""Seconds between two updates, as often as Aurora's instances report."""
_ANSWER = 2.0
_STATEMENT = 60.0
_POLL = 0.01

_STATUS = """
SELECT json_agg(row_to_json(s))::text FROM pg_catalog.aurora_replica_status() AS s
"""
_FLUSHED = "SELECT pg_catalog.pg_current_wal_flush_lsn()::text"
_REPLAYED = """
SELECT pg_catalog.pg_last_wal_replay_lsn() >= '{position}'::pg_lsn
       AND EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver WHERE status = 'streaming')
"""


async def _no_password() -> str | None:
    return None  # the server's socket asks the kernel who we are


async def _connect(server: Server, user: str, limit: float) -> DriverConnection:
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
    connection = await _connect(server, user, limit)
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


def _writer(servers: Sequence[Server]) -> Server:
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
    async with session(_writer(servers), user, _STATEMENT) as asked:
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
    writer = _writer(servers)
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


class StatusBoard:
    """Keeps the file from which ``aurora_replica_status()`` knows the other instances.

    It plays the table in Aurora's shared storage: every instance can read it, it is about a
    second old, and what an instance that does not answer last said stays in it.
    """

    def __init__(self, folder: Path, servers: Callable[[], Sequence[Server]], user: str) -> None:
        self._path = folder / STATUS_FILE
        self._servers = servers
        self._user = user
        self._connection: DriverConnection | None = None
        self._look: Callable[[], object] = lambda: None
        self._rows: list[dict[str, Any]] = []
        self._generation = 0

    def watch(self, look: Callable[[], object]) -> None:
        """Call ``look`` too at each update."""
        self._look = look

    def announce(self) -> None:
        """Write who is there and who is the writer; the figures stay until the next update.

        An instance that becomes or ceases to be the writer gets a session id of its own, as one
        that starts in Aurora.
        """
        before = {row["server_id"]: row for row in self._rows}
        rows = []
        for server in self._servers():
            row = before.get(server.id, {"server_id": server.id})
            if server.role is Role.WRITER:
                row = {**row, "session_id": _WRITER_SESSION}
            elif row.get("session_id", _WRITER_SESSION) == _WRITER_SESSION:
                row = {**row, "session_id": str(uuid4())}
            rows.append(row)
        # What is being asked just now was said by those who were there before.
        self._generation += 1
        self._disconnect()
        self._write(rows)

    async def keep_current(self) -> None:
        """Update it every second until cancelled."""
        try:
            while True:
                await self.refresh()
                for server in self._servers():
                    server.reap()
                self._look()
                await asyncio.sleep(_REFRESH)
        finally:
            self._disconnect()

    async def refresh(self) -> None:
        """Update it once; what the writer does not answer in time stays as it was."""
        generation = self._generation
        try:
            async with asyncio.timeout(_ANSWER):
                text = await self._ask()
        except (AuroraError, TimeoutError):
            self._disconnect()
            return
        if text is not None and generation == self._generation:
            self._store(json.loads(text))

    async def _ask(self) -> str | None:
        writer = next((s for s in self._servers() if s.role is Role.WRITER), None)
        if writer is None or writer.pid is None:
            return None
        if self._connection is None or self._connection.is_closed:
            self._connection = await _connect(writer, self._user, _ANSWER)
        answer: str | None = await value(self._connection, _STATUS)
        return answer

    def _store(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["session_id"] == _WRITER_SESSION:
                row["last_update_timestamp"] = datetime.now(UTC).isoformat()
            # What they share is the machine, so that is what is busy.
            row["cpu"] = round(100.0 * os.getloadavg()[0] / (os.cpu_count() or 1), 1)
        self._write(rows)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        new = self._path.with_suffix(".new")
        # Renamed into place: a reader sees the old file or the new one.
        new.write_text(json.dumps(rows), encoding="utf-8")
        new.chmod(0o644)
        new.replace(self._path)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
