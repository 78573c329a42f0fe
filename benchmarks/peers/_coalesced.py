"""The rows whose calls travel together: for many callers, and only on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks._results import OURS
from benchmarks._rows import OPERATIONS, Operation
from benchmarks._work import Single

if TYPE_CHECKING:
    from aurora_sql.statements import StatementRegistry
    from benchmarks._shop import Size
    from benchmarks._work import Work

CALLERS = 64
"""Callers of these rows: there is nothing to put together for a few."""

ALONE = f"{OURS}, each call alone"
"""The library with the same statement without the directive."""

_PLAIN = {one.name: one for one in OPERATIONS}


def _read(registry: StatementRegistry, size: Size, seed: int) -> Work:
    values = _PLAIN["read-writer"].make(registry, size, seed).values
    return Single(registry, "coalesced.read", [value.named for value in values])


def _write(registry: StatementRegistry, size: Size, seed: int) -> Work:
    values = _PLAIN["write"].make(registry, size, seed).values
    return Single(registry, "coalesced.insert", [value.named for value in values])


COALESCED: tuple[Operation, ...] = (
    Operation(
        name="coalesced-read",
        title=f"coalesced point read, {CALLERS} callers",
        # Nobody has set a target for it.
        target_throughput=0.0,
        target_p95=0.0,
        make=_read,
    ),
    Operation(
        name="coalesced-write",
        title=f"coalesced insert, {CALLERS} callers",
        target_throughput=0.0,
        target_p95=0.0,
        make=_write,
        writes=True,
    ),
)
"""What is measured."""

PLAIN_OF = {"coalesced-read": _PLAIN["read-writer"], "coalesced-write": _PLAIN["write"]}
"""The same operation with each call alone, by the name of the row."""
