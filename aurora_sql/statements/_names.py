"""Names: which are allowed, which are near to one another, how messages list them."""

from __future__ import annotations

import keyword
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RESERVED_NAMES: Final = frozenset({"stream"})
"""Methods of a statement; a namespace or statement of such a name would hide them."""


def name_problem(name: str) -> str | None:
    """Why a file, folder or statement cannot have this name; None where it can."""
    if not name.isidentifier():
        return f"{name!r} is not a Python identifier"
    if keyword.iskeyword(name):
        return f"{name!r} is a Python keyword"
    if name.startswith("_"):
        return f"{name!r} starts with an underscore, which is kept for the library"
    if name in RESERVED_NAMES:
        return f"{name!r} is the name of a method of every statement"
    return None


def one_edit(a: str, b: str) -> bool:
    """Whether one letter inserted, left out, changed or swapped with its neighbour makes b of a."""
    if a == b:
        return False
    if len(a) > len(b):
        a, b = b, a
    if len(b) - len(a) > 1:
        return False
    at = 0
    while at < len(a) and a[at] == b[at]:
        at += 1
    if len(a) < len(b):
        return a[at:] == b[at + 1 :]
    if a[at + 1 :] == b[at + 1 :]:
        return True
    return a[at : at + 2] == b[at : at + 2][::-1] and a[at + 2 :] == b[at + 2 :]


def close_to(name: str, known: Iterable[str]) -> str:
    """``, did you mean 'x'?`` for a known name that is near; else nothing."""
    # Imported on use: difflib costs several milliseconds of every start and serves errors only.
    from difflib import get_close_matches  # noqa: PLC0415 - see above

    found = get_close_matches(name, list(known), n=1)
    return f", did you mean {found[0]!r}?" if found else ""


def listed(names: Sequence[str]) -> str:
    """``'a', 'b' and 'c'``."""
    quoted = [repr(name) for name in names]
    if len(quoted) < 2:  # noqa: PLR2004 - one name needs no "and"
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"
