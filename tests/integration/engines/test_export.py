"""Reports as Arrow tables and as CSV: what fetch_all says, wherever the read runs."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import io
import json
import os
import stat
import sys
import threading
from decimal import Decimal

import pyarrow as pa
import pytest

from aurora_sql import (
    Aurora,
    ConfigurationError,
    DatabaseError,
    DeadlineExceeded,
    ParameterError,
    RowValidationError,
    StatementBudgetExceeded,
    StatementFileError,
    UsageError,
    count_statements,
    deadline,
)

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
SQL = """
-- name: all :many
SELECT n, label, amount, ratio, day, at, raw FROM kept ORDER BY n;

-- name: labels :many
SELECT label FROM kept ORDER BY n -- the last line; is a comment
;

-- name: search :many
SELECT n, label FROM kept
WHERE n > 0
  AND label = :label           -- when :label
  AND day >= :since            -- when :since
ORDER BY n                     -- when :sort = 'first'
ORDER BY n DESC                -- when :sort = 'last'
LIMIT :limit;

-- name: from_reader :many
-- role: reader
SELECT n FROM kept ORDER BY n;

-- name: one :one
SELECT n, label FROM kept WHERE n = :n;

-- name: put :exec
INSERT INTO kept (n, label) VALUES (:n, :label);

-- name: put_all :batch
INSERT INTO kept (n, label) VALUES (:n, :label);

-- name: tidy :script
UPDATE kept SET label = 'x' WHERE n = 1;
UPDATE kept SET label = 'y' WHERE n = 2;

-- name: lock :many
SELECT n FROM kept FOR UPDATE;

