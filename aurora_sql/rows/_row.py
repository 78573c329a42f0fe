"""Rows without a model: :class:`Row` and its implementation in plain Python."""

from __future__ import annotations

import difflib
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_T = TypeVar("_T")


class Row:
    """One row of a result: immutable, by attribute, by key or by position.

    ``row.email``, ``row["email"]`` and ``row[1]`` are the same value. Iteration yields values;
    ``in`` asks for a column; ``keys()``, ``values()``, ``items()`` and ``get()`` are those of a
    mapping. A row compares and hashes like the tuple of its values, so that it equals such a
    tuple and any other row with the same values; it is hashable if all its values are.

    By attribute a method wins over a column: columns called ``keys``, ``values``, ``items`` or
    ``get`` are had by key (``row["items"]``), as are those whose name is no identifier. Any
    other name, ``count`` and ``index`` too, is a column. Where two columns have one name, the
    last one is had by it, and each by its position.

    This class is a mixin: a driver puts it in front of its own record class
    (``class PgRow(Row, asyncpg.Record): __slots__ = ()``), so that making a row costs nothing
    beyond what the driver does anyway. A copy or a pickle of a row is a :class:`PlainRow`.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        # These come from the class that stands beside this one. Defining them here for real
        # would put Python code in front of the driver's C code.
        @overload
        def get(self, key: str) -> Any | None: ...
        @overload
        def get(self, key: str, default: _T) -> Any | _T: ...
        def get(self, key: str, default: object = None) -> Any: ...
        def items(self) -> Iterator[tuple[str, Any]]: ...
        def keys(self) -> Iterator[str]: ...
        def values(self) -> Iterator[Any]: ...
        @overload
        def __getitem__(self, index: str) -> Any: ...
        @overload
        def __getitem__(self, index: int) -> Any: ...
        @overload
        def __getitem__(self, index: slice) -> tuple[Any, ...]: ...
        def __getitem__(self, index: str | int | slice) -> Any: ...
        def __iter__(self) -> Iterator[Any]: ...
        def __contains__(self, x: object) -> bool: ...
        def __len__(self) -> int: ...

    def __getattr__(self, name: str) -> Any:
        # Called only after the usual lookup failed: access by key and position never gets here.
        try:
            return self[name]
        except KeyError:
            pass
        raise AttributeError(_no_column(name, tuple(self.keys())), name=name, obj=self)

    if not TYPE_CHECKING:  # a checker that saw these would allow what they refuse

        def __setattr__(self, name: str, value: object) -> NoReturn:
            raise AttributeError(
                f"rows are immutable: {name!r} cannot be set (dict(row.items()) can)"
            )

        def __delattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"rows are immutable: {name!r} cannot be deleted")

    def _asdict(self) -> dict[str, Any]:
        """The row as a new dict from column name to value."""
        return dict(self.items())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (Row, tuple)):
            return tuple(self) == tuple(other)
        return NotImplemented

    def __lt__(self, other: Row | tuple[Any, ...]) -> bool:
        if isinstance(other, (Row, tuple)):
            return tuple(self) < tuple(other)
        return NotImplemented

    def __le__(self, other: Row | tuple[Any, ...]) -> bool:
        if isinstance(other, (Row, tuple)):
            return tuple(self) <= tuple(other)
        return NotImplemented

    def __gt__(self, other: Row | tuple[Any, ...]) -> bool:
        if isinstance(other, (Row, tuple)):
            return tuple(self) > tuple(other)
        return NotImplemented

    def __ge__(self, other: Row | tuple[Any, ...]) -> bool:
        if isinstance(other, (Row, tuple)):
            return tuple(self) >= tuple(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(key for key in self.keys() if key.isidentifier())})

    def __repr__(self) -> str:
        parts = (
            f"{key if key.isidentifier() else repr(key)}={value!r}" for key, value in self.items()
        )
        return f"Row({', '.join(parts)})"

    def __copy__(self) -> Row:
        return self

    def __reduce__(self) -> tuple[type[PlainRow], tuple[tuple[str, ...], tuple[Any, ...]]]:
        return PlainRow, (tuple(self.keys()), tuple(self))


class RowColumns:
    """The column names of a result, made once and shared by its :class:`PlainRow` objects.

    Args:
        names: Names of the columns in order.
    """

    __slots__ = ("index", "names")

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self.index = {name: number for number, name in enumerate(self.names)}

    def __repr__(self) -> str:
        return f"RowColumns({list(self.names)!r})"


class PlainRow(Row):
    """A :class:`Row` that needs no driver: what copies and pickles of rows are.

    Args:
        columns: Names of the columns in order; a :class:`RowColumns` where many rows share them.
        values: As many values.

    Raises:
        ValueError: The numbers of columns and values differ.
    """

    # Two underscores: the names are mangled and so no column hides behind them.
    __slots__ = ("__columns", "__values")

    __columns: RowColumns
    __values: tuple[Any, ...]

    def __init__(self, columns: RowColumns | Iterable[str], values: Iterable[Any]) -> None:
        if not isinstance(columns, RowColumns):
            columns = RowColumns(columns)
        values = tuple(values)
        if len(values) != len(columns.names):
            raise ValueError(f"{len(columns.names)} columns and {len(values)} values")
        object.__setattr__(self, "_PlainRow__columns", columns)
        object.__setattr__(self, "_PlainRow__values", values)

    @overload
    def __getitem__(self, index: str) -> Any: ...
    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Any, ...]: ...
    def __getitem__(self, index: str | int | slice) -> Any:
        if isinstance(index, str):
            return self.__values[self.__columns.index[index]]
        return self.__values[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__values)

    def __contains__(self, x: object) -> bool:
        return x in self.__columns.index

    def __len__(self) -> int:
        return len(self.__values)

    @overload
    def get(self, key: str) -> Any | None: ...
    @overload
    def get(self, key: str, default: _T) -> Any | _T: ...
    def get(self, key: str, default: object = None) -> Any:
        """The value of a column, or ``default`` if there is no such column."""
        number = self.__columns.index.get(key)
        return default if number is None else self.__values[number]

    def keys(self) -> Iterator[str]:
        """The names of the columns."""
        return iter(self.__columns.names)

    def values(self) -> Iterator[Any]:
        """The values."""
        return iter(self.__values)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Pairs of column name and value."""
        return zip(self.__columns.names, self.__values, strict=True)


def name_columns(row_class: type[Any], names: Iterable[str]) -> None:
    """Let the rows of one statement find their columns by attribute without Python code.

    ``Row.__getattr__`` comes after a look-up that has failed, which takes ten times as long as
    access by key. What it answers remains: methods win, and other names have no column.

    Args:
        row_class: A class of :class:`Row` for this statement alone: each of its rows has all
            the columns.
        names: Names of the columns.
    """
    for name in names:
        if not hasattr(row_class, name):
            setattr(row_class, name, property(itemgetter(name)))


def _no_column(name: str, columns: tuple[str, ...]) -> str:
    """Say that there is no such column, and which ones there are."""
    if name.startswith("__"):  # copy, pickle and others probe for these; nobody meant a column
        return name
    close = difflib.get_close_matches(name, columns, n=3)
    hint = f" (did you mean {', '.join(close)}?)" if close else ""
    listing = ", ".join(columns) or "none"
    return f"the row has no column {name!r}{hint}; its columns are: {listing}"
