"""What migrations ask of a server, whatever its engine; one module per engine answers.

Here stands what both have in common: the two locks, yoyo's books, and the way an error becomes
one of ours.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from aurora_sql import errors
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from aurora_sql.settings import AuroraSettings

    from ._files import MigrationFile, SqlFile
    from ._types import Unfinished

    Watch = Callable[[Any], contextlib.AbstractContextManager[None]]

MIGRATION_TABLE: Final = "_yoyo_migration"
CREATED_TABLE: Final = "_aurora_sql_created"
"""Where ``ensure_created`` notes what it made."""
_LOCK_TABLE: Final = "yoyo_lock"
_POLL: Final = 0.1


class Backend(Protocol):
    """As much of yoyo's back end as is used here; yoyo has no types."""

    @property
    def connection(self) -> Any:
        """The driver's connection."""

    def copy(self) -> Any:
        """A back end with a connection of its own; closed by ``with``."""

    def transaction(self) -> Any:
        """A transaction, or a savepoint inside one."""

    def mark_one(self, migration: Any, log: bool = True) -> None:
        """Note a migration as applied."""

    def unmark_one(self, migration: Any, log: bool = True) -> None:
        """Take that note back."""

    def log_migration(self, migration: Any, operation: str) -> None:
        """Write a line of yoyo's log."""


@dataclass(frozen=True, slots=True)
class Work:
    """One migration to be run in one direction.

    Attributes:
        file: The migration.
        sql: Its statements, or those that undo it; None for Python.
        direction: ``apply`` or ``rollback``.
        watch: While inside, what runs on the connection given to it can be cancelled.
        unfinished: What to do if an earlier run stopped half way.
    """

    file: MigrationFile
    sql: SqlFile | None
    direction: str
    watch: Watch
    unfinished: Unfinished | None = None


