"""Translation of MySQL's and MariaDB's errors into the library's own tree.

The number decides, by the table of :mod:`aurora_sql.taxonomy`; for the many that are not in it,
the class of the SQLSTATE. What the protocol has no field for (the constraint, the column, the
row) is read from the message, which both servers keep in one form.
"""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Final

from aurora_sql import errors, taxonomy
from aurora_sql.taxonomy import Category
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from aurora_sql.drivers._mysql_protocol import Err

# The end of what is said of a duplicate, where only MySQL puts the table in front of the key.
_DUPLICATE = re.compile(r"for key '(?:([^'.]+)\.)?([^']+)'$")
# Database, table and constraint, in brackets.
_FOREIGN_KEY = re.compile(r"\(`[^`]+`\.`([^`]+)`, CONSTRAINT `([^`]+)`")
# Three ways to name a column.
_COLUMN = re.compile(
    r"[Cc]olumn '(?:[^'.]+\.)*([^'.]+)'|Field '([^']+)'|column (?:`[^`]+`\.)*`([^`]+)`"
)
# Each server has its own words for a failed check.
_CHECK = re.compile(r"[Cc]heck constraint '([^']+)'")
_CHECK_MARIADB = re.compile(r"CONSTRAINT `(?:[^`]+`\.`)*([^`]+)` failed for `[^`]+`\.`([^`]+)`")
_ROW = re.compile(r"at row (\d+)")

_STATEMENT_TIMEOUTS: Final = {1969, 3024}
_IDLE: Final = 4031
"""What ends an idle session: the server has sent it before any command was read."""
_KILLED: Final = 1317
_NOT_NULL: Final = {1048, 1263, 1364, 1566}
_CHECKS: Final = {1526, 3819, 4025}
_DUPLICATES: Final = {1062, 1169, 1586}
_FOREIGN_KEYS: Final = {1216, 1217, 1451, 1452}
# Numbers that the tables of FACTS do not name, found in the servers' own lists.
_MORE: Final[dict[int, type[errors.DatabaseError]]] = {
    **dict.fromkeys(_NOT_NULL, errors.NotNullViolation),
    **dict.fromkeys(_CHECKS, errors.CheckViolation),
    **dict.fromkeys(_DUPLICATES, errors.UniqueViolation),
    **dict.fromkeys(_FOREIGN_KEYS, errors.ForeignKeyViolation),
    1020: errors.SerializationConflict,  # MariaDB: record has changed since last read
    # Warnings by their SQLSTATE, which strict mode makes errors: no member of an ENUM, no date,
    # no UTF-8.
    **dict.fromkeys((1265, 1300, 1411), errors.DataError),
    1615: errors.StatementStale,
}
_BY_CLASS: Final[dict[str, type[errors.DatabaseError]]] = {
    "21": errors.ProgrammingError,
    "22": errors.DataError,
    "23": errors.IntegrityError,
    "40": errors.ConflictError,
    "42": errors.ProgrammingError,
}


def from_server(err: Err, *, where: str, sent: bool = True) -> errors.AuroraError:
    """The error for one that the server answered with."""
    code, message = str(err.code), err.message
    kind = taxonomy.classify(Engine.MYSQL, code)
    if kind.ends_session:
        return lost(f"{message} ({code})", where=where, sent=sent and err.code != _IDLE)
    if kind.category is Category.UNKNOWN:
        return errors.ConnectionLost(
            f"{where}: {message} ({code}); whether it was applied is not known",
            outcome_unknown=True,
        )
    if err.code in _STATEMENT_TIMEOUTS:
        return errors.DeadlineExceeded(
            f"{where}: {message}: nothing was applied; raise command_timeout or the"
            " statement's timeout, or make the statement cheaper",
            retry_safe=True,
        )
    make = _class_of(err, kind)
    if not issubclass(make, errors.DatabaseError):
        return make(f"{where}: {message}")
    if err.code == _KILLED:
        message += ": KILL QUERY was sent for this session"
    constraint, table, column = _names(err)
    return make(
        message,
        code=code,
        hint=_HINTS.get(err.code),
        constraint=constraint,
        table=table,
        column_name=column,
    )


def _class_of(err: Err, kind: taxonomy.Kind) -> type[errors.AuroraError]:
    if kind.error is errors.ReadOnlyInstance and "read" not in err.message.lower():
        # 1290 stands for every option that forbids something, such as --secure-file-priv.
        return errors.ProgrammingError
    if kind.error is not errors.DatabaseError:
        return kind.error
    return _MORE.get(err.code) or _BY_CLASS.get(err.sqlstate[:2], errors.DatabaseError)


