"""A comparison: the rows of the shop, the simple read in a crowd, the web rows, the layers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from aurora_sql.statements import StatementRegistry
from aurora_sql.types import Engine
from benchmarks import _shop
from benchmarks._coalesced import PLAIN_OF, READ, STATEMENTS
from benchmarks._library import Library
from benchmarks._machine import machine, software, version_of
from benchmarks._results import OURS, Measured
from benchmarks._suite import Listener as SuiteListener
from benchmarks._suite import Suite
from benchmarks.peers._check import same_work
from benchmarks.peers._results import Crowd, Layer, Method, PeerResult
from benchmarks.peers._web_layers import web_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks._machine import Server, Software
    from benchmarks._results import Options, Row
    from benchmarks._rows import Operation
    from benchmarks._shop import ShopFiles, Size
    from benchmarks._sides import Subject
    from benchmarks._target import Target
    from benchmarks._work import Work
    from benchmarks.peers._catalogue import Peer
    from benchmarks.peers._web_app import Page

CROWD_ROW = "read-writer"
"""Which row is measured at several numbers of callers."""

ALONE = f"{OURS}, each call alone"
"""The library with the same statement without the directive."""

TOGETHER = f"{OURS}, coalesced"
"""The library with the same statement with the directive."""

_WEB_PACKAGES = ("uvicorn", "httptools", "uvloop")


class Listener(SuiteListener, Protocol):
    """Told how a comparison goes on."""

    def stage(self, text: str) -> None:
        """Something that is no measurement begins."""


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        options: How.
        operations: Rows of the shop.
        coalesced: Rows whose calls travel together.
        pages: Web rows.
        crowds: Numbers of callers for the simple read; none for a chart less.
        crowd_rounds: Repetitions of each.
        layer_rounds: Repetitions for the cost of the layers; 0 to leave them out.
        peers: What stands beside the library.
        missing: Peers that cannot be measured, and why.
    """

    options: Options
    operations: tuple[Operation, ...]
    coalesced: tuple[Operation, ...]
    pages: tuple[Page, ...]
    crowds: tuple[int, ...]
    crowd_rounds: int
    layer_rounds: int
    peers: tuple[Peer, ...]
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def crowd_peers(self) -> tuple[Peer, ...]:
        """Those of the chart of throughput against concurrency."""
        return tuple(one for one in self.peers if one.crowd)

    def measurements(self) -> int:
        """At most so many there will be, for a bar of progress."""
        rows = len(self.operations) * (1 + len(self.peers)) * self.options.rounds
        rows += len(self.coalesced) * (2 + len(self.peers)) * self.options.rounds
        crowds = len(self.crowds) * (2 + len(self.crowd_peers)) * self.crowd_rounds
        names = web_names([one.name for one in self.peers]) if self.pages else []
        return rows + crowds + len(self.pages) * len(names) * self.options.rounds


