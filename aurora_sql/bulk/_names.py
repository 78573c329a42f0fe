"""Names of tables and columns as they go into SQL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aurora_sql.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PART = r'(?:"((?:[^"\0]|"")+)"|([^".\0\s]+))'
_TABLE = re.compile(rf"{_PART}(?:\.{_PART})?")


def split_table(table: object) -> tuple[str, ...]:
    """Split ``table`` or ``schema.table``; a part with a dot or a space stands in double quotes.

    Raises:
        ParameterError: It is not a name of this form.
    """
    match = _TABLE.fullmatch(table) if isinstance(table, str) else None
    if match is None:
        raise ParameterError(
            f"table must be a name or schema.name, in double quotes where it holds a dot, a quote"
            f" or a space, not {table!r}"
        )
    quoted, plain, quoted_second, plain_second = match.groups()
    parts = [plain if plain is not None else quoted.replace('""', '"')]
    if plain_second is not None or quoted_second is not None:
        parts.append(plain_second if plain_second is not None else quoted_second.replace('""', '"'))
    return tuple(parts)


def quote(name: str) -> str:
    """Quote one identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_mysql(name: str) -> str:
    """Quote one identifier as MySQL has it."""
    return "`" + name.replace("`", "``") + "`"


def quote_all(names: Sequence[str], prefix: str = "") -> str:
    """Quote identifiers and put commas between them, each behind ``prefix``."""
    return ", ".join(prefix + quote(name) for name in names)


def check_columns(columns: Iterable[object], what: str) -> tuple[str, ...]:
    """Return column names as a tuple.

    Raises:
        ParameterError: There are none, one is no text, or one stands twice.
    """
    if isinstance(columns, str):
        raise ParameterError(f"{what}: a list of names is needed, not the text {columns!r}")
    names: list[str] = []
    for name in columns:
        if not isinstance(name, str) or not name or "\0" in name:
            raise ParameterError(f"{what}: {name!r} is not a column name")
        names.append(name)
    if not names:
        raise ParameterError(f"{what}: name at least one column")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ParameterError(f"{what}: {', '.join(twice)} stands twice")
    return tuple(names)
