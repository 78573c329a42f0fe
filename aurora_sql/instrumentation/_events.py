"""What happened, as frozen data. Who listens gets one of these; nobody listening costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StatementFinished:
    """One statement ran to its end, well or not; retries are part of it.

    Attributes:
        statement: Name of the statement, ``<ad hoc>`` for SQL in the code.
        instance: Id of the instance that answered last.
        seconds: From the call to its result, waiting for a connection included.
        attempts: How often it was sent, 1 in the common case.
        error: Name of the error's class, None when it went well.
    """

    statement: str
    instance: str
    seconds: float
    attempts: int
    error: str | None


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """Something will be tried again.

    Attributes:
        what: Name of the statement, or of the function that holds the transaction.
        attempt: Number of the attempt that failed, from 1.
        wait: Seconds until the next one.
        error: The error, as text without values of parameters.
    """

    what: str
    attempt: int
    wait: float
    error: str


@dataclass(frozen=True, slots=True)
class CommitAbandoned:
    """COMMIT was not answered before the deadline; a background task waits for its end.

    Attributes:
        instance: Id of the instance.
        cancelled: The caller was cancelled rather than out of time.
    """

    instance: str
    cancelled: bool


@dataclass(frozen=True, slots=True)
class CommitResolved:
    """It was found out what became of a transaction whose COMMIT was not answered.

    Attributes:
        what: Name of the function that holds the transaction, or of the statement.
        applied: It was applied; otherwise it was not and never will be, and runs again.
    """

    what: str
    applied: bool


Event = StatementFinished | RetryScheduled | CommitAbandoned | CommitResolved
Observer = Callable[[Event], None]
