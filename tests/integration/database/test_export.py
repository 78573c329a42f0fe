"""COPY as a report, on PostgreSQL: parameters of every type, and what each type becomes in Arrow."""

import asyncio
import datetime as dt
import decimal
import io
import math

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurora_sql import DataError, ParameterError, RetryScheduled, UsageError

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SCHEMA = """
CREATE SCHEMA "Odd ""names";
CREATE TYPE "Odd ""names"."Mood of" AS ENUM ('sad', 'it''s "fine"', 'a,b');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE wide (
    nr int, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision, ok boolean, t text,
    v varchar(40), c char(4), d date, ts timestamp, tz timestamptz, tod time, n numeric,
    m numeric(12, 2), id uuid, raw bytea
);
CREATE TABLE wide_too (LIKE wide);
"""
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
ODD = st.sampled_from(
    ["", "'", '"', "\\", "\\N", "{}", "NULL", "a\nb\r", "'; DROP TABLE wide; --", "%s"]
)
DATES = st.dates(dt.date(1, 1, 2), dt.date(9999, 12, 30))
MOMENTS = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
AWARE = st.datetimes(dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29), timezones=st.just(dt.UTC))
DECIMALS = st.decimals(
    allow_nan=False, allow_infinity=False, places=7, min_value=-(10**25), max_value=10**25
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
# What the server takes, and values for it.
PARAMETERS = {
    "boolean": st.booleans(),
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(width=32),
    "double precision": st.floats(),
    "numeric": DECIMALS
    | st.sampled_from(list(map(decimal.Decimal, ("NaN", "Infinity", "-Infinity", "1e-30")))),
    "text": TEXT | ODD,
    "varchar": TEXT | ODD | st.text("a ", max_size=4),
    "bpchar": TEXT | ODD | st.text("a ", max_size=4),
    "name": st.text("abc'\"\\ ", max_size=20),
    "bytea": st.binary(max_size=30),
    "uuid": st.uuids(),
    "date": st.dates(),
    "time": st.times(),
    "timetz": st.times(timezones=st.just(dt.timezone(dt.timedelta(hours=5, minutes=30)))),
    "timestamp": st.datetimes(),
    "timestamptz": AWARE,
    "interval": st.timedeltas(dt.timedelta(days=-40000), dt.timedelta(days=40000)),
    "json": JSON,
    "jsonb": JSON,
    "inet": st.ip_addresses(),
    "int4range": st.tuples(st.integers(-9, 0), st.integers(1, 9)),
    "bigint[]": st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=5),
    "text[]": st.lists(st.none() | TEXT | ODD, max_size=5),
    "bytea[]": st.lists(st.binary(max_size=5), max_size=3),
    "jsonb[]": st.lists(TEXT | ODD | st.dictionaries(TEXT, JSON, max_size=3), max_size=3),
    "timestamptz[]": st.lists(AWARE, max_size=3),
    '"Odd ""names"."Mood of"': st.sampled_from(["sad", 'it\'s "fine"', "a,b"]),
    '"Odd ""names"."Mood of"[]': st.lists(st.sampled_from(["sad", "a,b"]), max_size=3),
    "positive": st.integers(1, 9),
    "pair": st.tuples(st.integers(-9, 9), TEXT | ODD),
    "pair[]": st.lists(st.tuples(st.integers(-9, 9), TEXT), max_size=2),
}
VALUES = {
    "i2": PARAMETERS["smallint"],
    "i4": PARAMETERS["integer"],
    "i8": PARAMETERS["bigint"],
    "f4": PARAMETERS["real"],
    "f8": PARAMETERS["double precision"],
    "ok": st.booleans(),
    "t": TEXT | ODD,
    "v": TEXT | ODD,
    "c": st.text("ab ", max_size=4),
    "d": DATES,
    "ts": MOMENTS,
    "tz": AWARE,
    "tod": st.times(),
    "n": DECIMALS | st.integers(-(10**20), 10**20).map(decimal.Decimal),
    "m": st.decimals(-(10**9), 10**9, places=2),
    "id": st.uuids(),
    "raw": st.binary(max_size=40),
}
ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | value for name, value in VALUES.items()}), max_size=8
)


