"""The instances of a cluster, their pools, and which one a statement goes to."""

from aurora_sql.cluster._cluster import Cluster
from aurora_sql.cluster._gtid import Executed, parse_mariadb, parse_mysql
from aurora_sql.cluster._providers_mysql import READING
from aurora_sql.cluster._selection import selector
from aurora_sql.cluster._tokens import (
    NO_CLUSTER,
    NOBODY,
    WRITER,
    Position,
    Progress,
    Replica,
    Seen,
    Signer,
    identifier,
    of_another_cluster,
)

__all__ = [
    "NOBODY",
    "NO_CLUSTER",
    "READING",
    "WRITER",
    "Cluster",
    "Executed",
    "Position",
    "Progress",
    "Replica",
    "Seen",
    "Signer",
    "identifier",
    "of_another_cluster",
    "parse_mariadb",
    "parse_mysql",
    "selector",
]
