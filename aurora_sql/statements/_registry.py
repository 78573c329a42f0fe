"""The registry: every statement of a folder, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_sql.errors import StatementFileError
from aurora_sql.statements._dialects import dialect_of
from aurora_sql.statements._folder import Folder
from aurora_sql.statements._names import close_to

if TYPE_CHECKING:
    from aurora_sql.statements._statement import Statement


class UnknownStatement(StatementFileError, KeyError):
    """No statement has this name. Also a ``KeyError``, as of any mapping."""

    # KeyError would show the message in quotes.
    __str__ = Exception.__str__


class StatementRegistry(Mapping[str, "Statement"]):
    """The statements of a folder of SQL files, by full name such as ``users.get_by_email``.

    Made by :meth:`load`. With ``reload=True`` each look-up first makes sure, at most every
    half second, that the files are still those that were read; a file that does not load keeps
    its last good version and is named once in a warning of the logger ``aurora_sql.statements``.

    Attributes:
        path: The folder.
        dialect: ``postgresql`` or ``mysql``.
        reload: Whether changed files are read again.
        generation: Rises by one whenever the statements changed.
    """

    __slots__ = ("_folder", "_statements", "dialect", "generation", "path", "reload")

    def __init__(self, folder: Folder, *, reload: bool) -> None:
        self._folder = folder
        self.path = folder.path
        self.dialect = folder.dialect
        self.reload = reload
        self.generation = 0
        self._statements: dict[str, Statement] = folder.statements

    @classmethod
    def load(
        cls, path: str | Path, dialect: str = "postgresql", *, reload: bool = False
    ) -> StatementRegistry:
        """Read and check every SQL file under a folder.

        Args:
            path: The folder.
            dialect: ``postgresql`` or ``mysql``: the files of this dialect win over shared ones.
            reload: Read files again when they change; meant for development.

        Raises:
            ConfigurationError: There is no such folder, nothing in it, or no such dialect.
            StatementFileError: A file is wrong; the error names it, the line and the column.
        """
        dialect_of(dialect)
        folder = Folder(Path(path), dialect)
        folder.load(keep=reload)
        return cls(folder, reload=reload)

    def refresh(self, *, force: bool = True) -> bool:
        """Read the files that changed.

        Args:
            force: Look now; otherwise only if the last look is half a second ago.

        Returns:
            Whether the statements changed; never without ``reload=True``.
        """
        if not self.reload:
            return False
        statements = self._folder.refresh(force=force)
        if statements is None:
            return False
        self._statements = statements
        self.generation += 1
        return True

    def names(self) -> tuple[str, ...]:
        """Every full name, sorted."""
        self._look()
        return tuple(sorted(self._statements))

    def _look(self) -> None:
        if self.reload:
            self.refresh(force=False)

    def __getitem__(self, name: str) -> Statement:
        if self.reload:
            self.refresh(force=False)
        try:
            return self._statements[name]
        except KeyError:
            raise UnknownStatement(
                f"no statement is called {name!r}{close_to(str(name), self._statements)}",
                path=self.path,
            ) from None

    def __iter__(self) -> Iterator[str]:
        self._look()
        return iter(self._statements)

    def __len__(self) -> int:
        self._look()
        return len(self._statements)

    def __contains__(self, name: object) -> bool:
        self._look()
        return name in self._statements

    def __repr__(self) -> str:
        more = ", reload" if self.reload else ""
        count = len(self._statements)
        return f"<StatementRegistry {str(self.path)!r} {self.dialect}, {count} statements{more}>"
