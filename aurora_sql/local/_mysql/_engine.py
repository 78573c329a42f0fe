"""MySQL's part of a local cluster: MySQL or MariaDB."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import AuroraError, ConfigurationError, ProgrammingError
from aurora_sql.local._engine import Kind, LocalEngine
from aurora_sql.local._mysql import _binaries, _setup
from aurora_sql.local._mysql._asking import Questions
from aurora_sql.local._mysql._changes import MySQLChanges
from aurora_sql.local._mysql._members import MySQLMembers
from aurora_sql.local._mysql._prepare import Preparation
from aurora_sql.local._mysql._session import ADMINISTRATOR
from aurora_sql.local._mysql._template import copy_database
from aurora_sql.local._user import ServerUser
from aurora_sql.types import Engine, Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.local._addresses import Address
    from aurora_sql.local._engine import Plan
    from aurora_sql.local._mysql._members import MySQLServer
    from aurora_sql.local._mysql._session import Session
    from aurora_sql.local._tools import Tools

_ANSWER = 1.5
_STATEMENT = 60.0
_REMEMBERED = 600
"""Positions of the writer, one a second, from which lags are told."""


class MySQLEngine(LocalEngine):
    """One writer and readers that follow it by global transaction identifiers."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        super().__init__(plan, say)
        self._found: _binaries.Binaries | None = None
        self._user: ServerUser | None = None
        self._members: MySQLMembers | None = None
        self._questions: Questions | None = None
        self._changes: MySQLChanges | None = None
        self._sessions: dict[str, Session] = {}
        self._lags = Lags()
        self._mending: set[asyncio.Task[None]] = set()

    def user(self) -> ServerUser:
        """Who will run the servers: root, where only root can reach the program."""
        if self._user is None:
            user = ServerUser.find(("mysql", "nobody"), "MySQL")
            self._found = _binaries.find(self.plan.bin_dir, self.say)
            if user.drops and not user.can_run(self._found.server):
                user = ServerUser.root()
            self._user = user
        return self._user

    async def prepare(self, tools: Tools) -> MySQLMembers:
        """Make the data folders of all first instances."""
        binaries = self._found
        if binaries is None:
            raise AssertionError
        self.version = binaries.full_version
        self.product = binaries.flavor.value
        self.say(f"{binaries.flavor} {self.version} ({binaries.source}: {binaries.server})")
        passwords = {
            name: secrets.token_urlsafe(24) for name in (ADMINISTRATOR, _setup.REPLICATION_USER)
        }
        members = MySQLMembers(tools, binaries, self.plan, self.say, passwords)
        await Preparation(members).run()
        self._members = members
        self._questions = Questions(members)
        return members

    def _parts(self) -> tuple[MySQLMembers, Questions]:
        if self._members is None or self._questions is None:
            raise ConfigurationError("the local cluster is not running")
        return self._members, self._questions

    def changes(self, announce: Callable[[], None]) -> MySQLChanges:
        """What can happen to the instances."""
        members, questions = self._parts()
        self._changes = MySQLChanges(members, questions, announce)
        return self._changes

    async def join(self) -> None:
        """Make the readers follow."""
        members, _ = self._parts()
        changes = self._changes
        if changes is None:
            raise AssertionError
        await asyncio.gather(*(changes.follow_writer(server) for server in members.servers[1:]))

    # The status table

    async def status(self) -> list[dict[str, Any]] | None:
        """What each instance that answers says: how late it is."""
        members, _ = self._parts()
        running = [s for s in members.servers if s.pid is not None and not s.paused]
        answers = await asyncio.gather(*(self._progress(server) for server in running))
        found = dict(zip((server.id for server in running), answers, strict=True))
        writer = found.get(members.writer.id)
        now = time.monotonic()
        if writer is not None:
            self._lags.note(writer, now)
        rows: list[dict[str, Any]] = []
        for server in members.servers:
            row: dict[str, Any] = {"server_id": server.id}
            position = found.get(server.id)
            if position is not None:
                lag = 0.0 if server.role is Role.WRITER else self._lags.of(position, now)
                row["replica_lag_in_msec"] = round(lag * 1000, 1)
                row["reported_at"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
            rows.append(row)
        return rows

    async def _progress(self, server: MySQLServer) -> int | None:
        _, questions = self._parts()
        try:
            async with asyncio.timeout(_ANSWER):
                asked = self._sessions.get(server.id)
                if asked is None:
                    asked = await questions.open(server, _ANSWER)
                    self._sessions[server.id] = asked
                if server.role is Role.WRITER:
                    return await questions.progress(asked, replica=False)
                state = await questions.replica(asked)
                self._notice(server, None if state is None else state.source)
                return await questions.progress(asked, replica=True)
        except (AuroraError, TimeoutError):
            asked = self._sessions.pop(server.id, None)
            if asked is not None:
                asked.abort()
            return None

    def _notice(self, server: MySQLServer, source: Address | None) -> None:
        changes = self._changes
        if changes is None or self._mending or not changes.is_astray(server, source):
            return
        # By itself: it may take longer than the status may.
        task = asyncio.create_task(changes.mend(server))
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)
        # What keeps it from following now is found again at the next look.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def disconnect(self) -> None:
        """Drop the sessions that :meth:`status` keeps."""
        for asked in self._sessions.values():
            asked.abort()
        self._sessions.clear()

    # What users ask for

    async def wait_replayed(self, limit: float) -> None:
        """Wait until every running reader has replayed what the writer has written."""
        _, questions = self._parts()
        await questions.wait_replayed(limit)

    async def create_database(self, name: str, template: str | None) -> None:
        """Make a database, as a copy of another if one is named."""
        _, questions = self._parts()
        async with questions.session(questions.writer(), _STATEMENT) as asked:
            if template is not None and not await self._exists(asked, template):
                raise ProgrammingError(f"there is no database {template!r} to copy", code="1049")
            await asked.execute(f"CREATE DATABASE {_setup.identifier(name)}")
            if template is not None:
                await copy_database(asked, template, name)

    @staticmethod
    async def _exists(asked: Session, name: str) -> bool:
        sql = (
            f"SELECT 1 FROM information_schema.schemata WHERE schema_name = {_setup.literal(name)}"
        )
        return bool(await asked.rows(sql))

    async def drop_database(self, name: str) -> None:
        """Drop a database and the sessions in it."""
        _, questions = self._parts()
        async with questions.session(questions.writer(), _STATEMENT) as asked:
            quoted = _setup.literal(name)
            inside = f"SELECT id FROM information_schema.processlist WHERE db = {quoted}"
            for row in await asked.rows(inside):
                try:
                    await asked.execute(f"KILL {next(iter(row.values()))}")
                except AuroraError:
                    continue  # it has gone by itself
            await asked.execute(f"DROP DATABASE IF EXISTS {_setup.identifier(name)}")


class Lags:
    """Tells how late a reader is from when the writer was where the reader is now."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)

    def note(self, position: int, now: float) -> None:
        """The writer is at ``position`` now."""
        if not self._seen or position > self._seen[-1][0]:
            self._seen.append((position, now))

    def of(self, position: int, now: float) -> float:
        """Seconds since the first time that the writer had more than ``position``."""
        for seen, when in self._seen:
            if seen > position:
                return now - when
        return 0.0


KIND = Kind(
    engine=Engine.MYSQL,
    username="admin",
    longest_username=32,
    check_settings=_setup.check_settings,
    make=MySQLEngine,
)
