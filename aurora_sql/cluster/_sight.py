"""Who is asked for the instances, and what the answers prove: one way for each kind of topology."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aurora_sql.cluster._link import Link
from aurora_sql.cluster._topology import settle, settle_static
from aurora_sql.errors import (
    AuroraError,
    AuthenticationFailed,
    NoWriterAvailable,
    TlsError,
    TooManyConnections,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aurora_sql.cluster._endpoints import Address, InstanceAddresses
    from aurora_sql.cluster._report import Provider, Report
    from aurora_sql.drivers import DriverConnection
    from aurora_sql.types import Instance, Topology

    Connect = Callable[[Address], Awaitable[DriverConnection]]

_FORGOTTEN: Final = 10.0
"""Seconds after which an endpoint that was met as part of another system counts no more."""
_PROOFS: Final = 2
"""New connections over which an endpoint has to prove again that it leads to the writer."""


class Sight(ABC):
    """Sees the cluster through links to its instances.

    Attributes:
        links: A link for each address that may lead to the writer.
        reign: Is another one when another server has proven to be the writer, by the same address
            too, where that can be told.
        refused: Why one that accepts writes is not taken for the writer; empty where none is.
    """

    links: dict[Address, Link]
    reign: int = 0
    refused: str = ""

    @abstractmethod
    async def look(self, limit: float, *, troubled: bool) -> Topology:
        """Ask whom it takes to know all while all is well.

        Args:
            limit: Seconds for each answer.
            troubled: Something broke, or a connection led to an instance that it should not.

        Raises:
            AuroraError: The present writer does not answer, or is the writer no more.
        """

    @abstractmethod
    async def probe(self, link: Link, limit: float) -> Topology | None:
        """Ask one instance whether it is the writer; None where it does not prove it.

        Raises:
            AuroraError: It does not answer.
        """

    def link(self, address: Address) -> Link | None:
        """Return the link to an address, None where there is none."""
        return self.links.get(address)

    def latency(self, address: Address) -> float | None:
        """Seconds that an answer from an address takes, None where that is not known."""
        link = self.links.get(address)
        return None if link is None else link.latency

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(link.close() for link in self.links.values()))


class StaticSight(Sight):
    """Endpoints that are the instances: each is asked for itself.

    Args:
        writer: The endpoint that should lead to the writer.
        readers: The others.
        provider: Knows what to ask each of them.
        connect: Opens a connection to an address.
        connection: One to the writer's endpoint that is open already.
    """

    def __init__(
        self,
        writer: Instance,
        readers: Iterable[Instance],
        provider: Provider,
        connect: Connect,
        connection: DriverConnection | None,
    ) -> None:
        self._endpoint = (writer.host, writer.port)
        self._writer_id = writer.id
        self._instances = {(one.host, one.port): one for one in (writer, *readers)}
        self.links = {
            address: Link(
                address, connect, provider, connection if address == self._endpoint else None
            )
            for address in self._instances
        }
        self._epoch = 0
        self._system: int | None = None
        # Which system each endpoint last proved to be part of, and when, as loop time.
        self._met: dict[str, tuple[int, float]] = {}
        # When each reader last had replayed all there was, as loop time.
        self._level_at: dict[str, float] = {}

    async def look(self, limit: float, *, troubled: bool) -> Topology:
        """Ask all endpoints, side by side; after trouble the writer over a new connection.

        What was taken for an instance may be a name that leads now here, now there.
        """
        began = asyncio.get_running_loop().time()
        answers = await asyncio.gather(
            *(
                self._ask(link, limit, anew=troubled and instance.id == self._writer_id)
                for link, instance in zip(
                    self.links.values(), self._instances.values(), strict=True
                )
            ),
            return_exceptions=True,
        )
        reports: dict[str, Report] = {}
        before = self.reign
        for instance, answer in zip(self._instances.values(), answers, strict=True):
            if not isinstance(answer, BaseException):
                reports[instance.id] = answer
            elif not isinstance(answer, AuroraError):
                raise answer
        await self._ask_late(reports, limit)
        topology = self._settle(reports)
        self._note_level(topology, began)
        if 0 < before != self.reign:
            # By the same name it may be another instance: connections to the old one must go.
            raise NoWriterAvailable(f"{self._writer_id} is on timeline {self._epoch} now")
        return topology

    async def _ask_late(self, reports: dict[str, Report], limit: float) -> None:
        """Ask those again that answered before they could have what the writer told of.

        Their first answer may be older than the writer's, or than the way of one record to them;
        and by what it says of time, the first write after a calm hour seems to be an hour late.
        """
        written = max(
            (one.position or 0 for one in reports.values() if not one.in_recovery), default=0
        )
        late = [
            (instance.id, link)
            for link, instance in zip(self.links.values(), self._instances.values(), strict=True)
            if (report := reports.get(instance.id)) is not None
            and report.in_recovery
            and report.position is not None
            and report.position < written
        ]
        answers = await asyncio.gather(
            *(link.ask(limit) for _, link in late), return_exceptions=True
        )
        for (name, _), answer in zip(late, answers, strict=True):
            if not isinstance(answer, BaseException):
                reports[name] = answer

    def _note_level(self, topology: Topology, asked: float) -> None:
        for reader in topology.readers:
            if reader.lag == 0.0:
                self._level_at[reader.id] = asked

    @staticmethod
    async def _ask(link: Link, limit: float, *, anew: bool) -> Report:
        try:
            return await link.ask(limit, anew=anew)
        except (AuthenticationFailed, TlsError, TooManyConnections):
            if not link.is_open:
                raise
            return await link.ask(limit)

    async def probe(self, link: Link, limit: float) -> Topology | None:
        """Ask one endpoint; that of the writer anew each time, for its name may lead elsewhere.

        Another endpoint that accepts writes may be a name for all readers, and lead to the next
        one with the next connection: it has to prove itself several times.
        """
        named = link.address == self._endpoint
        report = await link.ask(limit, anew=named)
        for _ in range(0 if named else _PROOFS):
            if not report.in_recovery:
                report = await link.ask(limit, anew=True)
        if report.in_recovery:
            return None
        try:
            return self._settle({self._instances[link.address].id: report})
        except NoWriterAvailable:
            return None

    def _settle(self, reports: dict[str, Report]) -> Topology:
        now = asyncio.get_running_loop().time()
        for name, report in reports.items():
            if report.system is not None:
                self._met[name] = report.system, now
        topology = settle_static(
            self._instances.values(),
            reports,
            now=datetime.now(UTC),
            current=self._writer_id,
            level={name: now - at for name, at in self._level_at.items()},
        )
        if topology.writer is not None:
            self._accept(topology.writer.id, reports[topology.writer.id], now)
        return topology

    def _accept(self, name: str, report: Report, now: float) -> None:
        """Take over a writer, unless it is one that was demoted and does not know it.

        A timeline only rises, but in a cluster that was built anew. That is another system, and is
        believed once no endpoint has been met as one of the old system for a while. A restore to
        an earlier state of the same system cannot be told from an old writer that wakes up.
        """
        epoch = report.epoch or 0
        system = self._system if report.system is None else report.system
        if epoch < self._epoch:
            self.refused = (
                f"{name} accepts writes on timeline {epoch}, and there has been a writer on"
                f" timeline {self._epoch}: it was demoted and does not know it"
            )
            if system == self._system:
                self.refused += (
                    "; if the cluster was restored to an earlier state, open Aurora anew (restart"
                    " this process)"
                )
                raise NoWriterAvailable(self.refused)
            if any(one == self._system and now < at + _FORGOTTEN for one, at in self._met.values()):
                self.refused += (
                    f", or it was built anew: it is believed when no endpoint has been of the old"
                    f" cluster for {_FORGOTTEN:g} s"
                )
                raise NoWriterAvailable(self.refused)
            self._level_at.clear()
        if (epoch, system) != (self._epoch, self._system):
            self._epoch, self._system = epoch, system
            self.reign += 1
        self.refused = ""
        self._writer_id = name


class ClusterSight(Sight):
    """A cluster whose instances know each other: the writer is asked for all.

    Args:
        endpoint: Address of the write endpoint.
        addresses: Where instances are found by their identifiers.
        provider: Knows what to ask.
        connect: Opens a connection to an address.
        connection: One to the write endpoint that is open already.
        time_all: Ask the readers too, each time, to know how long their answers take.
    """

    def __init__(
        self,
        endpoint: Address,
        addresses: InstanceAddresses,
        provider: Provider,
        connect: Connect,
        connection: DriverConnection | None,
        *,
        time_all: bool = False,
    ) -> None:
        self._time_all = time_all
        self._endpoint = endpoint
        self._addresses = addresses
        self._provider = provider
        self._connect = connect
        self._writer = endpoint
        self.links = {endpoint: Link(endpoint, connect, provider, connection)}

    async def look(self, limit: float, *, troubled: bool) -> Topology:  # noqa: ARG002 - each address is one instance
        """Ask the writer."""
        asked = self.links[self._writer]
        others = [one for one in self.links.values() if one is not asked] if self._time_all else []
        timing = asyncio.gather(*(self._time(one, limit) for one in others))
        try:
            report = await asked.ask(limit)
            await timing
        finally:
            # Left alone, it could open a connection when all others have been closed.
            timing.cancel()
            await asyncio.gather(timing, return_exceptions=True)
        if report.in_recovery:
            self._meet(report)
            raise NoWriterAvailable(f"{report.instance_id} is a reader now")
        return self._settle(report)

    async def probe(self, link: Link, limit: float) -> Topology | None:
        """Ask one instance; a reader's word that another is the writer proves nothing yet."""
        report = await link.ask(limit, anew=link.address == self._endpoint)
        if report.in_recovery:
            self._meet(report)
            return None
        try:
            return self._settle(report)
        except NoWriterAvailable:
            return None

    @staticmethod
    async def _time(link: Link, limit: float) -> None:
        with suppress(AuroraError):  # what it takes a reader to fail is its pool's to find out
            await link.ask(limit)

    def _settle(self, report: Report) -> Topology:
        topology = settle(report, self._addresses.find, now=datetime.now(UTC))
        self._keep({(one.host, one.port) for one in topology.instances})
        if topology.writer is not None:
            self._writer = (topology.writer.host, topology.writer.port)
        return topology

    def _meet(self, report: Report) -> None:
        """Learn of instances that could be the writer."""
        for row in report.rows:
            address = self._addresses.find(row.instance_id) or row.address
            if address is not None:
                self._add(address)

    def _add(self, address: Address) -> None:
        if address not in self.links:
            self.links[address] = Link(address, self._connect, self._provider)

    def _keep(self, addresses: set[Address]) -> None:
        """Have links to these addresses and to the write endpoint, and to no others."""
        for address in addresses:
            self._add(address)
        for address in self.links.keys() - addresses - {self._endpoint}:
            self.links.pop(address).drop()