@pytest.fixture
async def wide(outside):
    await outside.execute(SCHEMA)
    return outside


def same(left, right):
    return left == right or (
        isinstance(left, float)
        and isinstance(right, float)
        and math.isnan(left)
        and math.isnan(right)
    )


@pytest.mark.parametrize("kind", PARAMETERS)
async def test_a_parameter_of_any_type_is_the_same_value(db, wide, kind):
    sql = (
        f"SELECT format('%s', :v::{kind}) AS t, :v::{kind} IS NULL AS missing,"
        f" (SELECT count(*) FROM wide WHERE (:v::{kind}) IS NOT NULL) AS n"
    )

    @QUICK
    @given(value=st.none() | PARAMETERS[kind])
    async def compare(value):
        params = {"v": value}
        (expected,) = await db.fetch_all(sql, params)
        (found,) = (await db.fetch_arrow(sql, params)).to_pylist()
        assert tuple(found.values()) == tuple(expected)

    await run(compare)


async def run(test):
    """Run a property in the loop that the database belongs to."""
    loop = asyncio.get_running_loop()
    inner = test.hypothesis.inner_test

    def outside_the_loop(**values):
        asyncio.run_coroutine_threadsafe(inner(**values), loop).result(60)

    test.hypothesis.inner_test = outside_the_loop
    await asyncio.to_thread(test)


@QUICK
@given(rows=ROWS)
async def test_rows_are_those_of_fetch_all_and_go_back_as_they_came(db, wide, rows):
    await wide.execute("TRUNCATE wide, wide_too")
    columns = ("nr", *VALUES)
    tuples = [(number, *(row[name] for name in VALUES)) for number, row in enumerate(rows)]
    await db.bulk_insert("wide", tuples, columns=columns)
    expected = await db.fetch_all("SELECT * FROM wide ORDER BY nr")
    table = await db.fetch_arrow("SELECT * FROM wide ORDER BY nr")
    assert table.num_rows == len(expected)
    for row, found in zip(expected, table.to_pylist(), strict=True):
        for name, value in row.items():
            assert same(found[name], value), name
    await db.bulk_insert("wide_too", table)
    sql = "SELECT w::text FROM {} w ORDER BY nr"
    left, right = [await wide.fetch(sql.format(name)) for name in ("wide", "wide_too")]
    # A number has as many digits after the point there as the one with most of them.
    if all(row["n"] is None for row in rows):
        assert left == right
    same_numbers = "SELECT count(*) FROM wide JOIN wide_too USING (nr, n)"
    assert await wide.fetchval(same_numbers) == sum(row["n"] is not None for row in rows)


async def test_the_types_of_a_table(db, wide):
    table = await db.fetch_arrow("SELECT * FROM wide")
    assert table.schema == pa.schema(
        {
            "nr": pa.int32(),
            "i2": pa.int16(),
            "i4": pa.int32(),
            "i8": pa.int64(),
            "f4": pa.float32(),
            "f8": pa.float64(),
            "ok": pa.bool_(),
            "t": pa.string(),
            "v": pa.string(),
            "c": pa.string(),
            "d": pa.date32(),
            "ts": pa.timestamp("us"),
            "tz": pa.timestamp("us", "UTC"),
            "tod": pa.time64("us"),
            "n": pa.decimal128(38, 0),
            "m": pa.decimal128(38, 0),
            "id": pa.uuid(),
            "raw": pa.binary(),
        }
    )


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("'1 day 02:00'::interval", "1 day 02:00:00"),
        ("ARRAY[1, NULL, 3]", "{1,NULL,3}"),
        ("'{\"a\": 1}'::jsonb", '{"a": 1}'),
        ("'{\"a\":1}'::json", '{"a":1}'),
        ("'10.0.0.1/8'::inet", "10.0.0.1/8"),
        ("int4range(1, 5)", "[1,5)"),
        ("ROW(1, 'a b')::pair", '(1,"a b")'),
        ("'12:00+02'::timetz", "12:00:00+02"),
        ('\'sad\'::"Odd ""names"."Mood of"', "sad"),
        ("B'101'", "101"),
        ("'x'::\"char\"", "x"),
        ("NULL", None),
    ],
)
async def test_anything_else_is_the_server_s_text(db, wide, sql, text):
    table = await db.fetch_arrow(f"SELECT {sql} AS a")
    assert table.schema.field("a").type == pa.string()
    assert table["a"].to_pylist() == [text]


