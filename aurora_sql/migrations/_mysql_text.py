"""SQL of MySQL's that takes no driver: yoyo's books, and what one transaction can hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ._server import MIGRATION_TABLE

if TYPE_CHECKING:
    from ._files import MigrationFile, SqlFile

BOOKS: Final = (
    (
        f"CREATE TABLE IF NOT EXISTS {MIGRATION_TABLE} (migration_hash VARCHAR(64), "
        "migration_id VARCHAR(255), applied_at_utc TIMESTAMP NULL, PRIMARY KEY (migration_hash))"
    ),
    (
        "CREATE TABLE IF NOT EXISTS _yoyo_log (id VARCHAR(36), migration_hash VARCHAR(64), "
        "migration_id VARCHAR(255), operation VARCHAR(10), username VARCHAR(255), "
        "hostname VARCHAR(255), comment VARCHAR(255), created_at_utc TIMESTAMP NULL, "
        "PRIMARY KEY (id))"
    ),
    (
        "CREATE TABLE IF NOT EXISTS _yoyo_version (version INT NOT NULL PRIMARY KEY, "
        "installed_at_utc TIMESTAMP NULL)"
    ),
    "INSERT IGNORE INTO _yoyo_version VALUES (2, utc_timestamp())",
)
"""What yoyo's version 2 of its own schema makes; each can be run again."""

_ROWS_ONLY: Final = re.compile(
    r"(?:\s|--[ \t][^\n]*(?:\n|\Z)|--\n|\#[^\n]*(?:\n|\Z)|/\*(?![!M]).*?\*/|\()*"
    r"(select|insert|update|delete|replace|with|values|table)\b",
    re.DOTALL | re.IGNORECASE,
)
"""Begins a statement that commits nothing by itself."""


def rows_only(file: MigrationFile, sql: SqlFile | None) -> bool:
    """Whether a migration only reads and writes rows, so that one transaction can hold it."""
    return (
        sql is not None
        and file.transactional
        and all(_ROWS_ONLY.match(text) for text, _ in sql.statements)
    )
