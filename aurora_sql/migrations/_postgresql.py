"""Migrations on PostgreSQL: psycopg, DDL in transactions, an advisory lock."""

from __future__ import annotations

import contextlib
import ssl
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import errors as pg_errors
from yoyo import internalmigrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI

from aurora_sql import errors, taxonomy
from aurora_sql.settings import SslMode
from aurora_sql.types import Engine

from ._server import CREATED_TABLE, MIGRATION_TABLE, Backend, Server, Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aurora_sql.settings import AuroraSettings

    from ._files import MigrationFile
    from ._server import Watch
    from ._types import Unfinished

_ADVISORY_KEY: Final = 0x6175726F7261  # "aurora"


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc] # yoyo has no types
    """yoyo's back end for psycopg 3, connected from settings.

    The URI that yoyo keeps (and pickles as the key of a process-wide cache) has the host and the
    database only: the password goes to the driver and nowhere else.
    """

    def __init__(self, server: PostgresqlServer, *, read_only: bool) -> None:
        host, port = server.settings.writer_address()
        self._server = server
        self._read_only = read_only
        database = server.settings.database
        uri = DatabaseURI("postgresql+psycopg", None, None, host, port, database, {})
        super().__init__(uri, MIGRATION_TABLE)
        # Known of PostgreSQL; yoyo would find out by making and dropping a table.
        self.has_transactional_ddl = True

    def connect(self, dburi: object) -> psycopg.Connection[Any]:  # noqa: ARG002 - yoyo's signature
        """Connect to the writer."""
        return self._server.connect(read_only=self._read_only)

    def copy(self) -> _Backend:
        """Return a back end with a connection of its own."""
        return _Backend(self._server, read_only=self._read_only)

    @contextlib.contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:  # noqa: ARG002 - yoyo's signature
        """Nothing: the lock is already held, by ``Server.locked``, on another connection."""
        yield


