"""Schema migrations, through yoyo, on the writer and under a lock.

A migration is ``NAME.sql`` with ``NAME.rollback.sql`` beside it, or a Python file in yoyo's
form; :func:`new` makes them. yoyo's own command reads and writes the same books.
"""

from ._api import apply, ensure_created, latest, rollback, script, status
from ._files import new
from ._types import AppliedMigration, MigrationState, MigrationStatus, Unfinished

__all__ = [
    "AppliedMigration",
    "MigrationState",
    "MigrationStatus",
    "Unfinished",
    "apply",
    "ensure_created",
    "latest",
    "new",
    "rollback",
    "script",
    "status",
]
