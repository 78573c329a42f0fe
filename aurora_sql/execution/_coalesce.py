"""Calls that travel together: ``coalesce: on``.

Nothing waits for company. A call that finds little under way leaves at once, in its caller's task
and in the statement's own form. While more is under way, calls wait for a lane to come free, and
those that wait by then are one batch: one round trip, one execution, and each caller its own rows.
What one caller brings along (a deadline, a cancellation, a value that does not fit, an error of its
row) is its own affair.
"""

from __future__ import annotations

import asyncio
import math
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.deadlines import surrounding_deadline
from aurora_sql.errors import AuroraError, StatementFileError
from aurora_sql.execution._attempts import Trace, deadline_exceeded
from aurora_sql.execution._each import Answers, Part, bind_each, gather_each
from aurora_sql.execution._forms import examine
from aurora_sql.execution._group import Group, Lanes, Member
from aurora_sql.execution._group_mysql import MySQLReadGroup, MySQLWriteGroup
from aurora_sql.execution._group_reads import ReadGroup
from aurora_sql.execution._group_writes import LOCK_TIMEOUT, WriteGroup
from aurora_sql.execution._watch import Watch
from aurora_sql.pool import copy_error
from aurora_sql.statements import target_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aurora_sql.execution._context import Context
    from aurora_sql.execution._forms import Forms
    from aurora_sql.execution._group import Run
    from aurora_sql.execution._pool_runner import PoolRunner
    from aurora_sql.statements import Statement, Variant

_AT_ONCE: Final = 4
"""Calls under way up to which another one leaves alone: a batch of two or three gains nothing."""

_LANES: Final = 2
"""Batches at the same time on one instance: one is answered while the server works on the other."""

_PATIENCE: Final = 0.1
"""Seconds for which reads that take long hold up others of their statement."""


