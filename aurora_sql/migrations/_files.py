"""The folder of migrations: reading it through yoyo, and making new files."""

from __future__ import annotations

import glob
import hashlib
import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

_LONGEST_SLUG: Final = 60
# yoyo resolves dependencies through a dictionary of the whole process: two threads that read at
# once would get each other's migrations.
_READING: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class SqlFile:
    """The statements of one SQL file.

    Attributes:
        path: The file.
        statements: Each with the line it begins on, from 1, in the order in which they run.
    """

    path: Path
    statements: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One migration of a folder.

    Attributes:
        id: Name of the file without its suffix; what the database remembers.
        path: The file.
        sql: Its statements; None for a migration written in Python.
        transactional: Runs in one transaction, the note that it was applied included.
        after_each: A ``post-apply`` file, which runs after each apply and is never noted.
        handle: yoyo's own object.
    """

    id: str
    path: Path
    sql: SqlFile | None
    transactional: bool
    after_each: bool
    handle: Any

    def rollback_sql(self) -> SqlFile | None:
        """The statements that undo it; None for Python, or where the file is missing."""
        path = self.path.with_name(f"{self.id}.rollback.sql")
        return _read_sql(path) if self.sql is not None and path.is_file() else None


_DRIVERS: Final = {Engine.POSTGRESQL: "psycopg", Engine.MYSQL: "pymysql"}


def read_engine(value: Engine | str) -> Engine:
    """Read the name of an engine.

    Raises:
        ConfigurationError: There is no such engine.
    """
    try:
        return Engine(value)
    except ValueError:
        raise ConfigurationError(
            f"engine must be one of {', '.join(Engine)}, not {value!r}"
        ) from None


def yoyo_migrations(engine: Engine | None = None) -> ModuleType:
    """Import yoyo on first use, and make sure of the driver that it needs for an engine.

    Raises:
        ConfigurationError: One of them is not installed.
    """
    try:
        import yoyo.migrations  # noqa: PLC0415 - an extra; loaded on first use

        if engine is not None:
            import_module(_DRIVERS[engine])
    except ImportError as exc:
        raise ConfigurationError(
            f"Migrations need {exc.name}: install aurora-sql[migrations]"
        ) from exc
    return yoyo.migrations  # type: ignore[no-any-return] # yoyo has no types


def read_folder(folder: str | Path) -> tuple[MigrationFile, ...]:
    """Read all migrations of a folder, in the order in which they apply.

    Raises:
        ConfigurationError: The folder is missing, a file cannot be read, or the dependencies do
            not fit together.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigurationError(f"There is no folder of migrations {folder}")
    with _READING:
        return _read_folder(folder)


def _read_folder(folder: Path) -> tuple[MigrationFile, ...]:
    yoyo = yoyo_migrations()
    try:
        # yoyo takes a pattern, not a folder.
        found = yoyo.read_migrations(glob.escape(str(folder)))
    except Exception as exc:  # yoyo's MigrationConflict, whose module has no types
        raise ConfigurationError(f"Migrations of {folder}: {exc} is there twice") from exc
    known = set(found)
    for handle in (*found, *found.post_apply):
        _load(handle)
        for other in handle.depends - known:
            # yoyo looks a name up among all that this process ever read, also in other folders.
            raise ConfigurationError(
                f"Migration {handle.path} depends on {other.id}, which is not in {folder}"
            )
    try:
        ordered = list(yoyo.topological_sort(found))
    except Exception as exc:  # yoyo's BadMigration, whose module has no types
        raise ConfigurationError(f"Migrations of {folder}: {exc}") from exc
    _check_rollbacks(folder)
    return tuple(_describe(handle) for handle in (*ordered, *found.post_apply))


def _load(handle: Any) -> None:
    try:
        handle.load()
    except Exception as exc:  # a Python migration can raise anything
        reason = exc.args[-1] if exc.args else type(exc).__name__
        if isinstance(exc, KeyError):
            reason = "-- transactional: must be true or false"
        raise ConfigurationError(f"Migration {handle.path} cannot be loaded: {reason}") from exc


def _check_rollbacks(folder: Path) -> None:
    for path in sorted(folder.glob("*.rollback.sql")):
        if not path.with_name(path.name.replace(".rollback.sql", ".sql")).is_file():
            raise ConfigurationError(f"{path} rolls back a migration that is not there")


def _describe(handle: Any) -> MigrationFile:
    path = Path(handle.path)
    return MigrationFile(
        id=handle.id,
        path=path,
        sql=_read_sql(path) if path.suffix == ".sql" else None,
        transactional=bool(handle.use_transactions),
        after_each=path.name.startswith("post-apply"),
        handle=handle,
    )


def _read_sql(path: Path) -> SqlFile:
    _, _, statements = yoyo_migrations().read_sql_migration(str(path))
    text = path.read_text("utf-8")
    found: list[tuple[str, int]] = []
    position = 0
    for statement in statements:
        at = text.find(statement.strip(), position)
        # yoyo rewrites the first statement when comments stand before it; then no line is known
        # better than the one where the search is.
        position = position if at < 0 else at
        found.append((statement, text.count("\n", 0, position) + 1))
        position += len(statement.strip())
    return SqlFile(path, tuple(found))


