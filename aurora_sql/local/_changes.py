"""What happens to a running cluster: failover, readers that come and go, lag."""

from __future__ import annotations

import asyncio
import math
import shutil
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aurora_sql.errors import AuroraError, ConfigurationError, OperationalError
from aurora_sql.local import _addresses, _wal
from aurora_sql.local._members import MOST_READERS
from aurora_sql.local._prepare import instance_id
from aurora_sql.local._status import session, value
from aurora_sql.types import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.drivers import DriverConnection
    from aurora_sql.local._members import Members
    from aurora_sql.local._server import Server

_LONGEST_LAG = 86_400.0
_GRACE = 1.0
"""Seconds for a writer to shut down in good order; killing it then loses nothing either."""
_ANSWER = 1.0
_STUCK = 30.0
"""Seconds without progress after which a candidate is given up."""
_ATTACH = 10.0
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


@dataclass(frozen=True, slots=True)
class Failover:
    """What a failover did.

    Attributes:
        old_writer: Identifier of the instance that was the writer.
        new_writer: Identifier of the one that is.
        accepted_at: Time of ``time.monotonic()`` at which the new writer accepted writes.
        seconds: From the call to that time.
    """

    old_writer: str
    new_writer: str
    accepted_at: float
    seconds: float


class Changes:
    """Makes the changes, one at a time.

    Args:
        members: The instances.
        announce: Called when parts changed or instances came or went.
    """

    def __init__(self, members: Members, announce: Callable[[], None]) -> None:
        self._members = members
        self._announce = announce
        self._say = members.say
        self._user = members.plan.username
        self._lock = asyncio.Lock()

    # Failover

    async def failover(self, target: str | None) -> Failover:
        """Promote a reader that holds every acknowledged commit; the others follow it."""
        began = time.monotonic()
        async with self._lock:
            if self._members.plan.keeps:
                raise ConfigurationError(
                    "failover: not with data_dir, which keeps the data of the first writer only"
                )
            old = self._members.writer
            new = await self._candidate(target)
            self._say(f"failover from {old.id} to {new.id}")
            async with session(new, self._user, _STUCK) as asked:
                await self._fence(old)
                self._members.storage.open(old.data / "pg_wal")
                try:
                    await self._feed(asked, old, new)
                    await self._promote(asked, new)
                finally:
                    self._members.storage.close()
            accepted = time.monotonic()
            self._swap(old, new)
            self._say(f"{new.id} accepts writes after {accepted - began:.3f} s")
            await self._follow(old)
            return Failover(old.id, new.id, accepted, accepted - began)

    async def _candidate(self, target: str | None) -> Server:
        if target is not None:
            chosen = self._members.reader(target)
            if chosen.pid is None or chosen.paused:
                raise ConfigurationError(
                    f"{chosen.id} is {'paused' if chosen.paused else 'down'} and cannot take over; "
                    "resume or restart it, or choose another"
                )
            return chosen
        running = [s for s in self._members.servers[1:] if s.pid is not None and not s.paused]
        answers = await asyncio.gather(*(self._received(server) for server in running))
        # Of those that have the most, the one that shows the most: it has the least to replay.
        known = [
            (position, -server.lag, -number, server)
            for number, (position, server) in enumerate(zip(answers, running, strict=True))
            if position is not None
        ]
        if not known:
            raise ConfigurationError(
                "no reader can take over: none runs; restart one, add one, or restart the writer"
            )
        return max(known)[-1]

    async def _received(self, server: Server) -> int | None:
        try:
            async with asyncio.timeout(_ANSWER), session(server, self._user, _ANSWER) as asked:
                return _wal.parse(await value(asked, _RECEIVED))
        except (AuroraError, TimeoutError):
            return None

    async def _fence(self, old: Server) -> None:
        self._say(f"stopping {old.id}" if old.pid is not None else f"{old.id} is down")
        # Whatever of it lives on could still acknowledge a commit that nobody would have.
        await asyncio.to_thread(old.fence, _GRACE)

    async def _feed(self, asked: DriverConnection, old: Server, new: Server) -> None:
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
        give_up = time.monotonic() + _STUCK
        # The position is the end of what was replayed: past the beginning of the last record
        # means past that record.
        while position <= last:
            await asyncio.sleep(_POLL)
            before, position = position, await _replayed(asked)
            if position > before:
                give_up = time.monotonic() + _STUCK
            elif time.monotonic() > give_up:
                raise OperationalError(
                    f"{new.id} stays at {_wal.show(position)} short of {_wal.show(last)}, so it "
                    f"is not promoted. {old.id} is down: restart it, or fail over to another"
                )

    async def _promote(self, asked: DriverConnection, new: Server) -> None:
        self._say(f"promoting {new.id}")
        self._members.tools.user.write(new.data / "promote", "")
        new.signal_main(signal.SIGUSR1)
        give_up = time.monotonic() + _STUCK
        while await value(asked, _READING):
            if time.monotonic() > give_up:
                raise OperationalError(f"{new.id} was promoted and accepts no writes")
            await asyncio.sleep(_POLL)

    def _swap(self, old: Server, new: Server) -> None:
        members = self._members
        new.role, old.role = Role.WRITER, Role.READER
        others = [server for server in members.servers if server is not new]
        members.servers = (new, *others)
        members.configure(new)  # for its next start
        self._announce()

    async def _follow(self, old: Server) -> None:
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

    async def _attach(self, server: Server) -> None:
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

    async def _wait_streams(self, server: Server, seen: int) -> None:
        sql = _STREAMS.format(reader=server.id)
        async with (
            asyncio.timeout(_ATTACH),
            session(self._members.writer, self._user, _ATTACH) as asked,
        ):
            while not await value(asked, sql):
                with server.log.open(encoding="utf-8", errors="replace") as log:
                    log.seek(seen)
                    if _TOO_LATE in log.read():
                        raise OperationalError(_TOO_LATE)
                await asyncio.sleep(_POLL)

    @staticmethod
    def _stands_still(server: Server) -> bool:
        return server.paused or server.pid is None

    # Readers that come and go

    async def add_reader(self) -> str:
        """Add a reader and return its identifier once it serves."""
        async with self._lock:
            members = self._members
            if len(members.servers) > MOST_READERS:
                raise ConfigurationError(f"add_reader: there are {MOST_READERS} readers already")
            self._need_writer("add_reader")
            taken = {server.id for server in members.servers}
            number = next(n for n in range(1, MOST_READERS + 2) if instance_id(n) not in taken)
            used = [(server.host, server.port) for server in members.servers]
            server = members.make(number, Role.READER, _addresses.choose_one(number, used))
            try:
                await self._copy_and_start(server)
            except BaseException:
                server.kill()
                shutil.rmtree(server.folder, ignore_errors=True)
                raise
            members.servers = (*members.servers, server)
            self._announce()
            self._say(f"{server.id} serves reads")
            return server.id

    async def _copy_and_start(self, server: Server) -> None:
        await self._members.copy(server)
        self._members.configure(server)
        self._members.start(server)
        await server.wait_ready(time.monotonic() + self._members.plan.timeout)

    async def remove_reader(self, which: str) -> None:
        """Stop a reader and remove its files."""
        async with self._lock:
            server = self._members.reader(which)
            self._say(f"stopping {server.id}")
            await asyncio.to_thread(server.fence, _GRACE)
            self._members.servers = tuple(s for s in self._members.servers if s is not server)
            self._announce()
            await asyncio.to_thread(shutil.rmtree, server.folder, ignore_errors=True)
            self._say(f"{server.id} is removed")

    async def restart(self, which: str) -> None:
        """Stop an instance, if it runs, and start it in the part it has."""
        async with self._lock:
            server = self._members.find(which)
            self._say(f"stopping {server.id}" if server.pid is not None else f"{server.id} is down")
            await asyncio.to_thread(server.fence, _GRACE)
            self._members.configure(server)
            self._members.start(server)
            if server.role is Role.WRITER:
                await server.wait_ready(time.monotonic() + self._members.plan.timeout)
            else:
                await self._attach(server)
            self._announce()

    # Lag

    async def set_lag(self, which: str, seconds: float) -> None:
        """Make a reader show each commit that many seconds after it was made."""
        if not (math.isfinite(seconds) and 0 <= seconds <= _LONGEST_LAG):
            raise ConfigurationError(f"seconds={seconds!r}: must be 0 to {_LONGEST_LAG:g}")
        async with self._lock:
            server = self._members.reader(which)
            server.lag = float(seconds)
            self._members.configure(server)
            server.signal_main(signal.SIGHUP)
            if not self._stands_still(server):
                try:
                    await self._wait_delay(server)
                except TimeoutError as error:
                    raise OperationalError(f"{server.id} does not take its new lag") from error
            self._say(f"{server.id} replays {seconds:g} s late")

    async def _wait_delay(self, server: Server) -> None:
        # A new session each time: the main process makes it after it has passed the signal on to
        # the replaying process, which then looks before it applies the next record.
        wanted = str(round(server.lag * 1000))
        async with asyncio.timeout(_ATTACH):
            while True:
                async with session(server, self._user, _ATTACH) as asked:
                    if await value(asked, _DELAY) == wanted:
                        return
                await asyncio.sleep(_POLL)

    def _need_writer(self, what: str) -> None:
        writer = self._members.writer
        if writer.pid is None or writer.paused:
            state = "paused" if writer.paused else "down"
            raise ConfigurationError(
                f"{what}: the writer {writer.id} is {state}, and a reader is a copy of it; "
                "fail over or restart it first"
            )


async def _replayed(asked: DriverConnection) -> int:
    position: str | None = await value(asked, _REPLAYED)
    return 0 if position is None else _wal.parse(position)
