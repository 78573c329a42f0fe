"""The file parser: headers, cardinalities, directives, documentation, encodings."""

import pytest

from aurora_sql.errors import ConfigurationError, StatementFileError
from aurora_sql.statements import Statement
from aurora_sql.types import Access, Cardinality, Role


@pytest.mark.parametrize("cardinality", list(Cardinality))
def test_every_cardinality(one, cardinality):
    assert one("SELECT 1", f"-- name: s :{cardinality.value}").cardinality is cardinality


@pytest.mark.parametrize(
    ("header", "name", "cardinality"),
    [
        ("-- name: get_user^", "get_user", "maybe"),
        ("-- name: get_user(id)^", "get_user", "maybe"),
        ("-- name: get_user (id)", "get_user", "many"),
        ("-- name: get-user^", "get_user", "maybe"),
        ("--name:get_user( id )$", "get_user", "scalar"),
        ("--  name :  get_user!", "get_user", "affected"),
        ("-- name: get_user<!", "get_user", "maybe"),
        ("-- name: get_user*!", "get_user", "batch"),
        ("-- name: get_user", "get_user", "many"),
    ],
)
def test_the_forms_of_aiosql_load_unchanged(load, header, name, cardinality):
    registry = load(
        {"q.sql": f"{header}\n-- Gets one.\n-- timeout: 5 parsecs\nSELECT 1 WHERE :id\n"}
    )
    statement = registry[f"q.{name}"]
    assert statement.cardinality == cardinality
    assert statement.is_aiosql
    assert statement.timeout is None
    assert statement.doc == "Gets one.\ntimeout: 5 parsecs"


def test_an_aiosql_script(load):
    registry = load(
        {"q.sql": "-- name: make()#\nCREATE TABLE a (b int);\nCREATE TABLE c (d int);\n"}
    )
    assert registry["q.make"].cardinality == "script"


def test_aiosql_declarations_must_fit(refused):
    error = refused("SELECT :b", "-- name: s(a)^")
    assert "declares (a), but the statement takes 'b'" in str(error)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("-- name: s :mayby", "unknown cardinality ':mayby', did you mean 'maybe'"),
        ("-- name: s :", "not understood"),
        ("-- name:", "not understood"),
        ("-- name: s t", "not understood"),
        ("-- name: s (a", "not understood"),
        ("-- name: get-one :one", "write 'get_one'"),
        ("-- name: 1st :one", "not a Python identifier"),
        ("-- name: 1st^", "not a Python identifier"),
        ("-- name: class :one", "Python keyword"),
        ("-- name: stream :one", "name of a method"),
        ("-- name: _s :one", "underscore"),
    ],
)
def test_bad_headers(refused, header, message):
    error = refused("SELECT 1", header)
    assert message in str(error)
    assert error.line == 1


@pytest.mark.parametrize("word", ["nme", "naem", "names", "Name"])
def test_a_misspelt_header_is_no_comment(refused, word):
    error = refused(f"-- name: a :one\nSELECT 1;\n-- {word}: b :one\nSELECT 2;", "")
    assert error.line == 3


def test_all_directives(one):
    statement = one(
        """-- What it does.
-- role: reader
-- timeout: 500ms
-- returns: shop.models.User
-- access: read
-- session: clean
-- retry: never
-- param: ids bigint[]
-- param: at timestamp with time zone
-- column: customer.email nullable
-- column: "odd name" not null
--
--   note: indented, and "see also: x" is prose
/* and a
 * block */
SELECT x FROM f(:ids, :at)"""
    )
    assert statement.role is Role.READER
    assert statement.timeout == 0.5
    assert statement.returns == "shop.models.User"
    assert statement.access is Access.READ
    assert statement.access_declared
    assert not statement.proven_write
    assert statement.functions == {"f"}
    assert statement.session_clean
    assert statement.retry == "never"
    assert statement.param_types == {"ids": "bigint[]", "at": "timestamp with time zone"}
    assert statement.column_nullability == {"customer.email": True, "odd name": False}
    assert statement.doc == (
        'What it does.\n\n  note: indented, and "see also: x" is prose\nand a\nblock'
    )
    # A type is sent as a cast: the protocol has no other way that every driver offers.
    assert (
        statement.variants[0].sql
        == "SELECT x FROM f(($1::bigint[]), ($2::timestamp with time zone))"
    )
    assert statement.variants[0].locate(statement.variants[0].sql.index("$2") + 1) == (17, 23)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("2.5", 2.5), ("30s", 30), ("500ms", 0.5), ("2m", 120), ("1 h", 3600), (".5s", 0.5)],
)
def test_durations(one, text, seconds):
    assert one(f"-- timeout: {text}\nSELECT 1").timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("directive", "message"),
    [
        ("rol: reader", "unknown directive 'rol', did you mean 'role'"),
        ("tiemout: 5s", "did you mean 'timeout'"),
        ("Returns: a.B", "did you mean 'returns'"),
        ("ROLE: reader", "did you mean 'role'"),
        ("params: a int", "did you mean 'param'"),
        ("role: master", "it is writer or reader"),
        ("role:", "it is writer or reader"),
        ("timeout: soon", "a time above zero"),
        ("timeout: 0", "a time above zero"),
        ("timeout: -5s", "a time above zero"),
        ("returns: User", "dotted path"),
        ("returns: a.b; import os", "dotted path"),
        ("access: both", "read or write"),
        ("session: dirty", "can only be clean"),
        ("retry: always", "it is never or exactly_once"),
        ("retry: exactly_once", "the statement writes nothing"),
        ("cache: soon", "how old an answer may be"),
        ("cache: 0s", "how old an answer may be"),
        ("cache:", "how old an answer may be"),
        ("cahce: 5s", "did you mean 'cache'"),
        ("invalidates: get", "full names of cached statements"),
        ("invalidates: a.b c.d", "full names of cached statements"),
        ("invalidates: a.b,", "full names of cached statements"),
        ("invalidates: a.b", "the statement writes nothing"),
        ("coalesce: yes", "it can only be on"),
        ("param: a", "a parameter's name and its SQL type"),
        ("param: a int); DROP TABLE t; --", "a parameter's name and its SQL type"),
        ("param: nope int", "no parameter 'nope'"),
        ("column: a", "'nullable' or 'not null'"),
        ("column: a maybe", "'nullable' or 'not null'"),
    ],
)
def test_a_bad_directive_is_an_error_with_its_line(refused, directive, message):
    error = refused(f"-- Some words.\n-- {directive}\nSELECT :a")
    assert message in str(error)
    assert error.line == 3


