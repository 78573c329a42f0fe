"""The tasks that check, clean and close connections, and the books about them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aurora_sql.pool import _upkeep
from aurora_sql.pool._pooled import Pooled, State

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aurora_sql.pool._options import PoolOptions

__all__ = ["Keeper"]

_PATIENCE = 0.1
"""Seconds that a check or a reset may take before the pool stops counting on its outcome and
serves the caller from elsewhere: a dead peer is known for one only when the limit has passed."""


class Keeper:
    """Works on connections in the background, each in a task of its own.

    What a task occupied is given free by its done callback, never in the task itself: a task
    that is cancelled before its first step runs none of its own code.

    Attributes:
        returning: Connections that are being worked on.
        coming: Those of them that will be handed over within a round trip.
        tasks: The tasks.
        resets: Resets begun so far.
    """

    __slots__ = (
        "_impatient",
        "_kept",
        "_lost",
        "_options",
        "coming",
        "name",
        "resets",
        "returning",
        "tasks",
    )

    def __init__(
        self,
        options: PoolOptions,
        *,
        name: str,
        kept: Callable[[Pooled], None],
        lost: Callable[[Pooled], None],
        impatient: Callable[[], None],
    ) -> None:
        """Start nothing yet.

        Args:
            options: The pool's.
            name: The pool's.
            kept: Takes a connection that has just proven that it works and is clean.
            lost: Is told of one that is closed.
            impatient: Is told that one takes longer than those who wait for it should.
        """
        self._options = options
        self.name = name
        self._kept = kept
        self._lost = lost
        self._impatient = impatient
        self.returning = 0
        self.coming: dict[Pooled, asyncio.TimerHandle] = {}
        self.tasks: set[asyncio.Task[bool]] = set()
        self.resets = 0

    def close(self, pooled: Pooled) -> None:
        """Close it."""
        work = _close(pooled, self._options.disconnect_timeout)
        self._start(pooled, State.CLOSING, work)

    def check(self, pooled: Pooled) -> None:
        """Find out whether it still works."""
        work = _upkeep.check(pooled.driver, self._options.check_timeout)
        self._start(pooled, State.RETURNING, work)
        self._count_on(pooled)

    def clean(self, pooled: Pooled) -> None:
        """Undo whatever its last caller can have left behind."""
        driver = pooled.driver
        settled = driver.is_settled
        # A command cancelled half-way can have changed anything.
        reset = pooled.dirty or not settled
        self.resets += reset
        work = _upkeep.clean(driver, self._options.reset_timeout, reset=reset)
        self._start(pooled, State.RETURNING, work)
        if settled:
            self._count_on(pooled)

    def _start(self, pooled: Pooled, state: State, work: Coroutine[Any, Any, bool]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"pool {self.name}: upkeep")
        pooled.state = state
        self.returning += 1
        self.tasks.add(task)
        task.add_done_callback(lambda done: self._ended(pooled, done))

    def _count_on(self, pooled: Pooled) -> None:
        loop = asyncio.get_running_loop()
        self.coming[pooled] = loop.call_later(_PATIENCE, self._lose_patience, pooled)

    def _lose_patience(self, pooled: Pooled) -> None:
        del self.coming[pooled]
        self._impatient()

    def _ended(self, pooled: Pooled, task: asyncio.Task[bool]) -> None:
        self.tasks.discard(task)
        self.returning -= 1
        handle = self.coming.pop(pooled, None)
        if handle is not None:
            handle.cancel()
        if not task.cancelled() and task.exception() is None and task.result():
            pooled.dirty = False
            self._kept(pooled)
            return
        if not pooled.driver.is_closed:
            pooled.driver.abort()
        self._lost(pooled)


async def _close(pooled: Pooled, limit: float) -> bool:
    await _upkeep.disconnect(pooled.driver, limit)
    return False
