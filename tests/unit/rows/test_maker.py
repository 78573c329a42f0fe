"""Columns against models: what is refused, what is made."""

import dataclasses
import datetime as dt
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID

import pydantic
import pydantic_core
import pytest
import typing_extensions
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    computed_field,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from aurora_sql.errors import ConfigurationError, RowValidationError
from aurora_sql.rows import PlainRow, Row, build_maker
from aurora_sql.rows._nodes import Branch, Mode
from aurora_sql.rows._plan import Planner
from aurora_sql.types import Column

WHERE = "users.get (sql/users.sql:12)"
T = TypeVar("T")


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


@pytest.fixture
def make(columns, rows):
    def make(model, names, *values, nullability=None):
        found = columns(*names)
        maker = build_maker(found, model, where=WHERE, nullability=nullability or {})
        assert maker is not None
        return maker(rows(found, *values))

    return make


@pytest.fixture
def refuse(columns):
    def refuse(model, names, *parts, nullability=None):
        with pytest.raises(RowValidationError) as caught:
            build_maker(columns(*names), model, where=WHERE, nullability=nullability or {})
        for part in (WHERE, *parts):
            assert part in str(caught.value)
        return str(caught.value)

    return refuse


@pytest.fixture
def mode(columns):
    def mode(model, *names):
        root = Planner(columns(*names), WHERE, {}).plan(model)
        assert isinstance(root, Branch)
        return root.mode

    return mode


def same(made, validated):
    """Equal in all that pydantic keeps, the order of fields included."""
    assert type(made) is type(validated)
    assert made == validated
    assert repr(made) == repr(validated)
    assert list(made.__dict__) == list(validated.__dict__)
    assert made.model_fields_set == validated.model_fields_set
    assert made.model_extra == validated.model_extra
    assert made.__pydantic_private__ == validated.__pydantic_private__
    assert made.model_dump() == validated.model_dump()
    assert pydantic.TypeAdapter(type(made)).dump_json(made)


# No model ------------------------------------------------------------------------------------


def test_rows_are_handed_out_as_they_are(columns):
    assert build_maker(columns("id int4"), None, where=WHERE, nullability={}) is None
    assert build_maker(columns("id int4"), Row, where=WHERE, nullability={}) is None
    assert build_maker(columns("id int4"), PlainRow, where=WHERE, nullability={}) is None


def test_a_hint_about_no_column_is_an_error(refuse):
    refuse(None, ["email text"], "'emial'", "did you mean 'email'?", nullability={"emial": True})


# What is refused -----------------------------------------------------------------------------


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


# Kinds of models -----------------------------------------------------------------------------


@dataclasses.dataclass(slots=True, frozen=True, kw_only=True)
class Frozen:
    id: int
    email: str
    tags: list[str] = dataclasses.field(default_factory=list)
    total: int = dataclasses.field(init=False, default=0)


@dataclasses.dataclass
class Initialised:
    id: int
    scale: dataclasses.InitVar[int]
    key: int = dataclasses.field(kw_only=True)
    product: int = dataclasses.field(init=False)

    def __post_init__(self, scale):
        if scale < 0:
            raise ValueError("scale must not be negative")
        self.product = self.id * scale


class Point(NamedTuple):
    x: int
    y: float | None = None
    z: str = "z"


class Movie(TypedDict, total=False):
    title: str
    year: int | None


class Show(typing_extensions.TypedDict):  # the only one pydantic takes before Python 3.12
    title: str
    year: typing_extensions.NotRequired[int]


@pydantic.dataclasses.dataclass
class Checked:
    id: int
    email: str = Field(min_length=2)
    note: str | None = None


@pydantic.dataclasses.dataclass(config=ConfigDict(strict=True))
class Strict:
    id: int


class Page(BaseModel, Generic[T]):
    item: T


@dataclasses.dataclass
class Box(Generic[T]):
    item: T


