"""Deadlines: how a call gets one, and the one timer per event loop that enforces them all.

A deadline is an absolute time of the running event loop (``loop.time()``), never a duration:
it can be handed through any number of layers and every wait takes what remains of it.

A timer per call would cost about as much as the whole lease of a connection. Instead, each
owner of deadlines (a connection pool) is a :class:`Sweepable`, and one :class:`Sweeper` per
event loop keeps a single timer, set to the earliest deadline known. Nearly every call ends long
before its deadline, so that registering one is a comparison and the timer is touched only as
often as deadlines really come near.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from aurora_sql.errors import ParameterError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "DeadlineScope",
    "Sweepable",
    "Sweeper",
    "Watched",
    "Watcher",
    "current_deadline",
    "deadline",
    "deadline_fired",
    "surrounding_deadline",
    "unwatched",
    "watched_by",
]

_logger = logging.getLogger("aurora_sql.deadlines")

_MIN_GAP = 0.001
"""Seconds between two sweeps at least: deadlines that lie closer together share one."""

_AFTER_FAILURE = 1.0
"""Seconds until a sweepable that raised is asked again; what it would have said is not known."""

_current: ContextVar[float | None] = ContextVar("aurora_sql_deadline", default=None)


surrounding_deadline: Final = _current.get
"""As :func:`current_deadline`, for those who look at each call: it may be a :class:`Watched`."""


def current_deadline() -> float | None:
    """The deadline that surrounds the caller, as an absolute ``loop.time()``; None without one."""
    found = _current.get()
    if type(found) is Watched:
        return None if found == math.inf else float(found)
    return found


class Watcher(Protocol):
    """Wants to know of each statement that starts."""

    def starting(self, statement: Any, context: Any) -> None:
        """Hear of a statement before it is sent; what this raises keeps it from being sent."""


class Watched(float):
    """A deadline, infinite for none, of a block in which somebody watches the statements.

    The two share one context variable: a call looks at that anyway, so that being able to watch
    costs nothing where nobody does.
    """

    __slots__ = ("watcher",)

    watcher: Watcher

    def __new__(cls, at: float, watcher: Watcher) -> Self:
        """Make one of a time of the event loop."""
        made = super().__new__(cls, at)
        made.watcher = watcher
        return made


class _Kept:
    """A value of the context variable for the time of a ``with`` block."""

    __slots__ = ("_token", "_value")

    def __init__(self, value: float | None) -> None:
        self._value = value

    def __enter__(self) -> None:
        self._token = _current.set(self._value)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def watched_by(watcher: Watcher) -> _Kept:
    """Let somebody watch the statements of a ``with`` block; the deadline stays as it is."""
    found = _current.get()
    return _Kept(Watched(math.inf if found is None else found, watcher))


def unwatched() -> _Kept:
    """Keep statements of the library's own, in a ``with`` block, from those who watch."""
    return _Kept(current_deadline())


class DeadlineScope:
    """What :func:`deadline` returns: a context manager for plain ``with``.

    Attributes:
        at: The absolute ``loop.time()`` that holds inside the block; infinite before it is entered.
    """

    __slots__ = ("_seconds", "_token", "at")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._token: Token[float | None] | None = None
        self.at = math.inf

    def __enter__(self) -> Self:
        if self._token is not None:
            raise RuntimeError("this deadline is in use already; call deadline() for each block")
        at = asyncio.get_running_loop().time() + self._seconds
        outer = _current.get()
        # An inner block may only shorten: its caller promised to be done by the outer deadline.
        self.at = at if outer is None or at < outer else float(outer)
        inner = Watched(self.at, outer.watcher) if type(outer) is Watched else self.at
        self._token = _current.set(inner)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)
            self._token = None

    @property
    def remaining(self) -> float:
        """Seconds left, 0.0 once the deadline has passed; infinite before the block is entered."""
        return max(0.0, self.at - asyncio.get_running_loop().time())

    def __repr__(self) -> str:
        state = f"at {self.at:.3f}" if self._token is not None else "not entered"
        return f"<deadline of {self._seconds:g} s, {state}>"


