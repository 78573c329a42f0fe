"""From the rows of a statement to what its cardinality promises.

The work that is the same for every call (does the model fit, which rows need a change) is done
once; what is left per call is a function of the rows, or nothing at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aurora_sql.errors import ConfigurationError, RowNotFound, StatementFileError, TooManyRows
from aurora_sql.rows import build_maker, resolve_model
from aurora_sql.types import Cardinality, Column

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aurora_sql.statements import Statement

LIMITS = {Cardinality.ONE: 2, Cardinality.MAYBE: 2, Cardinality.SCALAR: 2}
"""Rows to ask the server for: one more than promised, so that a surplus is noticed cheaply."""

ROWLESS = frozenset({Cardinality.EXEC, Cardinality.AFFECTED, Cardinality.BATCH})
"""Cardinalities whose answer is a command tag."""


def build_finish(
    statement: Statement, columns: Sequence[Column], model: type[Any] | None
) -> Callable[[list[Any]], Any] | None:
    """Return what turns the rows into the result; None where the rows are the result.

    Args:
        statement: Its cardinality, ``returns`` and ``column`` directives count.
        columns: What the server says the statement returns.
        model: Overrides the statement's ``returns``.

    Raises:
        RowValidationError: The columns do not fit the model.
        StatementFileError: The model that ``returns`` names does not import.
    """
    where = statement.where
    if model is None and statement.returns is not None:
        model = _named_model(statement)
    maker = (
        None
        if model is None
        else build_maker(columns, model, where=where, nullability=statement.column_nullability)
    )
    match statement.cardinality:
        case Cardinality.MANY:
            return maker
        case Cardinality.ONE:
            return _one(where, maker)
        case Cardinality.MAYBE:
            return _maybe(where, maker)
        case Cardinality.EXEC:
            return _nothing
        case Cardinality.SCALAR:
            return _scalar(where) if model is None else _maybe(where, maker)
        case _:
            return None


def build_each(
    statement: Statement, columns: Sequence[Column]
) -> Callable[[list[Any]], list[Any]] | None:
    """Return what turns rows, each of which is all that a call brought, into the calls' results.

    It spares a list and a function call for each of many calls. None where a result is no matter
    of rows.

    Args: as :func:`build_finish`, which has raised what there is to raise.
    """
    model = None if statement.returns is None else _named_model(statement)
    make: Callable[[list[Any]], list[Any]] = _as_they_are
    if model is not None:
        nullability = statement.column_nullability
        maker = build_maker(columns, model, where=statement.where, nullability=nullability)
        make = maker or _as_they_are
    match statement.cardinality:
        case Cardinality.SCALAR if model is None:
            return _first_values
        case Cardinality.ONE | Cardinality.MAYBE | Cardinality.SCALAR:
            return make
        case Cardinality.MANY:
            return lambda rows: [[one] for one in make(rows)]
        case _:
            return None


def _as_they_are(rows: list[Any]) -> list[Any]:
    return rows


def _first_values(rows: list[Any]) -> list[Any]:
    return [row[0] for row in rows]


def _named_model(statement: Statement) -> type[Any]:
    if isinstance(statement.returns, type):
        return statement.returns
    try:
        return resolve_model(str(statement.returns))
    except ConfigurationError as error:
        raise StatementFileError(
            f"returns: {error.message}", path=statement.path, line=statement.line
        ) from error


def _nothing(_: object) -> None:
    """Turn the row count of a statement without a result into just that."""


def _one(where: str, maker: Callable[[list[Any]], list[Any]] | None) -> Callable[[list[Any]], Any]:
    def finish(rows: list[Any]) -> Any:
        if len(rows) == 1:
            return rows[0] if maker is None else maker(rows)[0]
        if rows:
            raise TooManyRows(f"{where}: more than one row; the statement promises exactly one")
        raise RowNotFound(f"{where}: no row; the statement promises exactly one")

    return finish


def _maybe(
    where: str, maker: Callable[[list[Any]], list[Any]] | None
) -> Callable[[list[Any]], Any]:
    def finish(rows: list[Any]) -> Any:
        if not rows:
            return None
        if len(rows) == 1:
            return rows[0] if maker is None else maker(rows)[0]
        raise TooManyRows(f"{where}: more than one row; the statement promises at most one")

    return finish


def _scalar(where: str) -> Callable[[list[Any]], Any]:
    def finish(rows: list[Any]) -> Any:
        if not rows:
            return None
        if len(rows) == 1:
            return rows[0][0]
        raise TooManyRows(f"{where}: more than one row; a scalar is the value of a single one")

    return finish
