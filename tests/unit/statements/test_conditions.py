"""Conditional lines: the variants they make, what a call chooses, what is refused at load."""

import pytest

from aurora_sql.errors import ParameterError

SEARCH = """SELECT id, status
FROM orders
WHERE customer_id = :customer_id
  AND status = :status               -- when :status
  AND created_at >= :since           -- when :since
ORDER BY created_at DESC, id DESC    -- when :sort = 'newest'
ORDER BY total_amount DESC, id DESC  -- when :sort = 'largest'
LIMIT :limit;"""


def test_every_combination_is_a_variant(one):
    statement = one(SEARCH)
    assert len(statement.variants) == 8
    assert statement.variants == statement.variants
    assert len({variant.sql for variant in statement.variants}) == 8
    assert statement.parameters == ("customer_id", "status", "since", "sort", "limit")
    assert statement.required == ("customer_id", "limit")


def test_a_call_chooses_lines_by_what_it_gives(one):
    statement = one(SEARCH)
    variant, args = statement.bind({"customer_id": 1, "limit": 5})
    assert variant.sql == (
        "SELECT id, status\nFROM orders\nWHERE customer_id = $1\n"
        "ORDER BY created_at DESC, id DESC\nLIMIT $2"
    )
    assert args == (1, 5)
    variant, args = statement.bind(
        {"limit": 5, "sort": "largest", "since": 9, "customer_id": 1, "status": None}
    )
    assert variant.sql == (
        "SELECT id, status\nFROM orders\nWHERE customer_id = $1\n"
        "  AND created_at >= $2\nORDER BY total_amount DESC, id DESC\nLIMIT $3"
    )
    assert args == (1, 9, 5)
    assert variant.label == "since, sort='largest'"
    assert (
        statement.bind({"customer_id": 2, "limit": 1, "since": 0, "sort": "largest"})[0] is variant
    )


def test_falsy_values_are_given(one):
    statement = one("SELECT 1 WHERE true\n AND a = :a -- when :a")
    assert "$1" in statement.bind({"a": 0})[0].sql
    assert "$1" in statement.bind({"a": ""})[0].sql
    assert statement.bind({"a": None})[1] == ()
    assert statement.bind({})[1] == ()


@pytest.mark.parametrize("sort", ["smallest", "", 3, ["newest"], {"a": 1}, b"newest"])
def test_any_other_value_of_a_choice_is_an_error(one, sort):
    with pytest.raises(ParameterError, match="one of 'newest' and 'largest'"):
        one(SEARCH).bind({"customer_id": 1, "limit": 5, "sort": sort})


def test_wrong_names_are_named(one):
    statement = one(SEARCH)
    with pytest.raises(ParameterError, match=r"q\.s \(.*q\.sql:1\): missing parameter 'limit'"):
        statement.bind({"customer_id": 1})
    with pytest.raises(ParameterError, match="unknown parameter 'statuss', did you mean 'status'"):
        statement.bind({"customer_id": 1, "limit": 5, "statuss": 1})
    with pytest.raises(ParameterError, match="given by name, not as list"):
        statement.bind([1])


def test_a_value_for_a_line_that_is_left_out_is_an_error(one):
    statement = one("SELECT 1 WHERE true\n AND a BETWEEN :lo AND :hi -- when :lo")
    assert statement.bind({"lo": 1, "hi": 2})[1] == (1, 2)
    assert statement.bind({"hi": None})[1] == ()
    with pytest.raises(ParameterError, match="'hi' given, but only lines that are left out"):
        statement.bind({"hi": 2})
    with pytest.raises(ParameterError, match="missing parameter 'hi', which a line that is kept"):
        statement.bind({"lo": 1})


def test_a_name_in_unconditional_code_must_be_given_even_if_it_decides(one):
    statement = one("SELECT :p::int WHERE true\n AND a = 1 -- when :p")
    assert statement.required == ("p",)
    variant, args = statement.bind({"p": None})
    assert "a = 1" not in variant.sql
    assert args == (None,)
    with pytest.raises(ParameterError, match="missing parameter 'p'"):
        statement.bind({})


