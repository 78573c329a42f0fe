"""Whether a statement writes, what it calls and what it names."""

import pytest

from aurora_sql.errors import StatementFileError
from aurora_sql.statements import Statement


def facts(sql):
    s = Statement.from_sql(sql)
    return s.command, s.access.value, s.functions


@pytest.mark.parametrize(
    ("sql", "command"),
    [
        ("SELECT 1", "SELECT"),
        ("select count(*), lower(a) FROM t WHERE b = :b", "SELECT"),
        ("VALUES (1), (2)", "SELECT"),
        ("TABLE users", "SELECT"),
        ("(SELECT 1) UNION ALL (SELECT 2)", "SELECT"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "SELECT"),
        (
            "WITH RECURSIVE x(a, b) AS (SELECT 1, 2 UNION ALL SELECT a, b FROM x), y (c) AS MATERIALIZED (SELECT 3) SELECT * FROM x, y",
            "SELECT",
        ),
        ("WITH values AS (SELECT 1), update AS (SELECT 2) SELECT * FROM values", "SELECT"),
        (
            "SELECT a FROM x AS t(a, b), unnest(:a) u(c), generate_series(1, 2) WITH ORDINALITY g(i, n)",
            "SELECT",
        ),
        ("SELECT x::numeric(10, 2), CAST(y AS varchar(3)), z::public.vector(3)", "SELECT"),
        (
            "SELECT sum(a) OVER (PARTITION BY (b) ORDER BY (c)), count(*) FILTER (WHERE d) FROM t",
            "SELECT",
        ),
        (
            "SELECT a FROM t JOIN u USING (id) WHERE a IN (1) AND EXISTS (SELECT 1) AND b = ANY(:b)",
            "SELECT",
        ),
        (
            "SELECT pg_catalog.now(), current_timestamp, coalesce(a, b), extract(year FROM c)",
            "SELECT",
        ),
        ('SELECT substring(a FROM 1 FOR 2), t.update, "delete" FROM t', "SELECT"),
        ("SELECT a FROM t GROUP BY ROLLUP (a), CUBE (b), GROUPING SETS ((a), ())", "SELECT"),
        ("SELECT now() AT TIME ZONE (:tz)", "SELECT"),
        ("SELECT pg_is_in_recovery()", "SELECT"),
        ("SHOW server_version", "OTHER"),
        ("EXPLAIN SELECT 1", "OTHER"),
    ],
)
def test_reads(sql, command):
    assert facts(sql) == (command, "read", frozenset())


@pytest.mark.parametrize(
    ("sql", "command"),
    [
        ("INSERT INTO t (a, b) VALUES (:a, now())", "INSERT"),
        (
            "INSERT INTO s.t AS x (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET (a, b) = (1, 2)",
            "INSERT",
        ),
        ("UPDATE t SET a = 1 RETURNING a", "UPDATE"),
        ("DELETE FROM t", "DELETE"),
        ("MERGE INTO t USING u ON t.a = u.a WHEN NOT MATCHED THEN INSERT (a) VALUES (1)", "MERGE"),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "INSERT"),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "SELECT"),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x", "SELECT"),
        ("WITH x AS (UPDATE t SET a = 1 RETURNING *) SELECT * FROM x", "SELECT"),
        (
            "WITH y AS (WITH x AS (SELECT 1) UPDATE ONLY t SET a = 1 RETURNING *) SELECT * FROM y",
            "SELECT",
        ),
        ("SELECT * FROM t FOR UPDATE", "SELECT"),
        ("SELECT * FROM t for no key update skip locked", "SELECT"),
        ("SELECT * FROM t FOR SHARE OF t", "SELECT"),
        ("SELECT * FROM (SELECT * FROM t FOR KEY SHARE) x", "SELECT"),
        ("SELECT a INTO b FROM t", "OTHER"),
        ("SELECT random()", "SELECT"),
        ("INSERT INTO t VALUES (gen_random_uuid())", "INSERT"),
        ("CREATE TABLE t (a int)", "OTHER"),
        ("TRUNCATE t", "OTHER"),
        ("SET search_path = x", "OTHER"),
        ("LISTEN x", "OTHER"),
        ("EXPLAIN ANALYZE DELETE FROM t", "OTHER"),
        ("EXPLAIN (ANALYZE) SELECT 1", "OTHER"),
        ("DO $$ BEGIN COMMIT; END $$", "OTHER"),
    ],
)
def test_writes(sql, command):
    statement = Statement.from_sql(sql)
    assert (statement.command, statement.access.value) == (command, "write")
    assert statement.proven_write
    if command != "OTHER":
        assert statement.functions == frozenset()


@pytest.mark.parametrize(
    "call",
    [
        "nextval('s')",
        "setval('s', 1)",
        "set_config('a', 'b', false)",
        "pg_advisory_lock(1)",
        "pg_try_advisory_xact_lock(1)",
        "lo_create(0)",
        "lo_unlink(1)",
        "dblink('x')",
        "dblink_exec('x')",
        "pg_notify('a', 'b')",
        "pg_catalog.setseed(1)",
        "ext.dblink('x')",
    ],
)
def test_known_volatile_functions_write_and_may_change_the_session(call):
    statement = Statement.from_sql(f"SELECT {call}")
    assert statement.access == "write"
    assert statement.proven_write
    assert statement.functions == {call.partition("(")[0]}


