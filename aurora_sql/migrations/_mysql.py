"""Migrations on MySQL and MariaDB: PyMySQL, GET_LOCK, and a book of what is half done.

DDL commits at once there, so a migration of several statements can stop half way. A migration of
nothing but reads and writes of rows is one transaction with the note that it was applied. Any
other is run statement by statement, and a table keeps book of how many were applied, until all
were and the migration is noted: the next run sees what the one before it left.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import ssl
from typing import TYPE_CHECKING, Any, Final

import pymysql
from pymysql.constants import CLIENT, CR
from yoyo import internalmigrations
from yoyo.backends.core.mysql import MySQLBackend
from yoyo.connections import DatabaseURI

from aurora_sql import errors, taxonomy
from aurora_sql.types import Engine

from ._mysql_book import NO_WAY_BACK, UNFINISHED_TABLE, Book, advice
from ._mysql_text import BOOKS, rows_only
from ._server import CREATED_TABLE, MIGRATION_TABLE, Backend, Server, Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aurora_sql.settings import AuroraSettings, TlsPlan

    from ._files import MigrationFile, SqlFile
    from ._server import Watch
    from ._types import Unfinished


_AT_LINE: Final = re.compile(r"at line (\d+)\Z")
_VALUES: Final = re.compile(r"(entry|value:?) '.*'(?= for )", re.DOTALL | re.IGNORECASE)
_CLEAR_PASSWORD: Final = frozenset({b"mysql_clear_password", b"dialog"})
_BAD_TLS: Final = ("ssl", "certificate", "tls")


class _Connection(pymysql.connections.Connection):  # type: ignore[misc] # no types
    """PyMySQL's connection, which asks for TLS before it tells the password, or not at all.

    PyMySQL goes on in plain text where the server has no TLS (before 1.2 also where it was
    demanded), and gives any server that asks the password as it is.
    """

    def __init__(self, plan: TlsPlan, timeout: float, **options: Any) -> None:
        self._plan = plan
        # MySQL's servers do not say no to a login before it is made, so that `allow` is `prefer`.
        context = plan.context
        super().__init__(defer_connect=True, ssl=context, ssl_disabled=context is None, **options)
        # PyMySQL limits the TCP connect only: a server that accepts and says nothing would be
        # waited for without end.
        self._read_timeout = self._write_timeout = timeout
        self.connect()
        # A migration may take its time.
        self._read_timeout = self._write_timeout = None  # type: ignore[assignment]

    def _request_authentication(self) -> None:
        if self._plan.context and not self.server_capabilities & CLIENT.SSL:
            if not self._plan.optional:
                raise pymysql.err.OperationalError(
                    CR.CR_SSL_CONNECTION_ERROR, "the server has no TLS, which ssl_mode demands"
                )
            self.ssl = False
            self.client_flag &= ~CLIENT.SSL
        super()._request_authentication()

    def _process_auth(self, plugin_name: bytes, auth_packet: Any, handler: Any = None) -> Any:
        verified = self._plan.context is not None and (
            self._plan.context.verify_mode is ssl.CERT_REQUIRED
        )
        if plugin_name in _CLEAR_PASSWORD and not (self._secure and verified):
            raise pymysql.err.OperationalError(
                CR.CR_AUTH_PLUGIN_ERR,
                "the server asks for the password in clear text, which is told only over TLS whose "
                "certificate was verified: set ssl_mode to verify-full",
            )
        return super()._process_auth(plugin_name, auth_packet, handler)


class _Backend(MySQLBackend):  # type: ignore[misc] # yoyo has no types
    """yoyo's back end for PyMySQL, connected from settings; the URI has no user or password."""

    def __init__(self, server: MysqlServer, *, read_only: bool) -> None:
        host, port = server.settings.writer_address()
        self._server = server
        self._read_only = read_only
        super().__init__(
            DatabaseURI("mysql", None, None, host, port, server.settings.database, {}),
            MIGRATION_TABLE,
        )
        self.has_transactional_ddl = False

    def connect(self, dburi: object) -> _Connection:  # noqa: ARG002 - yoyo's signature
        """Connect to the writer."""
        return self._server.connect(read_only=self._read_only)

    def copy(self) -> _Backend:
        """Return a back end with a connection of its own."""
        return _Backend(self._server, read_only=self._read_only)

    @contextlib.contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:  # noqa: ARG002 - yoyo's signature
        """Nothing: the lock is already held, by ``Server.locked``, on another connection."""
        yield