def deadline(seconds: float) -> DeadlineScope:
    """Give every database call in a ``with`` block one deadline together.

    Nested deadlines only ever shorten. The block itself is not interrupted: the calls in it are,
    and raise :class:`~aurora_sql.errors.DeadlineExceeded`.

    Args:
        seconds: Time from entering the block, in seconds; 0 lets nothing through, ``math.inf``
            sets no limit of its own.

    Raises:
        ParameterError: ``seconds`` is negative or not a number.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ParameterError(f"deadline(): seconds must be a number, not {type(seconds).__name__}")
    if not seconds >= 0:  # catches NaN, which compares false
        raise ParameterError(f"deadline(): seconds must be 0 or more, not {seconds!r}")
    return DeadlineScope(float(seconds))


class _Cancellable(Protocol):
    def uncancel(self) -> int: ...


def deadline_fired(timed_out: bool, task: _Cancellable, cancelling_before: int) -> bool:
    """Settle a cancellation: was it our deadline alone?

    To be called exactly once after a wait that a sweeper may have cancelled, however that wait
    ended: it takes the sweeper's own request back from the task's count of cancellations.

    Args:
        timed_out: The sweeper cancelled the task.
        task: The task that waited.
        cancelling_before: ``task.cancelling()`` before the wait began.

    Returns:
        True when the deadline was the only reason, so that a timeout is to be raised. False when
        nothing fired, or when somebody else wanted the task cancelled too, be it before or after:
        then CancelledError must reach the caller, who would otherwise never end.
    """
    return timed_out and task.uncancel() <= cancelling_before


class Sweepable(Protocol):
    """An owner of deadlines."""

    def sweep(self, now: float) -> float:
        """Fail what is due at ``now`` and return the next deadline, ``math.inf`` without one."""


class Sweeper:
    """The one timer of an event loop.

    Nothing is scheduled before the first deadline is registered, and nothing after :meth:`stop`.
    Not thread-safe, as the loop it belongs to.

    Args:
        loop: The loop to use; the running one at the first deadline by default.

    Attributes:
        next: ``loop.time()`` of the next sweep; infinite where none is to come, minus that once
            stopped. Only an earlier deadline has to be told by :meth:`due`: who runs each call
            looks here first.
    """

    __slots__ = ("_loop", "_stopped", "_timer", "_watched", "next")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self.next = math.inf
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._watched: list[Sweepable] = []

    def watch(self, sweepable: Sweepable) -> None:
        """Ask ``sweepable`` whenever a deadline is due. Watching it twice changes nothing."""
        if not any(known is sweepable for known in self._watched):
            self._watched.append(sweepable)

    def unwatch(self, sweepable: Sweepable) -> None:
        """Ask it no longer. The timer goes with the last one."""
        self._watched = [known for known in self._watched if known is not sweepable]
        if not self._watched:
            self._disarm()

    def due(self, at: float) -> None:
        """Make sure that a sweep happens by the absolute ``loop.time()`` ``at``."""
        if at < self.next:
            self._arm(at)

    def stop(self) -> None:
        """Remove the timer and watch nothing, for good. May be called twice."""
        self._disarm()
        self._watched = []
        self._stopped = True
        self.next = -math.inf  # no deadline is earlier: due() stays one comparison

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        self.next = at
        self._timer = loop.call_at(at, self._run, loop, at)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.next = math.inf

    def _run(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        self._timer = None
        self.next = math.inf
        # A loop may run a timer up to one clock tick early; what is due at `at` is due now, or
        # the sweep would find nothing and spin until the clock has caught up.
        now = max(loop.time(), at)
        nearest = math.inf
        for sweepable in tuple(self._watched):
            try:
                following = sweepable.sweep(now)
            except Exception:
                _logger.exception("sweeping %r failed; the others go on", sweepable)
                following = now + _AFTER_FAILURE
            nearest = min(nearest, following)
        if nearest < math.inf:
            self.due(max(nearest, now + _MIN_GAP))

    def __repr__(self) -> str:
        if self._stopped:
            return "<Sweeper stopped>"
        state = "no timer" if self._timer is None else f"next at {self.next:.3f}"
        return f"<Sweeper watching {len(self._watched)}, {state}>"