def test_a_choice_that_is_also_bound_takes_its_default(one):
    statement = one(
        "SELECT :sort::text FROM t\nORDER BY a -- when :sort = 'a'\nORDER BY b -- when :sort = 'b'"
    )
    assert statement.bind({})[1] == ("a",)
    assert statement.bind({"sort": None})[1] == ("a",)
    variant, args = statement.bind({"sort": "b"})
    assert variant.sql.endswith("ORDER BY b")
    assert args == ("b",)


def test_a_quote_in_a_literal_is_doubled(one):
    statement = one("SELECT 1 -- when :p = 'it''s'\nSELECT 2 -- when :p = 'x'")
    assert statement.bind({"p": "it's"})[0].sql == "SELECT 1"
    assert statement.bind({"p": "x"})[0].sql == "SELECT 2"


def test_a_marker_inside_a_literal_is_text(one):
    text = "SELECT 'x -- when :a\n', $$ -- when :b\n$$, \" -- when :c\" /* -- when :d */ FROM t"
    statement = one(text)
    assert len(statement.variants) == 1
    assert statement.variants[0].sql == text


def test_prose_that_begins_with_when_is_a_comment(one):
    text = "SELECT a, -- when the user signed up\n b -- whenever :x\nFROM t"
    statement = one(text)
    assert len(statement.variants) == 1
    assert statement.parameters == ()


@pytest.mark.parametrize(
    ("sql", "line", "message"),
    [
        ("SELECT 1 -- when status", 2, "not understood"),
        ("SELECT 1 -- when :a = x", 2, "not understood"),
        ("SELECT 1 -- when :a = 'x", 2, "not understood"),
        ("SELECT 1 -- when :a or :b", 2, "not understood"),
        ("SELECT 1 -- When :a", 2, "not understood"),
        ("SELECT 1 -- wen :a", 2, "did you mean 'when'"),
        ("SELECT 1\n-- when :a\n", 3, "marks nothing"),
        ("SELECT 1\n-- when :a", 3, "marks nothing"),
        ("SELECT 'a\nb' -- when :a", 3, "cuts a literal in two"),
        ("SELECT $$a\nb$$ -- when :a", 3, "cuts a literal in two"),
        ("SELECT /* a\n */ 1 -- when :a", 3, "cuts a comment in two"),
        ("SELECT f(1, -- when :a\n2)", 2, "leaves a bracket open"),
        ("SELECT f(1\n) -- when :a", 3, "closes a bracket that it did not open"),
        ("SELECT 1 -- when :a", 1, "nothing is left"),
        ("SELECT 1 WHERE\n a = 1 -- when :a", 2, "WHERE is left dangling before the end"),
        ("SELECT 1 WHERE\n a = 1 -- when :a\nORDER BY 1", 2, "WHERE is left dangling before ORDER"),
        ("SELECT 1 WHERE a = 1 AND\n b = 1 -- when :b", 2, "AND is left dangling"),
        ("SELECT 1 WHERE a = 1 OR\n b = 1 -- when :b\nLIMIT 1", 2, "OR is left dangling"),
        (
            "SELECT 1 FROM t\nWHERE a = :a -- when :a\n AND b = 2",
            4,
            "AND stands where no condition",
        ),
        (
            "SELECT 1 FROM t JOIN u USING (x)\nWHERE a = :a -- when :a\n OR b = 2",
            4,
            "OR stands where",
        ),
        ("UPDATE t SET\n a = :a -- when :a\nWHERE id = 1", 2, "SET is left dangling"),
        ("UPDATE t SET a = 1,\n b = :b -- when :b\nWHERE id = 1", 2, ", is left dangling"),
        ("SELECT a,\n b -- when :b\nFROM t", 2, "is left dangling before FROM"),
        ("SELECT 1 WHERE (\n a = 1 -- when :a\n)", 4, "nothing is left inside the brackets"),
        ("SELECT 1 WHERE (\n a = 1 -- when :a\n OR b = 2)", 4, "nothing stands before OR"),
        ("SELECT f(\n 1 -- when :a\n , 2)", 4, "nothing stands before ,"),
        ("SELECT 1 WHERE a =\n 1 -- when :a", 2, "an operator is left dangling"),
        ("SELECT 1 UNION ALL\nSELECT 2 -- when :a", 2, "UNION is left dangling"),
        ("SELECT 1 LIMIT\n :n -- when :n", 2, "LIMIT is left dangling"),
        ("SELECT 1 ORDER BY\n a -- when :a", 2, "BY is left dangling"),
        (
            "SELECT 1 FROM t\nORDER BY a -- when :a\nORDER BY b -- when :b",
            4,
            "ORDER BY stands twice",
        ),
        ("SELECT 1 FROM t\nWHERE a -- when :a\nWHERE b", 4, "WHERE stands twice"),
        (
            "SELECT 1 WHERE true\n AND a -- when :a\n AND b -- when :a = 'x'",
            4,
            "by its value on one line",
        ),
    ],
)
def test_what_cannot_be_a_statement_in_every_combination_is_refused(refused, sql, line, message):
    error = refused(sql, "-- name: s")
    assert message in str(error)
    assert error.line == line, str(error)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM t JOIN u ON t.a = u.a\n AND u.b = :b -- when :b",
        "SELECT a\n, b -- when :b\nFROM t",
        "SELECT f(\n :a -- when :a\n)",
        "UPDATE t SET x = now()\n, a = :a -- when :a\nWHERE id = 1",
        "INSERT INTO t (a) SELECT 1 WHERE true ON CONFLICT (a) WHERE b DO UPDATE SET a = 2\n WHERE t.c = :c -- when :c",
        "SELECT x IS DISTINCT\n FROM 1\n, 2 -- when :b\nFROM t",
        "SELECT 1 LIMIT ALL\nOFFSET :o -- when :o",
        "SELECT substring(x FROM 1 FOR 2) FROM t\nWHERE a -- when :a",
        "(SELECT 1 ORDER BY 1\n LIMIT 1) -- keep\nUNION ALL SELECT 2\nORDER BY 1 -- when :a",
        "SELECT 1 FROM t WHERE a IN (SELECT b FROM u\n WHERE c = :c -- when :c\n) ORDER BY 1",
        "SELECT DISTINCT ON (a) a FROM t\n WHERE a > :a -- when :a\nORDER BY a",
        "SELECT 1 WHERE true\n AND a -- when :a\n;  ",
        "SELECT count(*) FILTER (WHERE a) FROM t\nWHERE b -- when :b",
        "SELECT 1 FROM t LIMIT 1\nFOR UPDATE -- when :lock",
        "SELECT 1\nLIMIT :n -- when :n\n; -- done",
    ],
)
def test_sound_combinations_load(one, sql):
    assert len(one(sql, "-- name: s").variants) == 2