async def test_decimals_have_the_digits_that_the_data_need(db, wide):
    async def kind(*values):
        table = await db.fetch_arrow(
            "SELECT n FROM unnest(:n::numeric[]) WITH ORDINALITY AS u (n, i) ORDER BY i",
            {"n": [None if v is None else decimal.Decimal(v) for v in values]},
        )
        expected = [None if v is None else decimal.Decimal(v) for v in values]
        assert table["n"].to_pylist() == expected
        return table.schema.field("n").type

    assert await kind() == pa.decimal128(38, 0)
    assert await kind(None, None) == pa.decimal128(38, 0)
    assert await kind("1", "-2.5", None, "0.125") == pa.decimal128(38, 3)
    assert await kind("9" * 38) == pa.decimal128(38, 0)
    assert await kind("-" + "9" * 38) == pa.decimal128(38, 0)
    assert await kind("9" * 39) == pa.decimal256(76, 0)
    assert await kind("9" * 30, "0.123456789") == pa.decimal256(76, 9)
    assert await kind("9" * 70 + ".123456") == pa.decimal256(76, 6)


async def test_time_zones_of_the_session(db, wide):
    async with db.transaction() as tx:
        await tx.execute("SET LOCAL timezone = 'Asia/Kolkata'")
        table = await tx.fetch_arrow(
            "SELECT '2024-01-01 00:00+00'::timestamptz AS a, '1800-01-01'::date AS b"
        )
        assert table["a"].to_pylist() == [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]


async def test_the_session_s_own_forms_stay_and_do_not_count(db, wide):
    async with db.transaction() as tx:
        for name, value in (
            ("datestyle", "SQL, DMY"),
            ("bytea_output", "escape"),
            ("extra_float_digits", "-3"),
            ("statement_timeout", "54321ms"),
        ):
            await tx.execute(f"SET LOCAL {name} = '{value}'")
        sql = "SELECT :d::date AS d, :raw::bytea AS raw, :f::float8 AS f, 0.1::float8 + 0.2::float8 AS g"
        params = {"d": dt.date(2024, 2, 3), "raw": b"\0\\a", "f": 0.1 + 0.2}
        expected = await tx.fetch_one(sql, params)
        (found,) = (await tx.fetch_arrow(sql, params)).to_pylist()
        assert tuple(found.values()) == tuple(expected)
        out = io.BytesIO()
        await tx.export_csv(out, sql, params, header=False)
        assert out.getvalue().startswith(b"2024-02-03,\\x005c61,0.30000000000000004,")
        shown = [
            await tx.fetch_value(f"SELECT current_setting('{name}')")
            for name in ("datestyle", "bytea_output", "extra_float_digits", "statement_timeout")
        ]
        assert shown == ["SQL, DMY", "escape", "-3", "54321ms"]


async def test_lists(db, wide):
    await wide.execute("INSERT INTO wide (nr, i8) SELECT n, n % 7 FROM generate_series(1, 100) n")
    for condition in (
        "i8 = ANY(:ids)",
        "i8 = any ( :ids ) AND nr > 3",
        "i8 = SOME(:ids::bigint[])",
        "i8 <> ALL(:ids)",
        "NOT (i8 = ANY(:ids))",
        "(i8 = ANY(:ids)) IS NOT TRUE",
        "i8 IN (SELECT unnest(:ids::bigint[]))",
        "i8 = (:ids::bigint[])[1]",
        "i8 < ANY(:ids)",
        "i8 = ANY(:ids) OR nr = cardinality(:ids)",
    ):
        sql = f"SELECT nr FROM wide WHERE {condition} ORDER BY nr"
        for ids in ([], [1], [1, 2, 99], [1, None], None, list(range(5000))):
            expected = [row.nr for row in await db.fetch_all(sql, {"ids": ids})]
            found = (await db.fetch_arrow(sql, {"ids": ids}))["nr"].to_pylist()
            assert found == expected, (condition, ids)


