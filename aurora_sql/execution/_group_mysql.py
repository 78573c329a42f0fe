"""Batches on MySQL and MariaDB: what :mod:`aurora_sql.statements` makes of a statement for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aurora_sql.execution._forms import are_alike
from aurora_sql.execution._group import LARGEST
from aurora_sql.execution._group_reads import ReadGroup
from aurora_sql.execution._group_writes import WriteGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aurora_sql.execution._attempts import Trace
    from aurora_sql.execution._context import Context
    from aurora_sql.execution._forms import Forms
    from aurora_sql.execution._group import Group, Lanes, Member, Run
    from aurora_sql.execution._pool_runner import PoolRunner
    from aurora_sql.execution._prepare import Shape
    from aurora_sql.statements import Statement, WideInsert


class MySQLReadGroup(ReadGroup):
    """The calls of one variant of a read.

    Args:
        context: What all calls share.
        run: Runs a statement on a lease.
        forms: What runs for many callers.
        lanes: How many batches may be under way at once.
        drop: Called when the forms for many do not fit any more.
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
        super().__init__(context, run, forms, lanes, drop=drop)
        self._part = tuple.__getitem__
        self._known: dict[Statement, Shape] = {}
        united = forms.united
        self._largest = LARGEST if forms.keyed is not None or united is None else united.most
        self._most = self._largest

    def _sort(self, rows: list[Any], members: int) -> list[list[Any] | None]:
        # A text of a power of two has members that nobody asked for.
        return super()._sort(rows, 1 << (members - 1).bit_length())[:members]

    def _fits(self, wide: Statement) -> bool:
        shape = self._context.preparer.shape(wide.variants[0])
        if shape is None or self._known.get(wide) is shape:
            return True
        if not are_alike(self._columns, shape.columns[1:]):
            return False
        self._known[wide] = shape
        return True


class MySQLWriteGroup(WriteGroup):
    """The calls of one INSERT of one row.

    Args:
        context: What all calls share.
        runner: Runs writes on the writer.
        run: Runs a statement on a lease.
        forms: What runs for many callers.
        lanes: That of its table.
        rows: The INSERT of many rows, of these forms.
        drop: Called when that may not fit any more.
    """

    def __init__(
        self,
        context: Context,
        runner: PoolRunner,
        run: Run,
        forms: Forms,
        lanes: Lanes,
        *,
        rows: WideInsert,
        drop: Callable[[Group], None],
    ) -> None:
        super().__init__(context, runner, run, forms, lanes, drop=drop)
        self._insert = rows
        self._most = min(LARGEST, rows.most)

    async def _serve_many(self, members: list[Member], trace: Trace) -> None:
        """There are texts for powers of two: the rest follows in transactions of its own."""
        size = _power(len(members))
        if size == len(members):
            await super()._serve_many(members, trace)
        else:
            await self._serve(members[:size], trace)
            await self._serve(members[size:], trace)

    def _whole(self, members: int) -> int:
        return _power(members)

    async def _write(
        self, members: list[Member], _columns: Sequence[Sequence[Any]], trace: Trace
    ) -> list[list[Any] | None]:
        statement, values = self._insert.bind([member.args for member in members])
        if self.statement.retry == "exactly_once":
            await self._runner.once(statement, lambda runner: runner.run(statement, values))
        else:
            await self._run(statement, values, trace)
        return [None] * len(members)


def _power(number: int) -> int:
    return 1 << (number.bit_length() - 1)