def require_statements(files: Iterable[MigrationFile]) -> None:
    """Refuse a SQL migration without any statement: somebody has not written it yet.

    Raises:
        ConfigurationError: One is empty.
    """
    for one in files:
        if one.sql is not None and not one.sql.statements:
            raise ConfigurationError(f"Migration {one.path} has no statement yet")


def digest(files: tuple[MigrationFile, ...]) -> str:
    """A digest of all migrations: their names and what is in them."""
    total = hashlib.sha256()
    for one in files:
        data = one.path.read_bytes()
        total.update(f"{one.id}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()


def new(
    folder: str | Path,
    message: str,
    *,
    python: bool = False,
    commit_markers: bool = False,
    engine: Engine | str = Engine.POSTGRESQL,
    now: datetime | None = None,
) -> tuple[Path, ...]:
    """Make the files of a new migration.

    The name is ``YYYYMMDD_HHMMSS-what-it-does``, in UTC, so that files sort by age. The new
    migration depends on those that no other depends on.

    Args:
        folder: Made if it is missing.
        message: What the migration does, in a few words.
        python: Make one Python file rather than a SQL file and its rollback file.
        commit_markers: Write the SQL of the table that tells what became of a transaction whose
            COMMIT was not answered.
        engine: Whose SQL that is.
        now: Time for the name; default the current one.

    Returns:
        The files: the migration, and for SQL its rollback file.

    Raises:
        ConfigurationError: The message is empty, or the folder has a migration that is wrong; or
            ``python`` and ``commit_markers`` are given together.
    """
    engine = read_engine(engine)
    if python and commit_markers:
        raise ConfigurationError("The table of commit markers is made by SQL: leave --python out")
    slug = re.sub(r"[^a-z0-9]+", "-", message.lower()).strip("-")[:_LONGEST_SLUG].strip("-")
    if not slug:
        raise ConfigurationError("A migration needs a few words that say what it does")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = [one for one in read_folder(folder) if not one.after_each]
    needed = {other.id for one in files for other in one.handle.depends}
    heads = sorted(one.id for one in files if one.id not in needed)
    when = (now or datetime.now(UTC)).astimezone(UTC)
    while True:
        name = f"{when:%Y%m%d_%H%M%S}-{slug}"
        taken = any(one.id.startswith(f"{when:%Y%m%d_%H%M%S}-") for one in files)
        if not taken:
            break
        # Two in one second would sort by their words.
        when += timedelta(seconds=1)
    texts = _python_text(message, heads, name) if python else _sql_texts(message, heads, name)
    if commit_markers:
        for (file_name, text), sql in zip(
            list(texts.items()), _COMMIT_MARKERS[engine], strict=True
        ):
            texts[file_name] = text + sql
    for file_name, text in texts.items():
        with (folder / file_name).open("x", encoding="utf-8") as out:
            out.write(text)
    return tuple(folder / file_name for file_name in texts)


_COMMIT_MARKERS: Final = {
    Engine.POSTGRESQL: (
        """\
-- One row for each transaction that wants to know what became of it; kept for a day.
-- Its names are aurora_sql's: they must stay.
CREATE TABLE aurora_sql_commits (
    id           uuid        NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT aurora_sql_commits_pkey PRIMARY KEY (id)
);

-- For deleting what is old.
CREATE INDEX aurora_sql_commits_committed_at_idx ON aurora_sql_commits (committed_at);
""",
        "DROP TABLE aurora_sql_commits;\n",
    ),
    # A primary key is always called PRIMARY there, of whatever table: the key that a taken marker
    # meets is a unique one, with a name. The primary key is in the order of time, for deleting
    # what is old.
    Engine.MYSQL: (
        """\
-- One row for each transaction that wants to know what became of it; kept for a day.
-- Its names are aurora_sql's: they must stay.
CREATE TABLE aurora_sql_commits (
    id           BINARY(16)   NOT NULL,
    committed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    PRIMARY KEY (committed_at, id),
    CONSTRAINT aurora_sql_commits_pkey UNIQUE (id)
) ENGINE = InnoDB;
""",
        "DROP TABLE aurora_sql_commits;\n",
    ),
}


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _sql_texts(message: str, heads: list[str], name: str) -> dict[str, str]:
    depends = f"-- depends: {' '.join(heads)}\n" if heads else ""
    return {
        f"{name}.sql": f"-- {_one_line(message)}\n{depends}\n",
        f"{name}.rollback.sql": f"-- Undoes: {_one_line(message)}\n\n",
    }


def _python_text(message: str, heads: list[str], name: str) -> dict[str, str]:
    title = _one_line(message).replace("\\", "\\\\").replace('"', '\\"')
    needed = "".join(f'"{one}", ' for one in heads)
    depends = f"{{{needed[:-2]}}}" if heads else "set()"
    return {
        f"{name}.py": (
            f'"""{title}."""\n\nfrom yoyo import step\n\n__depends__ = {depends}\n\n\n'
            "def forward(connection):\n"
            '    """Apply it, on the connection of the driver inside a transaction."""\n\n\n'
            "def back(connection):\n"
            '    """Undo it."""\n\n\n'
            "steps = [step(forward, back)]\n"
        )
    }
