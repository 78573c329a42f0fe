"""What the functions of this package return."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


class MigrationState(StrEnum):
    """Where a migration stands."""

    APPLIED = "applied"
    PENDING = "pending"
    MISSING = "missing"
    """Applied, but its file is gone."""
    UNFINISHED = "unfinished"
    """Applied or rolled back half way, on MySQL, which cannot take DDL back."""


class Unfinished(StrEnum):
    """What to do about a migration that stopped half way, on MySQL."""

    CONTINUE = "continue"
    """Go on with the statement that failed; those before it must stand in the file as they were."""
    RESTART = "restart"
    """Run it from its beginning: what had been done of it was undone by hand."""


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One migration and where it stands.

    Attributes:
        id: Name of its file without the suffix.
        state: Applied, pending, applied without a file, or stopped half way.
        applied_at: When it was applied, in UTC; None while pending.
        path: The file, None if it is missing.
    """

    id: str
    state: MigrationState
    applied_at: datetime | None
    path: Path | None


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """One migration that was just applied, or rolled back.

    Attributes:
        id: Name of its file without the suffix.
        path: The file.
        seconds: How long it took.
    """

    id: str
    path: Path
    seconds: float
