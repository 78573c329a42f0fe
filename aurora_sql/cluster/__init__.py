"""The instances of a cluster, their pools, and which one a statement goes to."""

from aurora_sql.cluster._cluster import Cluster
from aurora_sql.cluster._selection import selector

__all__ = ["Cluster", "selector"]