class PostgresqlServer(Server):
    """The writer of a PostgreSQL cluster."""

    engine = Engine.POSTGRESQL
    driver_error = psycopg.Error
    ddl_in_transactions = True
    _own_session = "pg_backend_pid()"
    _utc_now = "timezone('utc', clock_timestamp())"
    _insert_or_not = ("INSERT", "ON CONFLICT DO NOTHING")
    _lock_code = "55P03"

    def backend(self, *, read_only: bool = False) -> Backend:
        """Yoyo's back end; see :class:`Server`."""
        return _Backend(self, read_only=read_only)

    def connect(self, *, read_only: bool = False) -> psycopg.Connection[Any]:
        """Open an autocommit connection; see :class:`Server`."""
        settings = self.settings
        host, port = settings.writer_address()
        mode, root = _tls(settings, host)
        password = settings.password
        try:
            connection: psycopg.Connection[Any] = psycopg.connect(
                host=host,
                port=port,
                dbname=settings.database,
                user=settings.username,
                password=None if password is None else password.get_secret_value(),
                application_name=settings.application_name,
                # libpq counts whole seconds, and takes 1 for 2.
                connect_timeout=max(2, round(settings.connection_timeout)),
                # The async drivers know nothing of GSS; what TLS was asked for must be what is
                # used.
                gssencmode="disable",
                autocommit=True,
                # Nothing here runs often, and DDL makes prepared plans stale.
                prepare_threshold=None,
                sslmode=mode,
                sslrootcert=root,
            )
        except psycopg.Error as exc:
            raise _connect_error(exc, f"{host}:{port}") from exc
        # A migration may take its time, whatever limit the role has for queries; waiting for a
        # lock is another matter, since everybody else queues up behind it.
        connection.execute(
            f"SET statement_timeout = 0; SET lock_timeout = {round(self.lock_timeout * 1000)}; "
            "SET idle_in_transaction_session_timeout = 0; SET client_min_messages = warning; "
            f"SET default_transaction_read_only = {'on' if read_only else 'off'}"
        )
        return connection

    def query(self, connection: Any, sql: str, *values: object) -> Sequence[tuple[Any, ...]]:
        """Run one statement for its rows."""
        cursor = connection.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []

    def change(self, connection: Any, sql: str, *values: object) -> int:
        """Run one statement for how many rows it changes."""
        return int(connection.execute(sql, values or None).rowcount)

    def cancel(self, connection: Any) -> None:
        """Cancel what runs on the connection."""
        connection.cancel_safe(timeout=5.0)

    def translate(self, exc: Exception, what: str) -> errors.AuroraError:
        """The error of our tree."""
        assert isinstance(exc, psycopg.Error)  # noqa: S101 - driver_error says so
        return _translate(exc, what, detailed=self.settings.shows_server_detail)

    def line_in(self, statement: str, exc: Exception) -> int:
        """Where in the statement the error is."""
        position = exc.diag.statement_position if isinstance(exc, psycopg.Error) else None
        return statement.count("\n", 0, int(position) - 1) if position else 0

    def only_reads(self, connection: Any) -> bool:
        """Whether it is in recovery."""
        return bool(self.query(connection, "SELECT pg_catalog.pg_is_in_recovery()")[0][0])

    def has_table(self, connection: Any, name: str) -> bool:
        """Whether the search path leads to such a table."""
        return bool(self.query(connection, "SELECT to_regclass(%s) IS NOT NULL", name)[0][0])

    def is_empty(self, connection: Any) -> bool:
        """Whether only the system and extensions have made something."""
        rows = self.query(
            connection,
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c "
            "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') "
            "AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' "
            "AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d "
            "WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid "
            "AND d.deptype = 'e'))",
        )
        return not rows[0][0]

    def try_lock(self, connection: Any) -> bool:
        """Take the advisory lock, if it is free."""
        return bool(
            self.query(connection, f"SELECT pg_catalog.pg_try_advisory_lock({_ADVISORY_KEY})")[0][0]
        )

    def holder(self, connection: Any) -> str:  # noqa: ARG002 - the contract's signature
        """Who has it."""
        return "Another migration run"

    def still_locked(self, connection: Any) -> bool:
        """Whether the session is there: its lock goes only with it."""
        self.query(connection, "SELECT 1")
        return True

    def prepare_books(self, backend: Backend) -> None:
        """Let yoyo make its tables, all at once or not at all."""
        if internalmigrations.needs_upgrading(backend):
            internalmigrations.upgrade(backend)

    def before_note(self, backend: Backend) -> None:
        """A dump sets an empty search_path; the books are where they were."""
        self.change(backend.connection, "RESET ROLE")
        self.change(backend.connection, "RESET search_path")

    def run(self, main: Backend, work: Work) -> None:
        """Run and note: in one transaction, unless the file forbids it."""
        what = f"Migration {work.file.id}"
        # A connection of its own, as yoyo has it: what a migration sets ends with it.
        with main.copy() as backend:
            if work.file.transactional:
                with self.translated(what), backend.transaction():
                    self._statements(backend, work)
                    self.note(backend, work)
            else:
                self._statements(backend, work)
                with self.translated(what), backend.transaction():
                    self.note(backend, work)

    def create_all(
        self, backend: Backend, files: Sequence[MigrationFile], watch: Watch, digest: str
    ) -> None:
        """Run all, in one transaction where none of them forbids it."""
        connection = backend.connection
        # A test database need not survive a crash of the machine.
        self.change(connection, "SET synchronous_commit = off")
        one_transaction = all(one.transactional for one in files)
        with backend.transaction() if one_transaction else nullcontext():
            for one in files:
                with backend.transaction() if one.transactional else nullcontext():
                    self._statements(backend, Work(one, one.sql, "apply", watch))
            self.before_note(backend)
            self.change(
                connection,
                f"CREATE TABLE {CREATED_TABLE} (digest text NOT NULL, created_at timestamptz "
                f"NOT NULL DEFAULT now()); INSERT INTO {CREATED_TABLE} VALUES ('{digest}')",
            )

    def unfinished(self, connection: Any) -> Mapping[str, str]:  # noqa: ARG002 - the contract's
        """None: what fails is rolled back, or forbids that itself and is not kept book of."""
        return {}

    def refuse_unfinished(
        self,
        connection: Any,
        files: Mapping[str, MigrationFile],
        direction: str,
        choice: Unfinished | None,
    ) -> None:
        """Nothing: there is none."""

    def _make_lock_table(self, connection: Any) -> None:
        # Plain yoyo may make it at the same moment; the loser of that race finds it there.
        with contextlib.suppress(pg_errors.UniqueViolation, pg_errors.DuplicateTable):
            super()._make_lock_table(connection)

    def _statements(self, backend: Backend, work: Work) -> None:
        if work.sql is None:
            self.run_python(backend, work)
            return
        with work.watch(backend.connection):
            for number, (statement, line) in enumerate(work.sql.statements):
                try:
                    backend.connection.execute(statement.encode())
                except psycopg.Error as exc:
                    at = line + self.line_in(statement, exc)
                    state = (
                        "nothing of it was applied"
                        if work.file.transactional
                        else f"the {number} statements before it were applied and stay"
                    )
                    what = f"Migration {work.file.id} failed at {work.sql.path}:{at} ({state})"
                    raise self.translate(exc, what) from exc


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


def _translate(exc: psycopg.Error, what: str, *, detailed: bool) -> errors.AuroraError:
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
