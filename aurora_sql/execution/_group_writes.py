"""Writes in batches: one transaction, and every caller is answered after its commit."""

from __future__ import annotations

import asyncio
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.drivers import tuple_rows
from aurora_sql.errors import AuroraError, LockTimeout, ProgrammingError
from aurora_sql.execution._group import (
    ABOUT_ALL,
    MOST_CHARACTERS,
    Group,
    characters,
    fail,
    hand_out,
    values_of,
)
from aurora_sql.pool import copy_error
from aurora_sql.rows import Row
from aurora_sql.statements import lock_order
from aurora_sql.types import Cardinality

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aurora_sql.execution._attempts import Trace
    from aurora_sql.execution._connection_runner import ConnectionRunner
    from aurora_sql.execution._context import Context
    from aurora_sql.execution._forms import Forms
    from aurora_sql.execution._group import Batch, Lanes, Member, Run
    from aurora_sql.execution._pool_runner import PoolRunner

LOCK_TIMEOUT: Final = 0.1
"""Seconds for which a batch waits for a lock of somebody else, before it is sent in parts."""

_OFTEN: Final = 0.7
"""Share of batches that fail for one of their calls, above which calls go alone for a while."""


class _Blocked(Exception):
    """A batch waits for a lock: its transaction is not to be run again as it is."""


class WriteGroup(Group):
    """The calls of one variant of a write.

    Args:
        context: What all calls share.
        runner: Runs writes on the writer.
        run: Runs a statement on a lease.
        forms: What runs for many callers.
        lanes: That of its table: two batches at once could lock rows in two orders.
        drop: Called when these may not fit any more.
    """

    def __init__(
        self,
        context: Context,
        runner: PoolRunner,
        run: Run,
        forms: Forms,
        lanes: Lanes,
        *,
        drop: Callable[[Group], None],
    ) -> None:
        super().__init__(context, run, forms, lanes)
        plain = forms.plain
        self._runner = runner
        self._order = lock_order(forms.variant)
        self._finish = plain.finish
        self._rows = tuple_rows(Row, [column.name for column in plain.columns])
        self._counts = self.statement.cardinality is Cardinality.AFFECTED
        self._drop = drop
        self._failing = 0.0

    def left(self, batch: Batch) -> None:
        """It goes on: what was sent may be applied. A call that is alone ends with its caller."""
        for member in batch.members:
            if member.alone is not None and member.future.done():
                member.alone.cancel()

    async def _serve_alone(self, member: Member, trace: Trace) -> None:
        if member.future.done():
            return
        member.alone = self._loop.create_task(super()._serve_alone(member, trace))
        try:
            await asyncio.wait((member.alone,))
        finally:
            member.alone.cancel()

    async def _serve_apart(self, members: list[Member], trace: Trace) -> None:
        """One of them waits for a lock: find it by halves, at the same time."""
        half = len(members) // 2
        await asyncio.gather(self._serve(members[:half], trace), self._serve(members[half:], trace))

    async def _serve_many(self, members: list[Member], trace: Trace) -> None:
        sort_by(members, self._order)
        columns = list(zip(*map(values_of, members), strict=True))
        if characters(columns) > MOST_CHARACTERS:
            await self._serve_halves(members, trace)
            return
        try:
            found = await self._write(members, columns, trace)
        except (LockTimeout, _Blocked):
            await self._serve_apart(members, trace)
            return
        except AuroraError as error:
            if error.outcome_unknown or isinstance(error, ABOUT_ALL):
                for member in members:
                    fail(member, copy_error(error))
                return
            if isinstance(error, ProgrammingError):
                self._drop(self)
            self._learn(members, failed=1.0)
            await self._serve_halves(members, trace)
            return
        self._learn(members, failed=0.0)
        if self._counts:
            for member, rows in zip(members, found, strict=True):
                if not member.future.done():
                    member.future.set_result(0 if rows is None else len(rows))
        else:
            hand_out(members, found, self._finish)

    async def _write(
        self, members: list[Member], columns: Sequence[Sequence[Any]], trace: Trace
    ) -> list[list[Any] | None]:
        """Apply all of them, or none; the rows of each."""
        variant, sets = self.forms.pose_write([member.args for member in members], columns)
        runner, fetch = self._runner, self.forms.numbered is not None
        if self.statement.retry != "exactly_once":
            rows = await runner.run_sets(
                variant, sets, fetch=fetch, trace=trace, lock_timeout=LOCK_TIMEOUT
            )
        else:

            async def work(opened: ConnectionRunner) -> list[Any]:
                try:
                    return await opened.run_sets(
                        variant, sets, fetch=fetch, lock_timeout=LOCK_TIMEOUT
                    )
                except LockTimeout as error:
                    raise _Blocked from error

            rows = await runner.once(variant.statement, work)
        nothing: list[list[Any] | None] = [None] * len(members)
        return self._sort(rows, nothing)

    def _sort(self, rows: list[Any], found: list[list[Any] | None]) -> list[list[Any] | None]:
        """Each caller's rows, without the number at their end."""
        for row in rows:
            *values, at = row
            mine = found[at]
            own = tuple.__new__(self._rows, values)
            if mine is None:
                found[at] = [own]
            else:
                mine.append(own)
        return found

    def _whole(self, members: int) -> int:
        """How many of a batch are written at once."""
        return members

    def _learn(self, members: list[Member], *, failed: float) -> None:
        """Leave the calls alone for a while where batches mostly fail."""
        batch = members[0].batch
        if batch is None or len(members) < self._whole(len(batch.members)):
            return  # a part of one that has failed
        self._failing = self._failing * 0.8 + failed * 0.2
        if self._failing > _OFTEN:
            share = self._failing
            self._failing = 0.0
            self._rest(f"{share:.0%} of the last batches failed for the sake of one call")


def sort_by(members: list[Member], order: Sequence[int]) -> None:
    """Sort by values, those in ``order`` first; what comes first with equal values stays first."""
    if not order:
        return
    pick = itemgetter(*order)

    def careful(member: Member) -> list[Any]:
        return [(member.args[number] is not None, member.args[number]) for number in order]

    try:
        # Where no None meets a value, which raises, the order is that of the careful key.
        members.sort(key=lambda member: pick(member.args))
    except Exception:  # noqa: BLE001 - values of different kinds, or that have no order, raise any
        try:
            members.sort(key=careful)
        except Exception:  # noqa: BLE001 - the same
            members.sort(key=lambda member: repr([member.args[number] for number in order]))
