"""The rows whose calls travel together: the simple ones of the six, for many callers."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._rows import OPERATIONS, Operation
from benchmarks._work import Single

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.statements import StatementRegistry
    from benchmarks._shop import Size
    from benchmarks._work import Work

_TEXTS = 4_096

CALLERS = 64
"""Callers of these rows: there is nothing to put together for a few."""

STATEMENTS = Path(__file__).resolve().parent / "sql"
"""Folder of their statements."""

_PLAIN = {one.name: one for one in OPERATIONS}


def _by_text(registry: StatementRegistry, size: Size, seed: int) -> Work:
    generator = random.Random(seed)  # noqa: S311 - the same keys for all that are compared
    numbers = [generator.randint(1, size.customers) for _ in range(_TEXTS)]
    values = [{"email": f"user{number}@example.com"} for number in numbers]
    return Single(registry, "coalesced.alone_by_email", values)


_READ_BY_TEXT = dataclasses.replace(
    _PLAIN["read-writer"], name="read-text", title="simple read by a text", make=_by_text
)


def _with_values_of(
    plain: Operation, statement: str
) -> Callable[[StatementRegistry, Size, int], Work]:
    def make(registry: StatementRegistry, size: Size, seed: int) -> Work:
        values = plain.make(registry, size, seed).values
        return Single(registry, statement, [value.named for value in values])

    return make


def _coalesced(plain: Operation, name: str, statement: str) -> Operation:
    return dataclasses.replace(
        plain,
        name=name,
        title=f"{plain.title}, coalesced, {CALLERS} callers",
        make=_with_values_of(plain, statement),
        callers=CALLERS,
    )


PLAIN_OF = {
    "coalesced-read": _PLAIN["read-writer"],
    "coalesced-text": _READ_BY_TEXT,
    "coalesced-readers": _PLAIN["read-readers"],
    "coalesced-write": _PLAIN["write"],
}
"""The same operation with each call alone, by the name of the row."""

READ: Operation = _coalesced(_PLAIN["read-writer"], "coalesced-read", "coalesced.read")
"""The simple read."""

COALESCED: tuple[Operation, ...] = (
    READ,
    _coalesced(_READ_BY_TEXT, "coalesced-text", "coalesced.read_by_email"),
    _coalesced(_PLAIN["read-readers"], "coalesced-readers", "coalesced.read_on_reader"),
    _coalesced(_PLAIN["write"], "coalesced-write", "coalesced.insert"),
)
"""What is measured."""
