"""Rows decoded by asyncmy's compiled decoder, value by value what the codec in Python makes.

Where the two differ the codec in Python decides: asyncmy makes None of a date that Python does not
have, as of NULL. So a None for a date is held against the row's map of NULLs.
"""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Any, Final

import orjson
from asyncmy.errors import MySQLError
from asyncmy.protocol import parse_binary_rows_from_buffer

from aurora_sql.drivers import _mysql_protocol as p
from aurora_sql.drivers import _mysql_types as types

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aurora_sql.drivers._mysql_types import RowTaker

    # Type of the field, whether it is unsigned; for what comes with its length: how it becomes
    # text, in which encoding, and what is made of it then.
    Spec = tuple[int, bool, int, str | None, Callable[[Any], Any] | None]

_AS_BYTES: Final = 0
_AS_UTF8: Final = 1
_AS_ASCII: Final = 2
_DATES: Final = (p.DATE, p.DATETIME, p.TIMESTAMP)


# What comes with its length in front, by the type that it becomes or the name that it has.
_SIZED: Final[dict[type[Any] | str, Spec]] = {
    str: (p.VAR_STRING, False, _AS_UTF8, None, None),
    bytes: (p.BLOB, False, _AS_BYTES, None, None),
    decimal.Decimal: (p.NEWDECIMAL, False, _AS_ASCII, None, decimal.Decimal),
    "json": (p.BLOB, False, _AS_BYTES, None, orjson.loads),
    "bit": (p.BLOB, False, _AS_BYTES, None, int.from_bytes),
}


def _spec(definition: p.ColumnDefinition) -> Spec:
    column = types.field(definition)[1]
    unsigned = bool(definition.flags & p.UNSIGNED_FLAG)
    return (
        _SIZED.get(column.type_name)
        or _SIZED.get(column.python_type)
        or (definition.type, unsigned, _AS_BYTES, None, None)
    )


def _all_null(buffer: p.Buffer, pos: int, rows: list[tuple[Any, ...]], number: int) -> bool:
    """Whether each None of a column is a NULL."""
    # Two bits of the map of NULLs, which follows the header and the first byte, are reserved.
    at, bit = 5 + (number + 2) // 8, 1 << (number + 2) % 8
    for row in rows:
        if row[number] is None and not buffer[pos + at] & bit:
            return False
        pos += 4 + (buffer[pos] | buffer[pos + 1] << 8 | buffer[pos + 2] << 16)
    return True


def row_taker(definitions: Sequence[p.ColumnDefinition], make: Callable[[Any], Any]) -> RowTaker:
    """A function that reads whole rows out of a buffer: the compiled codec."""
    specs = tuple(_spec(one) for one in definitions)
    dates = tuple(number for number, spec in enumerate(specs) if spec[0] in _DATES)
    exact = types.row_taker(definitions, make)

    def take(buffer: p.Buffer, pos: int, rows: list[Any]) -> int:
        end = len(buffer)
        if end - pos < 5:  # noqa: PLR2004 - a header and a first byte
            return pos
        made: list[tuple[Any, ...]] = []
        whole = buffer if type(buffer) is bytearray else bytearray(buffer)
        after: int
        try:
            after, _ = parse_binary_rows_from_buffer(
                whole,
                pos,
                end,
                specs,
                buffer[pos + 3],
                made,
                False,  # noqa: FBT003 - by place
            )
        except ValueError:
            return exact(buffer, pos, rows)  # which says what is wrong with the value
        except MySQLError as exc:
            raise p.ProtocolError(str(exc)) from exc
        for number in dates:
            for row in made:
                if row[number] is None:
                    if not _all_null(buffer, pos, made, number):
                        return exact(buffer, pos, rows)
                    break
        rows += map(make, made)
        return after

    return take
