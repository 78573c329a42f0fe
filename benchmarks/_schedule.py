"""When the calls of an open loop are to start, and whether the rate was held. Pure functions."""

from __future__ import annotations

import random
from array import array
from enum import StrEnum

_NANOSECONDS = 1_000_000_000
_MOST_ARRIVALS = 50_000_000
_BACKLOG_SHARE = 0.01


class Arrivals(StrEnum):
    """How arrivals are spread over time."""

    POISSON = "poisson"
    CONSTANT = "constant"


def schedule(rate: float, seconds: float, arrivals: Arrivals, seed: int) -> array[int]:
    """Starts in nanoseconds after the begin of the measurement, ascending, all before its end.

    The schedule is made before the measurement and never looks at the answers: a server that
    stalls cannot slow down the clients that would have come meanwhile.

    Args:
        rate: Arrivals per second.
        seconds: Length of the measurement.
        arrivals: ``POISSON`` as from many independent users, ``CONSTANT`` like a metronome.
        seed: Makes the Poisson schedule repeatable.

    Raises:
        ValueError: The rate or the length is not positive, or too many arrivals would result.
    """
    if not (rate > 0 and seconds > 0):
        raise ValueError(f"rate and seconds must be positive, not {rate} and {seconds}")
    if rate * seconds > _MOST_ARRIVALS:
        raise ValueError(f"{rate:,.0f} arrivals a second for {seconds:,.0f} s are too many to hold")
    end = int(seconds * _NANOSECONDS)
    starts = array("q")
    if arrivals is Arrivals.CONSTANT:
        starts.extend(int(number * _NANOSECONDS / rate) for number in range(int(rate * seconds)))
        return starts
    # Not for secrets: the same seed must give the same arrivals to all that are compared.
    generator = random.Random(seed)  # noqa: S311 - see above
    at = 0.0
    while True:
        at += generator.expovariate(rate) * _NANOSECONDS
        if at >= end:
            return starts
        starts.append(int(at))


def held(*, offered: int, completed: int, backlog: int, callers: int) -> bool:
    """Whether the rate was held: every arrival was answered, and none piled up.

    A backlog at the end of the schedule is normal up to one call in flight for each caller;
    beyond it one per cent of the arrivals is put down to chance.

    Args:
        offered: Arrivals of the schedule.
        completed: Calls that were answered in the end.
        backlog: Arrivals without an answer at the moment when the schedule ended.
        callers: Calls that may be in flight at once.
    """
    return completed == offered and backlog <= callers + _BACKLOG_SHARE * offered
