"""A run: every row, every subject, round by round, and what comes of it."""

from __future__ import annotations

import gc
import importlib.util
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from aurora_sql.errors import AuroraError
from aurora_sql.statements import StatementRegistry
from benchmarks import _shop
from benchmarks._coalesced import STATEMENTS
from benchmarks._engine import closed_loop, open_loop
from benchmarks._histogram import Latencies
from benchmarks._library import Library
from benchmarks._machine import machine, software
from benchmarks._results import OURS, Options, Result, Round, Row
from benchmarks._results import Subject as SubjectResult
from benchmarks._rows import MODELS
from benchmarks._schedule import Arrivals, schedule
from benchmarks._stats import rotated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from benchmarks._engine import Sample
    from benchmarks._machine import Machine, Server, Software
    from benchmarks._rows import Operation
    from benchmarks._shop import ShopFiles, Size
    from benchmarks._sides import Admin, Call, Subject
    from benchmarks._target import Target
    from benchmarks._work import Work

    Beside = Callable[[Target, Operation, Work, int], Sequence[Subject]]

NamedT = TypeVar("NamedT", bound="Named")

_SPARE_CONNECTIONS = 12
_VERIFIED = 5
_LEAST_OF_MANY = 0.3
"""Seconds that a measurement with callers of its own number takes at least, and its warm-up."""


class Listener(Protocol):
    """Told how a run goes on."""

    def measuring(self, operation: Titled, subject: str, turn: int) -> None:
        """Measurement ``turn`` (from 0) of a subject begins."""

    def measured(self, operation: Titled, subject: str, sample: Sample) -> None:
        """It ended."""

    def finished(self, row: Row) -> None:
        """All rounds of a row are done."""

    def skipped(self, operation: Operation, reason: str) -> None:
        """A row is not measured."""


class Titled(Protocol):
    """What listeners are told of an operation."""

    @property
    def title(self) -> str:
        """For people."""


class Named(Protocol):
    """What has a name in the report."""

    @property
    def name(self) -> str:
        """As the report calls it."""


@runtime_checkable
class OwnWork(Protocol):
    """A subject that takes the values in a form of its own."""

    work: Work


@runtime_checkable
class SelfMeasured(Protocol):
    """A subject that brings a load generator of its own, outside of this process."""

    async def measure(self, seconds: float, warm_up: float) -> Sample:
        """Measure for so long, after a warm-up that does not count."""


class DifferentAnswers(AuroraError):
    """The library and a floor answered one call differently: they do not do the same work."""


@dataclass(slots=True)
class Progress:
    """What a run has so far; whole rows only, so that an interrupted run can be shown."""

    machine: Machine
    server: Server
    software: Software
    options: Options
    expected: int
    rows: list[Row] = field(default_factory=list)

    def result(self) -> Result:
        """The result as it stands."""
        return Result(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            complete=len(self.rows) == self.expected,
            machine=self.machine,
            server=self.server,
            software=self.software,
            options=self.options,
            rows=tuple(self.rows),
        )


