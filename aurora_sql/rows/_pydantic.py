"""What a pydantic model is made of. Loaded when the first such model is used.

A model may be built without running its validator where the validator would do nothing. To know
that, its core schema is read: what is listed below, in it, does nothing to a value of exactly
the right type. Anything that is not listed (a constraint, a validator, an option, whatever a
later release adds) means that the validator runs.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import Enum
from inspect import getattr_static
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaValidator

from aurora_sql.errors import ConfigurationError
from aurora_sql.rows._annotations import is_opaque
from aurora_sql.rows._shapes import Default, Extra, Field, Kind, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pydantic.fields import FieldInfo

_PYTHON: dict[str, type[Any]] = {
    "any": object,
    "bool": bool,
    "bytes": bytes,
    "date": dt.date,
    "datetime": dt.datetime,
    "decimal": Decimal,
    "float": float,
    "int": int,
    "str": str,
    "time": dt.time,
    "timedelta": dt.timedelta,
    "uuid": UUID,
}
# Keys of a core schema, and of a configuration in it, that change nothing for an exact value.
_INERT = frozenset({"type", "ref", "metadata", "serialization"})
_INERT_SCALAR = _INERT | {"strict", "microseconds_precision"}
_INERT_FIELD = _INERT | {
    "schema",
    "validation_alias",
    "serialization_alias",
    "serialization_exclude",
    "serialization_exclude_if",
    "frozen",
}
_INERT_MODEL = _INERT | {
    "cls",
    "config",
    "custom_init",
    "frozen",
    "generic_origin",
    "root_model",
    "schema",
}
_INERT_FIELDS = _INERT | {"computed_fields", "fields", "model_name"}
_INERT_CONFIG = frozenset(
    {
        "cache_strings",
        "extra_fields_behavior",  # read from the model's own configuration
        "from_attributes",
        "hide_input_in_errors",
        "loc_by_alias",
        "populate_by_name",
        "regex_engine",
        "ser_json_bytes",
        "ser_json_inf_nan",
        "ser_json_temporal",
        "ser_json_timedelta",
        "serialize_by_alias",
        "strict",
        "title",
        "validate_by_alias",
        "validate_by_name",
        "validation_error_cause",
    }
)
_IMMUTABLE = frozenset({*_PYTHON.values(), type(None)} - {object})
_EXTRA = {None: Extra.ERROR, "forbid": Extra.ERROR, "ignore": Extra.IGNORE, "allow": Extra.KEEP}


def describe(model: Any) -> Shape | None:
    """Describe a pydantic model or a pydantic dataclass.

    Returns:
        None for a root model: it is one value and has no fields.

    Raises:
        ConfigurationError: It refers to a class that does not exist.
    """
    if issubclass(model, RootModel):
        return None
    is_model = issubclass(model, BaseModel)
    _complete(model)
    config: Mapping[str, Any] = (
        model.model_config if is_model else getattr(model, "__pydantic_config__", None) or {}
    )
    schema, definitions = _open(model.__pydantic_core_schema__)
    opaque = not _is_transparent(schema, definitions)
    plain = is_model and _is_plain(model, schema)
    known: Mapping[str, Any] = schema["schema"]["fields"] if plain else {}
    extra = _EXTRA[config.get("extra")]
    if opaque and config.get("extra") is None:
        extra = Extra.KEEP  # the validator that comes first may be waiting for them
    return Shape(
        model=model,
        kind=Kind.PYDANTIC,
        fields=tuple(
            _describe_field(
                model, name, info, config=config, schema=known.get(name), definitions=definitions
            )
            for name, info in model.__pydantic_fields__.items()
            if info.init is not False
        ),
        extra=extra,
        opaque=opaque,
        build=_builder(model, is_model=is_model, strict=bool(config.get("strict"))),
        setters=_setters(model) if plain else None,
        keeps_extra=config.get("extra") == "allow",
        nested=dict(_nested(known, definitions)),
    )


def _complete(model: Any) -> None:
    """Resolve references to classes that were defined after the model."""
    from pydantic import dataclasses  # noqa: PLC0415  # not needed for models

    if getattr(model, "__pydantic_complete__", True):
        return
    try:
        if issubclass(model, BaseModel):
            model.model_rebuild()
        else:
            dataclasses.rebuild_dataclass(model)
    except (PydanticUserError, NameError) as exc:
        name = f"{model.__module__}.{model.__qualname__}"
        raise ConfigurationError(f"model {name} cannot be used as it is: {exc}") from exc


def _setters(model: type[BaseModel]) -> tuple[Callable[[Any, Any], None], ...]:
    """What stores the four parts of an instance, past the model's own ``__setattr__``.

    The descriptors of the slots, bound once: 0.1 µs a row less than ``object.__setattr__``.
    """
    parts = (
        "__dict__",
        "__pydantic_fields_set__",
        "__pydantic_extra__",
        "__pydantic_private__",
    )
    return tuple(getattr_static(model, part).__set__ for part in parts)


def _builder(model: Any, *, is_model: bool, strict: bool) -> Any:
    if is_model or not strict:
        return model.__pydantic_validator__.validate_python
    # A strict dataclass takes no dict: its constructor does the same work.
    return lambda values: model(**values)


def _open(schema: Any) -> tuple[Any, dict[str, Any]]:
    """Take the definitions off a core schema."""
    definitions = {}
    if schema["type"] == "definitions":
        definitions = {item["ref"]: item for item in schema["definitions"]}
        schema = schema["schema"]
    return _resolve(schema, definitions), definitions


def _resolve(schema: Any, definitions: Mapping[str, Any]) -> Any:
    while schema["type"] == "definition-ref" and schema["schema_ref"] in definitions:
        schema = definitions[schema["schema_ref"]]
    return schema


def _is_transparent(schema: Any, definitions: Mapping[str, Any]) -> bool:
    """Whether the fields get their values as they are given: nothing runs before them."""
    for _ in range(2):  # around the model, and inside it around its fields
        while schema["type"] == "function-after":
            schema = _resolve(schema["schema"], definitions)
        if schema["type"] in ("model-fields", "dataclass-args"):
            return True
        if schema["type"] not in ("model", "dataclass") or schema.get("custom_init"):
            return False
        schema = _resolve(schema["schema"], definitions)
    while schema["type"] == "function-after":
        schema = _resolve(schema["schema"], definitions)
    return schema["type"] in ("model-fields", "dataclass-args")


def _is_plain(model: type[BaseModel], schema: Any) -> bool:
    """Whether, its fields apart, validation does nothing but make the instance."""
    return (
        schema["type"] == "model"
        and schema["cls"] is model
        and schema.keys() <= _INERT_MODEL
        and not schema.get("custom_init")
        and not schema.get("root_model")
        and schema.get("config", {}).keys() <= _INERT_CONFIG
        and schema["schema"]["type"] == "model-fields"
        and schema["schema"].keys() <= _INERT_FIELDS
        and not model.__private_attributes__
        # A plug-in of pydantic (a tracer, say) puts its own validator there and wants to see it.
        and type(model.__pydantic_validator__) is SchemaValidator
        and model.__new__ is object.__new__
    )


def _describe_field(
    model: Any,
    name: str,
    info: FieldInfo,
    *,
    config: Mapping[str, Any],
    schema: Any,
    definitions: Mapping[str, Any],
) -> Field:
    key, aliases, paths = _names(name, info, config)
    exact, finite = _exact(schema, definitions)
    return Field(
        name=name,
        annotation=info.annotation,
        required=info.is_required(),
        key=key,
        aliases=aliases,
        paths=paths,
        opaque=_is_opaque_field(model, name, info, config),
        exact=exact,
        finite=finite,
        default=_default(info),
    )


def _names(
    name: str, info: FieldInfo, config: Mapping[str, Any]
) -> tuple[str | None, dict[str, str], frozenset[str]]:
    """The key for a column of the field's own name, other names, and names of wholes."""
    alias = info.validation_alias if info.validation_alias is not None else info.alias
    if alias is None or config.get("validate_by_alias") is False:
        return name, {}, frozenset()
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    names = [choice for choice in choices if isinstance(choice, str)]
    paths = frozenset(str(c.path[0]) for c in choices if isinstance(c, AliasPath))
    if config.get("populate_by_name") or config.get("validate_by_name"):
        key: str | None = name
    else:
        # A column of the field's own name is welcome: aliases are mostly made for JSON.
        key = names[0] if names else None
    return key, {choice: choice for choice in names}, paths


