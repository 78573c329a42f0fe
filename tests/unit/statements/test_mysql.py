"""The dialect of MySQL and MariaDB: lexer, placeholders, lists, what is refused or writes."""

import gc
import re
import weakref

import pytest

from aurora_sql.errors import ParameterError, StatementFileError
from aurora_sql.statements import Statement
from aurora_sql.statements import _tokens as t
from aurora_sql.statements._source import Source
from aurora_sql.statements._tokens_mysql import tokenize_mysql
from aurora_sql.types import Access, Cardinality

EMPTY = "SELECT NULL FROM DUAL WHERE FALSE"


def make(sql, **options):
    return Statement.from_sql(sql, "mysql", **options)


def sent(sql):
    (variant,) = make(sql).variants
    return variant.sql, variant.parameters


def error(sql, **options):
    with pytest.raises(StatementFileError) as caught:
        make(sql, **options)
    return caught.value


def kinds(sql):
    return [(kind, text) for kind, text, _ in tokenize_mysql(Source(sql))]


@pytest.fixture
def mysql(load):
    def build(files):
        return load(files, dialect="mysql")

    return build


# --- lexer -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "'a:x'", "'it''s :x'", r"'back\\'", r"'a\n:x'", '"a:x"', '"say ""x"" :x"', "`a:x`", "`a``:x`",
        "N'a:x'", "n':x'", "_utf8mb4'a:x'", '_latin1":x"', "x'1F'", "b'01'", "0x1F", "0b01", "1e5",
        "1.5e-3", ".5", "@x", "@'a:x'", "@`a:x`", '@"a:x"', "@@sql_mode", "@@session.sql_mode",
        "@x := 1", "@x:=1", "c->'$.x'", "c->>'$.x'", "1 -- :x ?\n", "1 #:x ?\n", "1 --\t:x\n",
        "1 --\x01:x\n", "1/* :x ? */", "1/*/ :x */", "/*+ MAX_EXECUTION_TIME(9) :x */ 1", "1--1",
        "1---1", "a$b", "$a", "größe", "1abc", "1e", "t.1e", "'a' 'b:x'", "1/2", "5 % 2", "a <=> b",
    ],
)  # fmt: skip
def test_nothing_in_it_is_a_parameter(code):
    text = f"SELECT {code} + y"
    assert sent(text) == (text, ())


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (":x", "?"), ("1--:x", "1--?"), ("-:x", "-?"), ("@n:=:x", "@n:=?"), ("(:x)", "(?)"),
        ("'a':x", "'a'?"), (":x/2", "?/2"), ("a=:x", "a=?"), ("1 --\n:x", "1 --\n?"),
        ("1 #\n:x", "1 #\n?"), ("/**/:x", "/**/?"), ("1/* ' */:x", "1/* ' */?"),
        ("'\\\\':x", "'\\\\'?"), ('"\\\\":x', '"\\\\"?'), (":größe", "?"),
    ],
)  # fmt: skip
def test_parameters(code, expected):
    text, names = sent(f"SELECT\n{code}")
    assert text == f"SELECT\n{expected}"
    assert names == ("größe" if "größe" in code else "x",)


@pytest.mark.parametrize(
    ("sql", "message", "column"),
    [
        ("SELECT 'it\\'s'", "a backslash before a quote .* write '' for", 11),
        ('SELECT "a\\"b"', 'write "" for a quote', 10),
        ("SELECT '\\\\\\'', :x, '\\''", "a backslash before a quote", 11),
        ("SELECT N'a\\'b'", "a backslash before a quote", 11),
        ("SELECT 'open", "this string is never closed", 8),
        ('SELECT "open', "this string is never closed", 8),
        ("SELECT `open", "this quoted identifier is never closed", 8),
        ("SELECT @'open", "this string is never closed", 9),
        ("SELECT 1 /* open", "comment is never closed", 10),
        ("SELECT 1 /*/", "comment is never closed", 10),
        ("SELECT ?", r"\?: parameters are written by name", 8),
        ("SELECT a ? b", "parameters are written by name", 10),
        ("SELECT x:y", "glued to 'x'", 9),
        ("SELECT 1:y", "glued to '1'", 9),
        ("SELECT @:y", "glued to '@'", 9),
        ("SELECT @a:y", "glued to '@a'", 10),
        ("SELECT :a$", r"holds no \$", 10),
        ("SELECT 1 -- a\0b\n, :x", "NUL", 14),
        ("SELECT 1 --when :x", "space after its dashes: write '-- when'", 10),
        ("SELECT (1", "never closed", 8),
    ],
)
def test_refused_by_the_lexer(sql, message, column):
    found = error(sql)
    assert re.search(message, found.message), found.message
    assert found.column == column


