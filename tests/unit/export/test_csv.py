"""Values of MySQL's as text, in the forms of PostgreSQL's COPY."""

import datetime as dt
import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_sql.export import CsvRows
from aurora_sql.types import Column


def line(kind, python_type, value):
    return CsvRows([Column("a", kind, python_type)]).lines([(value,)]).decode()


@pytest.mark.parametrize(
    ("kind", "python_type", "value", "text"),
    [
        ("int", int, -5, "-5"),
        ("decimal", Decimal, Decimal("0E-10"), "0.0000000000"),
        ("decimal", Decimal, Decimal("-1.50"), "-1.50"),
        ("double", float, 1.0, "1"),
        ("double", float, 0.1, "0.1"),
        ("double", float, 1e300, "1e+300"),
        ("float", float, struct.unpack("f", struct.pack("f", 0.1))[0], "0.1"),
        ("float", float, 16777216.0, "16777216"),
        ("date", dt.date, dt.date(1, 2, 3), "0001-02-03"),
        ("datetime", dt.datetime, dt.datetime(2024, 1, 2, 3, 4, 5), "2024-01-02 03:04:05"),
        (
            "datetime",
            dt.datetime,
            dt.datetime(2024, 1, 2, 3, 4, 5, 120000),
            "2024-01-02 03:04:05.12",
        ),
        ("datetime", dt.datetime, dt.datetime(2024, 1, 2, 3, 4, 50), "2024-01-02 03:04:50"),
        (
            "time",
            dt.timedelta,
            dt.timedelta(hours=-838, minutes=-59, seconds=-58, microseconds=-500000),
            "-838:59:58.5",
        ),
        ("time", dt.timedelta, dt.timedelta(), "00:00:00"),
        ("time", dt.timedelta, dt.timedelta(seconds=10), "00:00:10"),
        ("blob", bytes, b"\0\xff", "\\x00ff"),
        ("varbinary", bytes, b"", "\\x"),
        ("json", object, {"a": [1, None]}, '"{""a"":[1,null]}"'),
        ("json", object, "x", '"""x"""'),
        ("text", str, "", '""'),
        ("text", str, None, ""),
        ("text", str, "NULL", "NULL"),
        ("text", str, " a b ", " a b "),
        ("text", str, "a,b", '"a,b"'),
        ("text", str, 'a"b', '"a""b"'),
        ("text", str, "a\rb", '"a\rb"'),
        ("text", str, "\\.", '"\\."'),
    ],
)
def test_a_value(kind, python_type, value, text):
    assert line(kind, python_type, value) == text + "\n"


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_number_of_single_precision_is_told_from_its_neighbours(value):
    text = line("float", float, value)
    assert struct.unpack("f", struct.pack("f", float(text)))[0] == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_so_is_one_of_double_precision(value):
    assert float(line("double", float, value)) == value


@given(st.timedeltas(dt.timedelta(hours=-838), dt.timedelta(hours=838)))
def test_a_time_is_what_it_says(value):
    text = line("time", dt.timedelta, value).strip()
    hours, minutes, seconds = text.removeprefix("-").split(":")
    found = dt.timedelta(
        hours=int(hours), minutes=int(minutes), microseconds=round(float(seconds) * 1e6)
    )
    assert (-found if text.startswith("-") else found) == value


def test_names_are_fields_too():
    rows = CsvRows([Column("a,b", "int", int), Column("", "int", int), Column("c", "int", int)])
    assert rows.header() == b'"a,b","",c\n'
    assert rows.lines([]) == b""
    assert rows.lines([(1, None, 2), (None, None, None)]) == b"1,,2\n,,\n"
