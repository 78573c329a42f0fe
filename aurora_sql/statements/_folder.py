"""A folder of SQL files: what is in it, and what changed since it was read."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from aurora_sql.errors import ConfigurationError, StatementFileError
from aurora_sql.statements._build import build
from aurora_sql.statements._dialects import DIALECTS
from aurora_sql.statements._files import RawStatement, parse_file
from aurora_sql.statements._names import close_to, name_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aurora_sql.statements._statement import Statement

logger = logging.getLogger("aurora_sql.statements")

LOOK_EVERY: Final = 0.5
"""Seconds between two looks at the files when they are watched."""

# Time stamps alone are too coarse for two saves in one tick; an editor that saves by renaming
# changes the inode.
Signature: TypeAlias = tuple[int, int, int, int]


@dataclass(slots=True)
class SqlFile:
    """One file as it was last read.

    Attributes:
        path: The file.
        namespace: The namespace that its statements belong to.
        is_shared: It is for every dialect.
        signature: What the file system said of it when it was read.
        raw: Its statements as they were found.
        built: Those that were made so far, by name; kept over looks, so that what did not
            change stays the same object.
    """

    path: Path
    namespace: str
    is_shared: bool
    signature: Signature
    raw: list[RawStatement]
    built: dict[str, Statement] = field(default_factory=dict)

    def statement(self, raw: RawStatement, dialect: str) -> Statement:
        """The statement, made on first use."""
        name = raw.header.name
        if name not in self.built:
            self.built[name] = build(raw, f"{self.namespace}.{name}", dialect)
        return self.built[name]


class Folder:
    """The SQL files under one folder.

    Args:
        path: The folder.
        dialect: The dialect whose files win over shared ones.
    """

    __slots__ = ("_files", "_next_look", "_put_back", "_warned", "dialect", "path", "statements")

    def __init__(self, path: Path, dialect: str) -> None:
        self.path = path
        self.dialect = dialect
        self.statements: dict[str, Statement] = {}
        self._files: dict[Path, SqlFile] = {}
        self._warned: dict[Path, Signature | None] = {}
        # Files that are sound but did not fit with the others; tried again when anything changes.
        self._put_back: set[Path] = set()
        self._next_look = 0.0

    def load(self, *, keep: bool) -> None:
        """Read everything.

        Args:
            keep: Keep what was found in the files, for :meth:`refresh`; some ten kilobytes for
                each statement.

        Raises:
            ConfigurationError: The folder is missing, no folder, or holds no SQL file.
            StatementFileError: A file is wrong.
        """
        if not self.path.exists():
            raise ConfigurationError(f"the SQL folder {str(self.path)!r} does not exist")
        if not self.path.is_dir():
            raise ConfigurationError(
                f"{str(self.path)!r} is a file; give the folder that holds the SQL files"
            )
        for path, signature in self._scan().items():
            file = self._read(path, signature)
            if file is not None:
                self._files[path] = file
        if not self._files:
            raise ConfigurationError(
                f"the SQL folder {str(self.path)!r} holds no .sql file for {self.dialect}"
            )
        self.statements = assemble(self._files, self.dialect)
        if not keep:
            self._files.clear()
        self._next_look = time.monotonic() + LOOK_EVERY

    def refresh(self, *, force: bool) -> dict[str, Statement] | None:
        """Look for changes; the new statements, or None where nothing changed.

        What does not load keeps its last good version and is named once in a warning.
        """
        now = time.monotonic()
        if now < self._next_look and not force:
            return None
        self._next_look = now + LOOK_EVERY
        try:
            found = self._scan()
        except OSError as exc:
            self._warn(self.path, None, exc)
            return None
        if self._is_known(found):
            return None
        files: dict[Path, SqlFile] = {}
        changed: list[Path] = []
        for path, signature in found.items():
            old = self._files.get(path)
            new = old
            same = old is not None and old.signature == signature
            if not same and (path in self._put_back or self._warned.get(path) != signature):
                new = self._read_again(path, signature, old)
            if new is not None:
                files[path] = new
                if new is not old:
                    changed.append(path)
        self._put_back.clear()
        return self._take(files, changed)

    def _is_known(self, found: dict[Path, Signature]) -> bool:
        """Whether everything is as it was at the last look."""
        if not self._files.keys() <= found.keys():
            return False
        for path, signature in found.items():
            old = self._files.get(path)
            if (old is None or old.signature != signature) and (
                self._warned.get(path) != signature
                and namespace_dialect(path) in (None, self.dialect)
            ):
                return False
        return True

    def _take(self, files: dict[Path, SqlFile], changed: list[Path]) -> dict[str, Statement] | None:
        """Use new versions of files; those that do not fit are put back."""
        while True:
            try:
                statements = assemble(files, self.dialect)
            except StatementFileError as exc:
                culprit = exc.path if exc.path in changed else next(iter(changed), None)
                if culprit is None:
                    self._warn(self.path, None, exc)
                    return None
                self._warn(culprit, files[culprit].signature, exc)
                self._put_back.add(culprit)
                changed.remove(culprit)
                if culprit in self._files:
                    files[culprit] = self._files[culprit]
                else:
                    del files[culprit]
                continue
            self._files = files
            if statements == self.statements:
                return None
            self.statements = statements
            return statements

    def _scan(self) -> dict[Path, Signature]:
        found: dict[Path, Signature] = {}
        for path in sorted(_sql_files(self.path, ())):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue  # deleted, or being replaced, since the folder was listed
            found[path] = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
        return found

    def _read(self, path: Path, signature: Signature) -> SqlFile | None:
        """Read a file; None where it belongs to another dialect."""
        namespace, dialect = namespace_of(path, self.path)
        if dialect is not None and dialect != self.dialect:
            return None
        try:
            data = path.read_bytes()
        except OSError as exc:
            raise StatementFileError(f"cannot be read: {exc.strerror}", path=path) from exc
        raw = parse_file(data, path, self.dialect)
        return SqlFile(path, namespace, dialect is None, signature, raw)

    def _read_again(self, path: Path, signature: Signature, old: SqlFile | None) -> SqlFile | None:
        try:
            new = self._read(path, signature)
        except StatementFileError as exc:
            self._warn(path, signature, exc)
            return old
        self._warned.pop(path, None)
        return new

    def _warn(self, path: Path, signature: Signature | None, exc: Exception) -> None:
        if path in self._warned and self._warned[path] == signature:
            return
        self._warned[path] = signature
        logger.warning("kept the last good version of the SQL: %s", exc)


def namespace_of(path: Path, root: Path) -> tuple[str, str | None]:
    """The namespace of a file, and the dialect it is for (None: all).

    Raises:
        StatementFileError: A name on the way cannot be an attribute, or the dialect is unknown.
    """
    relative = path.relative_to(root)
    parts = [*relative.parts[:-1], relative.name.partition(".")[0]]
    dialect = namespace_dialect(path)
    for part in parts:
        problem = name_problem(part)
        if problem is not None:
            raise StatementFileError(f"no namespace can be called so: {problem}", path=path)
    if dialect and dialect not in DIALECTS:
        raise StatementFileError(
            f"unknown dialect {dialect!r} in the file's name; it is one of {', '.join(DIALECTS)}",
            path=path,
        )
    return ".".join(parts), dialect


def namespace_dialect(path: Path) -> str | None:
    """The dialect in a file's name, as in ``users.mysql.sql``; None where there is none."""
    return path.stem.partition(".")[2] or None