def test_an_executable_comment_is_code_between_two_edges():
    assert kinds("/*!80019 SELECT*/ 1") == [
        (t.EXECUTABLE, "/*!80019"),
        (t.WORD, "SELECT"),
        (t.EXECUTABLE, "*/"),
        (t.NUMBER, "1"),
    ]
    assert kinds("/*M!100100 + 1 */")[0] == (t.EXECUTABLE, "/*M!100100")
    assert kinds("/*! 1 */")[0] == (t.EXECUTABLE, "/*!")
    statement = make("SELECT a /*!80019 , b */ FROM t WHERE a = :a")
    assert statement.variants[0].sql == "SELECT a /*!80019 , b */ FROM t WHERE a = ?"
    assert (statement.command, statement.proven_write) == ("OTHER", True)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("/*!80019 :x */", "a parameter in an executable comment"),
        ("/*! ? */", "a placeholder in an executable"),
        ("/*M!100100 ; SELECT 2 */", "a semicolon in an executable"),
        ("/*! -- x\n */", "a comment in an executable"),
        ("/*! # x\n */", "a comment in an executable"),
        ("/*! /* x */ */", "never closed"),
        ("/*! ) */", "a \\) that closes nothing"),
        ("/*! ( */", r"leaves a \( open"),
        ("/*! '*/' */", "this string is never closed"),
        ("/*!80019x */", "5 or 6 digits"),
        ("/*!8 */", "5 or 6 digits"),
        ("/*!8001900 */", "5 or 6 digits"),
    ],
)
def test_games_in_executable_comments(inside, message):
    assert re.search(message, error(f"SELECT 1 {inside}").message)


def test_executable_comments_and_conditional_lines():
    text = "SELECT 1 /*!80019 + 1 */ WHERE true\n AND a = :a -- when :a\n"
    assert "cannot have conditional lines" in error(text).message


def test_a_header_without_its_space_is_told(mysql):
    with pytest.raises(StatementFileError, match="write '-- name'"):
        mysql({"q.sql": "--name: a :one\nSELECT 1"})


# --- placeholders ------------------------------------------------------------------------------


def test_a_name_used_twice_is_sent_twice_from_one_value():
    statement = make("SELECT * FROM t WHERE a = :a AND (b = :b OR c = :a)")
    variant, args = statement.bind({"b": 2, "a": 1})
    assert variant.sql == "SELECT * FROM t WHERE a = ? AND (b = ? OR c = ?)"
    assert variant.parameters == ("a", "b", "a")
    assert statement.parameters == ("a", "b")
    assert tuple(args) == (1, 2, 1)
    with pytest.raises(ParameterError, match="missing parameter 'b'"):
        statement.bind({"a": 1})
    with pytest.raises(ParameterError, match="unknown parameter 'c'"):
        statement.bind({"a": 1, "b": 2, "c": 3})


def test_batches_send_a_name_twice_too():
    statement = make("INSERT INTO t VALUES (:a, :b, :a)", cardinality=Cardinality.BATCH)
    variant, rows = statement.bind_many([{"a": 1, "b": 2}, {"b": 4, "a": 3}])
    assert variant.parameters == ("a", "b", "a")
    assert list(map(tuple, rows)) == [(1, 2, 1), (3, 4, 3)]
    with pytest.raises(ParameterError, match="set 1"):
        statement.bind_many([{"a": 1, "b": 2}, {"a": 3}])


TEXT = "SELECT a,\n  :first AS b\nFROM t\nWHERE id IN (:ids)\n  AND c FORM :last"


