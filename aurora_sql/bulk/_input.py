"""The caller's rows as tuples: what kind they are is found out once, at the first row."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sized,
)
from itertools import chain, islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from aurora_sql.bulk._names import check_columns
from aurora_sql.errors import BulkValueError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

Convert = Callable[[Any], "Sequence[Any]"]
_END: Any = object()

PROGRESS_STEP = 10_000
"""Rows between two reports of progress within one batch."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What the first row told.

    Attributes:
        columns: Names of the columns, in the order of the values.
        convert: Turns a row into its values; None where the row is a tuple of them already.
    """

    columns: tuple[str, ...]
    convert: Convert | None


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
    if isinstance(first, Mapping):
        return _mapping(tuple(first) if named is None else named, what, exact=named is None)
    names = _field_names(first)
    if isinstance(first, tuple | list):
        if named is None:
            if names is None:
                raise ParameterError(
                    f"{what}: rows are {type(first).__name__}s without names; give columns=[…]"
                )
            named = names
        return Shape(named, None)
    if names is None:
        raise ParameterError(
            f"{what}: a row must be a tuple, a mapping, a model or a dataclass, not"
            f" {type(first).__name__}"
        )
    return _attributes(first, names if named is None else named, what)


def _field_names(row: Any) -> tuple[str, ...] | None:
    if hasattr(type(row), "model_fields"):
        return tuple(type(row).model_fields)
    if dataclasses.is_dataclass(row):
        return tuple(field.name for field in dataclasses.fields(row))
    fields = getattr(row, "_fields", None)  # a named tuple
    if fields is not None:
        return tuple(fields)
    keys = getattr(row, "keys", None)  # a row of a query
    return tuple(keys()) if callable(keys) else None


def _mapping(columns: tuple[str, ...], what: str, *, exact: bool) -> Shape:
    names = check_columns(columns, f"{what}: the first row's keys")
    pick = _picker(itemgetter, names)
    width = len(names)

    def convert(row: Any) -> Sequence[Any]:
        # A key too many would be a value silently dropped.
        if exact and len(row) != width:
            extra = sorted(map(str, set(row) - set(names)))
            if extra:
                raise ParameterError(f"has more than the first row: {', '.join(extra)}")
        return pick(row)

    return Shape(names, convert)


def _attributes(first: Any, columns: tuple[str, ...], what: str) -> Shape:
    for name in columns:
        if not hasattr(first, name):
            raise ParameterError(
                f"{what}: {type(first).__name__} has no field {name!r} for the column of that name"
            )
    pick = _picker(attrgetter, columns)
    if not any(_needs_dump(getattr(first, name)) for name in columns) and not _may_nest(first):
        return Shape(columns, pick)

    def convert(row: Any) -> Sequence[Any]:
        return [_dump(value) for value in pick(row)]

    return Shape(columns, convert)


def _picker(make: Any, names: tuple[str, ...]) -> Convert:
    pick = make(*names)
    if len(names) > 1:
        found: Convert = pick
        return found
    return lambda row: (pick(row),)


_PLAIN = frozenset({"int", "str", "float", "bool", "bytes", "Decimal", "datetime", "date", "time",
                    "timedelta", "UUID", "NoneType"})  # fmt: skip


def _may_nest(row: Any) -> bool:
    """Whether a field of the model could hold a model or an enum in a later row."""
    import typing  # noqa: PLC0415 - only models come here

    try:
        hints = typing.get_type_hints(type(row))
    except Exception:  # noqa: BLE001 - hints that do not resolve: take the careful way
        return True
    pending = list(hints.values())
    while pending:
        hint = pending.pop()
        inner = typing.get_args(hint)
        if inner:
            pending.extend(inner)
        elif getattr(hint, "__name__", "") not in _PLAIN:
            return True
    return False


def _needs_dump(value: Any) -> bool:
    return (
        hasattr(value, "model_dump")
        or isinstance(value, enum.Enum)
        or (dataclasses.is_dataclass(value) and not isinstance(value, type))
    )


def _dump(value: Any) -> Any:
    """Turn a nested model into what a JSON column takes, an enum into its value."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, list) and any(_needs_dump(item) for item in value):
        return [_dump(item) for item in value]
    return value


def find_columns(model: type[Any], what: str) -> tuple[str, ...]:
    """Return the columns that a model's fields stand for.

    Raises:
        ParameterError: It is neither a pydantic model nor a dataclass.
    """
    if hasattr(model, "model_fields"):
        return tuple(model.model_fields)
    if dataclasses.is_dataclass(model):
        return tuple(field.name for field in dataclasses.fields(model))
    raise ParameterError(f"{what}: {model!r} is neither a pydantic model nor a dataclass")


