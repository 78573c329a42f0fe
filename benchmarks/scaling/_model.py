"""What the measured service times say: of this machine, and of others. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError
from benchmarks.scaling._cells import CALIBRATING
from benchmarks.scaling._queues import (
    Curve,
    Solution,
    Station,
    curve,
    curve_of,
    in_turn,
    limited,
    on_shared_cores,
    solve,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.scaling._results import OperationName, Point, ScalingResult

_LEAST_CORES = 0.05
"""What is left of a machine that others keep busy: never nothing."""


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """What one operation takes, in seconds.

    Attributes:
        client: Processor time of the client.
        server: Processor time of the instance that runs it.
        replication: Processor time of the cluster's other instances.
        waiting: What is left of a lone call's time: waking up, the commit's way to the storage.
    """

    client: float
    server: float
    replication: float = 0.0
    waiting: float = 0.0

    def scaled(self, client: float = 1.0, server: float = 1.0) -> ServiceTimes:
        """The same on processors that take so many times as long."""
        return replace(
            self,
            client=self.client * client,
            server=self.server * server,
            replication=self.replication * server,
        )


@dataclass(frozen=True, slots=True)
class Check:
    """The model beside a measurement.

    Attributes:
        point: What was measured.
        measured: Operations per second of its calmest round.
        predicted: Operations per second, by the model.
        own: The same if it is fed with the processor times of that very measurement: what is
            still wrong then is the network of stations, not the times in it.
        fed: The measurement fed the model, so that it proves nothing.
    """

    point: Point
    measured: float
    predicted: float
    own: float
    fed: bool

    @property
    def error(self) -> float:
        """By how much of what was measured the prediction is off; above 0: too high."""
        return self.predicted / self.measured - 1

    @property
    def own_error(self) -> float:
        """The same of the prediction by its own processor times."""
        return self.own / self.measured - 1


@dataclass(frozen=True, slots=True)
class Fleet:
    """Services in front of one cluster; durations in seconds.

    Attributes:
        services: Machines or containers of the service.
        processes: Processes of each, each with an event loop, a core of its own, and its pools.
        callers: Calls that a process makes at the same time, each as soon as the one before is
            answered and ``think`` is over.
        readers: Readers of the cluster; with none the writer reads.
        pool: Connections of a process to each instance, at most.
        cores: Cores of each instance.
        network: A round trip between service and instance.
        think: What a caller does between two operations.
        reads: Share of operations that are simple reads; the others are simple writes.
    """

    services: int = 4
    processes: int = 2
    callers: int = 8
    readers: int = 2
    pool: int = 20
    cores: int = 8
    network: float = 0.0005
    think: float = 0.0
    reads: float = 1.0

    def __post_init__(self) -> None:
        for name in ("services", "processes", "callers", "pool", "cores"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"--{name} must be 1 or more, not {getattr(self, name)}")
        if self.readers < 0:
            raise ConfigurationError(f"--readers must be 0 or more, not {self.readers}")
        for name in ("network", "think"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigurationError(f"--{name}-ms must be 0 or more, not {value * 1000:g}")
        if not 0 <= self.reads <= 1:
            raise ConfigurationError(f"--reads must be 0 to 1, not {self.reads:g}")

    @property
    def pools(self) -> int:
        """Processes, each with one pool for each instance."""
        return self.services * self.processes

    @property
    def serving(self) -> int:
        """Instances that get operations."""
        if not self.readers:
            return 1
        return (self.readers if self.reads > 0 else 0) + (1 if self.reads < 1 else 0)

    @property
    def largest_share(self) -> float:
        """Share of the operations that the instance gets which gets most."""
        if not self.readers:
            return 1.0
        return max(self.reads / self.readers, 1 - self.reads)

    @property
    def population(self) -> int:
        """Callers, all together."""
        return self.pools * self.callers

    @property
    def connections(self) -> int:
        """Operations that have a connection, at most."""
        return self.pools * min(self.callers, self.pool * self.serving)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of a fleet."""

    fleet: Fleet
    solution: Solution


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How the throughput changes with one input.

    Attributes:
        what: The input.
        fewer: Operations per second where it is less by the share.
        more: Operations per second where it is more.
    """

    what: str
    fewer: float
    more: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """The prediction for a fleet and its neighbourhood, as plain data.

    Attributes:
        fleet: The one that was asked for.
        times: What an operation of its mix takes.
        assumed: The assumptions, a sentence each.
        here: Its prediction.
        grid: Predictions for other numbers of services and readers, by both.
        sensitivity: What 20 % more or less of an input does to ``here``.
    """

    fleet: Fleet
    times: ServiceTimes
    assumed: tuple[str, ...]
    here: Prediction
    grid: dict[tuple[int, int], Prediction]
    sensitivity: tuple[Sensitivity, ...]


def readers_of(count: int) -> str:
    """A number of readers in words."""
    if not count:
        return "writer only"
    return "1 reader" if count == 1 else f"{count} readers"


# From measurements to service times


def _find(points: Iterable[Point], callers: int) -> Point:
    for point in points:
        if point.cell.callers == callers:
            return point
    raise ConfigurationError(
        f"the result has no measurement with {callers} callers, which the model is fed with:"
        " measure again"
    )


def service_times(result: ScalingResult, operation: OperationName = "read") -> ServiceTimes:
    """What a simple read or write takes, by two measurements of one process.

    Both in their calmest round: whoever else works on the machine only ever adds time.
    Processor times are those with 16 callers, where an event loop serves several calls in a turn.
    What a lone call waits for without anybody's processor working is the rest of its time.

    Raises:
        ConfigurationError: The result lacks one of the two.
    """
    points = result.sweep("write" if operation == "write" else "callers")
    busy, alone = (_find(points, callers).calmest for callers in (CALIBRATING, 1))
    used = alone.client_time + alone.server_time + alone.replication_time
    return ServiceTimes(
        client=busy.client_time,
        server=busy.server_time,
        replication=busy.replication_time,
        waiting=max(0.0, 1 / alone.throughput - used),
    )


def times_of_rows(result: ScalingResult, rows: int) -> ServiceTimes | None:
    """What a read of so many rows takes if each row costs the same: a line through both ends.

    Returns:
        None where not both ends were measured.
    """
    points = sorted(result.sweep("rows"), key=lambda point: point.cell.rows)
    if len(points) < 2:
        return None
    part = (rows - points[0].cell.rows) / (points[-1].cell.rows - points[0].cell.rows)
    least, most = points[0].calmest, points[-1].calmest

    def between(low: float, high: float) -> float:
        return low + part * (high - low)

    return ServiceTimes(
        client=between(least.client_time, most.client_time),
        server=between(least.server_time, most.server_time),
        replication=between(least.replication_time, most.replication_time),
        waiting=service_times(result).waiting,
    )


# The machine that was measured


def on_this_machine(times: ServiceTimes, *, processes: int, cores: float, population: int) -> Curve:
    """The curve of a client and a cluster that share one machine's cores."""
    shared = on_shared_cores(
        times.client,
        times.server + times.replication,
        processes=processes,
        cores=cores,
        population=population,
    )
    if not times.waiting:
        return shared
    return in_turn(shared, curve_of(Station("waiting", times.waiting, math.inf), population))


