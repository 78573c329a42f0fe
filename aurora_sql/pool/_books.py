"""What a pool has, and what it has done so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aurora_sql.errors import PoolClosed
from aurora_sql.pool._queue import WaitQueue
from aurora_sql.types import PoolStats

if TYPE_CHECKING:
    import asyncio

    from aurora_sql.pool._keeper import Keeper
    from aurora_sql.pool._opener import Opener
    from aurora_sql.pool._options import PoolOptions
    from aurora_sql.pool._pooled import Pooled

__all__ = ["Books"]


class Books:
    """The state of a pool, its gauges and its counters; the pool itself does all that changes it.

    Attributes:
        name: For messages, such as the instance's identifier.
        options: The pool's.
    """

    _keeper: Keeper
    _opener: Opener

    def __init__(self, name: str, options: PoolOptions) -> None:
        self.name = name
        self.options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._closed = False

        self._all: dict[Pooled, None] = {}
        self._idle: list[Pooled] = []
        self._queue = WaitQueue()
        self._waiters = self._queue.waiting
        self._generation = 0

        self._leases = 0
        self._waited = 0
        self._rejected = 0
        self._opened = 0
        self._closed_count = 0
        self._wait_seconds = 0.0

    @property
    def _in_use(self) -> int:
        return len(self._all) - len(self._idle) - self._keeper.returning

    @property
    def load(self) -> int:
        """Callers that have a connection or wait for one."""
        # _in_use written out: each read on a reader asks this.
        return len(self._all) - len(self._idle) - self._keeper.returning + len(self._waiters)

    @property
    def available(self) -> bool:
        """Whether a caller may hope for a connection soon.

        False once closed, and while there is no connection and the last connect failed. Without
        a floor to keep nobody but a caller makes the pool try again: then the pause between two
        attempts decides.
        """
        if self._closing:
            return False
        opener = self._opener
        if opener.last_error is None or self._all:
            return True
        return self.options.min_size == 0 and self._running_loop().time() >= opener.retry_at

    def stalled(self, since: float) -> bool:
        """Whether somebody has been waiting for the server, or for a connection, for long.

        Args:
            since: ``loop.time()``; whoever began later does not count.
        """
        first = next(iter(self._waiters), None)
        if first is not None and first.since < since:
            return True
        return self.hangs(since)

    def hangs(self, since: float) -> bool:
        """Whether somebody has been waiting for the server for long.

        Args:
            since: As for :meth:`stalled`.
        """
        return any(
            one.task is not None and one.leased_at < since and not one.driver.is_closed
            for one in self._all
        )

    def stats(self) -> PoolStats:
        """Gauges and counters at this moment."""
        return PoolStats(
            size=len(self._all) + self._opener.opening,
            idle=len(self._idle),
            in_use=self._in_use,
            opening=self._opener.opening,
            returning=self._keeper.returning,
            waiting=len(self._waiters),
            min_size=self.options.min_size,
            max_size=self.options.max_size,
            generation=self._generation,
            leases=self._leases,
            waited=self._waited,
            timeouts=self._queue.timeouts,
            rejected=self._rejected,
            opened=self._opened,
            open_failures=self._opener.failed,
            closed=self._closed_count,
            resets=self._keeper.resets,
            wait_seconds=self._wait_seconds,
        )

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise PoolClosed(f"pool {self.name!r} is not open yet")
        return self._loop

    def __repr__(self) -> str:
        if self._loop is None:
            state = "closed" if self._closed else "not open"
        else:
            state = "closed" if self._closed else "closing" if self._closing else "open"
        gauges = (
            f"idle {len(self._idle)}, in use {self._in_use}, opening {self._opener.opening},"
            f" returning {self._keeper.returning}, waiting {len(self._waiters)}"
        )
        size = len(self._all) + self._opener.opening
        return (
            f"<Pool {self.name!r} {state}: {size} of {self.options.max_size} ({gauges}),"
            f" generation {self._generation}>"
        )