@pytest.mark.parametrize("length", [0, 1, 3, 100])
def test_places_behind_placeholders_and_lists(length):
    statement = make(TEXT)
    variant, _ = statement.bind({"first": 1, "last": 2, "ids": list(range(length))})
    at = variant.sql.index("FORM") + 1
    assert variant.locate(at) == (5, 9)
    assert variant.locate(variant.sql.rindex("?") + 1) == (5, 14)
    assert variant.position_near(5, "FORM ?") == at
    assert variant.locate(variant.position_near(4)) == (4, 1)
    assert variant.locate(variant.position_near(5)) == (5, 3)
    assert variant.locate(variant.position_near(5, "")) == (5, 14)
    assert variant.locate(variant.position_near(99, "x")) == (5, 14)
    assert variant.locate(variant.position_near(5, "not there")) == (5, 3)


def test_the_place_of_an_error_behind_lines_that_were_left_out(mysql):
    text = (
        "-- name: s :many\n\nSELECT a FROM t\nWHERE true\n  AND b = :b -- when :b\n  AND c FORM 1\n"
    )
    statement = mysql({"q.sql": text})["q.s"]
    variant, _ = statement.bind({})
    assert variant.place(variant.position_near(3, "FORM 1")).endswith("q.sql:6:9")


# --- lists -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "size"), [([1], 1), ((1, 2), 2), (range(3), 4), ({5}, 1), (frozenset({6, 7}), 2)]
)
def test_lists_are_padded_with_their_last_value(given, size):
    variant, args = make("SELECT a FROM t WHERE id IN (:ids) AND b = :b").bind(
        {"ids": given, "b": 0}
    )
    assert variant.sql.count("?") == size + 1 == len(args) == len(variant.parameters)
    assert args[:-1] == [*given, *[list(given)[-1]] * (size - len(given))]
    assert args[-1] == 0
    assert variant.parameters == ("ids",) * size + ("b",)


def test_the_empty_list():
    statement = make("SELECT a FROM t WHERE id IN (:ids) OR b NOT IN (:ids)")
    variant, args = statement.bind({"ids": []})
    assert variant.sql == f"SELECT a FROM t WHERE id IN ({EMPTY}) OR b NOT IN ({EMPTY})"
    assert args == []
    assert variant.parameters == ()


def test_two_lists_and_one_twice():
    statement = make("SELECT a FROM t WHERE x IN (:a) AND y IN (:b) AND z NOT IN (:a) AND w = :w")
    variant, args = statement.bind({"a": [1, 2, 3], "b": [9], "w": 0})
    assert args == [1, 2, 3, 3, 9, 1, 2, 3, 3, 0]
    assert variant.label == "a*4, b*1"
    assert statement.lists == {"a", "b"}
    assert statement.variants[0].parameters == ("a", "b", "a", "w")


@pytest.mark.parametrize("given", [1, "abc", b"abc", None, {"a": 1}, iter([1])])
def test_what_is_no_list(given):
    with pytest.raises(
        ParameterError, match=r":ids stands in IN \(:ids\) and takes a list"
    ) as caught:
        make("SELECT a FROM t WHERE id IN (:ids)").bind({"ids": given})
    assert type(given).__name__ in str(caught.value)


def test_the_callers_list_is_left_alone():
    given = [1, 2, 3]
    make("SELECT a FROM t WHERE id IN (:ids)").bind({"ids": given})
    assert given == [1, 2, 3]


def test_names_of_a_statement_with_lists():
    statement = make("SELECT a FROM t WHERE id IN (:ids) AND b = :b")
    for params in ({"ids": [1]}, {"ids": [1], "b": 1, "c": 1}, {"ids": [1], "c": 1}, [1, 2]):
        with pytest.raises(ParameterError, match=r"<ad hoc>: "):
            statement.bind(params)


def test_one_text_for_many_lengths():
    statement = make("SELECT a FROM t WHERE id IN (:ids)")
    texts = {statement.bind({"ids": range(n)})[0] for n in range(1, 1025)}
    assert len(texts) == 11
    assert statement.bind({"ids": [1, 2, 3]})[0] is statement.bind({"ids": (4, 5, 6, 7)})[0]


