"""What happens to a running PostgreSQL cluster."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

from aurora_sql.errors import AuroraError, OperationalError
from aurora_sql.local._changes import ATTACH, STUCK, Changes
from aurora_sql.local._postgresql import _wal
from aurora_sql.local._postgresql._asking import session, value
from aurora_sql.local._postgresql._members import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.drivers import DriverConnection
    from aurora_sql.local._postgresql._members import PostgresMembers

_ANSWER = 1.0
_POLL = 0.004

_RECEIVED = """
SELECT greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())::text
"""
_REPLAYED = "SELECT pg_catalog.pg_last_wal_replay_lsn()::text"
_RESUME = "SELECT pg_catalog.pg_wal_replay_resume()"
_READING = "SELECT pg_catalog.pg_is_in_recovery()"
_DELAY = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'recovery_min_apply_delay'"
# What the writer says: a reader that is refused says for a moment that it streams.
_STREAMS = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_stat_replication
    WHERE application_name = '{reader}' AND state = 'streaming'
)
"""
_TOO_LATE = "has already been removed"
"""What the log says of a reader that needs records that the writer keeps no more."""


class PostgresChanges(Changes[PostgresServer]):
    """Makes the changes, one at a time."""

    _members: PostgresMembers

    def __init__(self, members: PostgresMembers, announce: Callable[[], None]) -> None:
        super().__init__(members, announce)
        self._user = members.plan.username

    async def _take_over(self, old: PostgresServer, new: PostgresServer) -> None:
        async with session(new, self._user, STUCK) as asked:
            await self._fence(old)
            self._members.storage.open(old.data / "pg_wal")
            try:
                await self._feed(asked, old, new)
                await self._promote(asked, new)
            finally:
                self._members.storage.close()

    async def _received(self, server: PostgresServer) -> int | None:
        try:
            async with asyncio.timeout(_ANSWER), session(server, self._user, _ANSWER) as asked:
                return _wal.parse(await value(asked, _RECEIVED))
        except (AuroraError, TimeoutError):
            return None

    async def _feed(
        self, asked: DriverConnection, old: PostgresServer, new: PostgresServer
    ) -> None:
        if new.lag:
            new.lag = 0.0
            self._members.configure(new)
            new.signal_main(signal.SIGHUP)
        await value(asked, _RESUME)
        position = await _replayed(asked)
        log = old.data / "pg_wal"
        await asyncio.to_thread(_wal.drop_unwritten, log)
        last = await asyncio.to_thread(_wal.last_record, self._members.binaries, log, position)
        if position <= last:
            self._say(f"{new.id} replays from the storage up to {_wal.show(last)}")
        give_up = time.monotonic() + STUCK
        # The position is the end of what was replayed: past the beginning of the last record
        # means past that record.
        while position <= last:
            await asyncio.sleep(_POLL)
            before, position = position, await _replayed(asked)
            if position > before:
                give_up = time.monotonic() + STUCK
            elif time.monotonic() > give_up:
                raise OperationalError(
                    f"{new.id} stays at {_wal.show(position)} short of {_wal.show(last)}, so it "
                    f"is not promoted. {old.id} is down: restart it, or fail over to another"
                )

    async def _promote(self, asked: DriverConnection, new: PostgresServer) -> None:
        self._say(f"promoting {new.id}")
        self._members.tools.user.write(new.data / "promote", "")
        new.signal_main(signal.SIGUSR1)
        give_up = time.monotonic() + STUCK
        while await value(asked, _READING):
            if time.monotonic() > give_up:
                raise OperationalError(f"{new.id} was promoted and accepts no writes")
            await asyncio.sleep(_POLL)

    async def _follow(self, old: PostgresServer) -> None:
        members = self._members
        timeline, position = _wal.switch_point(members.writer.data / "pg_wal")
        _wal.discard_after(old.data / "pg_wal", timeline, position)
        for server in members.servers[1:]:
            members.configure(server)
            server.signal_main(signal.SIGHUP)
        members.start(old)
        self._announce()
        await asyncio.gather(
            *(self._attach(server) for server in members.servers[1:] if server.pid is not None)
        )

    async def _attach(self, server: PostgresServer) -> None:
        """Wait until a reader follows the writer; one that cannot is made anew."""
        if self._stands_still(server):
            return
        seen = server.log.stat().st_size
        try:
            await server.wait_ready(time.monotonic() + self._members.plan.timeout)
            await self._wait_streams(server, seen)
        except (AuroraError, TimeoutError):
            if self._stands_still(server) or self._stands_still(self._members.writer):
                return  # meanwhile nobody is there to follow, or it was paused or killed
            self._say(f"{server.id} cannot follow {self._members.writer.id}: it is made anew")
            await asyncio.to_thread(server.kill)
            await self._copy_and_start(server)
        self._say(f"{server.id} follows {self._members.writer.id}")

    async def _wait_streams(self, server: PostgresServer, seen: int) -> None:
        sql = _STREAMS.format(reader=server.id)
        async with (
            asyncio.timeout(ATTACH),
            session(self._members.writer, self._user, ATTACH) as asked,
        ):
            while not await value(asked, sql):
                with server.log.open(encoding="utf-8", errors="replace") as log:
                    log.seek(seen)
                    if _TOO_LATE in log.read():
                        raise OperationalError(_TOO_LATE)
                await asyncio.sleep(_POLL)

    async def _apply_lag(self, server: PostgresServer) -> None:
        server.signal_main(signal.SIGHUP)
        await self._wait_delay(server)

    async def _wait_delay(self, server: PostgresServer) -> None:
        # A new session each time: the main process makes it after it has passed the signal on to
        # the replaying process, which then looks before it applies the next record.
        wanted = str(round(server.lag * 1000))
        async with asyncio.timeout(ATTACH):
            while True:
                async with session(server, self._user, ATTACH) as asked:
                    if await value(asked, _DELAY) == wanted:
                        return
                await asyncio.sleep(_POLL)


async def _replayed(asked: DriverConnection) -> int:
    position: str | None = await value(asked, _REPLAYED)
    return 0 if position is None else _wal.parse(position)