class Suite:
    """Measures operations on a target that has the shop.

    Args:
        target: Servers, with the shop's data in their database.
        files: The shop's statements.
        size: Of the data.
        options: How to measure.
        models: Measure the library with models too, on every row.
        listener: Told how it goes on.
        beside: Makes what stands beside the library, of the work of an operation; by default the
            floors of the engine.
        most_subjects: Of one row, the library included; that of the engine by default.
        objects: Measure variants with other values too, as the bulk load of objects.
    """

    def __init__(
        self,
        target: Target,
        files: ShopFiles,
        size: Size,
        options: Options,
        *,
        models: bool,
        listener: Listener,
        beside: Beside | None = None,
        most_subjects: int | None = None,
        objects: bool = True,
    ) -> None:
        self._target = target
        self._files = files
        self._size = size
        self._options = options
        self._models = models
        self._listener = listener
        self._beside = beside or _floors
        self._objects = objects
        self._most_subjects = most_subjects or target.side.most_subjects
        self.progress: Progress | None = None

    async def run(self, operations: Sequence[Operation], loop: str) -> Result:
        """Measure all operations.

        Args:
            operations: The rows.
            loop: Name of the event loop in use, for the record.

        Raises:
            DifferentAnswers: The library and a floor do not agree about a row.
            ExceptionGroup: A call failed during a measurement.
        """
        readers = len(self._target.settings.reader_addresses())
        chosen = []
        for operation in operations:
            if operation.needs_readers and not readers:
                self._listener.skipped(operation, "there is no reader; give one (?read=host)")
            else:
                chosen.append(operation)
        side = self._target.side
        dialect = side.engine.value
        with TemporaryDirectory(prefix="aurora-bench-") as folder:
            for source in (self._files.sql, STATEMENTS):
                _shop.without_models(source, Path(folder))
            plain = StatementRegistry.load(folder, dialect=dialect)
            typed = StatementRegistry.load(self._files.sql, dialect=dialect)
            async with self._target.connect() as admin:
                described = await side.server(admin, readers)
                most = await side.most_connections(admin)
                every = [self._options_of(operation, most) for operation in chosen]
                self.progress = Progress(
                    machine=machine(shared_with_server=self._target.on_this_machine),
                    server=described,
                    software=software(loop, side.engine),
                    options=self._options.model_copy(
                        update={"reconnect": any(one.reconnect for one in every)}
                    ),
                    expected=len(chosen),
                )
                for operation, options in zip(chosen, every, strict=True):
                    row = await self._row(operation, plain, typed, admin, options)
                    self.progress.rows.append(row)
                    self._listener.finished(row)
        return self.progress.result()

    def _options_of(self, operation: Operation, most: int) -> Options:
        """How to measure a row, on a server that takes ``most`` connections."""
        options = self._options
        if operation.callers is not None:
            # The first batches ask the server about types, on lanes that are opened for them.
            options = options.model_copy(
                update={
                    "callers": operation.callers,
                    "warm_up": max(options.warm_up, _LEAST_OF_MANY),
                    "seconds": max(options.seconds, _LEAST_OF_MANY),
                }
            )
        needed = self._most_subjects * options.callers + _SPARE_CONNECTIONS
        return options.model_copy(update={"reconnect": needed > most})

    def _subjects(
        self,
        operation: Operation,
        plain: StatementRegistry,
        typed: StatementRegistry,
        callers: int,
    ) -> tuple[Work, list[Subject], Sequence[Subject]]:
        seed, target = self._options.seed, self._target
        work = operation.make(plain, self._size, seed)
        subjects: list[Subject] = [Library(OURS, target, plain, work, callers)]
        if operation.make_models is not None:
            if self._models or (self._objects and operation.always_models):
                objects = operation.make_models(plain, self._size, seed)
                subjects.append(Library(MODELS, target, plain, objects, callers))
        elif self._models and _models_import() and work.fills_models(typed):
            subjects.append(Library(MODELS, target, typed, work, callers))
        floors = self._beside(target, operation, work, callers)
        return work, [*subjects, *floors], floors

    async def _row(
        self,
        operation: Operation,
        plain: StatementRegistry,
        typed: StatementRegistry,
        admin: Admin,
        options: Options,
    ) -> Row:
        work, subjects, beside = self._subjects(operation, plain, typed, options.callers)
        floors = tuple(subject.name for subject in beside)
        async with AsyncExitStack() as stack:
            calls: dict[str, list[Call]] = {}
            if not options.reconnect:
                for subject in subjects:
                    stack.push_async_callback(subject.close)
                    await subject.open()
                    calls[subject.name] = await subject.calls()
                # What stands beside the library by the caller's choice is compared by the caller.
                if self._beside is _floors:
                    await self._verify(operation, work, calls)

            async def measure(subject: Subject) -> Sample:
                if operation.writes:
                    for command in self._target.side.reset(self._size):
                        await admin.execute(command)
                if options.reconnect:
                    return await self._measure_connecting(subject, work, options)
                return await self._measure(subject, work, calls[subject.name], options)

            measured = await interleaved(
                operation, subjects, options.rounds, measure, self._listener
            )
        return Row(
            name=operation.name,
            title=operation.title,
            unit=operation.unit,
            target_throughput=operation.target_throughput,
            target_p95=operation.target_p95,
            # The goals are for the engine's floors.
            goals=self._target.side.goals(operation.name, floors)
            if self._beside is _floors
            else {},
            floors=floors,
            subjects=measured,
        )

    async def _measure_connecting(self, subject: Subject, work: Work, options: Options) -> Sample:
        try:
            await subject.open()
            return await self._measure(subject, work, await subject.calls(), options)
        finally:
            await subject.close()

    async def _measure(
        self, subject: Subject, work: Work, calls: list[Call], options: Options
    ) -> Sample:
        if isinstance(subject, SelfMeasured):
            return await subject.measure(options.seconds, options.warm_up)
        own = work_of(subject, work)
        values = own.streams(len(calls))
        if options.warm_up > 0:
            await closed_loop(calls, values, options.warm_up)
        # What an earlier measurement left is collected now, not at the cost of this one.
        gc.collect()
        if options.mode == "closed":
            return await closed_loop(calls, values, options.seconds)
        if options.rate is None or options.arrivals is None or options.queue_limit is None:
            raise ValueError("an open loop needs a rate, arrivals and a queue limit")
        starts = schedule(options.rate, options.seconds, Arrivals(options.arrivals), options.seed)
        return await open_loop(calls, values, starts, queue_limit=options.queue_limit)

    async def _verify(self, operation: Operation, work: Work, calls: dict[str, list[Call]]) -> None:
        """Compare the first answers of all subjects that do the same work."""
        if not work.comparable:
            return
        for value in work.values[:_VERIFIED]:
            answers = {
                name: plain(await own[0](value)) for name, own in calls.items() if name != MODELS
            }
            expected = answers[OURS]
            for name, answer in answers.items():
                if answer != expected:
                    raise DifferentAnswers(
                        f"{operation.title}: {OURS} answers {expected!r}, {name} {answer!r}"
                    )


