"""What callers were told of each unit of work, and what the table says of it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Verdict:
    """The ledger against the table.

    Attributes:
        lost: Acknowledged, and not there.
        doubled: There more than once.
        applied: In doubt, and there.
        unaccounted: There, though their callers were told that they are not.
    """

    lost: int
    doubled: int
    applied: int
    unaccounted: int


@dataclass(slots=True)
class Ledger:
    """Notes of one subject's callers; each unit of work has a number of its own.

    Attributes:
        acknowledged: Units whose callers were told that they are done.
        acknowledged_at: Times of ``time.monotonic()`` at which they were told, ascending.
        in_doubt: Units of which nobody knows: COMMIT was sent and not answered.
        refused: Units that are not done, as far as their callers were told.
        errors: What those callers got, by the name of its class.
        reads: Reads that were answered.
        read_errors: Reads that were not, by the name of the error's class.
    """

    acknowledged: set[int] = field(default_factory=set)
    acknowledged_at: list[float] = field(default_factory=list)
    in_doubt: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    errors: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    read_errors: Counter[str] = field(default_factory=Counter)

    def acknowledge(self, number: int, at: float) -> None:
        """Note that a caller was told that its unit is done."""
        self.acknowledged.add(number)
        self.acknowledged_at.append(at)

    def refuse(self, number: int, error: Exception) -> None:
        """Note that a caller got an error that is no doubt."""
        self.refused.add(number)
        self.errors[type(error).__name__] += 1

    def first_after(self, moment: float) -> float | None:
        """When the first unit after a moment was acknowledged; None if there is none."""
        place = bisect_right(self.acknowledged_at, moment)
        return self.acknowledged_at[place] if place < len(self.acknowledged_at) else None

    def longest_gap(self) -> float:
        """The longest time in seconds between two acknowledged units."""
        return max((after - before for before, after in pairwise(self.acknowledged_at)), default=0)

    def compare(self, written: Iterable[int]) -> Verdict:
        """Judge what callers were told by the numbers that the table has, repetitions included."""
        there = Counter(written)
        return Verdict(
            lost=len(self.acknowledged - there.keys()),
            doubled=sum(1 for times in there.values() if times > 1),
            applied=len(self.in_doubt & there.keys()),
            unaccounted=len(there.keys() - self.acknowledged - self.in_doubt),
        )
