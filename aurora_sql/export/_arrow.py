"""Arrow tables, of the text of a COPY or of rows.

The types follow from the columns alone, with one exception: the server does not tell the scale of a
decimal, so that it is taken from the data. Until all of them are there decimals are kept as text.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from aurora_sql.errors import RowValidationError
from aurora_sql.export._values import format_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aurora_sql.types import Column

_HELD: Final = 1 << 22
"""Bytes of a COPY that are parsed together: some ten milliseconds of a thread."""

_DECIMAL: Final = "decimal"
_DIGITS: Final = 38
_MOST_DIGITS: Final = 76
_UUID: Final = 16
_REFUSED: Final = re.compile(r"column #(\d+)")


class Kind(NamedTuple):
    """How a column is made.

    Attributes:
        first: The type that its values are read as.
        last: Its type in the table; None for a decimal, which the data decide.
        convert: Makes an array of the latter of one of the former; None where they are the same.
    """

    first: Any
    last: Any
    convert: Callable[[Any], Any] | None = None


class TableMaker(ABC):
    """Gathers pieces of a result, and makes a table of them.

    Args:
        what: Names the statement in messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._columns: tuple[Column, ...] = ()
        self._kinds: list[Kind] = []
        self._chunks: list[list[Any]] = []

    @abstractmethod
    async def take(self, columns: tuple[Column, ...], piece: Any) -> None:
        """Take the next piece of rows of these columns."""

    async def finish(self, columns: tuple[Column, ...]) -> Any:
        """Return the table, which has the columns also where there was no piece."""
        self._know(columns)
        return await asyncio.to_thread(self._table)

    def _know(self, columns: tuple[Column, ...]) -> None:
        if self._columns is not columns:
            self._columns = columns
            self._kinds = [self._kind(column) for column in columns]
            self._chunks = [[] for _ in columns]

    @abstractmethod
    def _kind(self, column: Column) -> Kind:
        """What becomes of a column."""

    def _add(self, arrays: Sequence[Any]) -> None:
        for kind, chunks, array in zip(self._kinds, self._chunks, arrays, strict=True):
            chunks.append(array if kind.convert is None else kind.convert(array))

    def _table(self) -> Any:
        made = []
        for column, kind, chunks in zip(self._columns, self._kinds, self._chunks, strict=True):
            if kind.last is None:
                made.append(self._decimals(column, chunks))
            else:
                made.append(pa.chunked_array(chunks, kind.last))
            chunks.clear()
        return pa.table(made, names=[column.name for column in self._columns])

    def _decimals(self, column: Column, chunks: Sequence[Any]) -> Any:
        """The decimals of a column, with as many digits after the point as one of them has."""
        whole = scale = 0
        for texts in chunks:
            if pc.any(pc.match_substring_regex(texts, "[A-Za-z]")).as_py():
                raise self._unfit(column, "NaN or infinity is no decimal", "float8")
            point = pc.find_substring(texts, ".")
            length = pc.binary_length(texts)
            before = pc.if_else(pc.less(point, 0), length, point)
            after = pc.if_else(pc.less(point, 0), 0, pc.subtract(pc.subtract(length, point), 1))
            signs = pc.starts_with(texts, "-").cast(pa.int32())
            whole = max(whole, pc.max(pc.subtract(before, signs)).as_py() or 0)
            scale = max(scale, pc.max(after).as_py() or 0)
        digits = whole + scale
        if digits > _MOST_DIGITS:
            raise self._unfit(
                column, f"a decimal of {digits} digits; Arrow's have {_MOST_DIGITS}", "text"
            )
        kind = pa.decimal128(_DIGITS, scale) if digits <= _DIGITS else None
        kind = kind or pa.decimal256(_MOST_DIGITS, scale)
        return pa.chunked_array([texts.cast(kind) for texts in chunks], kind)

    def _unfit(self, column: Column, why: str, cast: str) -> RowValidationError:
        return RowValidationError(
            f"{self._what}: column {column.name!r} ({column.type_name}): {why}; cast it in the"
            f" statement, such as {column.name}::{cast}, or leave such rows out"
        )


# -- of the text of a COPY -----------------------------------------------------------------------


