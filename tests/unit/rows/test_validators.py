"""When a model's validator runs, and that leaving it out changes nothing."""

import dataclasses
import datetime as dt
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pydantic
import pydantic_core
import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    computed_field,
    field_validator,
    model_validator,
)

from aurora_sql.errors import RowValidationError
from aurora_sql.rows import build_maker
from aurora_sql.rows._nodes import Mode


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


def test_a_model_that_only_holds_values_is_built_without_its_validator(same, make, mode, columns):
    assert mode(Everything, *EVERYTHING) is Mode.FIELDS
    first, second = make(Everything, EVERYTHING, VALUES, VALUES)
    expected = dict(zip([column.name for column in columns(*EVERYTHING)], VALUES, strict=True))
    same(first, Everything.model_validate(expected))
    first.tags = ["x"]
    assert second.tags == []
    assert "tags" not in second.model_fields_set
    assert "tags" in first.model_fields_set
    assert first.model_copy(deep=True) == first
    assert first.twice == 2


def test_a_good_row_never_takes_the_long_way(columns, rows):
    found = columns(*EVERYTHING)
    maker = build_maker(found, Everything, where="here", nullability={})

    def refuse(row, number):
        raise RuntimeError(number)

    maker.__globals__["careful"] = refuse
    assert len(maker(rows(found, VALUES, VALUES))) == 2
    with pytest.raises(RuntimeError, match="1"):
        maker(rows(found, VALUES, (None, *VALUES[1:])))


def test_a_model_with_its_own_way_to_be_made_is_made_that_way(make, mode):
    class Counted(BaseModel):
        n: int

        def __new__(cls, *args, **values):
            counts.append(cls)
            return super().__new__(cls)

    counts = []
    assert mode(Counted, "n int4") is Mode.VALIDATE
    assert make(Counted, ["n int4"], (1,), (2,))[1].n == 2
    assert len(counts) == 2


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
        ByField, ByAnyField, ByModel, Inherited, Wrapped, Constrained, PostInit, OwnInit,
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


def test_whatever_changes_is_run(same, make, mode):
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

    class ValidatedField(BaseModel):
        n: str
        m: int = Field(default="5", validate_default=True)

    for model in (Private, Stripped, Upper, Computed, Validated, ValidatedField):
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