async def test_parameters_where_grammar_is_narrow(db, wide):
    await wide.execute(
        "INSERT INTO wide (nr, t, f8) SELECT n, 'row ' || n, n FROM generate_series(1, 20) n"
    )
    for sql, params in (
        ("SELECT nr FROM wide ORDER BY nr LIMIT :a OFFSET :b", {"a": 3, "b": 2}),
        ("SELECT nr FROM wide ORDER BY nr FETCH FIRST :a ROWS ONLY", {"a": 3}),
        ("SELECT nr + :a AS x FROM wide ORDER BY nr + :a DESC", {"a": -3}),
        ("SELECT nr / :a AS x, count(*) FROM wide GROUP BY nr / :a ORDER BY 1", {"a": 7}),
        ("SELECT percentile_cont(:a) WITHIN GROUP (ORDER BY f8) AS p FROM wide", {"a": 0.5}),
        ("SELECT string_agg(t, :a ORDER BY nr) AS s FROM wide", {"a": "', '"}),
        ("SELECT t LIKE :a AS x FROM wide ORDER BY nr", {"a": "row 1%"}),
        ("SELECT nr FROM wide WHERE :a::text IS NULL OR t = :a ORDER BY nr", {"a": None}),
        (
            "SELECT x.a, x.b FROM jsonb_to_recordset(:a) AS x (a int, b text)",
            {"a": [{"a": 1, "b": "'"}]},
        ),
        ("VALUES (:a::int, :b::text), (2, 'b')", {"a": 1, "b": "\\"}),
        ("WITH w AS (SELECT :a::int AS n) SELECT * FROM w", {"a": -1}),
        ("SELECT :a::int - -:a::int AS x, -:a::int AS y", {"a": -1}),
        ("TABLE wide", {}),
        ("SELECT 1 AS x /* the end */ ; -- of it", {}),
    ):
        expected = [tuple(row) for row in await db.fetch_all(sql, params)]
        found = [tuple(row.values()) for row in (await db.fetch_arrow(sql, params)).to_pylist()]
        assert found == expected, sql


async def test_declared_types_cut_a_value_as_ever(opened, wide, tmp_path):
    (tmp_path / "r.sql").write_text(
        "-- name: cut :many\n-- param: v varchar(3)\n-- param: ids bigint[]\n"
        "SELECT :v AS v, :v || '!' AS w, cardinality(:ids) AS n WHERE 1 = ANY(:ids);\n"
    )
    async with opened(sql=tmp_path) as db:
        for v in ("abcdef", "", "'", None):
            params = {"v": v, "ids": [1, 2]}
            expected = [tuple(row) for row in await db.sql.r.cut(**params)]
            assert [
                tuple(r.values()) for r in (await db.sql.r.cut.fetch_arrow(**params)).to_pylist()
            ] == expected


async def test_a_large_value(db, wide):
    text = "x'\\" * 3_000_000
    table = await db.fetch_arrow("SELECT length(:t) AS n, :t AS t", {"t": text})
    assert table["n"].to_pylist() == [len(text)]
    assert table["t"].to_pylist() == [text]


async def test_a_value_that_does_not_fit_is_named(db, wide):
    for work in (
        lambda: db.fetch_arrow(
            "SELECT :a::int AS x, :day::date AS y", {"a": 1, "day": "2024-01-01"}
        ),
        lambda: db.export_csv(io.BytesIO(), "SELECT :a::int, :day::date", {"a": 1, "day": 5}),
    ):
        with pytest.raises(ParameterError, match="'day'") as raised:
            await work()
        assert "2024" not in str(raised.value)
    assert (await db.fetch_arrow("SELECT 1 AS x")).num_rows == 1


async def test_functions_nobody_knows_only_read(db, wide, outside):
    await outside.execute(
        "CREATE FUNCTION quiet() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION loud() RETURNS int LANGUAGE sql AS 'INSERT INTO wide (nr) VALUES (1) RETURNING nr'"
    )
    assert (await db.fetch_arrow("SELECT quiet() AS x"))["x"].to_pylist() == [1]
    with pytest.raises(Exception, match="read-only"):
        await db.fetch_arrow("SELECT loud() AS x")
    assert await outside.fetchval("SELECT count(*) FROM wide") == 0
    for sql in ("EXPLAIN SELECT 1", "SHOW datestyle"):
        with pytest.raises(UsageError, match="COPY, which takes a SELECT"):
            await db.fetch_arrow(sql)


