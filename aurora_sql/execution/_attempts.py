"""What follows an error: who is told what, and whether the statement runs again."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import (
    AuroraError,
    ConnectionLost,
    DatabaseError,
    DeadlineExceeded,
    ParameterError,
    QueryCancelled,
)
from aurora_sql.instrumentation import RetryScheduled
from aurora_sql.retry import Verdict, verdict
from aurora_sql.types import Access

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aurora_sql.execution._context import Context
    from aurora_sql.pool import Pooled
    from aurora_sql.statements import Statement, Variant


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
    position = error.position if isinstance(error, DatabaseError) else None
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


class Attempts:
    """Counts the attempts of one call, from the first failure on."""

    __slots__ = ("_context", "_statement", "_waits", "count")

    def __init__(self, context: Context, statement: Statement) -> None:
        self._context = context
        self._statement = statement
        self._waits: Iterator[float] | None = None
        self.count = 1

    async def again(self, error: BaseException, access: Access, limit: float) -> None:
        """Wait until the statement may run again, or raise ``error``.

        Args:
            error: What the attempt failed with.
            access: Whether the statement may change anything.
            limit: The call's deadline, as loop time. A wait never goes past it.
        """
        statement, context = self._statement, self._context
        decision = verdict(error, access=access, in_transaction=False)
        if decision is not Verdict.RETRY or not isinstance(error, AuroraError):
            raise error
        if statement.retry == "never" or not context.retry_enabled:
            raise error
        if self._waits is None:
            self._waits = context.retry_policy.waits(error)
        wait = next(self._waits, None)
        if wait is None or context.loop.time() + wait >= limit:
            error.add_note(f"gave up after {self.count} attempt(s)")
            raise error
        context.emit(RetryScheduled(statement.name, self.count, wait, type(error).__name__))
        self.count += 1
        if wait > 0:
            await asyncio.sleep(wait)


def soften(error: BaseException, access: Access, *, in_transaction: bool) -> None:
    """Correct what a driver cannot know: a read, or a part of a transaction, was not applied."""
    if isinstance(error, (ConnectionLost, QueryCancelled)) and (
        in_transaction or access is Access.READ
    ):
        error.retry_safe = True
        error.outcome_unknown = False
