"""The result of a run: its JSON form, its figures, and its comparison with an earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aurora_sql.errors import ConfigurationError
from benchmarks._histogram import Latencies, Percentiles
from benchmarks._machine import Machine, Server, Software
from benchmarks._stats import Spread, Verdict, ratios, verdict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchmarks._engine import Sample
    from benchmarks.failover import FailoverResult

ModelT = TypeVar("ModelT", bound=BaseModel)

OURS = "aurora_sql"
BARE = "asyncpg"
POOL = "asyncpg.Pool"


class Frozen(BaseModel):
    """A part of a result."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Options(Frozen):
    """How a run was made.

    Attributes:
        mode: Closed loop (callers wait for their answers) or open (arrivals at a rate).
        callers: Callers, and connections of each subject.
        rounds: Interleaved repetitions.
        seconds: Length of one measurement.
        warm_up: Seconds before each measurement that are not counted.
        rate: Arrivals per second; None in a closed loop.
        arrivals: How arrivals are spread; None in a closed loop.
        queue_limit: Arrivals that may wait for a caller; None in a closed loop.
        scale: Size of the data: 1.0 is 10,000 customers and 50,000 orders.
        seed: Of the parameters and the arrivals.
        reconnect: Connections were opened for each measurement, as the server has too few.
    """

    mode: Literal["closed", "open"]
    callers: int
    rounds: int
    seconds: float
    warm_up: float
    rate: float | None = None
    arrivals: str | None = None
    queue_limit: int | None = None
    scale: float
    seed: int
    reconnect: bool = False


class OpenRound(Frozen):
    """What an open loop adds to a round; see :class:`benchmarks._engine.OpenFigures`."""

    offered: int
    dropped: int
    unserved: int
    backlog: int
    held: bool
    lag_p99: float


class Round(Frozen):
    """One measurement of one subject.

    Attributes:
        position: Its place in the order of its round, from 0.
        operations: Calls that were answered.
        seconds: From the first start to the last answer.
        throughput: Answers per second.
        latency: In milliseconds.
        open: Figures of an open loop.
    """

    position: int
    operations: int
    seconds: float
    throughput: float
    latency: Percentiles
    open: OpenRound | None = None

    @classmethod
    def of(cls, sample: Sample, position: int) -> Round:
        """Sum up a measurement."""
        figures = sample.open
        return cls(
            position=position,
            operations=len(sample.latencies),
            seconds=sample.seconds,
            throughput=sample.throughput,
            latency=Latencies(sample.latencies).percentiles(),
            open=None
            if figures is None
            else OpenRound(
                offered=figures.offered,
                dropped=figures.dropped,
                unserved=figures.unserved,
                backlog=figures.backlog,
                held=figures.held,
                lag_p99=Latencies(figures.lag).percentile(99),
            ),
        )


class Subject(Frozen):
    """All rounds of one of the things that are compared.

    Attributes:
        name: ``aurora_sql``, ``asyncpg`` (bare connections), ``asyncpg.Pool``, or a variant; on
            MySQL ``aiomysql``, ``aiomysql.Pool``, ``asyncmy``, ``asyncmy.Pool``.
        rounds: In the order in which they ran.
        histogram: The latencies of all rounds, encoded by HdrHistogram.
    """

    name: str
    rounds: tuple[Round, ...] = Field(min_length=1)
    histogram: str

    @property
    def throughput(self) -> Spread:
        """Answers per second over the rounds."""
        return Spread.of([one.throughput for one in self.rounds])

    @property
    def p95(self) -> Spread:
        """95th percentile in milliseconds over the rounds."""
        return Spread.of([one.latency.p95 for one in self.rounds])

    @property
    def latency(self) -> Percentiles:
        """Percentiles over the calls of all rounds, in milliseconds."""
        return Latencies.decode(self.histogram).percentiles()

    @property
    def held(self) -> bool | None:
        """Whether every round held the rate; None for a closed loop."""
        figures = [one.open for one in self.rounds if one.open is not None]
        return all(one.held for one in figures) if figures else None


class Measured(Frozen):
    """One operation, measured on several subjects.

    Attributes:
        name: As ``--rows`` takes it.
        title: For people.
        unit: What one operation is counted as: ``ops``, ``batches`` or ``requests``.
        floors: Names of the subjects without the library: first bare connections of the driver
            that the library used, then that driver's pool, then others.
        subjects: What was measured.
    """

    name: str
    title: str
    unit: str
    floors: tuple[str, ...] = (BARE, POOL)
    subjects: tuple[Subject, ...]

    def subject(self, name: str) -> Subject | None:
        """The subject of that name, None if it was not measured."""
        return next((one for one in self.subjects if one.name == name), None)

    @property
    def ours(self) -> Subject | None:
        """The library, through its public interface."""
        return self.subject(OURS)

    @property
    def at_rate(self) -> bool:
        """Measured in an open loop: all throughputs are the rate, latencies are compared."""
        return any(subject.held is not None for subject in self.subjects)

    def ratio(self, key: str) -> Spread | None:
        """Throughput of one subject over that of another, within each round.

        In an open loop it is the 95th percentile of the other over that of the one, so that
        more is better there too.

        Args:
            key: ``"aurora_sql / asyncpg"`` and the like.
        """
        above, below = (self.subject(part) for part in key.split(" / "))
        if above is None or below is None:
            return None
        if self.at_rate:
            values = ratios(
                [one.latency.p95 for one in below.rounds], [one.latency.p95 for one in above.rounds]
            )
        else:
            values = ratios(
                [one.throughput for one in above.rounds], [one.throughput for one in below.rounds]
            )
        return Spread.of(values) if values else None

    def floor_ratios(self) -> dict[str, Spread]:
        """All ratios of the library's subjects over the floors."""
        found: dict[str, Spread] = {}
        for subject in self.subjects:
            if subject.name in self.floors:
                continue
            for floor in self.floors:
                key = f"{subject.name} / {floor}"
                spread = self.ratio(key)
                if spread is not None:
                    found[key] = spread
        return found


