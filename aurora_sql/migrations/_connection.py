"""yoyo's back end on the writer: how it connects, its lock, and its errors in our tree."""

from __future__ import annotations

import contextlib
import ssl
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import errors as pg_errors
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI

from aurora_sql import errors, taxonomy
from aurora_sql.settings import SslMode
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aurora_sql.settings import AuroraSettings

MIGRATION_TABLE: Final = "_yoyo_migration"
_LOCK_TABLE: Final = "yoyo_lock"
_ADVISORY_KEY: Final = 0x6175726F7261  # "aurora"
_POLL: Final = 0.1


class Backend(PostgresqlPsycopgBackend):  # type: ignore[misc] # yoyo has no types
    """yoyo's back end for psycopg 3, connected from settings.

    The URI that yoyo keeps (and pickles as the key of a process-wide cache) has the host and the
    database only: the password goes to the driver and nowhere else.
    """

    def __init__(self, settings: AuroraSettings, lock_timeout: float, *, read_only: bool) -> None:
        host, port = settings.writer_address()
        self._settings = settings
        self._lock_timeout = lock_timeout
        self._read_only = read_only
        uri = DatabaseURI("postgresql+psycopg", None, None, host, port, settings.database, {})
        super().__init__(uri, MIGRATION_TABLE)
        # Known of PostgreSQL; yoyo would find out by making and dropping a table.
        self.has_transactional_ddl = True

    def connect(self, dburi: object) -> psycopg.Connection[Any]:  # noqa: ARG002 - yoyo's signature
        """Connect to the writer."""
        return connect(self._settings, self._lock_timeout, read_only=self._read_only)

    def copy(self) -> Backend:
        """Return a back end with a connection of its own."""
        return Backend(self._settings, self._lock_timeout, read_only=self._read_only)

    @contextlib.contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:  # noqa: ARG002 - yoyo's signature
        """Nothing: the lock is already held, by :func:`locked`, on another connection."""
        yield


def connect(
    settings: AuroraSettings, lock_timeout: float, *, read_only: bool
) -> psycopg.Connection[Any]:
    """Open an autocommit connection to the writer.

    Raises:
        ConnectionFailed: Or the subclass that says why.
    """
    host, port = settings.writer_address()
    mode, root = _tls(settings, host)
    try:
        connection: psycopg.Connection[Any] = psycopg.connect(
            host=host,
            port=port,
            dbname=settings.database,
            user=settings.username,
            password=None if settings.password is None else settings.password.get_secret_value(),
            application_name=settings.application_name,
            # libpq counts whole seconds, and takes 1 for 2.
            connect_timeout=max(2, round(settings.connection_timeout)),
            # The async drivers know nothing of GSS; what TLS was asked for must be what is used.
            gssencmode="disable",
            autocommit=True,
            # Nothing here runs often, and DDL makes prepared plans stale.
            prepare_threshold=None,
            sslmode=mode,
            sslrootcert=root,
        )
    except psycopg.Error as exc:
        raise _connect_error(exc, f"{host}:{port}") from exc
    # A migration may take its time, whatever limit the role has for queries; waiting for a lock
    # is another matter, since everybody else queues up behind it.
    connection.execute(
        f"SET statement_timeout = 0; SET lock_timeout = {round(lock_timeout * 1000)}; "
        "SET idle_in_transaction_session_timeout = 0; SET client_min_messages = warning; "
        f"SET default_transaction_read_only = {'on' if read_only else 'off'}"
    )
    return connection


def _tls(settings: AuroraSettings, host: str) -> tuple[str, str | None]:
    """Return libpq's ``sslmode`` and ``sslrootcert``."""
    mode = settings.ssl_mode_for(host)
    root = settings.ssl_root_cert
    # Checks the file now, with the error that names the setting.
    settings.tls_plan(host)
    if mode in {SslMode.DISABLE, SslMode.ALLOW, SslMode.PREFER}:
        return mode.value, None
    if mode is SslMode.REQUIRE:
        return ("require", None) if root is None else ("verify-ca", root)
    if root is None or root == "system":
        # The binary wheel of psycopg has an OpenSSL of its own, with folders of its own: name
        # the file that Python's uses.
        root = ssl.get_default_verify_paths().cafile or "system"
    return mode.value, root


def _connect_error(exc: psycopg.Error, where: str) -> errors.ConnectionFailed:
    text = str(exc).strip()
    low = text.lower()
    kind = errors.ConnectionFailed
    if "authentication failed" in low or "pg_hba.conf" in low or "no password supplied" in low:
        kind = errors.AuthenticationFailed
    elif "certificate" in low or "ssl" in low:
        kind = errors.TlsError
    elif "too many clients" in low or "connection slots" in low or "too many connections" in low:
        kind = errors.TooManyConnections
    return kind(f"No connection to the writer {where}: {text}")


