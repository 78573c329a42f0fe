"""Values that are text until the server has said what they are to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from aurora_sql.errors import DatabaseError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.drivers import DriverConnection
    from aurora_sql.statements import Variant
    from aurora_sql.types import ParameterType


class UncastText(str):
    """A value as text, which the server turns into what the parameter takes (PostgreSQL).

    For ``explain()``, where there is no value of Python's: on the command line. Where the parameter
    is an array it may be a JSON list.
    """

    __slots__ = ()


async def cast_texts(
    driver: DriverConnection,
    variant: Variant,
    parameters: Sequence[ParameterType],
    args: Sequence[Any],
) -> Sequence[Any]:
    """Let the server turn texts into values.

    Args:
        driver: The connection.
        variant: What the values are for.
        parameters: What the server takes for each.
        args: The values; only those that are :class:`UncastText` change.

    Raises:
        ParameterError: One is no such value.
    """
    if not any(type(value) is UncastText for value in args):
        return args
    values: list[Any] = []
    for name, parameter, value in zip(variant.parameters, parameters, args, strict=True):
        if type(value) is not UncastText:
            values.append(value)
            continue
        try:
            values.append(await _cast(driver, parameter, value))
        except (DatabaseError, orjson.JSONDecodeError) as error:
            said = error.message if isinstance(error, DatabaseError) else str(error)
            where = variant.statement.where
            raise ParameterError(f"{where}: parameter {name!r}: {said}") from error
    return values


async def _cast(driver: DriverConnection, parameter: ParameterType, text: str) -> Any:
    value: Any = str(text)  # orjson takes no other kind
    source, target = "text", _quoted(parameter)
    if parameter.kind == "array" and text.startswith("["):
        source, value = "text[]", [_text(one) for one in orjson.loads(value)]
    prepared = await driver.prepare(f"SELECT $1::{source}::{target}")
    try:
        return (await prepared.fetch((value,)))[0][0]
    finally:
        if driver.is_settled and not driver.is_closed:
            await prepared.close()


def _text(value: object) -> str | None:
    """An element of a JSON list as the server reads it."""
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _quoted(parameter: ParameterType) -> str:
    name = parameter.type_name.removesuffix("[]").replace('"', '""')
    schema = parameter.schema.replace('"', '""')
    return f'"{schema}"."{name}"{"[]" if parameter.kind == "array" else ""}'
