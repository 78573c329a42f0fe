"""Events of the library and the sinks they can go to."""

from aurora_sql.instrumentation._events import (
    CommitAbandoned,
    CommitResolved,
    Event,
    Observer,
    RetryScheduled,
    StatementFinished,
)
from aurora_sql.instrumentation._logging import LoggingObserver

__all__ = [
    "CommitAbandoned",
    "CommitResolved",
    "Event",
    "LoggingObserver",
    "Observer",
    "RetryScheduled",
    "StatementFinished",
]
