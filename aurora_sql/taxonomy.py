"""What the error codes of the servers mean, and what may be done about each.

Tables, and pure functions over them.

The tables are data, by engine; :func:`classify` looks a code up and :func:`decide` says what may
be done, from the kind of failure, how far the command had come, what was being run and whether it
changes anything. The rule behind it is "never twice": work runs again only where it is certain
that nothing of it was applied, or where it changes nothing.

A driver turns a code into one of the library's errors; above it, :func:`decide_error` reads kind
and stage off that error and asks the same :func:`decide`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from aurora_sql import errors
from aurora_sql.types import Access, Engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "LOST",
    "Action",
    "Category",
    "Kind",
    "Stage",
    "Unit",
    "classify",
    "connect_error",
    "decide",
    "decide_error",
    "known_codes",
    "may_rerun",
]


class Category(StrEnum):
    """What went wrong, as far as it matters to what is done next."""

    LOST = "lost"
    """The session is gone, or could not be had."""
    LOGIN = "login"
    """The user or the password is refused."""
    TOO_MANY = "too many connections"
    READ_ONLY = "read-only instance"
    CONFLICT = "conflict"
    """The transaction lost against another one; nothing of it was applied."""
    LOCK = "lock not had"
    """A lock was not had in time: an answer to whoever asked for it, no accident."""
    STALE = "stale"
    """The prepared statement or its plan no longer fits."""
    CANCELLED = "cancelled"
    """Cancelled at the server, or over a limit of the server."""
    UNKNOWN = "outcome unknown"
    """The server itself cannot say how it ended."""
    PERMANENT = "permanent"
    """It would fail again: wrong SQL, a refused value, a constraint, anything not in the table."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of failure.

    Attributes:
        category: What went wrong.
        error: The library's error for it.
        ends_session: The server closes the session with this answer.
        keeps_transaction: Only the statement was undone, and the transaction is still open:
            whoever replays it rolls back first.
    """

    category: Category
    error: type[errors.AuroraError]
    ends_session: bool = False
    keeps_transaction: bool = False


class Stage(StrEnum):
    """How far the command had come."""

    NOT_SENT = "not sent"
    """Nothing that can change something had been written to the socket."""
    ANSWERED = "answered"
    """The server answered with the error."""
    UNANSWERED = "unanswered"
    """It was sent, and no answer came."""


class Unit(StrEnum):
    """What was being run."""

    STATEMENT = "statement"
    """One statement that is its own transaction."""
    IN_TRANSACTION = "in a transaction"
    """A statement of a transaction that others share, before COMMIT."""
    COMMIT = "commit"
    """The COMMIT of a transaction."""


class Action(StrEnum):
    """What may be done."""

    RETRY = "retry"
    """Run the same statement again, on this connection or another."""
    RECONNECT = "reconnect"
    """Run the same statement again on another connection; to the writer, found anew."""
    REPLAY = "replay"
    """Run the whole transaction again; a statement of it alone would be wrong."""
    VERIFY = "verify"
    """Find out whether it was applied; run nothing before that."""
    RAISE = "raise"
    """Tell the caller."""


LOST: Final = Kind(Category.LOST, errors.ConnectionLost, ends_session=True)
"""A connection that ended without an answer: EOF, an error of the operating system, silence."""

_LOGIN: Final = Kind(Category.LOGIN, errors.DatabaseError)
_FULL: Final = Kind(Category.TOO_MANY, errors.TooManyConnections)
_READ_ONLY: Final = Kind(Category.READ_ONLY, errors.ReadOnlyInstance)
_SERIALIZATION: Final = Kind(Category.CONFLICT, errors.SerializationConflict)
_SERIALIZATION_KEEPS: Final = Kind(
    Category.CONFLICT, errors.SerializationConflict, keeps_transaction=True
)
_DEADLOCK: Final = Kind(Category.CONFLICT, errors.Deadlock)
_CONFLICT: Final = Kind(Category.CONFLICT, errors.ConflictError)
_LOCK: Final = Kind(Category.LOCK, errors.LockTimeout)
_LOCK_KEEPS: Final = Kind(Category.LOCK, errors.LockTimeout, keeps_transaction=True)
_STALE: Final = Kind(Category.STALE, errors.StatementStale)
_STALE_KEEPS: Final = Kind(Category.STALE, errors.StatementStale, keeps_transaction=True)
_CANCELLED: Final = Kind(Category.CANCELLED, errors.QueryCancelled)
_CANCELLED_KEEPS: Final = Kind(Category.CANCELLED, errors.QueryCancelled, keeps_transaction=True)
_UNKNOWN: Final = Kind(Category.UNKNOWN, errors.ConnectionLost)
_OTHER: Final = Kind(Category.PERMANENT, errors.DatabaseError)


def _permanent(error: type[errors.DatabaseError]) -> Kind:
    return Kind(Category.PERMANENT, error)


def _each(codes: Iterable[str], kind: Kind) -> dict[str, Kind]:
    return dict.fromkeys(codes, kind)


# SQLSTATEs. A code that is not here is looked up by its class, the first two characters.
_POSTGRESQL: Final[Mapping[str, Kind]] = {
    # 25P03, too long idle in a transaction, arrives while nobody listens: the next command finds
    # the session gone, and whatever it was, nothing of that transaction was applied.
    **_each(("57P01", "57P02", "57P03", "57P05", "25P03", "25P04"), LOST),
    **_each(("28000", "28P01", "08004"), _LOGIN),
    "53300": _FULL,
    "25006": _READ_ONLY,
    "40001": _SERIALIZATION,
    "40P01": _DEADLOCK,
    "55P03": _LOCK,
    **_each(("26000", "42P05"), _STALE),
    "57014": _CANCELLED,
    **_each(("40003", "08007"), _UNKNOWN),
    # A constraint was found violated at COMMIT: of class 40, but it would be again.
    "40002": _permanent(errors.IntegrityError),
    "25P02": _permanent(errors.TransactionAborted),
    "23505": _permanent(errors.UniqueViolation),
    "23503": _permanent(errors.ForeignKeyViolation),
    "23001": _permanent(errors.ForeignKeyViolation),
    "23514": _permanent(errors.CheckViolation),
    "23502": _permanent(errors.NotNullViolation),
    "23P01": _permanent(errors.ExclusionViolation),
}
_POSTGRESQL_CLASSES: Final[Mapping[str, Kind]] = {
    "08": LOST,
    "22": _permanent(errors.DataError),
    "23": _permanent(errors.IntegrityError),
    "40": _CONFLICT,
    **_each(("0A", "24", "34", "3D", "3F", "42"), _permanent(errors.ProgrammingError)),
}
# These mean a lost session only with severity FATAL or PANIC: as ERROR they come with the session
# alive (a missing file, a corrupt index), and another instance is no cure.
_LOST_IF_FATAL: Final = frozenset({"58", "F0", "XX"})
_FATAL: Final = frozenset({"FATAL", "PANIC"})

# Error numbers: of the server, and of the client (2000 and up) for what it found itself.
_MYSQL: Final[Mapping[str, Kind]] = {
    **_each(("2002", "2003", "2006", "2013", "2026", "2055", "1053"), LOST),
    **_each((str(number) for number in range(1152, 1162)), LOST),
    # The session was ended: MariaDB, MySQL, by a server that goes offline, for being idle too long.
    **_each(("1927", "3169", "3032", "4031"), LOST),
    **_each(("1044", "1045", "1698"), _LOGIN),
    **_each(("1040", "1203"), _FULL),
    **_each(("1290", "1792", "1836"), _READ_ONLY),
    "1213": _DEADLOCK,
    # A table was altered since the transaction's snapshot: a new one sees it.
    "1412": _SERIALIZATION_KEEPS,
    **_each(("1205", "3572"), _LOCK_KEEPS),
    **_each(("1243", "1615"), _STALE_KEEPS),
    **_each(("1317", "1969", "3024"), _CANCELLED_KEEPS),
    "1180": _UNKNOWN,
    "1062": _permanent(errors.UniqueViolation),
    **_each(("1451", "1452"), _permanent(errors.ForeignKeyViolation)),
    "3819": _permanent(errors.CheckViolation),
    "1048": _permanent(errors.NotNullViolation),
    **_each(("1264", "1366", "1406"), _permanent(errors.DataError)),
    **_each(("1054", "1146"), _permanent(errors.ProgrammingError)),
}

_TABLES: Final[Mapping[Engine, Mapping[str, Kind]]] = {
    Engine.POSTGRESQL: _POSTGRESQL,
    Engine.MYSQL: _MYSQL,
}


def known_codes(engine: Engine) -> frozenset[str]:
    """The codes that have a row of their own."""
    return frozenset(_TABLES[engine])


def classify(
    engine: Engine, code: str, severity: str | None = None, *, stale_plan: bool = False
) -> Kind:
    """The kind of failure that a server's answer on an open session stands for.

    Args:
        engine: Whose code it is.
        code: SQLSTATE on PostgreSQL, the error number as text on MySQL.
        severity: PostgreSQL's, in English; None where there is none.
        stale_plan: PostgreSQL says "cached plan must not change result type", which shares its
            code with features that it lacks.
    """
    if engine is Engine.MYSQL:
        return _MYSQL.get(code, _OTHER)
    if stale_plan and code == "0A000":
        return _STALE
    if severity in _FATAL and code[:2] in _LOST_IF_FATAL:
        return LOST
    return _POSTGRESQL.get(code) or _POSTGRESQL_CLASSES.get(code[:2], _OTHER)


# What the server refuses at connect with these is a setting that was given; the rest of the
# classes they belong to is about SQL.
_REFUSED_SETTING: Final[Mapping[Engine, frozenset[str]]] = {
    Engine.POSTGRESQL: frozenset({"3D000", "42704", "22023", "42501", "55P02"}),
    Engine.MYSQL: frozenset({"1049", "1115", "1193", "1231", "1273"}),
}


def connect_error(engine: Engine, code: str) -> type[errors.AuroraError]:
    """The library's error for a server's refusal of a new session.

    Args:
        engine: Whose code it is.
        code: SQLSTATE on PostgreSQL, the error number as text on MySQL.
    """
    if code in _REFUSED_SETTING[engine]:
        return errors.ConfigurationError
    category = classify(engine, code).category
    if category is Category.LOGIN:
        return errors.AuthenticationFailed
    return errors.TooManyConnections if category is Category.TOO_MANY else errors.ConnectionFailed


_NEVER: Final = frozenset({Category.PERMANENT, Category.LOGIN})
_LEFT_OPEN: Final = frozenset({Category.LOST, Category.UNKNOWN})


def decide(kind: Kind, stage: Stage, unit: Unit, access: Access) -> Action:
    """What may be done about a failure. Whether there is time and budget for it is not asked here.

    Args:
        kind: What went wrong.
        stage: How far the command had come.
        unit: What was being run.
        access: Whether that (the whole transaction, for a part of one) may change anything.
    """
    if kind.category in _NEVER:
        return Action.RAISE
    if stage is Stage.ANSWERED and kind.category not in _LEFT_OPEN:
        return _after_answer(kind.category, unit, access)
    if unit is Unit.IN_TRANSACTION:
        # Without COMMIT nothing of it can have been applied.
        return Action.REPLAY
    if stage is not Stage.NOT_SENT and access is Access.WRITE:
        # Also where the server did answer: it may be told to end after it has committed.
        return Action.VERIFY
    return Action.REPLAY if unit is Unit.COMMIT else Action.RECONNECT


def _after_answer(category: Category, unit: Unit, access: Access) -> Action:
    if category is Category.CANCELLED:
        return Action.RAISE
    if category is Category.READ_ONLY and access is Access.READ:
        # It was said to change nothing, and tried to: the writer would refuse it as well.
        return Action.RAISE
    if unit is not Unit.STATEMENT:
        return Action.REPLAY
    if category is Category.LOCK:
        # Who wrote NOWAIT, or set lock_timeout, for a lone statement wants to know.
        return Action.RAISE
    return Action.RECONNECT if category is Category.READ_ONLY else Action.RETRY


# What an error of the library stands for; the nearest class in its own order counts. The rest is
# no accident of the server's (a wrong call, a time limit of the caller's), or was waited for
# already (a pool's timeout, a missing writer): the caller is told.
_BY_CLASS: Final[Mapping[type[BaseException], Kind]] = {
    errors.ConnectionLost: LOST,
    errors.ConnectionFailed: Kind(Category.LOST, errors.ConnectionFailed),
    errors.AuthenticationFailed: Kind(Category.LOGIN, errors.AuthenticationFailed),
    errors.TlsError: Kind(Category.PERMANENT, errors.TlsError),
    errors.TooManyConnections: _FULL,
    errors.CommitInDoubt: Kind(Category.UNKNOWN, errors.CommitInDoubt),
    errors.ReadOnlyInstance: _READ_ONLY,
    errors.ConflictError: _CONFLICT,
    errors.SerializationConflict: _SERIALIZATION,
    errors.Deadlock: _DEADLOCK,
    errors.LockTimeout: _LOCK,
    errors.StatementStale: _STALE,
    errors.QueryCancelled: _CANCELLED,
}


def _kind(error: errors.AuroraError) -> Kind:
    return next((_BY_CLASS[one] for one in type(error).__mro__ if one in _BY_CLASS), _OTHER)


def _stage(error: errors.AuroraError) -> Stage:
    if not error.retry_safe:
        # Also a server's answer that came too late to be one: the statement has run.
        return Stage.UNANSWERED
    return Stage.ANSWERED if isinstance(error, errors.DatabaseError) else Stage.NOT_SENT


def decide_error(error: BaseException, unit: Unit, access: Access) -> Action:
    """What may be done about an error of the library: :func:`decide`, from what it carries.

    Args:
        error: What the driver or the pool raised, its ``retry_safe`` and ``outcome_unknown``
            corrected by whoever knows what was being run. What is not the library's is raised.
        unit: What was being run; ``COMMIT`` for a whole transaction, whose last word it is.
        access: Whether that may change anything. An error that says ``outcome_unknown`` counts
            as one of a write: it may come from work that has nothing to do with the unit.
    """
    if not isinstance(error, errors.AuroraError):
        return Action.RAISE
    if error.outcome_unknown:
        access = Access.WRITE
    if isinstance(error, errors.ReadOnlyInstance) and error.on_reader:
        return Action.RAISE  # it was sent to one that takes no writes, and would be again
    return decide(_kind(error), _stage(error), unit, access)


def may_rerun(action: Action) -> bool:
    """Whether an action runs the unit again, wherever."""
    return action in _RERUNS


_RERUNS: Final = frozenset({Action.RETRY, Action.RECONNECT, Action.REPLAY})
