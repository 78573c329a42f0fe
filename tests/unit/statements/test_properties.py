"""Properties of the lexer and the parser, on text that nobody would write by hand."""

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aurora_sql.errors import AuroraError, ParameterError, StatementFileError
from aurora_sql.statements import Statement
from aurora_sql.statements._build import build
from aurora_sql.statements._files import parse_file
from aurora_sql.statements._source import Source
from aurora_sql.statements._tokens import PARAMETER, tokenize_postgresql

FRAGMENTS = [
    "'", "''", '"', "E'", "e'\\'", "U&'", "N'", "X'1F'", "$$", "$q$", "$q", "$1", "$", "/*", "*/",
    "--", "\n", "\r\n", " ", "\t", ":a", ":b1", "::", ":=", ":", "[", "]", "(", ")", ",", ";", ".",
    "?|", "@?", "->>", "<", "-", "+", "*", "/", "\\", "\\'", "a", "E", "e", "u", "U&", "n", "1", "1.5",
    "0x1F", "select", "from", "where", "and", "or", "set", "with", "insert into t", "é", "\u00a0",
    "-- when :a", "-- when :a = 'x'", "-- name: t :one", "{", "\x00",
]  # fmt: skip
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join) | st.text(max_size=60)


@settings(max_examples=500, deadline=None)
@given(texts)
@example("a[b:c]")
@example("E'a'\n'\\''")
def test_tokens_and_the_white_space_between_them_are_the_text(text):
    source = Source(text)
    try:
        tokens = tokenize_postgresql(source)
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


inner = st.text(alphabet="ab:no '\"\\$/*-\n?[]", max_size=12)


def nested_comment(depth):
    text = inner.map(lambda s: s.replace("/*", "").replace("*/", "").strip("/*"))
    if depth == 0:
        return text.map(lambda s: f"/*{s} */")
    return st.tuples(text, nested_comment(depth - 1), text).map(
        lambda t: f"/*{t[0]} {t[1]} {t[2]} */"
    )


literals = st.one_of(
    inner.map(lambda s: "'" + s.replace("'", "''") + "'"),
    inner.map(lambda s: "E'" + s.replace("\\", "\\\\").replace("'", "\\'") + "'"),
    inner.map(lambda s: "e'" + s.replace("\\", "\\\\").replace("'", "''") + "'"),
    inner.map(lambda s: "U&'" + s.replace("'", "''") + "'"),
    inner.map(lambda s: '"' + s.replace('"', '""') + '"'),
    inner.map(lambda s: "$$" + s.replace("$", "") + "$$"),
    inner.map(lambda s: "$tag$" + s.replace("$tag$", "") + " $tag$"),
    inner.map(lambda s: "-- " + s.replace("\n", "").replace("when", "") + "\n"),
    nested_comment(2),
)
code = st.sampled_from(
    ["a", "1", "a[1:2]", "x::int", "f(x := 1)", "b ?| c", "d @? e", "+", ",", "t.u", "a[b:c]"]
)
names = st.sampled_from(["p", "q", "größe", "_r"])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("lcp"), literals, code, names), min_size=1, max_size=12))
def test_only_parameters_in_code_are_found_and_nothing_else_is_touched(parts):
    text, expected, numbers = "SELECT ", "SELECT ", {}
    for kind, literal, word, name in parts:
        if kind == "p":
            text += f":{name} "
            expected += f"${numbers.setdefault(name, len(numbers) + 1)} "
        else:
            piece = literal if kind == "l" else word
            text += f"{piece} "
            expected += f"{piece} "
    text, expected = f"{text} 0", f"{expected} 0"
    (variant,) = Statement.from_sql(text).variants
    assert variant.sql == expected
    assert variant.parameters == tuple(numbers)
    for number, name in enumerate(variant.parameters, 1):
        if f"${number} " in variant.sql:
            line, column = variant.locate(variant.sql.rindex(f"${number} ") + 1)
            assert text.split("\n")[line - 1][column - 1 :]
        assert name in variant.statement.parameters


@settings(max_examples=300, deadline=None)
@given(texts, st.integers(0, 5000))
@example("''-- when :a = 'x'", 11)
def test_every_position_has_a_place_in_the_text(text, position):
    try:
        statement = Statement.from_sql(f"SELECT {text}")
    except StatementFileError:
        return
    lines = statement.source.text.split("\n")
    for variant in statement.variants:
        line, column = variant.locate(position)
        assert 1 <= line <= len(lines)
        assert 1 <= column <= len(lines[line - 1]) + 1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "s=x", "s=y"]), max_size=6), st.data())
