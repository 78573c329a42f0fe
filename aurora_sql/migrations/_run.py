"""Applying, rolling back and listing migrations. Synchronous, as yoyo is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import ConfigurationError, QueryCancelled

from ._files import MigrationFile, digest, read_folder, require_statements
from ._server import CREATED_TABLE, MIGRATION_TABLE, Backend, Server, Work
from ._types import AppliedMigration, MigrationState, MigrationStatus, Unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from ._files import SqlFile

Progress = Callable[[AppliedMigration], None]


class Stop:
    """Lets another thread end a run: between two migrations, or inside a statement."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._cancel: Callable[[], None] | None = None

    @contextmanager
    def watching(self, cancel: Callable[[], None]) -> Iterator[None]:
        """While inside, :meth:`stop` calls ``cancel``."""
        with self._lock:
            if self._stopped:
                raise QueryCancelled("The migration run was stopped")
            self._cancel = cancel
        try:
            yield
        finally:
            with self._lock:
                self._cancel = None

    def stop(self) -> None:
        """End the run soon. The migration under way is rolled back if it is transactional."""
        with self._lock:
            self._stopped = True
            if self._cancel is not None:
                self._cancel()


@dataclass(frozen=True, slots=True)
class Runner:
    """One run over one folder.

    Attributes:
        server: The writer.
        folder: The folder of migrations.
        stop: Ends the run from another thread.
    """

    server: Server
    folder: Path
    stop: Stop

    def status(self) -> tuple[MigrationStatus, ...]:
        """What is applied and what is not. Changes nothing."""
        files = read_folder(self.folder)
        with self._backend(read_only=True) as backend:
            return self._known(backend, files)

    def apply(
        self, to: str | None, progress: Progress | None, unfinished: Unfinished | None
    ) -> tuple[AppliedMigration, ...]:
        """Apply what is pending, up to and with ``to``."""
        files = read_folder(self.folder)
        by_id = {one.id: one for one in files}
        with self.server.locked() as check, self._backend() as backend:
            self._refuse_created(backend)
            self.server.prepare_books(backend)
            self.server.refuse_unfinished(backend.connection, by_id, "apply", unfinished)
            wanted = [by_id[one.id] for one in up_to(self._known(backend, files), to)]
            if wanted:
                wanted += [one for one in files if one.after_each]
            require_statements(wanted)
            done = []
            for file in wanted:
                check()
                work = Work(file, file.sql, "apply", self._watch, unfinished)
                done.append(self._one(backend, work, progress))
        return tuple(done)

    def rollback(
        self, ids: Sequence[str], progress: Progress | None, unfinished: Unfinished | None
    ) -> tuple[AppliedMigration, ...]:
        """Roll these back, the newest first; they must still be the newest ones."""
        files = {one.id: one for one in read_folder(self.folder)}
        with self.server.locked() as check, self._backend() as backend:
            self.server.prepare_books(backend)
            self.server.refuse_unfinished(backend.connection, files, "rollback", unfinished)
            known = self._known(backend, tuple(files.values()))
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
                work = Work(file, sql, "rollback", self._watch, unfinished)
                done.append(self._one(backend, work, progress))
        return tuple(done)

    def ensure_created(self) -> bool:
        """Apply everything to an empty database, without yoyo's books."""
        files = read_folder(self.folder)
        require_statements(files)
        wanted = digest(files)
        with self._backend() as backend:
            connection = backend.connection
            self.server.require_writer(connection)
            with self.server.translated("ensure_created"), self._watch(connection):
                # Several test processes may come at once: the first works, the others find it done.
                self.server.wait_for_lock(connection, self.server.lock_timeout)
                if self._already_created(connection, wanted):
                    return False
            self.server.create_all(backend, files, self._watch, wanted)
        return True

    @contextmanager
    def _backend(self, *, read_only: bool = False) -> Iterator[Backend]:
        backend = self.server.backend(read_only=read_only)
        with closing(backend.connection), self.server.translated("Migrations"):
            yield backend

    @contextmanager
    def _watch(self, connection: Any) -> Iterator[None]:
        with self.stop.watching(lambda: self.server.cancel(connection)):
            yield

    def _known(
        self, backend: Backend, files: tuple[MigrationFile, ...]
    ) -> tuple[MigrationStatus, ...]:
        applied = self.server.applied_times(backend.connection)
        return statuses(files, applied, self.server.unfinished(backend.connection))

    def _rollback_sql(self, file: MigrationFile) -> SqlFile | None:
        sql = file.rollback_sql()
        if file.sql is not None and (sql is None or not sql.statements):
            raise ConfigurationError(
                f"Migration {file.id} cannot be rolled back: {file.path.stem}.rollback.sql is "
                "missing or has no statement (write SELECT 1 if there is nothing to undo)"
            )
        return sql

    def _one(self, main: Backend, work: Work, progress: Progress | None) -> AppliedMigration:
        started = time.perf_counter()
        self.server.run(main, work)
        done = AppliedMigration(work.file.id, work.file.path, time.perf_counter() - started)
        if progress is not None:
            progress(done)
        return done

    def _refuse_created(self, backend: Backend) -> None:
        """Refuse what ``ensure_created`` made: its tables are there without the books."""
        if self.server.has_table(backend.connection, CREATED_TABLE):
            raise ConfigurationError(
                f"Database {self.server.settings.database} was made by ensure_created, for tests: "
                "migrations cannot go on from there; use another database"
            )

    def _already_created(self, connection: Any, wanted: str) -> bool:
        name = self.server.settings.database
        if self.server.has_table(connection, MIGRATION_TABLE):
            raise ConfigurationError(
                f"Migrations manage database {name}: ensure_created is for tests and leaves it "
                "alone; use apply"
            )
        if self.server.has_table(connection, CREATED_TABLE):
            found = self.server.query(connection, f"SELECT digest FROM {CREATED_TABLE}")
            if found and found[0][0] == wanted:
                return True
            why = "from other migrations" if found else "half way, and then failed"
            raise ConfigurationError(
                f"Database {name} was created {why}: drop it and create it again"
            )
        if not self.server.is_empty(connection):
            raise ConfigurationError(
                f"Database {name} is not empty: ensure_created needs an empty one"
            )
        return False


def statuses(
    files: tuple[MigrationFile, ...],
    applied: Mapping[str, datetime],
    unfinished: Mapping[str, str] | None = None,
) -> tuple[MigrationStatus, ...]:
    """Join the folder and the database: the folder's order, then what has no file any more."""

    def state(name: str) -> MigrationState:
        if unfinished and name in unfinished:
            return MigrationState.UNFINISHED
        return MigrationState.APPLIED if name in applied else MigrationState.PENDING

    known = [
        MigrationStatus(
            one.id,
            state(one.id),
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
    pending = [one for one in known if one.applied_at is None]
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
    applied = [one for one in known if one.applied_at is not None]
    return applied[::-1][:count]
