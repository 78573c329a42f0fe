"""When things happen in a shop: growth, seasons, weekdays, hours."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate, repeat
from math import exp
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

YEARLY_GROWTH = 1.35
MONTHS = (0.86, 0.88, 0.95, 0.96, 0.98, 0.93, 0.88, 0.87, 0.98, 1.05, 1.30, 1.42)
"""January to December: quiet summers, and a fifth of the year's orders before Christmas."""
WEEKDAYS = (1.12, 1.06, 1.02, 1.00, 0.92, 0.82, 1.06)
"""Monday to Sunday."""
_HOURS = (
    6, 3, 2, 1, 1, 2, 6, 14, 22, 29, 34, 36, 38, 36, 33, 32, 33, 36, 42, 52, 58, 50, 31, 14,
)  # fmt: skip  # one row for one day
_HOUR_CUM_WEIGHTS = tuple(accumulate(_HOURS))
_DAY_NOISE = 0.07

STATUSES = ("pending", "paid", "shipped", "delivered", "cancelled", "returned")
_STATUS_CUM_WEIGHTS_BY_AGE: tuple[tuple[float, tuple[float, ...]], ...] = (
    # until this age in days: pending, paid, shipped, delivered, cancelled, returned
    (1, tuple(accumulate((45, 50, 0, 0, 5, 0)))),
    (2, tuple(accumulate((10, 55, 29, 0, 6, 0)))),
    (4, tuple(accumulate((3, 15, 62, 14, 6, 0)))),
    (8, tuple(accumulate((0, 1, 25, 66, 7, 1)))),
    (30, tuple(accumulate((0, 0, 1, 88, 7, 4)))),
    (float("inf"), tuple(accumulate((0, 0, 0, 875, 70, 55)))),
)


def status_cum_weights(age: int) -> tuple[float, ...]:
    """Cumulative weights of :data:`STATUSES` for an order that is ``age`` days old."""
    return next(weights for limit, weights in _STATUS_CUM_WEIGHTS_BY_AGE if age < limit)


def day_weights(rng: random.Random, first: date, days: int) -> list[float]:
    """How busy each of ``days`` days from ``first`` on is, relative to the others."""
    weights = []
    for number in range(days):
        day = first + timedelta(days=number)
        growth = YEARLY_GROWTH ** (number / 365)
        noise = exp(_DAY_NOISE * rng.gauss(0.0, 1.0))
        weights.append(growth * MONTHS[day.month - 1] * WEEKDAYS[day.weekday()] * noise)
    return weights


def allocate(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to ``weights`` that add up to exactly ``total``."""
    cumulative = list(accumulate(weights))
    marks = [round(total * mark / cumulative[-1]) for mark in cumulative]
    return [after - before for before, after in zip([0, *marks], marks, strict=False)]


def midnight(day: date) -> datetime:
    """The first moment of a day, UTC."""
    return datetime.combine(day, time.min, tzinfo=UTC)


def moments(rng: random.Random, day: date, count: int) -> Iterable[datetime]:
    """``count`` moments of a day, ascending, more of them in the evening than at night."""
    start = midnight(day)
    random_ = rng.random
    hours = rng.choices(range(24), cum_weights=_HOUR_CUM_WEIGHTS, k=count)
    seconds = sorted([(hour + random_()) * 3600.0 for hour in hours])
    return map(start.__add__, map(timedelta, repeat(0), seconds))
