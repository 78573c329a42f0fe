"""What kind the rows are: found out once, at the first row; the others are held to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, countOf, itemgetter
from typing import Any

from aurora_sql.bulk._names import check_columns
from aurora_sql.bulk._values import (
    careful_places,
    change_foreign,
    field_names,
    is_model,
)
from aurora_sql.errors import BulkValueError, ParameterError
from aurora_sql.rows import Row

Pick = Callable[[Any], Sequence[Any]]

_DICT = attrgetter("__dict__")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the first row told, and how rows like it become values.

    Attributes:
        columns: Names of the columns, in the order of the values.
        what: Names the operation in messages.
        kind: Type of the first row; rows of exactly this type need no further look.
        family: What the other rows must be instances of.
        pick: Takes the values out of a row; None where the row is a sequence of them already.
        careful: Places of values that may have to be changed for a driver.
        keyed: Rows may have no names besides the columns: a value would be dropped in silence.
        by_dict: ``pick`` works on the row's ``__dict__``, which takes a third less time than
            going through its attributes.
    """

    columns: tuple[str, ...]
    what: str
    kind: type[Any]
    family: tuple[type[Any], ...]
    pick: Pick | None
    careful: tuple[int, ...] = ()
    keyed: bool = False
    by_dict: bool = False

    def check_kinds(self, rows: Sequence[Any], first: int) -> None:
        """Refuse a row that is of another kind than the first one.

        Args:
            rows: Rows that follow each other.
            first: Number of the first of them in the input.

        Raises:
            BulkValueError: Names the row.
        """
        if countOf(map(type, rows), self.kind) == len(rows):
            return
        for number, row in enumerate(rows, first):
            if not isinstance(row, self.family):
                raise BulkValueError(
                    f"{self.what}: row {number} is a {type(row).__name__}, unlike the first one,"
                    f" a {self.kind.__name__}",
                    row=number,
                )

    def values(self, rows: list[Any], first: int) -> list[Sequence[Any]]:
        """Turn rows into their values.

        Args:
            rows: Rows that follow each other.
            first: Number of the first of them in the input.

        Raises:
            BulkValueError: Names the row, and the column where that is the matter.
        """
        self.check_kinds(rows, first)
        if self.pick is None:
            return rows
        if self.keyed and countOf(map(len, rows), len(self.columns)) != len(rows):
            self._check_keys(rows, first)
        try:
            values: list[Sequence[Any]] = list(
                map(self.pick, map(_DICT, rows) if self.by_dict else rows)
            )
        except (LookupError, AttributeError):
            self._check_missing(rows, first)
            raise
        return change_foreign(values, self.careful) if self.careful else values

    def row(self, row: Any) -> Sequence[Any]:
        """Return the values of one row of the right kind, as they are."""
        if self.pick is None:
            values: Sequence[Any] = row
            return values
        return self.pick(row.__dict__ if self.by_dict else row)

    def _check_keys(self, rows: list[Any], first: int) -> None:
        known = set(self.columns)
        for number, row in enumerate(rows, first):
            extra = [str(key) for key in row.keys() if key not in known]  # noqa: SIM118 - a Row iterates over values
            if extra:
                raise BulkValueError(
                    f"{self.what}: row {number} has {', '.join(map(repr, sorted(extra)))}, which"
                    " the first row has not; name the columns to use with columns=[…]",
                    row=number,
                    column=min(extra),
                )

    def _check_missing(self, rows: list[Any], first: int) -> None:
        by_key = issubclass(self.family[0], Mapping | Row)
        take = itemgetter if by_key else attrgetter
        for number, row in enumerate(rows, first):
            for column in self.columns:
                try:
                    take(column)(row)
                except (LookupError, AttributeError):
                    raise BulkValueError(
                        f"{self.what}: row {number} has no value for column {column!r}",
                        row=number,
                        column=column,
                    ) from None


def find_shape(first: Any, columns: Sequence[str] | None, what: str) -> Shape:
    """Find out what kind of rows these are.

    Args:
        first: The first row.
        columns: What the caller named, None to take the names from the row.
        what: Names the operation in messages.

    Raises:
        ParameterError: The row has no names and none were given, or it is no row at all.
    """
    named = None if columns is None else check_columns(columns, f"{what}: columns")
    kind = type(first)
    if kind is tuple and named is not None:  # the common case, before dearer questions
        return Shape(named, what, kind, (tuple, list), None)
    if isinstance(first, Row):
        names = named or check_columns(first.keys(), f"{what}: the first row's columns")
        return Shape(names, what, kind, (Row,), _picker(itemgetter, names), keyed=named is None)
    if isinstance(first, Mapping):
        names = named or check_columns(first, f"{what}: the first row's keys")
        every = tuple(range(len(names)))
        pick = _picker(itemgetter, names)
        return Shape(names, what, kind, (Mapping,), pick, every, keyed=named is None)
    if isinstance(first, tuple) and hasattr(kind, "_fields"):
        return _named_tuple(first, named, what)
    if isinstance(first, tuple | list):
        if named is None:
            raise ParameterError(
                f"{what}: rows are {kind.__name__}s without names; give columns=[…]"
            )
        return Shape(named, what, kind, (tuple, list), None)
    if not is_model(kind):
        raise ParameterError(
            f"{what}: a row must be a tuple, a mapping, a model or a dataclass, not {kind.__name__}"
        )
    names = named or check_columns(field_names(kind), f"{what}: the fields of {kind.__name__}")
    _check_fields(first, names, what)
    by_dict = _is_in_dict(first, names)
    pick = _picker(itemgetter if by_dict else attrgetter, names)
    careful = careful_places(kind, names)
    return Shape(names, what, kind, (kind,), pick, careful, by_dict=by_dict)


def _is_in_dict(first: Any, names: tuple[str, ...]) -> bool:
    """Whether the attributes are what the object's ``__dict__`` says."""
    values, kind = getattr(first, "__dict__", ()), type(first)
    if not all(name in values for name in names):
        return False
    # A dataclass may cover a field with a property; pydantic does not allow that.
    if hasattr(kind, "model_fields"):
        return True
    return not any(hasattr(getattr(kind, name, None), "__set__") for name in names)


def _named_tuple(first: Any, named: tuple[str, ...] | None, what: str) -> Shape:
    kind = type(first)
    fields = tuple(kind._fields)
    names = named or check_columns(fields, f"{what}: the fields of {kind.__name__}")
    _check_fields(first, names, what)
    # In the order of its fields it is a tuple of the values already.
    return Shape(
        names, what, kind, (kind,), None if names == fields else _picker(attrgetter, names)
    )


def _check_fields(first: Any, columns: tuple[str, ...], what: str) -> None:
    for name in columns:
        if not hasattr(first, name):
            raise ParameterError(
                f"{what}: {type(first).__name__} has no field {name!r} for the column of that name"
            )


def _picker(make: Any, names: tuple[str, ...]) -> Pick:
    pick = make(*names)
    if len(names) > 1:
        found: Pick = pick
        return found
    return lambda row: (pick(row),)