class Coalescer:
    """All statements of one runner whose calls travel together.

    Args:
        context: What all calls share.
        runner: Runs statements on leases.
        run: Runs one statement, untold to observers.
        spread: Among how many instances the calls of a statement are spread.
    """

    def __init__(
        self,
        context: Context,
        runner: PoolRunner,
        run: Run,
        spread: Callable[[Statement], int],
    ) -> None:
        self._context = context
        self._runner = runner
        self._run = run
        self._spread = spread
        self._time = context.loop.time
        self._new_future = context.loop.create_future
        self._due = context.sweeper.due
        self._timeout = context.command_timeout
        self._groups: dict[Variant, Group] = {}
        self._refused: dict[Variant, StatementFileError] = {}
        self._admitting: set[Variant] = set()
        self._dropped: list[Group] = []
        self._tables: dict[tuple[str, bool], Lanes] = {}
        context.sweeper.watch(self)

    async def run(
        self, statement: Statement, params: dict[str, Any], trace: Trace | None = None
    ) -> Any:
        """Run a statement, with others where there are others."""
        variant, args = statement.bind(params)
        group = self._groups.get(variant)
        if (
            group is None
            or (group.outstanding < _AT_ONCE and not group.lanes.awaited)
            or (group.resume_at is not None and group.resting)
        ):
            return await self._run_apart(statement, variant, group, params, trace)
        # Here and not in methods or a coroutine of its own: each call would pay for them.
        limit = self._time() + (statement.timeout or self._timeout)
        if surrounding_deadline() is not None:
            limit = self._limit(statement)
        future = self._new_future()
        member = Member(args, params, limit, future)
        if trace is not None:
            member.keep = trace.keep
        group.waiting.append(member)
        if not group.lanes.scheduled:
            group.lanes.schedule()
        self._due(limit)
        try:
            return await future
        except asyncio.CancelledError:
            if member.batch is not None:
                group.left(member.batch)
            raise
        finally:
            if trace is not None and member.batch is not None:
                trace.follow(member.batch.trace)

    async def run_each(self, statement: Statement, sets: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Run a read once for each set of parameters; the answers in their order."""
        bound = bind_each(statement, sets)
        group = self._groups.get(bound[0][0]) if bound else None
        alike = group is not None and all(variant is group.variant for variant, _ in bound)
        if group is None or not alike or group.resting or len(bound) == 1:
            # The first of a statement finds out about its form for many callers.
            return await gather_each(self.run(statement, dict(params)) for params in sets)
        limit = self._limit(statement)
        answers = Answers(self._new_future(), len(bound))
        members = [
            Member(args, params, limit, Part(answers, number))
            for number, ((_, args), params) in enumerate(zip(bound, sets, strict=True))
        ]
        group.waiting.extend(members)
        group.lanes.schedule()
        self._due(limit)
        try:
            return await answers.future
        except BaseException:
            for batch in {member.batch for member in members}:
                if batch is not None:
                    group.left(batch)
            raise

    def _limit(self, statement: Statement) -> float:
        """The deadline of a call that begins now.

        Raises:
            DeadlineExceeded: It has passed.
        """
        now = self._time()
        limit = now + (statement.timeout or self._timeout)
        surrounding = surrounding_deadline()
        if surrounding is not None and surrounding < limit:
            limit = float(surrounding)
            if limit <= now:
                raise deadline_exceeded(statement.where, write_sent=False)
        return limit

    async def _run_apart(
        self,
        statement: Statement,
        variant: Variant,
        group: Group | None,
        params: dict[str, Any],
        trace: Trace | None,
    ) -> Any:
        """Run a statement by itself: there is no company, or it would not help."""
        run = self._run if statement.retry is None else self._run_alone
        if group is None and variant.parameters:
            group = await self._admit(statement, variant)
        if group is None or group.resting:
            return await run(statement, params, trace)
        lanes = group.lanes
        started = perf_counter() if group.outstanding == 0 else 0.0
        group.outstanding += 1
        lane = lanes.enter()
        try:
            result = await run(statement, params, trace)
            if started:
                group.went_alone(started)
            return result
        finally:
            group.outstanding -= 1
            lanes.leave(lane)

    async def _run_alone(
        self, statement: Statement, params: dict[str, Any], trace: Trace | None
    ) -> Any:
        """Run a statement whose directive says how often."""
        if statement.retry == "exactly_once":
            return await self._runner.run_once(statement, params)
        return await self._run(statement, params, trace)

    def sweep(self, now: float) -> float:
        """Fail the calls whose time is up; return the next deadline."""
        for group in tuple(self._dropped):
            if not group.outstanding and not group.waiting:
                self._dropped.remove(group)
                group.lanes.groups.remove(group)
        nearest = math.inf
        for group in (*self._groups.values(), *self._dropped):
            nearest = min(nearest, group.expire(now))
        return nearest

    # -- the first call --------------------------------------------------------------------

    async def _admit(self, statement: Statement, variant: Variant) -> Group | None:
        """Prepare both forms of a variant and compare them.

        Returns:
            None where that cannot be found out now: the call goes alone.

        Raises:
            StatementFileError: The calls of this statement cannot travel together.
        """
        refused = self._refused.get(variant)
        if refused is not None:
            raise copy_error(refused)
        if variant in self._admitting:
            return None
        self._admitting.add(variant)
        try:
            return await self._find_out(statement, variant)
        except StatementFileError:
            raise
        except AuroraError:
            return None  # the call itself tells it better, or tries again
        finally:
            self._admitting.discard(variant)

    async def _find_out(self, statement: Statement, variant: Variant) -> Group:
        try:
            async with self._runner.lease(statement) as (pooled, limit):
                what = statement.where
                with Watch(self._context, pooled, limit, what=what, write_sent=False):
                    forms = await examine(self._context.preparer, pooled, variant)
        except StatementFileError as error:
            self._forget_earlier(statement)
            self._refused[variant] = error
            raise
        self._forget_earlier(statement)
        # Meanwhile another one may have found it out: calls may wait there.
        group = self._groups.get(variant)
        if group is None:
            group = self._groups[variant] = self._group(forms)
        return group

    async def group(self, statement: Statement, variant: Variant) -> Group:
        """Return where the calls of a variant meet, as its first call finds it out.

        Raises:
            StatementFileError: The calls of this statement cannot travel together.
            AuroraError: That cannot be found out now.
        """
        refused = self._refused.get(variant)
        if refused is not None:
            raise copy_error(refused)
        group = self._groups.get(variant)
        return await self._find_out(statement, variant) if group is None else group

    def _forget_earlier(self, statement: Statement) -> None:
        """Drop what is known of a text that a reload has replaced."""
        for variant in tuple(self._refused):
            if _replaces(statement, variant.statement):
                del self._refused[variant]
        for variant, group in tuple(self._groups.items()):
            if _replaces(statement, variant.statement):
                self._drop(group)

    def _group(self, forms: Forms) -> Group:
        context, statement = self._context, forms.variant.statement
        if statement.command == "SELECT":
            reads = ReadGroup if forms.united is None else MySQLReadGroup
            lanes = Lanes(context.loop, lambda: _LANES * self._spread(statement), _PATIENCE)
            return reads(context, self._run, forms, lanes, drop=self._drop)
        lanes = self._lanes_of(statement, inserts=forms.inserts is not None)
        run, runner, rows = self._run_alone, self._runner, forms.rows
        if rows is None:
            return WriteGroup(context, runner, run, forms, lanes, drop=self._drop)
        return MySQLWriteGroup(context, runner, run, forms, lanes, rows=rows, drop=self._drop)

    def _lanes_of(self, statement: Statement, *, inserts: bool = False) -> Lanes:
        """The lanes of the table that a write changes."""
        # Two batches at once could lock rows in two orders; new rows, sorted, are in nobody's way.
        table = target_table(statement), inserts
        lanes = self._tables.get(table)
        if lanes is None:
            most = _LANES if inserts else 1
            lanes = Lanes(self._context.loop, lambda: most, LOCK_TIMEOUT)
            self._tables[table] = lanes
        return lanes

    def _drop(self, group: Group) -> None:
        """Forget the forms of a variant: the next call looks at them anew."""
        if self._groups.get(group.variant) is group:
            del self._groups[group.variant]
            if group.outstanding or group.waiting:
                self._dropped.append(group)
            else:
                group.lanes.groups.remove(group)


def _replaces(statement: Statement, other: Statement) -> bool:
    return statement.name == other.name and statement is not other
