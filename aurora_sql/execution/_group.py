"""The calls of one statement that wait, and the batches in which they leave."""

from __future__ import annotations

import asyncio
import contextvars
import math
from abc import ABC, abstractmethod
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.errors import DeadlineExceeded, OperationalError, PoolError
from aurora_sql.execution._attempts import Trace, deadline_exceeded
from aurora_sql.instrumentation import CoalescingPaused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from aurora_sql.execution._attempts import Keep
    from aurora_sql.execution._context import Context
    from aurora_sql.execution._forms import Forms
    from aurora_sql.statements import Statement

    Run = Callable[[Statement, dict[str, Any], Trace | None], Awaitable[Any]]

LARGEST: Final = 256
"""Callers in one batch."""

MOST_CHARACTERS: Final = 1 << 20
"""Text and bytes that a batch should take along."""

PAUSE: Final = 60.0
"""Seconds for which calls go alone after batches have not been worth it."""

ABOUT_ALL = (OperationalError, PoolError, DeadlineExceeded)
"""Errors that are about the connection, the server or the time, and not about anybody's values."""


class Member:
    """One call that waits.

    Attributes:
        args: Its values.
        params: The same by name.
        limit: Its deadline, as loop time.
        future: Its result.
        batch: The batch it left with, None while it waits.
        alone: The task that serves it alone, where it may be cut short.
        keep: As :class:`Trace`.
    """

    __slots__ = ("alone", "args", "batch", "future", "keep", "limit", "params")

    def __init__(
        self, args: Sequence[Any], params: Mapping[str, Any], limit: float, future: Any
    ) -> None:
        self.args = args
        self.params = params
        self.limit = limit
        self.future: asyncio.Future[Any] = future
        self.batch: Batch | None = None
        self.alone: asyncio.Task[None] | None = None
        self.keep: Keep | None = None


class Batch:
    """Calls that are under way together."""

    __slots__ = ("members", "task", "trace")

    def __init__(self, members: list[Member]) -> None:
        self.members = members
        self.trace = Trace()
        self.task: asyncio.Task[None] | None = None

    def abandon(self) -> None:
        """Give up once nobody waits any more."""
        if self.task is not None and all(member.future.done() for member in self.members):
            self.task.cancel()


class Lanes:
    """How many batches may be under way at once in groups that must not get in each other's way.

    Args:
        loop: The event loop.
        most: Returns how many.
        patience: Seconds for which nothing may end before what is under way counts no more: it
            waits for somebody else, who has nothing to do with those who wait here.

    Attributes:
        busy: How many batches, and calls that went alone, are under way.
        groups: Who waits for one of them to end; whose batch was sent last comes last.
        scheduled: Those who wait are about to be sent.
    """

    __slots__ = (
        "_ended",
        "_generation",
        "_loop",
        "_patience",
        "_watching",
        "busy",
        "groups",
        "most",
        "scheduled",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        most: Callable[[], int],
        patience: float = math.inf,
    ) -> None:
        self._loop = loop
        self._patience = patience
        self.scheduled = False
        self._watching = False
        self._generation = 0
        self._ended = 0
        self.most = most
        self.busy = 0
        self.groups: list[Group] = []

    @property
    def awaited(self) -> bool:
        """Whether anybody waits."""
        for group in self.groups:  # noqa: SIM110 - a generator would cost each lone call more
            if group.waiting:
                return True
        return False

    def enter(self) -> int:
        """Count one more; return what :meth:`leave` wants to know."""
        self.busy += 1
        return self._generation

    def leave(self, generation: int) -> None:
        """One has ended: those who wait may be sent."""
        if generation == self._generation:
            self.busy -= 1
            self._ended += 1
            if self.awaited:
                self.schedule()

    def schedule(self) -> None:
        """Send those who wait once all who are about to call have called.

        That is one turn of the event loop: those who have just got their answers run first.
        """
        if not self.scheduled:
            self.scheduled = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self.scheduled = False
        for group in tuple(self.groups):
            group.dispatch()
        if self.awaited:
            self._watch()

    def _watch(self) -> None:
        if not self._watching and self._patience < math.inf:
            self._watching = True
            self._loop.call_later(self._patience, self._look, self._ended)

    def _look(self, ended: int) -> None:
        """Pass over what is under way if nothing of it has ended."""
        self._watching = False
        if not self.awaited:
            return
        if ended == self._ended:
            self._generation += 1
            self.busy = 0
        self.schedule()


