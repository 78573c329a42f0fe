"""Translation of everything asyncpg can raise into the library's own tree.

Two questions decide: which SQLSTATE (or which kind of local failure), and had the command been
written to the socket. ``sent`` answers the second; the caller knows it from the driver's count
of commands before and after.
"""

from __future__ import annotations

import re
import ssl
from typing import TypeGuard

import asyncpg

from aurora_sql import errors, taxonomy
from aurora_sql.taxonomy import Category
from aurora_sql.types import Engine

# asyncpg's picture of a composite or enum type no longer fits; raised after the statement ran.
STALE_TYPES = asyncpg.exceptions.OutdatedSchemaCacheError

_LOSSES = (asyncpg.ConnectionDoesNotExistError, asyncpg.InternalClientError, OSError, EOFError)

_PARAMETER = re.compile(r"\$(\d+)(?: in element #(\d+) )?")


def translate(exc: BaseException, *, where: str, sent: bool) -> errors.AuroraError:
    """The library's error for one that came out of asyncpg on an open connection.

    Args:
        exc: What was raised; an error of the library comes back as it is.
        where: The server as host:port, for the message.
        sent: The command had been written to the socket.
    """
    if isinstance(exc, errors.AuroraError):
        return exc
    if is_answer(exc):
        return from_server(exc, where=where, sent=sent)
    if isinstance(exc, asyncpg.DataError | asyncpg.InterfaceError):
        return _interface(exc, where=where, sent=sent)
    if isinstance(exc, _LOSSES) and not isinstance(exc, STALE_TYPES):
        return _lost(_reason(exc), where=where, sent=sent)
    return _of_value(exc, sent=sent)


def is_answer(exc: BaseException) -> TypeGuard[asyncpg.PostgresError]:
    """Whether the server sent this error.

    asyncpg uses some of the same classes for what it finds itself: a value that cannot be
    encoded, a connection that is closed. Those have no severity.
    """
    return isinstance(exc, asyncpg.PostgresError) and exc.severity is not None


def _of_value(exc: BaseException, *, sent: bool) -> errors.AuroraError:
    if isinstance(exc, STALE_TYPES):
        return errors.StatementStale(
            f"the result no longer has the type that was prepared ({exc}): prepare it again; "
            "the statement itself has run",
            retry_safe=False,
        )
    if not sent:
        return errors.ParameterError(f"a value cannot be sent: {_brief(exc)}")
    return errors.DataError(
        f"a value of the result cannot be represented in Python: {_brief(exc)}; cast the column",
        retry_safe=False,
    )


def from_server(exc: asyncpg.PostgresError, *, where: str, sent: bool) -> errors.AuroraError:
    """The error for one that the server answered with."""
    code: str = exc.sqlstate or ""
    severity = getattr(exc, "severity_en", None) or getattr(exc, "severity", None)
    message = str(exc.args[0]) if exc.args else type(exc).__name__
    kind = taxonomy.classify(
        Engine.POSTGRESQL,
        code,
        severity,
        stale_plan=isinstance(exc, asyncpg.exceptions.InvalidCachedStatementError),
    )
    if kind.ends_session:
        return _lost(f"{message} ({code})", where=where, sent=sent)
    if kind.category is Category.UNKNOWN:
        return errors.ConnectionLost(
            f"{where}: {message} ({code}); whether it was applied is not known",
            outcome_unknown=True,
        )
    make = kind.error
    if not issubclass(make, errors.DatabaseError):
        return make(f"{where}: {message}")
    if code == "57014":
        if "statement timeout" in message:
            # The same limit as the caller's own, which may only be a moment later.
            return errors.DeadlineExceeded(
                f"{where}: {message}: nothing was applied; raise command_timeout or the"
                " statement's timeout, or make the statement cheaper",
                retry_safe=True,
            )
        if "conflict with recovery" in message:
            make = errors.SerializationConflict  # else it has the code of one, 40001
        else:
            message = f"{message}: {_why_cancelled(message)}"
    return make(
        message,
        code=code,
        detail=exc.detail,
        hint=exc.hint,
        constraint=exc.constraint_name,
        table=_qualified(exc.schema_name, exc.table_name),
        column_name=exc.column_name,
        position=int(exc.position) if exc.position else None,
    )


def _why_cancelled(message: str) -> str:
    if "user request" in message:
        return "a cancel request was sent for this session"
    return "the server cancelled it"


def _qualified(schema: str | None, table: str | None) -> str | None:
    if table is None or schema in {None, "public"}:
        return table
    return f"{schema}.{table}"


def _interface(exc: Exception, *, where: str, sent: bool) -> errors.AuroraError:
    message = str(exc.args[0])
    if "is closed" in message or "is cancelling" in message:
        return _lost(message, where=where, sent=sent)
    if "in progress" in message:
        return errors.OperationalError(
            f"{where}: the connection is busy with another command; one connection serves one "
            "task at a time: wait for the first, or use a second connection",
            retry_safe=True,
        )
    found = _PARAMETER.search(message)
    if found is None:
        return errors.ParameterError(message)
    number, element = int(found[1]), found[2]
    # asyncpg's text quotes the value; the cause says what is wrong with it.
    reason = str(exc.__cause__ or message)
    place = f"${number}" if element is None else f"${number} of set {element}"
    return errors.ParameterError(
        f"{place}: {reason}", number=number, element=None if element is None else int(element)
    )


