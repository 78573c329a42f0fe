"""A read as a COPY: ``fetch_arrow`` and ``export_csv`` on PostgreSQL.

COPY takes no parameters, and no value ever becomes text of a statement. So the values are sent as
the parameters of a SELECT that puts them into settings of the transaction, and the COPY reads
those; ``date`` stands for the type by its full name::

    SELECT pg_catalog.set_config('aurora_sql.p1', pg_catalog.format('%s', $1::date), true)
    COPY (SELECT … WHERE day >= (pg_catalog.current_setting('aurora_sql.p1')::date)) TO STDOUT …

``current_setting`` is stable: the planner knows the value, and chooses as it does for a constant.
It is read for each row that a condition is tried on, which for a number costs about as much as the
row; where reading costs more, a list or a document, it stands in a subselect, which runs once.
format() calls the type's output function, whatever casts to text somebody has made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from aurora_sql.statements._together import _quoted, _tokens
from aurora_sql.statements._tokens import PARAMETER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from aurora_sql.statements._statement import Variant
    from aurora_sql.statements._tokens import Token
    from aurora_sql.types import ParameterType

_DOCUMENTS: Final = frozenset({"json", "jsonb", "jsonpath", "xml", "tsvector", "tsquery"})
_SETTINGS: Final = {
    # As of a stream: the client bounds each wait for more, nobody bounds the whole.
    "statement_timeout": "0",
    # One form of each value, however the session likes to see them.
    "datestyle": "ISO",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}


class CopyTexts(NamedTuple):
    """What it takes to run a variant as a COPY, in one transaction.

    Attributes:
        prepare: A SELECT with the variant's parameters, to be run first. Its row begins with the
            parameters of ``restore``.
        copy: The COPY.
        restore: A SELECT that puts the session's own settings back.
    """

    prepare: str
    copy: str
    restore: str


RESTORED: Final = len(_SETTINGS)
"""How many values of ``prepare`` are those of ``restore``."""


def copy_texts(
    variant: Variant, parameters: Sequence[ParameterType], args: Sequence[Any], *, header: bool
) -> CopyTexts:
    """Make the commands that run a read of PostgreSQL's as COPY … TO STDOUT, as CSV.

    Args:
        variant: The read.
        parameters: What the server takes for each parameter, from the prepared original.
        args: The values; what counts is which are None, since NULL can be told by text alone.
        header: The first line has the names of the columns.
    """
    columns = [f"pg_catalog.current_setting('{name}')" for name in _SETTINGS]
    columns += [_set(name, f"'{value}'") for name, value in _SETTINGS.items()]
    for number, kind in enumerate(parameters, 1):
        value = f"pg_catalog.format('%s', ${number}::{_type_of(kind)})"
        columns.append(_set(_key(number), value))
    restored = (_set(name, f"${number}") for number, name in enumerate(_SETTINGS, 1))
    # A line break ends a comment that the statement ends with.
    return CopyTexts(
        "SELECT " + ", ".join(columns),
        f"COPY (\n{_inlined(variant, parameters, args)}\n)"
        f" TO STDOUT WITH (FORMAT csv, HEADER {'true' if header else 'false'})",
        "SELECT " + ", ".join(restored),
    )


def _inlined(variant: Variant, parameters: Sequence[ParameterType], args: Sequence[Any]) -> str:
    """The statement with what reads its values in place of the parameters."""
    tokens = _tokens(variant)
    in_any = [_is_list(tokens, at) for at, one in enumerate(tokens) if one[0] == PARAMETER]
    numbers = {name: number for number, name in enumerate(variant.parameters)}
    texts, use = [], 0
    for _, text, name in variant.pieces:
        if not name:
            texts.append(text)
            continue
        number = numbers[name]
        declared = variant.statement.param_types.get(name)
        if args[number] is None:
            texts.append(f"({_declared(f'NULL::{_type_of(parameters[number])}', declared)})")
        else:
            texts.append(_read(number + 1, parameters[number], declared, in_any=in_any[use]))
        use += 1
    return "".join(texts).rstrip()


def _read(number: int, kind: ParameterType, declared: str | None, *, in_any: bool) -> str:
    """What stands for a value in the text of the COPY."""
    type_name = _type_of(kind)
    value = f"pg_catalog.current_setting('{_key(number)}')::{type_name}"
    if kind.kind == "scalar" and kind.type_name not in _DOCUMENTS:
        return f"({_declared(value, declared)})"
    if in_any and kind.kind == "array":
        # The same rows, found by a hash: for an array the server does so where it is a constant.
        return f"SELECT pg_catalog.unnest({_declared(value, declared)})"
    # With the cast outside it is no subquery to ANY(…), but the array that it gives.
    return f"((SELECT {value})::{declared or type_name})"


def _declared(value: str, declared: str | None) -> str:
    # A cast by directive may also cut a value to its length.
    return value if declared is None else f"({value})::{declared}"


def _is_list(tokens: Sequence[Token], at: int) -> bool:
    """Whether a parameter is all that stands in the brackets of ``= ANY(…)``."""
    around = [token[1].lower() for token in tokens[max(at - 3, 0) : at + 2]]
    del around[-2:-1]  # the parameter
    return around in (["=", "any", "(", ")"], ["=", "some", "(", ")"])


def _set(name: str, value: str) -> str:
    return f"pg_catalog.set_config('{name}', {value}, true)"


def _key(number: int) -> str:
    return f"aurora_sql.p{number}"


def _type_of(kind: ParameterType) -> str:
    name = kind.type_name.removesuffix("[]")
    brackets = kind.type_name[len(name) :]
    return f"{_quoted(kind.schema)}.{_quoted(name)}{brackets}"
