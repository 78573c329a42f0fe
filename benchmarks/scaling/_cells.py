"""Which cells are measured, and the work of each."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from benchmarks._rows import OPERATIONS
from benchmarks._work import Single
from benchmarks.scaling._results import Cell

if TYPE_CHECKING:
    from aurora_sql.statements import StatementRegistry
    from benchmarks._shop import Size
    from benchmarks._work import Work

CALIBRATING: Final = 16
"""Callers of the cell whose processor times feed the model."""
_CALLERS: Final = (1, 2, 4, 8, 16, 32, 64)
_PROCESSES: Final = (1, 2, 4)
_ROWS: Final = (1, 10, 100, 1_000)
_ROWS_CALLERS: Final = 8
_SPREAD_PROCESSES: Final = 2
_VALUES: Final = 512


def cells(readers: int, *, most_rows: int) -> tuple[Cell, ...]:
    """All cells of a run.

    Args:
        readers: Readers of the cluster.
        most_rows: Rows that the table has: a result cannot have more.
    """
    return (
        *(Cell(sweep="callers", operation="read", callers=n) for n in _CALLERS),
        *(Cell(sweep="write", operation="write", callers=n) for n in (1, 4, CALIBRATING, 64)),
        *(
            Cell(sweep="processes", operation="read", callers=CALIBRATING, processes=n)
            for n in _PROCESSES
        ),
        *(
            Cell(
                sweep="readers",
                operation="read",
                callers=CALIBRATING,
                processes=_SPREAD_PROCESSES,
                readers=n,
            )
            for n in range(readers + 1)
        ),
        *(
            Cell(sweep="rows", operation="rows", callers=_ROWS_CALLERS, rows=n)
            for n in _ROWS
            if n <= most_rows
        ),
    )


def work_of(cell: Cell, registry: StatementRegistry, size: Size, seed: int) -> Work:
    """The work of a cell."""
    if cell.operation == "rows":
        return _rows(cell.rows, registry, size, seed)
    name = {"read": "read-readers" if cell.readers else "read-writer", "write": "write"}
    (operation,) = (one for one in OPERATIONS if one.name == name[cell.operation])
    return operation.make(registry, size, seed)


def _rows(count: int, registry: StatementRegistry, size: Size, seed: int) -> Work:
    # Not for secrets. Neighbours, so that a result of many rows is no random walk over the table.
    generator = random.Random(seed)  # noqa: S311 - see above
    starts = [generator.randint(1, size.customers - count + 1) for _ in range(_VALUES)]
    values = [{"ids": list(range(start, start + count))} for start in starts]
    return Single(registry, "users.get_by_ids", values)