-- name: call :affected
-- access: read
SELECT 1;
"""
TABLE = {
    True: "CREATE TABLE kept (n int PRIMARY KEY, label text, amount numeric(12, 2),"
    " ratio double precision, day date, at timestamp(6), raw bytea)",
    False: "CREATE TABLE kept (n int PRIMARY KEY, label text, amount numeric(12, 2),"
    " ratio double, day date, at datetime(6), raw blob)",
}


@pytest.fixture
async def made(outside, settings, cluster, db, on_mysql, tmp_path):
    """A table of odd values, and its statements."""
    await outside.execute("DROP TABLE IF EXISTS kept")
    await outside.execute(TABLE[not on_mysql])
    await db.bulk_insert("kept", ROWS, columns=NAMES)
    await cluster.wait_replayed()
    folder = tmp_path / "sql"
    folder.mkdir()
    (folder / "r.sql").write_text(SQL)
    return folder


@pytest.fixture
async def kept(made, settings, at_rest):
    async with Aurora(settings, sql=made) as opened:
        yield opened
        await at_rest(opened)


@pytest.fixture
def many(on_mysql):
    """A read of so many rows that no buffer holds them."""
    series = (
        "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 500)"
        " SELECT a.n AS n, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' AS label"
        " FROM s AS a CROSS JOIN s AS b"
    )
    return series if on_mysql else series.replace("500", "1200")


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


# -- the same answers ------------------------------------------------------------------------------


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


# -- where it runs ----------------------------------------------------------------------------------


async def test_a_transaction_sees_its_own_writes_and_goes_on(kept, tmp_path):
    r = kept.sql.r
    async with kept.transaction() as tx:
        await tx.sql.r.put(n=100, label="mine")
        assert (await tx.sql.r.search.fetch_arrow(label="mine", limit=5)).num_rows == 1
        assert await tx.sql.r.search.export_csv(tmp_path / "a.csv", label="mine", limit=5) == 1
        assert await tx.fetch_value("SELECT count(*) FROM kept") == len(ROWS) + 1
        assert (await r.search.fetch_arrow(label="mine", limit=5)).num_rows == 0
        await tx.sql.r.put(n=101, label="mine")
    assert (await r.search.fetch_arrow(label="mine", limit=5)).num_rows == 2


async def test_first_in_a_transaction(kept):
    async with kept.transaction(read_only=True, isolation="repeatable read") as tx:
        assert (await tx.sql.r.all.fetch_arrow()).num_rows == len(ROWS)
        await kept.sql.r.put(n=200, label="later")
        assert (await tx.sql.r.all.fetch_arrow()).num_rows == len(ROWS)


async def test_a_session_sees_its_writes(kept):
    async with kept.session() as s:
        for n in range(300, 310):
            await s.sql.r.put(n=n, label="session")
            found = await s.sql.r.search.fetch_arrow(label="session", limit=50)
            assert found["n"].to_pylist()[-1] == n


async def test_readers(made, settings, cluster, tmp_path):
    readers = {f"{one.host}:{one.port}" for one in cluster.instances[1:]}
    async with Aurora(settings, sql=made) as db:
        before = {name: one.leases for name, one in db.pool_stats().items()}

        def used():
            return {
                name for name, one in db.pool_stats().items() if one.leases > before.get(name, 0)
            }

        assert (await db.reader.sql.r.all.fetch_arrow()).num_rows == len(ROWS)
        assert (
            await db.reader.export_csv(
                tmp_path / "r.csv", "SELECT n FROM kept WHERE n > :n", {"n": 2}
            )
            == 7
        )
        assert (await db.sql.r.from_reader.fetch_arrow()).num_rows == len(ROWS)
        assert used() <= readers
        assert used()
        await db.writer.sql.r.from_reader.fetch_arrow()
        assert used() - readers


async def test_it_counts_as_one_statement(kept, tmp_path):
    with count_statements() as counted:
        await kept.sql.r.all.fetch_arrow()
        await kept.sql.r.all.export_csv(io.BytesIO())
    assert counted.counts == {"r.all": 2}
    target = tmp_path / "never.csv"
    with pytest.raises(StatementBudgetExceeded), count_statements(limit=0):
        await kept.sql.r.all.export_csv(target)
    assert names(tmp_path) == ["sql"]


# -- what is refused --------------------------------------------------------------------------------


async def test_what_it_is_not_for(kept, tmp_path):
    r = kept.sql.r
    target = tmp_path / "x.csv"
    with count_statements(limit=0):
        for bound, match in (
            (r.put, "marked :exec; make it a :many"),
            (r.put_all, "marked :batch"),
            (r.tidy, "marked :script"),
            (r.call, "marked :affected"),
            (r.lock, "only reads"),
        ):
            with pytest.raises(UsageError, match=match) as raised:
                await bound.fetch_arrow()
            assert "r.sql" in str(raised.value)
            with pytest.raises(UsageError, match=match):
                await bound.export_csv(target)
        with pytest.raises(UsageError, match="only reads"):
            await kept.export_csv(target, "DELETE FROM kept")
        with pytest.raises(UsageError, match="only reads"):
            await kept.fetch_arrow("UPDATE kept SET label = 'x'")
        for missing in ({}, {"limit": 1, "no": 2}):
            with pytest.raises(ParameterError):
                await r.search.export_csv(target, **missing)
        with pytest.raises(ParameterError, match="mapping"):
            await kept.fetch_arrow("SELECT 1", [1])
        with pytest.raises(StatementFileError):
            await kept.fetch_arrow("SELECT 1; SELECT 2")
    assert names(tmp_path) == ["sql"]
    assert len(await r.all()) == len(ROWS)


async def test_a_target_that_is_none(kept, tmp_path):
    class Coroutine:
        async def write(self, data):
            pass

    with count_statements(limit=0):
        for target, match in (
            (None, "not NoneType"),
            (7, "not int"),
            (b"x.csv", "not bytes"),
            (io.BytesIO, "not type"),
            (io.StringIO(), "open it with 'wb'"),
            (Coroutine(), "coroutine"),
        ):
            with pytest.raises(UsageError, match=match):
                await kept.sql.r.all.export_csv(target)
    leases = {name: one.leases for name, one in kept.pool_stats().items()}
    with pytest.raises(FileNotFoundError):
        await kept.sql.r.all.export_csv(tmp_path / "no" / "such.csv")
    with pytest.raises(IsADirectoryError):
        await kept.sql.r.all.export_csv(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="ordinary file"):
        await kept.sql.r.all.export_csv(tmp_path / "pipe")
    assert {name: one.leases for name, one in kept.pool_stats().items()} == leases
    assert names(tmp_path) == ["pipe", "sql"]


async def test_without_pyarrow_nothing_is_sent(kept, monkeypatch):
    for name in [
        name
        for name in sys.modules
        if name.split(".")[0] == "pyarrow" or name == "aurora_sql.export._arrow"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    import aurora_sql.export

    monkeypatch.delattr(aurora_sql.export, "_arrow", raising=False)
    with (
        count_statements(limit=0),
        pytest.raises(ConfigurationError, match=r"pip install 'aurora-sql\[arrow\]'"),
    ):
        await kept.sql.r.all.fetch_arrow()
    assert await kept.sql.r.all.export_csv(io.BytesIO()) == len(ROWS)


# -- files ------------------------------------------------------------------------------------------


async def test_a_file_is_replaced_by_a_whole_one(kept, tmp_path, many):
    target = tmp_path / "out.csv"
    target.write_text("old")
    target.chmod(0o640)
    link = tmp_path / "link.csv"
    link.symlink_to(target)
    with pytest.raises(DeadlineExceeded), deadline(0.2):
        await kept.export_csv(link, many)
    assert target.read_text() == "old"
    assert await kept.sql.r.from_reader.export_csv(link) == len(ROWS)
    assert link.is_symlink()
    assert target.read_text().startswith("n\n1\n2\n")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    fresh = tmp_path / "fresh.csv"
    await kept.sql.r.all.export_csv(str(fresh))
    plain = tmp_path / "plain"
    plain.touch()
    assert fresh.stat().st_mode == plain.stat().st_mode
    assert names(tmp_path) == ["fresh.csv", "link.csv", "out.csv", "plain", "sql"]


class Failing:
    """A file that takes so many pieces."""

    def __init__(self, after=0):
        self.left = after

    def write(self, data):
        if not self.left:
            raise ZeroDivisionError
        self.left -= 1
        return len(data)


@pytest.mark.parametrize("after", [0, 1, 5])
async def test_a_target_that_fails(kept, many, at_rest, after):
    with pytest.raises(ZeroDivisionError):
        await kept.export_csv(Failing(after), many)
    await at_rest(kept)
    assert len(await kept.sql.r.all()) == len(ROWS)


async def test_a_target_that_fails_in_a_savepoint(kept, many):
    async with kept.transaction() as tx:
        await tx.sql.r.put(n=500, label="kept")
        with pytest.raises(ZeroDivisionError):
            async with tx.savepoint():
                await tx.sql.r.put(n=501, label="undone")
                await tx.export_csv(Failing(1), many)
        assert (await tx.sql.r.search.fetch_arrow(label="kept", limit=9)).num_rows == 1
    assert [row.n for row in await kept.sql.r.all() if row.n >= 500] == [500]


async def test_a_target_that_takes_little_at_a_time(kept):
    class Slow:
        def __init__(self):
            self.data = b""

        def write(self, data):
            self.data += bytes(data[:3])
            return min(3, len(data))

    slow, quick = Slow(), io.BytesIO()
    await kept.sql.r.all.export_csv(slow)
    await kept.sql.r.all.export_csv(quick)
    assert slow.data == quick.getvalue()


async def test_an_error_of_the_server_leaves_no_file(kept, tmp_path, on_mysql, at_rest):
    target = tmp_path / "out.csv"
    target.write_text("old")
    sql = (
        "SELECT n, CASE WHEN n = 8 THEN (SELECT n FROM kept) ELSE n END AS m FROM kept ORDER BY n"
        if on_mysql
        else "SELECT n, 1 / (8 - n) AS m FROM kept ORDER BY n"
    )
    with pytest.raises(DatabaseError):
        await kept.export_csv(target, sql)
    with pytest.raises(DatabaseError):
        await kept.fetch_arrow(sql)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.csv", "sql"]
    await at_rest(kept)


# -- leaving ----------------------------------------------------------------------------------------


async def test_cancelled_at_any_moment(kept, many, tmp_path, at_rest):
    target = tmp_path / "out.csv"

    async def cancelled(work, turns):
        task = asyncio.ensure_future(work)
        await asyncio.sleep(turns * 0.013)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return True
        return False

    seen = [
        await cancelled(make(), turns)
        for turns in range(12)
        for make in (
            lambda: kept.export_csv(target, many),
            lambda: kept.fetch_arrow(many),
        )
    ]
    assert sum(seen) >= 6
    if all(seen):
        assert names(tmp_path) == ["sql"]
    assert not [name for name in names(tmp_path) if name.endswith(".part")]
    await at_rest(kept)
    assert len(await kept.sql.r.all()) == len(ROWS)


async def test_cancelled_while_the_disk_is_slow(kept, many, at_rest):
    writing, go_on = threading.Event(), threading.Event()

    class Stuck:
        closed = False

        def write(self, data):
            writing.set()
            go_on.wait(20)
            assert not self.closed

    stuck = Stuck()
    task = asyncio.ensure_future(kept.export_csv(stuck, many))
    await asyncio.to_thread(writing.wait, 20)
    task.cancel()
    await at_rest(kept)  # the connection is back although the disk is not
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    stuck.closed = True


async def test_a_deadline(kept, many, tmp_path, at_rest):
    for seconds in (0, 0.001, 0.01, 0.05):
        with pytest.raises(DeadlineExceeded), deadline(seconds):
            await kept.export_csv(tmp_path / "out.csv", many)
        with pytest.raises(DeadlineExceeded), deadline(seconds):
            await kept.fetch_arrow(many)
    assert names(tmp_path) == ["sql"]
    await at_rest(kept)


async def test_others_have_their_turn(kept, many):
    done, turns = False, 0

    async def count():
        nonlocal turns
        while not done:
            await asyncio.sleep(0)
            turns += 1

    watcher = asyncio.ensure_future(count())
    await kept.fetch_arrow(many)
    await kept.export_csv(io.BytesIO(), many)
    done = True
    await watcher
    assert turns > 100


async def test_a_transaction_whose_other_task_goes_on(kept, many, on_mysql):
    """A COPY has the connection for itself; a cursor leaves room between two pieces."""
    writing, go_on = threading.Event(), threading.Event()

    class Stuck:
        def write(self, data):
            writing.set()
            go_on.wait(20)

    async with kept.transaction() as tx:
        await tx.fetch_value("SELECT 1")
        task = asyncio.ensure_future(tx.export_csv(Stuck(), many))
        await asyncio.to_thread(writing.wait, 20)
        if on_mysql:
            assert await tx.fetch_value("SELECT 1") == 1
        else:
            for _ in range(2):
                with pytest.raises(UsageError, match="another task"):
                    await tx.fetch_value("SELECT 1")
                with pytest.raises(UsageError, match="another task"):
                    await tx.fetch_arrow("SELECT 1")
        go_on.set()
        assert await task > 100_000
        assert await tx.fetch_value("SELECT 1") == 1


async def test_a_transaction_that_ends_before_its_export(kept, many, on_mysql, at_rest):
    if on_mysql:
        pytest.skip("a cursor leaves room for COMMIT; the stream then says that it is over")
    writing, go_on = threading.Event(), threading.Event()

    class Stuck:
        def write(self, data):
            writing.set()
            go_on.wait(20)

    with pytest.raises(UsageError, match="another task was still using it"):
        async with kept.transaction() as tx:
            await tx.sql.r.put(n=600, label="lost")
            task = asyncio.ensure_future(tx.export_csv(Stuck(), many))
            await asyncio.to_thread(writing.wait, 20)
    go_on.set()
    with pytest.raises((UsageError, DatabaseError, ConnectionError, Exception)):
        await task
    await at_rest(kept)
    assert [row.n for row in await kept.sql.r.all() if row.n >= 600] == []


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