class Row(Measured):
    """One of the six operations of the shop.

    Attributes:
        target_throughput: Operations per second.
        target_p95: Milliseconds.
        goals: For a ratio's key (see :meth:`Measured.ratio`) the least that it should be.
    """

    target_throughput: float
    target_p95: float
    goals: dict[str, float]


def read(path: Path) -> str:
    """Return the text of a result.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as a result: {error}") from error


def load(path: Path, model: type[ModelT], command: str) -> ModelT:
    """Read the result that a command of the suite has written.

    Raises:
        ConfigurationError: The file cannot be read, or is no result of that command.
    """
    try:
        return model.model_validate_json(read(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigurationError(
            f"{path}: no benchmark result of schema 1"
            f" ({place}: {first['msg']}); was it written by `python -m benchmarks {command}`?"
        ) from error


class Result(Frozen):
    """A run."""

    schema_version: Literal[1] = 1
    created: str
    complete: bool
    machine: Machine
    server: Server
    software: Software
    options: Options
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row | None:
        """The row of that name, None if it was not measured."""
        return next((one for one in self.rows if one.name == name), None)

    def save(self, path: Path) -> None:
        """Write it as JSON; the folder is made if it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read what :meth:`save` wrote.

        Raises:
            ConfigurationError: The file cannot be read, or is no result of this schema.
        """
        return load(path, cls, "run")


class Change(Frozen):
    """One row of one subject against an earlier result.

    Attributes:
        row: Name of the row.
        subject: Name of the subject.
        floor: It is one of the floors.
        earlier: Throughput then.
        now: Throughput now.
        ratio: Median now over median then; in an open loop the 95th percentile then over now.
        verdict: Whether the two spreads are apart.
        normalised: The same for the ratio to the bare floor, which takes the machine's own
            speed out; None where a floor is missing.
        normalised_verdict: Whether those two spreads are apart.
        earlier_p95: Milliseconds then.
        p95: Milliseconds now.
    """

    row: str
    subject: str
    floor: bool
    earlier: Spread
    now: Spread
    ratio: float
    verdict: Verdict
    normalised: float | None = None
    normalised_verdict: Verdict | None = None
    earlier_p95: float
    p95: float

    @property
    def judged(self) -> float:
        """The ratio that tells a slower library from a busier machine, where there is one."""
        return self.ratio if self.normalised is None else self.normalised


def _change(earlier_row: Row, row: Row, subject: str) -> Change | None:
    before, after = earlier_row.subject(subject), row.subject(subject)
    if before is None or after is None:
        return None
    if row.at_rate:
        figures = before.p95.median, after.p95.median
        found = verdict(before.p95, after.p95, more_is_better=False)
    else:
        figures = after.throughput.median, before.throughput.median
        found = verdict(before.throughput, after.throughput)
    above, below = figures
    if not below:
        return None
    change = Change(
        row=row.name,
        subject=subject,
        floor=subject in row.floors,
        earlier=before.throughput,
        now=after.throughput,
        ratio=above / below,
        verdict=found,
        earlier_p95=before.p95.median,
        p95=after.p95.median,
    )
    key = f"{subject} / {row.floors[0]}"
    then, today = earlier_row.ratio(key), row.ratio(key)
    if subject in row.floors or then is None or today is None or not then.median:
        return change
    return change.model_copy(
        update={
            "normalised": today.median / then.median,
            "normalised_verdict": verdict(then, today),
        }
    )


def compare(earlier: Result, now: Result) -> list[Change]:
    """Every subject of every row that both results have.

    Raises:
        ConfigurationError: One was measured in a closed and the other in an open loop.
    """
    if earlier.options.mode != now.options.mode:
        raise ConfigurationError(
            f"a result of a loop that is {now.options.mode} cannot be compared with one of a loop"
            f" that is {earlier.options.mode}"
        )
    changes = []
    for row in now.rows:
        earlier_row = earlier.row(row.name)
        if earlier_row is None:
            continue
        found = (_change(earlier_row, row, one.name) for one in row.subjects)
        changes += [change for change in found if change is not None]
    return changes


def differences(earlier: Result | FailoverResult, now: Result | FailoverResult) -> list[str]:
    """What makes the two hard to compare, one sentence each."""
    found = []
    for what, before, after in (
        ("machine", earlier.machine, now.machine),
        ("server", earlier.server, now.server),
        ("options", earlier.options, now.options),
    ):
        if before != after:
            fields = type(before).model_fields
            names = [name for name in fields if getattr(before, name) != getattr(after, name)]
            found.append(f"another {what}: {', '.join(names)}")
    for name in ("python", "asyncpg", "aiomysql", "asyncmy", "loop"):
        then, today = getattr(earlier.software, name), getattr(now.software, name)
        if then != today:
            found.append(f"{name} was {then}, is {today}")
    return found


def regressions(changes: Iterable[Change], least: float) -> list[Change]:
    """The library's rows that fell below ``least`` of the earlier result.

    Judged by the ratio to the bare floor where there is one; see :attr:`Change.judged`.
    """
    return [change for change in changes if not change.floor and change.judged < least]