@pytest.mark.parametrize(
    ("sql", "functions"),
    [
        ("SELECT my_func(:a)", {"my_func"}),
        ("SELECT App.My_Func (1), lower(x)", {"app.my_func"}),
        ('SELECT "Odd"(1), "a"."b"(2)', {"Odd", "a.b"}),
        ("SELECT DISTINCT ON (a) f(b) FROM t", {"f"}),
        ("SELECT a OPERATOR(pg_catalog.+) f(b)", {"f"}),
        ("SELECT * FROM t, LATERAL f(t.a) g(b)", {"f"}),
        ("SELECT 1 WHERE NOT f(1) AND g(2) OR -h(3) > 0", {"f", "g", "h"}),
        ("SELECT CASE WHEN f(1) THEN g(2) ELSE h(3) END", {"f", "g", "h"}),
        ("INSERT INTO t (a) VALUES (f(1)) RETURNING g(2)", {"f", "g"}),
        ("SELECT f(g(1))", {"f", "g"}),
        ("WITH x (a) AS (SELECT f(1)) SELECT * FROM x", {"f"}),
        ("SELECT a FROM t ORDER BY f(a)", {"f"}),
        ("SELECT public.left(a)", {"public.left"}),
        ("SELECT f\n/* c */ (1)", {"f"}),
        ("SELECT FÜNF(1)", {"fÜnf"}),
    ],
)
def test_unknown_functions_are_found(sql, functions):
    statement = Statement.from_sql(sql)
    assert statement.functions == functions
    assert statement.access == "write"
    assert statement.proven_write is sql.startswith("INSERT")


def test_identifiers_are_every_name_a_table_could_have():
    statement = Statement.from_sql(
        'SELECT u.Name AS x FROM Shop.Users u, "Odd ""T", session, data WHERE u.id = :p'
    )
    assert statement.identifiers == {
        "u",
        "name",
        "x",
        "shop",
        "users",
        'Odd "T',
        "session",
        "data",
        "id",
    }


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN",
        "begin work",
        "START TRANSACTION",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "ROLLBACK TO SAVEPOINT a",
        "SAVEPOINT a",
        "RELEASE a",
        "PREPARE p AS SELECT 1",
        "PREPARE TRANSACTION 'x'",
        "EXECUTE p(1)",
        "DEALLOCATE ALL",
        "DISCARD ALL",
        "EXPLAIN EXECUTE p",
        "EXPLAIN ANALYZE EXECUTE p",
        "COPY t FROM STDIN",
        "COPY t TO STDOUT",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "/* x */ Commit",
        "-- x\nrollback;",
    ],
)
def test_what_breaks_the_sessions_books_is_refused(sql, refused):
    with pytest.raises(StatementFileError, match="line "):
        Statement.from_sql(sql)
    error = refused(f"SELECT 1;\n\n{sql}", "-- name: s :script")
    assert error.line is not None
    assert error.line >= 4


def test_words_of_forbidden_commands_may_be_names():
    assert Statement.from_sql('SELECT begin, "commit" FROM release AS "end"').access == "read"


def test_a_routine_with_a_body_is_one_statement(one):
    sql = """CREATE FUNCTION f(a int) RETURNS int BEGIN ATOMIC
  SELECT CASE WHEN a > 1 THEN 2 END;
  SELECT 1;
END;"""
    assert one(sql, "-- name: s :exec").variants[0].sql == sql.removesuffix(";")
    rule = "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM u; DELETE FROM v)"
    assert one(rule, "-- name: s :exec").command == "OTHER"


def test_several_statements_need_a_script(refused, one):
    error = refused("SELECT 1;\nSELECT 2;")
    assert error.line == 3
    assert "second statement" in str(error)
    script = one("SELECT 1;\nDELETE FROM t;\n-- bye", "-- name: s :script")
    assert script.variants[0].sql == "SELECT 1;\nDELETE FROM t"
    assert script.access == "write"
    assert script.command == "OTHER"
    assert one("SELECT 1; SELECT 2", "-- name: s :script").access == "read"
    assert "takes no parameters, here is :x" in str(refused("SELECT :x", "-- name: s :script"))


def test_semicolons_at_the_end_are_not_sent():
    assert Statement.from_sql("SELECT 1 ; ; -- x\n;").variants[0].sql == "SELECT 1"


@pytest.mark.parametrize("sql", ["", ";", "-- nothing", "/* nothing */ ;;", "   \n"])
def test_an_empty_statement_is_refused(sql, refused):
    with pytest.raises(StatementFileError, match="is empty"):
        Statement.from_sql(sql)
    assert refused(sql).line == 1


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT (1", "never closed"),
        ("SELECT 1)", "closes no bracket"),
        ("SELECT (1]", "closes no"),
    ],
)
def test_brackets_must_match(sql, message):
    with pytest.raises(StatementFileError, match=message):
        Statement.from_sql(sql)
