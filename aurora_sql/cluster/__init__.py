"""The instances of a cluster, their pools, and which one a statement goes to."""

from aurora_sql.cluster._cluster import Cluster
from aurora_sql.cluster._selection import selector
from aurora_sql.cluster._tokens import (
    NO_CLUSTER,
    NOBODY,
    WRITER,
    Position,
    Replica,
    Seen,
    Signer,
    identifier,
    of_another_cluster,
)

__all__ = [
    "NOBODY",
    "NO_CLUSTER",
    "WRITER",
    "Cluster",
    "Position",
    "Replica",
    "Seen",
    "Signer",
    "identifier",
    "of_another_cluster",
    "selector",
]
