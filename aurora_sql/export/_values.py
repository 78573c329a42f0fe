"""Values of MySQL's as text, in the forms that PostgreSQL's COPY has for such values."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    import datetime as dt
    import decimal
    from collections.abc import Callable

    from aurora_sql.types import Column

_SINGLE: Final = struct.Struct("<f")
_FEWER_DIGITS: Final = (6, 7, 8)


def decimal_text(value: decimal.Decimal) -> str:
    """As the server shows it, without an exponent."""
    return format(value, "f")


def single_text(value: float) -> str:
    """A number of single precision, with the digits that tell it from its neighbours."""
    for digits in _FEWER_DIGITS:
        text = f"{value:.{digits}g}"
        if _SINGLE.unpack(_SINGLE.pack(float(text)))[0] == value:
            return text
    return f"{value:.9g}"


def double_text(value: float) -> str:
    """As few digits as tell it from its neighbours; none after the point where it is whole."""
    return repr(value).removesuffix(".0")


def json_text(value: Any) -> str:
    """A JSON document, without blanks."""
    return orjson.dumps(value).decode()


def bytes_text(value: bytes) -> str:
    r"""Bytes as ``\x`` and two digits for each."""
    return "\\x" + value.hex()


def moment_text(value: dt.datetime) -> str:
    """Date and time, with the digits of the fraction that count."""
    return _fraction(value.isoformat(" "), value.microsecond)


def duration_text(value: dt.timedelta) -> str:
    """A TIME of MySQL's, which may be negative and longer than a day."""
    micro = (value.days * 86400 + value.seconds) * 1_000_000 + value.microseconds
    sign = "-" if micro < 0 else ""
    seconds, micro = divmod(abs(micro), 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{sign}{hours:02}:{minutes:02}:{seconds:02}"
    return _fraction(f"{text}.{micro:06}", micro) if micro else text


def _fraction(text: str, micro: int) -> str:
    return text.rstrip("0") if micro else text


FORMATS: Final[dict[str, Callable[[Any], str]]] = {
    "decimal": decimal_text,
    "float": single_text,
    "double": double_text,
    "timestamp": moment_text,
    "datetime": moment_text,
    "date": str,
    "time": duration_text,
    "json": json_text,
}
"""By the name of a type; the others are bytes, or what ``str`` makes of them."""


def format_of(column: Column) -> Callable[[Any], str]:
    """Return what makes text of a column's values."""
    return FORMATS.get(column.type_name) or (bytes_text if column.python_type is bytes else str)