class Comparison:
    """Runs a plan on a target that has the shop; what is done can be shown at any time.

    Args:
        target: Servers with the shop's data.
        files: The shop's statements.
        size: Of the data.
        plan: What to measure.
        listener: Told how it goes on.
    """

    def __init__(
        self, target: Target, files: ShopFiles, size: Size, plan: Plan, listener: Listener
    ) -> None:
        self._target = target
        self._files = files
        self._size = size
        self._plan = plan
        self._listener = listener
        self._server: Server | None = None
        self._software: Software | None = None
        self._rows: list[Row] = []
        self._coalesced: list[Measured] = []
        self._crowds: list[Crowd] = []
        self._web: tuple[Measured, ...] = ()
        self._layers: tuple[Layer, ...] = ()
        self._left_out: list[str] = []
        self._options = plan.options
        self._registry = self._load()
        self._done = False

    def _load(self) -> StatementRegistry:
        """The statements of the shop, with plain rows, and those of the comparison."""
        with TemporaryDirectory(prefix="aurora-bench-") as folder:
            _shop.without_models(self._files.sql, Path(folder))
            _shop.without_models(STATEMENTS, Path(folder))
            return StatementRegistry.load(folder, dialect=self._target.side.engine.value)

    async def run(self, loop: str) -> PeerResult:
        """Measure everything.

        Args:
            loop: Name of the event loop in use, for the record.

        Raises:
            DifferentAnswers: A peer does not do the same work as the library.
            ExceptionGroup: A call failed during a measurement.
        """
        target = self._target
        readers = len(target.settings.reader_addresses())
        async with target.connect() as admin:
            self._server = await target.side.server(admin, readers)
        self._software = software(loop, target.side.engine)
        await self._check(readers)
        await self._shop_rows(loop)
        await self._coalesced_rows(loop)
        await self._in_crowds(loop)
        await self._web_rows()
        await self._costs()
        self._done = True
        result = self.result()
        assert result is not None
        return result

    def result(self) -> PeerResult | None:
        """What there is so far; None before the first row."""
        if self._server is None or self._software is None or not self._measured:
            return None
        plan = self._plan
        packages = [package for peer in plan.peers for package in peer.packages]
        if self._web:
            packages += _WEB_PACKAGES
        versions = {name: version_of(name) for name in dict.fromkeys(packages)}
        return PeerResult(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            complete=self._done,
            machine=machine(shared_with_server=self._target.on_this_machine),
            server=self._server,
            software=self._software,
            versions={name: version for name, version in versions.items() if version != "-"},
            options=self._options,
            methods=tuple(
                Method(name=peer.name, how=peer.how, limit=peer.limit) for peer in plan.peers
            ),
            missing=plan.missing,
            rows=tuple(self._rows),
            coalesced=tuple(self._coalesced),
            crowds=tuple(self._crowds),
            web=self._web,
            layers=self._layers,
            layer_callers=plan.options.callers if self._layers else 0,
            left_out=tuple(self._left_out),
        )

    @property
    def _measured(self) -> bool:
        """Whether there is anything to show."""
        return bool(self._rows or self._coalesced or self._web)

    def _beside(
        self, target: Target, operation: Operation, work: Work, callers: int
    ) -> Sequence[Subject]:
        """The subjects of the peers for a row; none of those that cannot do it."""
        found = [
            subject
            for peer in self._plan.peers
            for subject in peer.make(target, operation, work, self._size, callers)
        ]
        plain = PLAIN_OF.get(operation.name)
        if plain is not None:
            alone = plain.make(self._registry, self._size, self._options.seed)
            found.insert(0, Library(ALONE, target, self._registry, alone, callers))
        return found

    def _in_crowd(
        self, target: Target, operation: Operation, work: Work, callers: int
    ) -> Sequence[Subject]:
        coalesced = READ.make(self._registry, self._size, self._options.seed)
        return [
            Library(TOGETHER, target, self._registry, coalesced, callers),
            *(
                subject
                for peer in self._plan.crowd_peers
                for subject in peer.make(target, operation, work, self._size, callers)
            ),
        ]

    async def _check(self, readers: int) -> None:
        """Let all do the same work once, before any of it is measured."""
        self._listener.stage("comparing the answers of all")
        for operation in (*self._plan.operations, *self._plan.coalesced):
            if operation.needs_readers and not readers:
                self._left_out.append(f"{operation.title}: there is no reader")
                continue
            work = operation.make(self._registry, self._size, self._options.seed)
            ours = Library(OURS, self._target, self._registry, work, 1)
            beside = self._beside(self._target, operation, work, 1)
            await same_work(self._target, operation, work, [ours, *beside], self._size)
            there = {subject.name for subject in beside}
            self._left_out += [
                f"{operation.title}: {peer.name} is not measured, {_unable(peer.name, operation)}"
                for peer in self._plan.peers
                if peer.name not in there
            ]

    async def _shop_rows(self, loop: str) -> None:
        plan = self._plan
        suite = Suite(
            self._target,
            self._files,
            self._size,
            plan.options,
            models=False,
            listener=self._listener,
            beside=self._beside,
            most_subjects=1 + len(plan.peers),
            objects=False,
        )
        try:
            await suite.run(plan.operations, loop)
        finally:
            # Also the whole rows of a run that was interrupted.
            if suite.progress is not None:
                self._rows += suite.progress.rows
                self._options = suite.progress.options

    async def _coalesced_rows(self, loop: str) -> None:
        plan = self._plan
        if not plan.coalesced:
            return
        suite = Suite(
            self._target,
            self._files,
            self._size,
            plan.options,
            models=False,
            listener=self._listener,
            beside=self._beside,
            most_subjects=2 + len(plan.peers),
        )
        found = await suite.run(plan.coalesced, loop)
        self._coalesced += [_measured(row) for row in found.rows]

    async def _in_crowds(self, loop: str) -> None:
        plan = self._plan
        operation = next((one for one in plan.operations if one.name == CROWD_ROW), None)
        if operation is None:
            return
        for callers in plan.crowds:
            title = f"{operation.title}, {callers} callers"
            suite = Suite(
                self._target,
                self._files,
                self._size,
                plan.options.model_copy(update={"callers": callers, "rounds": plan.crowd_rounds}),
                models=False,
                listener=self._listener,
                beside=self._in_crowd,
                most_subjects=2 + len(plan.crowd_peers),
            )
            found = await suite.run([dataclasses.replace(operation, title=title)], loop)
            self._crowds += [Crowd(callers=callers, measured=_measured(row)) for row in found.rows]

    async def _web_rows(self) -> None:
        if not self._plan.pages:
            return
        if self._target.side.engine is not Engine.POSTGRESQL:
            self._left_out.append("web: the data layers of these rows are those of PostgreSQL")
            return
        from benchmarks.peers import _web  # noqa: PLC0415 - needs a web server

        self._listener.stage("starting a web server for each")
        names = web_names([peer.name for peer in self._plan.peers])
        web = _web.Web(self._target, self._plan.options, self._listener)
        self._web = await web.run(self._plan.pages, names)

    async def _costs(self) -> None:
        plan = self._plan
        if not plan.layer_rounds:
            return
        if self._target.side.engine is not Engine.POSTGRESQL:
            self._left_out.append("layers: measuring them looks inside asyncpg")
            return
        from benchmarks import _layers  # noqa: PLC0415 - looks inside asyncpg

        costs = await _layers.measure(
            self._target,
            self._files,
            self._size,
            callers=plan.options.callers,
            rounds=plan.layer_rounds,
            seconds=min(plan.options.seconds, 0.4),
            progress=lambda text: self._listener.stage(f"layers, {text}"),
        )
        self._layers = tuple(
            Layer(name=one.name, what=one.what, network=one.network, alone=one.alone)
            for one in costs
        )


def _unable(peer: str, operation: Operation) -> str:
    if operation.name == "coalesced-text":
        return f"{peer} has no texts to choose from"
    if operation.name == "transaction":
        return "in a pipeline no statement can use what another answered"
    return f"{peer} cannot load rows from a client"


def _measured(row: Row) -> Measured:
    """The row without its targets, which are not for this number of callers."""
    return Measured(
        name=row.name, title=row.title, unit=row.unit, floors=row.floors, subjects=row.subjects
    )
