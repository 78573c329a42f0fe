"""Properties of MySQL's lexer and of its lists, on text that nobody would write by hand."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aurora_sql.errors import AuroraError, StatementFileError
from aurora_sql.statements import Statement
from aurora_sql.statements._source import Source
from aurora_sql.statements._tokens import BLOCK, COMMENT, PARAMETER, STRING
from aurora_sql.statements._tokens_mysql import tokenize_mysql

FRAGMENTS = [
    "'", "''", '"', '""', "`", "``", "N'", "x'1F'", "_utf8mb4'", "\\", "\\\\", "\\'", "#", "--", "-- ",
    "--\t", "\n", " ", "/*", "*/", "/*!", "/*!80019 ", "/*M!", "/*+", ":a", ":b1", ":=", ":", "@", "@@",
    "@x", "?", "(", ")", ",", ";", ".", "->", "->>", "<=>", "-", "+", "*", "/", "a", "1", "1e5", "0x1F",
    "$", "é", "\u00a0", "select", "in (:a)", "-- when :a", "-- name: t :one", "\x00", "\x01", "🐟",
]  # fmt: skip
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join) | st.text(max_size=60)


@settings(max_examples=500, deadline=None)
@given(texts)
def test_tokens_and_the_white_space_between_them_are_the_text(text):
    source = Source(text)
    try:
        tokens = tokenize_mysql(source)
    except StatementFileError:
        return
    at = 0
    for kind, word, offset in tokens:
        assert source.text[at:offset].strip(" \t\n\r\f\v") == ""
        written = f":{word}" if kind == PARAMETER else word
        assert source.text.startswith(written, offset)
        assert written
        at = offset + len(written)
    assert source.text[at:].strip(" \t\n\r\f\v") == ""


def ends(text, *, backslash):
    """Where quotes and comments end, by the letter of the manual and one character at a time."""
    spans, at = [], 0
    while at < len(text):
        start, one = at, text[at]
        if one in "'\"`":
            at += 1
            while True:
                escaped = backslash and text[at] == "\\" and one != "`"
                if escaped or text.startswith(one * 2, at):
                    at += 2
                elif text[at] == one:
                    break
                else:
                    at += 1
            at += 1
        elif one == "#" or (text.startswith("--", at) and text[at + 2 : at + 3] <= " "):
            at = text.find("\n", at)
            at = len(text) if at < 0 else at
        elif text.startswith("/*", at):
            at = text.index("*/", at + 2) + 2
        else:
            at += 1
            continue
        spans.append((start, at))
    return spans


@settings(max_examples=800, deadline=None)
@given(
    st.text(alphabet="':\"`\\#-/*a \nn1(,)?x", max_size=24).map(lambda s: s.replace("/*!", "/* "))
)
@example("'\\\\':a")
@example("\"'\" :a '\"'")
@example("--a 'b' -- c")
def test_quotes_and_comments_end_alike_under_any_sql_mode(text):
    try:
        tokens = tokenize_mysql(Source(text))
    except StatementFileError:
        return
    # The letters before a string's quote belong to it here, and to no quote there.
    found = [
        (offset + word.find("'") * (kind == STRING and word[0] in "bnxBNX"), offset + len(word))
        for kind, word, offset in tokens
        if kind in (STRING, BLOCK, COMMENT) or word[:1] == "`"
    ]
    assert found == ends(text, backslash=True) == ends(text, backslash=False)


inner = st.text(alphabet="ab:no '\"`/*-\n?#@[]", max_size=12)
literals = st.one_of(
    inner.map(lambda s: "'" + s.replace("'", "''") + "'"),
    inner.map(lambda s: "'" + s.replace("'", "\\\\") + "'"),
    inner.map(lambda s: "N'" + s.replace("'", "''") + "'"),
    inner.map(lambda s: "_utf8mb4'" + s.replace("'", "''") + "'"),
    inner.map(lambda s: '"' + s.replace('"', '""') + '"'),
    inner.map(lambda s: "`a" + s.replace("`", "``") + "`"),
    inner.map(lambda s: "@`a" + s.replace("`", "``") + "`"),
    inner.map(lambda s: "-- " + s.replace("\n", "") + "\n"),
    inner.map(lambda s: "#" + s.replace("\n", "") + "\n"),
    inner.map(lambda s: "/* " + s.replace("*/", "") + " */"),
)
code = st.sampled_from(["a", "1", "@x := 1", "c->'$.a'", "1--1", "+", ",", "t.u", "0x1F", "@@y"])
names = st.sampled_from(["p", "q", "größe", "_r"])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("lcp"), literals, code, names), min_size=1, max_size=12))
def test_only_parameters_in_code_are_found_and_nothing_else_is_touched(parts):
    text, expected, found = "SELECT ", "SELECT ", []
    for what, literal, plain, name in parts:
        written = {"l": literal, "c": plain, "p": f":{name}"}[what]
        text += written + "\n"
        expected += ("?" if what == "p" else written) + "\n"
        found += [name] * (what == "p")
    # The last word is code, so that no comment at the end is left out.
    text, expected = f"{text}FROM t", f"{expected}FROM t"
    (variant,) = Statement.from_sql(text, "mysql").variants
    assert variant.sql == expected
    assert list(variant.parameters) == found


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers() | st.none(), max_size=70),
    st.lists(st.integers(), max_size=9),
    st.integers(),
)
def test_values_stand_at_their_placeholders(first, second, plain):
    statement = Statement.from_sql(
        "SELECT 1 FROM t WHERE a IN (:first) AND b = :plain AND c NOT IN (:second) AND a IN (:first)",
        "mysql",
    )
    variant, args = statement.bind({"first": first, "second": second, "plain": plain})
    assert variant.sql.count("?") == len(args) == len(variant.parameters)
    given_values = {"first": first, "second": second, "plain": [plain]}
    for name, values in given_values.items():
        there = [value for key, value in zip(variant.parameters, args, strict=True) if key == name]
        uses = 2 if name == "first" else 1
        assert set(there) == set(values)
        size = len(there) // uses
        assert there == there[:size] * uses
        assert there[: len(values)] == values
        assert size == (1 << (len(values) - 1).bit_length() if values else 0)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_any_text_is_a_statement_or_a_clear_error(text):
    try:
        statement = Statement.from_sql(text, "mysql")
        variant, args = statement.bind({name: [1] for name in statement.parameters})
    except AuroraError:
        return
    assert len(args) == len(variant.parameters)
    for position in (1, len(variant.sql), len(variant.sql) + 9):
        assert variant.locate(position)[0] >= 1


@pytest.mark.parametrize("text", ["'" * 100_001, "/*" * 50_000, "`" * 99_999, "('" * 50_001])
def test_long_runs_are_read_once(text):
    with pytest.raises(StatementFileError):
        Statement.from_sql(f"SELECT {text}", "mysql")
