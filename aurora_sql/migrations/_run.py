"""Applying, rolling back and listing migrations. Synchronous, as yoyo is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import psycopg
from yoyo import internalmigrations

from aurora_sql.errors import ConfigurationError, QueryCancelled

from ._connection import (
    MIGRATION_TABLE,
    Backend,
    locked,
    require_writer,
    translate,
    wait_for_advisory_lock,
)
from ._files import MigrationFile, SqlFile, digest, read_folder, require_statements
from ._types import AppliedMigration, MigrationState, MigrationStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aurora_sql.settings import AuroraSettings

Progress = Callable[[AppliedMigration], None]

CREATED_TABLE: Final = "_aurora_sql_created"
"""Where :func:`ensure_created` notes what it made."""


class Stop:
    """Lets another thread end a run: between two migrations, or inside a statement."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._connection: psycopg.Connection[Any] | None = None

    @contextmanager
    def watching(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        """While inside, :meth:`stop` cancels what runs on the connection."""
        with self._lock:
            if self._stopped:
                raise QueryCancelled("The migration run was stopped")
            self._connection = connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None

    def stop(self) -> None:
        """End the run soon. The migration under way is rolled back if it is transactional."""
        with self._lock:
            self._stopped = True
            if self._connection is not None:
                self._connection.cancel_safe(timeout=5.0)


@dataclass(frozen=True, slots=True)
class Runner:
    """One run over one folder.

    Attributes:
        settings: Where the writer is.
        folder: The folder of migrations.
        lock_timeout: Seconds to wait for another run, and for any lock of the database.
        stop: Ends the run from another thread.
    """

    settings: AuroraSettings
    folder: Path
    lock_timeout: float
    stop: Stop

    def status(self) -> tuple[MigrationStatus, ...]:
        """What is applied and what is not. Changes nothing."""
        files = read_folder(self.folder)
        with self._backend(read_only=True) as backend:
            applied = applied_times(backend.connection)
        return statuses(files, applied)

    def apply(self, to: str | None, progress: Progress | None) -> tuple[AppliedMigration, ...]:
        """Apply what is pending, up to and with ``to``."""
        files = read_folder(self.folder)
        with locked(self.settings, self.lock_timeout) as check, self._backend() as backend:
            refuse_created(backend.connection, self.settings)
            self._prepare(backend)
            applied = applied_times(backend.connection)
            pending = up_to(statuses(files, applied), to)
            by_id = {one.id: one for one in files}
            wanted = [by_id[one.id] for one in pending]
            if wanted:
                wanted += [one for one in files if one.after_each]
            require_statements(wanted)
            done = []
            for file in wanted:
                check()
                done.append(self._one(backend, file, file.sql, "apply", progress))
        return tuple(done)

    def rollback(
        self, ids: Sequence[str], progress: Progress | None
    ) -> tuple[AppliedMigration, ...]:
        """Roll these back, the newest first; they must still be the newest ones."""
        files = {one.id: one for one in read_folder(self.folder)}
        with locked(self.settings, self.lock_timeout) as check, self._backend() as backend:
            self._prepare(backend)
            known = statuses(tuple(files.values()), applied_times(backend.connection))
            if [one.id for one in newest(known, len(ids))] != list(ids):
                raise ConfigurationError(
                    "The migrations to roll back are no longer the newest: somebody else applied "
                    "or rolled back in between; look again"
                )
            # All rollback files are looked at before the first one runs.
            plans = [(files[one], self._rollback_sql(files[one])) for one in ids]
            done = []
            for file, sql in plans:
                check()
                done.append(self._one(backend, file, sql, "rollback", progress))
        return tuple(done)

    def ensure_created(self) -> bool:
        """Apply everything to an empty database, without yoyo's books."""
        files = read_folder(self.folder)
        require_statements(files)
        wanted = digest(files)
        with self._backend() as backend:
            connection = backend.connection
            require_writer(connection, self.settings)
            with self._translated("ensure_created"), self.stop.watching(connection):
                # Several test processes may come at once: the first works, the others find it done.
                wait_for_advisory_lock(connection, self.lock_timeout)
                if _already_created(connection, self.settings, wanted):
                    return False
                # A test database need not survive a crash of the machine.
                connection.execute("SET synchronous_commit = off")
            one_transaction = all(one.transactional for one in files)
            with backend.transaction() if one_transaction else nullcontext():
                for one in files:
                    with backend.transaction() if one.transactional else nullcontext():
                        self._run(backend, one, one.sql, "apply")
                connection.execute("RESET ROLE; RESET search_path")
                connection.execute(
                    f"CREATE TABLE {CREATED_TABLE} (digest text NOT NULL, created_at timestamptz "
                    f"NOT NULL DEFAULT now()); INSERT INTO {CREATED_TABLE} VALUES ('{wanted}')"
                )
        return True

    @contextmanager
    def _backend(self, *, read_only: bool = False) -> Iterator[Backend]:
        backend = Backend(self.settings, self.lock_timeout, read_only=read_only)
        try:
            with self._translated("Migrations"):
                yield backend
        finally:
            backend.connection.close()

    def _prepare(self, backend: Backend) -> None:
        if internalmigrations.needs_upgrading(backend):
            internalmigrations.upgrade(backend)

    def _rollback_sql(self, file: MigrationFile) -> SqlFile | None:
        sql = file.rollback_sql()
        if file.sql is not None and (sql is None or not sql.statements):
            raise ConfigurationError(
                f"Migration {file.id} cannot be rolled back: {file.path.stem}.rollback.sql is "
                "missing or has no statement (write SELECT 1 if there is nothing to undo)"
            )
        return sql

    def _one(
        self,
        main: Backend,
        file: MigrationFile,
        sql: SqlFile | None,
        direction: str,
        progress: Progress | None,
    ) -> AppliedMigration:
        started = time.perf_counter()
        # A connection of its own, as yoyo has it: what a migration sets ends with it.
        with main.copy() as backend:
            if file.transactional:
                with self._translated(f"Migration {file.id}"), backend.transaction():
                    self._run(backend, file, sql, direction)
                    self._note(backend, file, direction)
            else:
                self._run(backend, file, sql, direction)
                with self._translated(f"Migration {file.id}"), backend.transaction():
                    self._note(backend, file, direction)
        done = AppliedMigration(file.id, file.path, time.perf_counter() - started)
        if progress is not None:
            progress(done)
        return done

    def _note(self, backend: Backend, file: MigrationFile, direction: str) -> None:
        """Write yoyo's books, in the migration's own transaction: both or neither."""
        if file.after_each:
            return
        # A dump sets an empty search_path; the books are where they were.
        backend.execute("RESET ROLE")
        backend.execute("RESET search_path")
        # All of yoyo's methods would look at the catalogue first.
        backend._internal_schema_updated = True  # noqa: SLF001 - yoyo has no other way to say it
        if direction == "apply":
            backend.mark_one(file.handle, log=False)
        else:
            backend.unmark_one(file.handle, log=False)
        backend.log_migration(file.handle, direction)

    def _run(
        self, backend: Backend, file: MigrationFile, sql: SqlFile | None, direction: str
    ) -> None:
        with self.stop.watching(backend.connection):
            if sql is not None:
                self._run_sql(backend.connection, file, sql)
                return
            with self._translated(f"Migration {file.id} ({file.path})"):
                file.handle.process_steps(backend, direction)

    def _run_sql(
        self, connection: psycopg.Connection[Any], file: MigrationFile, sql: SqlFile
    ) -> None:
        for number, (statement, line) in enumerate(sql.statements):
            try:
                connection.execute(statement.encode())
            except psycopg.Error as exc:
                at = line + _line_in(statement, exc.diag.statement_position)
                state = (
                    "nothing of it was applied"
                    if file.transactional
                    else f"the {number} statements before it were applied and stay"
                )
                what = f"Migration {file.id} failed at {sql.path}:{at} ({state})"
                raise translate(exc, what, detailed=self.settings.shows_server_detail) from exc

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as exc:
            raise translate(exc, what, detailed=self.settings.shows_server_detail) from exc


def _line_in(statement: str, position: str | None) -> int:
    return statement.count("\n", 0, int(position) - 1) if position else 0


def applied_times(connection: psycopg.Connection[Any]) -> dict[str, datetime]:
    """When each migration was applied, by its id, oldest first; empty without yoyo's tables."""
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [MIGRATION_TABLE]).fetchone()
    if row is None or not row[0]:
        return {}
    rows = connection.execute(
        f"SELECT migration_id, applied_at_utc FROM {MIGRATION_TABLE} ORDER BY applied_at_utc"
    ).fetchall()
    return {name: when.replace(tzinfo=UTC) for name, when in rows}