def test_dataclasses(make):
    names = ["email text", "id int4"]
    made = make(Frozen, names, ("a", 1), ("b", 2))
    assert made == [Frozen(id=1, email="a"), Frozen(id=2, email="b")]
    assert made[0].tags is not made[1].tags
    assert make(Person, [*names, "active bool"], ("a", 1, False)) == [Person(1, "a", active=False)]


def test_a_dataclass_with_its_own_ideas_of_init(make, refuse):
    names = ["id int4", "key int4", "scale int4"]
    (made,) = make(Initialised, names, (2, 3, 5))
    assert (made.product, made.key) == (10, 3)
    refuse(Initialised, [*names, "product int4"], "'product' (int4: int) fills no field")
    with pytest.raises(RowValidationError, match=r"row 0 .*ValueError: scale must not be negative"):
        make(Initialised, names, (2, 3, -5))


def test_named_tuples_and_typed_dicts(make, refuse):
    made = make(Point, ["z text", "x int4"], ("a", 1))
    assert made == [(1, None, "a")]
    assert type(made[0]) is Point
    assert make(Movie, ["title text"], ("Heat",)) == [{"title": "Heat"}]
    assert make(Movie, ["year int4", "title text"], (None, "Heat")) == [
        {"title": "Heat", "year": None}
    ]
    assert make(Show, ["title text"], ("Heat",)) == [{"title": "Heat"}]
    refuse(Show, ["year int4"], "Show.title (str) is required")
    refuse(TypedDict("Whole", {"a": int, "b": str}), ["a int4"], "Whole.b (str) is required")


def test_pydantic_dataclasses(make, refuse):
    assert make(Checked, ["id int4", "email text"], (1, "ab")) == [Checked(1, "ab")]
    with pytest.raises(
        RowValidationError, match=r"Checked.email, from column 'email' \(text: str\)"
    ):
        make(Checked, ["id int4", "email text"], (1, "a"))
    refuse(Checked, ["id int4"], "Checked.email (str) is required")
    assert make(Strict, ["id int4"], (1,)) == [Strict(1)]


def test_generic_models(make, refuse):
    assert make(Page[int], ["item int4"], (1,)) == [Page[int](item=1)]
    refuse(Page[int], ["item text"], "Page[int].item is int")
    assert make(Page, ["item text"], ("x",)) == [Page(item="x")]
    assert make(Box[int], ["item text"], ("x",)) == [Box("x")]


def test_dict_and_tuple(make, refuse):
    names = ["id int4", "customer.email text", "class text"]
    assert make(dict, names, (1, "a", None)) == [{"id": 1, "customer.email": "a", "class": None}]
    assert make(dict[str, Any], names, (1, "a", None))[0]["class"] is None
    assert make(dict[str, int], ["a int4", "b numeric"], (1, Decimal(2))) == [{"a": 1, "b": 2}]
    refuse(dict[str, int], ["a int4", "b text"], "dict['b'] is int")
    refuse(dict[int, int], ["a int4"], "its keys are int")
    assert make(tuple, names, (1, "a", None)) == [(1, "a", None)]
    assert make(tuple[int, str | None], ["a int4", "b text"], (1, None)) == [(1, None)]
    assert make(tuple[int, ...], ["a int4", "b int4"], (1, 2)) == [(1, 2)]
    refuse(tuple[int, str], ["a int4"], "the tuple has 2 values, and the statement 1 columns")
    refuse(tuple[int, str], ["a int4", "b int4"], "value 1 is str, and column 'b'")
    with pytest.raises(RowValidationError, match=r"row 1 .*column 'a' .* is NULL"):
        make(tuple[int], ["a int4"], (1,), (None,))


@pytest.mark.parametrize(
    ("model", "type_name", "value", "expected"),
    [
        (int, "int8", 5, 5),
        (str, "text", "x", "x"),
        (Decimal, "numeric", Decimal(1), Decimal(1)),
        (float, "numeric", Decimal("1.5"), 1.5),
        (IntEnum("Level", {"LOW": 1}), "int4", 1, 1),
        (list[int], "int4[]", [1], [1]),
        (int | None, "int4", None, None),
        (RootModel[list[int]], "jsonb", [1], RootModel[list[int]]([1])),
    ],
)
def test_one_value(make, model, type_name, value, expected):
    assert make(model, [f"n {type_name}"], (value,)) == [expected]


