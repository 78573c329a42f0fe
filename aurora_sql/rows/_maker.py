"""From the columns of a statement and a model to the function that makes the models."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import RowValidationError
from aurora_sql.rows._annotations import bare
from aurora_sql.rows._careful import Careful
from aurora_sql.rows._compile import compile_maker
from aurora_sql.rows._plan import Planner
from aurora_sql.rows._row import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aurora_sql.types import Column

_NOTHING_KNOWN: dict[str, bool] = {}


def build_maker(
    columns: Sequence[Column],
    model: Any | None,
    *,
    where: str,
    nullability: Mapping[str, bool] = _NOTHING_KNOWN,
) -> Callable[[list[Row]], list[Any]] | None:
    """Check a statement's columns against a model, and make what turns its rows into models.

    The work is done here, once; keep the result as long as the columns and the model are the
    same. Compiling takes about a millisecond.

    A column fills the field of its name, or of an alias of it. ``customer.email`` fills
    ``email`` of the model in field ``customer``, at any depth; if all columns of such a model
    are NULL the field becomes None. A json column fills a field of any type by way of
    pydantic, be the model around it one of pydantic or a dataclass.

    A pydantic model is built without its validator where that would do nothing: all columns
    have exactly the types of their fields, and nothing in the model checks or changes values.

    Args:
        columns: The columns of the prepared statement.
        model: A pydantic model, a dataclass (of pydantic or the standard library), a typed
            dict, a named tuple; ``dict`` or ``tuple``; for one column its type, such as ``int``;
            None or :class:`Row` for rows as they are.
        where: Names the statement in errors: its name, file and line.
        nullability: Columns that are known to be NULL at times (True) or never (False).

    Returns:
        The function, or None if rows are to be handed out as they are. It raises
        RowValidationError for a row that does not fit.

    Raises:
        RowValidationError: The columns do not fit the model; the message lists everything that
            is wrong.
        ConfigurationError: The model cannot be used: it refers to what does not exist, or is
            nothing that rows can be made into.
    """
    _check_hints(columns, where, nullability)
    if model is None or (isinstance(model, type) and issubclass(model, Row)):
        return None
    model = bare(model)
    if model is tuple:
        return _tuples
    root = Planner(columns, where, nullability).plan(model)
    return compile_maker(root, len(columns), Careful(root, where))


def _check_hints(columns: Sequence[Column], where: str, nullability: Mapping[str, bool]) -> None:
    names = [column.name for column in columns]
    for name in nullability:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise RowValidationError(
                f"{where}: it is said whether column {name!r} can be NULL, and the statement "
                f"returns no such column{hint}; its columns are: {', '.join(names) or 'none'}"
            )


def _tuples(rows: list[Row]) -> list[Any]:
    return [tuple(row) for row in rows]