class Server(ABC):
    """The writer, as migrations see it.

    Args:
        settings: Where it is.
        lock_timeout: Seconds to wait for another run, and for any lock of the database.
    """

    engine: ClassVar[Engine]
    driver_error: ClassVar[type[Exception]]
    ddl_in_transactions: ClassVar[bool]
    """Whether DDL can be rolled back."""
    _own_session: ClassVar[str]
    _utc_now: ClassVar[str]
    _insert_or_not: ClassVar[tuple[str, str]]
    """How an INSERT begins and ends that leaves a row alone which is there already."""
    _lock_code: ClassVar[str]

    def __init__(self, settings: AuroraSettings, lock_timeout: float) -> None:
        self.settings = settings
        self.lock_timeout = lock_timeout

    # --- what each engine does its own way ---------------------------------------------------

    @abstractmethod
    def backend(self, *, read_only: bool = False) -> Backend:
        """Yoyo's back end, on a new autocommit connection to the writer.

        Raises:
            ConnectionFailed: Or the subclass that says why.
        """

    @abstractmethod
    def connect(self, *, read_only: bool = False) -> Any:
        """Open an autocommit connection to the writer.

        Raises:
            ConnectionFailed: Or the subclass that says why.
        """

    @abstractmethod
    def query(self, connection: Any, sql: str, *values: object) -> Sequence[tuple[Any, ...]]:
        """Run one statement with ``%s`` for values; its rows, if it has any."""

    @abstractmethod
    def change(self, connection: Any, sql: str, *values: object) -> int:
        """Run one statement with ``%s`` for values; how many rows it changed."""

    @abstractmethod
    def cancel(self, connection: Any) -> None:
        """Cancel what runs on a connection, from another thread."""

    @abstractmethod
    def translate(self, exc: Exception, what: str) -> errors.AuroraError:
        """The error of our tree for one of the driver, its message after ``what``."""

    @abstractmethod
    def line_in(self, statement: str, exc: Exception) -> int:
        """How many lines into the statement the server found the error; 0 if it does not tell."""

    @abstractmethod
    def only_reads(self, connection: Any) -> bool:
        """Whether the instance only reads."""

    @abstractmethod
    def has_table(self, connection: Any, name: str) -> bool:
        """Whether there is such a table where the books are."""

    @abstractmethod
    def is_empty(self, connection: Any) -> bool:
        """Whether nobody has made anything in the database yet."""

    @abstractmethod
    def try_lock(self, connection: Any) -> bool:
        """Take the lock that lives as long as the session does, unless another has it."""

    @abstractmethod
    def holder(self, connection: Any) -> str:
        """Who has that lock, as the beginning of a sentence."""

    @abstractmethod
    def still_locked(self, connection: Any) -> bool:
        """Whether the session still has it."""

    @abstractmethod
    def prepare_books(self, backend: Backend) -> None:
        """Make yoyo's tables, or bring them up to date."""

    @abstractmethod
    def before_note(self, backend: Backend) -> None:
        """Bring the session of a migration back to where the books are."""

    @abstractmethod
    def run(self, main: Backend, work: Work) -> None:
        """Run one migration and note it.

        Raises:
            DatabaseError: It failed; the message names file and line, and what stays.
        """

    @abstractmethod
    def create_all(
        self, backend: Backend, files: Sequence[MigrationFile], watch: Watch, digest: str
    ) -> None:
        """Run all of them without yoyo's books, and note what they were in ``CREATED_TABLE``."""

    @abstractmethod
    def unfinished(self, connection: Any) -> Mapping[str, str]:
        """Ids of those that an earlier run left half applied, or half rolled back.

        Returns:
            By id, what was under way: ``apply`` or ``rollback``.
        """

    @abstractmethod
    def refuse_unfinished(
        self,
        connection: Any,
        files: Mapping[str, MigrationFile],
        direction: str,
        choice: Unfinished | None,
    ) -> None:
        """Refuse to go on over a migration that stopped half way, unless told how.

        Raises:
            ConfigurationError: There is one; the message says what was applied and what to do.
        """

    # --- what they have in common ------------------------------------------------------------

    @contextlib.contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except self.driver_error as exc:
            raise self.translate(exc, what) from exc

    def require_writer(self, connection: Any) -> None:
        """Refuse an instance that only reads.

        Raises:
            ReadOnlyInstance: It does.
        """
        if self.only_reads(connection):
            host, port = self.settings.writer_address()
            raise errors.ReadOnlyInstance(
                f"{host}:{port} only reads: migrations run on the writer, check the write endpoint"
            )

    def wait_for_lock(self, connection: Any, seconds: float) -> None:
        """Take the lock that lives as long as the session does.

        It is tried for again and again rather than waited on: a session that waits inside a
        statement holds a snapshot on PostgreSQL, for which a CREATE INDEX CONCURRENTLY of the run
        that has the lock would wait in turn, and the server cannot see that deadlock.

        Raises:
            LockTimeout: Another session holds it for longer.
        """
        until = time.monotonic() + seconds
        while not self.try_lock(connection):
            if time.monotonic() >= until:
                raise errors.LockTimeout(
                    f"{self.holder(connection)} holds the lock: wait for it to end, then try again",
                    code=self._lock_code,
                )
            time.sleep(_POLL)

    @contextlib.contextmanager
    def locked(self) -> Iterator[Callable[[], None]]:
        """Hold the locks, so that one migration run works at a time.

        Two locks: one of the server's, which goes when this session goes, and yoyo's row, which
        keeps plain yoyo away. A run that is killed leaves the row behind; since its number is
        negative, the next run, which has the other lock, knows that its owner is dead.

        Yields:
            A check that the lock is still held; it raises ConnectionLost if it is not.

        Raises:
            LockTimeout: Another run holds one for longer than ``lock_timeout`` seconds.
            ReadOnlyInstance: This is no writer.
        """
        with contextlib.closing(self.connect()) as connection:

            def check() -> None:
                lost = "The lock of the migrations was lost with its connection; nothing more runs"
                with self.translated(lost):
                    held = self.still_locked(connection)
                if not held:
                    raise errors.ConnectionLost(lost)

            with self.translated("The lock of the migrations"):
                self.require_writer(connection)
                self.wait_for_lock(connection, self.lock_timeout)
                self._make_lock_table(connection)
                self._take_row(connection)
            try:
                yield check
            finally:
                # Where the connection is gone, the next run removes the row.
                with contextlib.suppress(self.driver_error):
                    self.change(
                        connection, f"DELETE FROM {_LOCK_TABLE} WHERE pid = -{self._own_session}"
                    )

    def _make_lock_table(self, connection: Any) -> None:
        self.change(
            connection,
            f"CREATE TABLE IF NOT EXISTS {_LOCK_TABLE} "
            "(locked INT DEFAULT 1, ctime TIMESTAMP, pid INT NOT NULL, PRIMARY KEY (locked))",
        )

    def _take_row(self, connection: Any) -> None:
        until = time.monotonic() + self.lock_timeout
        self.change(connection, f"DELETE FROM {_LOCK_TABLE} WHERE pid < 0")
        begin, end = self._insert_or_not
        insert = (
            f"{begin} INTO {_LOCK_TABLE} (locked, ctime, pid) "
            f"VALUES (1, {self._utc_now}, -{self._own_session}) {end}"
        )
        while not self.change(connection, insert):
            if time.monotonic() >= until:
                rows = self.query(connection, f"SELECT pid, ctime FROM {_LOCK_TABLE}")
                pid, since = rows[0] if rows else ("?", "?")
                raise errors.LockTimeout(
                    f"Process {pid} has locked the migrations since {since} UTC, by yoyo: wait for "
                    f"it to end; if it is gone, DELETE FROM {_LOCK_TABLE} and try again",
                    code=self._lock_code,
                )
            time.sleep(_POLL)

    def applied_times(self, connection: Any) -> dict[str, datetime]:
        """When each migration was applied, by its id, oldest first; empty without yoyo's tables."""
        if not self.has_table(connection, MIGRATION_TABLE):
            return {}
        rows = self.query(
            connection,
            f"SELECT migration_id, applied_at_utc FROM {MIGRATION_TABLE} ORDER BY applied_at_utc",
        )
        return {name: when.replace(tzinfo=UTC) for name, when in rows}

    def note(self, backend: Backend, work: Work) -> None:
        """Write yoyo's books."""
        if work.file.after_each:
            return
        self.before_note(backend)
        # All of yoyo's methods would look at the catalogue first; it has no other way to say it.
        backend._internal_schema_updated = True  # type: ignore[attr-defined] # noqa: SLF001
        if work.direction == "apply":
            backend.mark_one(work.file.handle, log=False)
        else:
            backend.unmark_one(work.file.handle, log=False)
        backend.log_migration(work.file.handle, work.direction)

    def run_python(self, backend: Backend, work: Work) -> None:
        """Let yoyo run the steps of a migration in Python."""
        file = work.file
        with work.watch(backend.connection), self.translated(f"Migration {file.id} ({file.path})"):
            file.handle.process_steps(backend, work.direction)


def open_server(settings: AuroraSettings, lock_timeout: float) -> Server:
    """The server of the settings' engine; its module, and yoyo, are loaded on first use."""
    if settings.engine is Engine.MYSQL:
        from ._mysql import MysqlServer  # noqa: PLC0415 - an extra; loaded on first use

        return MysqlServer(settings, lock_timeout)
    from ._postgresql import PostgresqlServer  # noqa: PLC0415 - the same

    return PostgresqlServer(settings, lock_timeout)
