"""What a model is made of, in one form for every kind of model.

Nothing here imports pydantic; :func:`describe` loads the part that knows it when a model of
pydantic comes along, and such a model has imported it already.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import ConfigurationError
from aurora_sql.rows._annotations import is_typed_dict, members

if TYPE_CHECKING:
    from collections.abc import Callable


class Kind(Enum):
    """How an instance of a model is made."""

    PYDANTIC = "pydantic"
    """By the model's validator from a dict, or field by field where that is the same."""

    CALL = "call"
    """By calling the class: dataclasses and named tuples."""

    DICT = "dict"
    """A typed dict is a dict."""


class Extra(Enum):
    """What becomes of a column that no field takes."""

    ERROR = "error"
    IGNORE = "ignore"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Default:
    """What a field is when no column fills it.

    Attributes:
        value: The value, which is immutable and may be shared.
        factory: Called for each row instead.
    """

    value: Any = None
    factory: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a model.

    Attributes:
        name: Its name as an attribute.
        annotation: Its type.
        required: It has no default.
        key: What the constructor calls it when a column of its own name fills it; None if
            such a column does not.
        aliases: Further names of a column that fills it, each with the key to use then.
        paths: Names of columns that may hold it deep inside; they are handed on whole.
        keyword: It can be given by keyword only.
        opaque: Its validator may take anything, so that nothing is certain before it ran.
        exact: The one Python type that its validator hands through untouched; ``object`` for
            any; None if there is no such type.
        finite: Of these, its validator refuses infinity and NaN.
        default: What it is when no column fills it; None if only the model can tell.
    """

    name: str
    annotation: Any
    required: bool
    key: str | None
    aliases: dict[str, str] = field(default_factory=dict)
    paths: frozenset[str] = frozenset()
    keyword: bool = False
    opaque: bool = False
    exact: type[Any] | None = None
    finite: bool = False
    default: Default | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """A model.

    Attributes:
        model: The class.
        kind: How an instance is made.
        fields: Its fields in order.
        extra: What becomes of columns that no field takes.
        opaque: A validator sees the input before the fields do, so that nothing is certain.
        build: For :attr:`Kind.PYDANTIC`: makes an instance from a dict, validating it.
        setters: For a model whose instances may be made field by field if all values are
            exact: they set its dict of fields, the set of fields given, the extra values and
            the private ones.
        keeps_extra: Its instances have a dict of extra values.
        nested: With ``setters``: the fields whose value is handed through if it is an
            instance of this model, and nothing but that.
    """

    model: type[Any]
    kind: Kind
    fields: tuple[Field, ...]
    extra: Extra = Extra.ERROR
    opaque: bool = False
    build: Callable[[dict[str, Any]], Any] | None = None
    setters: tuple[Callable[[Any, Any], None], ...] | None = None
    keeps_extra: bool = False
    nested: dict[str, type[Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The class's name."""
        return self.model.__name__


def describe(model: Any) -> Shape | None:
    """Describe a model of fields.

    Returns:
        None if it is not one: a scalar, a container, an unknown class.

    Raises:
        ConfigurationError: It is one and cannot be used; its annotations name what is not there.
    """
    model = typing.get_origin(model) if _is_generic_alias(model) else model
    if not isinstance(model, type):
        return None
    if "__pydantic_fields__" in vars(model) or hasattr(model, "__pydantic_root_model__"):
        from aurora_sql.rows import _pydantic  # noqa: PLC0415  # its import takes 100 ms

        return _pydantic.describe(model)
    if dataclasses.is_dataclass(model):
        return _describe_dataclass(model)
    if is_typed_dict(model):
        return _describe_typed_dict(model)
    if issubclass(model, tuple) and hasattr(model, "_fields"):
        return _describe_named_tuple(model)
    return None


def _is_generic_alias(model: Any) -> bool:
    # ``Page[int]`` of a generic dataclass is an alias; of a pydantic model it is a class.
    origin = typing.get_origin(model)
    return isinstance(origin, type) and (
        dataclasses.is_dataclass(origin) or is_typed_dict(origin) or hasattr(origin, "_fields")
    )


def hints(model: type[Any]) -> dict[str, Any]:
    """The annotations of a class, evaluated.

    Raises:
        ConfigurationError: One of them names what does not exist where the class stands.
    """
    try:
        return typing.get_type_hints(model, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError) as exc:
        raise ConfigurationError(
            f"the annotations of model {model.__module__}.{model.__qualname__} cannot be "
            f"evaluated: {exc}; import what they name outside `if TYPE_CHECKING:`"
        ) from exc


def _describe_dataclass(model: type[Any]) -> Shape:
    types = hints(model)
    # The signature and not the fields: it knows InitVar, init=False and a hand-written __init__.
    parameters = inspect.signature(model).parameters.values()
    fields = tuple(
        Field(
            name=parameter.name,
            annotation=types.get(parameter.name, Any),
            required=parameter.default is inspect.Parameter.empty,
            key=parameter.name,
            keyword=parameter.kind is inspect.Parameter.KEYWORD_ONLY,
        )
        for parameter in parameters
        if parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    )
    return Shape(model=model, kind=Kind.CALL, fields=fields)


def _describe_named_tuple(model: Any) -> Shape:
    types = hints(model)
    fields = tuple(
        Field(
            name=name,
            annotation=types.get(name, Any),
            required=name not in model._field_defaults,
            key=name,
        )
        for name in model._fields
    )
    return Shape(model=model, kind=Kind.CALL, fields=fields)


def _describe_typed_dict(model: Any) -> Shape:
    # Under ``from __future__ import annotations`` the class takes Required and NotRequired for
    # plain text, so that its own __required_keys__ is wrong; the evaluated hints are right.
    fields = []
    for name, annotation in hints(model).items():
        origin = typing.get_origin(annotation)
        required = name in model.__required_keys__ or origin is typing.Required
        if origin is typing.NotRequired:
            required = False
        fields.append(Field(name=name, annotation=_unwrap(annotation), required=required, key=name))
    return Shape(model=model, kind=Kind.DICT, fields=tuple(fields))


def _unwrap(annotation: Any) -> Any:
    """Take off Required and NotRequired only: Annotated may carry constraints."""
    while typing.get_origin(annotation) in (typing.Required, typing.NotRequired):
        annotation = typing.get_args(annotation)[0]
    return annotation


def nested_shape(annotation: Any) -> Shape | None:
    """The shape of the one model that an annotation names, beside None perhaps."""
    found = members(annotation)
    return describe(found[0]) if len(found) == 1 else None
