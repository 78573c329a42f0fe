"""Arrays of single values are what plain lists are, each time they are sent."""

import datetime as dt
import decimal
import uuid

import pytest

from aurora_sql.drivers import FlatArray
from aurora_sql.errors import ParameterError

COLUMNS = [
    ("int8", [1, None, -(2**63), 2**63 - 1]),
    ("text", ["", "a", None, '"', "\\", "{x,y}", "NULL", "é"]),
    ("bytea", [b"", b"\x00\xff", None]),
    ("numeric", [decimal.Decimal("1.20"), None]),
    ("timestamptz", [dt.datetime(2025, 1, 2, 3, 4, 5, 6, dt.UTC), None]),
    ("uuid", [uuid.UUID(int=7), None]),
    ("jsonb", [{"a": [1, {}]}, {}, None]),
    ("bool", [True, False, None]),
    ("float8", [0.1, float("inf"), None]),
    ("int4", []),
    ("int4", [None]),
]


@pytest.mark.parametrize(("kind", "values"), COLUMNS)
async def test_a_flat_array_is_sent_as_a_list_is(connection, kind, values):
    prepared = await connection.prepare(f"SELECT e FROM unnest($1::{kind}[]) AS e")
    plain = [row[0] for row in await prepared.fetch([values])]
    flat = FlatArray(values)
    assert plain == values
    # The same one may be sent again: after an error that allows it.
    for _ in range(2):
        assert [row[0] for row in await prepared.fetch([flat])] == plain


async def test_arrays_side_by_side(connection):
    prepared = await connection.prepare("SELECT * FROM unnest($1::int4[], $2::text[])")
    rows = await prepared.fetch([FlatArray([1, 2]), FlatArray(["a", None])])
    assert [tuple(row) for row in rows] == [(1, "a"), (2, None)]


async def test_a_value_that_does_not_fit_leaves_it_as_it_was(connection):
    prepared = await connection.prepare("SELECT e FROM unnest($1::int4[]) AS e")
    flat = FlatArray([1, 2**40])
    for _ in range(2):
        with pytest.raises(ParameterError):
            await prepared.fetch([flat])
    flat[1] = 3
    assert [row[0] for row in await prepared.fetch([flat])] == [1, 3]
