"""The lexer: what is code, what is a parameter, what is refused."""

import pytest

from aurora_sql.errors import ConfigurationError, StatementFileError
from aurora_sql.statements import Statement
from aurora_sql.statements import _tokens as t
from aurora_sql.statements._source import Source


def lex(text):
    return [(kind, word) for kind, word, _ in t.tokenize_postgresql(Source(text))]


def sent(text):
    statement = Statement.from_sql(text)
    (variant,) = statement.variants
    return variant.sql, variant.parameters


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a[1:2]",
        "SELECT a[lo:hi], a[f(x):g(y)], a['1':b], a[\"x\":b], a[b[1]:c]",
        "SELECT x::int",
        "SELECT 'it''s :no'",
        r"SELECT E'\':no'",
        r"SELECT e'\\\':no', E'a\nb''\':no'",
        "SELECT E'a'\n'\\':no'",
        "SELECT E'a' -- gap\n  '\\':no'",
        "SELECT U&'d\\0061t :no', u&\"d\\0061t :no\" FROM t",
        "SELECT B'01', X'1F', N'n :no', b'0', x'a', n':no'",
        "SELECT $q$ :no $q$, $$ :no $$, $a$ $b$ :no $b$ $a$, $_1$ :no $ $_1$",
        "SELECT 1 -- don't :no",
        "SELECT 1 -- :no\n, 2",
        "SELECT /* /* :no */ :no */ 1",
        "SELECT /* ' */ 1 /* \" :no */ + 2",
        'SELECT "odd:name", "od""d:name"',
        "SELECT a ?| b, a ?& b, a ? b, c @? d, c @@ e, f #>> g, h ->> 'x'",
        "SELECT f(a := 1, b => 2)",
        "SELECT 1.5e10, .5, 0x1F, 1_000, 1e-3, 5.",
        "SELECT a$b, tag$x$y",
        "SELECT a<-1, b@-2, 3--comment\n+4, 5/*c*/*6",
        "SELECT te'x :no'",
    ],
)
def test_text_without_parameters_is_sent_as_it_stands(text):
    expected = text.split("-- don't")[0].rstrip()
    assert sent(text) == (expected, ())


@pytest.mark.parametrize(
    ("text", "expected", "names"),
    [
        ("SELECT :a::text", "SELECT $1::text", ("a",)),
        ("SELECT x::int = :a", "SELECT x::int = $1", ("a",)),
        ("SELECT (:a)", "SELECT ($1)", ("a",)),
        ("SELECT ARRAY[:a,:b]", "SELECT ARRAY[$1,$2]", ("a", "b")),
        ("SELECT a[:i]", "SELECT a[$1]", ("i",)),
        ("SELECT a[:i:2]", "SELECT a[$1:2]", ("i",)),
        ("SELECT a[:i: :j]", "SELECT a[$1: $2]", ("i", "j")),
        ("SELECT a[1: :j]", "SELECT a[1: $1]", ("j",)),
        ("SELECT a[f(:i):2]", "SELECT a[f($1):2]", ("i",)),
        ("SELECT a[(:i):b]", "SELECT a[($1):b]", ("i",)),
        ("SELECT 1=:a", "SELECT 1=$1", ("a",)),
        ("SELECT 1+:a-:b", "SELECT 1+$1-$2", ("a", "b")),
        (
            "SELECT j ?| :keys, j @? :path::jsonpath",
            "SELECT j ?| $1, j @? $2::jsonpath",
            ("keys", "path"),
        ),
        ("SELECT j?:key", "SELECT j?$1", ("key",)),
        ("SELECT f(x=>:a, y:=:b)", "SELECT f(x=>$1, y:=$2)", ("a", "b")),
        ("SELECT :a, :b, :a", "SELECT $1, $2, $1", ("a", "b")),
        ("SELECT :größe, :ñ1", "SELECT $1, $2", ("größe", "ñ1")),
        ("SELECT 'a\\' || :a", "SELECT 'a\\' || $1", ("a",)),
        ("SELECT E'a\\\\' || :a", "SELECT E'a\\\\' || $1", ("a",)),
        ("SELECT $q$x$q$||:a", "SELECT $q$x$q$||$1", ("a",)),
        ("SELECT $q$x$q$ :a", "SELECT $q$x$q$ $1", ("a",)),
        ("SELECT 'x':a", "SELECT 'x'$1", ("a",)),
        ("SELECT /*c*/:a/*d*/", "SELECT /*c*/$1", ("a",)),
        ("SELECT --c\n:a", "SELECT --c\n$1", ("a",)),
        ("SELECT :_x, :a1, :class", "SELECT $1, $2, $3", ("_x", "a1", "class")),
        ("SELECT\t:a\f,\v:b", "SELECT\t$1\f,\v$2", ("a", "b")),
    ],
)
def test_parameters_are_found_where_they_are(text, expected, names):
    assert sent(text) == (expected, names)