def _lost(reason: str, *, where: str, sent: bool) -> errors.ConnectionLost:
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


def _reason(exc: BaseException) -> str:
    """The text of an error, with its cause where that says more."""
    cause = exc.__cause__
    text = str(exc.args[0]) if exc.args else type(exc).__name__
    if cause is None or str(cause) in text:
        return text
    return f"{text}: {cause}"


def _brief(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}"


# --- at connect -----------------------------------------------------------------------------


def on_connect(
    exc: Exception,
    *,
    where: str,
    user: str,
    database: str,
    tls: bool,
    timeout: float,
) -> errors.AuroraError:
    """The error for a connection that could not be made.

    Args:
        exc: What was raised.
        where: The server as host:port.
        user: Name of the user.
        database: Name of the database.
        tls: TLS was asked for in this attempt.
        timeout: Seconds that connecting could take.
    """
    if isinstance(exc, errors.AuroraError):
        return exc
    if is_answer(exc):
        return _refused(exc, where=where, user=user, database=database)
    if isinstance(exc, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return _login_trouble(exc, where=where, user=user)
    if tls and (isinstance(exc, ssl.SSLError) or _is_tls_refusal(exc)):
        return errors.TlsError(f"{where}: {_tls_reason(exc)}")
    if isinstance(exc, TimeoutError):
        reason = (
            f"no connection within {timeout:g} s: is the address right, the server up and the "
            "port open to this machine? (connection_timeout)"
        )
    elif isinstance(exc, OSError):
        reason = (
            f"cannot connect ({exc.strerror or exc}): is the server running, and are host and "
            "port right?"
        )
    else:
        reason = f"cannot connect: {_brief(exc)}"
    return errors.ConnectionFailed(f"{where}: {reason}")


def _is_tls_refusal(exc: Exception) -> bool:
    """Whether the server said no to TLS: an error without the number that those of the OS have."""
    return isinstance(exc, ConnectionError) and exc.errno is None


def _login_trouble(exc: Exception, *, where: str, user: str) -> errors.AuroraError:
    # asyncpg wraps whatever goes wrong while answering the server's challenge; the text may
    # come from anywhere, so that it is not repeated: it could hold the password.
    if "authenticat" in str(exc).lower() or "password" in str(exc).lower():
        return errors.AuthenticationFailed(
            f"{where}: logging in as {user!r} failed in the client: is the password set, and does "
            "the server use a method that asyncpg knows (scram-sha-256, md5, password)?"
        )
    return errors.ConnectionFailed(f"{where}: cannot connect: {_brief(exc)}")


def _refused(
    exc: asyncpg.PostgresError, *, where: str, user: str, database: str
) -> errors.AuroraError:
    code: str = exc.sqlstate or ""
    message = str(exc.args[0]) if exc.args else type(exc).__name__
    make = taxonomy.connect_error(Engine.POSTGRESQL, code)
    if make is errors.AuthenticationFailed:
        return errors.AuthenticationFailed(
            f"{where}: {message} ({code}): check username and password, and that pg_hba.conf "
            f"lets {user!r} in from here"
        )
    if code == "3D000":
        return errors.ConfigurationError(
            f"{where}: there is no database {database!r}: check the setting `database`, or "
            "create it"
        )
    if make is errors.TooManyConnections:
        return errors.TooManyConnections(
            f"{where}: {message}: lower max_pool_size, or raise max_connections at the server "
            "or the role's limit"
        )
    if code == "57P03":
        return errors.ConnectionFailed(
            f"{where}: {message} ({code}): the server is starting, stopping or recovering; "
            "try again in a moment"
        )
    if make is errors.ConfigurationError or "unsupported startup parameter" in message:
        return errors.ConfigurationError(
            f"{where}: the server refuses a setting given at connect: {message} ({code})"
        )
    return errors.ConnectionFailed(f"{where}: {message} ({code})")


def _tls_reason(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not trusted ({exc.verify_message}): give its "
            "authority in ssl_root_cert, and connect by the name that the certificate carries"
        )
    if isinstance(exc, ssl.SSLError):
        # OpenSSL's short reason, where the error came from OpenSSL.
        reason = getattr(exc, "reason", None) or exc
        return f"TLS failed ({reason}): check the server's TLS settings"
    return (
        f"the server does not take TLS connections ({exc}): turn ssl on at the server, or choose "
        "another ssl_mode"
    )


def lacks_setting(exc: BaseException, name: str) -> bool:
    """Whether the server refused the connection because it does not know this setting."""
    return (
        isinstance(exc, asyncpg.UndefinedObjectError)
        and bool(exc.args)
        and name in str(exc.args[0])
    )
