import dataclasses
import datetime as dt
import decimal
import enum
from typing import Annotated, Any, Literal, NewType

import pydantic
import pytest

from aurora_sql.bulk import field_names, to_driver
from aurora_sql.bulk._values import careful_places, change_foreign


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Word(enum.StrEnum):
    A = "a"


@dataclasses.dataclass
class Part:
    price: decimal.Decimal
    colour: Colour


class Whole(pydantic.BaseModel):
    parts: list[Part]
    day: dt.date = pydantic.Field(alias="theDay")


PART = Part(decimal.Decimal("1.5"), Colour.RED)
DAY = dt.date(2024, 1, 2)


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (Colour.RED, "red"),
        ([Colour.RED, None], ["red", None]),
        ((Colour.RED, 1), ("red", 1)),
        ([[Colour.RED], []], [["red"], []]),
    ],
)
def test_what_is_changed(value, result):
    assert to_driver(value) == result


@pytest.mark.parametrize(
    "value",
    [
        1,
        "x",
        None,
        DAY,
        [DAY],
        {"a": Colour.RED},
        (1, 2),
        [[1], [2]],
        {1},
        Word.A,
        [Size.BIG],
        PART,
    ],
)
def test_what_is_left_as_it_is(value):
    assert to_driver(value) == value
    assert type(to_driver(value)) is type(value)


def test_only_rows_with_something_foreign_are_made_anew():
    rows = [(1, "a"), (2, "b")]
    assert change_foreign(rows, (0, 1)) is rows
    assert change_foreign([*rows, (3, Colour.RED)], (1,)) == [[1, "a"], [2, "b"], [3, "red"]]


UserId = NewType("UserId", int)


class Hints(pydantic.BaseModel):
    plain: int | None
    texts: list[str]
    word: Word
    literal: Literal["a", 1]
    number: UserId
    annotated: Annotated[str, "note"]
    mapping: dict[str, dt.date]
    colour: Colour
    anything: Any
    bare: dict
    model: Whole | None
    models: list[Part]


def test_annotations_tell_where_to_look():
    names = field_names(Hints)
    careful = [names[place] for place in careful_places(Hints, names)]
    assert careful == ["colour", "anything"]


def test_annotations_that_do_not_resolve_are_looked_at():
    @dataclasses.dataclass
    class Local:
        a: "Nowhere"  # noqa: F821 - that is the case
        b: int

    assert careful_places(Local, ["a", "b"]) == (0, 1)
