"""Scopes that run statements: database views, sessions, transactions."""

from aurora_sql.session._adhoc import AdHocStatements
from aurora_sql.session._executor import Executor
from aurora_sql.session._session import Scope, Session, TransactionalScope
from aurora_sql.session._shared import Shared
from aurora_sql.session._transaction import Savepoint, Transaction, TransactionContext

__all__ = [
    "AdHocStatements",
    "Executor",
    "Savepoint",
    "Scope",
    "Session",
    "Shared",
    "Transaction",
    "TransactionContext",
    "TransactionalScope",
]
