"""The dialect of MySQL against the servers themselves: what they parse, and what they answer."""

import asyncio
import contextlib
import random

import pytest

from aurora_sql import Aurora, AuroraSettings
from aurora_sql.errors import AuroraError, DatabaseError, StatementFileError, UsageError
from aurora_sql.execution._catalogue import inspect
from aurora_sql.statements import Statement, StatementRegistry

ODD = ["'", "''", '"', '""', "`", "``", "\\", "\\\\", ":p", "?", "--", "-- ", "#", "\n", "/*", "*/",
       "/*!", "a", "0", "$", "é", "\t"]  # fmt: skip
FORMS = [
    "1e5", "1.e3", ".5", "0x1F", "x'1F'", "b'01'", "0b01", "N'a'", "n'x:y'", "_utf8mb4'a:p'",
    '_latin1"a"', "1e-5", "@x", "@'a:p'", "@`q:p`", '@"r:p"', "@@sql_mode", "@x := 1", "@x:=:p",
    "c->'$.p'", "1 AS 1e", "1 AS 1abc", "1 AS $x", "1 AS é", "1--1", "1---1", "5--:p", ":p--1",
    ":p/2", "!:p", "~:p", ":p||:p", ":p<=>:p", "(:p)", "1 AS a:p", "-:p", "'a' 'b:p'", "0X1F",
    "x'1", "b'2'", "1 AS x'y'", "1 AS '?'", "@:p", ".:p", "t.:p", ":p.5", "1/*?*/", "1 -- ?\n",
    "/*!50000 1 + */ 1", "/*!99999 1 + */ 1", "/*M!100100 1 + */ 1", "/*M!1 + */ 1", "/*+ :p ? */ 1",
    "a IN (:p, 1)", "1 #:p?\n", "1 --\t:p'\n", "1 --\x01:p'\n", "1 --\x7f:p'\n",
]  # fmt: skip
MODES = ["", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES", "IGNORE_SPACE,PIPES_AS_CONCAT"]


def item(dice):
    inner = "".join(dice.choice(ODD) for _ in range(dice.randint(0, 4)))
    line = inner.replace("\n", "")
    forms = [
        "'" + inner.replace("'", "''") + "'",
        '"' + inner.replace('"', '""') + '"',
        f"'{inner}'",
        f'"{inner}"',
        "1 AS `x" + inner.replace("`", "``") + "`",
        f"/*{inner}*/ 1",
        f"# {line}\n 1",
        f"--{dice.choice([' ', chr(9), chr(10), chr(1), chr(127), '', 'x'])}{line}\n 1",
        f"1/*{inner}*//*{inner[::-1]}*/",
    ]
    return dice.choice([":p", dice.choice(forms), dice.choice(forms), dice.choice(FORMS)])


@pytest.mark.parametrize("mode", MODES)
async def test_the_server_counts_the_placeholders_that_the_lexer_found(connection, mode):
    await connection.execute("CREATE TABLE IF NOT EXISTS odd (a int, c varchar(20))")
    await connection.execute(f"SET sql_mode = '{mode}'")
    dice = random.Random(42)
    prepared = 0
    for _ in range(1500):
        text = f"SELECT {', '.join(item(dice) for _ in range(dice.randint(1, 4)))} FROM odd AS t"
        try:
            statement = Statement.from_sql(text, "mysql")
        except StatementFileError:
            continue
        (variant,) = statement.variants
        try:
            known = await connection.prepare(variant.sql)
        except DatabaseError:
            continue  # no SQL; whether the lexer was right does not show
        assert len(known.parameters) == len(variant.parameters), text
        prepared += 1
        await known.close()
    assert prepared > 700


async def ask(connection, sql, params):
    statement = Statement.from_sql(sql, "mysql")
    variant, args = statement.bind(params)
    prepared = await connection.prepare(variant.sql)
    rows = await prepared.fetch(args)
    await prepared.close()
    return [tuple(row) for row in rows]


@pytest.fixture
async def numbers(connection):
    await connection.execute("DROP TABLE IF EXISTS numbers")
    await connection.execute("CREATE TABLE numbers (id int PRIMARY KEY, x int)")
    await connection.execute("INSERT INTO numbers VALUES (1, 10), (2, 20), (3, NULL)")


# What x = ANY(ids) and x <> ALL(ids) answer on PostgreSQL for x = 10, 20, NULL.
@pytest.mark.parametrize(
    ("given", "within", "without"),
    [
        ([], [0, 0, 0], [1, 1, 1]),
        ([10], [1, 0, None], [0, 1, None]),
        ([10, 30, 40], [1, 0, None], [0, 1, None]),
        ([10, None], [1, None, None], [0, None, None]),
        ([None], [None, None, None], [None, None, None]),
        ({20}, [0, 1, None], [1, 0, None]),
        (range(10, 31), [1, 1, None], [0, 0, None]),
    ],
)
async def test_lists_answer_as_arrays_do_on_postgresql(connection, numbers, given, within, without):
    sql = "SELECT x IN (:ids), x NOT IN (:ids), NOT (x IN (:ids)) FROM numbers ORDER BY id"
    rows = await ask(connection, sql, {"ids": given})
    assert [row[0] for row in rows] == within
    assert [row[1] for row in rows] == without
    assert [row[2] for row in rows] == without


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 64, 1000, 33_000, 65_534])
async def test_lists_of_any_length(connection, numbers, length):
    sql = "SELECT COUNT(*) FROM numbers WHERE id IN (:ids) AND id > :least"
    rows = await ask(connection, sql, {"ids": list(range(length)), "least": 0})
    assert rows == [(min(max(length - 1, 0), 3),)]


