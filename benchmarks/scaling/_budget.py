"""How many connections a fleet opens, needs, and may have. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Engine
from benchmarks.scaling._model import stations
from benchmarks.scaling._queues import curve

if TYPE_CHECKING:
    from benchmarks.scaling._model import Fleet, ServiceTimes

KEPT_FREE = 10
"""Connections for administration, monitoring and Amazon's own sessions."""
PLANNED = 0.7
"""Share of the most that a fleet can do at which it is planned to run, where no rate is given."""
COVERED = 0.999
"""Share of moments in which a pool of the recommended size has a connection for every call."""
_GIGABYTE = 1_000_000_000
_MOST_INSIDE = 2_000


@dataclass(frozen=True, slots=True)
class Budget:
    """The connections of a fleet.

    Attributes:
        fleet: Whose.
        instance: Connections to each instance when all pools are full, the monitors' included.
        cluster: The same to all instances together.
        allowed: ``max_connections`` of an instance; None if neither it nor the memory was given.
        rate: Operations per second of the whole fleet at which pools are looked at.
        response: Seconds for which an operation has its connection at that rate.
        busy: Connections in use on average in each pool for the busiest instance, by Little's law.
        recommended: For ``max_pool_size``.
        largest_pool: Most that ``max_pool_size`` may be for all to fit; None without ``allowed``.
        warnings: What does not fit, a sentence each.
    """

    fleet: Fleet
    instance: int
    cluster: int
    allowed: int | None
    rate: float
    response: float
    busy: float
    recommended: int
    largest_pool: int | None
    warnings: tuple[str, ...]


def default_max_connections(engine: Engine, memory: float) -> int:
    """Aurora's default of ``max_connections``.

    PostgreSQL: ``LEAST({DBInstanceClassMemory/9531392}, 5000)``. MySQL:
    ``GREATEST({log(DBInstanceClassMemory/805306368)*45},
    {log(DBInstanceClassMemory/8187281408)*1000})`` with the logarithm to the base of 2. Source:
    Amazon Aurora User Guide, "Maximum connections to an Aurora PostgreSQL DB instance" and
    "Maximum connections to an Aurora MySQL DB instance".

    Args:
        engine: Of the cluster.
        memory: Bytes of ``DBInstanceClassMemory``: what an instance has, less what the system
            and Amazon's management take.

    Raises:
        ConfigurationError: There is less memory than any instance class has.
    """
    if not memory >= _GIGABYTE:
        raise ConfigurationError(
            f"--instance-memory must be 1 GiB or more, not {memory / _GIGABYTE:g}"
        )
    if engine is Engine.POSTGRESQL:
        return min(int(memory / 9_531_392), 5_000)
    small, large = math.log2(memory / 805_306_368) * 45, math.log2(memory / 8_187_281_408) * 1_000
    return int(max(small, large))


def class_memory(gib: float) -> float:
    """What is taken for ``DBInstanceClassMemory`` of a class with so many GiB, in bytes.

    Amazon's guide counts 10**9 bytes for each GiB in its own example (15.25 GiB make 1,600
    connections), which leaves 7 % to the system.
    """
    return gib * _GIGABYTE


def poisson_quantile(mean: float, share: float) -> int:
    """The least number that a Poisson variable does not exceed with such a probability."""
    if not (mean >= 0 and 0 < share < 1):
        raise ValueError(f"mean={mean!r}, share={share!r}: must be 0 or more, and between 0 and 1")
    # In logarithms: the probability of 0 vanishes where the mean is large.
    count, log_term = 0, -mean
    total = math.exp(log_term)
    while total < share and count < 10 * mean + 100:
        count += 1
        log_term += math.log(mean / count)
        total += math.exp(log_term)
    return count


def budget(
    fleet: Fleet,
    read: ServiceTimes,
    write: ServiceTimes | None = None,
    *,
    rate: float | None = None,
    allowed: int | None = None,
) -> Budget:
    """The connections that a fleet opens and needs.

    Args:
        fleet: The fleet.
        read: What a simple read takes.
        write: What a simple write takes; None where the fleet only reads.
        rate: Operations per second of the whole fleet; by default 70 % of what its busiest
            station can do.
        allowed: ``max_connections`` of an instance.

    Raises:
        ConfigurationError: The fleet cannot do that rate, or see :func:`stations`.
    """
    passed = stations(fleet, read, write)
    most = min(station.most for station in passed)
    if rate is None:
        rate = PLANNED * most
    elif not 0 < rate < most:
        raise ConfigurationError(
            f"--rate must be more than 0 and less than {most:,.0f}, the most that the busiest"
            f" station of this fleet can do, not {rate:g}"
        )
    inside = _inside_at(rate, fleet, read, write)
    busy = inside * fleet.largest_share / fleet.pools
    recommended = max(poisson_quantile(busy, COVERED), 2)
    instance = fleet.pools * (fleet.pool + 1)
    largest = None if allowed is None else max((allowed - KEPT_FREE) // fleet.pools - 1, 0)
    return Budget(
        fleet=fleet,
        instance=instance,
        cluster=instance * (1 + fleet.readers),
        allowed=allowed,
        rate=rate,
        response=inside / rate,
        busy=busy,
        recommended=recommended,
        largest_pool=largest,
        warnings=_warnings(fleet, instance, allowed, largest, busy, recommended),
    )


def _inside_at(rate: float, fleet: Fleet, read: ServiceTimes, write: ServiceTimes | None) -> float:
    """How many operations have a connection at a rate: throughput times response, interpolated."""
    passed = stations(fleet, read, write)
    reach = 64
    while True:
        found = curve(passed, reach)
        if found[-1] >= rate:
            break
        if reach >= _MOST_INSIDE:
            raise ConfigurationError(
                f"--rate {rate:,.0f}: so near to the most that this fleet can do, the calls at work"
                f" are beyond {_MOST_INSIDE:,}: plan with less, or with more services or readers"
            )
        reach = min(2 * reach, _MOST_INSIDE)
    count = next(n for n, one in enumerate(found, 1) if one >= rate)
    below = found[count - 2] if count > 1 else 0.0
    return count - 1 + (rate - below) / (found[count - 1] - below)


def _warnings(
    fleet: Fleet,
    instance: int,
    allowed: int | None,
    largest: int | None,
    busy: float,
    recommended: int,
) -> tuple[str, ...]:
    found = []
    if allowed is not None and largest is not None and instance > allowed - KEPT_FREE:
        fits = f"--pool {largest} fits" if largest else "no pool fits: use fewer processes"
        found.append(
            f"{instance:,} connections to each instance are too many: {allowed:,} are allowed, of"
            f" which {KEPT_FREE} are kept free; {fits}"
        )
    elif allowed is not None and 2 * instance > allowed - KEPT_FREE:
        found.append(
            "a deployment that starts all new services before the old ones end opens"
            f" {2 * instance:,} connections to each instance, and {allowed:,} are allowed"
        )
    if fleet.pool < busy:
        found.append(
            f"the pools are the bottleneck: {fleet.pool} connections each, where {busy:.1f} are in"
            " use on average at that rate"
        )
    elif fleet.pool < recommended:
        found.append(
            f"calls will wait for connections: {fleet.pool} in each pool, where at times"
            f" {recommended} are in use at that rate"
        )
    if largest is not None and 0 < largest < recommended:
        found.append(
            f"the pools that this rate needs ({recommended}) do not fit into {allowed:,}"
            " connections: use fewer processes, larger instances or more readers"
        )
    return tuple(found)
