"""Fields of MySQL's binary protocol to values in Python. Parameters: see ``_mysql_parameters``."""

from __future__ import annotations

import datetime as dt
import decimal
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import orjson

from aurora_sql.drivers import _mysql_protocol as p
from aurora_sql.types import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Decoder = Callable[[p.Buffer, int], tuple[Any, int]]
    # Reads whole rows of a buffer from a position on, appends them to a list, and returns the
    # position of what is no whole row. A value that cannot be represented raises ValueError.
    RowTaker = Callable[[p.Buffer, int, list[Any]], int]
    # Makes one for these columns, and for rows that are made of a sequence of values.
    Codec = Callable[[Sequence[p.ColumnDefinition], Callable[[Any], Any]], RowTaker]


def _fixed(layout: str) -> Decoder:
    struct = Struct(layout)
    unpack, size = struct.unpack_from, struct.size

    def decode(buffer: p.Buffer, pos: int) -> tuple[Any, int]:
        return unpack(buffer, pos)[0], pos + size

    return decode


def _text(buffer: p.Buffer, pos: int) -> tuple[str, int]:
    size = buffer[pos]
    if size < 251:  # noqa: PLR2004 - longer ones tell their length otherwise
        pos += 1
    else:
        size, pos = p.read_length(buffer, pos)
    end = pos + size
    return buffer[pos:end].decode(), end


def _bytes(buffer: p.Buffer, pos: int) -> tuple[bytes, int]:
    size, pos = p.read_length(buffer, pos)
    end = pos + size
    return bytes(buffer[pos:end]), end


def _decimal(buffer: p.Buffer, pos: int) -> tuple[decimal.Decimal, int]:
    end = pos + 1 + buffer[pos]  # of 65 digits at most
    return decimal.Decimal(buffer[pos + 1 : end].decode("ascii")), end


def _json(buffer: p.Buffer, pos: int) -> tuple[Any, int]:
    size, pos = p.read_length(buffer, pos)
    end = pos + size
    return orjson.loads(buffer[pos:end]), end


def _bit(buffer: p.Buffer, pos: int) -> tuple[int, int]:
    size, pos = p.read_length(buffer, pos)
    end = pos + size
    return int.from_bytes(buffer[pos:end], "big"), end


_DATE = Struct("<HBB").unpack_from
_SECONDS = Struct("<HBBBBB").unpack_from
_MICROSECONDS = Struct("<HBBBBBI").unpack_from
_TIME = Struct("<BIBBB").unpack_from
_TIME_MICROSECONDS = Struct("<BIBBBI").unpack_from
# Lengths that a date, a time of day or a duration is sent in.
_LENGTH_DATE: Final = 4
_LENGTH_SECONDS: Final = 7
_LENGTH_TIME: Final = 8
_LENGTH_MICROSECONDS: Final = 11


def _parts(buffer: p.Buffer, pos: int) -> tuple[tuple[int, ...], int]:
    size = buffer[pos]
    end = pos + 1 + size
    if size == _LENGTH_SECONDS:
        return _SECONDS(buffer, pos + 1), end
    if size == _LENGTH_DATE:
        return _DATE(buffer, pos + 1), end
    return (_MICROSECONDS(buffer, pos + 1) if size else (0, 0, 0)), end


def _no_date(parts: tuple[int, ...]) -> ValueError:
    year, month, day = parts[:3]
    return ValueError(
        f"{year:04}-{month:02}-{day:02} is no date that Python has; read the column as text "
        "(CAST(… AS CHAR)), or make it NULL (NULLIF)"
    )


def _date(buffer: p.Buffer, pos: int) -> tuple[dt.date, int]:
    parts, end = _parts(buffer, pos)
    try:
        return dt.date(*parts[:3]), end
    except ValueError:
        raise _no_date(parts) from None


def _datetime(buffer: p.Buffer, pos: int) -> tuple[dt.datetime, int]:
    if buffer[pos] == _LENGTH_MICROSECONDS:
        parts, end = _MICROSECONDS(buffer, pos + 1), pos + 12
    else:
        parts, end = _parts(buffer, pos)
    try:
        return dt.datetime(*parts), end  # noqa: DTZ001 - naive, in UTC
    except ValueError:
        raise _no_date(parts) from None


def _time(buffer: p.Buffer, pos: int) -> tuple[dt.timedelta, int]:
    size = buffer[pos]
    end = pos + 1 + size
    if size == 0:
        return dt.timedelta(), end
    micro = 0
    if size == _LENGTH_TIME:
        negative, days, hours, minutes, seconds = _TIME(buffer, pos + 1)
    else:
        negative, days, hours, minutes, seconds, micro = _TIME_MICROSECONDS(buffer, pos + 1)
    value = dt.timedelta(days, seconds, micro, 0, minutes, hours)
    return (-value if negative else value), end


def _null(_: p.Buffer, pos: int) -> tuple[None, int]:
    return None, pos