def test_a_call_gets_exactly_the_lines_it_asks_for(conditions, data):
    lines = []
    for number, condition in enumerate(conditions):
        name, _, literal = condition.partition("=")
        marker = f":{name} = '{literal}'" if literal else f":{name}"
        lines.append(f"  AND c{number} = 1 -- when {marker}")
    statement = Statement.from_sql("\n".join(["SELECT 1 WHERE true", *lines, "LIMIT 1"]))
    present = {condition.partition("=")[0] for condition in conditions}
    params = {name: True for name in present - {"s"} if data.draw(st.booleans())}
    choices = sorted(
        {c[2:] for c in conditions if c.startswith("s=")}, key=[c[2:] for c in conditions].index
    )
    if choices and data.draw(st.booleans()):
        params["s"] = data.draw(st.sampled_from(choices))
    chosen = params.get("s", choices[0] if choices else None)
    variant, args = statement.bind(params)
    kept = [
        f"  AND c{number} = 1"
        for number, condition in enumerate(conditions)
        if condition in params or condition == f"s={chosen}"
    ]
    assert variant.sql == "\n".join(["SELECT 1 WHERE true", *kept, "LIMIT 1"])
    assert args == ()
    assert variant in statement.variants


CORPUS = b"""-- name: get :maybe
-- The user with this e-mail, don't ask whose.
-- returns: shop.models.User
-- timeout: 500ms
SELECT id, "full name", tags[1:2], $q$ :no $q$ FROM users WHERE lower(email) = lower(:email);

-- name: search :many
-- role: reader
-- param: since timestamptz
SELECT id, 'it''s :no', E'\\':no' FROM orders /* /* :no */ :no */
WHERE customer_id = :customer_id
  AND status = :status               -- when :status
  AND created_at >= :since::date     -- when :since
  AND data ?| :keys AND data @? '$.a'  -- when :keys
ORDER BY created_at DESC, id DESC    -- when :sort = 'newest'
ORDER BY total_amount DESC, id DESC  -- when :sort = 'largest'
LIMIT :limit;

-- name: add(name, total)<!
WITH x AS (INSERT INTO orders (name, total) VALUES (:name, :total) RETURNING id) SELECT id FROM x;

-- name: setup :script
CREATE TABLE a (b int); DO $$ BEGIN PERFORM 1; END $$;
"""


def survive(data: bytes) -> None:
    """Load bytes as a file and bind; only errors of the tree may come."""
    with contextlib.suppress(AuroraError):
        for raw in parse_file(data, Path("fuzz.sql"), "postgresql"):
            statement = build(raw, "fuzz.s", "postgresql")
            repr(statement)
            for params in ({}, dict.fromkeys(statement.parameters, "x")):
                with contextlib.suppress(ParameterError):
                    statement.bind(params)
            for variant in statement.variants:
                variant.locate(len(variant.sql) // 2)
                repr(variant)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_find_no_crash(data):
    survive(data)
    survive(b"-- name: a :many\nSELECT " + data)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_random_fragments_find_no_crash(text):
    survive(f"-- name: a :many\nSELECT {text}".encode(errors="replace"))
    survive(f"-- name: a :many\nWITH {text}".encode(errors="replace"))


@pytest.mark.parametrize("seed", range(4))
def test_mutations_of_real_files_find_no_crash(seed):
    chance = random.Random(seed)
    pieces = [fragment.encode() for fragment in FRAGMENTS]
    for _ in range(250):
        data = bytearray(CORPUS)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data))
            kind = chance.random()
            if kind < 0.3:
                del data[at : at + chance.randint(1, 12)]
            elif kind < 0.7:
                data[at:at] = chance.choice(pieces)
            elif kind < 0.85:
                data[at] = chance.randrange(256)
            else:
                end = at + chance.randint(1, 80)
                data[at:at] = data[at:end]
        survive(bytes(data))


def test_the_corpus_itself_is_sound():
    assert [
        len(build(raw, "x", "postgresql").variants)
        for raw in parse_file(CORPUS, Path("c.sql"), "postgresql")
    ] == [1, 16, 1, 1]
