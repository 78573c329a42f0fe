"""Events of the library and the sinks they can go to."""

from aurora_sql.instrumentation._events import (
    CommitAbandoned,
    Event,
    Observer,
    RetryScheduled,
    StatementFinished,
)
from aurora_sql.instrumentation._logging import LoggingObserver

__all__ = [
    "CommitAbandoned",
    "Event",
    "LoggingObserver",
    "Observer",
    "RetryScheduled",
    "StatementFinished",
]