def test_a_directive_given_twice(refused):
    assert "given twice" in str(refused("-- timeout: 1s\n-- timeout: 2s\nSELECT 1"))
    assert "given twice" in str(refused("-- param: a int\n-- param: a text\nSELECT :a"))
    assert "given twice" in str(refused("-- column: a nullable\n-- column: a not null\nSELECT :a"))


@pytest.mark.parametrize("directive", ["role: reader", "timeout: 5s", "cache: 5s", "access: read"])
def test_a_directive_inside_the_sql_is_not_ignored(refused, directive):
    error = refused(f"SELECT 1\n-- {directive}\nFROM t")
    assert error.line == 3
    assert "put it under the header" in str(error)


def test_prose_inside_the_sql_stays_prose(one):
    assert one("SELECT 1\n-- returns: the number one\n, 2 -- role: reader\n").access == "read"


def test_contradictions_are_refused(refused):
    assert "'access: read', but the statement is an INSERT" in str(
        refused("-- access: read\nINSERT INTO t VALUES (1)", "-- name: s :exec")
    )
    assert "'role: reader', but the statement writes" in str(
        refused("-- role: reader\nSELECT 1 FOR UPDATE")
    )
    for cardinality in ("one", "maybe", "many", "scalar"):
        error = refused("DELETE FROM t", f"-- name: s :{cardinality}")
        assert "promises rows" in str(error)


@pytest.mark.parametrize("cardinality", ["one", "maybe", "many", "scalar"])
def test_answers_of_reads_can_be_kept(one, cardinality):
    assert one("-- cache: 1m\nSELECT 1", f"-- name: s :{cardinality}").cache == 60
    assert one("-- access: read\n-- cache: 1.5\nSELECT my_func()").cache == 1.5
    assert one("SELECT 1").cache is None


def test_answers_of_nothing_else_are_kept(refused):
    for cardinality in ("exec", "affected", "batch", "script"):
        error = refused("-- cache: 5s\nSELECT 1", f"-- name: s :{cardinality}")
        assert (f"not :{cardinality}" in str(error), error.line) == (True, 2)
    for text in (
        "INSERT INTO t VALUES (1) RETURNING a",
        "SELECT 1 FOR UPDATE",
        "SELECT random()",
        "WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x",
    ):
        error = refused(f"-- cache: 5s\n{text}")
        assert ("'cache', but" in str(error), error.line) == (True, 2)
    assert "'my_func'" in str(refused("-- cache: 5s\nSELECT my_func()"))
    assert "writes" in str(refused("-- access: write\n-- cache: 5s\nSELECT 1"))


def test_what_a_write_invalidates_must_be_cached(load):
    cached = "-- name: get :one\n-- cache: 5s\nSELECT 1;\n-- name: all :many\nSELECT 1;\n"
    write = "-- name: put :exec\n-- invalidates: {}\nUPDATE t SET a = 1;\n"

    def with_names(names):
        return load({"users.sql": cached, "deep/er.sql": write.format(names)})

    registry = with_names("users.get")
    assert registry["deep.er.put"].invalidates == ("users.get",)
    for names, message in (
        ("users.get, users.gte", "no statement is called 'users.gte', did you mean 'users.get'"),
        ("users.all", r"'users\.all' \(.*users\.sql:4\) has no 'cache' directive"),
        ("deep.er.put", "has no 'cache' directive"),
    ):
        with pytest.raises(StatementFileError, match=message) as raised:
            with_names(names)
        assert (raised.value.path.name, raised.value.line) == ("er.sql", 2)


