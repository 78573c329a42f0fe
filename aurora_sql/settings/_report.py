"""Problems with settings, one line each, in the words of the source that gave the value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ._sources import Origin, closest, variable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError

SECRETS: Final = frozenset({"password", "token_secret"})

_BOUNDS: Final = {
    "greater_than_equal": ("ge", "must be at least {}"),
    "greater_than": ("gt", "must be more than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "less_than": ("lt", "must be less than {}"),
}
_KINDS: Final = {
    "int": "must be a whole number",
    "bool": "must be true or false",
    "float": "must be a number",
    "string": "must be a text",
}
_LONGEST_SHOWN: Final = 80


class Keys:
    """How each field that was given is spelled, and how one that was not would be."""

    def __init__(self, given: Mapping[str, str], origin: Origin, fields: Mapping[str, Any]) -> None:
        self._given = given
        self._origin = origin
        self.fields = fields

    def __getitem__(self, name: str) -> str:
        return self._given.get(name) or self._origin.spell(name)

    def suggestion(self, unknown: str) -> str:
        """The known key that was probably meant, as the source spells it, or nothing."""
        near = closest(unknown, self.fields)
        if near is None:
            return ""
        from_variable = self._given.get(unknown, "").startswith(variable(unknown))
        known = variable(near) if from_variable else self._origin.known(near)
        return f"; did you mean {known}?"


def problems(error: ValidationError, keys: Keys) -> list[str]:
    """Return one line for each problem that pydantic found, without any secret value."""
    found = error.errors(include_url=False)
    # A default that could not be worked out for want of another value is no problem of its own.
    return [
        _line(dict(problem), keys)
        for problem in found
        if problem["type"] != "default_factory_not_called"
    ]


def _line(problem: dict[str, Any], keys: Keys) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    kind: str = problem["type"]
    if kind == "missing":
        return _missing(name, keys)
    if kind == "extra_forbidden":
        return f"{keys[name].strip()} is no known setting{keys.suggestion(name)}"
    context = problem.get("ctx", {})
    if kind == "value_error":
        # Messages of our own validators; those that may show the value do so themselves.
        text = str(context["error"])
        shown = "" if ", not " in text or "twice" in text else _shown(name, problem["input"])
    elif kind in _BOUNDS:
        bound, pattern = _BOUNDS[kind]
        text, shown = pattern.format(context[bound]), _shown(name, problem["input"])
    else:
        text = _KINDS.get(kind.split("_", 1)[0], problem["msg"])
        shown = _shown(name, problem["input"])
    return f"{keys[name]} {text}{shown}"


def _missing(name: str, keys: Keys) -> str:
    key = keys[name]
    instead = "" if variable(name) in key else f" (or set {variable(name)})"
    return f"{key} is missing{instead}"


def _shown(name: str, value: object) -> str:
    if name in SECRETS or not isinstance(value, (str, int, float)):
        return ""
    text = repr(value)
    # What looks like a URL may hold a password, whatever the key.
    if "://" in text or "@" in text or len(text) > _LONGEST_SHOWN:
        return ""
    return f", not {text}"
