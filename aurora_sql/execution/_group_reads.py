"""Reads in batches: the statement once for many callers, by arrays of their values."""

from __future__ import annotations

from itertools import count, repeat
from operator import eq
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.drivers import tuple_rows
from aurora_sql.errors import AuroraError, ConflictError, ProgrammingError
from aurora_sql.execution._group import (
    ABOUT_ALL,
    LARGEST,
    MOST_CHARACTERS,
    Group,
    are_flat,
    characters,
    fail,
    hand_out,
)
from aurora_sql.execution._results import build_each
from aurora_sql.pool import copy_error
from aurora_sql.rows import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.execution._attempts import Trace
    from aurora_sql.execution._context import Context
    from aurora_sql.execution._forms import Forms
    from aurora_sql.execution._group import Batch, Lanes, Member, Run
    from aurora_sql.statements import Statement

_MOST_ROWS: Final = 20_000
"""Rows that a batch should bring, as far as the last ones tell."""

_SLOW: Final = 3.0
"""How much longer a call may take in a batch than alone: plans can depend on values."""

_TELLING: Final = 8
"""Callers that a batch must have for its time to tell of its plan, not of the machine's mood."""

_SLOW_BATCHES: Final = 8
"""So many of them on end, and batches are not worth it."""

_AFTER_NUMBER = slice(1, None)


class ReadGroup(Group):
    """The calls of one variant of a read.

    Args:
        context: What all calls share.
        run: Runs a statement on a lease.
        forms: What runs for many callers.
        lanes: How many batches may be under way at once.
        drop: Called when the form for many does not fit any more.
    """

    def __init__(
        self,
        context: Context,
        run: Run,
        forms: Forms,
        lanes: Lanes,
        *,
        drop: Callable[[Group], None],
    ) -> None:
        super().__init__(context, run, forms, lanes)
        plain = forms.plain
        self._shape = forms.shape or plain
        self._columns = self._shape.columns
        self._finish = plain.finish
        self._finish_each = build_each(self.statement, plain.columns)
        self._rows = tuple_rows(Row, [column.name for column in plain.columns])
        self._part = self._shape.rows.__getitem__
        self._drop = drop
        self._each = 1.0
        self._largest = LARGEST
        self._slow = 0

    def left(self, batch: Batch) -> None:
        batch.abandon()

    async def _serve_many(self, members: list[Member], trace: Trace) -> None:
        sets = [member.args for member in members]
        columns = list(zip(*sets, strict=True))
        if not are_flat(columns) or characters(columns) > MOST_CHARACTERS:
            await self._serve_halves(members, trace)
            return
        posed = self.forms.pose(sets, columns)
        if posed is None:
            await self._serve_halves(members, trace)
            return
        wide, values = posed
        started = perf_counter()
        try:
            rows = await self._run(wide, values, trace)
        except AuroraError as error:
            if isinstance(error, (*ABOUT_ALL, ConflictError)):
                for member in members:
                    fail(member, copy_error(error))
                return
            if isinstance(error, ProgrammingError):
                self._drop(self)  # types have changed, or tables: look at both forms anew
            await self._serve_halves(members, trace)
            return
        if not self._fits(wide):
            self._drop(self)
            for member in members:
                await self._serve_alone(member, trace)
            return
        if not self._hand_out_one_each(members, rows):
            hand_out(members, self._sort(rows, len(members)), self._finish)
        self._learn(len(members), len(rows), perf_counter() - started)

    def _hand_out_one_each(self, members: list[Member], rows: list[Any]) -> bool:
        """Give each its result where each has one row, in the order of the callers.

        That is what most batches bring, and there is no Python code for each row of it.

        Returns:
            Whether it is so. Nobody was given anything where it is not.
        """
        finish, part, many = self._finish_each, self._part, len(members)
        if finish is None or len(rows) < many:
            return False
        numbers = list(map(part, rows, repeat(0)))
        # Those beyond are of callers that nobody is, in a text of a power of two.
        if numbers[many:] and min(numbers[many:]) <= many:
            return False
        if not all(map(eq, numbers, count(1))):
            return False
        values = map(part, rows[:many], repeat(_AFTER_NUMBER))
        found = list(map(tuple.__new__, repeat(self._rows), values))
        try:
            results = finish(found)
        except Exception:  # noqa: BLE001 - of one of them: it is told whose it is
            return False
        for member, row, result in zip(members, found, results, strict=True):
            if member.keep is not None:
                hand_out([member], [[row]], self._finish)
            elif not member.future.done():
                member.future.set_result(result)
        return True

    def _sort(self, rows: list[Any], members: int) -> list[list[Any] | None]:
        """Each caller's rows, without the number in front."""
        found: list[list[Any] | None] = [None] * members
        part, new, own = self._part, tuple.__new__, self._rows
        for row in rows:
            values = new(own, part(row, _AFTER_NUMBER))
            at = part(row, 0) - 1
            others = found[at]
            if others is None:
                found[at] = [values]
            else:
                others.append(values)
        return found

    def _fits(self, wide: Statement) -> bool:
        """Whether the form for many still returns what the plain one did."""
        shape = self._context.preparer.shape(wide.variants[0])
        if shape is None or shape is self._shape:
            return True
        if shape.columns != self._columns:
            return False  # and none of this group's batches will, for all that wait
        self._shape = shape
        return True

    def _learn(self, members: int, rows: int, seconds: float) -> None:
        """Keep batches to a size, and see whether they are worth it."""
        self._each = self._each * 0.9 + rows / members * 0.1
        self._most = max(1, min(self._largest, int(_MOST_ROWS / max(self._each, 1.0))))
        if members < _TELLING:
            return
        if seconds <= self.lone * _SLOW * members:
            self._slow = 0
            return
        self._slow += 1
        if self._slow >= _SLOW_BATCHES:
            self._slow = 0
            alone, together = self.lone * 1000, seconds / members * 1000
            self._rest(f"a call takes {alone:.3g} ms alone and {together:.3g} ms in a batch")