def test_access_overrides(one):
    assert one("-- access: write\nSELECT 1").access == "write"
    statement = one("-- access: read\n-- role: reader\nSELECT my_func()")
    assert statement.access == "read"
    assert statement.functions == {"my_func"}
    assert one("-- role: reader\nSELECT my_func()").access == "write"


def test_a_list_for_in_is_refused_and_says_what_to_write(refused, one):
    assert "write '= ANY(:ids)'" in str(refused("SELECT 1 WHERE a IN (:ids)"))
    assert "write '<> ALL(:ids)'" in str(refused("SELECT 1 WHERE a not in (:ids)"))
    assert "write '= ANY(:ids)'" in str(refused("SELECT 1 WHERE a IN :ids"))
    assert refused("-- param: ids int[]\nSELECT 1\nWHERE a IN (:ids)").line == 4
    one("SELECT 1 WHERE a IN (:a, :b)")
    one("SELECT 1 WHERE a = ANY(:ids)")
    one("SELECT 1 WHERE a IN (:a + 1)")
    one("SELECT 1 WHERE f(:in) AND a IN (f(:b))")
    assert "($1::int)" in one("-- param: id int\nSELECT 1 WHERE a IN (:id)").variants[0].sql


def test_encodings_and_line_ends(load, write):
    text = "-- name: s :many\r\n-- Grüße.\r\nSELECT 'ä'\r\n, :a\r\n"
    registry = load({"bom.sql": b"\xef\xbb\xbf" + text.encode(), "plain.sql": text})
    for name in ("bom.s", "plain.s"):
        assert registry[name].doc == "Grüße."
        assert registry[name].variants[0].sql == "SELECT 'ä'\n, $1"
        assert registry[name].variants[0].locate(13) == (4, 2)
    with pytest.raises(StatementFileError, match=r"latin\.sql:2: the file is not UTF-8"):
        load({"latin.sql": "-- name: s :many\nSELECT 'ä'".encode("latin-1")})
    (write({}) / "latin.sql").unlink()
    with pytest.raises(StatementFileError, match="UTF-16"):
        load({"wide.sql": text.encode("utf-16")})


def test_sql_before_the_first_header(refused):
    assert refused("-- a comment\nSELECT 1;\n-- name: a :one\nSELECT 1", "").line == 2
    assert "header" in str(refused("SELECT 1", ""))


def test_a_file_of_comments_has_no_statements(load):
    registry = load(
        {
            "a.sql": "-- nothing yet\n/* or here */\n",
            "b.sql": "",
            "c.sql": "-- name: s :one\nSELECT 1",
        }
    )
    assert list(registry) == ["c.s"]


def test_a_forgotten_apostrophe_is_blamed_where_it_is(refused):
    text = (
        "-- name: a :one\nSELECT 'fine';\n"
        "-- name: b :one\nSELECT 'open;\n"
        "-- name: c :one\nSELECT 'fine' || 'x';\n"
    )
    assert refused(text, "").line == 4
    assert refused(text.replace("|| 'x'", "|| 'x"), "").line == 4


def test_a_header_inside_a_comment_or_dollar_quote_is_text(load):
    registry = load(
        {
            "q.sql": "-- name: a :one\nSELECT $$\n-- name: no :one\n$$;\n/*\n-- name: old :one\nSELECT 1\n*/\n-- name: b :one\nSELECT 2"
        }
    )
    assert list(registry) == ["q.a", "q.b"]


def test_a_hint_is_sent_and_documentation_is_not(one):
    text = "/*+ SeqScan(t) */ SELECT 1 /* kept */ FROM t"
    assert one(f"/* not sent */\n{text} -- tail").variants[0].sql == text


def test_ad_hoc_statements():
    statement = Statement.from_sql(
        "-- a\nSELECT :a", name="probe", cardinality=Cardinality.ONE, returns=dict
    )
    assert statement.cardinality is Cardinality.ONE
    assert statement.returns is dict
    assert (statement.path, statement.line, statement.where) == (None, 2, "probe")
    assert repr(statement) == "<Statement probe :one read line 2>"
    assert repr(statement.variants[0]) == "<Variant probe SELECT $1>"
    assert statement.variants[0].place(8) == "probe:2:8"


def test_a_statement_is_frozen(one):
    statement = one("SELECT 1")
    with pytest.raises(AttributeError):
        statement.name = "x"
    assert statement != one("SELECT 1")
    assert hash(statement) == hash(statement)


def test_unknown_dialect_of_a_registry(load):
    with pytest.raises(ConfigurationError, match="unknown dialect 'oracle'"):
        load({"a.sql": "-- name: a :one\nSELECT 1"}, dialect="oracle")