class MysqlServer(Server):
    """The writer of a MySQL cluster, or of MariaDB."""

    engine = Engine.MYSQL
    driver_error = pymysql.err.Error
    ddl_in_transactions = False
    _own_session = "connection_id()"
    _utc_now = "utc_timestamp()"
    _insert_or_not = ("INSERT IGNORE", "")
    _lock_code = "1205"

    def __init__(self, settings: AuroraSettings, lock_timeout: float) -> None:
        super().__init__(settings, lock_timeout)
        # Names of locks are the whole server's, and at most 64 characters long.
        database = hashlib.sha256(settings.database.encode()).hexdigest()[:40]
        self._lock = f"aurora_sql.{database}"

    def backend(self, *, read_only: bool = False) -> Backend:
        """Yoyo's back end; see :class:`Server`."""
        return _Backend(self, read_only=read_only)

    def connect(self, *, read_only: bool = False) -> _Connection:
        """Open an autocommit connection; see :class:`Server`."""
        settings = self.settings
        host, port = settings.writer_address()
        where: dict[str, Any] = {"host": host, "port": port}
        if host.startswith("/"):
            where = {"unix_socket": host}
        password = settings.password
        plan = settings.tls_plan(host)
        try:
            connection = _Connection(
                plan,
                settings.connection_timeout,
                user=settings.username,
                password="" if password is None else password.get_secret_value(),
                database=settings.database,
                charset="utf8mb4",
                connect_timeout=max(1, math.ceil(settings.connection_timeout)),
                autocommit=True,
                local_infile=False,
                **where,
            )
        except (pymysql.err.Error, OSError) as exc:
            raise _connect_error(exc, f"{host}:{port}") from exc
        try:
            with self.translated("Migrations"):
                self._begin_session(connection, read_only=read_only)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_session(self, connection: _Connection, *, read_only: bool) -> None:
        # A migration may take its time, whatever limit the server has for queries; waiting for a
        # lock is another matter, since everybody else queues up behind it.
        seconds = max(1, math.ceil(self.lock_timeout))
        mariadb = "mariadb" in connection.get_server_info().lower()
        unlimited = "max_statement_time" if mariadb else "max_execution_time"
        self.change(
            connection,
            f"SET SESSION {unlimited} = 0, lock_wait_timeout = {seconds}, "
            f"innodb_lock_wait_timeout = {seconds}, time_zone = '+00:00', sql_mode = "
            "concat_ws(',', nullif(@@SESSION.sql_mode, ''), 'STRICT_TRANS_TABLES')",
        )
        if read_only:
            self.change(connection, "SET SESSION TRANSACTION READ ONLY")

    def query(self, connection: Any, sql: str, *values: object) -> Sequence[tuple[Any, ...]]:
        """Run one statement for its rows."""
        with connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return tuple(cursor.fetchall())

    def change(self, connection: Any, sql: str, *values: object) -> int:
        """Run one statement for how many rows it changes."""
        with connection.cursor() as cursor:
            return int(cursor.execute(sql, values or None))

    def cancel(self, connection: Any) -> None:
        """Cancel what runs on the connection, from another one."""
        failures = contextlib.suppress(errors.AuroraError, self.driver_error)
        with failures, contextlib.closing(self.connect()) as other:
            self.change(other, f"KILL QUERY {connection.thread_id()}")

    def translate(self, exc: Exception, what: str) -> errors.AuroraError:
        """The error of our tree; values in the server's message only where they may be shown."""
        code, message = _parts(exc)
        shown = message if self.settings.shows_server_detail else _VALUES.sub(r"\1", message)
        text = f"{what}: {shown}"
        if code == 0 or code in {CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST}:
            return errors.ConnectionLost(text, outcome_unknown=True)
        make = taxonomy.classify(Engine.MYSQL, str(code)).error
        if make is errors.ConnectionLost:
            return make(text, outcome_unknown=True)
        if not issubclass(make, errors.DatabaseError):
            return make(text)
        return make(text, code=str(code), detail=message)

    def line_in(self, statement: str, exc: Exception) -> int:
        """Where in the statement the error is; the server tells only of wrong syntax."""
        found = _AT_LINE.search(_parts(exc)[1])
        return min(int(found[1]) - 1, statement.count("\n")) if found else 0

    def only_reads(self, connection: Any) -> bool:
        """Whether it is a reader of Aurora's, or any other replica."""
        # As text, for later versions of MariaDB have names in place of 0 and 1.
        rows = self.query(
            connection,
            "SELECT CAST(@@GLOBAL.innodb_read_only AS CHAR), CAST(@@GLOBAL.read_only AS CHAR)",
        )
        return any(one not in {"0", "OFF"} for one in rows[0])

    def has_table(self, connection: Any, name: str) -> bool:
        """Whether the database has such a table."""
        return bool(
            self.query(
                connection,
                "SELECT 1 FROM information_schema.tables "
                "WHERE table_schema = database() AND table_name = %s",
                name,
            )
        )

    def is_empty(self, connection: Any) -> bool:
        """Whether the database has no table, view or routine."""
        return not self.query(
            connection,
            "SELECT 1 FROM information_schema.tables WHERE table_schema = database() "
            "UNION ALL SELECT 1 FROM information_schema.routines "
            "WHERE routine_schema = database() LIMIT 1",
        )

    def try_lock(self, connection: Any) -> bool:
        """Take the lock of this database's name, if it is free."""
        return bool(self.query(connection, "SELECT get_lock(%s, 0)", self._lock)[0][0])

    def holder(self, connection: Any) -> str:
        """The session that has it: number, and user and host where we may see them."""
        rows = self.query(
            connection,
            "SELECT p.id, p.user, p.host FROM information_schema.processlist AS p "
            "WHERE p.id = is_used_lock(%s)",
            self._lock,
        )
        if rows:
            number, user, host = rows[0]
            return f"Another migration run (session {number}: {user} from {host})"
        number = self.query(connection, "SELECT is_used_lock(%s)", self._lock)[0][0]
        return f"Another migration run (session {number or 'gone by now'})"

    def still_locked(self, connection: Any) -> bool:
        """Whether the lock is this session's."""
        rows = self.query(connection, "SELECT is_used_lock(%s) = connection_id()", self._lock)
        return bool(rows[0][0])

    def prepare_books(self, backend: Backend) -> None:
        """Make yoyo's tables, each if it is missing: a run may have been killed between two.

        yoyo itself would stumble over the half of them.
        """
        connection = backend.connection
        old = self.query(
            connection,
            "SELECT 1 FROM information_schema.columns WHERE table_schema = database() "
            "AND table_name = %s AND column_name = 'ctime'",
            MIGRATION_TABLE,
        )
        if old and internalmigrations.needs_upgrading(backend):
            internalmigrations.upgrade(backend)
        for sql in BOOKS:
            self.change(connection, sql)
        self.change(
            connection,
            f"CREATE TABLE IF NOT EXISTS {UNFINISHED_TABLE} ("
            "migration_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL "
            "PRIMARY KEY, direction VARCHAR(10) NOT NULL, statements INT, applied INT NOT NULL, "
            "under_way BOOLEAN NOT NULL, digest CHAR(64) NOT NULL, started_at DATETIME NOT NULL"
            ") ENGINE = InnoDB",
        )

    def before_note(self, backend: Backend) -> None:
        """Nothing: what is not one transaction is noted on a connection of ours."""

    def run(self, main: Backend, work: Work) -> None:
        """Run and note: one transaction, or statement by statement with a book kept."""
        file, sql = work.file, work.sql
        # A connection of its own, as yoyo has it: what a migration sets ends with it.
        with main.copy() as backend:
            if sql is not None and rows_only(file, sql):
                with self.translated(f"Migration {file.id}"), backend.transaction():
                    self._statements(backend, work, sql, atomic=True)
                    # KILL QUERY only wakes up what waits in some functions: entering refuses to
                    # go on with a run that was stopped.
                    with work.watch(backend.connection):
                        self.note(backend, work)
            elif file.after_each:
                # Runs after each apply: whoever wrote it meant it to be run again.
                if sql is None:
                    self.run_python(backend, work)
                else:
                    self._statements(backend, work, sql)
            else:
                self._run_with_book(main, backend, work)

    def _run_with_book(self, main: Backend, backend: Backend, work: Work) -> None:
        file, sql = work.file, work.sql
        what = f"Migration {file.id}"
        with self.translated(what):
            book = Book.open(self, main.connection, work)
        if sql is None:
            try:
                self.run_python(backend, work)
            except errors.DatabaseError as exc:
                raise type(exc)(
                    f"{exc}\nIt is written in Python: what its steps did before that may have "
                    f"stayed, for {NO_WAY_BACK}. Undo it by hand, then run again with "
                    "--unfinished restart",
                    code=exc.code,
                    detail=exc.detail,
                ) from exc
        else:
            self._statements(backend, work, sql, book=book)
        with self.translated(what), main.transaction():
            self.note(main, work)
            book.close()

    def _statements(
        self,
        backend: Backend,
        work: Work,
        sql: SqlFile,
        *,
        atomic: bool = False,
        book: Book | None = None,
    ) -> None:
        done = book.applied if book is not None else 0
        with work.watch(backend.connection):
            for number, (statement, line) in enumerate(sql.statements[done:], done):
                if book is not None:
                    book.begin()
                try:
                    self.change(backend.connection, statement)
                except self.driver_error as exc:
                    at = f"{sql.path}:{line + self.line_in(statement, exc)}"
                    error = self.translate(exc, "")
                    lost = isinstance(error, errors.ConnectionLost)
                    if book is not None and not lost:
                        book.failed()
                    state = _state(number, atomic=atomic, lost=lost, book=book)
                    what = f"Migration {work.file.id} failed at {at} ({state})"
                    raise self.translate(exc, what) from exc
                if book is not None:
                    book.done(statement)
        if not atomic:
            # Rows that it wrote behind a START TRANSACTION of its own.
            backend.connection.commit()

    def create_all(
        self, backend: Backend, files: Sequence[MigrationFile], watch: Watch, digest: str
    ) -> None:
        """Run all, one statement after the other.

        The table is made first, and its row last: a database that has the one without the other
        was left half way.
        """
        connection = backend.connection
        self.change(
            connection,
            f"CREATE TABLE {CREATED_TABLE} (digest VARCHAR(64) NOT NULL PRIMARY KEY, "
            "created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP)",
        )
        for one in files:
            work = Work(one, one.sql, "apply", watch)
            with backend.copy() as own:
                if one.sql is None:
                    self.run_python(own, work)
                else:
                    self._statements(own, work, one.sql)
        self.change(connection, f"INSERT INTO {CREATED_TABLE} (digest) VALUES (%s)", digest)

    def unfinished(self, connection: Any) -> Mapping[str, str]:
        """What the book says."""
        if not self.has_table(connection, UNFINISHED_TABLE):
            return {}
        return dict(
            self.query(connection, f"SELECT migration_id, direction FROM {UNFINISHED_TABLE}")
        )

    def refuse_unfinished(
        self,
        connection: Any,
        files: Mapping[str, MigrationFile],
        direction: str,
        choice: Unfinished | None,
    ) -> None:
        """Say what was applied, and what to do."""
        for name, was in self.unfinished(connection).items():
            if was == direction and choice is not None and name in files:
                continue
            book = Book.read(self, connection, name)
            sql = None
            if name in files:
                sql = files[name].sql if was == "apply" else files[name].rollback_sql()
            raise errors.ConfigurationError(advice(book, sql))


