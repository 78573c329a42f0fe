"""The table of MySQL's error numbers, without a server."""

import ssl

import pytest

from aurora_sql import errors
from aurora_sql.drivers import _mysql_errors as table
from aurora_sql.drivers import _mysql_protocol as p

WHERE = "db:3306"
LOST = [
    2002, 2003, 2006, 2013, 2026, 2055, 1053, 1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160,
    1161, 1927, 3032, 3169,
]  # fmt: skip


def answer(code, state="HY000", message="said the server", **options):
    return table.from_server(p.Err(code, state, message), where=WHERE, **options)


@pytest.mark.parametrize("code", LOST)
def test_codes_that_mean_a_lost_connection(code):
    error = answer(code)
    assert type(error) is errors.ConnectionLost
    assert (error.retry_safe, error.outcome_unknown) == (False, True)
    error = answer(code, sent=False)
    assert (error.retry_safe, error.outcome_unknown) == (True, False)
    assert WHERE in str(error)


def test_a_code_that_leaves_the_outcome_open():
    for sent in (True, False):
        error = answer(1180, sent=sent)
        assert type(error) is errors.ConnectionLost
        assert (error.retry_safe, error.outcome_unknown) == (False, True)


READ_ONLY = "The MySQL server is running with the --read-only option"


@pytest.mark.parametrize(
    ("code", "state", "message", "kind", "retry_safe"),
    [
        (1044, "42000", "Access denied to database", errors.ProgrammingError, False),
        (1040, "08004", "Too many connections", errors.TooManyConnections, True),
        (1203, "42000", "more than max_user_connections", errors.TooManyConnections, True),
        (1290, "HY000", READ_ONLY, errors.ReadOnlyInstance, True),
        (1836, "HY000", "Running in read-only mode", errors.ReadOnlyInstance, True),
        (1792, "25006", "in a READ ONLY transaction", errors.ReadOnlyInstance, True),
        (1213, "40001", "Deadlock found", errors.Deadlock, True),
        (1412, "HY000", "Table definition has changed", errors.SerializationConflict, True),
        (1020, "HY000", "Record has changed", errors.SerializationConflict, True),
        (1205, "HY000", "Lock wait timeout exceeded", errors.LockTimeout, True),
        (3572, "HY000", "NOWAIT is set", errors.LockTimeout, True),
        (1615, "HY000", "needs to be re-prepared", errors.StatementStale, True),
        (1243, "HY000", "Unknown prepared statement handler", errors.StatementStale, True),
        (1317, "70100", "interrupted", errors.QueryCancelled, True),
        (3024, "HY000", "maximum execution time", errors.DeadlineExceeded, True),
        (1969, "70100", "max_statement_time", errors.DeadlineExceeded, True),
        (1048, "23000", "Column 'a' cannot be null", errors.NotNullViolation, False),
        (1054, "42S22", "Unknown column", errors.ProgrammingError, False),
        (1062, "23000", "Duplicate entry", errors.UniqueViolation, False),
        (1064, "42000", "syntax", errors.ProgrammingError, False),
        (1142, "42000", "command denied", errors.ProgrammingError, False),
        (1146, "42S02", "Table doesn't exist", errors.ProgrammingError, False),
        (1264, "22003", "Out of range value", errors.DataError, False),
        (1292, "22007", "Incorrect datetime value", errors.DataError, False),
        (1366, "HY000", "Incorrect string value", errors.DataError, False),
        (1406, "22001", "Data too long", errors.DataError, False),
        (1451, "23000", "Cannot delete", errors.ForeignKeyViolation, False),
        (1452, "23000", "Cannot add", errors.ForeignKeyViolation, False),
        (3819, "HY000", "Check constraint", errors.CheckViolation, False),
        (3101, "40000", "Plugin instructed to roll back", errors.ConflictError, True),
        (1290, "HY000", "--secure-file-priv", errors.ProgrammingError, False),
        (1114, "HY000", "The table is full", errors.DatabaseError, False),
        (1644, "45000", "SIGNAL", errors.DatabaseError, False),
    ],
)
def test_the_class_of_each_code(code, state, message, kind, retry_safe):
    error = answer(code, state, message)
    assert type(error) is kind
    assert (error.retry_safe, error.outcome_unknown) == (retry_safe, False)
    if isinstance(error, errors.DatabaseError):
        assert error.code == str(code)


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (1044, errors.ConfigurationError, "database"),
        (1049, errors.ConfigurationError, "database"),
        (1045, errors.AuthenticationFailed, "username and password"),
        (1698, errors.AuthenticationFailed, "username and password"),
        (1251, errors.AuthenticationFailed, "caching_sha2_password"),
        (2059, errors.AuthenticationFailed, "caching_sha2_password"),
        (1040, errors.TooManyConnections, "max_pool_size"),
        (1203, errors.TooManyConnections, "max_pool_size"),
        (1226, errors.ConnectionFailed, "said the server"),
        (3159, errors.TlsError, "ssl_mode"),
        (1193, errors.ConfigurationError, "refuses a setting"),
        (1231, errors.ConfigurationError, "refuses a setting"),
        (2013, errors.ConnectionFailed, "during login"),
        (3032, errors.ConnectionFailed, "said the server"),
    ],
)
def test_refusals_of_a_session(code, kind, says):
    error = table.refused(code, "said the server", where=WHERE, user="app", database="shop")
    assert type(error) is kind
    assert says in str(error)
    assert WHERE in str(error)
    assert error.retry_safe


@pytest.mark.parametrize(
    ("exc", "tls", "kind", "says"),
    [
        (TimeoutError(), False, errors.ConnectionFailed, "within 3 s"),
        (ssl.SSLError(1, "wrong version number"), True, errors.TlsError, "TLS failed"),
        (ConnectionResetError(104, "reset"), True, errors.ConnectionFailed, "running"),
        (ConnectionError("closed"), True, errors.ConnectionFailed, "during TLS"),
        (ConnectionRefusedError(111, "refused"), False, errors.ConnectionFailed, "running"),
        (ValueError("odd"), False, errors.ConnectionFailed, "odd"),
    ],
)
def test_failures_to_connect(exc, tls, kind, says):
    error = table.on_connect(exc, where=WHERE, timeout=3.0, tls=tls)
    assert type(error) is kind
    assert says in str(error)
    assert WHERE in str(error)
    assert error.retry_safe


def test_an_error_of_the_library_comes_back():
    error = errors.TlsError("none")
    assert table.on_connect(error, where=WHERE, timeout=3.0, tls=True) is error