def _is_opaque_field(model: Any, name: str, info: FieldInfo, config: Mapping[str, Any]) -> bool:
    if is_opaque(info.annotation, info.metadata) or config.get("coerce_numbers_to_str"):
        return True
    decorators = model.__pydantic_decorators__
    return any(
        decorator.info.mode != "after"
        and (name in decorator.info.fields or "*" in decorator.info.fields)
        for decorator in decorators.field_validators.values()
    ) or bool(decorators.validators)


def _default(info: FieldInfo) -> Default | None:
    if info.is_required() or info.validate_default:
        return None
    if info.default_factory is not None:
        factory: Any = info.default_factory
        return None if info.default_factory_takes_validated_data else Default(factory=factory)
    if type(info.default) in _IMMUTABLE or isinstance(info.default, Enum):
        return Default(value=info.default)
    return None  # the validator knows whether to copy it


def _value_schema(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema of a field's value, its default and the permission of None taken off."""
    if schema is None or not schema.keys() <= _INERT_FIELD:
        return None
    schema = _resolve(schema["schema"], definitions)
    if schema["type"] == "default":
        if schema.get("on_error", "raise") != "raise":
            return None
        schema = _resolve(schema["schema"], definitions)
    if schema["type"] == "nullable":
        schema = _resolve(schema["schema"], definitions)
    return schema


def _exact(schema: Any, definitions: Mapping[str, Any]) -> tuple[type[Any] | None, bool]:
    schema = _value_schema(schema, definitions)
    if schema is None or schema["type"] not in _PYTHON or not schema.keys() <= _INERT_SCALAR:
        return None, False
    return _PYTHON[schema["type"]], schema["type"] == "decimal"


def _nested(
    fields: Mapping[str, Any], definitions: Mapping[str, Any]
) -> Iterator[tuple[str, type[Any]]]:
    for name, field in fields.items():
        schema = _value_schema(field, definitions)
        if schema is not None and schema["type"] == "model" and schema.keys() <= _INERT_MODEL:
            yield name, schema["cls"]
