"""Medians, spreads and ratios of rounds. Pure functions."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Sequence

_T = TypeVar("_T")

Verdict = Literal["better", "worse", "within the spread"]


class Spread(BaseModel):
    """One figure over several rounds.

    Attributes:
        median: The middle of the rounds.
        low: The smallest of them.
        high: The largest of them.
        rounds: How many there were.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one value per round.

        Raises:
            ValueError: There is no value.
        """
        if not values:
            raise ValueError("a spread needs at least one round")
        return cls(
            median=statistics.median(values), low=min(values), high=max(values), rounds=len(values)
        )


def rotated(items: Sequence[_T], turn: int) -> tuple[_T, ...]:
    """The items in the order of one round: each is first once in ``len(items)`` rounds.

    Whoever runs first in every round would always meet the caches and the checkpoints that
    the others left behind.
    """
    if not items:
        return ()
    start = turn % len(items)
    return (*items[start:], *items[:start])


def ratios(ours: Sequence[float], floor: Sequence[float]) -> list[float]:
    """Ours divided by the floor, round by round; rounds in which the floor is 0 are left out.

    A ratio within one round is blind to what the machine did between the rounds, which the
    ratio of two medians is not.

    Raises:
        ValueError: The two have not the same number of rounds.
    """
    if len(ours) != len(floor):
        raise ValueError(f"{len(ours)} rounds cannot be compared with {len(floor)}")
    return [mine / other for mine, other in zip(ours, floor, strict=True) if other > 0]


def verdict(earlier: Spread, now: Spread, *, more_is_better: bool = True) -> Verdict:
    """Whether two spreads are apart: only ranges that do not overlap count as a change."""
    if now.low > earlier.high:
        return "better" if more_is_better else "worse"
    if now.high < earlier.low:
        return "worse" if more_is_better else "better"
    return "within the spread"