def _state(number: int, *, atomic: bool, lost: bool, book: Book | None) -> str:
    if atomic:
        return "nothing of it was applied"
    before = f"the {number} statements before it were applied and stay" if number else ""
    if lost:
        unknown = "whether it was applied is not known"
        return f"{unknown}; {before}" if before else unknown
    if not number:
        return "nothing of it was applied"
    if book is None:
        return before
    return (
        f"{before}, for {NO_WAY_BACK}: mend that statement and run again with --unfinished "
        "continue, or undo by hand what was applied and run again with --unfinished restart"
    )


def _parts(exc: Exception) -> tuple[int, str]:
    args = exc.args
    if args and isinstance(args[0], int):
        return args[0], str(args[1]) if len(args) > 1 else ""
    return 0, str(exc) or type(exc).__name__


def _connect_error(exc: Exception, where: str) -> errors.AuroraError:
    code, message = _parts(exc)
    text = f"No connection to the writer {where}: {message}"
    original = getattr(exc, "original_exception", None) or exc
    if code == CR.CR_SSL_CONNECTION_ERROR or isinstance(original, ssl.SSLError):
        return errors.TlsError(text)
    if code in {CR.CR_CONN_HOST_ERROR, CR.CR_SERVER_LOST} and any(
        word in message.lower() for word in _BAD_TLS
    ):
        return errors.TlsError(text)
    if code == CR.CR_AUTH_PLUGIN_ERR:
        return errors.AuthenticationFailed(text)
    return taxonomy.connect_error(Engine.MYSQL, str(code))(text)