async def test_an_empty_list_where_rows_change(connection, numbers):
    for sql in (
        "UPDATE numbers SET x = 0 WHERE id IN (:ids)",
        "DELETE FROM numbers WHERE id IN (:ids)",
        "UPDATE numbers SET x = 7 WHERE id NOT IN (:ids)",
    ):
        statement = Statement.from_sql(sql, "mysql")
        variant, args = statement.bind({"ids": []})
        prepared = await connection.prepare(variant.sql)
        await prepared.execute(args)
        await prepared.close()
    assert await ask(connection, "SELECT x FROM numbers", {}) == [(7,), (7,), (7,)]


@pytest.mark.parametrize(
    "type_name",
    ["signed", "unsigned", "decimal(10,2)", "double", "float", "char(5)", "binary(5)", "date",
     "time(3)", "datetime(6)", "signed integer"],
)  # fmt: skip
async def test_the_types_of_parameters_are_casts_that_both_servers_take(
    write, connection, type_name
):
    text = f"-- name: s :one\n-- param: x {type_name}\nSELECT :x AS x"
    statement = StatementRegistry.load(write({"q.sql": text}), "mysql")["q.s"]
    variant, args = statement.bind({"x": None})
    prepared = await connection.prepare(variant.sql)
    assert [tuple(row) for row in await prepared.fetch(args)] == [(None,)]
    await prepared.close()


@pytest.fixture
def write(tmp_path):
    def make(files):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


async def test_the_place_of_an_error(connection):
    text = "SELECT 1,\n  :a AS a,\n  2 AS b FORM t\nWHERE x = :b"
    statement = Statement.from_sql(text, "mysql")
    variant, _ = statement.bind({"a": 1, "b": 2})
    with pytest.raises(DatabaseError) as caught:
        await connection.prepare(variant.sql)
    message = str(caught.value)
    near, line = message.split("near '", 1)[1].rsplit("' at line ", 1)
    position = variant.position_near(int(line.split()[0].rstrip(")")), near)
    assert variant.locate(position)[0] == 3
    assert statement.source.text.splitlines()[2][variant.locate(position)[1] - 1 :].startswith(
        ("FORM", "t")
    )


FILE = """
-- name: make :exec
CREATE TABLE IF NOT EXISTS things_of_files (id int PRIMARY KEY, n int)
-- name: put :affected
REPLACE INTO things_of_files (id, n) VALUES (:id, :n)
-- name: some :many
SELECT id, n FROM things_of_files WHERE id IN (:ids)
  AND n > :n  -- when :n
ORDER BY id
-- name: both :script
DROP TABLE IF EXISTS no_such_table; SELECT 1
-- name: bad :many
SELECT id FROM things_of_files

WHERE n = :n
  FORM 2
"""


async def test_files_from_the_folder_to_the_rows(server, write):
    settings = AuroraSettings(
        engine="mysql", write_endpoint="127.0.0.1", port=server.port, database="test",
        username="app", password="correct horse", ssl_mode="prefer",
    )  # fmt: skip
    async with Aurora(settings, sql=write({"u.mysql.sql": FILE})) as db:
        await db.sql.u.make()
        for number in range(5):
            assert await db.sql.u.put(id=number, n=number**2) in (1, 2)
        assert [row.n for row in await db.sql.u.some(ids=[1, 2, 3])] == [1, 4, 9]
        assert [row.n for row in await db.sql.u.some(ids={2, 3, 4}, n=5)] == [9, 16]
        assert await db.sql.u.some(ids=()) == []
        async with db.transaction() as tx:
            await tx.sql.u.put(id=9, n=9)
            for refused in (tx.sql.u.make, tx.sql.u.both):
                with pytest.raises(UsageError, match="ends the open transaction"):
                    await refused()
        assert [row.n for row in await db.sql.u.some(ids=[9])] == [9]
        with pytest.raises(DatabaseError) as caught:
            await db.sql.u.bad(n=1)
        assert any("u.mysql.sql:16:3" in note for note in caught.value.__notes__)
    # uvloop refuses to close a loop whose transports have not said good-bye yet.
    await asyncio.sleep(0.05)