class CopiedTable(TableMaker):
    """A table of CSV as PostgreSQL writes it, parsed by Arrow as it comes, in a thread."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self._held: list[bytes] = []
        self._size = 0

    async def take(self, columns: tuple[Column, ...], piece: bytes) -> None:
        """Take whole lines; see :meth:`TableMaker.take`."""
        self._know(columns)
        self._held.append(piece)
        self._size += len(piece)
        if self._size >= _HELD:
            await asyncio.to_thread(self._parse)

    def _table(self) -> Any:
        self._parse()
        return super()._table()

    def _parse(self) -> None:
        data, self._held, self._size = b"".join(self._held), [], 0
        if not data or not self._columns:
            return
        # By number: names may stand twice.
        names = [str(number) for number, _ in enumerate(self._columns)]
        types = {name: kind.first for name, kind in zip(names, self._kinds, strict=True)}
        try:
            table = csv.read_csv(
                pa.BufferReader(data),
                # One block: a line may be longer than any other size.
                csv.ReadOptions(column_names=names, block_size=len(data)),
                csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
                csv.ConvertOptions(
                    column_types=types,
                    null_values=[""],
                    true_values=["t"],
                    false_values=["f"],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            # Its text quotes the value, and is not passed on.
            raise self._refused(str(error)) from None
        self._add([column.combine_chunks() for column in table.columns])

    def _refused(self, text: str) -> RowValidationError:
        found = _REFUSED.search(text)
        if found is None:
            return RowValidationError(
                f"{self._what}: the server's text is not what it is said to be"
            )
        return self._unfit(
            self._columns[int(found[1])],
            "a value that is none in Arrow: infinity, BC, a year of five digits, 24:00, an offset"
            " with seconds",
            "text",
        )

    def _kind(self, column: Column) -> Kind:
        if column.type_name == "numeric":
            return Kind(pa.string(), None)
        return _COPIED.get(column.type_name) or Kind(pa.string(), pa.string())


def _bytes_of(texts: Any) -> Any:
    r"""The bytes that texts such as ``\x00ff`` stand for."""
    data, widths = _hexadecimal(texts, "\\x")
    offsets = np.zeros(len(texts) + 1, np.int32)
    np.cumsum(widths // 2, out=offsets[1:])
    valid = None if not texts.null_count else texts.is_valid().buffers()[1]
    return pa.Array.from_buffers(
        pa.binary(), len(texts), [valid, pa.py_buffer(offsets), pa.py_buffer(data)]
    )


def _uuids_of(texts: Any) -> Any:
    data, widths = _hexadecimal(texts, "-")
    there = pa.Array.from_buffers(pa.binary(_UUID), len(data) // _UUID, [None, pa.py_buffer(data)])
    if texts.null_count:
        filled = widths > 0
        there = there.take(pa.array(np.cumsum(filled) - 1, mask=~filled))
    return pa.ExtensionArray.from_storage(pa.uuid(), there)


def _hexadecimal(texts: Any, without: str) -> tuple[bytes, Any]:
    """The bytes of all texts, one after the other, and how many digits each had."""
    digits = pc.replace_substring(texts, without, "")
    widths = pc.fill_null(pc.binary_length(digits), 0).to_numpy()
    _, where, data = digits.buffers()
    if data is None or not len(digits):
        return b"", widths
    offsets = np.frombuffer(where, np.int32, digits.offset + len(digits) + 1)[digits.offset :]
    return bytes.fromhex(data[int(offsets[0]) : int(offsets[-1])].to_pybytes().decode()), widths


_AS_IT_IS: Final = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "oid": pa.uint32(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}
_COPIED: Final[dict[str, Kind]] = {
    **{name: Kind(kind, kind) for name, kind in _AS_IT_IS.items()},
    "bytea": Kind(pa.string(), pa.binary(), _bytes_of),
    "uuid": Kind(pa.string(), pa.uuid(), _uuids_of),
}
"""By the server's name; any other type is the server's text."""


# -- of rows -------------------------------------------------------------------------------------


class RowsTable(TableMaker):
    """A table of rows, a column of each batch at a time."""

    async def take(self, columns: tuple[Column, ...], piece: Sequence[Sequence[Any]]) -> None:
        """Take rows; see :meth:`TableMaker.take`."""
        self._know(columns)
        arrays = []
        for column, kind, values in zip(
            columns, self._kinds, zip(*piece, strict=True), strict=True
        ):
            if kind.first == pa.string():
                form = format_of(column)
                arrays.append(
                    pa.array([None if one is None else form(one) for one in values], pa.string())
                )
            else:
                arrays.append(pa.array(values, kind.first))
        self._add(arrays)
        await asyncio.sleep(0)  # the others' turn

    def _kind(self, column: Column) -> Kind:
        if column.type_name == _DECIMAL:
            return Kind(pa.string(), None)
        kind = _OF_ROWS.get(column.type_name)
        if kind is None:
            kind = pa.binary() if column.python_type is bytes else pa.string()
        return Kind(kind, kind)


_OF_ROWS: Final = {
    "tinyint": pa.int8(),
    "tinyint unsigned": pa.uint8(),
    "smallint": pa.int16(),
    "smallint unsigned": pa.uint16(),
    "mediumint": pa.int32(),
    "mediumint unsigned": pa.uint32(),
    "int": pa.int32(),
    "int unsigned": pa.uint32(),
    "bigint": pa.int64(),
    "bigint unsigned": pa.uint64(),
    "year": pa.uint16(),
    "bit": pa.uint64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
    "timestamp": pa.timestamp("us"),
    "time": pa.duration("us"),
}
"""By the server's name; any other type is bytes, or text."""
