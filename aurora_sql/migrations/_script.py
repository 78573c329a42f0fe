"""The SQL that would run, as a script for psql or for the command ``mysql``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from aurora_sql.types import Engine

from ._mysql_text import BOOKS, rows_only
from ._server import MIGRATION_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._files import MigrationFile

# What yoyo's version 2 of its own schema makes.
_POSTGRESQL_BOOKS: Final = f"""\
CREATE TABLE IF NOT EXISTS {MIGRATION_TABLE} (
    migration_hash VARCHAR(64), migration_id VARCHAR(255), applied_at_utc TIMESTAMP,
    PRIMARY KEY (migration_hash));
CREATE TABLE IF NOT EXISTS _yoyo_log (
    id VARCHAR(36), migration_hash VARCHAR(64), migration_id VARCHAR(255), operation VARCHAR(10),
    username VARCHAR(255), hostname VARCHAR(255), comment VARCHAR(255), created_at_utc TIMESTAMP,
    PRIMARY KEY (id));
CREATE TABLE IF NOT EXISTS _yoyo_version (
    version INT NOT NULL PRIMARY KEY, installed_at_utc TIMESTAMP);
INSERT INTO _yoyo_version VALUES (2, timezone('utc', now())) ON CONFLICT DO NOTHING;
"""


def write_script(files: Sequence[MigrationFile], where: str, engine: Engine) -> str:
    """Write the script that applies these migrations and notes them in yoyo's books."""
    if not files:
        return f"-- {where}: nothing to apply\n"
    form: _Form = _Mysql() if engine is Engine.MYSQL else _Postgresql()
    head = f"-- {where}: {len(files)} to apply\n-- Run it with: {form.command}\n\n"
    return head + "\n".join([form.books(), *(_section(form, one) for one in files)])


class _Form(ABC):
    """How one engine has it."""

    command: str

    @abstractmethod
    def books(self) -> str:
        """Statements that make yoyo's tables."""

    @abstractmethod
    def statement(self, text: str) -> str:
        """A statement with its end."""

    @abstractmethod
    def note(self, file: MigrationFile) -> str:
        """Statements that note a migration."""

    @abstractmethod
    def whole(self, file: MigrationFile, body: str, note: str) -> str:
        """The statements of a migration and its note, in one transaction where that can be."""


class _Postgresql(_Form):
    command = "psql --no-psqlrc --set ON_ERROR_STOP=1 --file THIS_FILE"

    def books(self) -> str:
        return f"BEGIN;\n{_POSTGRESQL_BOOKS}COMMIT;\n"

    def statement(self, text: str) -> str:
        # On a line of its own: the statement may end in a comment.
        return f"{text}\n" if text.endswith(";") else f"{text}\n;\n"

    def note(self, file: MigrationFile) -> str:
        lines = _note(file, "timezone('utc', now())", "gen_random_uuid()::text", "current_user")
        return f"RESET ROLE;\nRESET search_path;\n{lines}"

    def whole(self, file: MigrationFile, body: str, note: str) -> str:
        # What cannot run in a transaction is noted after it.
        return f"BEGIN;\n{body}{note}COMMIT;\n" if file.transactional else f"{body}{note}"


class _Mysql(_Form):
    command = "mysql --default-character-set=utf8mb4 DATABASE < THIS_FILE"

    def books(self) -> str:
        return "SET time_zone = '+00:00';\n" + "".join(map(self.statement, BOOKS))

    def statement(self, text: str) -> str:
        if ";" not in text.removesuffix(";"):
            return f"{text}\n" if text.endswith(";") else f"{text}\n;\n"
        # The body of a routine, or a semicolon in a string: the command would cut it there.
        end = "$$"
        while end in text:
            end += "$"
        return f"DELIMITER {end}\n{text}\n{end}\nDELIMITER ;\n"

    def note(self, file: MigrationFile) -> str:
        return _note(file, "utc_timestamp()", "uuid()", "current_user()")

    def whole(self, file: MigrationFile, body: str, note: str) -> str:
        if rows_only(file, file.sql):
            return f"START TRANSACTION;\n{body}{note}COMMIT;\n"
        # DDL commits at once.
        return f"{body}START TRANSACTION;\n{note}COMMIT;\n" if note else body


def _section(form: _Form, file: MigrationFile) -> str:
    title = f"-- {file.id} ({file.path})\n"
    if file.sql is None:
        return (
            f"{title}-- A migration in Python: no script can show what it does. "
            "aurora-sql migrate apply runs it.\n"
        )
    body = "".join(form.statement(text.strip()) for text, _ in file.sql.statements)
    return title + form.whole(file, body, "" if file.after_each else form.note(file))


def _note(file: MigrationFile, now: str, number: str, user: str) -> str:
    name = "'" + file.id.replace("'", "''") + "'"
    digest = f"'{file.handle.hash}'"
    return (
        f"INSERT INTO {MIGRATION_TABLE} (migration_hash, migration_id, applied_at_utc)\n"
        f"    VALUES ({digest}, {name}, {now});\n"
        "INSERT INTO _yoyo_log (id, migration_hash, migration_id, operation, username, comment, "
        "created_at_utc)\n"
        f"    VALUES ({number}, {digest}, {name}, 'apply', {user}, 'by script', {now});\n"
    )