async def interleaved(
    operation: Titled,
    subjects: Sequence[NamedT],
    rounds: int,
    measure: Callable[[NamedT], Awaitable[Sample]],
    listener: Listener,
) -> tuple[SubjectResult, ...]:
    """Measure all subjects, one round of each after another, beginning with another each time.

    Args:
        operation: What is measured.
        subjects: On what, with their names.
        rounds: How often.
        measure: Measures one of them once.
        listener: Told of each measurement.
    """
    measured: dict[str, list[Round]] = {subject.name: [] for subject in subjects}
    latencies = {subject.name: Latencies() for subject in subjects}
    for turn in range(rounds):
        for position, subject in enumerate(rotated(subjects, turn)):
            listener.measuring(operation, subject.name, turn)
            sample = await measure(subject)
            measured[subject.name].append(Round.of(sample, position))
            latencies[subject.name].record(sample.latencies)
            listener.measured(operation, subject.name, sample)
    return tuple(
        SubjectResult(name=name, rounds=tuple(found), histogram=latencies[name].encode())
        for name, found in measured.items()
    )


def work_of(subject: Subject, work: Work) -> Work:
    """The work whose values a subject takes: some take them in a form of their own."""
    return subject.work if isinstance(subject, OwnWork) else work


def _floors(target: Target, operation: Operation, work: Work, callers: int) -> Sequence[Subject]:
    del operation
    return target.side.floors(target, work, callers)


def plain(answer: Any) -> Any:
    """An answer as plain values: a row as a list of them, rows as a list of such."""
    if isinstance(answer, list):
        return [plain(one) for one in answer]
    if hasattr(answer, "values"):
        return list(answer.values())
    # Rows of MySQL's drivers are tuples, and their names those of the same text.
    return list(answer) if isinstance(answer, tuple) else answer


def _models_import() -> bool:
    """Whether the shop's models can be imported: they can in a checkout."""
    try:
        return importlib.util.find_spec("examples.shop.models") is not None
    except ImportError:
        return False
