"""Texts for many callers on MySQL, and what is refused."""

import datetime as dt

import pytest

from aurora_sql.errors import StatementFileError
from aurora_sql.statements import KeyedRead, Statement, UnitedRead, WideInsert
from aurora_sql.types import ParameterType


def variant(sql):
    return Statement.from_sql(sql, "mysql").variants[0]


def keyed(sql, *types):
    return KeyedRead(variant(sql), [ParameterType(name) for name in types])


def flat(statement):
    return " ".join(statement.variants[0].sql.split())


def test_values_are_rows_of_one_parameter():
    read = keyed("SELECT a FROM t WHERE id = :id AND k = :k", "bigint", "varbinary")
    assert flat(read.statement) == (
        "SELECT aurora_sql_k.ord, aurora_sql_q.* FROM JSON_TABLE(?, '$[*]' COLUMNS"
        " (ord FOR ORDINALITY, p0 BIGINT PATH '$[0]' ERROR ON ERROR,"
        " p1 VARCHAR(512) PATH '$[1]' ERROR ON ERROR)) AS aurora_sql_k JOIN LATERAL"
        " ( SELECT a FROM t WHERE id = aurora_sql_k.p0 AND k = UNHEX(aurora_sql_k.p1) )"
        " AS aurora_sql_q"
    )
    statement, params = read.bind([(1, b"\0\xff"), (None, None)])
    assert statement is read.statement
    assert params == {"aurora_sql_values": '[[1,"00ff"],[null,null]]'}


def test_a_name_used_twice_is_one_column():
    read = keyed("SELECT a FROM t WHERE i > :i AND j < :i", "int", "int")
    assert "p1" not in flat(read.statement)
    assert read.bind([(3, 3), (4, 4)])[1] == {"aurora_sql_values": "[[3],[4]]"}
    assert keyed("SELECT a FROM t WHERE i > :i AND j < :i", "int", "varchar").statement is None


@pytest.mark.parametrize("type_name", ["varchar", "double", "decimal", "any", "null", "time"])
def test_no_keys_of_other_types(type_name):
    read = keyed("SELECT a FROM t WHERE x = :x", type_name)
    assert read.statement is None
    assert read.bind([(1,), (2,)]) is None


@pytest.mark.parametrize(
    ("type_name", "fits", "misfits"),
    [
        ("bigint", [0, -(1 << 63), (1 << 63) - 1], ["1", True, 1.0, 1 << 63, -(1 << 63) - 1]),
        ("bigint unsigned", [0, (1 << 64) - 1], [-1, 1 << 64, b"1"]),
        ("date", [dt.date(1, 1, 1)], [dt.datetime(2024, 1, 1), "2024-01-01"]),
        (
            "datetime",
            [dt.datetime(2024, 1, 1, 1, 2, 3, 4)],
            [dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)],
        ),
        ("varbinary", [b"", b"x" * 256], ["x", b"x" * 257, bytearray(b"x")]),
    ],
)
def test_values_of_the_type_alone(type_name, fits, misfits):
    read = keyed("SELECT a FROM t WHERE x = :x", type_name)
    assert read.bind([(value,) for value in (*fits, None)]) is not None
    for value in misfits:
        assert read.bind([(fits[0],), (value,)]) is None, value


def test_a_member_for_each_caller():
    read = UnitedRead(variant("SELECT a FROM t WHERE x = :x -- why\n AND y > :y"))
    statement, params = read.bind([("a", 1), ("b", 2), ("c", 3)])
    text = flat(statement)
    assert text.count("UNION ALL") == 3
    assert text.startswith(
        "(SELECT 1, aurora_sql_q.* FROM ( SELECT a FROM t WHERE x = ? -- why AND y > ? )"
    )
    _, values = statement.bind(params)
    assert list(values) == ["a", 1, "b", 2, "c", 3, "c", 3]
    assert read.statement(4) is statement


@pytest.mark.parametrize(
    ("order", "tail"),
    [
        ("ORDER BY a", True),
        ("ORDER BY a LIMIT 3", False),
        ("ORDER BY `limit`", True),
        ("LIMIT 3", False),
        ("UNION (SELECT 1 LIMIT 1) ORDER BY a", True),
        ("AND b IN (SELECT c FROM u ORDER BY c)", False),
        ("-- ORDER BY a", False),
    ],
)
def test_an_order_stays(order, tail):
    text = variant(f"SELECT a FROM t WHERE x = :x {order}")
    many = "LIMIT 18446744073709551615"
    assert (many in flat(UnitedRead(text).statement(2))) is tail
    assert (many in flat(KeyedRead(text, [ParameterType("int")]).statement)) is tail


