"""A read as a COPY: where values stand, and that they are no part of any text."""

import pytest

from aurora_sql.statements import RESTORED, Statement, copy_texts
from aurora_sql.types import ParameterType

INT = ParameterType("int4", 23, "pg_catalog")
INTS = ParameterType("int4[]", 1007, "pg_catalog", "array")
JSON = ParameterType("jsonb", 3802, "pg_catalog")
MOOD = ParameterType('mo"od', 99999, 'Odd "one')
P1 = "pg_catalog.current_setting('aurora_sql.p1')"


def texts(sql, *types, args=None, header=True):
    variant = Statement.from_sql(sql).variants[0]
    values = ["a value"] * len(types) if args is None else args
    return copy_texts(variant, types, values, header=header)


def copied(sql, *types, args=None):
    text = texts(sql, *types, args=args).copy
    assert text.startswith("COPY (\n")
    assert text.endswith("\n) TO STDOUT WITH (FORMAT csv, HEADER true)")
    return text[len("COPY (\n") : text.rindex("\n)")]


def test_a_value_is_read_from_a_setting():
    assert copied("SELECT a FROM t WHERE id = :id", INT) == (
        f'SELECT a FROM t WHERE id = ({P1}::"pg_catalog"."int4")'
    )
    prepare = texts("SELECT :id", INT).prepare
    assert prepare.endswith(
        "pg_catalog.set_config('aurora_sql.p1',"
        ' pg_catalog.format(\'%s\', $1::"pg_catalog"."int4"), true)'
    )


def test_one_name_is_one_setting():
    text = copied("SELECT :b, :a, :b", INT, INT)
    assert text.count("aurora_sql.p1'") == 2
    assert text.count("aurora_sql.p2'") == 1


def test_null_is_text():
    assert copied("SELECT :a + :b", INT, INT, args=[None, 1]) == (
        'SELECT (NULL::"pg_catalog"."int4") +'
        ' (pg_catalog.current_setting(\'aurora_sql.p2\')::"pg_catalog"."int4")'
    )


def test_names_are_quoted():
    assert f'({P1}::"Odd ""one"."mo""od")' in copied("SELECT :a", MOOD)


@pytest.mark.parametrize("value", ["'; DROP TABLE t; --", "aurora_sql", "\\", "$1", 0, b"x"])
def test_no_value_is_part_of_a_text(value):
    sql = "SELECT :a WHERE x = ANY(:b)"
    assert texts(sql, INT, INTS, args=[value, value]) == texts(sql, INT, INTS, args=["", ""])


@pytest.mark.parametrize("condition", ["= ANY(:ids)", "= any ( :ids /* all */ )", "=\nSOME(:ids)"])
def test_a_list_is_looked_up_by_hash(condition):
    text = copied(f"SELECT a FROM t WHERE id {condition}", INTS)
    assert f'(SELECT pg_catalog.unnest({P1}::"pg_catalog"."int4"[])' in text.replace("( ", "(")


@pytest.mark.parametrize(
    "condition", ["<> ALL(:ids)", "< ANY(:ids)", "= ANY(:ids || 1)", "= ANY((:ids))", "= f(:ids)"]
)
def test_any_other_use_of_a_list_is_read_once(condition):
    text = copied(f"SELECT a FROM t WHERE id {condition}", INTS)
    assert f'((SELECT {P1}::"pg_catalog"."int4"[])::"pg_catalog"."int4"[])' in text


def test_a_list_that_is_null_stays_an_array():
    assert copied("SELECT 1 = ANY(:ids)", INTS, args=[None]) == (
        'SELECT 1 = ANY((NULL::"pg_catalog"."int4"[]))'
    )


def test_a_document_is_read_once():
    assert copied("SELECT a FROM t WHERE doc @> :doc", JSON) == (
        f'SELECT a FROM t WHERE doc @> ((SELECT {P1}::"pg_catalog"."jsonb")::"pg_catalog"."jsonb")'
    )


def test_what_looks_like_a_parameter_is_none():
    sql = "SELECT ':a', $$ :a $$, x::text, \":a\" /* :a */ FROM t WHERE y = :a -- :a"
    text = copied(sql, INT)
    assert text.count("current_setting") == 1
    assert text.startswith("SELECT ':a', $$ :a $$, x::text, \":a\" /* :a */ FROM t WHERE y = (")


def test_comments_and_semicolons_at_the_end():
    for end in (";", " ;", "; -- done", " -- done", " /* done */ ;\n"):
        text = texts(f"SELECT 1{end}", header=False).copy
        assert text.startswith("COPY (\nSELECT 1")
        assert text.endswith("\n) TO STDOUT WITH (FORMAT csv, HEADER false)")
        assert ";" not in text.split("--")[0]


def test_declared_types(one):
    statement = one(
        "SELECT :v WHERE 1 = ANY(:ids)",
        "-- name: s :many\n-- param: v varchar(3)\n-- param: ids int[]",
    )
    variant = statement.variants[0]
    text = ParameterType("varchar", 1043, "pg_catalog")
    copy = copy_texts(variant, [text, INTS], ["x", [1]], header=False).copy
    assert f'SELECT (({P1}::"pg_catalog"."varchar")::varchar(3)) WHERE' in copy
    assert '"int4"[])::int[])' in copy
    null = copy_texts(variant, [text, INTS], [None, None], header=False).copy
    assert 'SELECT ((NULL::"pg_catalog"."varchar")::varchar(3)) WHERE' in null


def test_what_is_changed_is_put_back():
    made = texts("SELECT 1")
    assert made.prepare.count("current_setting") == made.prepare.count("set_config") == RESTORED
    assert made.restore.count("set_config") == RESTORED
    assert f"${RESTORED}" in made.restore