def test_texts_of_lists_are_bounded_but_those_in_use_are_kept():
    statement = make("SELECT a FROM t WHERE x IN (:a) AND y IN (:b)")
    held = statement.bind({"a": [1], "b": [1]})[0]
    dropped = weakref.ref(statement.bind({"a": [1], "b": [1, 2]})[0])
    for a in range(12):
        for b in range(12):
            statement.bind({"a": range(1 << a), "b": range(1 << b)}) if (a, b) > (0, 1) else None
    gc.collect()
    assert dropped() is None
    assert statement.bind({"a": [1], "b": [1]})[0] is held


def test_the_most_placeholders_of_a_statement():
    statement = make("SELECT a FROM t WHERE id IN (:ids) AND b = :b", name="t.s")
    variant, args = statement.bind({"ids": range(65_534), "b": 0})
    assert len(args) == 65_535 == len(variant.parameters)
    assert statement.bind({"ids": range(40_000), "b": 0})[0] is variant
    with pytest.raises(ParameterError, match=r"t\.s: :ids has 65535 values.* 65536 placeholders"):
        statement.bind({"ids": range(65_535), "b": 0})
    two = make("SELECT a FROM t WHERE x IN (:a) AND y IN (:b)")
    assert len(two.bind({"a": range(40_000), "b": range(20_000)})[1]) == 60_000
    assert len(two.bind({"a": range(40_000), "b": range(2_000)})[1]) == 65_535
    with pytest.raises(ParameterError, match=":a has 40000 values"):
        two.bind({"a": range(40_000), "b": range(30_000)})


def test_conditional_lines_and_lists():
    statement = make(
        "SELECT a FROM t WHERE true\n  AND id IN (:ids)  -- when :ids\n  AND b = :b  -- when :b\n"
    )
    assert len(statement.variants) == 4
    variant, args = statement.bind({"ids": [1, 2, 3], "b": 7})
    assert " ".join(variant.sql.split()).endswith("AND id IN (?, ?, ?, ?) AND b = ?")
    assert args == [1, 2, 3, 3, 7]
    assert variant.label == "ids, b, ids*4"
    assert list(statement.bind({"b": 7})[1]) == [7]
    # An empty list is given: nothing matches it.
    assert EMPTY in statement.bind({"ids": []})[0].sql


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT a FROM t WHERE id = ANY(:ids)", "write 'IN (:ids)'"),
        ("SELECT a FROM t WHERE id = SOME (:ids)", "write 'IN (:ids)'"),
        ("SELECT a FROM t WHERE id <> ALL(:ids)", "write 'NOT IN (:ids)'"),
        ("SELECT a FROM t WHERE id IN :ids", "write IN (:ids)"),
        ("SELECT a FROM t WHERE id IN (:ids) OR :ids IS NULL", "two different names"),
        ("SELECT a FROM t WHERE :ids IS NULL OR id IN (:ids)", "two different names"),
    ],
)
def test_forms_of_lists_that_mysql_does_not_have(sql, message):
    assert message in error(sql).message


def test_single_values_in_the_brackets_of_in(mysql):
    variant, args = make("SELECT a FROM t WHERE id IN (:a, :b)").bind({"a": 1, "b": 2})
    assert (variant.sql[-9:], tuple(args)) == ("IN (?, ?)", (1, 2))
    text = "-- name: s :many\n-- param: id signed\nSELECT a FROM t WHERE id IN (:id)"
    variant, args = mysql({"q.sql": text})["q.s"].bind({"id": 5})
    assert (variant.sql[-22:], tuple(args)) == ("IN (CAST(? AS signed))", (5,))


def test_a_shared_file_with_an_array_needs_its_twin(load):
    shared = (
        "-- name: get :many\nSELECT a FROM t WHERE id = ANY(:ids)\n-- name: one :one\nSELECT 1\n"
    )
    with pytest.raises(
        StatementFileError, match=r"put that form into users\.mysql\.sql, which wins"
    ):
        load({"users.sql": shared}, dialect="mysql")
    twin = "-- name: get :many\nSELECT a FROM t WHERE id IN (:ids)\n"
    files = {"users.sql": shared, "users.mysql.sql": twin}
    registry = load(files, dialect="mysql")
    assert registry["users.get"].path.name == "users.mysql.sql"
    assert registry["users.one"].path.name == "users.sql"
    assert registry["users.get"].lists == {"ids"}
    assert load(files)["users.get"].path.name == "users.sql"
    with pytest.raises(StatementFileError) as caught:
        load({"users.sql": "", "users.mysql.sql": shared}, dialect="mysql")
    assert "which wins" not in caught.value.message