def translate(exc: psycopg.Error, what: str, *, detailed: bool) -> errors.AuroraError:
    """The error of our tree for one of psycopg, its message after ``what``."""
    code = exc.sqlstate or ""
    diag = exc.diag
    make = taxonomy.LOST.error
    if code:
        make = taxonomy.classify(Engine.POSTGRESQL, code, diag.severity_nonlocalized).error
    if make is errors.ConnectionLost:
        return make(f"{what}: {diag.message_primary or exc}", outcome_unknown=True)
    if not issubclass(make, errors.DatabaseError):
        return make(f"{what}: {diag.message_primary or exc}")
    text = f"{what}: {diag.message_primary or exc}"
    if detailed:
        text += "".join(f"\n{part}" for part in (diag.message_detail, diag.message_hint) if part)
    return make(
        text,
        code=code,
        detail=diag.message_detail,
        hint=diag.message_hint,
        constraint=diag.constraint_name,
        table=diag.table_name,
        column_name=diag.column_name,
        position=int(diag.statement_position) if diag.statement_position else None,
    )


def require_writer(connection: psycopg.Connection[Any], settings: AuroraSettings) -> None:
    """Refuse an instance that only reads.

    Raises:
        ReadOnlyInstance: It is in recovery.
    """
    row = connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()
    if row is not None and row[0]:
        host, port = settings.writer_address()
        raise errors.ReadOnlyInstance(
            f"{host}:{port} only reads: migrations run on the writer, check the write endpoint"
        )


def wait_for_advisory_lock(connection: psycopg.Connection[Any], seconds: float) -> None:
    """Take the lock that lives as long as the session does.

    It is tried for again and again rather than waited on: a session that waits inside a
    statement holds a snapshot, for which a CREATE INDEX CONCURRENTLY of the run that has the
    lock would wait in turn, and the server cannot see that deadlock.

    Raises:
        LockTimeout: Another session holds it for longer.
    """
    until = time.monotonic() + seconds
    while True:
        row = connection.execute(
            f"SELECT pg_catalog.pg_try_advisory_lock({_ADVISORY_KEY})"
        ).fetchone()
        if row is not None and row[0]:
            return
        if time.monotonic() >= until:
            raise errors.LockTimeout(
                "Another migration run holds the lock: wait for it to end, then try again",
                code="55P03",
            )
        time.sleep(_POLL)


@contextlib.contextmanager
def locked(settings: AuroraSettings, lock_timeout: float) -> Iterator[Callable[[], None]]:
    """Hold the locks, so that one migration run works at a time.

    Two locks: an advisory one, which goes when this session goes, and yoyo's row, which keeps
    plain yoyo away. A run that is killed leaves the row behind; since its number is negative,
    the next run, which has the advisory lock, knows that its owner is dead.

    Yields:
        A check that the lock is still held; it raises ConnectionLost if it is not.

    Raises:
        LockTimeout: Another run holds one for longer than ``lock_timeout`` seconds.
        ReadOnlyInstance: This is no writer.
    """
    detailed = settings.shows_server_detail
    with connect(settings, lock_timeout, read_only=False) as connection:

        def check() -> None:
            try:
                connection.execute("SELECT 1")
            except psycopg.Error as exc:
                what = "The lock of the migrations was lost with its connection; nothing more runs"
                raise translate(exc, what, detailed=detailed) from exc

        try:
            require_writer(connection, settings)
            wait_for_advisory_lock(connection, lock_timeout)
            _make_lock_table(connection)
            _take_row(connection, lock_timeout)
        except psycopg.Error as exc:
            raise translate(exc, "The lock of the migrations", detailed=detailed) from exc
        try:
            yield check
        finally:
            # Where the connection is gone, the next run removes the row.
            with contextlib.suppress(psycopg.Error):
                connection.execute(f"DELETE FROM {_LOCK_TABLE} WHERE pid = -pg_backend_pid()")


def _make_lock_table(connection: psycopg.Connection[Any]) -> None:
    # Plain yoyo may make it at the same moment; the loser of that race finds it there.
    with contextlib.suppress(pg_errors.UniqueViolation, pg_errors.DuplicateTable):
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {_LOCK_TABLE} "
            "(locked INT DEFAULT 1, ctime TIMESTAMP, pid INT NOT NULL, PRIMARY KEY (locked))"
        )


def _take_row(connection: psycopg.Connection[Any], lock_timeout: float) -> None:
    until = time.monotonic() + lock_timeout
    connection.execute(f"DELETE FROM {_LOCK_TABLE} WHERE pid < 0")
    while True:
        taken = connection.execute(
            f"INSERT INTO {_LOCK_TABLE} (locked, ctime, pid) VALUES "
            "(1, timezone('utc', clock_timestamp()), -pg_backend_pid()) ON CONFLICT DO NOTHING"
        )
        if taken.rowcount:
            return
        if time.monotonic() >= until:
            row = connection.execute(f"SELECT pid, ctime FROM {_LOCK_TABLE}").fetchone()
            pid, since = row or ("?", "?")
            raise errors.LockTimeout(
                f"Process {pid} has locked the migrations since {since} UTC, by yoyo: wait for it "
                f"to end; if it is gone, DELETE FROM {_LOCK_TABLE} and try again",
                code="55P03",
            )
        time.sleep(_POLL)
