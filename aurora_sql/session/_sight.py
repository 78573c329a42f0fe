"""What a session has been shown, and where the connections for its statements come from.

A session stands between the statements and the pools: it hands out connections of servers that
show at least what it has seen, and takes note of each connection that comes back. Nothing of this
is on the way of statements outside of sessions.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

from aurora_sql.cluster import NOBODY, WRITER, Seen
from aurora_sql.errors import AuroraError, DeadlineExceeded, PoolTimeout

if TYPE_CHECKING:
    from aurora_sql.cluster import Replica
    from aurora_sql.execution import Lessor
    from aurora_sql.pool import Pool, Pooled
    from aurora_sql.session._consistency import Consistency
    from aurora_sql.session._shared import Shared
    from aurora_sql.statements import Statement

_WAIT: Final = 0.1
"""Seconds that a read waits for a reader to catch up, or for a connection to one, before it goes to
the writer."""
_ANSWER: Final = 0.5
"""Seconds that a server may take to tell how far it is."""
_PAUSES: Final = (0.002, 0.004, 0.008, 0.016)
"""Seconds between two questions; the last is repeated."""
_NO_PATIENCE: Final = 1.0
"""Seconds for which a reader that did not catch up is asked without waiting for it."""


class Sight:
    """What a session has been shown so far.

    Attributes:
        seen: What that amounts to.
        wrote: It wrote, and the writer was not asked for a position since.
        bound: It wrote or was given a token: any read may go to a reader.
        ahead: A reader has shown something that the writer may be about to show.
        open: Connections of the writer that are leased: a transaction or a stream on one of them
            may show more than any position that was asked for meanwhile.
    """

    __slots__ = ("_looks", "ahead", "bound", "open", "seen", "wrote")

    def __init__(self) -> None:
        self.seen = Seen()
        self.wrote = False
        self.bound = False
        self.ahead = False
        self.open = 0
        self._looks = 0

    def take(self, seen: Seen) -> None:
        """Begin with what another session has seen."""
        self.seen = seen
        self.bound = seen.floor is not None or seen.by == WRITER
        self.ahead = seen != Seen()

    def look(self, server: bytes) -> None:
        """Note that a server has shown something, or is about to."""
        self._looks += 1
        self.ahead |= server != WRITER
        self.seen = self.seen.after(server)

    def write(self) -> None:
        """Note that something was written, or may be, whatever comes of it."""
        self.look(WRITER)
        self.wrote = self.bound = True

    async def settle(self, consistency: Consistency, limit: float) -> bool:
        """Ask the writer for a position that covers all that was seen.

        Returns:
            Whether there is one. Something seen meanwhile is not covered.
        """
        if self.open:
            return False
        looks = self._looks
        position = await consistency.position(limit)
        if position is None or looks != self._looks:
            return False
        self.seen = self.seen.settled(position)
        if self.seen.by != NOBODY:
            return False
        self.wrote = False
        return True

    def __repr__(self) -> str:
        return f"<Sight of {self.seen}{', wrote' if self.wrote else ''}>"


class ObservedWriter:
    """The writer, as a session looks at it.

    Args:
        shared: The open database.
        sight: Takes note.
        writes: Whoever leases may write.
    """

    __slots__ = ("_consistency", "_note", "_reads", "_sight", "_writer")

    def __init__(self, shared: Shared, sight: Sight, *, writes: bool) -> None:
        self._writer = shared.writer
        self._consistency = shared.consistency
        self._sight = sight
        self._reads = not writes
        self._note = sight.write if writes else partial(sight.look, WRITER)

    @property
    def name(self) -> str:
        """The writer's."""
        return self._writer.name

    def try_acquire(self, now: float) -> Pooled | None:
        """Lease an idle connection; see :class:`Lessor`."""
        if self._reads and self._sight.ahead:
            return None
        pooled = self._writer.try_acquire(now)
        if pooled is not None:
            self._note()
            self._sight.open += 1
        return pooled

    async def acquire(self, deadline: float | None = None) -> Pooled:
        """Lease a connection; see :class:`Lessor`."""
        pooled = await self._writer.acquire(deadline)
        if self._reads and self._sight.ahead:
            # What a reader has shown must not be missing at the writer.
            try:
                await self._consistency.overtake(pooled)
            except BaseException:
                self._writer.release(pooled)
                raise
            self._sight.ahead = False
        self._note()
        self._sight.open += 1
        return pooled

    def release(self, pooled: Pooled) -> None:
        """Give a connection back, whatever became of the work on it.

        Noted again: a position that was asked for while it was under way does not cover it.
        """
        self._note()
        self._sight.open -= 1
        self._writer.release(pooled)