def test_a_twin_that_comes_and_goes_while_watched(write, load):
    folder = {"users.sql": "-- name: get :one\nSELECT 1"}
    registry = load(folder, dialect="mysql", reload=True)
    assert registry["users.get"].variants[0].sql == "SELECT 1"
    write({"users.mysql.sql": "-- name: get :one\nSELECT `a` # it's"}, registry.path)
    write({"users.postgresql.sql": "-- name: get :one\nSELECT $$open"}, registry.path)
    assert registry.refresh()
    assert registry["users.get"].variants[0].sql == "SELECT `a`"
    (registry.path / "users.mysql.sql").unlink()
    assert registry.refresh()
    assert registry["users.get"].variants[0].sql == "SELECT 1"


def test_a_batch_takes_no_list():
    assert (
        "cannot have a list"
        in error("DELETE FROM t WHERE id IN (:ids)", cardinality=Cardinality.BATCH).message
    )


@pytest.mark.parametrize(
    "type_name",
    ["signed", "UNSIGNED", "signed integer", "decimal(10,2)", "decimal", "char(3)", "binary",
     "date", "time(3)", "datetime(6)", "double", "float", "json", "year"],
)  # fmt: skip
def test_types_of_parameters(mysql, type_name):
    text = f"-- name: s :one\n-- param: x {type_name}\nSELECT :x"
    assert mysql({"q.sql": text})["q.s"].variants[0].sql == f"SELECT CAST(? AS {type_name})"


@pytest.mark.parametrize(
    ("type_name", "message"),
    [
        ("bigint", "did you mean 'signed'"),
        ("varchar(20)", "did you mean 'char'"),
        ("timestamp with time zone", "did you mean 'datetime'"),
        ("boolean", "did you mean 'unsigned'"),
        ("bigint[]", "MySQL has no arrays"),
        ("mood", "knows no type 'mood'; it is one of signed, unsigned, decimal"),
    ],
)
def test_types_that_no_cast_has(mysql, type_name, message):
    with pytest.raises(StatementFileError, match=message) as caught:
        mysql({"q.sql": f"-- name: s :one\n-- param: x {type_name}\nSELECT :x"})
    assert caught.value.line == 2


# --- read or write -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t", "(SELECT 1) UNION (SELECT 2)", "VALUES ROW(1)", "TABLE t",
        "WITH c AS (SELECT 1 AS n) SELECT n FROM c", "WITH RECURSIVE c (n) AS (SELECT 1) SELECT n FROM c",
        "SHOW TABLES", "DESCRIBE t", "DESC t", "EXPLAIN UPDATE t SET a = 1", "EXPLAIN ANALYZE SELECT 1",
        "SELECT @x", "SELECT @@sql_mode", "SELECT COUNT(*), NOW(), CONCAT(a, 'b') FROM t",
        "SELECT LAST_INSERT_ID()", "SELECT a FROM t USE INDEX FOR JOIN (i)", "SELECT IF(a, 1, 2) FROM t",
        "SELECT a, RANK() OVER (PARTITION BY b ORDER BY c) FROM t", "SELECT a DIV (2) FROM t",
        "SELECT CAST(a AS DECIMAL(10,2)), CHAR(77), LEFT(b, 1), REPLACE(b, 'x', 'y') FROM t",
        "SELECT MATCH (a, b) AGAINST ('x') FROM t", "SELECT a FROM (SELECT 1) AS d (a)",
        "SELECT j.a FROM t, JSON_TABLE(c, '$[*]' COLUMNS (a INT PATH '$.a')) AS j",
        "SELECT a FROM t PARTITION (p0) WHERE (a, b) IN ((1, 2)) AND EXISTS (SELECT 1)",
        "SELECT DATE_ADD(a, INTERVAL (1) DAY), COUNT(DISTINCT b) FROM t GROUP BY (a) HAVING (1)",
        "SELECT a FROM t FOR SYSTEM_TIME AS OF NOW()", "HELP 'x'",
    ],
)  # fmt: skip
def test_reads(sql):
    statement = make(sql)
    assert statement.functions == set()
    assert statement.access is Access.READ


