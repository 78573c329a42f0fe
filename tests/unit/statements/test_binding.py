"""Binding values to numbers, and what a wrong call is told."""

from types import MappingProxyType

import pytest

from aurora_sql.errors import ParameterError


def test_values_come_in_the_order_of_the_numbers(one):
    statement = one("SELECT :b, :a, :b, :c")
    variant, args = statement.bind({"a": 1, "b": 2, "c": [3]})
    assert variant is statement.variants[0]
    assert variant.sql == "SELECT $1, $2, $1, $3"
    assert args == (2, 1, [3])
    assert statement.bind(MappingProxyType({"a": 1, "b": 2, "c": 3}))[1] == (2, 1, 3)


def test_no_parameter_and_one(one):
    assert one("SELECT 1").bind({})[1] == ()
    statement = one("SELECT :a")
    for value in (None, 1, (1, 2), "x", [1]):
        assert statement.bind({"a": value})[1] == (value,)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "missing parameters 'email' and 'active'; it takes 'email' and 'active'"),
        ({"email": 1}, "missing parameter 'active'"),
        (
            {"emial": 1, "active": 2},
            "missing parameter 'email'; unknown parameter 'emial', did you mean 'email'?",
        ),
        ({"email": 1, "active": 2, "x": 3}, "unknown parameter 'x'; it takes"),
        ({"email": 1, "x": 2}, "missing parameter 'active'; unknown parameter 'x'"),
        ((1, 2), "given by name, not as tuple"),
        ([1], "given by name, not as list"),
        ({1: 2, "email": 3}, "unknown parameter 1"),
    ],
)
def test_a_wrong_call_names_statement_file_and_line(one, params, message):
    statement = one("SELECT :email, :active")
    with pytest.raises(ParameterError) as caught:
        statement.bind(params)
    assert str(caught.value).startswith("q.s (")
    assert "q.sql:1): " in str(caught.value)
    assert message in str(caught.value)
    assert caught.value.retry_safe


def test_a_statement_without_parameters_takes_none(one):
    with pytest.raises(ParameterError, match="unknown parameter 'a'; it takes none"):
        one("SELECT 1").bind({"a": 1})


def test_a_batch(one):
    statement = one("INSERT INTO t VALUES (:a, :b)", "-- name: s :batch")
    variant, sets = statement.bind_many({"a": i, "b": -i} for i in range(3))
    assert variant is statement.variants[0]
    assert sets == [(0, 0), (1, -1), (2, -2)]
    assert statement.bind_many([])[1] == []
    with pytest.raises(ParameterError, match=r"set 1: missing parameter 'b'"):
        statement.bind_many([{"a": 1, "b": 2}, {"a": 1}])
    with pytest.raises(ParameterError, match=r"set 0: unknown parameter 'c'"):
        statement.bind_many([{"a": 1, "b": 2, "c": 3}])
    with pytest.raises(ParameterError, match=r"set 0: parameters are given by name, not as tuple"):
        statement.bind_many([(1, 2)])


def test_places_of_errors(load):
    text = "-- name: s :many\n-- doc\nSELECT :first,\n  :second::int,\n  nope\nFROM t\n"
    variant = load({"q.sql": text})["q.s"].variants[0]
    assert variant.sql == "SELECT $1,\n  $2::int,\n  nope\nFROM t"
    assert variant.locate(1) == (3, 1)
    assert variant.locate(variant.sql.index("$1") + 1) == (3, 8)
    assert variant.locate(variant.sql.index("::") + 1) == (4, 10)
    assert variant.locate(variant.sql.index("nope") + 1) == (5, 3)
    assert variant.locate(variant.sql.index("nope") + 3) == (5, 5)
    assert variant.locate(len(variant.sql) + 1) == (6, 7)
    assert variant.locate(10_000) == (6, 7)
    assert variant.locate(0) == (3, 1)


def test_identity(one):
    variant = one("SELECT 1").variants[0]
    assert {variant: 1}[variant] == 1
    assert variant.statement.variants[0] is variant