def checks(result: ScalingResult) -> tuple[Check, ...]:
    """The model beside everything that was measured, each in its calmest round.

    The cores that others kept busy in that round are taken off those that the model has.

    Raises:
        ConfigurationError: See :func:`service_times`.
    """
    read = service_times(result)
    write = service_times(result, "write") if result.sweep("write") else None
    ends = {point.cell.rows for point in result.sweep("rows")}
    found = []
    for point in result.points:
        cell = point.cell
        times = {"read": read, "write": write}.get(cell.operation)
        if cell.operation == "rows":
            times = times_of_rows(result, cell.rows)
            fed = cell.rows in (min(ends), max(ends))
        else:
            fed = cell.sweep in ("callers", "write") and cell.callers in (1, CALIBRATING)
        if times is None:
            continue
        calm = point.calmest
        own = replace(
            times,
            client=calm.client_time,
            server=calm.server_time,
            replication=calm.replication_time,
        )
        predicted, again = (
            on_this_machine(
                one,
                processes=cell.processes,
                cores=max(result.machine.cores - calm.others, _LEAST_CORES),
                population=cell.callers * cell.processes,
            )[-1]
            for one in (times, own)
        )
        found.append(Check(point, calm.throughput, predicted, again, fed))
    return tuple(found)


def typical_error(found: Iterable[Check], *, own: bool = False) -> tuple[float, float] | None:
    """Median and largest of the errors' sizes, of what did not feed the model; None without any.

    Args:
        found: The comparisons.
        own: Of the predictions by the measurements' own processor times.
    """
    errors = [abs(one.own_error if own else one.error) for one in found if not one.fed]
    return (median(errors), max(errors)) if errors else None


