"""Reports as Arrow tables and as CSV: what fetch_all says."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pytest

from aurora_sql import (
    ParameterError,
)
from tests.integration.engines.export.rows import DAY, NAMES, ROWS, as_rows, read_back


async def test_a_table_has_the_values_of_fetch_all(kept):
    table = await kept.sql.r.all.fetch_arrow()
    rows = [tuple(row) for row in await kept.sql.r.all()]
    assert rows == ROWS
    assert as_rows(table) == rows
    assert table.schema == pa.schema(
        {
            "n": pa.int32(),
            "label": pa.string(),
            "amount": pa.decimal128(38, 2),
            "ratio": pa.float64(),
            "day": pa.date32(),
            "at": pa.timestamp("us"),
            "raw": pa.binary(),
        }
    )
    assert (await kept.fetch_arrow("SELECT n FROM kept WHERE n = :n", {"n": 4})).to_pydict() == {
        "n": [4]
    }


async def test_a_file_has_the_values_of_fetch_all(kept, tmp_path, on_mysql):
    target = tmp_path / "all.csv"
    assert await kept.sql.r.all.export_csv(target) == len(ROWS)
    header, *lines = read_back(target.read_bytes())
    assert header == NAMES
    for line, row in zip(lines, ROWS, strict=True):
        n, label, amount, ratio, day, at, raw = row
        assert line[:2] == (str(n), label)
        assert line[2] == (None if amount is None else f"{amount:.2f}")
        assert (line[3] if ratio is None else float(line[3])) == ratio
        assert line[4] == (None if day is None else day.isoformat())
        assert line[5] == (
            None
            if at is None
            else at.isoformat(" ").rstrip("0")
            if at.microsecond
            else at.isoformat(" ")
        )
        assert line[6] == (None if raw is None else "\\x" + raw.hex())
    # The standard library reads it too, apart from NULL.
    with target.open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == [row[1] or "" for row in ROWS]
    assert target.read_bytes().count(b"\n3,,,,,,\n") == 1
    assert b'\n2,"",-0.01,-1.5,0001-01-02,0001-01-02 00:00:00,' in target.read_bytes()


async def test_one_column_whose_lines_could_be_mistaken(kept):
    out = io.BytesIO()
    assert await kept.sql.r.labels.export_csv(out, header=False) == len(ROWS)
    assert [line for (line,) in read_back(out.getvalue())] == [row[1] for row in ROWS]
    assert b'\n"\\."\n' in out.getvalue()
    assert (await kept.sql.r.labels.fetch_arrow())["label"].to_pylist() == [row[1] for row in ROWS]


async def test_the_two_engines_write_the_same_bytes(kept, on_mysql):
    out = io.BytesIO()
    assert (
        await kept.export_csv(
            out, "SELECT n, label, amount, ratio, day, at, raw FROM kept WHERE n < 4 ORDER BY n"
        )
        == 3
    )
    assert out.getvalue() == (
        b"n,label,amount,ratio,day,at,raw\n"
        b"1,plain,10.50,0.1,2024-02-29,2024-02-29 12:30:00.25,\\x00ff\n"
        b'2,"",-0.01,-1.5,0001-01-02,0001-01-02 00:00:00,\\x\n'
        b"3,,,,,,\n"
    )


async def test_no_rows_have_their_columns(kept):
    table = await kept.fetch_arrow("SELECT n, label, amount FROM kept WHERE n < 0")
    assert table.num_rows == 0
    assert table.schema == pa.schema(
        {"n": pa.int32(), "label": pa.string(), "amount": pa.decimal128(38, 0)}
    )
    for header, expected in ((True, b"n,label\n"), (False, b"")):
        out = io.BytesIO()
        assert (
            await kept.export_csv(out, "SELECT n, label FROM kept WHERE n < 0", header=header) == 0
        )
        assert out.getvalue() == expected


async def test_two_columns_of_one_name(kept):
    sql = "SELECT n AS a, label AS a FROM kept WHERE n < 3 ORDER BY n"
    table = await kept.fetch_arrow(sql)
    assert table.column_names == ["a", "a"]
    assert table.column(1).to_pylist() == ["plain", ""]
    out = io.BytesIO()
    await kept.export_csv(out, sql)
    assert out.getvalue() == b'a,a\n1,plain\n2,""\n'


@pytest.mark.parametrize("label", [row[1] for row in ROWS] + ["$1", "%s", ":label", "pg_catalog"])
async def test_parameters_are_values(kept, label):
    r = kept.sql.r
    expected = [tuple(row) for row in await r.search(label=label, limit=100)]
    assert as_rows(await r.search.fetch_arrow(label=label, limit=100)) == expected
    out = io.BytesIO()
    assert await r.search.export_csv(out, label=label, limit=100) == len(expected)
    assert len(read_back(out.getvalue())) == len(expected) + 1
    assert len(await r.all()) == len(ROWS)


async def test_conditional_lines_choose_the_text(kept):
    r = kept.sql.r
    for params in (
        {"limit": 3},
        {"limit": 3, "sort": "last"},
        {"limit": 50, "since": DAY},
        {"limit": 50, "since": None, "label": "plain"},
        {"limit": 50, "since": DAY, "label": "NULL", "sort": "last"},
        {"limit": 0},
    ):
        expected = [tuple(row) for row in await r.search(**params)]
        assert as_rows(await r.search.fetch_arrow(**params)) == expected, params
    with pytest.raises(ParameterError, match="sort"):
        await r.search.fetch_arrow(limit=1, sort="'; DROP")
    assert as_rows(await r.one.fetch_arrow(n=2)) == [(2, "")]


async def test_many_rows_in_pieces(kept, many):
    table = await kept.fetch_arrow(many)
    rows = await kept.fetch_value(f"SELECT count(*) FROM ({many}) AS q")
    assert table.num_rows == rows
    assert table["n"].num_chunks > 3
    out = io.BytesIO()
    assert await kept.export_csv(out, many) == rows
    assert out.getvalue().count(b"\n") == rows + 1
