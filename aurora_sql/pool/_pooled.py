"""One connection of a pool, with what the layers keep beside it."""

from __future__ import annotations

import logging
import math
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from aurora_sql.deadlines import deadline_fired

if TYPE_CHECKING:
    import asyncio

    from aurora_sql.drivers.base import DriverConnection

__all__ = ["Pooled", "State"]

_logger = logging.getLogger("aurora_sql.pool")


_RETIRED = -1


class State(IntEnum):
    """Where a pooled connection is. Each counts in exactly one gauge of the pool."""

    IDLE = 0
    LEASED = 1
    RETURNING = 2
    """A background task of the pool checks or cleans it; then it is handed on."""
    CLOSING = 3
    """A background task of the pool closes it; counted as returning too."""
    GONE = 4
    """The pool has forgotten it."""


class Pooled:
    """One pooled connection. Whoever leased it is the only one to use it.

    Around each wait that the deadline must bound, the lessee sets ``deadline`` and ``task`` (and
    ``cancelling_before``, should the task have been cancelled before), makes sure that the pool's
    sweeper knows the deadline (``pool.sweeper.due``), and clears ``task`` right after the wait,
    with no await between. If ``timed_out`` is set by then, :meth:`deadline_fired` settles it.
    What the sweep finds on the task's record cannot be used instead: a cancellation by the
    caller that is on its way in that very iteration would count as old.

    Attributes:
        driver: The session.
        prepared: Statements prepared on it; owned by the execution layer.
        dirty: A caller can have changed the session: it is reset before anyone else gets it.
        generation: The pool's generation when the connect began.
        fresh_until: ``loop.time()`` until which it may be leased without another look.
        expires_at: ``loop.time()`` at which it has lived long enough.
        leased_at: ``loop.time()`` of the last lease, or of the last proof that it works.
        deadline: ``loop.time()`` at which the sweeper cancels ``task``; once it has, the time
            at which it aborts the connection.
        task: The task that waits for the server, None while none does.
        timed_out: The sweeper has cancelled ``task``.
        read_only: It leads to an instance that is there for reads.
        cancelling_before: ``task.cancelling()`` when the wait began. Left at 0, a deadline that
            fires in a task with a cancellation on its record comes out as CancelledError.
        state: Owned by the pool.
    """

    __slots__ = (
        "__weakref__",
        "cancelling_before",
        "deadline",
        "dirty",
        "driver",
        "expires_at",
        "fresh_until",
        "generation",
        "leased_at",
        "prepared",
        "read_only",
        "state",
        "task",
        "timed_out",
    )

    def __init__(
        self,
        driver: DriverConnection,
        *,
        generation: int,
        now: float,
        expires_at: float,
        read_only: bool = False,
    ) -> None:
        self.driver = driver
        self.read_only = read_only
        self.prepared: dict[Any, Any] = {}
        self.dirty = False
        self.generation = generation
        self.fresh_until = now
        self.expires_at = expires_at
        self.leased_at = now
        self.deadline = math.inf
        self.task: asyncio.Task[Any] | None = None
        self.timed_out = False
        self.cancelling_before = 0
        self.state = State.RETURNING

    def deadline_fired(self, task: asyncio.Task[Any]) -> bool:
        """Disarm, and tell whether the deadline was the only reason for a cancellation.

        To be called once after each wait that ended with ``timed_out`` set, whether it raised or
        not; calling it with ``timed_out`` unset is harmless and gives False.
        """
        fired = deadline_fired(self.timed_out, task, self.cancelling_before)
        self.disarm()
        return fired

    def enforce(self, task: asyncio.Task[Any], now: float, grace: float) -> float:
        """Cancel ``task`` if its deadline has passed; return the time to look at it again.

        Args:
            task: The task that waits.
            now: ``loop.time()``.
            grace: Seconds that the cancelled call may take to come back. Then the connection is
                aborted: a peer that does not answer does not answer a cancel request either, and
                without its socket the driver has nothing left to wait for.
        """
        if self.deadline > now:
            return self.deadline
        if not self.timed_out:
            self.timed_out = True
            task.cancel()
            self.deadline = now + grace
        else:
            _logger.warning(
                "a cancelled call did not end within %g s; %r is aborted", grace, self.driver
            )
            self.driver.abort()
            self.deadline = math.inf
        return self.deadline

    def retire(self) -> None:
        """See to it that nobody leases it again: it belongs to no generation of the pool."""
        self.generation = _RETIRED

    @property
    def retired(self) -> bool:
        """Whether :meth:`retire` was called."""
        return self.generation == _RETIRED

    def disarm(self) -> None:
        """Forget the deadline of the last wait."""
        self.task = None
        self.timed_out = False
        self.deadline = math.inf
        self.cancelling_before = 0

    def __repr__(self) -> str:
        marks = [self.state.name.lower(), f"generation {self.generation}"]
        marks += [name for name in ("dirty", "timed_out") if getattr(self, name)]
        return f"<Pooled {self.driver!r}: {', '.join(marks)}>"