def test_names_of_the_statement_are_left_alone():
    text = "SELECT aurora_sql_q.a FROM t AS aurora_sql_q WHERE x = :aurora_sql_k"
    assert "AS aurora_sql_q_" in flat(keyed(text, "int").statement)
    assert "AS aurora_sql_q_" in flat(UnitedRead(variant(text)).statement(2))


def test_no_more_placeholders_than_one_statement_has():
    condition = " OR ".join(["x = :x"] * 2000)
    assert UnitedRead(variant(f"SELECT a FROM t WHERE {condition}")).most == 32


def test_an_insert_of_many_rows():
    insert = WideInsert(variant("INSERT IGNORE INTO t (a, b) VALUES (:a, lower(:b))"))
    statement, params = insert.bind([(1, "x"), (2, "y")])
    assert flat(statement) == "INSERT IGNORE INTO t (a, b) VALUES (?, lower(?) ), (?, lower(?) )"
    assert list(statement.bind(params)[1]) == [1, "x", 2, "y"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t WHERE id = :id",
        "SELECT count(*), (SELECT max(b) FROM u WHERE u.c = :id) FROM t",
        "SELECT a FROM t WHERE extract(year FROM d) = :y GROUP BY a HAVING count(*) > :n LIMIT :m",
        "WITH x AS (SELECT a FROM t WHERE b = :b) SELECT @@max_join_size, a FROM x",
    ],
)
def test_reads_that_may(load, sql):
    load({"a.sql": f"-- name: s :many\n-- coalesce: on\n{sql}"}, dialect="mysql")


@pytest.mark.parametrize(
    ("header", "sql", "message"),
    [
        (":many", "SELECT a FROM t\nWHERE id IN (:ids)", ":ids takes a list"),
        (":many", "SELECT a FROM t WHERE a = @x AND b = :b", "@x is a variable of the session"),
        (":many", "SELECT :x AS x, a FROM t WHERE b = :b", ":x in a select list"),
        (":many", "SELECT max(:x) FROM t", ":x in a select list"),
        (":many", "SELECT trim(:x FROM a) FROM t", ":x in a select list"),
        (":many", "SELECT trim('x' FROM :a) FROM t", ":a in a select list"),
        (":many", "SELECT a FROM t WHERE b = :b UNION SELECT :c", ":c in a select list"),
        (":many", "SELECT a FROM (SELECT :x AS a FROM t) AS q", ":x in a select list"),
        (":many", "SELECT SQL_CALC_FOUND_ROWS a FROM t WHERE b = :b", "SQL_CALC_FOUND_ROWS"),
        (":many", "SELECT a FROM t WHERE b = :b FOR UPDATE", "locks rows"),
        (":many", "SELECT rand() FROM t WHERE b = :b", "another answer at each call"),
        (":affected", "INSERT INTO t VALUES (:a)", "only an INSERT … VALUES"),
        (":exec", "INSERT INTO t VALUES (:a), (:b)", "only an INSERT … VALUES"),
        (":exec", "INSERT INTO t SET a = :a", "only an INSERT … VALUES"),
        (":exec", "INSERT INTO t VALUES ROW(:a)", "only an INSERT … VALUES"),
        (":exec", "INSERT INTO t VALUES (:a) ON DUPLICATE KEY UPDATE a = 1", "only an INSERT"),
        (":exec", "INSERT INTO t SELECT a FROM u WHERE b = :b", "only an INSERT … VALUES"),
        (":exec", "INSERT INTO t VALUES ((SELECT max(a) FROM t) + :b)", "only an INSERT"),
        (":exec", "INSERT INTO t VALUES (last_insert_id(), :b)", "only an INSERT … VALUES"),
        (":exec", "REPLACE INTO t VALUES (:a)", "only an INSERT … VALUES"),
        (":exec", "UPDATE t SET a = :a", "only an INSERT … VALUES"),
        (":exec", "DELETE FROM t WHERE a = :a", "only an INSERT … VALUES"),
        (":exec", "INSERT INTO t VALUES (/*! :a */ 1)", "executable comment"),
    ],
)  # fmt: skip
def test_what_is_refused(load, header, sql, message):
    with pytest.raises(StatementFileError) as caught:
        load({"a.sql": f"-- name: s {header}\n-- coalesce: on\n{sql}"}, dialect="mysql")
    assert message in str(caught.value)
    assert caught.value.line >= 1
