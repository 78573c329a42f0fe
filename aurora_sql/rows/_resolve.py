"""Find the model that a statement names."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from typing import Any

from aurora_sql.errors import ConfigurationError


def resolve_model(path: str) -> type[Any]:
    """Import the class that a dotted path names, such as ``shop.models.User``.

    Args:
        path: Module and class; a class inside a class is ``shop.models.Order.Line``. A name
            without a dot is a built-in type such as ``int`` or ``dict``.

    Raises:
        ConfigurationError: There is no such module or class, the module fails when it is
            imported, or the name is no class.
    """
    parts = path.split(".")
    if not all(part.isidentifier() for part in parts):
        raise ConfigurationError(
            f"{path!r} is not the dotted path of a model, such as shop.models.User"
        )
    if len(parts) == 1:
        parts.insert(0, "builtins")
    module, rest = _import(path, parts)
    found: Any = module
    seen = module.__name__
    for part in rest:
        try:
            found = getattr(found, part)
        except AttributeError as exc:
            close = difflib.get_close_matches(part, dir(found), n=3)
            hint = f"; did you mean {', '.join(close)}?" if close else ""
            raise ConfigurationError(f"model {path!r}: {seen} has no {part!r}{hint}") from exc
        seen += f".{part}"
    if not isinstance(found, type):
        raise ConfigurationError(f"model {path!r} is no class but {found!r}")
    return found


def _import(path: str, parts: list[str]) -> tuple[Any, list[str]]:
    """Import the longest part of the path that is a module."""
    for size in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:size])
        try:
            return importlib.import_module(name), parts[size:]
        except ModuleNotFoundError as exc:
            # The module itself (or one above it) is missing: the path may go into a class. A
            # module that is there and imports what is missing fails for good.
            missing = exc.name or ""
            if not (name == missing or name.startswith(f"{missing}.")):
                raise ConfigurationError(
                    f"model {path!r}: module {name} cannot be imported: {exc}"
                ) from exc
        except Exception as exc:
            raise ConfigurationError(
                f"model {path!r}: module {name} fails when it is imported: "
                f"{type(exc).__name__}: {exc}"
            ) from exc
    raise ConfigurationError(
        f"model {path!r}: there is no module {'.'.join(parts[:-1])}; is its folder on the "
        "Python path of this process?"
    )
