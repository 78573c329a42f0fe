"""How an explanation reads, and values that are written on the command line."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from aurora_sql import Access, Explanation
from aurora_sql.cli._explain import read_value
from aurora_sql.execution import UncastText
from aurora_sql.execution._explain import tabular
from aurora_sql.types import Engine

ALONE = Explanation(
    name="users.get",
    path=Path("sql/users.sql"),
    line=3,
    dialect="postgresql",
    instance="writer:5432",
    access=Access.READ,
    sql="SELECT id\nFROM users WHERE id = $1 AND email = $2",
    parameters=("id", "email"),
    types=("int8", "text"),
    plan=("Index Scan", "  Index Cond"),
)


def test_it_reads_from_top_to_bottom():
    assert str(ALONE) == (
        "users.get  sql/users.sql:3\n"
        "\n"
        "Read on writer:5432\n"
        "  SELECT id\n"
        "  FROM users WHERE id = $1 AND email = $2\n"
        "\n"
        "Parameters\n"
        "  $1  id     int8\n"
        "  $2  email  text\n"
        "\n"
        "Plan\n"
        "  Index Scan\n"
        "    Index Cond"
    )


def test_a_list_on_mysql_is_one_line():
    found = Explanation(
        name="<ad hoc>",
        path=None,
        line=1,
        dialect="mysql",
        instance="writer:3306",
        access=Access.WRITE,
        sql="…",
        parameters=("n", "ids", "ids", "ids", "ids", "n"),
        types=("int", *("bigint",) * 4, "varchar"),
        plan=("-> Limit",),
        together=("SELECT 1", "SELECT 2"),
        together_plan=("-> Append",),
        callers=2,
    )
    text = str(found)
    assert text.startswith("<ad hoc>\n\nWrite on writer:3306\n")
    assert "  ?  n    int\n  ?  ids  bigint   4 times\n  ?  n    varchar\n" in text
    headings = [section.heading for section in found.sections()]
    assert headings[-3:] == ["For many callers", "For many callers", "Plan for 2 of these calls"]


def test_rows_as_a_table_without_empty_columns():
    rows = [(1, "SIMPLE", None, "a", ""), (2, "UNION", None, None, "")]
    assert tabular(["id", "select_type", "key", "table", "Extra"], rows) == (
        "id  select_type  table",
        "1   SIMPLE       a",
        "2   UNION",
    )
    assert tabular(["a", "b"], []) == ("",)


@pytest.mark.parametrize(
    "text", ["", "5", "1.5", "true", "[1, 2]", "2026-01-31", "a b", "{", "'x'"]
)
def test_postgresql_casts_what_was_written(text):
    value = read_value(text, Engine.POSTGRESQL)
    assert (type(value), value) == (UncastText, text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("5", 5),
        ("1.5", 1.5),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("2026-01-31", dt.date(2026, 1, 31)),
        ("2026-01-31T10:00:00", dt.datetime(2026, 1, 31, 10)),
        ("2026-01-31 10:00", dt.datetime(2026, 1, 31, 10)),
        ("2026-13-31", "2026-13-31"),
        ("2026-01-31 and more", "2026-01-31 and more"),
        ('"2026-01-31"', "2026-01-31"),
        ('"5"', "5"),
        ('{"a": 1}', '{"a": 1}'),
        ("a b", "a b"),
    ],
)
def test_mysql_takes_values_for_what_they_look_like(text, value):
    found = read_value(text, Engine.MYSQL)
    assert (type(found), found) == (type(value), value)


def test_null_and_text_in_quotes():
    for engine in Engine:
        assert read_value("null", engine) is None
        assert read_value('"null"', engine) == "null"
        assert read_value("NULL", engine) == "NULL"
