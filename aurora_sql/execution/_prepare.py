"""Prepared statements of a connection: made on first use, checked once, bounded in number."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aurora_sql.errors import ParameterError, ProgrammingError, StatementStale
from aurora_sql.execution._catalogue import Findings, inspect
from aurora_sql.execution._results import LIMITS, ROWLESS, build_finish
from aurora_sql.rows import name_columns
from aurora_sql.types import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aurora_sql.drivers import Begin, PreparedStatement
    from aurora_sql.execution._context import Context
    from aurora_sql.pool import Pooled
    from aurora_sql.statements import Statement, Variant
    from aurora_sql.types import Column

_PLANNED_ANEW = 5
_LONG = 64

_FINDINGS_LAST = 60.0
"""Seconds for which the catalogue's answer about a statement serves further connections."""


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
        if statement.access_declared:
            self.access = statement.access
        else:
            writes = statement.proven_write or findings.volatile
            self.access = Access.WRITE if writes else Access.READ
        self.used = False

    async def keep_one_plan(self, args: Sequence[Any]) -> None:
        """Bring the server to keep one plan for arrays of all lengths.

        PostgreSQL plans each of the first five executions anew, and any later one for which a plan
        for these very values has been cheaper, planning included, than one for all: with few values
        it always has been, and a plan costs more than a dozen look-ups. These are long, and end at
        the first row.
        Source: PostgreSQL's documentation, PREPARE, "Notes"; choose_custom_plan() in plancache.c.
        """
        longer = [[*column[:1]] * _LONG for column in args]
        for _ in range(_PLANNED_ANEW + 1):
            await self.fetch(longer, 1)

    async def begin_and_run(self, begin: Begin, args: Sequence[Any]) -> Any:
        """Open a transaction and run it: its rows, or the number of rows it affected."""
        if self.rowless:
            return await self.prepared.begin_and_execute(begin, args)
        return await self.prepared.begin_and_fetch(begin, args, self.limit)


class Shape:
    """What is the same for a variant on every connection to the database.

    Attributes:
        columns: What it returns.
        findings: What the catalogue says of it.
        finish: Turns rows into the result; None where the rows are the result.
        known_until: When the catalogue is to be asked again, by the monotonic clock.
        rows: The class of its rows.
    """

    __slots__ = ("columns", "findings", "finish", "known_until", "rows")

    def __init__(
        self,
        columns: tuple[Column, ...],
        finish: Callable[[Any], Any] | None,
        findings: Findings,
        rows: type[Any],
    ) -> None:
        self.rows = rows
        self.columns = columns
        self.finish = finish
        self.findings = findings
        self.known_until = monotonic() + _FINDINGS_LAST


class Preparer:
    """Prepares variants on connections.

    The check of columns against the model and the catalogue's findings are shared by all
    connections; a connection that is told other columns (the schema has changed) renews them, and
    what was found out a while ago is asked anew with the next connection: a trigger may have come.

    Args:
        max_prepared: Most statements kept prepared on one connection.
    """

    def __init__(self, max_prepared: int) -> None:
        self._max_prepared = max_prepared
        # Weak: variants of a reloaded file or of forgotten ad hoc SQL go with their statement.
        self._shapes: WeakKeyDictionary[Variant, Shape] = WeakKeyDictionary()

    def shape(self, variant: Variant) -> Shape | None:
        """What is known of a variant that some connection has prepared."""
        return self._shapes.get(variant)

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
        driver = pooled.driver
        shape = self._shapes.get(variant)
        # The catalogue is asked first: the shorter the time between preparing and running, the
        # less likely it is that the schema changes in between.
        if shape is not None and shape.known_until < monotonic():
            shape = None
        findings = await inspect(driver, statement, variant) if shape is None else shape.findings
        rows = driver.row_class() if shape is None else shape.rows
        prepared = await driver.prepare(variant.sql, rows)
        try:
            if shape is not None and shape.columns != prepared.columns:
                await prepared.close()
                shape = None
                findings = await inspect(driver, statement, variant)
                rows = driver.row_class()
                prepared = await driver.prepare(variant.sql, rows)
            if shape is None:
                finish = build_finish(statement, prepared.columns, model)
                name_columns(rows, (column.name for column in prepared.columns))
                shape = self._shapes[variant] = Shape(prepared.columns, finish, findings, rows)
        except BaseException:
            if driver.is_settled and not driver.is_closed:
                await prepared.close()
            raise
        entry = Entry(prepared, statement, shape.finish, shape.findings)
        entries[variant] = entry
        return entry


async def entry_for(
    context: Context, pooled: Pooled, statement: Statement, variant: Variant
) -> Entry:
    """Return the prepared variant of a connection, made now if it is not there."""
    entry: Entry | None = pooled.prepared.get(variant)
    if entry is None:
        entry = await context.preparer.prepare(pooled, statement, variant)
    return entry


def forget(pooled: Pooled, variant: Variant, entry: Entry) -> None:
    """Let the next call prepare ``variant`` anew.

    The old one stays known under a key that nobody asks for, so that it still counts, and is
    closed at the server when its turn comes.
    """
    if pooled.prepared.get(variant) is entry:
        del pooled.prepared[variant]
        entry.used = False
        pooled.prepared[entry] = entry


def forget_stale(
    pooled: Pooled, variant: Variant, entry: Entry | None, error: BaseException
) -> bool:
    """Forget what an error shows to be out of date.

    Returns:
        Whether the error may be owed to that alone: a statement that ran before is told that the
        types do not fit. The types of its placeholders were settled when it was prepared; a
        column may have changed since. Nothing was applied, and the new one tells.
    """
    if isinstance(error, StatementStale):
        # The schema has changed. A transaction that finds its stale statements one by one would
        # be replayed for each.
        for known, other in tuple(pooled.prepared.items()):
            forget(pooled, known, other)
    elif entry is not None and entry.used:
        if isinstance(error, ProgrammingError) and error.code in _TYPES_CHANGED:
            forget(pooled, variant, entry)
            return True
        if isinstance(error, ParameterError):
            forget(pooled, variant, entry)
    return False


# No such function or operator, ambiguous, wrong type, no such cast.
_TYPES_CHANGED = frozenset({"42883", "42725", "42804", "42846"})


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
