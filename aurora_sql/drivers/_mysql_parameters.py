"""Values in Python to parameters of MySQL's binary protocol."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import functools
import math
import operator
import struct
import uuid
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.drivers import _mysql_protocol as p
from aurora_sql.drivers._json import dumps, dumps_list, is_model
from aurora_sql.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # What values must be, and what makes a packet of them.
    Integers = tuple[tuple[type[Any], ...], Callable[..., bytes]]
    Encoder = Callable[[Any], tuple[bytes, bytes]]

_SIGNED = bytes((p.LONGLONG, 0))
_UNSIGNED = bytes((p.LONGLONG, 0x80))
_AS_DOUBLE = bytes((p.DOUBLE, 0))
_AS_DECIMAL = bytes((p.NEWDECIMAL, 0))
_AS_TEXT = bytes((p.VAR_STRING, 0))
_AS_BYTES = bytes((p.BLOB, 0))
_AS_DATE = bytes((p.DATE, 0))
_AS_DATETIME = bytes((p.DATETIME, 0))
_AS_TIME = bytes((p.TIME, 0))
_AS_NULL = bytes((p.NULL, 0))

_PACK_DOUBLE = Struct("<d").pack
_PACK_INT = Struct("<q").pack
_PACK_DATE = Struct("<BHBB").pack
_PACK_DATETIME = Struct("<BHBBBBBI").pack
_PACK_TIME = Struct("<BBIBBBI").pack

_MOST = (1 << 63) - 1
_LEAST = -(1 << 63)
_MOST_UNSIGNED = (1 << 64) - 1
_LONGEST_TIME = dt.timedelta(hours=838, minutes=59, seconds=59)
_DECIMAL_DIGITS = 65
_FRACTION_DIGITS = 100


_INTEGERS: Final = frozenset({int, bool})
# Bytes of integers, far from what a server takes at once.
_FEW: Final = 800


def _sized(data: bytes) -> bytes:
    return p.length_encoded(len(data)) + data


def _of_bool(value: bool) -> tuple[bytes, bytes]:
    return _SIGNED, _PACK_INT(value)


def _of_int(value: int) -> tuple[bytes, bytes]:
    if _LEAST <= value <= _MOST:
        return _SIGNED, _PACK_INT(value)
    if 0 < value <= _MOST_UNSIGNED:
        return _UNSIGNED, value.to_bytes(8, "little")
    raise ValueError("an integer of more than 64 bits; pass a Decimal")


def _of_float(value: float) -> tuple[bytes, bytes]:
    if not math.isfinite(value):
        raise ValueError("MySQL has no infinity and no NaN; pass None")
    return _AS_DOUBLE, _PACK_DOUBLE(value)


def decimal_text(value: decimal.Decimal) -> str:
    """A decimal in the form without exponent.

    Raises:
        ValueError: It has more digits than DECIMAL has, or is no number.
    """
    if not value.is_finite():
        raise ValueError("MySQL has no infinity and no NaN; pass None")
    if value.adjusted() >= _DECIMAL_DIGITS or int(value.as_tuple().exponent) < -_FRACTION_DIGITS:
        raise ValueError("a decimal with more digits than DECIMAL can have (65)")
    return decimal.Decimal.__format__(value, "f")


def _of_decimal(value: decimal.Decimal) -> tuple[bytes, bytes]:
    return _AS_DECIMAL, _sized(decimal_text(value).encode())


def _of_text(value: str) -> tuple[bytes, bytes]:
    # The text itself, whatever a subclass makes of its methods; so with other types too.
    data = str.encode(value)
    return _AS_TEXT, p.length_encoded(len(data)) + data


def _of_bytes(value: bytes | bytearray | memoryview) -> tuple[bytes, bytes]:
    return _AS_BYTES, _sized(bytes(value))


def _of_date(value: dt.date) -> tuple[bytes, bytes]:
    return _AS_DATE, _PACK_DATE(4, value.year, value.month, value.day)


def in_utc(value: dt.datetime) -> dt.datetime:
    """A datetime as the session, whose time zone is UTC, takes it."""
    return value if value.tzinfo is None else value.astimezone(dt.UTC)


def _of_datetime(value: dt.datetime) -> tuple[bytes, bytes]:
    v = in_utc(value)
    return _AS_DATETIME, _PACK_DATETIME(
        11, v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond
    )


def check_time(value: dt.time) -> dt.time:
    """Refuse a time of day with a time zone: the server has no such type."""
    if value.tzinfo is not None:
        raise ValueError("a time of day with a time zone; MySQL's TIME has none")
    return value


def _of_time(value: dt.time) -> tuple[bytes, bytes]:
    v = check_time(value)
    return _AS_TIME, _PACK_TIME(12, 0, 0, v.hour, v.minute, v.second, v.microsecond)


def check_timedelta(value: dt.timedelta) -> dt.timedelta:
    """Refuse a duration that TIME cannot hold."""
    if abs(value) > _LONGEST_TIME:
        raise ValueError("a duration longer than MySQL's TIME (838:59:59)")
    return value


def _of_timedelta(value: dt.timedelta) -> tuple[bytes, bytes]:
    negative, v = value < dt.timedelta(), abs(check_timedelta(value))
    minutes, seconds = divmod(v.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return _AS_TIME, _PACK_TIME(12, negative, v.days, hours, minutes, seconds, v.microseconds)


def _of_uuid(value: uuid.UUID) -> tuple[bytes, bytes]:
    return _AS_BYTES, _sized(value.bytes)


def _of_json(value: Any) -> tuple[bytes, bytes]:
    return _AS_TEXT, _sized(dumps(value))


def _of_list(value: list[Any]) -> tuple[bytes, bytes]:
    # JSON_TABLE may make rows of it.
    return _AS_TEXT, _sized(dumps_list(value))


def _of_enum(value: enum.Enum) -> tuple[bytes, bytes]:
    return encoder(type(value.value))(value.value)


def _of_none(_: None) -> tuple[bytes, bytes]:
    return _AS_NULL, b""


def plain(value: Any) -> int | float:
    """A number of a type that is not Python's own, such as numpy's.

    Raises:
        TypeError: It is no number.
    """
    if hasattr(value, "__index__"):
        return operator.index(value)
    if hasattr(value, "__float__"):
        return float(value)
    raise TypeError(f"values of type {type(value).__name__} cannot be sent")


def _of_number(value: Any) -> tuple[bytes, bytes]:
    number = plain(value)
    return _of_int(number) if isinstance(number, int) else _of_float(number)


_ENCODERS: Final[dict[type[Any], Encoder]] = {
    type(None): _of_none,
    bool: _of_bool,
    int: _of_int,
    float: _of_float,
    decimal.Decimal: _of_decimal,
    str: _of_text,
    bytes: _of_bytes,
    bytearray: _of_bytes,
    memoryview: _of_bytes,
    dt.datetime: _of_datetime,
    dt.date: _of_date,
    dt.time: _of_time,
    dt.timedelta: _of_timedelta,
    uuid.UUID: _of_uuid,
    dict: _of_json,
    list: _of_list,
    tuple: _of_json,
}


def encoder(kind: type[Any]) -> Encoder:
    """The encoder for values of a type, which may find out that they cannot be sent."""
    if issubclass(kind, enum.Enum):
        return _of_enum
    for base in kind.__mro__:
        found = _ENCODERS.get(base)
        if found is not None:
            return found
    return _of_json if is_model(kind) else _of_number


def refusal(exc: Exception) -> str:
    """What is wrong with a value, without the value."""
    if isinstance(exc, UnicodeEncodeError):
        return f"the text cannot be encoded as UTF-8 ({exc.reason} at position {exc.start})"
    return str(exc)


def encode(args: Sequence[Any]) -> tuple[bytes, bytes]:
    """The types of the parameters, and all that COM_STMT_EXECUTE says of them.

    Raises:
        ParameterError: A value cannot be sent; names its number.
    """
    nulls = 0
    types, values = [], []
    number = 0
    try:
        for value in args:
            kind = type(value)
            type_, data = (_ENCODERS.get(kind) or encoder(kind))(value)
            if type_ is _AS_NULL:
                nulls |= 1 << number
            number += 1
            types.append(type_)
            values.append(data)
    except (ValueError, TypeError, OverflowError) as exc:
        # UnicodeEncodeError and orjson's own error are ValueError and TypeError.
        number += 1
        raise ParameterError(f"parameter {number}: {refusal(exc)}", number=number) from exc
    signature = b"".join(types)
    # A map of NULLs, a 1 that says that types follow (with each execution, as values decide
    # them), the types, the values.
    return signature, b"%b\1%b%b" % (
        nulls.to_bytes((len(types) + 7) // 8, "little"),
        signature,
        b"".join(values),
    )


def agree(known: bytes, types: bytes) -> bytes | None:
    """What is known of a statement's parameters with these types added; None if they differ.

    A NULL has no type.
    """
    merged = bytearray(known)
    for at in range(0, len(types), 2):
        one = types[at : at + 2]
        if one == _AS_NULL:
            continue
        if merged[at : at + 2] != one:
            if merged[at : at + 2] != _AS_NULL:
                return None
            merged[at : at + 2] = one
    return bytes(merged)


def _no_integers(*_: Any) -> bytes:
    raise struct.error


NO_INTEGERS: Final[Integers] = ((object,), _no_integers)
"""No values have these types."""


def integers(args: Sequence[Any], types: bytes, packet: bytes) -> Integers:
    """What makes the next packet where all values are integers, as these were.

    Args:
        args: The values.
        types: The types of the parameters that :func:`encode` has made of them.
        packet: COM_STMT_EXECUTE with these values.

    Returns:
        The types that the next values must have, and a function that makes a packet of them. It
        raises :class:`struct.error` for an integer that does not fit.
    """
    count = len(args)
    size = 8 * count
    # Without NULLs a packet of integers is the same up to the values.
    if types != _SIGNED * count or size > _FEW:
        return NO_INTEGERS
    kinds = tuple(map(type, args))
    if not _INTEGERS.issuperset(kinds):
        return NO_INTEGERS
    before = packet[: len(packet) - size]
    return kinds, functools.partial(Struct(f"<{len(before)}s{count}q").pack, before)
