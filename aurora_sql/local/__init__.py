"""A local Aurora: one PostgreSQL writer, real streaming readers, Aurora's own functions."""

from aurora_sql.local._changes import Failover
from aurora_sql.local._cluster import LocalCluster
from aurora_sql.local._server import LocalInstance

__all__ = ["Failover", "LocalCluster", "LocalInstance"]
