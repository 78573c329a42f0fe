"""The forms of a statement for many callers: made, prepared and compared with its own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.drivers import FlatArray
from aurora_sql.errors import ProgrammingError, StatementFileError
from aurora_sql.execution._group import are_flat
from aurora_sql.execution._prepare import forget
from aurora_sql.statements import (
    KeyedRead,
    UnitedRead,
    WideInsert,
    number_rows,
    unfit_type,
    widen,
    widen_insert,
)
from aurora_sql.types import Cardinality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.execution._prepare import Preparer, Shape
    from aurora_sql.pool import Pooled
    from aurora_sql.statements import Statement, Variant
    from aurora_sql.types import Column, ParameterType

_OTHER_COLUMNS: Final = "its form for many callers returns other columns"
_INEXACT: Final = frozenset({"float", "double", "decimal"})


@dataclass(frozen=True, slots=True)
class Forms:
    """What runs for many callers of one variant.

    Attributes:
        variant: The plain form.
        plain: What that returns.
        wide: PostgreSQL: the read whose parameters are arrays.
        shape: What that returns.
        keyed: MySQL: the read with all values in one parameter; None where it has none.
        united: MySQL: the read with a member for each caller.
        inserts: PostgreSQL: the INSERT of many rows, for one of one row without a result.
        numbered: PostgreSQL: the write whose rows have their caller's number, for one with a
            result.
        rows: MySQL: the INSERT of many rows.
    """

    variant: Variant
    plain: Shape
    wide: Statement | None = None
    shape: Shape | None = None
    keyed: KeyedRead | None = None
    united: UnitedRead | None = None
    inserts: Statement | None = None
    numbered: Statement | None = None
    rows: WideInsert | None = None

    def pose(
        self, sets: Sequence[Sequence[Any]], columns: Sequence[Sequence[Any]]
    ) -> tuple[Statement, dict[str, Any]] | None:
        """The text of a read, or of MySQL's INSERT, for these callers, and its values by name.

        Args:
            sets: The values of each caller.
            columns: The same values by parameter; none of them has elements of its own.

        Returns:
            None where there is none for all of them.
        """
        if self.wide is not None:
            arrays = map(FlatArray, columns)
            return self.wide, dict(zip(self.variant.parameters, arrays, strict=True))
        if self.rows is not None:
            return self.rows.bind(sets)
        bound = None if self.keyed is None else self.keyed.bind(sets)
        if bound is None and self.united is not None and len(sets) <= self.united.most:
            bound = self.united.bind(sets)
        return bound

    def pose_write(
        self, sets: Sequence[Sequence[Any]], columns: Sequence[Sequence[Any]]
    ) -> tuple[Variant, Sequence[Sequence[Any]]]:
        """The text of PostgreSQL's write for these callers, and the sets of values to run it with.

        Args: as :meth:`pose`.
        """
        if self.numbered is not None:
            numbered = [(*values, number) for number, values in enumerate(sets)]
            return self.numbered.variants[0], numbered
        if self.inserts is not None and are_flat(columns):
            return self.inserts.variants[0], [[FlatArray(column) for column in columns]]
        return self.variant, sets


async def examine(preparer: Preparer, pooled: Pooled, variant: Variant) -> Forms:
    """Prepare all forms of a variant on a leased connection and compare them.

    Raises:
        StatementFileError: The calls of this statement cannot travel together.
        AuroraError: That cannot be found out now.
    """
    statement = variant.statement
    entry = pooled.prepared.get(variant)
    if entry is not None:
        forget(pooled, variant, entry)  # its tables may have changed since
    entry = await preparer.prepare(pooled, statement, variant)
    plain = preparer.shape(variant)
    if plain is None:
        raise _refusal(statement, "its text has changed")
    examination = _Examination(preparer, pooled, variant, entry.prepared.parameters, plain)
    if statement.command != "SELECT":
        return await examination.write()
    if plain.findings.volatile and not statement.access_declared:
        raise _refusal(statement, "it calls a function that is volatile")
    if statement.dialect == "mysql":
        return await examination.mysql_read()
    return await examination.read()


class _Examination:
    """The look at one variant.

    Args:
        preparer: Prepares the forms.
        pooled: Where to.
        variant: The plain form.
        parameters: What the server takes for each of its placeholders.
        plain: What it returns.
    """

    def __init__(
        self,
        preparer: Preparer,
        pooled: Pooled,
        variant: Variant,
        parameters: Sequence[ParameterType],
        plain: Shape,
    ) -> None:
        self._preparer = preparer
        self._pooled = pooled
        self._variant = variant
        self._statement = variant.statement
        self._parameters = parameters
        self._plain = plain

    async def read(self) -> Forms:
        for name, parameter in zip(self._variant.parameters, self._parameters, strict=True):
            problem = unfit_type(name, parameter)
            if problem is not None:
                raise _refusal(self._statement, problem)
        wide = widen(self._variant, self._parameters)
        shape = await self._prepare(wide)
        if shape.columns[1:] != self._plain.columns:
            raise _refusal(self._statement, _OTHER_COLUMNS)
        return Forms(self._variant, self._plain, wide=wide, shape=shape)

    async def mysql_read(self) -> Forms:
        keyed, united = KeyedRead(self._variant, self._parameters), UnitedRead(self._variant)
        shape = await self._prepare(united.statement(2))
        if not are_alike(self._plain.columns, shape.columns[1:]):
            raise _refusal(self._statement, _OTHER_COLUMNS)
        fits = False
        if keyed.statement is not None:
            # LIMIT takes no column, and an old server knows no LATERAL.
            with suppress(StatementFileError):
                shape = await self._prepare(keyed.statement)
                fits = are_alike(self._plain.columns, shape.columns[1:])
        return Forms(self._variant, self._plain, keyed=keyed if fits else None, united=united)

    async def write(self) -> Forms:
        variant, plain = self._variant, self._plain
        if self._statement.dialect == "mysql":
            rows = WideInsert(variant)
            await self._prepare(rows.statement(2))
            return Forms(variant, plain, rows=rows)
        if self._statement.cardinality is Cardinality.EXEC:
            inserts = widen_insert(variant, self._parameters)
            if inserts is not None:
                await self._prepare(inserts)
            return Forms(variant, plain, inserts=inserts)
        numbered = number_rows(variant, returning=bool(plain.columns))
        shape = await self._prepare(numbered)
        if shape.columns[:-1] != plain.columns:
            raise _refusal(self._statement, _OTHER_COLUMNS)
        return Forms(variant, plain, numbered=numbered)

    async def _prepare(self, form: Statement) -> Shape:
        """Prepare a form for many callers."""
        variant = form.variants[0]
        try:
            entry = await self._preparer.prepare(self._pooled, form, variant)
        except ProgrammingError as error:
            raise _refusal(
                self._statement, f"the server refuses the form for many callers: {error.message}"
            ) from error
        if form.repeatable:
            # Prepared anew when it runs here first, it is brought to keep one plan.
            forget(self._pooled, variant, entry)
        shape = self._preparer.shape(variant)
        if shape is None:
            raise _refusal(self._statement, "its text has changed")
        return shape


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


def _refusal(statement: Statement, problem: str) -> StatementFileError:
    return StatementFileError(
        f"coalesce: on, but {problem}; leave the directive out",
        path=statement.path,
        line=statement.line,
    )