def _sql_files(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """SQL files under a folder, but for hidden ones; a link that leads back is not followed."""
    stat = folder.stat()
    here = (stat.st_dev, stat.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _sql_files(Path(entry.path), (*above, here))
            elif entry.name.endswith(".sql"):
                yield Path(entry.path)


def assemble(files: dict[Path, SqlFile], dialect: str) -> dict[str, Statement]:
    """Put the statements of all files together.

    Raises:
        StatementFileError: A statement is wrong, or two things would have one name.
    """
    winners: dict[str, tuple[SqlFile, RawStatement]] = {}
    for shared in (True, False):
        for file in files.values():
            if file.is_shared is shared:
                for raw in file.raw:
                    winners[f"{file.namespace}.{raw.header.name}"] = (file, raw)
    namespaces: dict[str, SqlFile] = {}
    for file in files.values():
        parts = file.namespace.split(".")
        for length in range(1, len(parts) + 1):
            namespaces.setdefault(".".join(parts[:length]), file)
    for name, (_, raw) in winners.items():
        if name in namespaces:
            raise raw.source.error(
                f"{name!r} is also the namespace of {namespaces[name].path}; one of the two needs "
                "another name",
                raw.header.offset,
            )
    statements = {
        name: file.statement(raw, dialect) for name, (file, raw) in sorted(winners.items())
    }
    for name, (_, raw) in winners.items():
        _check_invalidated(statements[name], raw, statements)
    return statements


def _check_invalidated(
    statement: Statement, raw: RawStatement, statements: dict[str, Statement]
) -> None:
    """Refuse a name after ``invalidates:`` under which no answer is ever kept."""
    for name in statement.invalidates:
        found = statements.get(name)
        if found is None:
            problem = f"no statement is called {name!r}{close_to(name, statements)}"
        elif found.cache is None:
            problem = f"{name!r} ({found.place}) has no 'cache' directive"
        else:
            continue
        raise raw.source.error(
            f"directive 'invalidates': {problem}", raw.directives.offsets["invalidates"]
        )
