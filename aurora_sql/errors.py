"""The errors of the library: one tree, two questions.

```
AuroraError
├── ConfigurationError            a setting, a folder or a combination that cannot work
├── UsageError                    a call that cannot work: a closed object, two tasks on one
│   └── StatementBudgetExceeded   one statement more than count_statements(limit=…) allows
├── StatementFileError            a SQL file or a statement in it is wrong
├── ParameterError                a call gave a wrong, missing or unknown parameter
│   └── BulkValueError            … in a row of a bulk operation
├── ResultError                   the statement ran, its result is not what was promised
│   ├── RowNotFound
│   ├── TooManyRows
│   ├── RowValidationError
│   └── StaleVersion              optimistic locking: somebody changed the row
├── PoolError
│   ├── PoolTimeout               no connection came free in time
│   ├── PoolExhausted             too many callers wait already
│   └── PoolClosed
├── DeadlineExceeded              (also a TimeoutError)
├── CommitInDoubt                 COMMIT was sent and no answer came
├── OperationalError              the way to the server, or the server itself
│   ├── ConnectionFailed          no connection could be made
│   │   ├── AuthenticationFailed
│   │   ├── TlsError
│   │   └── TooManyConnections
│   ├── ConnectionLost            an open connection broke
│   ├── NoWriterAvailable
│   └── FailoverTimeout
└── DatabaseError                 the server answered with an error
    ├── IntegrityError
    │   ├── UniqueViolation
    │   ├── ForeignKeyViolation
    │   ├── CheckViolation
    │   ├── NotNullViolation
    │   └── ExclusionViolation
    ├── ConflictError             the transaction lost against another: run it again
    │   ├── SerializationConflict
    │   ├── Deadlock
    │   └── LockTimeout
    ├── ReadOnlyInstance          a write reached a reader
    ├── TransactionAborted        nothing of the transaction was applied
    ├── StatementStale            the prepared plan no longer fits the schema
    ├── QueryCancelled            somebody cancelled it at the server
    ├── DataError                 a value the server cannot take
    └── ProgrammingError          the SQL itself is wrong, or not allowed
```

Every error answers:

``retry_safe``
    True only where it is certain that nothing was applied, so that running the same unit of
    work again cannot do it twice. For an error inside a transaction the unit is the transaction.
``outcome_unknown``
    True where the work was sent and it is not known whether it was applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class AuroraError(Exception):
    """Base of every error that the library raises on purpose.

    Attributes:
        retry_safe: Nothing was applied; the same unit of work may run again.
        outcome_unknown: The work was sent; whether it was applied is not known.
    """

    retry_safe: bool = False
    outcome_unknown: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        retry_safe: bool | None = None,
        outcome_unknown: bool | None = None,
    ) -> None:
        super().__init__(message)
        if retry_safe is not None:
            self.retry_safe = retry_safe
        if outcome_unknown is not None:
            self.outcome_unknown = outcome_unknown

    @property
    def message(self) -> str:
        """The text, without notes."""
        return str(self.args[0]) if self.args else ""


class ConfigurationError(AuroraError):
    """A setting, a folder or a combination of options that cannot work. Nothing was sent."""

    retry_safe = True


class UsageError(AuroraError):
    """A call that cannot work: on something closed, or by two tasks at once. Nothing was sent."""

    retry_safe = True


class StatementBudgetExceeded(UsageError):
    """More statements than ``count_statements(limit=…)`` allows. The last one was not sent."""


class StatementFileError(AuroraError):
    """A SQL file, or a statement in it, is wrong.

    Attributes:
        path: The file, None for SQL that came as a string.
        line: Line of the trouble, from 1; None when it is about the whole file.
        column: Column of the trouble, from 1, where it is known.
    """

    retry_safe = True

    def __init__(
        self,
        message: str,
        *,
        path: Path | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        place = "" if path is None else str(path)
        for number in (line, column):
            if number is not None:
                place += f":{number}" if place else f"line {number}"
        super().__init__(f"{place}: {message}" if place else message)
        self.path = path
        self.line = line
        self.column = column


class ParameterError(AuroraError):
    """A call gave a wrong, missing or unknown parameter. Nothing was applied.

    Attributes:
        number: Number of the placeholder, from 1, where a value could not be encoded for it.
        element: Number of the parameter set, from 0, where there are many.
    """

    retry_safe = True

    def __init__(
        self, message: str = "", *, number: int | None = None, element: int | None = None
    ) -> None:
        super().__init__(message)
        self.number = number
        self.element = element


class BulkValueError(ParameterError):
    """A value of a bulk operation does not fit its column. Nothing of its batch was applied.

    Attributes:
        row: Number of the row in the input, from 0.
        column: Name of the column, where it is known.
    """

    def __init__(self, message: str, *, row: int, column: str | None = None) -> None:
        super().__init__(message)
        self.row = row
        self.column = column


class ResultError(AuroraError):
    """The statement ran; its result is not what the statement or the caller promised."""


class RowNotFound(ResultError):
    """A statement that returns exactly one row returned none."""


class TooManyRows(ResultError):
    """A statement that returns at most one row returned more."""


class RowValidationError(ResultError):
    """The columns or a value of a row do not fit the model."""


class StaleVersion(ResultError):
    """Optimistic locking: the row has another version than the one that was read."""

    retry_safe = True


class PoolError(AuroraError):
    """No connection could be leased. Nothing was sent."""

    retry_safe = True


class PoolTimeout(PoolError):
    """No connection came free before the acquire deadline."""


class PoolExhausted(PoolError):
    """As many callers wait for a connection as ``max_waiting`` allows."""


class PoolClosed(PoolError):
    """The pool is closed or closing."""


class DeadlineExceeded(AuroraError, TimeoutError):
    """The deadline of the call passed. ``outcome_unknown`` says whether a write had been sent."""


class CommitInDoubt(AuroraError):
    """COMMIT was sent and no answer came: the transaction is applied as a whole or not at all."""

    outcome_unknown = True


class OperationalError(AuroraError):
    """The way to the server, or the server itself, failed."""


class ConnectionFailed(OperationalError):
    """No connection could be made. Nothing was sent."""

    retry_safe = True


class AuthenticationFailed(ConnectionFailed):
    """The server refused the user or the password."""


class TlsError(ConnectionFailed):
    """No TLS connection of the kind that was asked for could be made."""


class TooManyConnections(ConnectionFailed):
    """The server, or the role, has no connection left."""


class ConnectionLost(OperationalError):
    """An open connection broke. ``outcome_unknown`` where a write was on its way."""


class NoWriterAvailable(OperationalError):
    """No instance accepts writes."""

    retry_safe = True


class FailoverTimeout(OperationalError):
    """No new writer was found in the time that was allowed."""

    retry_safe = True


class DatabaseError(AuroraError):
    """The server answered with an error.

    Attributes:
        code: SQLSTATE on PostgreSQL, the error number as text on MySQL.
        detail: The server's detail line; may hold values of the row.
        hint: The server's hint.
        constraint: Name of the constraint, where the server gives it.
        table: Name of the table, where the server gives it.
        column_name: Name of the column, where the server gives it.
        position: Character of the statement, from 1, where the server gives it.
        on_reader: The statement ran on a reader.
    """

    on_reader: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "",
        detail: str | None = None,
        hint: str | None = None,
        constraint: str | None = None,
        table: str | None = None,
        column_name: str | None = None,
        position: int | None = None,
        retry_safe: bool | None = None,
        outcome_unknown: bool | None = None,
    ) -> None:
        super().__init__(message, retry_safe=retry_safe, outcome_unknown=outcome_unknown)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.constraint = constraint
        self.table = table
        self.column_name = column_name
        self.position = position


class IntegrityError(DatabaseError):
    """A constraint forbids the write; nothing of the statement was applied."""


class UniqueViolation(IntegrityError):
    """Such a row exists already."""


class ForeignKeyViolation(IntegrityError):
    """The row refers to one that does not exist, or others still refer to it."""


class CheckViolation(IntegrityError):
    """A CHECK constraint forbids the row."""


class NotNullViolation(IntegrityError):
    """A column that must have a value has none."""


class ExclusionViolation(IntegrityError):
    """The row conflicts with another under an exclusion constraint."""


class ConflictError(DatabaseError):
    """The transaction lost against another one. Nothing was applied; run all of it again."""

    retry_safe = True


class SerializationConflict(ConflictError):
    """Concurrent transactions cannot be ordered (SQLSTATE 40001).

    On a reader: what the writer did to the rows or the table could not be replayed beside a read.
    """


class Deadlock(ConflictError):
    """Two transactions waited for each other and this one was chosen to fail."""


class LockTimeout(ConflictError):
    """A lock was not had in time, or at once where NOWAIT asked for it."""


class ReadOnlyInstance(DatabaseError):
    """A write reached an instance that only reads: a reader, or a writer just demoted."""

    retry_safe = True


class TransactionAborted(DatabaseError):
    """The transaction had failed before: COMMIT answered ROLLBACK and nothing was applied."""

    retry_safe = True


class StatementStale(DatabaseError):
    """The prepared statement or its plan no longer fits the schema; prepare it again."""

    retry_safe = True


class QueryCancelled(DatabaseError):
    """The server cancelled the statement: its own time limit, or a request by somebody."""

    retry_safe = True


class DataError(DatabaseError):
    """The server cannot take a value: out of range, too long, division by zero."""


class ProgrammingError(DatabaseError):
    """The SQL is wrong for this schema (a syntax error, a missing table), or not allowed."""