def test_the_marker_may_follow_the_final_semicolon(one):
    statement = one("SELECT 1\nLIMIT :n; -- when :n")
    assert {v.sql for v in statement.variants} == {"SELECT 1", "SELECT 1\nLIMIT $1"}


def test_at_most_64_variants(one, refused):
    line = "\n AND c{0} = :c{0} -- when :c{0}"
    six = "SELECT 1 WHERE true" + "".join(line.format(i) for i in range(6))
    assert len(one(six).variants) == 64
    assert "128 combinations, more than 64" in str(refused(six + line.format(6)))


def test_a_batch_or_script_has_no_conditions(refused):
    sql = "DELETE FROM t WHERE a = :a\n AND b = :b -- when :b"
    assert ":batch cannot" in str(refused(sql, "-- name: s :batch"))
    assert ":script cannot" in str(refused("SELECT 1 -- when :b", "-- name: s :script"))


def test_places_of_errors_in_every_variant(load):
    statement = load({"q.sql": f"-- name: s :many\n{SEARCH}\n"})["q.s"]
    for variant in statement.variants:
        at = variant.sql.index("LIMIT") + 1
        assert variant.locate(at) == (9, 1)
        assert variant.place(at).endswith("q.sql:9:1")
        at = variant.sql.index("$1") + 1
        assert variant.locate(at) == (4, 21)
        assert variant.locate(at + 1) == (4, 21)
        assert variant.locate(1) == (2, 1)
        if "status = $" in variant.sql:
            assert variant.locate(variant.sql.index("status = $") + 1) == (5, 7)
        assert variant.locate(len(variant.sql) + 1)[0] == 9