def statuses(
    files: tuple[MigrationFile, ...], applied: dict[str, datetime]
) -> tuple[MigrationStatus, ...]:
    """Join the folder and the database: the folder's order, then what has no file any more."""
    known = [
        MigrationStatus(
            one.id,
            MigrationState.APPLIED if one.id in applied else MigrationState.PENDING,
            applied.get(one.id),
            one.path,
        )
        for one in files
        if not one.after_each
    ]
    ids = {one.id for one in known}
    lost = [
        MigrationStatus(name, MigrationState.MISSING, when, None)
        for name, when in applied.items()
        if name not in ids
    ]
    return (*known, *lost)


def up_to(known: tuple[MigrationStatus, ...], to: str | None) -> list[MigrationStatus]:
    """The pending ones, up to and with ``to`` (an id, or how exactly one id begins)."""
    pending = [one for one in known if one.state is MigrationState.PENDING]
    if to is None:
        return pending
    ids = [one.id for one in known if one.id == to] or [
        one.id for one in known if one.id.startswith(to)
    ]
    if len(ids) != 1:
        many = f"fits several migrations: {', '.join(ids)}" if ids else "is no migration here"
        raise ConfigurationError(f"{to!r} {many}")
    order = [one.id for one in known]
    return [one for one in pending if order.index(one.id) <= order.index(ids[0])]


