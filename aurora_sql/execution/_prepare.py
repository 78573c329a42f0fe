"""Prepared statements of a connection: made on first use, checked once, bounded in number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aurora_sql.execution._catalogue import Findings, inspect
from aurora_sql.execution._results import LIMITS, ROWLESS, build_finish
from aurora_sql.types import Access

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.drivers import PreparedStatement
    from aurora_sql.pool import Pooled
    from aurora_sql.statements import Statement, Variant
    from aurora_sql.types import Column


class Entry:
    """One variant of a statement on one connection, ready to run.

    Attributes:
        fetch: The driver's fetch, looked up once.
        execute: The driver's execute, looked up once.
        limit: Rows to ask for, 0 for all.
        rowless: The answer is a command tag.
        finish: Turns rows into the result; None where the rows are the result.
        clean: Running it leaves the session as it was.
        access: Whether it may change anything, as far as text and catalogue together tell.
        used: Ran since the last look for something to evict; never, for a new one.
    """

    __slots__ = (
        "access",
        "clean",
        "execute",
        "fetch",
        "finish",
        "limit",
        "prepared",
        "rowless",
        "used",
    )

    def __init__(
        self,
        prepared: PreparedStatement,
        statement: Statement,
        finish: Callable[[Any], Any] | None,
        findings: Findings,
    ) -> None:
        self.prepared = prepared
        self.fetch = prepared.fetch
        self.execute = prepared.execute
        self.limit = LIMITS.get(statement.cardinality, 0)
        self.rowless = statement.cardinality in ROWLESS
        self.finish = finish
        self.clean = findings.clean
        proven = statement.proven_write or statement.access_declared
        self.access = statement.access if proven or findings.volatile else Access.READ
        self.used = False


class _Shape:
    """What is the same for a variant on every connection to the database."""

    __slots__ = ("columns", "findings", "finish")

    def __init__(
        self,
        columns: tuple[Column, ...],
        finish: Callable[[Any], Any] | None,
        findings: Findings,
    ) -> None:
        self.columns = columns
        self.finish = finish
        self.findings = findings


class Preparer:
    """Prepares variants on connections.

    The check of columns against the model and the catalogue's findings are shared by all
    connections; a connection that is told other columns (the schema has changed) renews them.

    Args:
        max_prepared: Most statements kept prepared on one connection.
    """

    def __init__(self, max_prepared: int) -> None:
        self._max_prepared = max_prepared
        # Weak: variants of a reloaded file or of forgotten ad hoc SQL go with their statement.
        self._shapes: WeakKeyDictionary[Variant, _Shape] = WeakKeyDictionary()

    async def prepare(
        self, pooled: Pooled, statement: Statement, variant: Variant, model: type[Any] | None = None
    ) -> Entry:
        """Prepare a variant on a leased connection and keep it there.

        Raises:
            DatabaseError: The server refuses the statement.
            RowValidationError: Its columns do not fit the model.
        """
        entries = pooled.prepared
        if len(entries) >= self._max_prepared:
            await _evict(entries)
        prepared = await pooled.driver.prepare(variant.sql)
        try:
            shape = await self._shape(pooled, statement, variant, prepared.columns, model)
        except BaseException:
            if pooled.driver.is_settled and not pooled.driver.is_closed:
                await prepared.close()
            raise
        entry = Entry(prepared, statement, shape.finish, shape.findings)
        entries[variant] = entry
        return entry

    async def _shape(
        self,
        pooled: Pooled,
        statement: Statement,
        variant: Variant,
        columns: tuple[Column, ...],
        model: type[Any] | None,
    ) -> _Shape:
        shape = self._shapes.get(variant)
        if shape is None or shape.columns != columns:
            finish = build_finish(statement, columns, model)
            findings = await inspect(pooled.driver, statement)
            shape = self._shapes[variant] = _Shape(columns, finish, findings)
        return shape


def forget(pooled: Pooled, variant: Variant, entry: Entry) -> None:
    """Let the next call prepare ``variant`` anew.

    The stale one stays known under a key that nobody asks for, so that it still counts, and is
    closed at the server when its turn comes.
    """
    if pooled.prepared.get(variant) is entry:
        del pooled.prepared[variant]
        entry.used = False
        pooled.prepared[entry] = entry


async def _evict(entries: dict[object, Entry]) -> None:
    """Close the first entry that has not run since the hand passed it last (CLOCK).

    Exact LRU would move an entry at every call; one flag per call is enough to keep what is hot.
    """
    while True:
        variant, entry = next(iter(entries.items()))
        del entries[variant]
        if entry.used:
            entry.used = False
            entries[variant] = entry
            continue
        await entry.prepared.close()
        return
