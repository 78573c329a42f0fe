"""Closed queueing networks: how throughput grows with the number of callers. Pure functions.

A *curve* is a tuple of throughputs per second: ``curve[n - 1]`` is that of a part of the network
with ``n`` operations inside it. Two parts that operations visit in turn are one part again, whose
curve follows from theirs. That is exact for the stations of a product-form network (Chandy, Herzog,
Woo: "Parametric analysis of queuing networks", IBM J. Res. Dev. 19, 1975), and gives what exact
mean value analysis gives (Reiser, Lavenberg: "Mean-value analysis of closed multichain queuing
networks", J. ACM 27, 1980), without the subtractions that make the latter unstable for stations of
several cores. For a part whose population is limited, as by a pool, it is an approximation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Curve = tuple[float, ...]

_LARGE = 1e200
_NOTHING = 1e-12
"""Seconds that are as good as none: rates beyond them would leave the range of numbers."""


@dataclass(frozen=True, slots=True)
class Station:
    """Where operations spend time.

    Attributes:
        name: For people.
        demand: Seconds of one server's time that an operation takes here, all visits together.
        servers: How many operations are served at once: cores; ``math.inf`` for a mere delay.
        count: So many of these side by side, each visited by the same share of the operations.

    Raises:
        ValueError: A number is out of its range.
    """

    name: str
    demand: float
    servers: float = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not (self.demand >= 0 and math.isfinite(self.demand)):
            raise ValueError(f"{self.name}: demand={self.demand!r}: must be 0 seconds or more")
        if not (self.servers > 0 and self.count >= 1):
            raise ValueError(
                f"{self.name}: servers={self.servers!r}, count={self.count!r}: must be more than 0,"
                " and 1 or more"
            )

    @property
    def most(self) -> float:
        """Operations per second when all its servers are busy; infinite for a delay."""
        return self.servers * self.count / self.demand if self.demand else math.inf


@dataclass(frozen=True, slots=True)
class Solution:
    """A network at one population.

    Attributes:
        throughput: Operations per second.
        response: Seconds from an operation's start to its end; the caller's own time between two
            is left out.
        utilisation: Busy share of each station's servers, by name; delays have none.
    """

    throughput: float
    response: float
    utilisation: dict[str, float]

    @property
    def bottleneck(self) -> str:
        """Name of the busiest station; empty where nothing queues."""
        return max(self.utilisation, key=self.utilisation.__getitem__, default="")


def throughput_between(first: Sequence[float], second: Sequence[float]) -> float:
    """Throughput of two parts that operations visit in turn: a birth and death process.

    Args:
        first: Rates at which operations leave the first part when 0, 1, … all of them are in it.
        second: Rates at which they leave the second part, also by the number in the *first*.
    """
    weight = total = 1.0
    moved = 0.0
    for inside in range(1, len(first)):
        weight *= second[inside - 1] / first[inside]
        total += weight
        moved += weight * first[inside]
        if weight > _LARGE:
            # Only the proportions count. Rates never fall as parts fill up, so that weights rise
            # to one peak and fall again: what vanishes here is not missed later.
            total, moved, weight = total / _LARGE, moved / _LARGE, weight / _LARGE
    return moved / total


@lru_cache(maxsize=256)
def in_turn(first: Curve, second: Curve) -> Curve:
    """The curve of two parts that operations visit one after the other."""
    return tuple(
        throughput_between((0.0, *first[:n]), (*reversed(second[:n]), 0.0))
        for n in range(1, len(first) + 1)
    )


@lru_cache(maxsize=256)
def side_by_side(one: Curve, count: int) -> Curve:
    """The curve of parts alike, each visited by the same share of the operations.

    Args:
        one: The curve of one of them, if it got all operations.
        count: How many there are.
    """
    # An operation takes this share of the time at each.
    doubled: Curve = tuple(rate * count for rate in one)
    whole: Curve | None = None
    while count:
        if count % 2:
            whole = doubled if whole is None else in_turn(whole, doubled)
        count //= 2
        if count:
            doubled = in_turn(doubled, doubled)
    return whole or one


def curve_of(station: Station, population: int) -> Curve:
    """The curve of a station whose demand is not 0."""
    one = tuple(min(n, station.servers) / station.demand for n in range(1, population + 1))
    return one if station.count == 1 else side_by_side(one, station.count)


def curve(stations: Iterable[Station], population: int) -> Curve:
    """The curve of a network up to a population.

    Raises:
        ValueError: Nothing in it takes any time, or the population is below 1.
    """
    if population < 1:
        raise ValueError(f"population={population!r}: must be 1 or more")
    whole: Curve | None = None
    for station in stations:
        if station.demand >= _NOTHING:
            part = curve_of(station, population)
            whole = part if whole is None else in_turn(whole, part)
    if whole is None:
        raise ValueError("no station takes any time: the throughput has no bound")
    return whole


def limited(inside: Curve, most: int, population: int) -> Curve:
    """The curve of a part that at most so many operations may enter; the others wait before it.

    Args:
        inside: Its curve, up to ``most`` or further.
        most: Operations that may be inside, such as the connections of pools.
        population: How far the curve is needed.
    """
    return tuple(inside[min(n, most) - 1] for n in range(1, population + 1))


def solve(
    stations: Iterable[Station], population: int, *, most: int | None = None, think: float = 0.0
) -> Solution:
    """Solve a network in which so many callers make one operation after the other.

    Args:
        stations: What an operation passes.
        population: Callers.
        most: Operations that may be inside at once; None for any number.
        think: Seconds that a caller does something else between two operations.

    Raises:
        ValueError: A number is out of its range, or nothing takes any time.
    """
    if (most is not None and most < 1) or not think >= 0:
        raise ValueError(f"most={most!r}, think={think!r}: must be 1 or more, and 0 s or more")
    stations = tuple(stations)
    bound = population if most is None else min(most, population)
    whole = limited(curve(stations, bound), bound, population)
    if think >= _NOTHING:
        whole = in_turn(curve_of(Station("think", think, math.inf), population), whole)
    found = whole[-1]
    return Solution(
        throughput=found,
        response=population / found - think,
        utilisation={
            one.name: found / one.most for one in stations if one.demand and one.servers < math.inf
        },
    )


def bounds(stations: Iterable[Station], population: int, think: float = 0.0) -> tuple[float, float]:
    """The throughputs that a network lies between, by operational laws alone.

    The upper one is the smaller of that of callers who never wait for each other and that of the
    busiest station (Denning, Buzen: "The operational analysis of queueing network models", ACM
    Computing Surveys 10, 1978); the lower one is that of callers who wait for all others at every
    station.
    """
    stations = tuple(stations)
    alone = sum(one.demand for one in stations)
    fewest = population / (population * alone + think)
    return fewest, min(population / (alone + think), *(one.most for one in stations))


def on_shared_cores(
    client: float, server: float, *, processes: int, cores: float, population: int
) -> Curve:
    """The curve of clients and a server that share the cores of one machine.

    A process of the client runs on one core at a time, the server on as many as it has
    connections that want something. Where more want to run than there are cores, each gets the
    same share.

    Args:
        client: Seconds of processor time of the client for an operation.
        server: The same of the server.
        processes: Processes of the client; callers belong to them in equal parts.
        cores: Cores that are there for both.
        population: How far the curve is needed.

    Raises:
        ValueError: A number is not above 0.
    """
    if not (client > 0 and server > 0 and processes >= 1 and cores > 0):
        raise ValueError(
            f"client={client!r}, server={server!r}, processes={processes!r}, cores={cores!r}:"
            " must be more than 0"
        )

    def rates(at_client: int, at_server: int) -> tuple[float, float]:
        # Of so many processes, that many have one or more of the operations on average.
        running = processes * (1 - (1 - 1 / processes) ** at_client)
        share = min(1.0, cores / (running + at_server))
        return running * share / client, at_server * share / server

    def throughput(inside: int) -> float:
        leaving = [rates(at_client, inside - at_client) for at_client in range(inside + 1)]
        return throughput_between([one for one, _ in leaving], [one for _, one in leaving])

    return tuple(throughput(inside) for inside in range(1, population + 1))
