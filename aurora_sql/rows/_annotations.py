"""What an annotation says: whether it takes None, what it names, whether a column fits it."""

from __future__ import annotations

import collections.abc
import datetime as dt
import types
import typing
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin
from uuid import UUID

if TYPE_CHECKING:
    from aurora_sql.types import Column

_NONE = type(None)
_JSON_TYPES = frozenset({"json", "jsonb"})

# Which Python types a value of an annotation may be made from without anybody being surprised.
# Narrower than pydantic's own rules where those guess: a text column in an int field is an error
# found once, at the columns, and not at the first row whose text is no number.
_ACCEPTS: dict[type[Any], frozenset[type[Any]]] = {
    bool: frozenset({bool, int}),
    int: frozenset({int, bool, float, Decimal}),
    float: frozenset({float, int, Decimal}),
    Decimal: frozenset({Decimal, int, float}),
    str: frozenset({str, bytes}),
    bytes: frozenset({bytes, str}),
    dt.datetime: frozenset({dt.datetime, dt.date}),
    dt.date: frozenset({dt.date, dt.datetime}),
    dt.time: frozenset({dt.time}),
    dt.timedelta: frozenset({dt.timedelta}),
    UUID: frozenset({UUID, str, bytes}),
}
_SCALARS = frozenset(_ACCEPTS)
_SEQUENCES = frozenset(
    {
        list,
        set,
        frozenset,
        tuple,
        collections.abc.Sequence,
        collections.abc.Iterable,
        collections.abc.Collection,
        collections.abc.Set,
    }
)
_MAPPINGS = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})


class Fit(Enum):
    """How the values of a column suit an annotation."""

    EXACT = "exact"
    """Each value, None apart, is what the annotation says."""

    CONVERT = "convert"
    """Values must be looked at, or made into what the annotation says."""

    MISFIT = "misfit"
    """No value can be what the annotation says."""


def bare(annotation: Any) -> Any:
    """Take off what does not change the type: Annotated, NewType, InitVar, Required, aliases."""
    while True:
        origin = get_origin(annotation)
        if origin in (Annotated, typing.Required, typing.NotRequired, typing.Final):
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):  # NewType
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # ``type X = …``, since Python 3.12
            annotation = annotation.__value__
        elif type(annotation).__name__ == "InitVar":
            annotation = annotation.type
        elif isinstance(annotation, TypeVar):
            annotation = annotation.__bound__ or (
                Union[annotation.__constraints__] if annotation.__constraints__ else Any  # noqa: UP007  # made at run time
            )
        else:
            return annotation


def is_typed_dict(cls: Any) -> bool:
    """Whether a class is a typed dict, of typing or of typing_extensions."""
    return isinstance(cls, type) and hasattr(cls, "__required_keys__")


def is_annotated(annotation: Any) -> bool:
    """Whether ``Annotated`` stands anywhere in it: its metadata may be constraints."""
    if get_origin(annotation) is Annotated:
        return True
    return any(is_annotated(part) for part in get_args(annotation))


def is_opaque(annotation: Any, metadata: typing.Iterable[Any] = ()) -> bool:
    """Whether a validator in its metadata may take values that the annotation would not."""
    if get_origin(annotation) is Annotated:
        metadata = (*metadata, *annotation.__metadata__)
    return any(
        hasattr(item, "__get_pydantic_core_schema__") and type(item).__name__ != "AfterValidator"
        for item in metadata
    ) or any(is_opaque(part) for part in get_args(annotation))


def members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, flattened, without None; the annotation itself if it is none."""
    annotation = bare(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(m for arg in get_args(annotation) for m in members(arg))
    return () if annotation in (None, _NONE) else (annotation,)


def allows_none(annotation: Any) -> bool:
    """Whether None is a value of it."""
    annotation = bare(annotation)
    if annotation in (None, _NONE, Any, object):
        return True
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return any(allows_none(arg) for arg in get_args(annotation))
    return origin is Literal and None in get_args(annotation)


def show(annotation: Any) -> str:
    """The annotation as one writes it."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def describe_column(column: Column) -> str:
    """A column for an error message: ``column 'id' (int4: int)``."""
    python = "" if column.python_type is object else f": {column.python_type.__name__}"
    return f"column {column.name!r} ({column.type_name}{python})"


def is_json(column: Column) -> bool:
    """Whether the values of a column are whatever a JSON document held."""
    return column.type_name in _JSON_TYPES


def judge(annotation: Any, column: Column) -> Fit:
    """Tell whether a column's values, None apart, suit an annotation."""
    fits = [_judge_member(member, column) for member in members(annotation)]
    if not fits or Fit.EXACT in fits:  # no member at all: the annotation is None itself
        return Fit.EXACT if fits else Fit.CONVERT
    return Fit.CONVERT if Fit.CONVERT in fits else Fit.MISFIT


def _judge_member(annotation: Any, column: Column) -> Fit:
    if annotation in (Any, object):
        return Fit.EXACT
    origin = get_origin(annotation) or annotation
    if is_json(column) or column.python_type is object:
        return Fit.CONVERT
    if origin is Literal:
        return _judge_values(get_args(annotation), column)
    if not isinstance(origin, type):
        return Fit.CONVERT
    return _judge_class(annotation, origin, column)


def _judge_class(annotation: Any, origin: type[Any], column: Column) -> Fit:
    python = column.python_type
    if origin in _SCALARS:
        return _judge_scalar(origin, python)
    if origin in _SEQUENCES or origin in _MAPPINGS:
        return _judge_container(annotation, origin, python)
    if issubclass(origin, Enum):
        if "_missing_" in vars(origin):  # it may make a member of anything
            return Fit.CONVERT
        return _judge_values([member.value for member in origin], column)
    if not is_typed_dict(origin) and issubclass(python, origin):
        return Fit.EXACT
    return Fit.MISFIT if python in _SCALARS and _is_record(origin) else Fit.CONVERT


def _judge_scalar(annotation: type[Any], python: type[Any]) -> Fit:
    # A subclass is as good (asyncpg's own UUID), except where it means something else:
    # bool is an int, datetime is a date.
    if python is annotation or (issubclass(python, annotation) and python not in _SCALARS):
        return Fit.EXACT
    if python in _ACCEPTS[annotation]:
        return Fit.CONVERT
    known = python in _SCALARS or python in (list, dict, tuple) or issubclass(python, UUID)
    return Fit.MISFIT if known else Fit.CONVERT


def _judge_container(annotation: Any, origin: type[Any], python: type[Any]) -> Fit:
    if python in _SCALARS or (python is list and origin in _MAPPINGS):
        return Fit.MISFIT
    whatever = all(bare(arg) in (Any, object) for arg in get_args(annotation))
    return Fit.EXACT if python is origin and whatever else Fit.CONVERT


def _judge_values(values: typing.Iterable[Any], column: Column) -> Fit:
    fits = {_judge_member(type(value), column) for value in values if value is not None}
    return Fit.MISFIT if fits == {Fit.MISFIT} else Fit.CONVERT


def _is_record(cls: type[Any]) -> bool:
    """Whether it is a model of several fields, which no scalar can fill on its own."""
    if hasattr(cls, "__pydantic_decorators__"):
        validators = cls.__pydantic_decorators__.model_validators.values()
        return not getattr(cls, "__pydantic_root_model__", False) and all(
            validator.info.mode == "after" for validator in validators
        )
    return hasattr(cls, "__dataclass_fields__") or is_typed_dict(cls)