@pytest.mark.parametrize(
    ("sql", "command"),
    [
        ("INSERT INTO t (a) VALUES (1)", "INSERT"),
        ("INSERT INTO t SET a = 1 ON DUPLICATE KEY UPDATE a = VALUES(a)", "INSERT"),
        ("REPLACE INTO t (a) VALUES (1)", "REPLACE"),
        ("UPDATE t SET a = 1", "UPDATE"),
        ("DELETE FROM t", "DELETE"),
        ("WITH c AS (SELECT 1) UPDATE t SET a = 1", "UPDATE"),
        ("SELECT a FROM t FOR UPDATE", "SELECT"),
        ("SELECT a FROM t FOR SHARE SKIP LOCKED", "SELECT"),
        ("SELECT a FROM t LOCK IN SHARE MODE", "SELECT"),
        ("SELECT NEXT VALUE FOR s", "SELECT"),
        ("SELECT NEXTVAL(s)", "SELECT"),
        ("SELECT GET_LOCK('x', 1)", "SELECT"),
        ("SELECT LAST_INSERT_ID(5)", "SELECT"),
        ("SELECT RAND()", "SELECT"),
        ("SELECT a INTO @x FROM t", "OTHER"),
        ("SELECT a FROM t INTO OUTFILE '/tmp/x'", "OTHER"),
        ("SELECT @n := @n + 1 FROM t", "OTHER"),
        ("UPDATE t SET a = (@n := @n + 1)", "OTHER"),
        ("SELECT 1 /*!80000 + 1 */", "OTHER"),
        ("/*!99999 EXPLAIN */ DELETE FROM t", "OTHER"),
        ("SET @x = 1", "OTHER"),
        ("CALL p(1)", "OTHER"),
        ("DO SLEEP(1)", "OTHER"),
        ("LOAD DATA INFILE '/x' INTO TABLE t", "OTHER"),
        ("HANDLER t OPEN", "OTHER"),
        ("EXPLAIN ANALYZE DELETE FROM t", "OTHER"),
        ("ANALYZE UPDATE t SET a = 1", "OTHER"),
        ("CREATE TEMPORARY TABLE t (a int)", "OTHER"),
        ("TRUNCATE t", "OTHER"),
    ],
)
def test_writes(sql, command):
    statement = make(sql)
    assert (statement.command, statement.access, statement.proven_write) == (
        command, Access.WRITE, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "functions"),
    [
        ('SELECT f(1), DB.G (2), `h`(3), `d`.`i`(4), "k"(5)', {"f", "db.g", "h", "d.i", "k"}),
        ("INSERT INTO d.t (a) SELECT f(a) FROM u", {"f"}),
        ("INSERT INTO t (a) VALUES (f(1))", {"f"}),
        ("SELECT GET_LOCK('x', 1), SETVAL(s, 1)", {"get_lock", "setval"}),
        ("WITH c (a) AS (SELECT f(1)) SELECT a FROM c", {"f"}),
        ("SELECT d.count(1)", {"d.count"}),
    ],
)
def test_functions_that_nobody_knows(sql, functions):
    statement = make(sql)
    assert statement.functions == functions
    assert statement.access is Access.WRITE


def test_rows_that_a_write_gives_back(mysql):
    text = "-- name: s :one\n{} INTO t (a) VALUES (1){}"
    mysql({"q.sql": text.format("INSERT", " RETURNING a")})
    mysql({"q.sql": text.format("REPLACE", " RETURNING a")})
    for word in ("INSERT", "REPLACE"):
        with pytest.raises(StatementFileError, match="promises rows"):
            mysql({"q.sql": text.format(word, "")})


