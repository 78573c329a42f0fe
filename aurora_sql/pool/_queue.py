"""The callers that wait for a connection, in the order in which they came."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aurora_sql.pool._pooled import Pooled

__all__ = ["WaitQueue", "Waiter"]


class Waiter:
    """A caller in the queue.

    Attributes:
        future: Done with a connection, or with the error that the caller gets.
        deadline: ``loop.time()`` at which the caller gives up.
        since: ``loop.time()`` at which it came.
    """

    __slots__ = ("deadline", "future", "since")

    def __init__(self, future: asyncio.Future[Pooled], deadline: float, since: float) -> None:
        self.future = future
        self.deadline = deadline
        self.since = since


class WaitQueue:
    """First come, first served.

    A caller that is cancelled stays in the queue until its own task runs again: everything that
    takes waiters out has to pass over those whose future is done.

    Attributes:
        waiting: The waiters. Never replaced by another object; the pool's hot path looks at it.
        timeouts: Callers that gave up so far.
    """

    __slots__ = ("timeouts", "waiting")

    def __init__(self) -> None:
        # Both ends and the middle in constant time: thousands may be cancelled at once.
        self.waiting: OrderedDict[Waiter, None] = OrderedDict()
        self.timeouts = 0

    def join(self, loop: asyncio.AbstractEventLoop, *, deadline: float, now: float) -> Waiter:
        """Stand in line, at the end."""
        waiter = Waiter(loop.create_future(), deadline, now)
        self.waiting[waiter] = None
        return waiter

    def abandon(self, waiter: Waiter) -> Pooled | None:
        """Leave after a cancellation; return the connection that was handed over meanwhile."""
        self.waiting.pop(waiter, None)
        future = waiter.future
        # The cancellation may come after the hand-over and before the caller's next step. Asking
        # for the exception also marks it as seen.
        if future.done() and not future.cancelled() and future.exception() is None:
            return future.result()
        return None

    def first(self) -> Waiter | None:
        """Take the first one out; None when nobody waits any more."""
        while self.waiting:
            waiter, _ = self.waiting.popitem(last=False)
            if not waiter.future.done():
                return waiter
        return None

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Turn all of them away, each with an error of its own."""
        while (waiter := self.first()) is not None:
            waiter.future.set_exception(error())

    def expire(self, now: float, error: Callable[[Waiter], Exception]) -> float:
        """Turn those away whose deadline has passed; return the next deadline, or infinity."""
        nearest = math.inf
        for waiter in tuple(self.waiting):
            if waiter.deadline > now:
                nearest = min(nearest, waiter.deadline)
                continue
            if not waiter.future.done():
                self.timeouts += 1
                waiter.future.set_exception(error(waiter))
            del self.waiting[waiter]
        return nearest
