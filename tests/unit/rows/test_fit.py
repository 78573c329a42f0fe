"""Columns that do not fit a model are refused, and what fits is converted."""

import dataclasses
import datetime as dt
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, NewType
from uuid import UUID

import pydantic
import pytest
import typing_extensions
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    RootModel,
)

from aurora_sql.rows import PlainRow, Row, build_maker

WHERE = "users.get (sql/users.sql:12)"


class Address(BaseModel):
    city: str
    zip: str | None = None


class Line(BaseModel):
    sku: str
    price: Decimal


class User(BaseModel):
    id: int
    email: str
    active: bool = True


@dataclasses.dataclass
class Person:
    id: int
    email: str
    active: bool = True


def test_rows_are_handed_out_as_they_are(columns):
    assert build_maker(columns("id int4"), None, where=WHERE, nullability={}) is None
    assert build_maker(columns("id int4"), Row, where=WHERE, nullability={}) is None
    assert build_maker(columns("id int4"), PlainRow, where=WHERE, nullability={}) is None


def test_a_hint_about_no_column_is_an_error(refuse):
    refuse(None, ["email text"], "'emial'", "did you mean 'email'?", nullability={"emial": True})


@pytest.mark.parametrize("model", [User, Person])
def test_everything_wrong_is_told_at_once(refuse, model):
    text = refuse(
        model,
        ["id text", "mail text", "active bool"],
        f"{model.__name__}.id is int, and column 'id' (text: str) cannot fill it",
        f"{model.__name__}.email (str) is required, and there is no column 'email'",
        f"column 'mail' (text: str) fills no field of {model.__name__} (did you mean 'email'?)",
    )
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize("model", [User, Person, dict])
def test_two_columns_of_one_name(refuse, model):
    refuse(model, ["id int4", "email text", "id int4"], "2 columns are called 'id'")


@pytest.mark.parametrize("model", [User, Person])
def test_a_column_known_to_be_null_at_times(refuse, make, model):
    refuse(
        model,
        ["id int4", "email text"],
        f"{model.__name__}.email is str, and column 'email' (text: str) can be NULL",
        nullability={"email": True, "id": False},
    )
    (made,) = make(model, ["id int4", "email text"], (1, "a"), nullability={"email": False})
    assert made.email == "a"


@pytest.mark.parametrize(
    ("annotation", "type_name"),
    [
        (int, "text"),
        (int, "timestamptz"),
        (int, "uuid"),
        (str, "int4"),
        (str, "uuid"),
        (str, "timestamptz"),
        (str, "text[]"),
        (bool, "text"),
        (float, "text"),
        (Decimal, "text"),
        (dt.datetime, "text"),
        (dt.datetime, "int4"),
        (dt.date, "text"),
        (dt.time, "timestamptz"),
        (dt.timedelta, "int4"),
        (UUID, "int4"),
        (int | None, "text"),
        (int | dt.date, "text"),
        (list[int], "int4"),
        (dict[str, int], "int4[]"),
        (dict[str, int], "text"),
        (Literal["a", "b"], "int4"),
        (Enum("Color", {"RED": "r"}), "int4"),
        (Address, "text"),
        (Person, "int4"),
        (typing_extensions.TypedDict("Pair", {"a": int}), "int4"),
        (NewType("UserId", int), "text"),
        (Annotated[int, Field(gt=0)], "text"),
    ],
)
@pytest.mark.parametrize("kind", ["pydantic", "dataclass"])
def test_a_type_that_cannot_fit(refuse, kind, annotation, type_name):
    if kind == "pydantic":
        model = pydantic.create_model("Model", value=annotation)
    else:
        model = dataclasses.make_dataclass("Model", [("value", annotation)])
    refuse(model, [f"value {type_name}"], "Model.value is", f"column 'value' ({type_name}")


@pytest.mark.parametrize(
    ("annotation", "type_name", "value", "expected"),
    [
        (float, "numeric", Decimal("1.5"), 1.5),
        (float, "int4", 2, 2.0),
        (Decimal, "int4", 2, Decimal(2)),
        (int, "numeric", Decimal(2), 2),
        (bool, "int4", 1, True),
        (bytes, "text", "a", b"a"),
        (
            UUID,
            "text",
            "12345678-1234-5678-1234-567812345678",
            UUID(int=0x12345678123456781234567812345678),
        ),
        (dt.date, "timestamptz", dt.datetime(2025, 1, 2, tzinfo=dt.UTC), dt.date(2025, 1, 2)),
        (Literal["a", "b"], "text", "a", "a"),
        (IntEnum("Level", {"LOW": 1}), "int4", 1, 1),
        (list[int], "int4[]", [1, 2], [1, 2]),
        (set[int], "int4[]", [1, 2], {1, 2}),
        (tuple[int, ...], "int4[]", [1, 2], (1, 2)),
        (list, "int4[]", [1, None], [1, None]),
        (list[Any], "int4[]", [1, None], [1, None]),
        (dict, "jsonb", {"a": 1}, {"a": 1}),
        (dict[str, int], "jsonb", {"a": 1}, {"a": 1}),
        (Any, "jsonb", [1, {"b": None}], [1, {"b": None}]),
        (Any, "xml", "x", "x"),
        (object, "text", "x", "x"),
        (int | str, "text", "1", "1"),
        (int | None, "int4", None, None),
        (NewType("UserId", int), "int4", 5, 5),
        (Address, "jsonb", {"city": "Ulm"}, Address(city="Ulm")),
        (
            list[Line],
            "json",
            [{"sku": "a", "price": "1.50"}],
            [Line(sku="a", price=Decimal("1.5"))],
        ),
        (Address | None, "jsonb", None, None),
        (Person, "jsonb", {"id": 1, "email": "a"}, Person(1, "a")),
        (list[Person], "jsonb", [{"id": 1, "email": "a"}], [Person(1, "a")]),
        (RootModel[list[int]], "jsonb", [1], RootModel[list[int]]([1])),
        (RootModel[int], "int4", 1, RootModel[int](1)),
        (pydantic.SecretStr, "text", "x", pydantic.SecretStr("x")),
        (Annotated[int, BeforeValidator(len)], "text", "abc", 3),
        (Annotated[int | None, BeforeValidator(lambda v: v or None)], "int4", 0, None),
    ],
)
@pytest.mark.parametrize("kind", ["pydantic", "dataclass", "namedtuple", "tuple"])
def test_a_type_that_fits(make, kind, annotation, type_name, value, expected):
    if kind == "pydantic":
        model = pydantic.create_model("Model", value=annotation)
    elif kind == "dataclass":
        model = dataclasses.make_dataclass("Model", [("value", annotation)])
    elif kind == "namedtuple":
        model = NamedTuple("Model", [("value", annotation)])  # noqa: UP014  # the type varies
    else:
        model = tuple[annotation]
    (made,) = make(model, [f"value {type_name}"], (value,))
    got = made[0] if kind == "tuple" else made.value
    assert got == expected
    assert type(got) is type(expected) or isinstance(got, Enum)
