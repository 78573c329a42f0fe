"""Batches on MySQL and MariaDB: what :mod:`aurora_sql.statements` makes of a statement for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aurora_sql.execution._group import LARGEST
from aurora_sql.execution._group_reads import ReadGroup
from aurora_sql.execution._group_writes import WriteGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aurora_sql.execution._attempts import Trace
    from aurora_sql.execution._context import Context
    from aurora_sql.execution._group import Group, Lanes, Member, Run
    from aurora_sql.execution._pool_runner import PoolRunner
    from aurora_sql.execution._prepare import Shape
    from aurora_sql.statements import KeyedRead, Statement, UnitedRead, Variant, WideInsert
    from aurora_sql.types import Column

_INEXACT: Final = frozenset({"float", "double", "decimal"})


class MySQLReadGroup(ReadGroup):
    """The calls of one variant of a read.

    Args:
        context: What all calls share.
        run: Runs a statement on a lease.
        variant: The plain form.
        lanes: How many batches may be under way at once.
        keyed: The form with all values in one parameter; None where it has none.
        united: The form with a member for each caller.
        plain: What the plain form returns.
        drop: Called when the forms for many do not fit any more.
    """

    def __init__(
        self,
        context: Context,
        run: Run,
        variant: Variant,
        lanes: Lanes,
        *,
        keyed: KeyedRead | None,
        united: UnitedRead,
        plain: Shape,
        drop: Callable[[Group], None],
    ) -> None:
        wide = united.statement(2)
        super().__init__(context, run, variant, lanes, wide=wide, shapes=(plain, plain), drop=drop)
        self._keyed = keyed
        self._united = united
        self._part = tuple.__getitem__
        self._known: dict[Statement, Shape] = {}
        self._largest = LARGEST if keyed is not None else united.most
        self._most = self._largest

    def _pose(
        self, members: list[Member], _columns: Sequence[Sequence[Any]]
    ) -> tuple[Statement, dict[str, Any]] | None:
        sets = [member.args for member in members]
        bound = None if self._keyed is None else self._keyed.bind(sets)
        if bound is None and len(members) <= self._united.most:
            bound = self._united.bind(sets)
        return bound

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
        variant: The plain form.
        lanes: That of its table.
        plain: What the plain form returns.
        wide: The INSERT of many rows.
        drop: Called when that may not fit any more.
    """

    def __init__(
        self,
        context: Context,
        runner: PoolRunner,
        run: Run,
        variant: Variant,
        lanes: Lanes,
        *,
        plain: Shape,
        wide: WideInsert,
        drop: Callable[[Group], None],
    ) -> None:
        super().__init__(
            context,
            runner,
            run,
            variant,
            lanes,
            plain=plain,
            inserts=None,
            numbered=None,
            drop=drop,
        )
        self._wide = wide
        self._most = min(LARGEST, wide.most)

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
        statement, values = self._wide.bind([member.args for member in members])
        if self.statement.retry == "exactly_once":
            await self._runner.once(statement, lambda runner: runner.run(statement, values))
        else:
            await self._run(statement, values, trace)
        return [None] * len(members)


def are_alike(plain: Sequence[Column], wide: Sequence[Column]) -> bool:
    """Whether columns through a derived table have the values that they have without it.

    There ``1`` is an int instead of a bigint, long text may be shorter text, an enum is text, and
    NULL has a type.
    """
    return len(plain) == len(wide) and all(
        one.name == other.name
        and (
            one.type_name in (other.type_name, "null")
            or (one.python_type is other.python_type and one.type_name not in _INEXACT)
        )
        for one, other in zip(plain, wide, strict=True)
    )


def _power(number: int) -> int:
    return 1 << (number.bit_length() - 1)
