"""Arrow tables and data frames: what is stored is what tuples of the same values store."""

import datetime as dt
import decimal
import json
import math
import uuid

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurora_sql import BulkValueError, NotNullViolation, ParameterError
from aurora_sql.drivers import ColumnBatches

FIRST, LAST = dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)
WIDE = decimal.Context(prec=60)
SCHEMA = """
CREATE TABLE wide (
    nr bigint, i2 smallint, i4 integer, i8 bigint, u8 numeric, f4 real, f8 double precision,
    ok boolean, t text, v varchar(40), d date, ts timestamp, tz timestamptz, tod time,
    n numeric, m numeric(12, 2), big numeric, whole numeric, id uuid, raw bytea, doc jsonb, js json
);
CREATE TABLE wide_too (LIKE wide);
"""
KINDS = pa.schema(
    {
        "i2": pa.int16(),
        "i4": pa.int64(),
        "i8": pa.int64(),
        "u8": pa.uint64(),
        "f4": pa.float32(),
        "f8": pa.float64(),
        "ok": pa.bool_(),
        "t": pa.string(),
        "v": pa.large_string(),
        "d": pa.date32(),
        "ts": pa.timestamp("us"),
        "tz": pa.timestamp("us", "Europe/Zurich"),
        "tod": pa.time64("us"),
        "n": pa.decimal128(18, 5),
        "m": pa.decimal128(12, 2),
        "big": pa.decimal128(38, 11),
        "whole": pa.decimal128(38, 0),
        "id": pa.binary(16),
        "raw": pa.binary(),
        "doc": pa.struct({"a": pa.int32(), "b": pa.list_(pa.string())}),
        "js": pa.string(),
    }
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


def decimals(digits, scale):
    most = 10**digits - 1
    return st.integers(-most, most).map(lambda n: decimal.Decimal(n).scaleb(-scale, WIDE))


VALUES = {
    "i2": st.integers(-(2**15), 2**15 - 1),
    "i4": st.integers(-(2**31), 2**31 - 1),
    "i8": st.integers(-(2**63), 2**63 - 1),
    "u8": st.integers(0, 2**64 - 1),
    "f4": st.floats(width=32),
    "f8": st.floats(),
    "ok": st.booleans(),
    "t": TEXT,
    "v": TEXT,
    "d": st.dates() | st.sampled_from([dt.date.min, dt.date.max]),
    "ts": st.datetimes() | st.sampled_from([FIRST, LAST]),
    "tz": st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC)),
    "tod": st.times(),
    "n": decimals(18, 5),
    "m": decimals(12, 2),
    "big": decimals(38, 11),
    "whole": decimals(38, 0),
    "id": st.binary(min_size=16, max_size=16),
    "raw": st.binary(max_size=60),
    "doc": st.fixed_dictionaries({"a": st.integers(0, 9), "b": st.lists(TEXT, max_size=2)}),
    "js": TEXT,
}
ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | value for name, value in VALUES.items()}),
    min_size=1,
    max_size=12,
)
COLUMNS = ("nr", *VALUES)


def as_tuples(rows):
    """The rows as a caller with tuples would write them."""
    return [
        tuple(
            uuid.UUID(bytes=value) if name == "id" and value is not None else value
            for name, value in [("nr", number), *((name, row[name]) for name in VALUES)]
        )
        for number, row in enumerate(rows)
    ]


