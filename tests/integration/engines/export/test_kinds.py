"""Reports after losses and changes, and of the types that one engine alone has."""

from __future__ import annotations

import io
import json
from decimal import Decimal

import pytest

from aurora_sql import (
    Aurora,
    RowValidationError,
)
from tests.integration.engines.export.rows import DAY, ROWS, as_rows, read_back


async def test_a_lost_connection_is_replaced_before_the_first_byte(kept, outside, on_mysql):
    await kept.sql.r.all.fetch_arrow()
    assert await kept.sql.r.all.export_csv(io.BytesIO()) == len(ROWS)
    which = "connection_id()" if on_mysql else "pg_backend_pid()"
    number = await kept.fetch_value(f"SELECT {which}")
    await outside.execute(
        f"KILL {number}" if on_mysql else f"SELECT pg_terminate_backend({number}, 2000)"
    )
    assert (await kept.sql.r.all.fetch_arrow()).num_rows == len(ROWS)
    assert await kept.sql.r.all.export_csv(io.BytesIO()) == len(ROWS)


async def test_round_trip_through_bulk_insert(kept, outside):
    table = await kept.sql.r.all.fetch_arrow()
    await outside.execute("DELETE FROM kept")
    result = await kept.bulk_insert("kept", table)
    assert result.rows == len(ROWS)
    assert [tuple(row) for row in await kept.sql.r.all()] == ROWS


@pytest.mark.parametrize("change", ["ADD COLUMN more int", "DROP COLUMN amount", "MODIFY"])
async def test_a_changed_table(made, settings, outside, on_mysql, change):
    if change == "MODIFY":
        change = (
            "MODIFY label varbinary(100), MODIFY n bigint"
            if on_mysql
            else "ALTER COLUMN label TYPE bytea USING label::bytea, ALTER COLUMN n TYPE bigint"
        )
    await outside.execute("DELETE FROM kept WHERE n > 4")
    async with Aurora(settings.replace({"max_pool_size": 1}), sql=made) as db:
        sql = "SELECT * FROM kept ORDER BY n"
        for work in (db.fetch_all(sql), db.fetch_arrow(sql), db.export_csv(io.BytesIO(), sql)):
            await work
        await outside.execute(f"ALTER TABLE kept {change}")
        table = await db.fetch_arrow(sql)
        out = io.BytesIO()
        assert await db.export_csv(out, sql) == 4
        async with db.transaction() as tx:
            await tx.fetch_value("SELECT 1")
            assert (await tx.fetch_arrow(sql)).schema == table.schema
        rows = await db.fetch_all(sql)
        assert as_rows(table) == [tuple(row) for row in rows]
        assert table.column_names == list(rows[0].keys())
        assert len(read_back(out.getvalue())[0]) == len(rows[0])


async def test_columns_that_follow_from_the_values(kept, on_mysql):
    if not on_mysql:
        pytest.skip("PostgreSQL settles the types when it prepares")
    for value in (1, "a", b"\0", Decimal("1.5"), 2.5, DAY, None, "", -(2**60), "b", b"x"):
        expected = await kept.fetch_value("SELECT :v AS v", {"v": value})
        (found,) = (await kept.fetch_arrow("SELECT :v AS v", {"v": value}))["v"].to_pylist()
        assert found == expected or str(found) == str(expected), value
        assert await kept.export_csv(io.BytesIO(), "SELECT :v AS v", {"v": value}) == 1
    assert (await kept.fetch_arrow("SHOW VARIABLES LIKE 'version'")).num_rows == 1


ODD = """
CREATE TABLE odd (
    nr int PRIMARY KEY, t1 tinyint, u1 tinyint unsigned, s smallint, us smallint unsigned,
    m mediumint, um mediumint unsigned, ui int unsigned, b bigint, ub bigint unsigned, f float,
    bits bit(9), y year, tod time(6), stamp timestamp(6) NULL, mood enum('sad', 'a,b'),
    tags set('x', 'y'), fixed binary(4), doc json, big decimal(40, 10)
)"""


