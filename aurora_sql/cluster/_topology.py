"""What to believe of a server's report, and what changed since: plain functions on frozen data.

The rules for two writers and for none are those of AWS's own drivers; that a row counts only where
the role probe does not contradict it is ours: right after a failover the rows can be stale.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Final

from aurora_sql.errors import NoWriterAvailable
from aurora_sql.types import Instance, Role, Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from aurora_sql.cluster._report import InstanceStatus, Report

    Locate = Callable[[str], tuple[str, int] | None]

STALE_AFTER: Final = 300.0
"""Seconds without an update after which a reader counts as gone, as AWS's own drivers have it."""


def settle(
    report: Report, locate: Locate, *, now: datetime, stale_after: float = STALE_AFTER
) -> Topology:
    """Decide what a server's report says about the cluster.

    Of several rows of one instance the newest counts. Readers that have not reported for
    ``stale_after`` are left out; a writer is not, however old its row. Of two writers the newest
    is the writer, and the other is left out until its row is right.

    The answer is proven where the asked instance is its writer. Where it is a reader, whoever acts
    on a new writer asks that one too.

    Args:
        report: What one server answered.
        locate: Gives the address of an instance by its identifier
            (:meth:`InstanceAddresses.find`), None where it is not known. Then the address in the
            report counts; without one the instance is left out.
        now: The time of the report, aware of its zone.
        stale_after: Seconds.

    Raises:
        NoWriterAvailable: No row names a writer, its address is not known, or the asked
            instance's own role contradicts its row. The report must not be used.
    """
    rows = _newest(report.rows)
    own = report.instance_id
    # The asked instance knows best that it is no writer any more.
    claims = [row for row in rows if row.is_writer and not _disproved(row, report)]
    if not claims:
        raise NoWriterAvailable(f"{own} knows of no writer{_among(rows)}")
    elected = min(claims, key=_age)
    if elected.instance_id != own and not report.in_recovery:
        raise NoWriterAvailable(
            f"{own} accepts writes and says that {elected.instance_id} is the writer: its status"
            " is stale, or it is about to step down"
        )
    writer = _instance(elected, Role.WRITER, locate, now)
    if writer is None:
        raise NoWriterAvailable(
            f"the address of the writer, {elected.instance_id}, is not known: check"
            " instance_endpoints"
        )
    readers = (
        _instance(row, Role.READER, locate, now)
        for row in sorted(rows, key=lambda row: row.instance_id)
        if _disproved(row, report)
        or not (row.is_writer or (row.age is not None and row.age > stale_after))
    )
    return Topology(writer, tuple(one for one in readers if one is not None))


def settle_static(
    instances: Iterable[Instance],
    reports: Mapping[str, Report],
    *,
    now: datetime,
    current: str | None = None,
    level: Mapping[str, float] | None = None,
) -> Topology:
    """Decide who is the writer among endpoints that are asked one by one.

    Who did not answer counts as a reader: that it cannot be reached is for its pool to find out.
    Of several that accept writes the one with the highest epoch is the writer: the others were
    demoted and do not know it.

    Args:
        instances: All of them, with whatever role.
        reports: The answers by the instance's identifier.
        now: The time of the answers, aware of its zone.
        current: Identifier of the present writer, which stays it where nothing tells them apart.
        level: Seconds since a reader had last replayed all there was, by its identifier: it is not
            further behind than that.

    Raises:
        NoWriterAvailable: Nobody accepts writes, or several do and nothing tells who is right.
    """
    found = sorted(instances, key=lambda one: one.id)
    writing = [one for one in found if one.id in reports and not reports[one.id].in_recovery]
    if not writing:
        told = [
            f"{one.id} {'is a reader' if one.id in reports else 'did not answer'}" for one in found
        ]
        raise NoWriterAvailable(f"no endpoint accepts writes: {', '.join(told)}")
    latest = max(reports[one.id].epoch or 0 for one in writing)
    elected = [one for one in writing if (reports[one.id].epoch or 0) == latest]
    chosen = next((one for one in elected if one.id == current), elected[0])
    if len(elected) > 1 and chosen.id != current:
        raise NoWriterAvailable(
            f"{', '.join(one.id for one in elected)} accept writes, and only one can be the"
            " writer: name the endpoints of one cluster"
        )
    written = reports[chosen.id].position
    known = level or {}
    readers = tuple(
        _reader(one, reports.get(one.id), written, known.get(one.id, inf))
        for one in found
        if one != chosen
    )
    heard = {one: replace(one, last_seen=now) for one in (chosen, *readers) if one.id in reports}
    return Topology(
        replace(heard[chosen], role=Role.WRITER, lag=0.0),
        tuple(heard.get(one, one) for one in readers),
    )


