"""Events to the standard library's logging."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aurora_sql.instrumentation._events import (
    CommitAbandoned,
    CommitResolved,
    InstanceSilent,
    RepeatedStatement,
    RetryScheduled,
    StatementFinished,
    TopologyChanged,
)

if TYPE_CHECKING:
    from aurora_sql.instrumentation._events import Event


class LoggingObserver:
    """Writes events to a logger: trouble as warnings, slow statements too, the rest at DEBUG.

    Args:
        slow: Statements that take longer, in seconds, are warnings. Default 1.0.
        logger: Where to write; ``aurora_sql`` by default.
    """

    def __init__(self, *, slow: float = 1.0, logger: logging.Logger | None = None) -> None:
        self._slow = slow
        self._logger = logger if logger is not None else logging.getLogger("aurora_sql")

    def __call__(self, event: Event) -> None:
        """Write one event."""
        match event:
            case StatementFinished(statement, instance, seconds, attempts, error):
                trouble = error is not None or attempts > 1 or seconds >= self._slow
                self._logger.log(
                    logging.WARNING if trouble else logging.DEBUG,
                    "%s on %s: %.1f ms, %d attempt(s)%s",
                    statement,
                    instance,
                    seconds * 1000,
                    attempts,
                    f", {error}" if error else "",
                )
            case RetryScheduled(what, attempt, wait, error):
                self._logger.warning(
                    "%s: attempt %d failed (%s); again in %.0f ms",
                    what,
                    attempt,
                    error,
                    wait * 1000,
                )
            case CommitAbandoned(instance, cancelled):
                self._logger.warning(
                    "COMMIT on %s was not answered before %s; it is seen through in the background",
                    instance,
                    "the caller was cancelled" if cancelled else "the deadline",
                )
            case CommitResolved(what, applied):
                self._logger.warning(
                    "COMMIT of %s was not answered: it %s",
                    what,
                    "was applied" if applied else "was not applied, and runs again",
                )
            case TopologyChanged() | InstanceSilent() | RepeatedStatement():
                pass  # a logger of its own says so, observers or not
