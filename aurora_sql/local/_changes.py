"""What happens to a running cluster: failover, readers that come and go, lag."""

from __future__ import annotations

import asyncio
import math
import shutil
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from aurora_sql.errors import ConfigurationError, OperationalError
from aurora_sql.local import _addresses
from aurora_sql.local._members import MOST_READERS, S
from aurora_sql.local._server import instance_id
from aurora_sql.types import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.local._members import Members

_LONGEST_LAG = 86_400.0
GRACE = 1.0
"""Seconds for a writer to shut down in good order; killing it then loses nothing either."""
STUCK = 30.0
"""Seconds without progress after which a candidate is given up."""
ATTACH = 10.0
"""Seconds in which a reader follows, or takes its new lag."""


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


class Changes(ABC, Generic[S]):
    """Makes the changes, one at a time.

    Args:
        members: The instances.
        announce: Called when parts changed or instances came or went.
    """

    def __init__(self, members: Members[S], announce: Callable[[], None]) -> None:
        self._members: Members[S] = members
        self._announce = announce
        self._say = members.say
        self._lock = asyncio.Lock()

    # What each engine does in its own way

    @abstractmethod
    async def _received(self, server: S) -> int | None:
        """How much of the writer's log a running reader has; None if it does not answer."""

    @abstractmethod
    async def _take_over(self, old: S, new: S) -> None:
        """End every process of ``old``, and promote ``new`` once it has all that ``old`` wrote."""

    @abstractmethod
    async def _follow(self, old: S) -> None:
        """Let all instances that run follow the new writer, ``old`` too."""

    @abstractmethod
    async def _attach(self, server: S) -> None:
        """Wait until a reader follows the writer; one that cannot is made anew."""

    @abstractmethod
    async def _apply_lag(self, server: S) -> None:
        """Let a running reader take its lag, and wait for that."""

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
            await self._take_over(old, new)
            accepted = time.monotonic()
            self._swap(old, new)
            self._say(f"{new.id} accepts writes after {accepted - began:.3f} s")
            await self._follow(old)
            return Failover(old.id, new.id, accepted, accepted - began)

    async def _candidate(self, target: str | None) -> S:
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

    async def _fence(self, old: S) -> None:
        self._say(f"stopping {old.id}" if old.pid is not None else f"{old.id} is down")
        # Whatever of it lives on could still acknowledge a commit that nobody would have.
        await asyncio.to_thread(old.fence, GRACE)

    def _swap(self, old: S, new: S) -> None:
        members = self._members
        new.role, old.role = Role.WRITER, Role.READER
        others = [server for server in members.servers if server is not new]
        members.servers = (new, *others)
        members.configure(new)  # for its next start
        self._announce()

    @staticmethod
    def _stands_still(server: S) -> bool:
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

    async def _copy_and_start(self, server: S) -> None:
        await self._members.copy(server)
        self._members.configure(server)
        self._members.start(server)
        await server.wait_ready(time.monotonic() + self._members.plan.timeout)

    async def remove_reader(self, which: str) -> None:
        """Stop a reader and remove its files."""
        async with self._lock:
            server = self._members.reader(which)
            self._say(f"stopping {server.id}")
            await asyncio.to_thread(server.fence, GRACE)
            self._members.servers = tuple(s for s in self._members.servers if s is not server)
            self._announce()
            await asyncio.to_thread(shutil.rmtree, server.folder, ignore_errors=True)
            self._say(f"{server.id} is removed")

    async def restart(self, which: str) -> None:
        """Stop an instance, if it runs, and start it in the part it has."""
        async with self._lock:
            server = self._members.find(which)
            self._say(f"stopping {server.id}" if server.pid is not None else f"{server.id} is down")
            await asyncio.to_thread(server.fence, GRACE)
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
            if not self._stands_still(server):
                try:
                    await self._apply_lag(server)
                except TimeoutError as error:
                    raise OperationalError(f"{server.id} does not take its new lag") from error
            self._say(f"{server.id} replays {seconds:g} s late")

    def _need_writer(self, what: str) -> None:
        writer = self._members.writer
        if writer.pid is None or writer.paused:
            state = "paused" if writer.paused else "down"
            raise ConfigurationError(
                f"{what}: the writer {writer.id} is {state}, and a reader is a copy of it; "
                "fail over or restart it first"
            )
