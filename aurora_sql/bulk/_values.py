"""Values that a driver cannot take as they are: members of enums.

Models need nothing here: the driver's own JSON encoder takes them, at any depth.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import typing
import uuid
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN = frozenset(
    {
        int, str, float, bool, bytes, type(None), decimal.Decimal, uuid.UUID,
        dt.datetime, dt.date, dt.time, dt.timedelta,
    }
)  # fmt: skip
_CONTAINERS = (list, tuple, set, frozenset)


def _is_foreign(kind: type[Any]) -> bool:
    """Whether values of this type have to be looked at or changed."""
    if kind in _PLAIN:
        return False
    if issubclass(kind, enum.Enum):
        # A member of a StrEnum is a text already, one of an IntEnum a number.
        return not issubclass(kind, str | int)
    return issubclass(kind, _CONTAINERS)


def is_model(kind: type[Any]) -> bool:
    """Whether a class is a pydantic model or a dataclass."""
    return hasattr(kind, "model_fields") or dataclasses.is_dataclass(kind)


def field_names(model: type[Any]) -> tuple[str, ...]:
    """Return the names of a model's fields, in their order."""
    if hasattr(model, "model_fields"):
        return tuple(model.model_fields)
    return tuple(field.name for field in dataclasses.fields(model))


def to_driver(value: Any) -> Any:
    """Turn members of enums into their values.

    Lists, the values of array columns, are searched for them, and come back as they are where
    they hold none. A dict goes into a JSON column, whose encoder knows enums.
    """
    if not _is_foreign(type(value)):
        return value
    if isinstance(value, enum.Enum):
        return to_driver(value.value)
    if not any(map(_is_foreign, set(map(type, value)))):
        return value
    changed = [to_driver(item) for item in value]
    # A tuple stands for a composite or a point; what is no list stays what it is.
    return tuple(changed) if isinstance(value, tuple) else changed


def change_foreign(rows: list[Sequence[Any]], places: Sequence[int]) -> list[Sequence[Any]]:
    """Make the values at some places of all rows fit for a driver.

    Looking at the types of a whole column costs a fraction of looking at each value.
    """
    foreign = [
        place
        for place in places
        if any(map(_is_foreign, set(map(type, map(itemgetter(place), rows)))))
    ]
    if not foreign:
        return rows
    changed: list[Sequence[Any]] = []
    for row in rows:
        values = list(row)
        for place in foreign:
            values[place] = to_driver(values[place])
        changed.append(values)
    return changed


def careful_places(model: type[Any], columns: Sequence[str]) -> tuple[int, ...]:
    """Return the places of columns whose annotation allows values that are foreign to a driver."""
    if hasattr(model, "model_fields"):
        hints = {name: field.annotation for name, field in model.model_fields.items()}
    else:
        try:
            hints = typing.get_type_hints(model)
        except Exception:  # noqa: BLE001 - names that do not resolve: look at all values
            return tuple(range(len(columns)))
    return tuple(
        place
        for place, column in enumerate(columns)
        if column not in hints or not _is_plain_hint(hints[column])
    )


def _is_plain_hint(hint: Any) -> bool:
    hint = getattr(hint, "__supertype__", hint)  # a NewType
    if typing.get_origin(hint) is typing.Literal:
        return not any(_is_foreign(type(value)) for value in typing.get_args(hint))
    if hint is dict or typing.get_origin(hint) is dict:
        return True  # it goes into a JSON column
    inner = typing.get_args(hint)
    if inner:
        return all(one is Ellipsis or _is_plain_hint(one) for one in inner)
    # Of any other class, Any among them, a value may be of a subclass that is foreign.
    return hint in _PLAIN or (
        isinstance(hint, type) and (issubclass(hint, str | int) or is_model(hint))
    )
