"""What happens to a running MySQL cluster."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aurora_sql.errors import AuroraError, OperationalError
from aurora_sql.local import _addresses
from aurora_sql.local._changes import ATTACH, STUCK, Changes
from aurora_sql.local._mysql._members import MySQLServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.local._addresses import Address
    from aurora_sql.local._mysql._asking import Questions
    from aurora_sql.local._mysql._members import MySQLMembers
    from aurora_sql.local._mysql._session import Session

_ANSWER = 1.0
_POLL = 0.004


class MySQLChanges(Changes[MySQLServer]):
    """Makes the changes, one at a time."""

    _members: MySQLMembers

    def __init__(
        self, members: MySQLMembers, questions: Questions, announce: Callable[[], None]
    ) -> None:
        super().__init__(members, announce)
        self._questions = questions

    async def _received(self, server: MySQLServer) -> int | None:
        try:
            async with (
                asyncio.timeout(_ANSWER),
                self._questions.session(server, _ANSWER) as asked,
            ):
                return await self._questions.received(asked)
        except (AuroraError, TimeoutError):
            return None

    # Failover

    async def _take_over(self, old: MySQLServer, new: MySQLServer) -> None:
        async with self._questions.session(new, STUCK) as asked:
            self._say(f"stopping {old.id}" if old.pid is not None else f"{old.id} is down")
            # At once: what it acknowledged is in its log, which is read below.
            await asyncio.to_thread(old.fence, 0.0)
            try:
                await self._feed(asked, old, new)
            except BaseException:
                await asyncio.to_thread(old.fence, 0.0)
                self._members.configure(old)
                raise
            await asyncio.to_thread(old.fence, 0.0)
            self._say(f"promoting {new.id}")
            await self._questions.promote(asked)

    async def _feed(self, asked: Session, old: MySQLServer, new: MySQLServer) -> None:
        """Give the new writer what the old one's log has more than it."""
        hidden = _addresses.choose_any(old.host)
        self._members.configure(old, hidden)
        self._say(f"reading the storage of {old.id}")
        old.start(self._members.tools, self._members.binaries)
        await old.wait_ready(time.monotonic() + self._members.plan.timeout)
        async with self._questions.session(old, STUCK) as storage:
            wanted = await self._questions.progress(storage, replica=False)
        position = await self._questions.progress(asked, replica=True)
        new.lag = 0.0
        if position < wanted:
            self._say(f"{new.id} replays from the storage up to transaction {wanted}")
            await self._questions.point(asked, hidden, 0.0)
        give_up = time.monotonic() + STUCK
        while position < wanted:
            await asyncio.sleep(_POLL)
            before, position = position, await self._questions.progress(asked, replica=True)
            if position > before:
                give_up = time.monotonic() + STUCK
            elif time.monotonic() > give_up:
                raise OperationalError(
                    f"{new.id} stays at transaction {position} short of {wanted}, so it is not "
                    f"promoted. {old.id} is down: restart it, or fail over to another"
                )

    async def _follow(self, old: MySQLServer) -> None:
        members = self._members
        for server in members.servers[1:]:
            members.configure(server)
        members.start(old)
        self._announce()
        await asyncio.gather(
            *(self._attach(server) for server in members.servers[1:] if server.pid is not None)
        )

    async def _attach(self, server: MySQLServer) -> None:
        """Let a reader follow the writer; one that cannot is made anew."""
        if self._stands_still(server):
            return
        try:
            await server.wait_ready(time.monotonic() + self._members.plan.timeout)
            await self.follow_writer(server)
        except (AuroraError, TimeoutError) as error:
            if self._stands_still(server) or self._stands_still(self._members.writer):
                return  # meanwhile nobody is there to follow, or it was paused or killed
            self._say(f"{server.id} cannot follow {self._members.writer.id}: it is made anew")
            self._say(str(error))
            await asyncio.to_thread(server.kill)
            await self._copy_and_start(server)
        self._say(f"{server.id} follows {self._members.writer.id}")

    async def follow_writer(self, server: MySQLServer) -> None:
        """Point a reader at the writer and wait until it follows.

        Raises:
            OperationalError: It cannot, or does not in time.
        """
        writer = self._members.writer
        source: Address = (writer.host, writer.port)
        async with asyncio.timeout(ATTACH), self._questions.session(server, ATTACH) as asked:
            await self._questions.point(asked, source, server.lag)
            while True:
                state = await self._questions.replica(asked)
                if state is not None and state.connected and state.applies:
                    return
                if state is None or not (state.receives and state.applies):
                    raise OperationalError(f"{server.id}: {state.error if state else 'no source'}")
                await asyncio.sleep(_POLL)

    def is_astray(self, server: MySQLServer, source: Address | None) -> bool:
        """Whether a reader follows somebody else than the writer, and nothing is being changed."""
        writer = self._members.writer
        return (
            not self._lock.locked()
            and server in self._members.servers[1:]
            and source != (writer.host, writer.port)
        )

    async def mend(self, server: MySQLServer) -> None:
        """Let a reader that slept through a failover follow the writer that there is now."""
        async with self._lock:
            if server in self._members.servers[1:] and not self._stands_still(self._members.writer):
                await self._attach(server)

    async def _copy_and_start(self, server: MySQLServer) -> None:
        await super()._copy_and_start(server)
        await self.follow_writer(server)

    async def _apply_lag(self, server: MySQLServer) -> None:
        await self.follow_writer(server)
