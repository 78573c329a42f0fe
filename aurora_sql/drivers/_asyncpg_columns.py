"""Binary COPY from Arrow record batches, a column at a time.

A row of binary COPY is the number of its fields, and for each the length and the bytes (PostgreSQL
manual, "COPY", "Binary Format"). Where each field of each row begins is a running sum over the
lengths; the fields of one column are then written to their places by one call of numpy, which
sees the buffer as items of the field's width that begin at every byte. Texts, whose widths
differ, are written width by width.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from aurora_sql.drivers._asyncpg_decimal import decimal_digits
from aurora_sql.drivers._asyncpg_types import encode_json, encode_jsonb
from aurora_sql.drivers._columns import values_of
from aurora_sql.errors import BulkValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from aurora_sql.drivers._columns import ColumnBatches
    from aurora_sql.types import Column

    # Bytes of an input column, one row of them per value.
    Fixed = NDArray[Any]
    Encode = Callable[[Any, str], "Cells"]

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_FEW: Final = 8
"""Texts of one width up to which each is written by itself."""

_INTEGERS: Final = {"int2": ">i2", "int4": ">i4", "int8": ">i8"}
_FLOATS: Final = {"float4": ">f4", "float8": ">f8"}
_TEXTS: Final = ("text", "varchar", "bpchar")

# PostgreSQL counts from 2000-01-01. The first and the last day of Python's calendar stand for the
# infinities, as they do where a date or a time is given to asyncpg.
_EPOCH_DAYS: Final = 10957
_EPOCH: Final = 946_684_800_000_000
_DATE_ENDS: Final = (-730_119, 2_921_939)
_TIME_ENDS: Final = (-63_082_281_600_000_000, 252_455_615_999_999_999)


class Cells:
    """One column of a batch: the bytes of its values.

    Args:
        width: Bytes of a value, or of each value.
        data: The bytes of all values, one after the other.
        starts: Where each value begins in ``data``; None where all have one width.
    """

    __slots__ = ("data", "starts", "width")

    def __init__(self, width: Any, data: Fixed, starts: Fixed | None = None) -> None:
        self.width = width
        self.data = data
        self.starts = starts


def plan(schema: Any, columns: Sequence[Column]) -> list[Encode] | None:
    """Find an encoder for each column; None where one has to go through values of Python."""
    found = [_encoder(field.type, c.type_name) for field, c in zip(schema, columns, strict=True)]
    return None if None in found else [one for one in found if one is not None]


def encode(rows: ColumnBatches, encoders: Sequence[Encode]) -> Iterator[bytes]:
    """Yield the data of a COPY, batch by batch.

    Args:
        rows: The record batches.
        encoders: From :func:`plan`.

    Raises:
        BulkValueError: A value does not fit its column; names the row, counted from 0.
    """
    yield _HEADER
    before = 0
    for batch in rows.batches:
        try:
            data = encode_batch(batch, rows.names, encoders)
        except BulkValueError as error:
            row = before + error.row
            text = f"row {row}, column {error.column!r}: {error.message}"
            raise BulkValueError(text, row=row, column=error.column) from error.__cause__
        yield data
        before += batch.num_rows
    yield _TRAILER


def encode_batch(batch: Any, names: Sequence[str], encoders: Sequence[Encode]) -> bytes:
    """Return the rows of one batch as they stand in binary COPY.

    Raises:
        BulkValueError: A value does not fit; the row counts within the batch.
    """
    count, width = batch.num_rows, len(encoders)
    cells: list[tuple[Cells, Fixed | None]] = []
    sizes = np.full(count, 2 + 4 * width, np.int64)
    for encoder, name, column in zip(encoders, names, batch.columns, strict=True):
        made = encoder(column, name)
        valid = _valid(column) if column.null_count else None
        sizes += made.width if valid is None else np.where(valid, made.width, 0)
        cells.append((made, valid))
    ends = np.cumsum(sizes)
    out = np.empty(int(ends[-1]) if count else 0, np.uint8)
    at = ends - sizes
    _put(out, at, np.full(count, width, ">i2"))
    at += 2
    for made, valid in cells:
        if valid is None:
            _put(out, at, np.full(count, made.width, ">i4"))
            at += 4
            _place(out, at, made, None)
            at += made.width
        else:
            lengths = np.where(valid, made.width, 0)
            _put(out, at, np.where(valid, made.width, -1).astype(">i4"))
            at += 4
            _place(out, at, made, np.flatnonzero(valid))
            at += lengths
    return out.tobytes()


def _put(out: Fixed, at: Fixed, values: Fixed) -> None:
    """Write values of one width to their places."""
    if len(at):
        kind = np.dtype((np.void, values.dtype.itemsize))
        view = np.ndarray(len(out) - kind.itemsize + 1, kind, out, strides=(1,))
        view[at] = np.ascontiguousarray(values).view(kind)


def _place(out: Fixed, at: Fixed, cells: Cells, chosen: Fixed | None) -> None:
    if cells.starts is None:
        _put(
            out,
            at if chosen is None else at[chosen],
            cells.data if chosen is None else cells.data[chosen],
        )
        return
    starts, widths = cells.starts, cells.width
    if chosen is not None:
        at, starts, widths = at[chosen], starts[chosen], widths[chosen]
    order = np.argsort(widths, kind="stable")
    ordered = widths[order]
    bounds = [*np.flatnonzero(np.diff(ordered, prepend=-1)).tolist(), len(ordered)]
    target, source = out.data, cells.data.data
    for begin, end in pairwise(bounds):
        width, rows = int(ordered[begin]), order[begin:end]
        if width == 0:
            continue
        if end - begin > _FEW:
            kind = np.dtype((np.void, width))
            texts = np.ndarray(len(cells.data) - width + 1, kind, cells.data, strides=(1,))
            np.ndarray(len(out) - width + 1, kind, out, strides=(1,))[at[rows]] = texts[
                starts[rows]
            ]
            continue
        for to, where in zip(at[rows].tolist(), starts[rows].tolist(), strict=True):
            target[to : to + width] = source[where : where + width]


# -- one column --------------------------------------------------------------------------------


def _encoder(kind: Any, name: str) -> Encode | None:  # noqa: C901, PLR0911, PLR0912 - a table of pairs
    types = pa.types
    if types.is_null(kind):
        return lambda column, _: Cells(0, np.zeros(len(column), "V1"))
    if name in _INTEGERS and types.is_integer(kind):
        return _integers(kind, np.dtype(_INTEGERS[name]))
    if name in _FLOATS and (types.is_floating(kind) or types.is_integer(kind)):
        return _floats(np.dtype(_FLOATS[name]))
    if name == "bool" and types.is_boolean(kind):
        return lambda column, _: Cells(1, _numbers(column.cast(pa.uint8())))
    if name in _TEXTS and (types.is_string(kind) or types.is_large_string(kind)):
        return _ragged
    if name == "bytea" and (types.is_binary(kind) or types.is_large_binary(kind)):
        return _ragged
    if name in ("bytea", "uuid") and types.is_fixed_size_binary(kind):
        return _fixed if name == "bytea" or kind.byte_width == _UUID else None
    if name == "uuid" and kind == _arrow_uuid():
        return lambda column, label: _fixed(column.storage, label)
    if name == "date" and types.is_date32(kind):
        return _dates
    if types.is_timestamp(kind) and name == ("timestamp" if kind.tz is None else "timestamptz"):
        return _times
    if name == "time" and types.is_time64(kind):
        return lambda column, _: Cells(8, _numbers(column).astype(">i8"))
    if name == "numeric" and types.is_decimal128(kind) and kind.scale >= 0:
        return lambda column, label: _decimals(column, label, kind.precision, kind.scale)
    if name == "numeric" and types.is_integer(kind):
        return lambda column, label: _decimals(column.cast(_WHOLE), label, 20, 0)
    if name in ("json", "jsonb"):
        return _json(encode_json if name == "json" else encode_jsonb)
    return None


_UUID: Final = 16
_WHOLE: Final = pa.decimal128(20, 0)


def _arrow_uuid() -> Any:
    return pa.uuid() if hasattr(pa, "uuid") else None


def _valid(column: Any) -> Fixed:
    found: Fixed = column.is_valid().to_numpy(zero_copy_only=False)
    return found


def _numbers(column: Any) -> Fixed:
    """The values of a column of fixed width; what stands in place of NULLs is arbitrary."""
    kind = column.type
    if pa.types.is_primitive(kind) and not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind)
    ):
        code = f"i{kind.bit_width // 8}"
    else:
        code = kind.to_pandas_dtype()
    data = column.buffers()[1]
    count = len(column)
    if data is None:
        return np.zeros(count, code)
    return np.frombuffer(data, code, column.offset + count)[column.offset :]


def _refuse(column: Any, name: str, wrong: Fixed, what: str) -> None:
    """Refuse the first value that is wrong and there."""
    if column.null_count:
        wrong = wrong & _valid(column)
    if wrong.any():
        row = int(wrong.argmax())
        try:
            value = str(column[row])
        except (ValueError, OverflowError):
            value = "the value"  # beyond what Python's calendar has
        raise BulkValueError(f"{value} {what}", row=row, column=name)


def _integers(kind: Any, to: np.dtype[Any]) -> Encode:
    limits = np.iinfo(to)
    source = np.iinfo(kind.to_pandas_dtype())
    narrow = source.min < limits.min or source.max > limits.max

    def encode_integers(column: Any, name: str) -> Cells:
        values = _numbers(column)
        if narrow:
            low = max(limits.min, source.min)
            high = min(limits.max, source.max)
            wrong = (values < low) | (values > high)
            _refuse(column, name, wrong, f"is out of the range of int{to.itemsize}")
        return Cells(to.itemsize, values.astype(to))

    return encode_integers


def _floats(to: np.dtype[Any]) -> Encode:
    def encode_floats(column: Any, name: str) -> Cells:
        values = _numbers(column)
        with np.errstate(over="ignore"):
            made = values.astype(to)
        wrong = np.isinf(made) & ~np.isinf(values)
        _refuse(column, name, wrong, "is out of the range of float4")
        return Cells(to.itemsize, made)

    return encode_floats


def _ragged(column: Any, _: str) -> Cells:
    _, where, data = column.buffers()
    large = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    code = np.dtype(np.int64 if large else np.int32)
    if where is None or not len(column):
        return Cells(np.zeros(len(column), np.int64), np.zeros(0, np.uint8), np.zeros(0, np.int64))
    offsets = np.frombuffer(where, code, column.offset + len(column) + 1)[column.offset :]
    offsets = offsets.astype(np.int64)
    raw = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return Cells(np.diff(offsets), raw, offsets[:-1])


def _fixed(column: Any, _: str) -> Cells:
    width, count = column.type.byte_width, len(column)
    data = column.buffers()[1]
    if data is None or not width:
        return Cells(width, np.zeros(count, f"V{max(width, 1)}"))
    return Cells(
        width,
        np.frombuffer(data, f"V{width}", column.offset + count)[column.offset :],
    )


def _dates(column: Any, name: str) -> Cells:
    days = _numbers(column).astype(np.int64) - _EPOCH_DAYS
    limits = np.iinfo(np.int32)
    # The ends of the range are the infinities.
    _refuse(column, name, days <= limits.min, "is out of the range of dates")
    days[days == _DATE_ENDS[0]] = limits.min
    days[days == _DATE_ENDS[1]] = limits.max
    return Cells(4, days.astype(">i4"))


def _times(column: Any, name: str) -> Cells:
    moments = _numbers(column)
    limits = np.iinfo(np.int64)
    _refuse(column, name, moments <= limits.min + _EPOCH, "is out of the range of timestamps")
    moments = moments - _EPOCH
    low, high = moments == _TIME_ENDS[0], moments == _TIME_ENDS[1]
    moments[low] = limits.min
    moments[high] = limits.max
    return Cells(8, moments.astype(">i8"))


def _decimals(column: Any, name: str, precision: int, scale: int) -> Cells:
    count = len(column)
    data = column.buffers()[1]
    words = (
        np.zeros((count, 2), np.uint64)
        if data is None
        else np.frombuffer(data, "<u8", 2 * (column.offset + count)).reshape(-1, 2)[column.offset :]
    )
    made, wrong = decimal_digits(words, precision, scale)
    _refuse(column, name, wrong, f"has more than the {precision} digits of its type")
    return Cells(made.dtype.itemsize, made)


def _json(encode_value: Callable[[Any], bytes]) -> Encode:
    def encode_documents(column: Any, name: str) -> Cells:
        texts: list[bytes] = []
        for row, value in enumerate(values_of(column, name, 0)):
            try:
                texts.append(b"" if value is None else encode_value(value))
            except (TypeError, ValueError) as error:
                raise BulkValueError(str(error), row=row, column=name) from error
        widths = np.fromiter(map(len, texts), np.int64, len(texts))
        return Cells(widths, np.frombuffer(b"".join(texts), np.uint8), np.cumsum(widths) - widths)

    return encode_documents
