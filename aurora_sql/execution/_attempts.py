"""What follows an error: who is told what, and whether the statement runs again."""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from aurora_sql.errors import (
    AuroraError,
    ConflictError,
    ConnectionLost,
    DatabaseError,
    DeadlineExceeded,
    LockTimeout,
    ParameterError,
    QueryCancelled,
    ReadOnlyInstance,
    StatementStale,
)
from aurora_sql.instrumentation import RetryScheduled
from aurora_sql.taxonomy import decide_error, may_rerun
from aurora_sql.types import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aurora_sql.execution._context import Context
    from aurora_sql.pool import Pooled
    from aurora_sql.statements import Statement, Variant
    from aurora_sql.taxonomy import Unit

    Keep = Callable[[list[Any], Callable[[list[Any]], Any] | None], Any]

# All that MySQL tells of the place of an error.
_NEAR = re.compile(r"near '(.*)' at line ([0-9]+)", re.DOTALL)


def explain(
    context: Context,
    error: BaseException,
    statement: Statement,
    variant: Variant,
    args: Sequence[Any],
) -> None:
    """Add to an error, as notes, which statement it is about.

    The text of the statement and the server's detail line appear with
    ``enable_detailed_errors`` only, the values of parameters with
    ``enable_sensitive_data_logging`` only: both can hold personal data.
    """
    if not isinstance(error, AuroraError):
        return
    position = _position(error, variant) if isinstance(error, DatabaseError) else None
    where = statement.where
    if position is not None and statement.path is not None:
        where = f"{statement.name} ({variant.place(position)})"
    error.add_note(f"in statement {where}")
    if context.detailed_errors:
        error.add_note(f"SQL: {variant.sql}")
        if isinstance(error, DatabaseError):
            for label, text in (("detail", error.detail), ("hint", error.hint)):
                if text:
                    error.add_note(f"{label}: {text}")
    if context.sensitive_data:
        given = ", ".join(
            f"{name}={value!r}" for name, value in zip(variant.parameters, args, strict=False)
        )
        error.add_note(f"parameters: {given or 'none'}")


def _position(error: DatabaseError, variant: Variant) -> int | None:
    """Number of the character that an error is about, None where it does not tell."""
    if error.position is not None or variant.statement.dialect != "mysql":
        return error.position
    found = _NEAR.search(error.message)
    return None if found is None else variant.position_near(int(found[2]), found[1])


def name_parameter(error: BaseException, statement: Statement, variant: Variant) -> None:
    """Give a driver's complaint about the n-th value the parameter's name and place.

    The driver's own error, whose text quotes the value, leaves the chain: values appear with
    ``enable_sensitive_data_logging`` only, and in a note of ours.
    """
    if not isinstance(error, ParameterError) or error.number is None:
        return
    name = variant.parameters[error.number - 1]
    error.args = (f"{statement.where}: parameter {name!r}: {error.message}",)
    error.number = None
    quoting = error.__cause__
    if quoting is not None:
        error.__cause__ = quoting.__cause__


def settle_wait(
    pooled: Pooled, task: asyncio.Task[Any], error: BaseException, *, what: str, write_sent: bool
) -> BaseException:
    """Close the books of a wait that failed, and say what its caller is to be told.

    Returns:
        DeadlineExceeded where the deadline was the only reason for a cancellation, else ``error``.
    """
    if not pooled.timed_out:
        pooled.task = None
        return error
    fired = pooled.deadline_fired(task)
    if not isinstance(error, asyncio.CancelledError) or not fired:
        return error
    return deadline_exceeded(what, write_sent=write_sent)


def deadline_exceeded(what: str, *, write_sent: bool) -> DeadlineExceeded:
    """Build the error for a call that ran out of time."""
    advice = (
        "it had been sent: whether it was applied is not known"
        if write_sent
        else "nothing was applied"
    )
    return DeadlineExceeded(
        f"{what}: the deadline passed; {advice}",
        retry_safe=not write_sent,
        outcome_unknown=write_sent,
    )


@contextmanager
def explained(
    context: Context, statement: Statement, variant: Variant, args: Sequence[Any]
) -> Iterator[None]:
    """Let errors of a block say which statement and parameter they are about."""
    try:
        yield
    except AuroraError as error:
        name_parameter(error, statement, variant)
        explain(context, error, statement, variant, args)
        raise


