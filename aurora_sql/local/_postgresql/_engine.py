"""PostgreSQL's part of a local cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aurora_sql.local._engine import Kind, LocalEngine
from aurora_sql.local._postgresql import _binaries, _setup
from aurora_sql.local._postgresql._asking import (
    execute,
    open_session,
    value,
    wait_replayed,
)
from aurora_sql.local._postgresql._changes import PostgresChanges
from aurora_sql.local._postgresql._members import PostgresMembers
from aurora_sql.local._postgresql._prepare import Preparation
from aurora_sql.local._user import ServerUser
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aurora_sql.drivers import DriverConnection
    from aurora_sql.local._engine import Plan
    from aurora_sql.local._postgresql._members import PostgresServer
    from aurora_sql.local._tools import Tools

_ANSWER = 2.0
_EMPTY = "template1"
_STATUS = """
SELECT json_agg(row_to_json(s))::text FROM pg_catalog.aurora_replica_status() AS s
"""


class PostgresEngine(LocalEngine):
    """One writer and streaming readers."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        super().__init__(plan, say)
        self._members: PostgresMembers | None = None
        self._connection: DriverConnection | None = None

    def user(self) -> ServerUser:
        """Who will run the servers."""
        return ServerUser.find()

    async def prepare(self, tools: Tools) -> PostgresMembers:
        """Find the programs and make the data folders of all first instances."""
        plan = self.plan
        binaries = _binaries.find(plan.bin_dir, tools.user, tools.folder)
        self.product, self.version = "PostgreSQL", binaries.full_version
        self.say(f"PostgreSQL {binaries.full_version} ({binaries.source}: {binaries.folder})")
        preparation = Preparation(tools, binaries, plan.username, self.say)
        data = await preparation.make_writer(plan.data_dir)
        await preparation.install(data, plan.database, plan.password)
        await preparation.copy(data, plan.readers)
        self._members = PostgresMembers(tools, binaries, plan, self.say)
        return self._members

    def changes(self, announce: Callable[[], None]) -> PostgresChanges:
        """What can happen to the instances."""
        if self._members is None:
            raise AssertionError
        return PostgresChanges(self._members, announce)

    async def join(self) -> None:
        """Readers follow by their configuration alone."""

    def _servers(self) -> Sequence[PostgresServer]:
        return () if self._members is None else self._members.servers

    async def status(self) -> list[dict[str, Any]] | None:
        """The rows of ``aurora_replica_status()`` at the writer."""
        writer = next((s for s in self._servers() if s.role == "writer"), None)
        if writer is None or writer.pid is None:
            return None
        if self._connection is None or self._connection.is_closed:
            self._connection = await open_session(writer, self.plan.username, _ANSWER)
        answer: str | None = await value(self._connection, _STATUS)
        rows: list[dict[str, Any]] | None = None if answer is None else json.loads(answer)
        return rows

    def disconnect(self) -> None:
        """Drop the session that :meth:`status` keeps."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def wait_replayed(self, limit: float) -> None:
        """Wait until every running reader has replayed what the writer has flushed."""
        await wait_replayed(self._servers(), self.plan.username, limit)

    async def create_database(self, name: str, template: str | None) -> None:
        """Make a database as a copy of another."""
        source = _setup.identifier(template or _EMPTY)
        await self._execute(f"CREATE DATABASE {_setup.identifier(name)} TEMPLATE {source}")

    async def drop_database(self, name: str) -> None:
        """Drop a database and the sessions in it."""
        await self._execute(f"DROP DATABASE IF EXISTS {_setup.identifier(name)} WITH (FORCE)")

    async def _execute(self, sql: str) -> None:
        await execute(self._servers(), self.plan.username, sql)


KIND = Kind(
    engine=Engine.POSTGRESQL,
    username="postgres",
    longest_username=63,
    check_settings=_setup.check_settings,
    make=PostgresEngine,
)