async def test_an_error_half_way(db, wide):
    with pytest.raises(DataError) as raised:
        await db.fetch_arrow(
            "SELECT 1 / (500 - n) AS x FROM generate_series(1, :most) AS n", {"most": 1000}
        )
    assert "in statement <ad hoc>" in raised.value.__notes__
    async with db.transaction() as tx:
        with pytest.raises(DataError):
            async with tx.savepoint():
                await tx.fetch_arrow("SELECT 1 / 0 AS x")
        assert (await tx.fetch_arrow("SELECT 1 AS x")).num_rows == 1


async def test_the_limit_of_the_server_does_not_end_a_long_export(opened, outside):
    await outside.execute(
        "CREATE FUNCTION nap() RETURNS text STABLE LANGUAGE sql AS 'SELECT pg_sleep(0.1)::text'"
    )
    async with opened(command_timeout=0.6, max_pool_size=1) as db:
        sql = "SELECT n, nap() AS nap, repeat('x', 20000) AS t FROM generate_series(1, 12) AS n"
        assert await db.export_csv(io.BytesIO(), sql) == 12
        assert await db.fetch_value("SHOW statement_timeout") != "0"


@pytest.mark.parametrize("form", ["fetch_arrow", "export_csv"])
async def test_until_the_first_byte_it_runs_again(opened, outside, form):
    await outside.execute(
        "CREATE FUNCTION fussy(n bigint) RETURNS bigint STABLE LANGUAGE plpgsql AS $$ BEGIN"
        " IF (SELECT count(*) FROM accounts) > 9 THEN"
        " RAISE 'a conflict' USING ERRCODE = 'serialization_failure'; END IF; RETURN n; END $$"
    )
    again = asyncio.Event()

    def note(event):
        if isinstance(event, RetryScheduled):
            again.set()

    async with opened(observers=[note], max_retry_count=20) as db:
        sql = "SELECT fussy(id) AS id FROM accounts WHERE id > :id"
        out = io.BytesIO()
        arrow = form == "fetch_arrow"
        work = db.fetch_arrow(sql, {"id": 0}) if arrow else db.export_csv(out, sql, {"id": 0})
        task = asyncio.ensure_future(work)
        await asyncio.wait_for(again.wait(), 20)
        await outside.execute("DELETE FROM accounts WHERE id = 10")
        found = await task
        assert (found.num_rows if arrow else found) == 9
        assert out.getvalue().count(b"id") == (not arrow)


async def test_values_stay_out_of_the_text_of_the_copy(opened, outside):
    """Neither the server's log nor its view of activity shows them, as for any statement."""
    async with opened(max_pool_size=1) as db:
        sql = (
            "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid() AND 'secret-4711' = :v"
        )
        (query,) = (await db.fetch_arrow(sql, {"v": "secret-4711"}))["query"].to_pylist()
        assert query.startswith("COPY (")
        assert ":v" not in query
        assert query.count("secret-4711") == 1


async def test_no_columns(db, wide):
    table = await db.fetch_arrow("SELECT FROM wide")
    assert table.num_columns == 0
    out = io.BytesIO()
    await wide.execute("INSERT INTO wide (nr) VALUES (1), (2)")
    assert await db.export_csv(out, "SELECT FROM wide") == 2


async def test_a_whole_report_stays_prepared(opened, outside):
    """Nothing is left at the server but the statement itself."""
    async with opened(max_pool_size=1) as db:
        for n in range(5):
            await db.fetch_arrow("SELECT :n::int AS n", {"n": n})
            await db.export_csv(io.BytesIO(), "SELECT :n::int AS n", {"n": n})
        async with db.transaction() as tx:
            await tx.fetch_arrow("SELECT :n::int AS n", {"n": 1})
        kept = await db.fetch_all("SELECT statement FROM pg_prepared_statements")
        assert [row.statement for row in kept if "set_config" in row.statement] == []
