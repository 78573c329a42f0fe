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


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One migration and where it stands.

    Attributes:
        id: Name of its file without the suffix.
        state: Applied, pending, or applied without a file.
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
