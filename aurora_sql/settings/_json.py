"""Settings from a JSON file such as ``appsettings.json``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.errors import ConfigurationError

from ._sources import Origin, Sourced, did_you_mean, pascal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# What .NET reads beyond JSON: comments, and a comma after the last element. Strings come first,
# so that what looks like a comment inside one stays.
_TOKENS: Final = re.compile(
    r'"(?:[^"\\]|\\.)*"|//[^\r\n]*|/\*.*?\*/|,(?=(?:\s|//[^\r\n]*|/\*.*?\*/)*[}\]])', re.DOTALL
)
_NOT_BLANK: Final = re.compile(r"[^\r\n]")


def read_section(
    path: Path, section: str, fields: Mapping[str, object]
) -> tuple[dict[str, Sourced], Origin]:
    """Read a section's values, by field name.

    Args:
        path: The file, UTF-8 with or without a byte order mark.
        section: Name of the section, levels separated by ``:``. A section that is not at the
            top is found below it where only one has the name.
        fields: The known fields.

    Returns:
        The values, unknown keys among them under their own spelling, and how to speak of them.

    Raises:
        ConfigurationError: The file cannot be read, is not JSON or lacks the section.
    """
    found = _find(_load(path), section, path)
    by_key = {pascal(name).lower(): name for name in fields}
    place = f"in section {section} of {path}"
    values: dict[str, Sourced] = {}
    for key, value in found.items():
        name = by_key.get(key.lower(), key)
        if name in values:
            raise ConfigurationError(f'"{key}" {place} stands there twice (case does not count)')
        if name == key and name in fields and name != pascal(name):
            # The field's own snake case name is no JSON key; the space keeps it unknown.
            name = f"{key} "
        if value is not None:
            values[name] = Sourced(value, f'"{key}" {place}', weak=True)
    origin = Origin(
        spell=lambda name: f'"{pascal(name)}" {place}', known=lambda name: f'"{pascal(name)}"'
    )
    return values, origin


def _load(path: Path) -> dict[str, Any]:
    problem = ""
    document: Any = None
    # The errors of the parser hold the whole text, passwords included, so none is chained.
    try:
        text = path.read_text("utf-8-sig")
        document = json.loads(
            _TOKENS.sub(_blank, text),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
        )
    except OSError as exc:
        problem = f"cannot be read: {exc.strerror or type(exc).__name__}"
    except UnicodeDecodeError as exc:
        problem = f"is not UTF-8 (byte {exc.start})"
    except json.JSONDecodeError as exc:
        problem = f"is not JSON: line {exc.lineno}, column {exc.colno}: {exc.msg}"
    except RecursionError:
        problem = "is nested too deeply"
    except ValueError as exc:
        problem = f"is not JSON: {exc}"
    else:
        if not isinstance(document, dict):
            problem = "must hold a JSON object"
    if problem:
        raise ConfigurationError(f"Settings file {path} {problem}")
    return document  # type: ignore[no-any-return] # checked above


def _blank(match: re.Match[str]) -> str:
    token = match[0]
    # Blanks of the same shape keep the line and column of a later error right.
    return token if token.startswith('"') else _NOT_BLANK.sub(" ", token)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f'the key "{twice}" stands twice in one object')
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _find(document: dict[str, Any], section: str, path: Path) -> dict[str, Any]:
    levels = section.split(":")
    found: Any = document
    for level in levels:
        found = _member(found, level) if isinstance(found, dict) else None
    if found is None and len(levels) == 1:
        places = list(_nested(document, section, ""))
        if len(places) > 1:
            names = ", ".join(place for place, _ in places)
            raise ConfigurationError(
                f"Settings file {path} has several sections {section}: name one of {names}"
            )
        found = places[0][1] if places else None
    if found is None:
        sections = [key for key, value in document.items() if isinstance(value, dict)]
        there = f"it has {', '.join(sections)}" if sections else "it has no sections"
        raise ConfigurationError(
            f"Settings file {path} has no section {section}; {there}"
            + did_you_mean(section, sections)
        )
    if not isinstance(found, dict):
        raise ConfigurationError(f"Section {section} of {path} must be a JSON object")
    return found


def _member(parent: dict[str, Any], name: str) -> Any:
    return next((value for key, value in parent.items() if key.lower() == name.lower()), None)


def _nested(parent: dict[str, Any], name: str, above: str) -> Any:
    for key, value in parent.items():
        if isinstance(value, dict):
            if key.lower() == name.lower():
                yield f"{above}{key}", value
            else:
                yield from _nested(value, name, f"{above}{key}:")
