"""Values in Python to JSON, models at any depth included: the same for all drivers."""

from __future__ import annotations

import dataclasses
import decimal
from typing import Any

import orjson


def is_model(kind: type[Any]) -> bool:
    """Whether values of a class are documents: a pydantic model or a dataclass."""
    return hasattr(kind, "model_fields") or dataclasses.is_dataclass(kind)


def dumps(value: Any) -> bytes:
    """Write JSON.

    Raises:
        TypeError: A value has no form in JSON.
    """
    return orjson.dumps(value, _jsonable, orjson.OPT_PASSTHROUGH_DATACLASS)


def dumps_list(value: list[Any]) -> bytes:
    """The same for what a query makes rows of again, with decimals as texts.

    A number of JSON would become a float on the way of a price; a text becomes the DECIMAL that the
    query says.
    """
    return orjson.dumps(value, _element, orjson.OPT_PASSTHROUGH_DATACLASS)


def _jsonable(value: Any) -> Any:
    """Turn a model, however deep it stands in a value, into what JSON has; called by orjson."""
    if is_model(type(value)):
        from pydantic_core import to_jsonable_python  # noqa: PLC0415 - only models come here

        # By alias, as the model itself reads JSON.
        return to_jsonable_python(value, by_alias=True)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _element(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return decimal.Decimal.__str__(value)
    return _jsonable(value)
