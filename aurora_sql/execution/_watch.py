"""A wait under a deadline, for the paths that are not hot."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from aurora_sql.deadlines import current_deadline
from aurora_sql.execution._attempts import deadline_exceeded, soften
from aurora_sql.types import Access

if TYPE_CHECKING:
    from types import TracebackType

    from aurora_sql.execution._context import Context
    from aurora_sql.pool import Pooled


_UNDO_LIMIT = 5.0
"""Seconds that an orderly ROLLBACK may take before the connection is given to the pool as it is."""
_LATE_UNDO_LIMIT = 0.5
"""The same where the caller's deadline has passed: enough for a peer that answers."""


def call_limit(context: Context, timeout: float | None) -> float:
    """Return when a call that starts now has to be over, as loop time.

    Args:
        context: Gives the command timeout.
        timeout: The call's own limit in seconds, None for the command timeout, infinite for none.
    """
    limit = context.loop.time() + (context.command_timeout if timeout is None else timeout)
    surrounding = current_deadline()
    return limit if surrounding is None or limit < surrounding else surrounding


def undo_limit(context: Context, until: float = math.inf) -> float:
    """Return the loop time until which what was begun may be undone in good order.

    The caller waits for it, so it is bounded by the deadline; but where that has passed already,
    which is often why something is undone, there is a moment more.

    Args:
        context: For the time.
        until: Loop time of a limit of the transaction's own.
    """
    now = context.loop.time()
    return min(
        now + _UNDO_LIMIT, max(now + _LATE_UNDO_LIMIT, min(until, call_limit(context, None)))
    )


class Watch:
    """Bounds the waits of a ``with`` block on one leased connection.

    Leaving the block because the deadline passed raises DeadlineExceeded; because the caller was
    cancelled, CancelledError. A lost connection is marked as harmless where the block sent nothing
    that stays; nothing else is translated.

    Args:
        context: Gives loop and sweeper.
        pooled: The leased connection.
        limit: Loop time at which the block ends; infinite for never.
        what: Names the work in the error's message.
        write_sent: Running out of time, or losing the connection, leaves it unknown whether a
            write was applied. False inside a transaction: nothing stays of it without COMMIT.
    """

    __slots__ = ("_context", "_limit", "_pooled", "_task", "_what", "_write_sent")

    def __init__(
        self, context: Context, pooled: Pooled, limit: float, *, what: str, write_sent: bool
    ) -> None:
        self._context = context
        self._pooled = pooled
        self._limit = limit
        self._what = what
        self._write_sent = write_sent

    def __enter__(self) -> None:
        if self._limit <= self._context.loop.time():
            raise deadline_exceeded(self._what, write_sent=False)
        pooled = self._pooled
        self._task = task = self._context.current_task()
        pooled.deadline = self._limit
        pooled.task = task
        pooled.cancelling_before = task.cancelling()
        if self._limit < math.inf:
            self._context.sweeper.due(self._limit)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pooled = self._pooled
        if error is not None and not self._write_sent:
            soften(error, Access.READ, in_transaction=True)
        if not pooled.timed_out:
            pooled.task = None
            return
        if pooled.deadline_fired(self._task) and isinstance(error, asyncio.CancelledError):
            raise deadline_exceeded(self._what, write_sent=self._write_sent) from error


async def roll_back(context: Context, pooled: Pooled, until: float = math.inf) -> None:
    """Roll back in good order where that is still possible; the pool sees to the rest.

    Args:
        context: What all calls share.
        pooled: The connection.
        until: Loop time of the transaction's own limit.
    """
    driver = pooled.driver
    if driver.is_closed or not driver.is_settled or driver.is_ready:
        return
    limit = undo_limit(context, until)
    with Watch(context, pooled, limit, what="ROLLBACK", write_sent=False):
        await driver.rollback()