def test_one_value_that_does_not_fit(make, refuse):
    refuse(int, ["n text"], "int is int, and column 'n'")
    refuse(int, ["a int4", "b int4"], "int is one value, and the statement has 2 columns (a, b)")
    refuse(int, [], "0 columns (none)")
    refuse(int, ["n int4"], "can be NULL", nullability={"n": True})
    with pytest.raises(
        RowValidationError, match=r"users.get .*row 2 .*column 'n' \(int4: int\) is NULL"
    ):
        make(int, ["n int4"], (1,), (2,), (None,), (4,))


def test_what_is_no_model(columns):
    class Nothing:
        pass

    with pytest.raises(ConfigurationError, match=r"users\.get .*Nothing"):
        build_maker(columns("a text"), Nothing, where=WHERE, nullability={})

    @dataclasses.dataclass
    class Lost:
        a: "Nowhere"  # noqa: F821  # that it does not exist is the test

    with pytest.raises(ConfigurationError, match=r"users\.get .*Lost.*'Nowhere' is not defined"):
        build_maker(columns("a text"), Lost, where=WHERE, nullability={})

    class Unfinished(BaseModel):
        a: "Nowhere"  # noqa: F821  # the same

    with pytest.raises(ConfigurationError, match=r"users\.get .*Unfinished.*Nowhere"):
        build_maker(columns("a text"), Unfinished, where=WHERE, nullability={})


# Nested models -------------------------------------------------------------------------------


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


# Names ---------------------------------------------------------------------------------------


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
def test_alias_generator(make, config):
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


# Extra columns -------------------------------------------------------------------------------


def test_extra_columns_as_the_model_says(make, refuse):
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


# With and without the validator --------------------------------------------------------------


class Everything(BaseModel):
    a: int
    b: str
    c: bool
    d: float
    e: Decimal
    f: dt.datetime
    g: dt.date
    h: dt.time
    i: dt.timedelta
    j: UUID
    k: bytes
    m: Any
    n: int | None = None
    tags: list[str] = Field(default_factory=list)
    label: str = Field(default="x", alias="Label", frozen=True, description="d")

    @computed_field
    @property
    def twice(self) -> int:
        return self.a * 2


EVERYTHING = [
    "a int4", "b text", "c bool", "d float8", "e numeric", "f timestamptz", "g date",
    "h time", "i interval", "j uuid", "k bytea", "m jsonb", "n int4",
]  # fmt: skip
VALUES = (
    1, "b", True, 1.5, Decimal("1.5"), dt.datetime(2025, 1, 1, tzinfo=dt.UTC), dt.date(2025, 1, 1),
    dt.time(1, 2), dt.timedelta(1), UUID(int=1), b"k", {"x": [1]}, None,
)  # fmt: skip


def test_a_model_that_only_holds_values_is_built_without_its_validator(make, mode, columns):
    assert mode(Everything, *EVERYTHING) is Mode.FIELDS
    first, second = make(Everything, EVERYTHING, VALUES, VALUES)
    expected = dict(zip([column.name for column in columns(*EVERYTHING)], VALUES, strict=True))
    same(first, Everything.model_validate(expected))
    first.tags.append("x")
    first.n = 5
    assert second.tags == []
    assert "tags" not in second.model_fields_set
    assert first.model_copy(deep=True) == first
    assert first.twice == 2


def test_not_a_number_goes_to_the_validator(make, mode):
    class Price(BaseModel):
        amount: Decimal
        rebate: Decimal | None

    names = ["amount numeric", "rebate numeric"]
    assert mode(Price, *names) is Mode.FIELDS
    assert make(Price, names, (Decimal(1), None))[0].rebate is None
    for row in ((Decimal("NaN"), None), (Decimal(1), Decimal("Infinity"))):
        with pytest.raises(RowValidationError, match=r"row 1 .*finite"):
            make(Price, names, (Decimal(1), Decimal(1)), row)


