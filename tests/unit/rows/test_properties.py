"""Random columns, models and values: the quick way makes what the long way makes."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import pydantic
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_sql.errors import RowValidationError
from aurora_sql.rows import PlainRow, build_maker
from aurora_sql.rows._careful import Careful
from aurora_sql.rows._plan import Planner
from aurora_sql.types import Column

# The type of a column, what the driver returns for it, and fields that it may fill.
TYPES: list[tuple[str, type[Any], st.SearchStrategy[Any], list[Any]]] = [
    ("int4", int, st.integers(-5, 5), [int, float, Decimal, bool, pydantic.PositiveInt, Any]),
    ("text", str, st.text(max_size=3), [str, bytes, object, pydantic.constr(min_length=1)]),
    ("bool", bool, st.booleans(), [bool, int]),
    ("float8", float, st.floats(allow_nan=False, width=16), [float, int, pydantic.FiniteFloat]),
    ("numeric", Decimal, st.decimals(), [Decimal, float, int]),
    (
        "timestamptz",
        dt.datetime,
        st.datetimes(timezones=st.just(dt.UTC)),
        [dt.datetime, dt.date, pydantic.PastDatetime],
    ),
    ("date", dt.date, st.dates(), [dt.date, dt.datetime]),
    ("uuid", UUID, st.uuids(), [UUID]),
    ("bytea", bytes, st.binary(max_size=3), [bytes, str]),
    (
        "jsonb",
        object,
        st.one_of(st.none(), st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2)),
        [Any, int, list[int], list[str], dict[str, int]],
    ),
]


@st.composite
def fields(draw: st.DrawFn) -> tuple[str, type[Any], st.SearchStrategy[Any], Any]:
    type_name, python, values, annotations = draw(st.sampled_from(TYPES))
    annotation = draw(st.sampled_from(annotations))
    if draw(st.booleans()):
        annotation = annotation | None if annotation not in (Any, object) else annotation
    return type_name, python, values, annotation


@st.composite
def cases(draw: st.DrawFn, kind: str) -> tuple[type[Any], list[Column], list[Any], dict[str, Any]]:
    """A model, the columns that fill it, one row, and the row as nested dicts."""
    columns: list[Column] = []
    row: list[Any] = []

    def level(prefix: str, depth: int) -> tuple[type[Any], dict[str, Any] | None]:
        made: dict[str, Any] = {}
        values: dict[str, Any] = {}
        null = bool(prefix) and draw(st.booleans())
        for number in range(draw(st.integers(1, 3))):
            name = f"f{number}"
            type_name, python, choices, annotation = draw(fields())
            columns.append(Column(prefix + name, type_name, python))
            nothing = null or draw(st.integers(0, 7)) == 0
            values[name] = None if nothing else draw(choices)
            row.append(values[name])
            made[name] = annotation
        if depth < 2 and draw(st.booleans()):
            inner, inside = level(f"{prefix}inner.", depth + 1)
            made["inner"] = inner | None if draw(st.booleans()) else inner
            values["inner"] = inside
            null = null and inside is None
        if draw(st.booleans()):
            made["extra"] = (int, 7)
        nulls = prefix and all(value is None for value in values.values())
        return _model(kind, made), None if nulls else values

    model, values = level("", 0)
    order = draw(st.permutations(range(len(row))))
    return model, [columns[n] for n in order], [row[n] for n in order], values or {}


def _model(kind: str, made: dict[str, Any]) -> type[Any]:
    if kind == "pydantic":
        return pydantic.create_model("Model", **made)
    return dataclasses.make_dataclass(
        "Model",
        [
            (name, kind_[0], dataclasses.field(default=kind_[1]))
            if isinstance(kind_, tuple)
            else (name, kind_)
            for name, kind_ in made.items()
        ],
        slots=True,
    )


def outcome(make: Any, *args: Any) -> Any:
    try:
        return repr(make(*args))  # NaN equals itself in a repr, 1 and 1.0 and True differ
    except (RowValidationError, pydantic.ValidationError):
        return "refused"


@settings(max_examples=150, deadline=None)
@given(cases("pydantic"))
def test_a_pydantic_model_is_what_its_validator_makes(case: Any) -> None:
    model, columns, row, values = case
    maker = build_maker(columns, model, where="here", nullability={})
    assert maker is not None
    plain = PlainRow([column.name for column in columns], row)
    careful = Careful(Planner(columns, "here", {}).plan(model), "here")
    expected = outcome(model.model_validate, values)
    assert outcome(lambda: maker([plain])[0]) == expected
    assert outcome(careful, plain, 0) == expected
    if expected != "refused":
        made, validated = maker([plain])[0], model.model_validate(values)
        assert made.model_fields_set == validated.model_fields_set
        assert list(made.__dict__) == list(validated.__dict__)
        assert made.__pydantic_extra__ is None
        assert made.__pydantic_private__ is None


@settings(max_examples=150, deadline=None)
@given(cases("dataclass"))
def test_a_dataclass_is_the_same_both_ways(case: Any) -> None:
    model, columns, row, _ = case
    maker = build_maker(columns, model, where="here", nullability={})
    assert maker is not None
    plain = PlainRow([column.name for column in columns], row)
    careful = Careful(Planner(columns, "here", {}).plan(model), "here")
    assert outcome(lambda: maker([plain])[0]) == outcome(careful, plain, 0)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(max_size=8), max_size=4),
    st.sampled_from([dict, tuple, int, pydantic.create_model("M", a=int, b=(str, ""))]),
)
def test_any_column_name_is_taken_or_refused(names: list[str], model: type[Any]) -> None:
    columns = [Column(name, "int4", int) for name in names]
    try:
        maker = build_maker(columns, model, where="here", nullability={})
    except RowValidationError as error:
        assert str(error).startswith("here: ")  # noqa: PT017  # refusing is one of two good answers
        return
    assert maker is not None
    (made,) = maker([PlainRow(names, range(len(names)))])
    if model is dict:
        assert list(made.items()) == list(zip(names, range(len(names)), strict=True))
