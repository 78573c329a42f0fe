"""Nested models, names and extra columns."""

import dataclasses
from decimal import Decimal
from typing import NamedTuple

import pydantic
import pytest
import typing_extensions
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
)
from pydantic.alias_generators import to_camel

from aurora_sql.errors import RowValidationError
from aurora_sql.rows._nodes import Mode


class Address(BaseModel):
    city: str
    zip: str | None = None


class Customer(BaseModel):
    id: int
    email: str
    address: Address | None = None


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


class Point(NamedTuple):
    x: int
    y: float | None = None
    z: str = "z"


class Show(typing_extensions.TypedDict):  # the only one pydantic takes before Python 3.12
    title: str
    year: typing_extensions.NotRequired[int]


class Order(BaseModel):
    id: int
    customer: Customer | None


@dataclasses.dataclass
class PersonOrder:
    id: int
    person: Person | None
    address: Address


ORDER = ["id int4", "customer.email text", "customer.id int4", "customer.address.city text"]


def test_dotted_columns_fill_nested_models(make, mode):
    assert mode(Order, *ORDER) is Mode.FIELDS
    made = make(Order, ORDER, (1, "a", 2, "Ulm"), (2, None, None, None), (3, "b", 4, None))
    assert made == [
        Order(id=1, customer=Customer(id=2, email="a", address=Address(city="Ulm"))),
        Order(id=2, customer=None),
        Order(id=3, customer=Customer(id=4, email="b", address=None)),
    ]
    for one, expected in zip(made, [{"id", "customer"}] * 3, strict=True):
        assert one.model_fields_set == expected
    assert made[0].customer.address.model_fields_set == {"city"}


def test_a_nested_model_that_is_null_in_part(make):
    with pytest.raises(
        RowValidationError,
        match=r"row 0 .*column 'customer.email' .* is NULL, and Order.customer.email is str",
    ):
        make(Order, ORDER, (1, None, 2, "Ulm"))


def test_a_nested_model_that_must_be_there(make, refuse):
    class Strict(BaseModel):
        id: int
        customer: Customer

    @dataclasses.dataclass
    class Plain:
        id: int
        customer: Person

    for model in (Strict, Plain):
        name = model.__name__
        names = ["id int4", "customer.id int4", "customer.email text"]
        assert make(model, names, (1, 2, "a"))[0].customer.email == "a"
        with pytest.raises(
            RowValidationError,
            match=rf"row 1 .*all columns of {name}.customer \(customer.id, customer.email\) are NULL",
        ):
            make(model, names, (1, 2, "a"), (1, None, None))
        refuse(model, names, f"{name}.customer.email is str", nullability={"customer.email": True})

    class Loose(BaseModel):
        id: int | None = None

    class Outer(BaseModel):
        inner: Loose

    with pytest.raises(
        RowValidationError, match=r"all columns of Outer.inner \(inner.id\) are NULL"
    ):
        make(Outer, ["inner.id int4"], (None,))


def test_null_hints_inside_an_optional_model_are_its_own_business(make):
    names = ["id int4", "customer.id int4", "customer.email text"]
    hints = {"customer.id": True, "customer.email": True}
    (made,) = make(Order, names, (1, None, None), nullability=hints)
    assert made.customer is None


def test_kinds_inside_each_other(make):
    names = ["id int4", "person.id int4", "person.email text", "address.city text"]
    made = make(PersonOrder, names, (1, 2, "a", "Ulm"), (1, None, None, "Bonn"))
    assert made == [
        PersonOrder(1, Person(2, "a"), Address(city="Ulm")),
        PersonOrder(1, None, Address(city="Bonn")),
    ]

    class Outer(BaseModel):
        point: Point | None
        person: Person
        movie: Show

    names = ["point.x int4", "person.id int4", "person.email text", "movie.title text"]
    made = make(Outer, names, (1, 2, "a", "Heat"), (None, 2, "a", "Heat"))
    assert made == [
        Outer(point=Point(1), person=Person(2, "a"), movie={"title": "Heat"}),
        Outer(point=None, person=Person(2, "a"), movie={"title": "Heat"}),
    ]


def test_nested_errors_at_the_columns(refuse):
    refuse(Order, ["id int4", "customer.id int4"], "Order.customer.email (str) is required")
    refuse(
        Order,
        [*ORDER, "customer.fax text"],
        "'customer.fax' (text: str) fills no field of Order.customer",
    )
    refuse(Order, [*ORDER, "customer jsonb"], "all fill field Order.customer")
    refuse(User, ["id int4", "email.x text"], "User.email is str", "'email.x' need a field")
    refuse(
        Order, ["id int4", "customer.id text", "customer.email text"], "Order.customer.id is int"
    )


