"""Rows of a MySQL result: tuples whose class knows the names."""

from __future__ import annotations

import functools
from collections import namedtuple
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence


class MySQLRow(tuple[Any, ...]):
    """One row: the values, with the names of their columns on the class.

    Making one is making a tuple. Attributes are those of the class that stands in front
    (:class:`aurora_sql.rows.Row`).
    """

    __slots__ = ()

    __aurora_sql_index__: dict[str, int]

    def __getitem__(self, index: Any) -> Any:
        if type(index) is str:
            return _value(self, self.__aurora_sql_index__[index])
        return _value(self, index)

    def __contains__(self, name: object) -> bool:
        return name in self.__aurora_sql_index__

    @property
    def count(self) -> Any:
        """The column of this name; a tuple's method is not reachable."""
        raise AttributeError("count")

    @property
    def index(self) -> Any:
        """The column of this name; a tuple's method is not reachable."""
        raise AttributeError("index")

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a column, or ``default`` if there is no such column."""
        number = self.__aurora_sql_index__.get(key)
        return default if number is None else _value(self, number)

    def keys(self) -> Iterator[str]:
        """The names of the columns."""
        return iter(self.__aurora_sql_names__)  # type: ignore[attr-defined] # set by class_for

    def values(self) -> Iterator[Any]:
        """The values."""
        return iter(self)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Pairs of column name and value."""
        return zip(self.keys(), self, strict=True)


_value = tuple.__getitem__


@functools.cache
def combined(base: Hashable | None) -> type[Any]:
    """The class that all statements' rows derive from; one per base."""
    bases = (MySQLRow,) if base is None else (base, MySQLRow)
    return type("MySQLRow", bases, {"__slots__": (), "__doc__": "One row."})  # type: ignore[arg-type]


def subclass(rows: type[Any]) -> type[Any]:
    """A class of rows that behaves as another, for somebody to add to."""
    return type(rows.__name__, (rows,), {"__slots__": (), "__doc__": rows.__doc__})


def class_for(rows: type[Any], names: Sequence[str], *, own: bool) -> type[Any]:
    """The class of a statement's rows, told the names of the columns.

    Args:
        rows: A class made by :func:`subclass`, perhaps told them already; or the common one.
        names: Names of the columns in order.
        own: The class was made for this statement.
    """
    columns = tuple(names)
    known = rows.__dict__.get("__aurora_sql_names__")
    if known == columns:
        return rows
    if known is not None or not own:
        rows = subclass(rows)
    rows.__aurora_sql_names__ = columns
    rows.__aurora_sql_index__ = {name: number for number, name in enumerate(columns)}
    getters = _getters(-(-len(columns) // 16) * 16)
    for name, number in rows.__aurora_sql_index__.items():
        if name in {"count", "index"} or not hasattr(rows, name):
            setattr(rows, name, getters[number])
    return rows


def tuple_rows(base: Hashable, names: Sequence[str]) -> type[Any]:
    """A class of rows that are made of tuples: ``tuple.__new__(rows, values)``.

    Args:
        base: The class that stands in front of it, for its methods.
        names: Names of the columns in order.
    """
    return class_for(subclass(combined(base)), names, own=True)


@functools.cache
def _getters(count: int) -> tuple[Any, ...]:
    """Descriptors that read the value at a position of any tuple, in C: those of a named tuple."""
    fields = [f"c{number}" for number in range(count)]
    made = namedtuple("made", fields)  # type: ignore[misc] # noqa: PYI024 - for its fields alone
    return tuple(getattr(made, field) for field in fields)