def test_many_names_and_a_long_text():
    names = [f"p{i}" for i in range(500)]
    text = "SELECT " + ", ".join(f":{n}" for n in names) + ", '" + "x:no" * 250_000 + "'"
    sql, parameters = sent(text)
    assert parameters == tuple(names)
    assert sql.startswith("SELECT $1, $2,")
    assert sql.endswith("x:no'")


def test_an_operator_ends_where_a_comment_begins():
    assert lex("a+--x\nb") == [(t.WORD, "a"), (t.OPERATOR, "+"), (t.COMMENT, "--x"), (t.WORD, "b")]
    assert lex("a*/*x*/b")[1:3] == [(t.OPERATOR, "*"), (t.BLOCK, "/*x*/")]
    assert lex("@-/+")[0] == (t.OPERATOR, "@-/+")


def test_a_triple_colon_is_a_cast_and_a_parameter_as_in_the_server():
    with pytest.raises(
        StatementFileError, match="line 1:12: a parameter cannot stand for the type"
    ):
        Statement.from_sql("SELECT :a:::b")
    assert lex("a::b")[1] == (t.PUNCTUATION, "::")


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("SELECT 'open", "line 1:8", "string is never closed"),
        ("SELECT E'open\\'", "line 1:8", "string is never closed"),
        ("SELECT U&'open", "line 1:8", "string is never closed"),
        ('SELECT 1,\n "open', "line 2:2", "quoted identifier is never closed"),
        ('SELECT u&"open', "line 1:8", "quoted identifier is never closed"),
        ("SELECT /* /* */ :no", "line 1:8", "comment is never closed"),
        ("SELECT $q$ :no $Q$", "line 1:8", "opened by $q$ is never closed"),
        ("SELECT $1", "line 1:8", "parameters are written by name"),
        ("SELECT a $ b", "line 1:10", "a stray $"),
        ("SELECT a\x00", "line 1:9", "NUL"),
        ("SELECT a:b", "line 1:9", "glued to 'a' before it"),
        ("SELECT 1:b", "line 1:9", "glued to '1' before it"),
        ("SELECT :a$b", "line 1:10", "holds no $"),
        ("SELECT :a\u00a0, 1", "line 1:8", "U+00A0"),
        ("SELECT :ﬁ", "line 1:8", "cannot be a Python identifier"),
    ],
)
def test_what_no_statement_can_hold_is_refused_with_its_place(text, place, message):
    with pytest.raises(StatementFileError) as caught:
        Statement.from_sql(text)
    assert str(caught.value).startswith(place + ": ")
    assert message in str(caught.value)


def test_a_lone_surrogate_is_refused():
    with pytest.raises(StatementFileError, match="surrogate"):
        Statement.from_sql("SELECT '\ud800'")


def test_line_breaks_of_other_systems_become_newlines():
    assert sent("SELECT 1\r\n, :a -- don't\r, :b")[0] == "SELECT 1\n, $1 -- don't\n, $2"


def test_a_slice_in_a_slice_in_long_text_is_read_once():
    # Quadratic work would take minutes here, and the test's time limit would end it.
    text = "SELECT " + ", ".join(["a[b:c]"] * 20_000)
    assert sent(text) == (text, ())
    assert sent("SELECT 1" + " " * 300_000)[0] == "SELECT 1"


def test_dialects():
    assert Statement.from_sql("SELECT `a` # it's", "mysql").variants[0].sql == "SELECT `a`"
    with pytest.raises(ConfigurationError, match="unknown dialect 'oracle'"):
        Statement.from_sql("SELECT 1", "oracle")