# Type, whether it is unsigned: decoder.
_INTEGERS: Final[dict[tuple[int, bool], Decoder]] = {
    (p.TINY, False): _fixed("<b"),
    (p.TINY, True): _fixed("<B"),
    (p.SHORT, False): _fixed("<h"),
    (p.SHORT, True): _fixed("<H"),
    (p.INT24, False): _fixed("<i"),
    (p.INT24, True): _fixed("<I"),
    (p.LONG, False): _fixed("<i"),
    (p.LONG, True): _fixed("<I"),
    (p.LONGLONG, False): _fixed("<q"),
    (p.LONGLONG, True): _fixed("<Q"),
    # Always unsigned, whatever its flag says.
    (p.YEAR, False): _fixed("<H"),
    (p.YEAR, True): _fixed("<H"),
}
# Decoder, what it returns, the type's name.
_OTHERS: Final[dict[int, tuple[Decoder, type[Any], str]]] = {
    p.FLOAT: (_fixed("<f"), float, "float"),
    p.DOUBLE: (_fixed("<d"), float, "double"),
    p.DECIMAL: (_decimal, decimal.Decimal, "decimal"),
    p.NEWDECIMAL: (_decimal, decimal.Decimal, "decimal"),
    p.NULL: (_null, object, "null"),
    p.TIMESTAMP: (_datetime, dt.datetime, "timestamp"),
    p.DATETIME: (_datetime, dt.datetime, "datetime"),
    p.DATE: (_date, dt.date, "date"),
    p.TIME: (_time, dt.timedelta, "time"),
    p.BIT: (_bit, int, "bit"),
    p.JSON: (_json, object, "json"),
    p.GEOMETRY: (_bytes, bytes, "geometry"),
    p.VECTOR: (_bytes, bytes, "vector"),
}
_INTEGER_NAMES: Final = {
    p.TINY: "tinyint",
    p.SHORT: "smallint",
    p.INT24: "mediumint",
    p.LONG: "int",
    p.LONGLONG: "bigint",
    p.YEAR: "year",
}
# Names as text, as bytes.
_STRING_NAMES: Final = {
    p.VARCHAR: ("varchar", "varbinary"),
    p.VAR_STRING: ("varchar", "varbinary"),
    p.STRING: ("char", "binary"),
    p.TINY_BLOB: ("tinytext", "tinyblob"),
    p.BLOB: ("text", "blob"),
    p.MEDIUM_BLOB: ("mediumtext", "mediumblob"),
    p.LONG_BLOB: ("longtext", "longblob"),
    p.ENUM: ("enum", "enum"),
    p.SET: ("set", "set"),
}


def field(definition: p.ColumnDefinition) -> tuple[Decoder, Column]:
    """How a column's values are decoded, and the column as the library describes it.

    Raises:
        ProtocolError: The type is none that is known.
    """
    kind, unsigned = definition.type, bool(definition.flags & p.UNSIGNED_FLAG)
    integer = _INTEGERS.get((kind, unsigned))
    if integer is not None:
        name = _INTEGER_NAMES[kind]
        if unsigned and kind != p.YEAR:
            name += " unsigned"
        return integer, Column(definition.name, name, int, kind)
    other = _OTHERS.get(kind)
    if other is not None:
        decoder, python_type, name = other
        return decoder, Column(definition.name, name, python_type, kind)
    names = _STRING_NAMES.get(kind)
    if names is None:
        raise p.ProtocolError(f"column {definition.name!r} has the unknown type {kind}")
    if definition.format == "json":
        # MariaDB keeps JSON as text, and says so.
        return _json, Column(definition.name, "json", object, kind)
    if definition.charset == p.BINARY_CHARSET:
        return _bytes, Column(definition.name, names[1], bytes, kind)
    name = names[0]
    if definition.flags & p.ENUM_FLAG:
        name = "enum"
    elif definition.flags & p.SET_FLAG:
        name = "set"
    return _text, Column(definition.name, name, str, kind)


def row_decoder(
    decoders: Sequence[Decoder], make: Callable[[list[Any]], Any]
) -> Callable[[p.Buffer, int], Any]:
    """A function that makes a row of a packet of the binary protocol."""
    # Two bits of the map of NULLs are reserved.
    width = (len(decoders) + 9) // 8

    def decode(buffer: p.Buffer, start: int) -> Any:
        pos = start + 1 + width
        nulls = int.from_bytes(buffer[start + 1 : pos], "little") >> 2
        values = []
        if not nulls:
            for one in decoders:
                value, pos = one(buffer, pos)
                values.append(value)
            return make(values)
        for one in decoders:
            if nulls & 1:
                values.append(None)
            else:
                value, pos = one(buffer, pos)
                values.append(value)
            nulls >>= 1
        return make(values)

    return decode


def row_taker(definitions: Sequence[p.ColumnDefinition], make: Callable[[Any], Any]) -> RowTaker:
    """A function that reads whole rows out of a buffer: the codec in Python."""
    decode = row_decoder([field(one)[0] for one in definitions], make)

    def take(buffer: p.Buffer, pos: int, rows: list[Any]) -> int:
        last = len(buffer) - 5
        while pos <= last and buffer[pos + 4] == p.OK:
            size = buffer[pos] | buffer[pos + 1] << 8 | buffer[pos + 2] << 16
            if not size or size == p.MAX_PAYLOAD or pos + size > last + 1:
                break
            rows.append(decode(buffer, pos + 4))
            pos += size + 4
        return pos

    return take
