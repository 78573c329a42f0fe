"""Many rows at once: COPY, and what stands on it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from aurora_sql.bulk._host import BulkHost
from aurora_sql.bulk._lanes import Lanes
from aurora_sql.bulk._names import check_columns, quote, quote_all, quote_mysql, split_table
from aurora_sql.bulk._operations import Delete, Insert, Update, Upsert
from aurora_sql.bulk._values import field_names, is_model, to_driver

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Sequence

    from aurora_sql.types import BulkResult

__all__ = [
    "BulkHost",
    "check_columns",
    "delete",
    "field_names",
    "insert",
    "is_model",
    "quote",
    "quote_all",
    "quote_mysql",
    "split_table",
    "to_driver",
    "update",
    "upsert",
]


async def insert(
    host: BulkHost,
    table: str,
    rows: Iterable[Any] | AsyncIterable[Any],
    *,
    columns: Sequence[str] | None,
    batch_size: int | None,
    atomic: bool,
    progress: Callable[[int], None] | None,
    lanes: int,
) -> BulkResult:
    """Insert rows by COPY. The arguments are those of ``Executor.bulk_insert``."""
    alone = type(lanes) is int and lanes == 1
    make = Insert if alone else partial(Lanes, lanes=lanes)
    return await make(
        host,
        "bulk_insert",
        table,
        rows,
        columns=columns,
        batch_size=batch_size,
        atomic=atomic,
        progress=progress,
    ).run()


async def upsert(
    host: BulkHost,
    table: str,
    rows: Iterable[Any] | AsyncIterable[Any],
    *,
    keys: Sequence[str],
    columns: Sequence[str] | None,
    update: Sequence[str] | None,
    batch_size: int | None,
    atomic: bool,
    progress: Callable[[int], None] | None,
) -> BulkResult:
    """Insert or update rows. The arguments are those of ``Executor.bulk_upsert``."""
    return await Upsert(
        host,
        "bulk_upsert",
        table,
        rows,
        keys=keys,
        columns=columns,
        update=update,
        batch_size=batch_size,
        atomic=atomic,
        progress=progress,
    ).run()


async def update(
    host: BulkHost,
    table: str,
    rows: Iterable[Any] | AsyncIterable[Any],
    *,
    keys: Sequence[str],
    columns: Sequence[str] | None,
    batch_size: int | None,
    atomic: bool,
    progress: Callable[[int], None] | None,
) -> BulkResult:
    """Update rows by key. The arguments are those of ``Executor.bulk_update``."""
    return await Update(
        host,
        "bulk_update",
        table,
        rows,
        keys=keys,
        columns=columns,
        batch_size=batch_size,
        atomic=atomic,
        progress=progress,
    ).run()


async def delete(
    host: BulkHost,
    table: str,
    keys: Iterable[Any] | AsyncIterable[Any],
    *,
    columns: Sequence[str] | None,
    batch_size: int | None,
    atomic: bool,
    progress: Callable[[int], None] | None,
) -> BulkResult:
    """Delete rows by key. The arguments are those of ``Executor.bulk_delete``."""
    return await Delete(
        host,
        "bulk_delete",
        table,
        keys,
        keys=None,
        columns=columns,
        batch_size=batch_size,
        atomic=atomic,
        progress=progress,
    ).run()