SCHEMA = """
DROP TABLE IF EXISTS plain; DROP TABLE IF EXISTS watched; DROP VIEW IF EXISTS seen;
DROP VIEW IF EXISTS over_seen; DROP VIEW IF EXISTS calling;
DROP VIEW IF EXISTS over_calling; DROP VIEW IF EXISTS over_watched; DROP FUNCTION IF EXISTS counts;
DROP FUNCTION IF EXISTS tells;
CREATE TABLE plain (a int, b int);
CREATE TABLE watched (a int);
CREATE TRIGGER watch BEFORE INSERT ON watched FOR EACH ROW SET @seen = NEW.a;
CREATE FUNCTION counts(n int) RETURNS int DETERMINISTIC MODIFIES SQL DATA BEGIN SET @c = n; RETURN n; END;
CREATE FUNCTION tells(n int) RETURNS int DETERMINISTIC NO SQL RETURN n;
CREATE VIEW seen AS SELECT a, UPPER(b) AS b FROM plain WHERE b <> 'it';
CREATE VIEW over_seen AS SELECT a FROM seen;
CREATE VIEW calling AS SELECT counts(a) AS n FROM plain;
CREATE VIEW over_calling AS SELECT n FROM calling;
CREATE VIEW over_watched AS SELECT a FROM watched;
"""

CLEAN, DIRTY, WRITING = (True, False), (False, False), (False, True)


@pytest.fixture
async def schema(connection):
    await connection.execute(SCHEMA.strip().removesuffix(";"))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a FROM plain WHERE b = :b", CLEAN),
        ("SELECT COUNT(*), NOW(), LAST_INSERT_ID() FROM plain", CLEAN),
        ("SELECT RAND(), UUID()", CLEAN),
        ("INSERT INTO plain (a) VALUES (:a)", CLEAN),
        ("UPDATE plain SET a = :a WHERE b = :b", CLEAN),
        ("DELETE FROM plain WHERE a IN (:ids)", CLEAN),
        ("REPLACE INTO plain (a) VALUES (:a)", CLEAN),
        ("SELECT a FROM watched", CLEAN),
        ("INSERT INTO watched (a) VALUES (:a)", DIRTY),
        ("INSERT INTO `WATCHED` (a) VALUES (:a)", DIRTY),
        ("SELECT a, b FROM seen", CLEAN),
        ("SELECT a FROM over_seen", CLEAN),
        ("SELECT n FROM calling", WRITING),
        ("SELECT n FROM over_calling", WRITING),
        ("SELECT a FROM over_watched", CLEAN),
        ("INSERT INTO over_watched (a) VALUES (:a)", DIRTY),
        ("SELECT counts(a) FROM plain", WRITING),
        ("SELECT `counts`(a) FROM plain", WRITING),
        ("SELECT test.counts(a) FROM plain", WRITING),
        ("SELECT tells(a) FROM plain", DIRTY),
        ("SELECT GET_LOCK('x', 1)", WRITING),
        ("SELECT LAST_INSERT_ID(5)", WRITING),
        ("SELECT nobody_knows(1)", WRITING),
        ("SELECT @n := 1", WRITING),
        ("SELECT 1 /*!99999 + counts(1) */", WRITING),
        ("SHOW TABLES", CLEAN),
        ("EXPLAIN SELECT a FROM plain", CLEAN),
        ("SET @x = 1", WRITING),
        ("CREATE TEMPORARY TABLE tt (a int)", WRITING),
        ("CALL p()", WRITING),
    ],
)
async def test_what_the_catalogue_says(connection, schema, sql, expected):
    statement = Statement.from_sql(sql, "mysql")
    found = await inspect(connection, statement, statement.variants[0])
    assert (found.clean, found.volatile) == expected


async def test_who_may_not_see_triggers_gets_the_careful_answer(server, connection, opened, schema):
    await connection.execute("DROP USER IF EXISTS weak")
    with contextlib.suppress(AuroraError):
        await connection.execute("CREATE USER weak IDENTIFIED BY 'correct horse'")
        await connection.execute("GRANT SELECT, INSERT ON test.* TO weak")
    weak = await opened(user="weak")
    for sql, expected in (
        ("INSERT INTO plain (a) VALUES (1)", DIRTY),
        ("SELECT a FROM plain", CLEAN),
        ("SELECT a FROM seen", WRITING),
    ):
        statement = Statement.from_sql(sql, "mysql")
        found = await inspect(weak, statement, statement.variants[0])
        assert (found.clean, found.volatile) == expected, sql
    await connection.execute("GRANT TRIGGER ON test.* TO weak")
    statement = Statement.from_sql("INSERT INTO plain (a) VALUES (1)", "mysql")
    again = await opened(user="weak")
    assert (await inspect(again, statement, statement.variants[0])).clean
