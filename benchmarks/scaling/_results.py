"""What was measured, in its JSON form."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmarks._machine import Machine, Server, Software
from benchmarks._results import load, read
from benchmarks._stats import Spread

if TYPE_CHECKING:
    from pathlib import Path

OperationName = Literal["read", "write", "rows"]
Sweep = Literal["callers", "processes", "readers", "rows", "write"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cell(_Frozen):
    """One thing that is measured.

    Attributes:
        sweep: What is varied, and so which cells belong together.
        operation: ``read``: one user by its key. ``write``: one event. ``rows``: that many users
            by their keys, in one statement.
        callers: Callers of each process, and connections for them.
        processes: Processes of the client.
        readers: Readers that ``read`` goes to; with 0 it goes to the writer.
        rows: Rows of a result.
    """

    sweep: Sweep
    operation: OperationName
    callers: int
    processes: int = 1
    readers: int = 0
    rows: int = 1


class Round(_Frozen):
    """One measurement of one cell.

    Attributes:
        seconds: Its length.
        operations: Calls that were answered in that time.
        throughput: Operations per second, all processes together.
        p50: Median latency in milliseconds; of several processes, the mean of theirs.
        p95: The 95th percentile, likewise.
        client_cpu: Seconds of processor time, user and system, of the client's processes.
        server_cpu: The same of the instances that ran the statements.
        replication_cpu: The same of the cluster's other instances.
        others: Cores that everything else on the machine kept busy meanwhile.
    """

    seconds: float
    operations: int
    throughput: float
    p50: float
    p95: float
    client_cpu: float
    server_cpu: float
    replication_cpu: float
    others: float

    @property
    def client_time(self) -> float:
        """Seconds of the client's processor time for an operation."""
        return self.client_cpu / self.operations

    @property
    def server_time(self) -> float:
        """Seconds of the serving instances' processor time for an operation."""
        return self.server_cpu / self.operations

    @property
    def replication_time(self) -> float:
        """Seconds of the other instances' processor time for an operation."""
        return self.replication_cpu / self.operations


class Point(_Frozen):
    """All rounds of a cell."""

    cell: Cell
    rounds: tuple[Round, ...] = Field(min_length=1)

    @property
    def throughput(self) -> Spread:
        """Operations per second over the rounds."""
        return Spread.of([one.throughput for one in self.rounds])

    @property
    def p50(self) -> float:
        """Median latency in milliseconds, median of the rounds."""
        return median(one.p50 for one in self.rounds)

    @property
    def p95(self) -> float:
        """95th percentile in milliseconds, median of the rounds."""
        return median(one.p95 for one in self.rounds)

    @property
    def client_time(self) -> Spread:
        """Seconds of the client's processor time for an operation."""
        return Spread.of([one.client_time for one in self.rounds])

    @property
    def server_time(self) -> Spread:
        """Seconds of the serving instances' processor time for an operation."""
        return Spread.of([one.server_time for one in self.rounds])

    @property
    def calmest(self) -> Round:
        """The round in which everything else kept the fewest cores busy."""
        return min(self.rounds, key=lambda one: one.others)

    @property
    def others(self) -> float:
        """Cores that everything else kept busy, median of the rounds."""
        return median(one.others for one in self.rounds)


class ScalingOptions(_Frozen):
    """How a run was made.

    Attributes:
        rounds: Interleaved repetitions.
        seconds: Length of one measurement.
        warm_up: Seconds before each that are not counted.
        scale: Size of the data: 1.0 is 10,000 customers.
        seed: Of the parameters.
    """

    rounds: int
    seconds: float
    warm_up: float
    scale: float
    seed: int


class ScalingResult(_Frozen):
    """A run.

    Attributes:
        load_average: The machine's load average over a minute, before the first measurement.
        points: What was measured, in the order of the cells.
    """

    schema_version: Literal[1] = 1
    kind: Literal["scaling"] = "scaling"
    created: str
    machine: Machine
    server: Server
    software: Software
    options: ScalingOptions
    load_average: float
    points: tuple[Point, ...]

    def sweep(self, name: Sweep) -> tuple[Point, ...]:
        """The points of one sweep."""
        return tuple(point for point in self.points if point.cell.sweep == name)

    def save(self, path: Path) -> None:
        """Write it; the folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> ScalingResult:
        """Read what :meth:`save` wrote.

        Raises:
            ConfigurationError: The file cannot be read, or is no result of ``scaling``.
        """
        return load(path, cls, "scaling")


def is_scaling(path: Path) -> bool:
    """Whether a file says that it is a result of ``scaling``.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        found = json.loads(read(path))
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("kind") == "scaling"
