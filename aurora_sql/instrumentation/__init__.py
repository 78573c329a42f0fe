"""Events of the library and the sinks they can go to."""

from aurora_sql.instrumentation._events import (
    CoalescingPaused,
    CommitAbandoned,
    CommitResolved,
    Event,
    InstanceSilent,
    Observer,
    RepeatedStatement,
    RetryScheduled,
    StatementFinished,
    TopologyChanged,
)
from aurora_sql.instrumentation._logging import LoggingObserver

__all__ = [
    "CoalescingPaused",
    "CommitAbandoned",
    "CommitResolved",
    "Event",
    "InstanceSilent",
    "LoggingObserver",
    "Observer",
    "RepeatedStatement",
    "RetryScheduled",
    "StatementFinished",
    "TopologyChanged",
]
