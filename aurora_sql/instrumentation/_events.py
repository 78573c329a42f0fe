"""What happened, as frozen data. Who listens gets one of these; nobody listening costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StatementFinished:
    """One statement ran to its end, well or not; retries are part of it.

    Attributes:
        statement: Name of the statement, ``<ad hoc>`` for SQL in the code.
        instance: Id of the instance that answered last; empty where none was asked.
        seconds: From the call to its result, waiting for a connection included.
        attempts: How often it was sent, 1 in the common case; 0 where the answer came from the
            cache, or from the query of another call.
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
class CoalescingPaused:
    """Calls of a statement marked ``coalesce: on`` go alone for a while.

    Together they were slower, where the statement's plan depends on the values (``LIKE :p``,
    ``:p IS NULL OR …``); or too many batches failed for the sake of one of their calls.

    Attributes:
        statement: Name of the statement.
        reason: Why, with figures.
        pause: Seconds until batches are tried again.
    """

    statement: str
    reason: str
    pause: float


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


@dataclass(frozen=True, slots=True)
class TopologyChanged:
    """Instances came, went, or changed their parts.

    Attributes:
        writer: Id of the writer now, None while there is none.
        old_writer: Id of the writer before, None where there was none or it still is.
        readers_added: Ids of the readers that were none before.
        readers_removed: Ids of the readers that are none any more.
    """

    writer: str | None
    old_writer: str | None
    readers_added: tuple[str, ...] = ()
    readers_removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceSilent:
    """An instance stopped answering: all connections to it were closed.

    Attributes:
        instance: Id of the instance.
        seconds: ``failure_detection``, in which that was found out.
    """

    instance: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RepeatedStatement:
    """One statement ran so often in one context that it should not run one by one.

    Attributes:
        statement: Name of the statement, ``<ad hoc>`` for SQL in the code.
        runs: How often, which is ``warn_at`` of ``count_statements()``.
        advice: What to do instead.
    """

    statement: str
    runs: int
    advice: str


Event = (
    StatementFinished
    | RepeatedStatement
    | RetryScheduled
    | CommitAbandoned
    | CommitResolved
    | TopologyChanged
    | InstanceSilent
    | CoalescingPaused
)
Observer = Callable[[Event], None]
