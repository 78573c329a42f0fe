"""What ``explain()`` returns, and how it reads in a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from aurora_sql.types import Access


class Section(NamedTuple):
    """A part of what is shown.

    Attributes:
        heading: What it is.
        kind: ``sql``, ``plan`` or ``text``.
        lines: The part.
    """

    heading: str
    kind: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What runs for a statement with given values, and the server's plan of it.

    ``print()`` shows all of it. Plans quote values.

    Attributes:
        name: The statement's full name.
        path: Its file, None for ad hoc SQL.
        line: Line of its header, from 1.
        dialect: ``postgresql`` or ``mysql``.
        instance: Id of the instance that was asked.
        access: Whether it may change anything.
        sql: The text that is sent, with the conditional lines and the lists that these values
            choose.
        parameters: The name of each value that goes with the text, in order.
        types: The server's type for each of them; empty where the server tells none (MariaDB).
        plan: The server's plan, by line.
        analyzed: The plan has the times and rows of a run.
        together: The texts that run for many callers, of a statement marked ``coalesce: on``.
            Empty where its calls go alone, which ``apart`` explains.
        together_plan: The plan of these texts.
        callers: For how many calls with these values that plan is; 0 where there is none.
        apart: Why the calls of a statement marked ``coalesce: on`` go alone here and now; empty
            where they do not.
    """

    name: str
    path: Path | None
    line: int
    dialect: str
    instance: str
    access: Access
    sql: str
    parameters: tuple[str, ...]
    types: tuple[str, ...]
    plan: tuple[str, ...]
    analyzed: bool = False
    together: tuple[str, ...] = ()
    together_plan: tuple[str, ...] = ()
    callers: int = 0
    apart: str = ""

    @property
    def place(self) -> str:
        """File and line, such as ``sql/users.sql:12``; empty for ad hoc SQL."""
        return "" if self.path is None else f"{self.path}:{self.line}"

    def sections(self) -> Iterator[Section]:
        """All of it, in the order in which one reads."""
        heading = f"{self.access.value.title()} on {self.instance}"
        yield Section(heading, "sql", tuple(self.sql.splitlines()))
        if self.parameters:
            yield Section("Parameters", "text", _listed(self))
        yield Section("Plan, of a run" if self.analyzed else "Plan", "plan", self.plan)
        if self.apart:
            yield Section("Each call goes alone", "text", (self.apart,))
        for text in self.together:
            yield Section("For many callers", "sql", tuple(text.splitlines()))
        if self.together_plan:
            calls = "1 of these calls" if self.callers == 1 else f"{self.callers} of these calls"
            yield Section(f"Plan for {calls}", "plan", self.together_plan)

    def __str__(self) -> str:
        parts = [f"{self.name}  {self.place}".rstrip()]
        for heading, _, lines in self.sections():
            parts.append("\n".join([heading, *(f"  {line}".rstrip() for line in lines)]))
        return "\n\n".join(parts)


def _listed(found: Explanation) -> tuple[str, ...]:
    """A line for each parameter; the values of a list on MySQL are one."""
    rows = []
    types = found.types or ("",) * len(found.parameters)
    placed = enumerate(zip(found.parameters, types, strict=True), 1)
    for (name, kind), group in groupby(placed, key=lambda one: one[1]):
        numbers = [number for number, _ in group]
        sign = f"${numbers[0]}" if found.dialect == "postgresql" else "?"
        times = f"{len(numbers)} times" if len(numbers) > 1 else ""
        rows.append([sign, name, kind, times])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """Rows as lines, in columns as wide as what is in them."""
    texts = [["" if value is None else str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return tuple(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    )