class Group(ABC):
    """The calls of one variant of a statement.

    Args:
        context: What all calls share.
        run: Runs a statement on a lease.
        forms: What runs for many callers.
        lanes: How many batches may be under way at once.

    Attributes:
        forms: What runs for many callers.
        variant: The plain form.
        statement: The statement.
        lone: Seconds that a call takes which has the way to itself.
        outstanding: Calls under way, alone or in batches.
        resume_at: When batches may be sent again, as ``perf_counter`` tells; None while they may.
        waiting: Calls that were not sent yet.
    """

    def __init__(self, context: Context, run: Run, forms: Forms, lanes: Lanes) -> None:
        self._context = context
        self._loop = context.loop
        self._run = run
        self._most = LARGEST
        self.resume_at: float | None = None
        self._batches: set[Batch] = set()
        self.forms = forms
        self.variant = forms.variant
        self.statement = forms.variant.statement
        self.lanes = lanes
        self.lone = math.inf
        self.waiting: list[Member] = []
        self.outstanding = 0
        lanes.groups.append(self)

    @abstractmethod
    async def _serve_many(self, members: list[Member], trace: Trace) -> None:
        """Give each of several members a result or an error."""

    @abstractmethod
    def left(self, batch: Batch) -> None:
        """See to a batch of which somebody does not wait any more."""

    # -- calls that go alone ---------------------------------------------------------------

    def went_alone(self, started: float) -> None:
        """Note how long a call took that had the way to itself."""
        seconds = perf_counter() - started
        # The quickest counts most: whatever else the machine does only ever adds.
        self.lone = seconds if seconds < self.lone else self.lone * 0.9 + seconds * 0.1

    @property
    def resting(self) -> bool:
        """Calls go alone for a while."""
        if self.resume_at is None:
            return False
        if perf_counter() >= self.resume_at:
            self.resume_at = None
        return self.resume_at is not None

    def _rest(self, reason: str) -> None:
        """Send no batches for a while."""
        self.resume_at = perf_counter() + PAUSE
        self._context.emit(CoalescingPaused(self.statement.name, reason, PAUSE))

    # -- calls that wait -------------------------------------------------------------------

    def dispatch(self) -> None:
        """Send those who wait, on as many lanes as are free."""
        waiting = self.waiting
        while waiting:
            total = self.outstanding + len(waiting)
            most = self.lanes.most()
            free = most - self.lanes.busy
            if free <= 0:
                return
            # No more than its share of all: one lane full and one empty take turns badly.
            size = min(-(-len(waiting) // free), -(-total // most), self._most)
            members = waiting[:size]
            del waiting[:size]
            self._send(members)

    def _send(self, members: list[Member]) -> None:
        batch = Batch(members)
        for member in members:
            member.batch = batch
        self.lanes.groups.remove(self)
        self.lanes.groups.append(self)
        lane = self.lanes.enter()
        self.outstanding += len(members)
        self._batches.add(batch)
        # In a context of its own: the deadline of whoever happens to run now is not theirs.
        batch.task = self._loop.create_task(self._carry(batch, lane), context=contextvars.Context())

    async def _carry(self, batch: Batch, lane: int) -> None:
        members = batch.members
        try:
            await self._serve(members, batch.trace)
        except asyncio.CancelledError:
            # Nobody waits any more, or the event loop comes to its end.
            for member in members:
                member.future.cancel()
            raise
        except BaseException as error:
            for member in members:
                fail(member, error)
            raise
        finally:
            self._batches.discard(batch)
            self.outstanding -= len(members)
            self.lanes.leave(lane)

    async def _serve(self, members: list[Member], trace: Trace) -> None:
        """Give each of them a result or an error."""
        members = [member for member in members if not member.future.done()]
        if len(members) == 1:
            await self._serve_alone(members[0], trace)
        elif members:
            await self._serve_many(members, trace)

    async def _serve_halves(self, members: list[Member], trace: Trace) -> None:
        """One of them fails all: find out which by halves."""
        half = len(members) // 2
        await self._serve(members[:half], trace)
        await self._serve(members[half:], trace)

    async def _serve_alone(self, member: Member, trace: Trace) -> None:
        if member.future.done():
            return
        trace.keep = member.keep
        try:
            result = await self._run(self.statement, dict(member.params), trace)
        except Exception as error:  # noqa: BLE001 - it is raised where the call was made
            fail(member, error)
        else:
            if not member.future.done():
                member.future.set_result(result)
        finally:
            trace.keep = None

    # -- deadlines -------------------------------------------------------------------------

    def expire(self, now: float) -> float:
        """Fail the calls whose time is up; return the next deadline."""
        nearest = self._expire(self.waiting, now, write_sent=False)
        writes = self.statement.command != "SELECT"
        for batch in self._batches:
            nearest = min(nearest, self._expire(batch.members, now, write_sent=writes))
            self.left(batch)
        return nearest

    def _expire(self, members: Iterable[Member], now: float, *, write_sent: bool) -> float:
        nearest = math.inf
        for member in members:
            if member.future.done():
                continue
            if member.limit <= now:
                error = deadline_exceeded(self.statement.where, write_sent=write_sent)
                member.future.set_exception(error)
            else:
                nearest = min(nearest, member.limit)
        return nearest


def fail(member: Member, error: BaseException) -> None:
    """Give an error to a member that still waits."""
    if not member.future.done():
        member.future.set_exception(error)


def hand_out(
    members: list[Member],
    found: list[list[Any] | None],
    finish: Callable[[list[Any]], Any] | None,
) -> None:
    """Give each member its rows, or what they become."""
    for member, mine in zip(members, found, strict=True):
        future = member.future
        if future.done():
            continue
        result: Any = [] if mine is None else mine
        if member.keep is not None or finish is not None:
            try:
                if member.keep is not None:
                    result = member.keep(result, finish)
                elif finish is not None:
                    result = finish(result)
            except Exception as error:  # noqa: BLE001 - it is raised where the call was made
                future.set_exception(error)
                continue
        future.set_result(result)


values_of = attrgetter("args")

_TEXT = frozenset({str, bytes, bytearray})
_FLAT = (str, bytes, bytearray, memoryview, dict)
"""What has a length and is still one value in an array."""


def are_flat(columns: Iterable[Sequence[Any]]) -> bool:
    """Whether no value would be taken for a further dimension of an array."""
    return all(
        issubclass(kind, _FLAT) or not hasattr(kind, "__len__")
        for column in columns
        for kind in set(map(type, column))
    )


def characters(columns: Iterable[Sequence[Any]]) -> int:
    """How many characters or bytes of text there are."""
    total = 0
    for column in columns:
        kinds = set(map(type, column))
        if kinds <= _TEXT:
            total += sum(map(len, column))
        elif not kinds.isdisjoint(_TEXT):
            total += sum(len(value) for value in column if type(value) in _TEXT)
    return total
