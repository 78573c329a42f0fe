"""How statements run on one connection that a transaction holds."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from aurora_sql.deadlines import current_deadline
from aurora_sql.errors import StatementStale, UsageError
from aurora_sql.execution._attempts import (
    explain,
    explained,
    name_parameter,
    settle_wait,
    soften,
)
from aurora_sql.execution._prepare import forget
from aurora_sql.execution._stream import RowStream
from aurora_sql.execution._watch import Watch, call_limit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from aurora_sql.execution._context import Context
    from aurora_sql.execution._prepare import Entry
    from aurora_sql.pool import Pooled
    from aurora_sql.statements import Statement, Variant

ROLLBACK_LIMIT = 5.0
"""Seconds that an orderly ROLLBACK may take before the connection is given to the pool as it is."""


async def entry_for(
    context: Context, pooled: Pooled, statement: Statement, variant: Variant
) -> Entry:
    """Return the prepared variant of a connection, made now if it is not there."""
    entry: Entry | None = pooled.prepared.get(variant)
    if entry is None:
        entry = await context.preparer.prepare(pooled, statement, variant)
    return entry


async def roll_back(context: Context, pooled: Pooled) -> None:
    """Roll back in good order where that is still possible; the pool sees to the rest."""
    driver = pooled.driver
    if driver.is_closed or not driver.is_settled or not driver.in_transaction:
        return
    limit = context.loop.time() + ROLLBACK_LIMIT
    with Watch(context, pooled, limit, what="ROLLBACK", write_sent=False):
        await driver.rollback()


async def stream_on(
    context: Context,
    pooled: Pooled,
    statement: Statement,
    variant: Variant,
    args: Sequence[Any],
    batch: int,
) -> AsyncGenerator[list[Any], None]:
    """Yield batches of rows in the open transaction of a connection."""
    what = statement.where
    with (
        explained(context, statement, variant, args),
        Watch(context, pooled, call_limit(context, statement.timeout), what=what, write_sent=False),
    ):
        entry = await entry_for(context, pooled, statement, variant)
    pooled.dirty |= not entry.clean
    finish = entry.finish
    async with aclosing(entry.prepared.stream(args, batch)) as source:
        while True:
            limit = call_limit(context, statement.timeout)
            with (
                explained(context, statement, variant, args),
                Watch(context, pooled, limit, what=what, write_sent=False),
            ):
                rows = await anext(source, None)
            if rows is None:
                return
            yield rows if finish is None else finish(rows)


class ConnectionRunner:
    """Runs statements on one leased connection, one at a time.

    Args:
        context: What all calls share.
        pooled: The connection.
        what: Names the owner in messages, such as ``transaction``.
        limit: Loop time at which the owner has to be over; infinite for never.
    """

    __slots__ = (
        "_context",
        "_current_task",
        "_due",
        "_limit",
        "_time",
        "_timeout",
        "_what",
        "pooled",
    )

    def __init__(self, context: Context, pooled: Pooled, what: str, limit: float) -> None:
        self._context = context
        self._time = context.loop.time
        self._timeout = context.command_timeout
        self._due = context.sweeper.due
        self._current_task = context.current_task
        self._what = what
        self._limit = limit
        self.pooled: Pooled | None = pooled

    def detach(self) -> None:
        """Let go of the connection: nothing runs here any more."""
        self.pooled = None

    def connection(self) -> Pooled:
        """Return the connection, if it is there and free.

        Raises:
            UsageError: The owner is over, or another task is using the connection right now.
        """
        pooled = self.pooled
        if pooled is None:
            raise UsageError(f"this {self._what} is over; statements run inside its block only")
        if pooled.task is not None:
            raise UsageError(
                f"another task is using this {self._what}: one connection runs one statement"
                " at a time; await them one after the other, or give each task its own"
            )
        return pooled

    async def run(self, statement: Statement, params: dict[str, Any]) -> Any:
        """Run a statement and return what its cardinality promises."""
        variant, args = statement.bind(params)
        pooled = self.pooled
        if pooled is None or pooled.task is not None:
            pooled = self.connection()
        limit = self._time() + (statement.timeout or self._timeout)
        surrounding = current_deadline()
        if surrounding is not None and surrounding < limit:
            limit = surrounding
        limit = min(limit, self._limit)
        pooled.deadline = limit
        pooled.task = task = self._current_task()
        pooled.cancelling_before = task.cancelling()
        self._due(limit)
        entry: Entry | None = None
        try:
            entry = pooled.prepared.get(variant)
            if entry is None:
                entry = await self._context.preparer.prepare(pooled, statement, variant)
            if entry.rowless:
                rows = await entry.execute(args)
            else:
                rows = await entry.fetch(args, entry.limit)
        except BaseException as error:
            failure = settle_wait(pooled, task, error, what=statement.where, write_sent=False)
            if entry is not None:
                pooled.dirty |= not entry.clean
                if isinstance(error, StatementStale):
                    forget(pooled, variant, entry)
            failure = name_parameter(failure, statement, variant)
            soften(failure, statement.access, in_transaction=True)
            explain(self._context, failure, statement, variant, args)
            if failure is error:
                raise
            raise failure from error
        pooled.task = None
        entry.used = True
        if not entry.clean:
            pooled.dirty = True
        finish = entry.finish
        return rows if finish is None else finish(rows)

    async def run_batch(self, statement: Statement, sets: Iterable[Mapping[str, Any]]) -> None:
        """Run a statement once for each set of parameters, pipelined."""
        variant, rows = statement.bind_many(sets)
        context, pooled = self._context, self.connection()
        limit = min(call_limit(context, statement.timeout), self._limit)
        with (
            explained(context, statement, variant, ()),
            Watch(context, pooled, limit, what=statement.where, write_sent=False),
        ):
            entry = await entry_for(context, pooled, statement, variant)
            pooled.dirty |= not entry.clean
            await entry.prepared.execute_many(rows)

    async def run_script(self, statement: Statement) -> None:
        """Run several statements without parameters, as part of the transaction."""
        variant, _ = statement.bind({})
        context, pooled = self._context, self.connection()
        pooled.dirty |= not statement.session_clean
        limit = min(call_limit(context, statement.timeout), self._limit)
        with (
            explained(context, statement, variant, ()),
            Watch(context, pooled, limit, what=statement.where, write_sent=False),
        ):
            await pooled.driver.execute(variant.sql)

    def stream(self, statement: Statement, params: dict[str, Any], batch: int) -> RowStream[Any]:
        """Return the rows of a statement through a server-side cursor of the transaction."""
        variant, args = statement.bind(params)
        return RowStream(
            stream_on(self._context, self.connection(), statement, variant, args, batch),
            statement.name,
        )