class SessionReader:
    """The readers, as a session looks at them: one that shows what was seen, else the writer.

    What is asked of a connection is asked of the one that then runs the statement: behind one
    address there may be several servers.

    Args:
        shared: The open database.
        sight: What the session has seen.
        writer: Takes the reads that no reader can take.

    Attributes:
        name: Of the pool that the last release was about.
    """

    __slots__ = (
        "_cluster",
        "_consistency",
        "_leased",
        "_loop",
        "_pool",
        "_sight",
        "_writer",
        "name",
    )

    def __init__(self, shared: Shared, sight: Sight, writer: ObservedWriter) -> None:
        self.name = ""
        self._cluster = shared.cluster
        self._consistency = shared.consistency
        self._loop = shared.context.loop
        self._sight = sight
        self._writer = writer
        self._pool: Pool | None = None
        self._leased: dict[Pooled, tuple[Pool, bytes]] = {}

    def choose(self, statement: Statement) -> Lessor:
        """Stay with the reader, or look for another; the writer where there is none."""
        pool = self._stay(self._pool) or self._stay(self._shown_by())
        if pool is None:
            pool = self._cluster.reader_for(statement)
            if pool is self._cluster.writer_pool:
                return self._writer
        self._pool = pool
        if self._sight.seen.by == WRITER and self._is_behind(pool):
            return self._writer  # it would have to show even more than what it was behind with
        return self

    def elsewhere(self, conflicts: int) -> Lessor:
        """Leave a reader that has cut a read short; see :meth:`Cluster.elsewhere`."""
        pool = self._pool
        if pool is not None:
            pool = self._cluster.elsewhere(pool, conflicts)
        if pool is None or pool is self._cluster.writer_pool:
            return self._writer
        self._pool = pool
        return self

    def _shown_by(self) -> Pool | None:
        """Return the pool of the reader that was looked at last, maybe by another session."""
        name = self._consistency.met(self._sight.seen.by)
        return next((one for one in self._cluster.reader_pools if one.name == name), None)

    def _stay(self, pool: Pool | None) -> Pool | None:
        fit = pool is not None and pool.available and pool in self._cluster.reader_pools
        return pool if fit else None

    def _is_behind(self, pool: Pool) -> bool:
        return self._consistency.patience.get(pool, -math.inf) > self._loop.time()

    def _lose_patience(self, pool: Pool, since: float, until: float) -> None:
        """Unless the wait was a short one: a caller without time says nothing of a reader."""
        if until >= since + _WAIT:
            self._consistency.patience[pool] = self._loop.time() + _NO_PATIENCE

    def try_acquire(self, now: float) -> Pooled | None:
        """Lease an idle connection to a reader that is known to show what was seen."""
        pool, seen = self._pool, self._sight.seen
        if pool is None or seen.by == WRITER:
            return None
        pooled = pool.try_acquire(now)
        if pooled is None:
            return None
        replica = self._consistency.replica(pooled)
        if replica is not None and seen.is_shown_by(replica.id, replica.replayed):
            return self._lease(pool, pooled, replica)
        pool.release(pooled)
        return None

    async def acquire(self, deadline: float | None = None) -> Pooled:
        """Lease a connection to a reader that shows what was seen, or will soon; else the writer's.

        Raises:
            AuroraError: There is no connection to the writer either.
        """
        now = self._loop.time()
        pool, pooled = self._pool, self.try_acquire(now)
        if pooled is None and pool is not None:
            try:
                pooled = await self._find(pool, math.inf if deadline is None else deadline)
            except AuroraError as error:
                # Whatever is wrong with the reader or with asking: the writer shows everything.
                ran_out = isinstance(error, DeadlineExceeded | PoolTimeout)
                self._lose_patience(pool, now, self._loop.time() if ran_out else math.inf)
        return await self._writer.acquire(deadline) if pooled is None else pooled

    async def _find(self, pool: Pool, limit: float) -> Pooled | None:
        """Lease a connection of a reader once that shows what was seen; None if it does not."""
        sight = self._sight
        started = self._loop.time()
        give_up = started if self._is_behind(pool) else self._within(_WAIT, limit)
        for pause in chain(_PAUSES, repeat(_PAUSES[-1])):
            if sight.seen.by == WRITER and not await self._settle(limit):
                break
            pooled = await pool.acquire(self._within(_WAIT, limit))
            replica: Replica | None = None
            try:
                replica = await self._look(pool, pooled, limit)
                if replica is not None and sight.seen.is_shown_by(replica.id, replica.replayed):
                    return self._lease(pool, pooled, replica)
            finally:
                if pooled not in self._leased:
                    pool.release(pooled)
            if replica is None:
                break
            if sight.seen.by not in (NOBODY, replica.id):
                # Another server, and nobody knows how much the last one has shown.
                if not await self._settle(limit):
                    break
            elif not sight.seen.may_be_shown_by(replica.replayed):
                break
            elif self._loop.time() + pause > give_up:
                self._lose_patience(pool, started, give_up)
                break
            else:
                await asyncio.sleep(pause)
        return None

    def _within(self, seconds: float, limit: float) -> float:
        """Return when to stop waiting: half of the caller's time at most is for the readers."""
        now = self._loop.time()
        return now + min(seconds, (limit - now) / 2)

    async def _settle(self, limit: float) -> bool:
        return await self._sight.settle(self._consistency, self._within(_ANSWER, limit))

    async def _look(self, pool: Pool, pooled: Pooled, limit: float) -> Replica | None:
        """Return the reader behind a connection, asked if that can change anything."""
        replica, seen = self._consistency.replica(pooled), self._sight.seen
        if replica is not None and (
            seen.by not in (NOBODY, replica.id) or seen.is_shown_by(replica.id, replica.replayed)
        ):
            return replica
        return await self._consistency.look(pool, pooled, self._within(_ANSWER, limit))

    def _lease(self, pool: Pool, pooled: Pooled, replica: Replica) -> Pooled:
        self._leased[pooled] = pool, replica.id
        self._sight.look(replica.id)
        return pooled

    def release(self, pooled: Pooled) -> None:
        """Give a connection back; see :meth:`ObservedWriter.release`."""
        leased = self._leased.pop(pooled, None)
        if leased is None:
            self.name = self._writer.name
            self._writer.release(pooled)
            return
        pool, server = leased
        self.name = pool.name
        self._sight.look(server)
        pool.release(pooled)