def newest(known: tuple[MigrationStatus, ...], count: int) -> list[MigrationStatus]:
    """The last ``count`` applied ones, the newest first, in the folder's order backwards."""
    lost = [one.id for one in known if one.state is MigrationState.MISSING]
    if lost:
        raise ConfigurationError(
            f"Applied migrations have no file any more: {', '.join(lost)}; bring the files back "
            "before rolling back"
        )
    applied = [one for one in known if one.state is MigrationState.APPLIED]
    return applied[::-1][:count]


def refuse_created(connection: psycopg.Connection[Any], settings: AuroraSettings) -> None:
    """Refuse a database that ``ensure_created`` made: its tables are there without the books."""
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [CREATED_TABLE]).fetchone()
    if row is not None and row[0]:
        raise ConfigurationError(
            f"Database {settings.database} was made by ensure_created, for tests: migrations "
            "cannot go on from there; use another database"
        )


def _already_created(
    connection: psycopg.Connection[Any], settings: AuroraSettings, wanted: str
) -> bool:
    name = settings.database
    row = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL, to_regclass(%s) IS NOT NULL, EXISTS (SELECT FROM "
        "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname <> 'information_schema' "
        "AND n.nspname NOT LIKE 'pg\\_%%' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d "
        "WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid "
        "AND d.deptype = 'e'))",
        [MIGRATION_TABLE, CREATED_TABLE],
    ).fetchone()
    managed, created, filled = row or (False, False, False)
    if managed:
        raise ConfigurationError(
            f"Migrations manage database {name}: ensure_created is for tests and leaves it alone; "
            "use apply"
        )
    if created:
        found = connection.execute(f"SELECT digest FROM {CREATED_TABLE}").fetchone()
        if found is not None and found[0] == wanted:
            return True
        raise ConfigurationError(
            f"Database {name} was created from other migrations: drop it and create it again"
        )
    if filled:
        raise ConfigurationError(f"Database {name} is not empty: ensure_created needs an empty one")
    return False
