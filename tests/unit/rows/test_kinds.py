"""Every kind of model, and NULL in each."""

import dataclasses
from decimal import Decimal
from enum import IntEnum
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import pydantic
import pytest
import typing_extensions
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    field_validator,
    model_validator,
)

from aurora_sql.errors import ConfigurationError, RowValidationError
from aurora_sql.rows import build_maker
from aurora_sql.types import Column

WHERE = "users.get (sql/users.sql:12)"


T = TypeVar("T")


class User(BaseModel):
    id: int
    email: str
    active: bool = True


@dataclasses.dataclass
class Person:
    id: int
    email: str
    active: bool = True


class Constrained(BaseModel):
    n: int = Field(gt=0)


class ByModel(BaseModel):
    n: int

    @model_validator(mode="after")
    def check(self):
        if self.n <= 0:
            raise ValueError("must be positive")
        return self


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
    late = TypedDict("late", {"a": "int", "b": "typing_extensions.NotRequired[int]"})  # noqa: UP013  # strings, as written
    assert make(late, ["a int4"], (1,)) == [{"a": 1}]  # as under postponed annotations
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