async def test_the_types_of_mysql(kept, outside, on_mysql):
    if not on_mysql:
        pytest.skip("tests/integration/database/test_export.py has those of PostgreSQL")
    await outside.execute("DROP TABLE IF EXISTS odd")
    await outside.execute(ODD)
    await outside.execute(
        "INSERT INTO odd VALUES (1, -128, 255, -32768, 65535, -8388608, 16777215, 4294967295,"
        " -9223372036854775808, 18446744073709551615, 0.1, b'100000001', 2024, '-838:59:58.5',"
        " '2024-02-29 12:30:00.5', 'a,b', 'x,y', 'ab', '{\"a\": [1, null, \"é\"]}', 1234.5),"
        " (2" + ", NULL" * 19 + "), (3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'0', 1999, '00:00:00',"
        " '2000-01-01', 'sad', '', '', '[]', 0)"
    )
    rows = [tuple(row) for row in await kept.fetch_all("SELECT * FROM odd ORDER BY nr")]
    table = await kept.fetch_arrow("SELECT * FROM odd ORDER BY nr")
    found = as_rows(table)
    doc = table.column_names.index("doc")
    for row, there in zip(rows, found, strict=True):
        assert [*row[:doc], row[-1]] == [*there[:doc], there[-1]]
        assert (None if there[doc] is None else json.loads(there[doc])) == row[doc]
    assert "; ".join(str(kind) for kind in table.schema.types) == (
        "int32; int8; uint8; int16; uint16; int32; uint32; uint32; int64; uint64; float; uint64;"
        " uint16; duration[us]; timestamp[us]; string; string; binary; string; decimal128(38, 10)"
    )
    out = io.BytesIO()
    await kept.export_csv(out, "SELECT * FROM odd ORDER BY nr", header=False)
    assert read_back(out.getvalue())[0] == (
        "1", "-128", "255", "-32768", "65535", "-8388608", "16777215", "4294967295",
        "-9223372036854775808", "18446744073709551615", "0.1", "257", "2024", "-838:59:58.5",
        "2024-02-29 12:30:00.5", "a,b", "x,y", "\\x61620000", '{"a":[1,null,"é"]}', "1234.5000000000",
    )  # fmt: skip
    await outside.execute("DELETE FROM odd")
    await kept.bulk_insert("odd", table.drop_columns(["doc", "bits"]))
    again = await kept.fetch_arrow("SELECT * FROM odd ORDER BY nr")
    assert again.drop_columns(["doc", "bits"]) == table.drop_columns(["doc", "bits"])


async def test_data_frames(kept):
    pandas = (await kept.sql.r.all.fetch_arrow()).to_pandas()
    assert pandas["label"].tolist()[0] == "plain"
    polars = pytest.importorskip("polars").from_arrow(await kept.sql.r.all.fetch_arrow())
    assert polars.rows() == ROWS


async def test_a_value_that_arrow_does_not_have(kept, on_mysql, at_rest):
    if on_mysql:
        pytest.skip("MySQL has no such values")
    for value, cast in (
        ("'infinity'::date", "text"),
        ("'-infinity'::timestamptz", "text"),
        ("'0044-03-15 BC'::date", "text"),
        ("'12345-01-01'::timestamp", "text"),
        ("'24:00'::time", "text"),
        ("'NaN'::numeric", "float8"),
        ("'-Infinity'::numeric", "float8"),
        ("repeat('9', 77)::numeric", "text"),
    ):
        with pytest.raises(RowValidationError, match=rf"column 'odd' .*odd::{cast}") as raised:
            await kept.fetch_arrow(f"SELECT n, {value} AS odd FROM kept")
        assert "infinity'" not in str(raised.value)
        out = io.BytesIO()
        assert await kept.export_csv(out, f"SELECT {value} AS odd") == 1
    await at_rest(kept)