def _reader(
    instance: Instance, report: Report | None, written: int | None, level: float
) -> Instance:
    """Give an instance the part of a reader, and the lag that its answer tells."""
    lag = None
    if report is not None and report.position is not None and written is not None:
        # While nothing is written, the last commit ages though nothing is missing; and what is
        # missing at last was written after the time at which nothing was.
        if report.position >= written:
            lag = 0.0
        elif report.replayed is not None:
            lag = min(report.replayed, level)
    return replace(instance, role=Role.READER, lag=None if lag is None else max(0.0, lag))


@dataclass(frozen=True, slots=True)
class TopologyChange:
    """What differs between two topologies, and so what the pools must do.

    An instance that got another address counts as one that went and one that came.

    Attributes:
        old_writer: Who was the writer, None if nobody was or it still is.
        new_writer: Who became the writer, None if nobody did or it still is.
        readers_added: Readers that were none before; a demoted writer is one.
        readers_removed: Readers that are none any more; a promoted one is one.
    """

    old_writer: Instance | None
    new_writer: Instance | None
    readers_added: tuple[Instance, ...]
    readers_removed: tuple[Instance, ...]

    @property
    def writer_changed(self) -> bool:
        """Writes go elsewhere now, or nowhere."""
        return self.old_writer is not None or self.new_writer is not None

    def __bool__(self) -> bool:
        return self.writer_changed or bool(self.readers_added or self.readers_removed)


def changes(old: Topology, new: Topology) -> TopologyChange:
    """Compare two topologies by who is where in which role; lag and load do not count."""
    same_writer = old.writer == new.writer
    before, after = set(old.readers), set(new.readers)
    return TopologyChange(
        old_writer=None if same_writer else old.writer,
        new_writer=None if same_writer else new.writer,
        readers_added=tuple(one for one in new.readers if one not in before),
        readers_removed=tuple(one for one in old.readers if one not in after),
    )


def _newest(rows: Iterable[InstanceStatus]) -> list[InstanceStatus]:
    newest: dict[str, InstanceStatus] = {}
    for row in rows:
        known = newest.get(row.instance_id)
        if known is None or _age(row) < _age(known):
            newest[row.instance_id] = row
    return list(newest.values())


def _age(row: InstanceStatus) -> float:
    return inf if row.age is None else row.age


def _disproved(row: InstanceStatus, report: Report) -> bool:
    return row.is_writer and row.instance_id == report.instance_id and report.in_recovery


def _among(rows: list[InstanceStatus]) -> str:
    return f" among {', '.join(sorted(row.instance_id for row in rows))}" if rows else ""


def _instance(row: InstanceStatus, role: Role, locate: Locate, now: datetime) -> Instance | None:
    address = locate(row.instance_id) or row.address
    if address is None:
        return None
    return Instance(
        id=row.instance_id,
        host=address[0],
        port=address[1],
        role=role,
        lag=0.0 if role is Role.WRITER else row.lag,
        load=row.cpu,
        last_seen=None if row.age is None else now - timedelta(seconds=row.age),
    )
