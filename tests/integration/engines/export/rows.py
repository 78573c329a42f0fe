"""Rows of odd values, and what a file of them says."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

DAY = dt.date(2024, 2, 29)
ROWS = [
    # number, text, amount, ratio, day, moment, raw
    (
        1,
        "plain",
        Decimal("10.50"),
        0.1,
        DAY,
        dt.datetime(2024, 2, 29, 12, 30, 0, 250000),
        b"\0\xff",
    ),
    (2, "", Decimal("-0.01"), -1.5, dt.date(1, 1, 2), dt.datetime(1, 1, 2), b""),
    (3, None, None, None, None, None, None),
    (
        4,
        'a "quoted", one',
        Decimal("99999.99"),
        1e300,
        dt.date(9999, 12, 30),
        dt.datetime(9999, 1, 1),
        b"\\x00",
    ),
    (
        5,
        "two\nlines\r\nand \\ a slash",
        Decimal(0),
        0.0,
        DAY,
        dt.datetime(2024, 1, 1, 0, 0, 0, 1),
        b"'",
    ),
    (6, "'; DROP TABLE accounts; --", Decimal(7), 3.0, DAY, dt.datetime(2000, 1, 1), b'"'),
    (7, "\\.", Decimal(7), 3.0, DAY, dt.datetime(2000, 1, 1), b"\n"),
    (8, "ünïcödé 🎉", Decimal(7), 3.0, DAY, dt.datetime(2000, 1, 1), b"\r"),
    (9, "NULL", Decimal(7), 3.0, DAY, dt.datetime(2000, 1, 1), b"\t"),
]
NAMES = ("n", "label", "amount", "ratio", "day", "at", "raw")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def as_rows(table):
    return [tuple(row.values()) for row in table.to_pylist()]


def read_back(data):
    """The lines of a CSV file, with what is not quoted and empty as None."""
    text = data.decode()
    rows, row, field, quoted, was = [], [], "", False, False
    at = 0
    while at < len(text):
        c = text[at]
        if quoted:
            if c == '"' and text[at + 1] == '"':
                field, at = field + '"', at + 1
            elif c == '"':
                quoted = False
            else:
                field += c
        elif c == '"':
            quoted = was = True
        elif c in ",\n":
            row.append(field if field or was else None)
            field, was = "", False
            if c == "\n":
                rows.append(tuple(row))
                row = []
        else:
            field += c
        at += 1
    assert (row, field) == ([], "")
    return rows
