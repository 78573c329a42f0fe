"""The table of SQLSTATEs, without a server."""

import ssl

import asyncpg
import pytest

from aurora_sql import errors
from aurora_sql.drivers import _asyncpg_errors as table

WHERE = "db:5432"


def answer(code, severity="ERROR", message="said the server", **fields):
    given = {"S": severity, "V": severity, "C": code, "M": message} | fields
    return asyncpg.PostgresError.new(given)


def translated(exc, *, sent=True):
    return table.translate(exc, where=WHERE, sent=sent)


@pytest.mark.parametrize(
    "code",
    ["57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "08000", "08003", "08006", "08P01"],
)
def test_codes_that_mean_a_lost_connection(code):
    error = translated(answer(code, "FATAL"))
    assert type(error) is errors.ConnectionLost
    assert (error.retry_safe, error.outcome_unknown) == (False, True)
    error = translated(answer(code, "FATAL"), sent=False)
    assert (error.retry_safe, error.outcome_unknown) == (True, False)
    assert WHERE in str(error)


@pytest.mark.parametrize("code", ["58030", "58P01", "F0000", "XX000", "XX001", "XX002"])
@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
def test_codes_that_mean_it_only_when_fatal(code, severity):
    assert type(translated(answer(code, severity))) is errors.ConnectionLost
    error = translated(answer(code))
    assert type(error) is errors.DatabaseError
    assert error.code == code
    assert not error.retry_safe


@pytest.mark.parametrize("code", ["40003", "08007"])
def test_codes_that_leave_the_outcome_open(code):
    error = translated(answer(code))
    assert error.outcome_unknown
    assert not error.retry_safe


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("40001", errors.SerializationConflict),
        ("40P01", errors.Deadlock),
        ("40002", errors.IntegrityError),
        ("55P03", errors.LockTimeout),
        ("25006", errors.ReadOnlyInstance),
        ("25P02", errors.TransactionAborted),
        ("26000", errors.StatementStale),
        ("42P05", errors.StatementStale),
        ("0A000", errors.ProgrammingError),
        ("22P02", errors.DataError),
        ("23000", errors.IntegrityError),
        ("42501", errors.ProgrammingError),
        ("53300", errors.TooManyConnections),
        ("53100", errors.DatabaseError),
        ("P0001", errors.DatabaseError),
        ("ZZ999", errors.DatabaseError),
    ],
)
def test_the_class_of_each_code(code, kind):
    assert type(translated(answer(code))) is kind


def test_a_stale_plan_is_told_from_other_unsupported_features():
    assert type(translated(answer("0A000", R="RevalidateCachedQuery"))) is errors.StatementStale


def test_the_facts_are_carried_over():
    error = translated(
        answer(
            "23505",
            D="Key (id)=(1)",
            H="try 2",
            n="things_pkey",
            s="shop",
            t="things",
            c="id",
            P="7",
        )
    )
    assert (error.detail, error.hint, error.constraint) == ("Key (id)=(1)", "try 2", "things_pkey")
    assert (error.table, error.column_name, error.position) == ("shop.things", "id", 7)


def test_the_schema_public_goes_without_saying():
    assert translated(answer("23505", s="public", t="things")).table == "things"


@pytest.mark.parametrize(
    "exc",
    [
        ConnectionResetError("reset"),
        EOFError(),
        ssl.SSLError("bad record"),
        OSError(110, "timed out"),
        asyncpg.ConnectionDoesNotExistError("closed"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("not connected"),
    ],
)
@pytest.mark.parametrize("sent", [True, False])
def test_local_failures_are_lost_connections(exc, sent):
    error = translated(exc, sent=sent)
    assert type(error) is errors.ConnectionLost
    assert error.outcome_unknown == sent
    assert error.retry_safe != sent


def test_the_reason_of_the_server_is_kept():
    closed = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
    closed.__cause__ = answer(
        "57P01", "FATAL", "terminating connection due to administrator command"
    )
    assert "administrator command" in str(translated(closed))


def test_an_error_of_the_library_comes_back():
    error = errors.RowNotFound("none")
    assert translated(error) is error


@pytest.mark.parametrize(
    ("exc", "tls", "kind", "says"),
    [
        (
            answer("57P03", "FATAL", "the database system is starting up"),
            False,
            errors.ConnectionFailed,
            "in a moment",
        ),
        (
            answer("53300", "FATAL", "too many clients"),
            False,
            errors.TooManyConnections,
            "max_pool_size",
        ),
        (answer("28P01", "FATAL"), False, errors.AuthenticationFailed, "username and password"),
        (answer("08004", "FATAL"), False, errors.AuthenticationFailed, "username and password"),
        (
            answer("08P01", "FATAL", "unsupported startup parameter: statement_timeout"),
            False,
            errors.ConfigurationError,
            "statement_timeout",
        ),
        (ssl.SSLError(1, "wrong version number"), True, errors.TlsError, "TLS"),
        (ConnectionError("rejected SSL upgrade"), True, errors.TlsError, "ssl_mode"),
        (ConnectionResetError(104, "reset"), True, errors.ConnectionFailed, "running"),
        (ConnectionRefusedError(111, "refused"), True, errors.ConnectionFailed, "running"),
        (TimeoutError(), False, errors.ConnectionFailed, "within 3 s"),
        (ValueError("odd"), False, errors.ConnectionFailed, "odd"),
    ],
)
def test_failures_to_connect(exc, tls, kind, says):
    error = table.on_connect(exc, where=WHERE, user="app", database="shop", tls=tls, timeout=3.0)
    assert type(error) is kind
    assert says in str(error)
    assert WHERE in str(error)
    assert error.retry_safe