def as_table(rows, *, chunks=1):
    numbered = [{"nr": number, **row} for number, row in enumerate(rows)]
    schema = pa.schema([pa.field("nr", pa.int64()), *KINDS])
    size = max(1, -(-len(numbered) // chunks))
    parts = [numbered[at : at + size] for at in range(0, len(numbered), size)]
    return pa.Table.from_batches([pa.RecordBatch.from_pylist(p, schema) for p in parts], schema)


@pytest.fixture
async def wide(outside):
    await outside.execute(SCHEMA)
    return outside


@pytest.fixture
def python_rows(monkeypatch):
    """Fail where rows are taken one by one: the columns were not encoded here."""

    def refuse(_):
        raise AssertionError("rows went through values of Python")

    def forbid():
        monkeypatch.setattr(ColumnBatches, "__iter__", refuse)

    return forbid


async def differences(outside):
    # As text, with the scale of each number and every bit of a float.
    sql = "SELECT w::text FROM {} w ORDER BY nr"
    left = [row[0] for row in await outside.fetch(sql.format("wide"))]
    right = [row[0] for row in await outside.fetch(sql.format("wide_too"))]
    return [pair for pair in zip(left, right, strict=True) if pair[0] != pair[1]]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS, chunks=st.integers(1, 3), skip=st.integers(0, 3))
async def test_arrow_stores_what_tuples_store(db, wide, python_rows, rows, chunks, skip):
    python_rows()
    await wide.execute("TRUNCATE wide, wide_too")
    table = as_table(rows, chunks=chunks).slice(min(skip, len(rows) - 1))
    kept = as_tuples(rows)[min(skip, len(rows) - 1) :]
    result = await db.bulk_insert("wide", table)
    assert result.rows == len(kept)
    await db.bulk_insert("wide_too", kept, columns=COLUMNS)
    assert await differences(wide) == []


async def test_values_at_the_edges(db, wide, python_rows):
    python_rows()
    rows = [
        dict.fromkeys(VALUES),
        {**dict.fromkeys(VALUES), "f4": math.nan, "f8": -math.inf, "t": "", "v": "", "raw": b""},
        {**dict.fromkeys(VALUES), "n": decimal.Decimal("0.00000"), "m": decimal.Decimal("-0.01")},
        {
            **dict.fromkeys(VALUES),
            "t": "x" * 70_000,
            "raw": bytes(100_000),
            "js": "\u20ac\U0001f600",
        },
        {**dict.fromkeys(VALUES), "d": dt.date.max, "ts": LAST},
        {**dict.fromkeys(VALUES), "d": dt.date.min, "ts": FIRST},
    ]
    await db.bulk_insert("wide", as_table(rows))
    await db.bulk_insert("wide_too", as_tuples(rows), columns=COLUMNS)
    assert await differences(wide) == []
    assert await wide.fetchval("SELECT count(*) FROM wide WHERE d = 'infinity'") == 1


async def test_many_rows_in_batches_of_every_form(db, wide, python_rows):
    python_rows()
    words = ["", "a", "ü" * 300, None, "\u20ac" * 9]
    rows = [
        {**dict.fromkeys(VALUES), "t": words[n % 5], "i4": n, "m": decimal.Decimal(n)}
        for n in range(20_000)
    ]
    table = as_table(rows, chunks=7)
    await db.bulk_insert("wide", table)
    await db.bulk_insert("wide_too", table.to_reader(max_chunksize=999))
    assert await wide.fetchval("SELECT count(*) FROM wide") == 20_000
    assert await differences(wide) == []
    seen = await wide.fetchval("SELECT count(*) FROM wide WHERE i4 = nr AND m = nr")
    assert seen == 20_000
    assert await wide.fetchval("SELECT t FROM wide WHERE nr = 2") == "ü" * 300


async def test_what_cannot_be_encoded_by_column_goes_through_values(db, outside, count):
    await db.bulk_insert(
        "things",
        pa.table(
            {
                "id": [1, 2],
                "name": pa.array(["a", "b"]).dictionary_encode(),
                "tags": [["x", None], None],
                "mood": ["sad", "happy"],
            }
        ),
    )
    found = await outside.fetch("SELECT id, name, tags, mood::text FROM things ORDER BY id")
    assert [tuple(row) for row in found] == [(1, "a", ["x", None], "sad"), (2, "b", None, "happy")]
    assert await count() == 2


@pytest.mark.parametrize("kind", ["pandas", "polars", "batch", "reader"])
async def test_frames_and_batches(db, outside, kind):
    data = {"id": [1, 2, 3], "name": ["a", "b", "c"]}
    if kind == "pandas":
        frame = pytest.importorskip("pandas").DataFrame(data, index=[7, 8, 9])
    elif kind == "polars":
        frame = pytest.importorskip("polars").DataFrame(data)
    else:
        table = pa.table(data)
        frame = table.to_reader() if kind == "reader" else table.to_batches()[0]
    seen = []
    result = await db.bulk_insert("things", frame, progress=seen.append)
    assert (result.rows, seen) == (3, [3])
    assert await outside.fetchval("SELECT string_agg(name, '' ORDER BY id) FROM things") == "abc"


async def test_columns_are_chosen_by_name(db, outside):
    table = pa.table({"extra": [1.5, 2.5], "name": ["a", "b"], "id": [1, 2]})
    await db.bulk_insert("things", table, columns=["id", "name"])
    assert await outside.fetchval("SELECT sum(id) FROM things WHERE name IN ('a', 'b')") == 3
    with pytest.raises(ParameterError) as caught:
        await db.bulk_insert("things", table, columns=["id", "nmae"])
    assert "'nmae'" in caught.value.message


@pytest.mark.parametrize(
    ("column", "values", "row"),
    [
        ("i2", pa.array([1, 2, 40_000], pa.int32()), 2),
        ("i4", pa.array([1, 2**40], pa.int64()), 1),
        ("i8", pa.array([1, 2**63], pa.uint64()), 1),
        ("f4", pa.array([1.0, 1e300]), 1),
        ("ts", pa.array([0, -(2**63) + 1], pa.timestamp("us")), 1),
        ("ts", pa.array([1_000, 1_001], pa.timestamp("ns")), 1),
        ("i4", pa.array(["one"]), 0),
        ("t", pa.array([5]), 0),
        ("tz", pa.array([0], pa.timestamp("s")).cast(pa.string()), 0),
        ("js", pa.array([b"bytes"]), 0),
        ("t", pa.array(["fine", "not\0fine"]), 1),
        ("v", pa.array(["x" * 40, "x" * 41]), 1),
        ("m", pa.array([decimal.Decimal(1), decimal.Decimal(10) ** 11]), 1),
    ],
)
async def test_a_value_that_does_not_fit_is_named(db, wide, column, values, row):
    with pytest.raises(BulkValueError) as caught:
        await db.bulk_insert("wide", pa.table({column: values}))
    assert (caught.value.row, caught.value.column) == (row, column), caught.value
    assert f"row {row}" in caught.value.message
    assert await wide.fetchval("SELECT count(*) FROM wide") == 0


async def test_the_row_counts_in_the_whole_input(db, wide):
    numbers = pa.array(list(range(25_000)), pa.int64())
    bad = pa.concat_arrays([numbers, pa.array([2**31], pa.int64())])
    for rows in (pa.table({"i4": bad}), pa.table({"i4": bad}).to_reader(max_chunksize=700)):
        with pytest.raises(BulkValueError) as caught:
            await db.bulk_insert("wide", rows, batch_size=6_000)
        assert (caught.value.row, caught.value.column) == (25_000, "i4")
    assert await wide.fetchval("SELECT count(*) FROM wide") == 0


async def test_a_decimal_beyond_its_precision_is_refused(db, wide):
    # Arrow does not look into its own buffers.
    words = pa.py_buffer((10**30).to_bytes(16, "little", signed=True))
    column = pa.Array.from_buffers(pa.decimal128(12, 2), 1, [None, words])
    with pytest.raises(BulkValueError) as caught:
        await db.bulk_insert("wide", pa.table({"m": column}))
    assert (caught.value.row, caught.value.column) == (0, "m")


async def test_a_constraint_names_the_row(db, outside, count):
    with pytest.raises(NotNullViolation) as caught:
        await db.bulk_insert("things", pa.table({"id": [1, 2], "name": ["a", None]}))
    assert "(row 1)" in caught.value.message
    assert await count() == 0


async def test_a_failing_stream_is_told_as_it_is(db, count):
    table = pa.table({"id": [1, 2], "name": ["a", "b"]})

    def batches():
        yield from table.to_batches()
        raise RuntimeError("no more")

    reader = pa.RecordBatchReader.from_batches(table.schema, batches())
    with pytest.raises(pa.ArrowInvalid, match="no more"):
        await db.bulk_insert("things", reader)
    assert await count() == 0


async def test_staged_operations_take_frames(db, outside):
    await db.bulk_insert("things", pa.table({"id": [1, 2], "name": ["a", "b"]}))
    result = await db.bulk_upsert(
        "things", pa.table({"id": [2, 3], "name": ["B", "C"]}), keys=["id"]
    )
    assert result.rows == 2
    assert await outside.fetchval("SELECT string_agg(name, '' ORDER BY id) FROM things") == "aBC"


async def test_none_of_no_rows(db, count):
    empty = pa.table({"id": pa.array([], pa.int64()), "name": pa.array([], pa.string())})
    assert (await db.bulk_insert("things", empty)).rows == 0
    assert (await db.bulk_insert("things", empty.to_reader())).rows == 0
    assert await count() == 0


async def test_documents_become_json(db, outside):
    docs = pa.array([{"a": 1, "b": ["x"]}, None])
    await db.bulk_insert("things", pa.table({"id": [1, 2], "name": ["a", "b"], "data": docs}))
    assert json.loads(await outside.fetchval("SELECT data FROM things WHERE id = 1")) == {
        "a": 1,
        "b": ["x"],
    }