def _positive(value):
    if value <= 0:
        raise ValueError("must be positive")
    return value


class ByField(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def check(cls, value):
        return _positive(value)


class ByAnyField(BaseModel):
    n: int

    @field_validator("*", mode="wrap")
    @classmethod
    def check(cls, value, handler):
        return _positive(handler(value))


class ByModel(BaseModel):
    n: int

    @model_validator(mode="after")
    def check(self):
        _positive(self.n)
        return self


class Inherited(ByModel):
    pass


class Wrapped(BaseModel):
    n: int

    @model_validator(mode="wrap")
    @classmethod
    def check(cls, values, handler):
        _positive(values["n"])
        return handler(values)


class Constrained(BaseModel):
    n: int = Field(gt=0)


class PostInit(BaseModel):
    n: int

    def model_post_init(self, context):
        _positive(self.n)


class OwnInit(BaseModel):
    n: int

    def __init__(self, **values):
        _positive(values["n"])
        super().__init__(**values)


class OwnNew(BaseModel):
    n: int

    def __new__(cls, *args, **values):
        made = super().__new__(cls)
        cls.made = getattr(cls, "made", 0) + 1
        return made

    @model_validator(mode="after")
    def check(self):
        _positive(self.n)
        return self


class OwnSchema(BaseModel):
    n: int

    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        schema = handler(source)
        return pydantic_core.core_schema.no_info_after_validator_function(
            lambda made: _positive(made.n) and made, schema
        )


@pytest.mark.parametrize(
    "model",
    [
        ByField, ByAnyField, ByModel, Inherited, Wrapped, Constrained, PostInit, OwnInit, OwnNew,
        OwnSchema,
        pydantic.create_model("Typed", n=(pydantic.PositiveInt, ...)),
        pydantic.create_model("After", n=(Annotated[int, pydantic.AfterValidator(_positive)], ...)),
        pydantic.create_model("Inner", n=(Annotated[int, Field(gt=0)] | None, ...)),
    ],
)  # fmt: skip
def test_whatever_checks_is_run(make, mode, model):
    assert mode(model, "n int4") is Mode.VALIDATE
    assert make(model, ["n int4"], (1,), (2,))[1].n == 2
    with pytest.raises(RowValidationError, match=r"users.get .*row 1 "):
        make(model, ["n int4"], (1,), (0,))


def test_whatever_changes_is_run(make, mode):
    class Private(BaseModel):
        n: str
        _cache: dict[str, int] = PrivateAttr(default_factory=dict)

    class Stripped(BaseModel):
        model_config = ConfigDict(str_strip_whitespace=True)
        n: str

    class Upper(BaseModel):
        n: Annotated[str, pydantic.StringConstraints(to_upper=True)]

    class Computed(BaseModel):
        n: str
        m: str = Field(default_factory=lambda data: data["n"] * 2)

    class Validated(BaseModel):
        model_config = ConfigDict(validate_default=True)
        n: str
        m: int = "5"

    for model in (Private, Stripped, Upper, Computed, Validated):
        assert mode(model, "n text") is Mode.VALIDATE
        same(make(model, ["n text"], (" a ",))[0], model.model_validate({"n": " a "}))


def test_a_column_of_another_type_is_converted(make, mode):
    class Price(BaseModel):
        amount: float

    assert mode(Price, "amount float8") is Mode.FIELDS
    assert mode(Price, "amount numeric") is Mode.VALIDATE
    (made,) = make(Price, ["amount numeric"], (Decimal("1.5"),))
    assert type(made.amount) is float


def test_a_nested_model_that_checks(make, mode):
    class Outer(BaseModel):
        id: int
        inner: Constrained | None

    @dataclasses.dataclass
    class Around:
        id: int
        inner: Constrained | None

    names = ["id int4", "inner.n int4"]
    assert mode(Outer, *names) is Mode.VALIDATE
    for model in (Outer, Around):
        made = make(model, names, (1, 2), (1, None))
        assert made == [model(id=1, inner=Constrained(n=2)), model(id=1, inner=None)]
        with pytest.raises(
            RowValidationError, match=rf"row 1 .*{model.__name__}.inner.n, from column 'inner.n'"
        ):
            make(model, names, (1, 1), (1, 0))


def test_a_validator_that_comes_first_may_do_anything(make):
    class Combined(BaseModel):
        name: str

        @model_validator(mode="before")
        @classmethod
        def join(cls, values):
            return {"name": f"{values['first']} {values['last']}"}

    (made,) = make(Combined, ["first text", "last text"], ("Ada", "Lovelace"))
    assert made.name == "Ada Lovelace"

    class Lenient(BaseModel):
        n: int

        @field_validator("n", mode="before")
        @classmethod
        def parse(cls, value):
            return -1 if value is None else int(value)

    made = make(Lenient, ["n text"], ("5",), (None,), nullability={"n": True})
    assert [one.n for one in made] == [5, -1]


def test_a_strict_model(make, mode):
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        n: int
        inner: Constrained | None = None

    assert mode(Strict, "n int4") is Mode.FIELDS
    assert make(Strict, ["n int4", "inner.n int4"], (1, 2))[0].inner.n == 2
    with pytest.raises(RowValidationError, match=r"Strict.n, from column 'n'"):
        make(Strict, ["n numeric"], (Decimal(1),))


# None ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", [User, Person, Frozen, Checked, Constrained, ByModel, Point, Movie]
)
def test_null_in_a_field_that_takes_none_of_it(make, model):
    names = {
        Constrained: ["n int4"], ByModel: ["n int4"], Point: ["x int4"], Movie: ["title text"]
    }.get(model, ["id int4", "email text"])  # fmt: skip
    good = {"n int4": 1, "x int4": 1, "id int4": 1, "email text": "ab", "title text": "ab"}
    row = tuple(good[name] for name in names)
    bad = (*row[:-1], None)
    column, field = repr(names[-1].split()[0]), f"{model.__name__}.{names[-1].split()[0]}"
    with pytest.raises(RowValidationError) as caught:
        make(model, names, row, row, bad, row)
    for part in (WHERE, "row 2 (counted from 0)", f"column {column}", "is NULL", field):
        assert part in str(caught.value)


