"""The kinds of settings: what a value may be, and how it is read. One type for each kind."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from aurora_sql.types import Engine

from ._values import (
    MysqlDriver,
    ReaderSelection,
    SslMode,
    TopologyMode,
    address,
    addresses,
    choice,
    duration,
    engine_name,
    instance_addresses,
    instance_weights,
    whole_number,
)

_LONGEST_APPLICATION_NAME = 63
_SHORTEST_TOKEN_SECRET = 16

T = TypeVar("T")


def _text(value: str) -> str:
    # The protocol ends its texts with NUL: one inside would smuggle in parameters of its own.
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    return value


def _filled(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return _text(value)


def _secret(value: SecretStr) -> SecretStr:
    _text(value.get_secret_value())
    return value


def _token_secret(value: SecretStr) -> SecretStr:
    _secret(value)
    if len(value.get_secret_value()) < _SHORTEST_TOKEN_SECRET:
        raise ValueError(f"must have at least {_SHORTEST_TOKEN_SECRET} characters, made by chance")
    return value


def _none_if_empty(value: T) -> T | None:
    # In files a setting that is not used often stands there with an empty text.
    return None if isinstance(value, str) and not value.strip() else value


def _application_name(value: str) -> str:
    if len(value) > _LONGEST_APPLICATION_NAME or not value.isascii() or not value.isprintable():
        # The server would cut it or replace its characters without a word.
        raise ValueError(f"must be at most {_LONGEST_APPLICATION_NAME} printable ASCII characters")
    return value


def _writer(value: str) -> str:
    if "," in value:
        raise ValueError("must name one writer; several readers go into the read endpoint")
    address(value, 1)
    return value.strip()


def _readers(value: str) -> str:
    addresses(value, 1)
    return value.strip()


def _instances(value: str) -> str:
    instance_addresses(value, 1)
    return value.strip()


def _weights(value: str) -> str:
    instance_weights(value)
    return value.strip()


Seconds = Annotated[float, BeforeValidator(duration)]
Count = Annotated[int, BeforeValidator(whole_number), Field(ge=0)]
Positive = Annotated[int, BeforeValidator(whole_number), Field(ge=1)]
Name = Annotated[str, AfterValidator(_filled)]
OptionalText = Annotated[
    Annotated[str, AfterValidator(_text)] | None, BeforeValidator(_none_if_empty)
]
OptionalSecret = Annotated[
    Annotated[SecretStr, AfterValidator(_secret)] | None, BeforeValidator(_none_if_empty)
]
Port = Annotated[int, BeforeValidator(whole_number), Field(ge=1, le=65535)]
ApplicationName = Annotated[str, AfterValidator(_application_name)]
TokenSecret = Annotated[
    Annotated[SecretStr, AfterValidator(_token_secret)] | None, BeforeValidator(_none_if_empty)
]

WriteEndpoint = Annotated[str, AfterValidator(_writer)]
ReadEndpoint = Annotated[
    Annotated[str, AfterValidator(_readers)] | None, BeforeValidator(_none_if_empty)
]
InstanceEndpoints = Annotated[
    Annotated[str, AfterValidator(_instances)] | None, BeforeValidator(_none_if_empty)
]
ReaderWeights = Annotated[
    Annotated[str, AfterValidator(_weights)] | None, BeforeValidator(_none_if_empty)
]

EngineChoice = Annotated[Engine, BeforeValidator(engine_name)]
DriverChoice = Annotated[MysqlDriver, BeforeValidator(lambda value: choice(value, MysqlDriver))]
SelectionChoice = Annotated[
    ReaderSelection, BeforeValidator(lambda value: choice(value, ReaderSelection))
]
TopologyChoice = Annotated[TopologyMode, BeforeValidator(lambda value: choice(value, TopologyMode))]
OptionalSslMode = Annotated[SslMode, BeforeValidator(lambda value: choice(value, SslMode))] | None
