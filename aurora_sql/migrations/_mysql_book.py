"""The book of a migration on MySQL: how many of its statements were applied."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from aurora_sql import errors

from ._types import Unfinished

if TYPE_CHECKING:
    from ._files import SqlFile
    from ._server import Server, Work

UNFINISHED_TABLE: Final = "_aurora_sql_unfinished"


class Book:
    """What the database knows of one migration under way; written on a connection of ours."""

    def __init__(
        self,
        server: Server,
        connection: Any,
        name: str,
        direction: str,
        statements: int | None,
        applied: int,
        under_way: bool,
        digest: str,
    ) -> None:
        self._server = server
        self._connection = connection
        self.name = name
        self.direction = direction
        self.statements = statements
        self.applied = applied
        self.under_way = under_way
        self.digest = digest

    @classmethod
    def read(cls, server: Server, connection: Any, name: str) -> Book:
        """What an earlier run wrote."""
        rows = server.query(
            connection,
            "SELECT direction, statements, applied, under_way, digest "
            f"FROM {UNFINISHED_TABLE} WHERE migration_id = %s",
            name,
        )
        direction, statements, applied, under_way, digest = rows[0]
        return cls(
            server, connection, name, direction, statements, applied, bool(under_way), digest
        )

    @classmethod
    def open(cls, server: Server, connection: Any, work: Work) -> Book:
        """Begin the book of a migration, or go on with that of an earlier run.

        Raises:
            ConfigurationError: The statements that were applied are not those of the file.
        """
        name = work.file.id
        statements = None if work.sql is None else len(work.sql.statements)
        if name in server.unfinished(connection):
            book = cls.read(server, connection, name)
            if work.unfinished is Unfinished.CONTINUE:
                return book.checked(work)
            book.close()
        server.change(
            connection,
            f"INSERT INTO {UNFINISHED_TABLE} VALUES (%s, %s, %s, 0, %s, '', utc_timestamp())",
            name,
            work.direction,
            statements,
            work.sql is None,
        )
        return cls(server, connection, name, work.direction, statements, 0, work.sql is None, "")

    def checked(self, work: Work) -> Book:
        """Itself, if the statement after those that were applied can be run now."""
        if work.sql is None:
            raise errors.ConfigurationError(
                f"Migration {self.name} is written in Python and cannot be continued: undo by hand "
                "what it did, then run again with --unfinished restart"
            )
        if self.under_way:
            raise errors.ConfigurationError(
                f"Migration {self.name} cannot be continued: whether statement {self.applied + 1} "
                f"at {_place(work.sql, self.applied)} was applied is not known. Undo by hand what "
                "was applied, then run again with --unfinished restart"
            )
        before = [text for text, _ in work.sql.statements[: self.applied]]
        digest = ""
        for text in before:
            digest = _chained(digest, text)
        if len(before) < self.applied or digest != self.digest:
            raise errors.ConfigurationError(
                f"Migration {self.name} cannot be continued: the {self.applied} statements that "
                f"were applied no longer stand in {work.sql.path} as they were. Bring them back, "
                "or undo by hand what was applied and run again with --unfinished restart"
            )
        return self

    def begin(self) -> None:
        """A statement is sent now: whether it was applied is unknown until the next note."""
        self.under_way = True
        self._write("under_way = TRUE")

    def done(self, statement: str) -> None:
        """It was applied."""
        self.applied += 1
        self.under_way = False
        self.digest = _chained(self.digest, statement)
        self._write("under_way = FALSE, applied = %s, digest = %s", self.applied, self.digest)

    def failed(self) -> None:
        """It was refused; where nothing was applied before it, nothing is left half way."""
        self.under_way = False
        if self.applied:
            self._write("under_way = FALSE")
        else:
            self.close()

    def close(self) -> None:
        """The migration is noted in yoyo's books."""
        self._server.change(
            self._connection, f"DELETE FROM {UNFINISHED_TABLE} WHERE migration_id = %s", self.name
        )

    def _write(self, change: str, *values: object) -> None:
        # The statement before it was run; not to know whether it is noted is what the book is for.
        with self._server.translated(f"The book of migration {self.name}"):
            self._server.change(
                self._connection,
                f"UPDATE {UNFINISHED_TABLE} SET {change} WHERE migration_id = %s",
                *values,
                self.name,
            )


NO_WAY_BACK: Final = "MySQL cannot take DDL back"


def _chained(digest: str, statement: str) -> str:
    return hashlib.sha256(f"{digest}\0{statement.strip()}".encode()).hexdigest()


def _place(sql: SqlFile | None, number: int) -> str:
    if sql is None or number >= len(sql.statements):
        return "its end"
    statement, line = sql.statements[number]
    # A comment belongs to the statement behind it; the place is where the words begin.
    return (
        f"{sql.path}:{line + statement[: len(statement) - len(statement.lstrip())].count(chr(10))}"
    )


def advice(book: Book, sql: SqlFile | None) -> str:
    what = f"Migration {book.name}" if book.direction == "apply" else f"Rolling back {book.name}"
    again = f"`{book.direction} --unfinished"
    restart = f"undo by hand what was applied, then {again} restart` runs it from its beginning"
    if book.statements is None:
        return (
            f"{what} stopped half way. It is written in Python: what of it was applied is not "
            f"known, and {NO_WAY_BACK}. Look at the database; {restart}"
        )
    applied = f"the first {book.applied} of its {book.statements} statements were applied"
    if book.applied == 0:
        applied = f"none of its {book.statements} statements is known to be applied"
    place = _place(sql, book.applied)
    if book.under_way:
        return (
            f"{what} stopped half way: {applied}; whether statement {book.applied + 1} at {place} "
            f"was is not known, and {NO_WAY_BACK}. Look at the database; {restart}"
        )
    return (
        f"{what} stopped half way: {applied}, and {NO_WAY_BACK}. Either mend statement "
        f"{book.applied + 1} at {place}, then {again} continue` goes on with it; or {restart}"
    )