def test_many_errors_in_one_row(make):
    model = pydantic.create_model("Wide", **{f"n{i}": (int, Field(gt=0)) for i in range(8)})
    with pytest.raises(RowValidationError, match=r"; and 3 more$"):
        make(model, [f"n{i} int4" for i in range(8)], (0,) * 8)


def test_no_rows_and_no_columns(make):
    assert make(User, ["id int4", "email text"]) == []
    empty = pydantic.create_model("Empty", n=(int, 5))
    assert [one.n for one in make(empty, [], (), ())] == [5, 5]


def test_other_exceptions_of_a_model_are_its_own(make):
    class Broken(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def check(cls, value):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        make(Broken, ["n int4"], (1,))


def test_over_records_of_the_driver(server, columns):
    found = columns("id int4", "email text")
    maker = build_maker(found, User, where=WHERE, nullability={})
    row = server.row(["id", "email"], [1, "a"])
    assert maker([row]) == [User(id=1, email="a")]
    with pytest.raises(RowValidationError, match=r"column 'email'"):
        maker([row, server.row(["id", "email"], [1, None])])


def test_an_unknown_python_type_is_looked_at(rows):
    found = [Column("id", "citext", object), Column("email", "mystery", object)]
    maker = build_maker(found, User, where=WHERE, nullability={})
    assert maker(rows(found, (1, "a"))) == [User(id=1, email="a")]
    with pytest.raises(RowValidationError, match=r"User.id, from column 'id' .citext.: "):
        maker(rows(found, ("x", "a")))
