"""Which reader gets the next read: plain functions over the pools."""

from __future__ import annotations

import random
from itertools import count
from math import inf
from typing import TYPE_CHECKING

from aurora_sql.settings import ReaderSelection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aurora_sql.pool import Pool
    from aurora_sql.types import Instance

    Select = Callable[[Sequence[Pool]], Pool]


def fit_readers(readers: Mapping[Instance, Pool], max_lag: float | None) -> tuple[Pool, ...]:
    """Return the pools of the readers that are close enough behind the writer.

    Args:
        readers: All of them.
        max_lag: Seconds; None for any. A reader of which it is not known how far behind it is
            may be any time behind, and does not fit.
    """
    return tuple(
        pool
        for reader, pool in readers.items()
        if max_lag is None or (reader.lag is not None and reader.lag <= max_lag)
    )


def selector(
    selection: ReaderSelection,
    weight: Callable[[Pool], float] = lambda _: 1.0,
    latency: Callable[[Pool], float | None] = lambda _: None,
) -> Select:
    """Return the function that picks one of several pools.

    Args:
        selection: How.
        weight: Of a pool's instance, for ``weighted``.
        latency: Seconds that its instance takes to answer, None where that is not known, for
            ``fastest``.
    """
    match selection:
        case ReaderSelection.FASTEST:
            return _fastest(latency)
        case ReaderSelection.WEIGHTED:
            return _weighted(weight)
        case ReaderSelection.ROUND_ROBIN:
            return _round_robin()
        case ReaderSelection.RANDOM:
            # Spreading load needs no secrecy.
            return random.Random().choice  # noqa: S311
        case _:
            return _least_loaded()


def _fastest(latency: Callable[[Pool], float | None]) -> Select:
    def seconds(pool: Pool) -> float:
        found = latency(pool)
        return inf if found is None else found

    return lambda pools: min(pools, key=seconds)


def _weighted(weight: Callable[[Pool], float]) -> Select:
    chance = random.Random()  # noqa: S311 - spreading load needs no secrecy

    def select(pools: Sequence[Pool]) -> Pool:
        weights = [weight(pool) for pool in pools]
        if not any(weights):
            return chance.choice(pools)  # a share of nothing: they are all that is left
        return chance.choices(pools, weights)[0]

    return select


def _round_robin() -> Select:
    turns = count()

    def select(pools: Sequence[Pool]) -> Pool:
        return pools[next(turns) % len(pools)]

    return select


def _least_loaded() -> Select:
    turns = count()

    def select(pools: Sequence[Pool]) -> Pool:
        # Starting at another pool each time spreads equal loads evenly.
        number = len(pools)
        start = next(turns) % number
        best = pools[start]
        least = best.load
        for step in range(1, number):
            if least == 0:
                break
            pool = pools[(start + step) % number]
            load = pool.load
            if load < least:
                best, least = pool, load
        return best

    return select
