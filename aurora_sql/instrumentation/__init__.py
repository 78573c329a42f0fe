"""Events of the library and the sinks they can go to."""

from aurora_sql.instrumentation._events import (
    CommitAbandoned,
    CommitResolved,
    Event,
    InstanceSilent,
    Observer,
    RetryScheduled,
    StatementFinished,
    TopologyChanged,
)
from aurora_sql.instrumentation._logging import LoggingObserver

__all__ = [
    "CommitAbandoned",
    "CommitResolved",
    "Event",
    "InstanceSilent",
    "LoggingObserver",
    "Observer",
    "RetryScheduled",
    "StatementFinished",
    "TopologyChanged",
]
