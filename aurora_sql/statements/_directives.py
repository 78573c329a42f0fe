"""Directives: what a comment under a header may say about its statement."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.statements._names import one_edit
from aurora_sql.types import Access, Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.statements._source import Source

_DIRECTIVE = re.compile(r"--[ \t]*([A-Za-z_]\w*)[ \t]*:(?![:=])[ \t]*(.*?)[ \t]*\Z")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)[ \t]*(ms|s|m|h)?\Z")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+\Z")
_TYPE = re.compile(
    r'(?:[A-Za-z_]\w*|"[^"]+")(?:[ ]?\.[ ]?(?:[A-Za-z_]\w*|"[^"]+"))?(?: [A-Za-z]+)*'
    r"(?: ?\([0-9]+(?:, ?[0-9]+)?\))?(?: [A-Za-z]+)*(?:\[[0-9]*\])*\Z"
)
_COLUMN = re.compile(r'("[^"]+"|\S+)[ \t]+(nullable|not[ \t]+null)\Z')


@dataclass(slots=True)
class Directives:
    """What the directives of one statement say."""

    role: Role | None = None
    timeout: float | None = None
    returns: str | type[Any] | None = None
    access: Access | None = None
    retry: str | None = None
    coalesce: bool = False
    session_clean: bool = False
    cache: float | None = None
    invalidates: tuple[str, ...] = ()
    param_types: dict[str, str] = field(default_factory=dict)
    column_nullability: dict[str, bool] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    """Where each directive stands, for errors that show only later."""


_NONE: Final = Directives()


def none_given() -> Directives:
    """The directives of a statement without any; shared, never changed."""
    return _NONE


class _BadValue(Exception):
    """What is wrong with a directive's value."""


def _role(into: Directives, value: str) -> None:
    try:
        into.role = Role(value)
    except ValueError:
        raise _BadValue("it is writer or reader") from None


def _access(into: Directives, value: str) -> None:
    try:
        into.access = Access(value)
    except ValueError:
        raise _BadValue("it is read or write") from None


def parse_duration(text: str) -> float | None:
    """Seconds of ``500ms``, ``30s``, ``2m``, ``1h`` or a plain number; None if it is none."""
    found = _DURATION.match(text)
    if found is None:
        return None
    seconds = float(found[1]) * _UNITS[found[2]]
    return seconds if seconds > 0 and math.isfinite(seconds) else None


def _timeout(into: Directives, value: str) -> None:
    into.timeout = parse_duration(value)
    if into.timeout is None:
        raise _BadValue("it is a time above zero, such as 500ms, 30s or 2m")


def _returns(into: Directives, value: str) -> None:
    if not _DOTTED.match(value):
        raise _BadValue("it is the dotted path of a model, such as shop.models.User")
    into.returns = value


def _session(into: Directives, value: str) -> None:
    if value != "clean":
        raise _BadValue("it can only be clean")
    into.session_clean = True


def _retry(into: Directives, value: str) -> None:
    if value not in {"never", "exactly_once"}:
        raise _BadValue("it is never or exactly_once")
    into.retry = value


def _coalesce(into: Directives, value: str) -> None:
    if value != "on":
        raise _BadValue("it can only be on")
    into.coalesce = True


def _param(into: Directives, value: str) -> None:
    name, _, type_name = value.partition(" ")
    type_name = type_name.strip()
    name = name.removeprefix(":")
    if not name.isidentifier() or not _TYPE.match(type_name):
        raise _BadValue("it is a parameter's name and its SQL type, such as 'ids bigint[]'")
    if name in into.param_types:
        raise _BadValue(f"the type of {name!r} is given twice")
    into.param_types[name] = type_name


def _column(into: Directives, value: str) -> None:
    found = _COLUMN.match(value)
    if found is None:
        raise _BadValue("it is a column's name and 'nullable' or 'not null'")
    name = found[1].strip('"')
    if name in into.column_nullability:
        raise _BadValue(f"column {name!r} is given twice")
    into.column_nullability[name] = found[2] == "nullable"


def _cache(into: Directives, value: str) -> None:
    into.cache = parse_duration(value)
    if into.cache is None:
        raise _BadValue("it is how old an answer may be, such as 500ms, 5s or 2m")


def _invalidates(into: Directives, value: str) -> None:
    names = tuple(name.strip() for name in value.split(","))
    if not all(map(_DOTTED.match, names)):
        raise _BadValue("it is full names of cached statements, such as users.get, users.count")
    into.invalidates = names


_READERS: Final[dict[str, Callable[[Directives, str], None]]] = {
    "role": _role,
    "timeout": _timeout,
    "returns": _returns,
    "cache": _cache,
    "invalidates": _invalidates,
    "coalesce": _coalesce,
    "access": _access,
    "session": _session,
    "retry": _retry,
    "param": _param,
    "column": _column,
}
_REPEATED: Final = frozenset({"param", "column"})


def read_directive(source: Source, comment: str, offset: int, into: Directives) -> bool:
    """Take in a comment under a header if it is a directive.

    Args:
        source: Where it stands.
        comment: The comment with its dashes.
        offset: Where it begins.
        into: What the statement's directives say so far.

    Returns:
        Whether it was one.

    Raises:
        StatementFileError: It is misspelt, given twice, or has a bad value.
    """
    found = _DIRECTIVE.match(comment)
    if found is None:
        return False
    word, value = found.groups()
    reader = _READERS.get(word)
    if reader is None:
        near = _misspelt(word)
        if near is not None:
            raise source.error(f"unknown directive {word!r}, did you mean {near!r}?", offset)
        return False
    if word in into.offsets and word not in _REPEATED:
        raise source.error(f"directive {word!r} is given twice", offset)
    into.offsets[word] = offset
    try:
        reader(into, value)
    except _BadValue as exc:
        raise source.error(f"directive '{word}: {value}': {exc}", offset) from None
    return True


def refuse_misplaced(source: Source, comment: str, offset: int) -> None:
    """Refuse a directive that stands inside or after the SQL, where it would say nothing."""
    found = _DIRECTIVE.match(comment)
    if found is not None and found[1] in _READERS:
        try:
            _READERS[found[1]](Directives(), found[2])
        except _BadValue:
            return  # prose that happens to begin with such a word
        raise source.error(
            f"directive {found[1]!r} stands inside the SQL; put it under the header", offset
        )


def _misspelt(word: str) -> str | None:
    for known in _READERS:
        if one_edit(word, known) or (word != known and word.lower() == known):
            return known
    return None
