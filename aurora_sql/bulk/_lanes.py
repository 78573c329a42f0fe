"""One load over several connections at once.

What is to be all or nothing is loaded into a staging table that all connections see, in commits of
its own, and moved by one statement. Nobody else sees the rows before that statement's transaction
commits, so that this commit is the only one that counts: what is true of it is true of the load.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.bulk._operation import DEFAULT_BATCH
from aurora_sql.bulk._operations import Insert
from aurora_sql.drivers import ColumnBatches
from aurora_sql.errors import AuroraError, ConnectionLost, ParameterError
from aurora_sql.execution import Attempts, Watch, part_with
from aurora_sql.taxonomy import Unit
from aurora_sql.types import Access, Engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from aurora_sql.bulk._shape import Shape
    from aurora_sql.pool import Pooled

    Load = Callable[[Shape, Any, int], Awaitable[None]]

_LOG: Final = logging.getLogger("aurora_sql")
_MOST_LANES: Final = 64

_DROP_LIMIT: Final = 10.0
"""Seconds that removing a staging table may take after the caller has left or its time is over."""


class Lanes(Insert):
    """A load over several connections.

    Args:
        args: As :class:`Operation`.
        lanes: Connections that load at once.
        options: As :class:`Operation`.

    Raises:
        ParameterError: ``lanes`` makes no sense, or this is a transaction: it has one connection.
    """

    def __init__(self, *args: Any, lanes: int, **options: Any) -> None:
        super().__init__(*args, **options)
        if type(lanes) is not int or not 1 <= lanes <= _MOST_LANES:
            raise ParameterError(
                f"{self.what}: lanes must be a whole number from 1 to {_MOST_LANES}, not {lanes!r}"
            )
        if self._host.in_transaction:
            raise ParameterError(
                f"{self.what}: lanes={lanes} takes connections beside the transaction's; leave it"
                " out, or call the method of the database"
            )
        self._lanes = lanes
        self._turn = asyncio.Lock()
        self._failed = False
        self._rows = 0
        self._done: list[tuple[int, int]] = []
        stage = f"aurora_sql_load_{secrets.token_hex(6)}"
        self._stage_parts = (*self.parts[:-1], stage)
        self._stage = ".".join(map(self.words.quote, self._stage_parts))

    @property
    def _short(self) -> bool:
        """However few rows there are, they take the way that was asked for."""
        return False

    # -- batches over the lanes ----------------------------------------------------------------

    async def _drive(self, shape: Shape, load: Load, *, stop_others: bool) -> None:
        """Let all lanes take batches until there are no more.

        Args:
            shape: What the rows are like.
            load: Loads one batch; gets its rows and the number of the first one.
            stop_others: When a lane fails, cancel the others; else they end their batches.
        """
        loop = self._host.context.loop
        tasks = [loop.create_task(self._lane(shape, load)) for _ in range(self._lanes)]
        try:
            when = asyncio.FIRST_EXCEPTION if stop_others else asyncio.ALL_COMPLETED
            await asyncio.wait(tasks, return_when=when)
        finally:
            for task in tasks:
                task.cancel()
            await _outlast(tasks)
        errors = [error for task in tasks if not task.cancelled() and (error := task.exception())]
        if errors:
            # The rows' own error tells more than what it did to the other lanes.
            raise next((error for error in errors if error is self._source.error), errors[0])

    async def _lane(self, shape: Shape, load: Load) -> None:
        while not self._failed:
            try:
                async with self._turn:
                    first = self._source.taken
                    rows = await self._next(shape)
                if rows is None:
                    return
                await load(shape, rows, first)
            except BaseException:
                self._failed = True
                raise

    async def _next(self, shape: Shape) -> Any:
        """Take a batch out of the source, so that a lane has it to itself; None at the end."""
        source, size = self._source, self._size or DEFAULT_BATCH
        if not await source.more(self._host.limit()):
            return None
        taken = source.batch(shape, size)
        if isinstance(taken, ColumnBatches):
            rows: Any = _Columns(taken.schema, list(taken.batches))
        elif hasattr(taken, "__aiter__"):
            rows = [row async for row in taken]
        else:
            rows = list(taken)
        return rows

    async def _copy(
        self, parts: tuple[str, ...], shape: Shape, rows: Any, first: int, *, alone: bool
    ) -> int:
        """COPY one batch on a lease of its own."""
        host = self._host
        pooled = await host.acquire()
        try:
            with Watch(host.context, pooled, host.limit(), what=self.what, write_sent=alone):
                if alone:
                    await self.look_up(pooled)
                self.round_trips += 1
                given = rows.fresh() if isinstance(rows, _Columns) else rows
                return await pooled.driver.copy_in(parts, shape.columns, given)
        except AuroraError as error:
            if alone:
                part_with(pooled, error, Access.WRITE)
            # Which rows have been sent by now, the source does not know: another lane asks it too.
            failure = self._explained(error, first, alone=alone, all_sent=True)
            if failure is error:
                raise
            raise failure from error.__cause__
        finally:
            host.release(pooled)

    # -- each batch by itself --------------------------------------------------------------------

    async def _one_by_one(self, shape: Shape) -> None:
        try:
            await self._drive(shape, self._commit_batch, stop_others=False)
        except Exception as error:
            if self._done:
                if isinstance(error, AuroraError):
                    error.retry_safe = False  # of the whole, a part is applied
                error.add_note(
                    f"{self.what}: {self._batches} batch(es) are committed ({self._affected} row(s)"
                    f" affected): the rows {_ranges(self._done)}, counted from 0"
                )
            raise

    async def _commit_batch(self, shape: Shape, rows: Any, first: int) -> None:
        host = self._host
        attempts = Attempts(host.context, self.what, enabled=True)
        affected: int | None = None
        while affected is None:
            try:
                affected = await self._copy(self.parts, shape, rows, first, alone=True)
            except AuroraError as error:
                # The rows are in hand; whether they may be sent again is the error's matter.
                await attempts.again(error, Unit.STATEMENT, Access.WRITE, host.limit())
        if host.context.retry_budget.spent:
            host.context.retry_budget.give(attempts.paid)
        self._affected += affected
        self._batches += 1
        self._done.append((first, first + len(rows)))
        self._rows += len(rows)
        if self._progress is not None:
            self._progress(self._rows)

    # -- all or nothing ------------------------------------------------------------------------

    async def _everything(self, shape: Shape) -> tuple[int, int]:
        self._failed, self._rows, self._batches = False, 0, 0
        async with self._staging(shape):
            await self._drive(shape, self._stage_batch, stop_others=True)
            self.round_trips += 2
            async with self._host.transaction() as pooled:
                return await self._move(pooled, shape), self._batches

    async def _stage_batch(self, shape: Shape, rows: Any, first: int) -> None:
        staged = await self._copy(self._stage_parts, shape, rows, first, alone=False)
        self._rows += staged  # not in one line: the old value would be read before the wait
        self._batches += 1

    async def _move(self, pooled: Pooled, shape: Shape) -> int:
        """Move the staged rows, and drop the table where a transaction can."""
        host, columns = self._host, self.words.quote_all(shape.columns)
        postgresql = host.engine is Engine.POSTGRESQL
        # COPY takes values for an identity column, whatever it says; so does this.
        overriding = " OVERRIDING SYSTEM VALUE" if postgresql else ""
        move = (
            f"INSERT INTO {self.table} ({columns}){overriding} SELECT {columns} FROM {self._stage}"
        )
        with Watch(host.context, pooled, host.limit(), what=self.what, write_sent=False):
            await self.look_up(pooled)
            moved = await self._run(pooled, move)
            # A trigger may have left rows out. A server that has crashed has emptied the table.
            if moved != self._rows:
                staged = await self._count(pooled)
                if staged != self._rows:
                    raise ConnectionLost(
                        f"{self.what}: the staging table has {staged} of {self._rows} rows: the"
                        " server was restarted while they were loaded; nothing was applied",
                        retry_safe=True,
                    )
            if postgresql:
                await self.execute(pooled.driver, f"DROP TABLE {self._stage}")
        return moved

    async def _run(self, pooled: Pooled, sql: str) -> int:
        self.round_trips += 2
        prepared = await pooled.driver.prepare(sql)
        try:
            return await prepared.execute(())
        finally:
            if pooled.driver.is_settled and not pooled.driver.is_closed:
                await prepared.close()

    async def _count(self, pooled: Pooled) -> int:
        self.round_trips += 2
        prepared = await pooled.driver.prepare(f"SELECT count(*) FROM {self._stage}")
        try:
            return int((await prepared.fetch(()))[0][0])
        finally:
            if pooled.driver.is_settled and not pooled.driver.is_closed:
                await prepared.close()

    @asynccontextmanager
    async def _staging(self, shape: Shape) -> AsyncIterator[None]:
        """Make the staging table; it is gone after the block, whatever happens in it."""
        columns = self.words.quote_all(shape.columns)
        select = f"AS SELECT {columns} FROM {self.table}"
        create = (
            f"CREATE UNLOGGED TABLE {self._stage} {select} WITH NO DATA"
            if self._host.engine is Engine.POSTGRESQL
            else f"CREATE TABLE {self._stage} ENGINE=InnoDB {select} LIMIT 0"
        )
        try:
            await self._command(create, self._host.limit())
            yield
        except BaseException:
            await self._remove()
            raise
        if self._host.engine is not Engine.POSTGRESQL:
            await self._remove()

    async def _command(self, sql: str, limit: float) -> None:
        host = self._host
        pooled = await host.acquire()
        try:
            with Watch(host.context, pooled, limit, what=self.what, write_sent=False):
                await self.execute(pooled.driver, sql)
        except AuroraError as error:
            part_with(pooled, error, Access.WRITE)
            raise
        finally:
            host.release(pooled)

    async def _remove(self) -> None:
        """Drop the staging table, also for a caller who was cancelled or is out of time."""
        loop = self._host.context.loop
        # In a context of its own: the caller's deadline may have passed.
        task = loop.create_task(self._drop(), context=contextvars.Context())
        await _outlast((task,))

    async def _drop(self) -> None:
        limit = self._host.context.loop.time() + _DROP_LIMIT
        while True:
            try:
                async with asyncio.timeout_at(limit):
                    await self._command(f"DROP TABLE IF EXISTS {self._stage}", limit)
            except (AuroraError, TimeoutError) as error:
                if isinstance(error, ConnectionLost):
                    continue  # by another connection; each attempt waits for the pool
                _LOG.warning(
                    "%s: the staging table %s could not be removed and is left: %s",
                    self.what,
                    self._stage,
                    error,
                )
            return


class _Columns:
    """A batch of record batches, to be read by whoever asks, as often as is needed."""

    def __init__(self, schema: Any, parts: Sequence[Any]) -> None:
        self._schema = schema
        self._parts = parts

    def __len__(self) -> int:
        return sum(part.num_rows for part in self._parts)

    def fresh(self) -> ColumnBatches:
        """Return the rows from the first one on."""
        return ColumnBatches(self._schema, self._parts)


async def _outlast(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait for tasks to end, also when cancelled meanwhile, which is told afterwards."""
    left, cancelled = set(tasks), False
    while left:
        try:
            _, left = await asyncio.wait(left)
        except asyncio.CancelledError:
            cancelled = True
            left = {task for task in left if not task.done()}
    if cancelled:
        raise asyncio.CancelledError


def _ranges(done: list[tuple[int, int]]) -> str:
    """Write the parts that are done, neighbours together: ``0-29999, 40000-49999``."""
    joined: list[list[int]] = []
    for begin, end in sorted(done):
        if joined and joined[-1][1] == begin:
            joined[-1][1] = end
        else:
            joined.append([begin, end])
    return ", ".join(f"{begin}-{end - 1}" for begin, end in joined)