class Trace:
    """What an observer wants to know of one call, filled in along the way.

    Attributes:
        attempts: How often it was sent.
        instance: Id of the instance that answered last.
        keep: Makes the result of the rows and of what would finish them; None to finish them.
    """

    __slots__ = ("attempts", "instance", "keep")

    def __init__(self) -> None:
        self.keep: Keep | None = None
        self.attempts = 0
        self.instance = ""

    def note(self, pool: Named) -> None:
        """Count an attempt."""
        self.attempts += 1
        self.instance = pool.name

    def follow(self, other: Trace) -> None:
        """Take over what was found out elsewhere."""
        self.attempts = other.attempts
        self.instance = other.instance


class Named(Protocol):
    """What has a name: a pool, or what stands before pools."""

    @property
    def name(self) -> str:
        """The instance."""


class Lessor(Named, Protocol):
    """Where connections come from: a pool, or what stands before pools and picks one.

    Its name, of several, is that of the one that the last release was about.
    """

    def try_acquire(self, now: float) -> Pooled | None:
        """Lease an idle connection that needs no work; None for :meth:`acquire` to see to it."""

    async def acquire(self, deadline: float | None = None) -> Pooled:
        """Lease a connection, until a loop time at most."""

    def release(self, pooled: Pooled) -> None:
        """Give a connection back."""


class Attempts:
    """The attempts of one unit of work, from the first failure on.

    Args:
        context: What all calls share.
        what: Names the work in events and notes.
        enabled: The work itself does not forbid it.

    Attributes:
        count: Attempts that were begun.
        conflicts: How many of them a reader cut short by what it replays.
        paid: Tokens that the last retry took from the budget; a success gives them back.
    """

    __slots__ = ("_context", "_enabled", "_waits", "_what", "conflicts", "count", "paid")

    def __init__(self, context: Context, what: str, *, enabled: bool = True) -> None:
        self._context = context
        self._what = what
        self._enabled = enabled and context.retry_enabled
        self._waits: Iterator[float] | None = None
        self.count = 1
        self.conflicts = 0
        self.paid = 1

    async def again(self, error: BaseException, unit: Unit, access: Access, limit: float) -> None:
        """Wait until the work may run again, or raise ``error``.

        Args:
            error: What the attempt failed with.
            unit: What was being run.
            access: Whether it may change anything.
            limit: The work's deadline, as loop time. A wait never goes past it.
        """
        context = self._context
        if (
            not self._enabled
            or not isinstance(error, AuroraError)
            or not may_rerun(decide_error(error, unit, access))
        ):
            raise error
        if self._waits is None:
            self._waits = context.retry_policy.waits(error)
        wait = next(self._waits, None)
        if wait is None or context.loop.time() + wait >= limit:
            error.add_note(f"{self._what}: gave up after {self.count} attempt(s)")
            raise error
        paid = context.retry_budget.take(error)
        if paid is None:
            error.add_note(
                f"{self._what}: gave up after {self.count} attempt(s): the retry budget that all"
                " calls share is used up (retry_budget)"
            )
            raise error
        self.paid = paid
        context.emit(RetryScheduled(self._what, self.count, wait, type(error).__name__))
        self.count += 1
        if wait > 0:
            await asyncio.sleep(wait)


def attempts_of(context: Context, statement: Statement) -> Attempts:
    """Count the attempts of a statement, which may forbid a second one."""
    return Attempts(context, statement.name, enabled=statement.retry != "never")


def part_with(pooled: Pooled, error: BaseException | None, access: Access) -> None:
    """Keep a connection from being lent again that took a write for one to a reader.

    The server behind it was demoted, or the session became read-only when the server did; a new
    connection finds out who is the writer now. A reader's own connection is as good as before: the
    error says that it was one.
    """
    if pooled.read_only and isinstance(error, DatabaseError):
        error.on_reader = True
        if isinstance(error, ReadOnlyInstance):
            text = (
                f"{error.message}: this writes, and it was sent to a reader; run it by db or"
                " db.writer, and drop `role: reader` from the statement if it says so"
            )
            error.args = (text,)
    elif isinstance(error, ReadOnlyInstance) and access is Access.WRITE:
        pooled.retire()


def lost_to_replay(error: BaseException) -> bool:
    """Whether a reader has cut a read short to replay what contradicts it.

    All conflicts of a reader are with what it replays, since nothing else writes there. Only
    whoever waited for a lock asked for what he got.
    """
    return (
        isinstance(error, ConflictError) and error.on_reader and not isinstance(error, LockTimeout)
    )


def soften(error: BaseException, access: Access, *, in_transaction: bool) -> None:
    """Correct what a driver cannot know: a read, or a part of a transaction, was not applied."""
    if isinstance(error, (ConnectionLost, QueryCancelled, StatementStale)) and (
        in_transaction or access is Access.READ
    ):
        error.retry_safe = True
        error.outcome_unknown = False