_HINTS: Final[dict[int, str]] = {
    1205: "the statement was undone, the transaction is still open: roll back and run it again",
    1213: "the whole transaction was rolled back: run all of it again",
    1412: "the transaction began before the table was altered: roll back and run it again",
    1366: "the value does not fit the column's type or character set",
    1406: "the value is longer than the column",
    1264: "the value is outside the column's range",
}


def _names(err: Err) -> tuple[str | None, str | None, str | None]:
    """Constraint, table and column that the message names."""
    if err.code in _DUPLICATES:
        found = _DUPLICATE.search(err.message)
        return (found[2], found[1], None) if found else (None, None, None)
    if err.code in _FOREIGN_KEYS:
        found = _FOREIGN_KEY.search(err.message)
        return (found[2], found[1], None) if found else (None, None, None)
    if err.code in _CHECKS:
        found = _CHECK_MARIADB.search(err.message)
        if found:
            return found[1], found[2], None
        found = _CHECK.search(err.message)
        return (found[1], None, None) if found else (None, None, None)
    found = _COLUMN.search(err.message)
    return (None, None, found[1] or found[2] or found[3]) if found else (None, None, None)


def row_of(message: str) -> int | None:
    """Number of the row that a message of a bulk statement names, from 0."""
    found = _ROW.search(message)
    return int(found[1]) - 1 if found else None


def lost(reason: str, *, where: str, sent: bool) -> errors.ConnectionLost:
    """The error for a connection that ended."""
    advice = (
        "the command had been sent and was not answered: check the server before repeating a write"
        if sent
        else "nothing had been sent: run it again on a new connection"
    )
    return errors.ConnectionLost(
        f"{where}: the connection was lost ({reason}); {advice}",
        retry_safe=not sent,
        outcome_unknown=sent,
    )


# --- at connect -----------------------------------------------------------------------------

_NO_DATABASE: Final = {1044, 1049}
_ACCESS_DENIED: Final = 1045
_TLS_REQUIRED: Final = 3159
_UNKNOWN_PLUGIN: Final = {1251, 2059}
_LOST_IN_HANDSHAKE: Final = {2006, 2013}


def refused(  # noqa: PLR0911 - one return per kind of refusal
    code: int, message: str, *, where: str, user: str, database: str
) -> errors.AuroraError:
    """The error for a server's refusal of a new session."""
    text = f"{where}: {message} ({code})"
    make = taxonomy.connect_error(Engine.MYSQL, str(code))
    if code == _TLS_REQUIRED or "insecure transport" in message:
        return errors.TlsError(f"{text}: the server takes TLS connections only; set ssl_mode")
    if code in _NO_DATABASE:
        return errors.ConfigurationError(
            f"{text}: check the setting `database`, create it, or let {user!r} use {database!r}"
        )
    if make is errors.AuthenticationFailed:
        return errors.AuthenticationFailed(
            f"{text}: check username and password, and that {user!r} may connect from here"
        )
    if code in _UNKNOWN_PLUGIN:
        return errors.AuthenticationFailed(
            f"{text}: the account uses a method that the driver does not know; "
            "caching_sha2_password, mysql_native_password and sha256_password work"
        )
    if make is errors.TooManyConnections:
        return errors.TooManyConnections(
            f"{text}: lower max_pool_size, or raise max_connections or the account's limit"
        )
    if make is errors.ConfigurationError:
        return errors.ConfigurationError(
            f"{where}: the server refuses a setting given at connect: {message} ({code})"
        )
    if code in _LOST_IN_HANDSHAKE:
        return errors.ConnectionFailed(f"{where}: the server closed the connection during login")
    return errors.ConnectionFailed(text)


def on_connect(exc: Exception, *, where: str, timeout: float, tls: bool) -> errors.AuroraError:
    """The error for a connection that could not be made, other than a server's refusal."""
    if isinstance(exc, errors.AuroraError):
        return exc
    if isinstance(exc, TimeoutError):
        return errors.ConnectionFailed(
            f"{where}: no connection within {timeout:g} s: is the address right, the server up and "
            "the port open to this machine? (connection_timeout)"
        )
    if isinstance(exc, ssl.SSLCertVerificationError):
        return errors.TlsError(
            f"{where}: the server's certificate is not trusted ({exc.verify_message}): give its "
            "authority in ssl_root_cert, and connect by the name that the certificate carries"
        )
    if isinstance(exc, ssl.SSLError):
        reason = getattr(exc, "reason", None) or exc
        return errors.TlsError(f"{where}: TLS failed ({reason}): check the server's TLS settings")
    if isinstance(exc, OSError):
        during = " during TLS" if tls and isinstance(exc, ConnectionError) and not exc.errno else ""
        return errors.ConnectionFailed(
            f"{where}: cannot connect{during} ({exc.strerror or exc}): is the server running, and "
            "are host and port right?"
        )
    return errors.ConnectionFailed(f"{where}: cannot connect: {type(exc).__name__}: {exc}")