# Other machines


def stations(fleet: Fleet, read: ServiceTimes, write: ServiceTimes | None) -> tuple[Station, ...]:
    """What an operation of the fleet's mix passes.

    Raises:
        ConfigurationError: It writes, and writes were not measured.
    """
    reads, writes = fleet.reads, 1 - fleet.reads
    if writes and write is None:
        raise ConfigurationError("--reads: writes were not measured, so it can only be 1")
    other = write or read
    on_writer = writes * other.server + (0.0 if fleet.readers else reads * read.server)
    found = [
        Station("client", reads * read.client + writes * other.client, 1, fleet.pools),
        Station("writer", on_writer, fleet.cores),
    ]
    if fleet.readers:
        found.append(Station("readers", reads * read.server, fleet.cores, fleet.readers))
    waiting = reads * read.waiting + writes * other.waiting
    found.append(Station("network", fleet.network + waiting, math.inf))
    return tuple(found)


def predict(fleet: Fleet, read: ServiceTimes, write: ServiceTimes | None = None) -> Prediction:
    """What a fleet would do.

    Raises:
        ConfigurationError: See :func:`stations`.
    """
    solution = solve(
        stations(fleet, read, write), fleet.population, most=fleet.connections, think=fleet.think
    )
    return Prediction(fleet, solution)


def fleet_curve(fleet: Fleet, read: ServiceTimes, write: ServiceTimes | None = None) -> Curve:
    """Operations per second of a fleet with 1, 2, … of its callers at work, without think time."""
    inside = curve(stations(fleet, read, write), fleet.connections)
    return limited(inside, fleet.connections, fleet.population)


def outlook(
    fleet: Fleet,
    read: ServiceTimes,
    write: ServiceTimes | None = None,
    *,
    services: Iterable[int] = (1, 2, 4, 8, 16, 32),
    readers: Iterable[int] = (0, 1, 2, 4),
) -> Outlook:
    """The prediction for a fleet, for others around it, and what it depends on.

    Raises:
        ConfigurationError: See :func:`stations`.
    """
    here = predict(fleet, read, write)
    counts = sorted({*services, fleet.services})
    sizes = sorted({*readers, fleet.readers})

    def throughput(client: float = 1.0, server: float = 1.0, network: float = 1.0) -> float:
        changed = replace(fleet, network=fleet.network * network)
        other = None if write is None else write.scaled(client, server)
        return predict(changed, read.scaled(client, server), other).solution.throughput

    reads, other = fleet.reads, write or read
    return Outlook(
        fleet=fleet,
        times=ServiceTimes(
            client=reads * read.client + (1 - reads) * other.client,
            server=reads * read.server + (1 - reads) * other.server,
            waiting=reads * read.waiting + (1 - reads) * other.waiting,
        ),
        assumed=_assumptions(fleet),
        here=here,
        grid={
            (count, size): predict(replace(fleet, services=count, readers=size), read, write)
            for count in counts
            for size in sizes
        },
        sensitivity=(
            Sensitivity("processor time of the client", throughput(0.8), throughput(1.2)),
            Sensitivity(
                "processor time of the server", throughput(server=0.8), throughput(server=1.2)
            ),
            Sensitivity("network", throughput(network=0.8), throughput(network=1.2)),
        ),
    )


def _assumptions(fleet: Fleet) -> tuple[str, ...]:
    mix = f"{fleet.reads:.0%} simple reads, {1 - fleet.reads:.0%} simple writes"
    return (
        (
            f"{fleet.processes} processes for each service, each on a core of its own, with"
            f" {fleet.callers} callers that each make one call after the other"
            + (f" and pause for {fleet.think * 1000:g} ms" if fleet.think else " without a pause")
        ),
        f"{mix}; reads spread evenly over the readers, on the writer where there are none",
        (
            f"{fleet.cores} cores for each instance, as fast as a core of the machine that was"
            " measured; a vCPU of most instance classes is half a core"
        ),
        (
            f"{fleet.network * 1000:g} ms for a round trip of the network, whatever the load, and"
            " what a lone call waited for locally"
        ),
        (
            "all data in memory, no locks waited for, no TLS, no work of the service itself but the"
            " calls; readers apply writes at no cost"
        ),
        (
            "service times vary as an exponential distribution does, and the pools of all processes"
            " bound the calls at work in their sum"
        ),
    )
