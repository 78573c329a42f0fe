"""A local Aurora: one PostgreSQL writer, real streaming readers, Aurora's own functions.

And a proxy that does to connections what networks do: :class:`FaultProxy`.
"""

from aurora_sql.local import faults
from aurora_sql.local._changes import Failover
from aurora_sql.local._cluster import LocalCluster
from aurora_sql.local._proxy import FaultProxy, ProxyStats
from aurora_sql.local._server import LocalInstance

__all__ = [
    "Failover",
    "FaultProxy",
    "LocalCluster",
    "LocalInstance",
    "ProxyStats",
    "faults",
]
