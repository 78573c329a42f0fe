"""The SQL that would run, as a script for psql."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._connection import MIGRATION_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._files import MigrationFile

# What yoyo's version 2 of its own schema makes.
_BOOKS = f"""\
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


def write_script(files: Sequence[MigrationFile], where: str) -> str:
    """Write the script that applies these migrations and notes them in yoyo's books."""
    if not files:
        return f"-- {where}: nothing to apply\n"
    head = (
        f"-- {where}: {len(files)} to apply\n"
        "-- Run it with: psql --no-psqlrc --set ON_ERROR_STOP=1 --file THIS_FILE\n\n"
    )
    return head + "\n".join([f"BEGIN;\n{_BOOKS}COMMIT;\n", *map(_section, files)])


def _section(file: MigrationFile) -> str:
    title = f"-- {file.id} ({file.path})\n"
    if file.sql is None:
        return (
            f"{title}-- A migration in Python: no script can show what it does. "
            "aurora-sql migrate apply runs it.\n"
        )
    body = "".join(_terminated(statement) for statement, _ in file.sql.statements)
    note = "" if file.after_each else f"RESET ROLE;\nRESET search_path;\n{_note(file)}"
    if file.transactional:
        return f"{title}BEGIN;\n{body}{note}COMMIT;\n"
    # What cannot run in a transaction is noted after it.
    return f"{title}{body}{note}"


def _terminated(statement: str) -> str:
    text = statement.strip()
    # On a line of its own: the statement may end in a comment.
    return f"{text}\n" if text.endswith(";") else f"{text}\n;\n"


def _note(file: MigrationFile) -> str:
    name = "'" + file.id.replace("'", "''") + "'"
    digest = f"'{file.handle.hash}'"
    now = "timezone('utc', now())"
    return (
        f"INSERT INTO {MIGRATION_TABLE} (migration_hash, migration_id, applied_at_utc)\n"
        f"    VALUES ({digest}, {name}, {now});\n"
        "INSERT INTO _yoyo_log (id, migration_hash, migration_id, operation, username, comment, "
        "created_at_utc)\n"
        f"    VALUES (gen_random_uuid()::text, {digest}, {name}, 'apply', current_user, "
        f"'by script', {now});\n"
    )