def test_a_replace_is_no_read(mysql):
    with pytest.raises(StatementFileError, match="'access: read'"):
        mysql({"q.sql": "-- name: s :exec\n-- access: read\nREPLACE INTO t (a) VALUES (1)"})


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN", "START TRANSACTION", "COMMIT AND CHAIN", "ROLLBACK", "SAVEPOINT a",
        "RELEASE SAVEPOINT a", "XA START 'x'", "LOCK TABLES t WRITE", "UNLOCK TABLES",
        "PREPARE s FROM 'x'", "EXECUTE s", "DEALLOCATE PREPARE s", "DROP PREPARE s", "USE d",
        "SET autocommit = 0", "SET SESSION autocommit = 0", "SET @@autocommit = 0",
        "SET @@session.autocommit = 0", "SET @@`autocommit` = 0", "SET @x = 1, autocommit = 0",
        "SET `autocommit` = 0", "SET LOCAL completion_type = 1", "SET TRANSACTION READ ONLY",
        "SET NAMES latin1", "SET CHARACTER SET gbk", "SET character_set_client = gbk",
        "/*!40101 SET NAMES latin1 */", "/*!99999 SELECT */ COMMIT", "DELIMITER //",
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE t", "LOAD DATA CONCURRENT LOCAL INFILE 'x' INTO TABLE t",
    ],
)  # fmt: skip
def test_refused_commands(sql):
    with pytest.raises(StatementFileError):
        make(sql, cardinality=Cardinality.EXEC)
    with pytest.raises(StatementFileError):
        make(f"SELECT 1; {sql}; SELECT 2", cardinality=Cardinality.SCRIPT)


@pytest.mark.parametrize(
    "sql",
    ["SET time_zone = '+00:00'", "SET @autocommit = 1", "SET @x = autocommit", "START REPLICA",
     "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET sql_mode = ''"],
)  # fmt: skip
def test_commands_that_are_no_bookkeeping(sql):
    assert make(sql).proven_write


@pytest.mark.parametrize(
    ("sql", "commits"),
    [
        ("CREATE TABLE t (a int)", True),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", True),
        ("ALTER TABLE t ADD b int", True),
        ("DROP TABLE t", True),
        ("TRUNCATE t", True),
        ("RENAME TABLE t TO u", True),
        ("GRANT SELECT ON t TO u", True),
        ("ANALYZE TABLE t", True),
        ("ANALYZE NO_WRITE_TO_BINLOG TABLE t", True),
        ("OPTIMIZE TABLE t", True),
        ("SET PASSWORD = 'x'", True),
        ("/*!99999 ALTER TABLE t DISABLE KEYS */", True),
        ("/*!99999 EXPLAIN */ TRUNCATE t", True),
        ("CREATE TEMPORARY TABLE t (a int)", False),
        ("CREATE OR REPLACE TEMPORARY TABLE t (a int)", False),
        ("DROP TEMPORARY TABLE t", False),
        ("ANALYZE SELECT 1", False),
        ("LOAD DATA INFILE '/x' INTO TABLE t", False),
        ("INSERT INTO t (a) VALUES (1)", False),
        ("SELECT 1", False),
    ],
)
def test_what_ends_the_open_transaction(sql, commits):
    assert make(sql).commits_implicitly is commits
    script = make(f"SELECT 1; {sql}", cardinality=Cardinality.SCRIPT)
    assert script.commits_implicitly is commits


def test_ddl_ends_no_transaction_on_postgresql():
    assert not Statement.from_sql("CREATE TABLE t (a int)").commits_implicitly


def test_bodies_of_routines_are_one_statement():
    body = (
        "CREATE PROCEDURE p() BEGIN DECLARE n int; IF n THEN SELECT 1; END IF; "
        "SELECT CASE WHEN n THEN 1 END; CASE n WHEN 1 THEN SELECT 1; END CASE; END"
    )
    assert make(body, cardinality=Cardinality.EXEC).commits_implicitly
    assert "a second statement" in error(f"{body}; SELECT 2").message
    # A table's column may be called begin.
    assert "a second statement" in error("CREATE TABLE t (begin int); SELECT 2").message


def test_on_duplicate_key_update_may_have_and_on_a_conditional_line():
    statement = make(
        "INSERT INTO t (a) VALUES (:a) ON DUPLICATE KEY UPDATE a = b\n  AND c = :c -- when :c\n"
    )
    assert len(statement.variants) == 2
