"""How one statement runs: deadline, lease, prepared statement, errors, retries."""

from aurora_sql.execution._attempts import Attempts, Lessor, deadline_exceeded, part_with
from aurora_sql.execution._cache import ReadCache
from aurora_sql.execution._connection_runner import ConnectionRunner
from aurora_sql.execution._context import Context
from aurora_sql.execution._count import StatementCount, count_statements
from aurora_sql.execution._explanation import Explanation
from aurora_sql.execution._export import export_csv, fetch_arrow
from aurora_sql.execution._namespace import (
    BoundBatch,
    BoundScript,
    BoundStatement,
    Runner,
    SqlNamespace,
    StatementTree,
)
from aurora_sql.execution._pool_runner import PoolRunner
from aurora_sql.execution._prepare import Preparer
from aurora_sql.execution._stream import RowStream
from aurora_sql.execution._uncast import UncastText
from aurora_sql.execution._watch import Watch, call_limit, roll_back, undo_limit

__all__ = [
    "Attempts",
    "BoundBatch",
    "BoundScript",
    "BoundStatement",
    "ConnectionRunner",
    "Context",
    "Explanation",
    "Lessor",
    "PoolRunner",
    "Preparer",
    "ReadCache",
    "RowStream",
    "Runner",
    "SqlNamespace",
    "StatementCount",
    "StatementTree",
    "UncastText",
    "Watch",
    "call_limit",
    "count_statements",
    "deadline_exceeded",
    "export_csv",
    "fetch_arrow",
    "part_with",
    "roll_back",
    "undo_limit",
]