@pytest.mark.parametrize("name", [".id", "id.", "..", "customer..id", ""])
def test_odd_names_are_columns_like_any_other(refuse, name):
    refuse(
        User,
        ["id int4", "email text", f"{name} int4"],
        f"column {name!r} (int4: int) fills no field",
    )


def test_a_model_that_contains_itself(make):
    names = ["id int4", "parent.id int4", "parent.parent.id int4"]
    made = make(Node, names, (1, 2, 3), (1, 2, None), (1, None, None))
    assert made == [
        Node(id=1, parent=Node(id=2, parent=Node(id=3))),
        Node(id=1, parent=Node(id=2, parent=None)),
        Node(id=1, parent=None),
    ]


class Node(BaseModel):
    id: int
    parent: "Node | None" = None


def test_json_that_does_not_fit_names_the_column(make):
    class Basket(BaseModel):
        lines: list[Line]

    with pytest.raises(
        RowValidationError, match=r"row 1 .*Basket.lines.0.price, from column 'lines' \(jsonb\)"
    ) as caught:
        make(Basket, ["lines jsonb"], ([],), ([{"sku": "secret-sku", "price": "many"}],))
    assert "secret-sku" not in str(caught.value)
    assert isinstance(caught.value.__cause__, pydantic.ValidationError)


def test_aliases(make, refuse):
    class Aliased(BaseModel):
        full_name: str = Field(alias="fullName")
        mail: str = Field(validation_alias=AliasChoices("e-mail", "email"))
        city: str = Field(validation_alias=AliasPath("address", "city"), default="?")

    (made,) = make(Aliased, ["fullName text", "e-mail text"], ("a", "b"))
    assert (made.full_name, made.mail, made.city) == ("a", "b", "?")
    (made,) = make(
        Aliased, ["full_name text", "email text", "address jsonb"], ("a", "b", {"city": "c"})
    )
    assert (made.full_name, made.mail, made.city) == ("a", "b", "c")
    (made,) = make(Aliased, ["full_name text", "mail text"], ("a", "b"))
    assert (made.full_name, made.mail) == ("a", "b")
    refuse(Aliased, ["full_name text"], "there is no column 'mail' or 'e-mail' or 'email'")
    refuse(
        Aliased,
        ["fullName text", "full_name text", "mail text"],
        "all fill field Aliased.full_name",
    )
    with pytest.raises(
        RowValidationError, match=r"column 'full_name' .* is NULL, and Aliased.full_name"
    ):
        make(Aliased, ["full_name text", "mail text"], (None, "b"))


@pytest.mark.parametrize("config", [{}, {"populate_by_name": True}])
def test_alias_generator(same, make, config):
    class Camel(BaseModel):
        model_config = ConfigDict(alias_generator=to_camel, **config)
        created_at: int
        customer: Customer | None = None

    for name in ("createdAt", "created_at"):
        (made,) = make(
            Camel, [f"{name} int4", "customer.id int4", "customer.email text"], (1, 2, "a")
        )
        same(made, Camel.model_validate({"createdAt": 1, "customer": {"id": 2, "email": "a"}}))


def test_aliases_trade_places(make):
    class Swapped(BaseModel):
        a: int = Field(alias="b")
        b: int = Field(alias="a")

    (made,) = make(Swapped, ["a int4", "b int4"], (1, 2))
    assert (made.a, made.b) == (2, 1)


def test_extra_columns_as_the_model_says(same, make, refuse):
    class Ignoring(BaseModel):
        model_config = ConfigDict(extra="ignore")
        id: int

    class Allowing(BaseModel):
        model_config = ConfigDict(extra="allow")
        id: int

    class Forbidding(BaseModel):
        model_config = ConfigDict(extra="forbid")
        id: int

    names = ["id int4", "count(*) int4"]
    same(make(Ignoring, names, (1, 2))[0], Ignoring(id=1))
    same(make(Allowing, names, (1, 2))[0], Allowing.model_validate({"id": 1, "count(*)": 2}))
    same(make(Allowing, ["id int4"], (1,))[0], Allowing(id=1))
    refuse(Forbidding, names, "column 'count(*)' (int4: int) fills no field of Forbidding")
