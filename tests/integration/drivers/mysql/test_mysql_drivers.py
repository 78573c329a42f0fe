"""Both drivers give the same values, and neither more than the other."""

import datetime as dt
import decimal
import sys

import pytest

from aurora_sql import errors
from aurora_sql.rows import Row

ALL_TYPES = """\
DROP TABLE IF EXISTS all_types;
CREATE TABLE all_types (
  id int PRIMARY KEY, t tinyint, tu tinyint unsigned, s smallint, su smallint unsigned,
  m mediumint, mu mediumint unsigned, i int, iu int unsigned, b bigint, bu bigint unsigned,
  f float, d double, n decimal(65,30), y year, bits bit(64), c char(3), v varchar(2000),
  txt text, bin binary(16), vb varbinary(300), bl longblob, e enum('x', 'ü'), st set('a', 'b'),
  j json, da date, dt0 datetime, dt6 datetime(6), ts timestamp(6) NULL, ti time, ti6 time(6),
  da_sure date NOT NULL, dt_sure datetime(3) NOT NULL, ts_sure timestamp(6) NOT NULL
)
"""
LOW = (
    1, -128, 0, -32768, 0, -(2**23), 0, -(2**31), 0, -(2**63), 0, -1.5, -5e-324,
    decimal.Decimal("-99999999999999999999999999999999999.000000000000000000000000000001"),
    1901, 0, "", "", "", bytes(16), b"", b"", "x", "", {}, dt.date(1000, 1, 1),
    dt.datetime(1000, 1, 1), dt.datetime(1000, 1, 1, 0, 0, 0, 1), dt.datetime(1970, 1, 2),
    -dt.timedelta(hours=838, minutes=59, seconds=59), -dt.timedelta(seconds=1, microseconds=1),
    dt.date(1, 1, 1), dt.datetime(1, 1, 1), dt.datetime(1970, 1, 2),
)  # fmt: skip
HIGH = (
    2, 127, 255, 32767, 65535, 2**23 - 1, 2**24 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1,
    1.5, sys.float_info.max, decimal.Decimal("1.5"), 2155, 2**64 - 1, "é€", "🐟" * 500, "ü" * 9000,
    b"\xff" * 16, bytes(range(256)), b"\0" * 70_000, "ü", "a,b", {"a": [1, None, "é"]},
    dt.date(9999, 12, 31), dt.datetime(9999, 12, 31, 23, 59, 59),
    dt.datetime(9999, 12, 31, 23, 59, 59, 999_999), dt.datetime(2037, 12, 31, 1, 2, 3, 4),
    dt.timedelta(hours=838, minutes=59, seconds=59), dt.timedelta(microseconds=999_999),
    dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 1, 2, 3, 4000), dt.datetime(2037, 1, 1),
)  # fmt: skip
NULLS = (3, *[None] * 30, *HIGH[-3:])


@pytest.fixture(autouse=True)
def driver():
    """Each test here uses both."""


@pytest.fixture
async def by_both(opened):
    """Fetch the same over both drivers; the rows of aiomysql, once both agree."""
    for name in ("aiomysql", "asyncmy"):
        pytest.importorskip(name)
    one, two = [await opened(mysql_driver=name) for name in ("aiomysql", "asyncmy")]
    assert one.codec is not two.codec

    async def fetch(sql, *args, limit=0, mode=None):
        found = []
        for connection in (one, two):
            if mode is not None:
                await connection.execute(f"SET SESSION sql_mode = '{mode}'")
            statement = await connection.prepare(sql)
            for _ in range(3):  # the first run learns the columns
                try:
                    found.append(await statement.fetch(args, limit))
                except errors.DataError as exc:
                    found.append(str(exc))
            await statement.close()
        for each in found[1:]:
            assert each == found[0]
            if isinstance(each, list):
                for row, first in zip(each, found[0], strict=True):
                    assert isinstance(row, Row)
                    assert [type(value) for value in row] == [type(value) for value in first]
        return found[0]

    fetch.connection = one
    return fetch


async def test_the_same_values(by_both):
    await by_both.connection.execute(ALL_TYPES)
    rows = (LOW, HIGH, NULLS)
    insert = await by_both.connection.prepare(
        f"INSERT INTO all_types VALUES ({', '.join('?' * len(LOW))})"
    )
    for row in rows:
        assert await insert.execute(row) == 1
    found = await by_both("SELECT * FROM all_types ORDER BY id")
    for row, sent in zip(found, rows, strict=True):
        assert tuple(row) == sent
    assert await by_both("SELECT * FROM all_types ORDER BY id", limit=2) == found[:2]
    assert await by_both("SELECT * FROM all_types WHERE id = ?", 99) == []
    outer = "SELECT b.dt_sure, b.da_sure FROM all_types a LEFT JOIN all_types b ON b.id = a.id + 1"
    assert None in [row[0] for row in await by_both(f"{outer} ORDER BY a.id")]


@pytest.mark.parametrize("column", ["da", "dt6", "da_sure", "dt_sure"])
@pytest.mark.parametrize("bad", ["0000-00-00", "2024-00-00", "2024-02-31"])
async def test_dates_that_python_does_not_have(by_both, column, bad):
    lenient = "ALLOW_INVALID_DATES"
    await by_both.connection.execute(ALL_TYPES)
    await by_both.connection.execute(f"SET SESSION sql_mode = '{lenient}'")
    await by_both.connection.execute(
        "INSERT INTO all_types (id, da_sure, dt_sure, ts_sure)"
        " VALUES (1, '2024-01-01', '2024-01-01', '2024-01-01'),"
        "  (2, '2024-01-01', '2024-01-01', '2024-01-01')"
    )
    await by_both.connection.execute(f"UPDATE all_types SET {column} = '{bad}' WHERE id = 2")
    answer = await by_both(f"SELECT id, {column} FROM all_types ORDER BY id", mode=lenient)
    assert f"{bad} is no date that Python has" in answer
    good = await by_both(f"SELECT id, CAST({column} AS CHAR) AS d FROM all_types WHERE id = 2")
    assert good[0].d.startswith(bad)


async def test_rows_of_many_packets(by_both):
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)"
    rows = await by_both(f"{numbers} SELECT i, REPEAT('ü', i * 20) AS t FROM n")
    assert [len(row.t) for row in rows] == [20 * (number + 1) for number in range(900)]
    big = await by_both("SELECT REPEAT('x', 17000000 - ?) AS t, 7 AS n", 0)
    if big[0].t is not None:  # max_allowed_packet may not let it pass
        assert (len(big[0].t), big[0].n) == (17_000_000, 7)