def values_of(row: Any, columns: Sequence[str]) -> dict[str, Any]:
    """Return the values of a model or a mapping by column, as a driver takes them."""
    if isinstance(row, Mapping):
        return {name: _dump(value) for name, value in row.items()}
    return {name: _dump(getattr(row, name)) for name in columns}


class Source:
    """The caller's rows, cut into batches and counted.

    Args:
        rows: Any iterable, also an asynchronous one.
        what: Names the operation in messages.
        progress: Called with the number of rows handed out so far.
    """

    def __init__(
        self,
        rows: Iterable[Any] | AsyncIterable[Any],
        what: str,
        progress: Callable[[int], None] | None,
    ) -> None:
        if isinstance(rows, str | bytes | Mapping):
            raise ParameterError(
                f"{what}: rows must be an iterable of rows, not one {type(rows).__name__}"
            )
        self._what = what
        self._progress = progress
        self.taken = 0
        self.known_length = len(rows) if isinstance(rows, Sized) else None
        self._async: AsyncIterator[Any] | None = None
        self._sync: Iterator[Any] = iter(())
        self._source = rows
        if isinstance(rows, AsyncIterable):
            self._async = aiter(rows)
        elif isinstance(rows, Iterable):
            self._sync = iter(rows)
        else:
            raise ParameterError(f"{what}: rows must be iterable, not {type(rows).__name__}")
        self._first: Any = _END

    async def peek(self) -> Any:
        """Return the next row without taking it; the sentinel :data:`END` when there is none."""
        if self._first is _END:
            self._first = (
                await anext(self._async, _END)
                if self._async is not None
                else next(self._sync, _END)
            )
        return self._first

    def batch(
        self, convert: Convert | None, size: int | None
    ) -> Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]]:
        """Return the next ``size`` rows (all, if None) as values, as an iterable of their kind."""
        first, self._first = self._first, _END
        if self._async is not None:
            return self._take_async(first, convert, size)
        rows = chain((first,), self._sync)
        return self._take(rows if size is None else islice(rows, size), convert)

    def _take(self, rows: Iterator[Any], convert: Convert | None) -> Iterator[Sequence[Any]]:
        # In slices, so that a plain tuple passes without a Python frame of its own.
        return chain.from_iterable(self._slices(rows, convert))

    def _slices(
        self, rows: Iterator[Any], convert: Convert | None
    ) -> Iterator[Iterable[Sequence[Any]]]:
        while part := list(islice(rows, 1000)):
            self._report()
            yield part if convert is None else self._converted(part, convert)
            self.taken += len(part)

    def _converted(self, part: list[Any], convert: Convert) -> list[Sequence[Any]]:
        try:
            return list(map(convert, part))
        except (ParameterError, LookupError, AttributeError, TypeError):
            # Once more, one by one, to name the row.
            return [self._convert(convert, row, self.taken + n) for n, row in enumerate(part)]

    def _convert(self, convert: Convert, row: Any, number: int) -> Sequence[Any]:
        try:
            return convert(row)
        except ParameterError as error:
            raise BulkValueError(
                f"{self._what}: row {number} {error.message}", row=number
            ) from None
        except KeyError as error:
            column = str(error.args[0])
            raise BulkValueError(
                f"{self._what}: row {number} has no value for column {column!r}",
                row=number,
                column=column,
            ) from None
        except (LookupError, AttributeError, TypeError) as error:
            raise BulkValueError(
                f"{self._what}: row {number} is a {type(row).__name__}, unlike the first one",
                row=number,
            ) from error

    async def _take_async(
        self, first: Any, convert: Convert | None, size: int | None
    ) -> AsyncIterator[Sequence[Any]]:
        left = size
        row = first
        while row is not _END:
            yield row if convert is None else self._convert(convert, row, self.taken)
            self.taken += 1
            if self.taken % 1000 == 0:
                self._report()
            if left is not None:
                left -= 1
                if left == 0:
                    return
            assert self._async is not None  # noqa: S101 - told mypy by batch()
            row = await anext(self._async, _END)

    def _report(self) -> None:
        if self._progress is not None and self.taken and self.taken % PROGRESS_STEP == 0:
            self._progress(self.taken)

    def report_end(self) -> None:
        """Report the rows handed out at the end of a batch."""
        if self._progress is not None:
            self._progress(self.taken)


END = _END
