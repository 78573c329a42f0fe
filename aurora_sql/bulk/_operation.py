"""What the bulk operations have in common: batches, transactions, attempts, the result."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from time import perf_counter
from typing import TYPE_CHECKING, Any

from aurora_sql.bulk._arrow import make_source
from aurora_sql.bulk._names import split_table
from aurora_sql.bulk._source import PROGRESS_STEP
from aurora_sql.bulk._words import WORDS
from aurora_sql.errors import (
    AuroraError,
    BulkValueError,
    ConnectionLost,
    DatabaseError,
    DeadlineExceeded,
    ParameterError,
)
from aurora_sql.execution import Attempts, Watch, part_with
from aurora_sql.taxonomy import Unit
from aurora_sql.types import Access, BulkResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Sequence

    from aurora_sql.bulk._host import BulkHost
    from aurora_sql.bulk._shape import Shape
    from aurora_sql.drivers import DriverConnection
    from aurora_sql.pool import Pooled

    Rows = Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]]

DEFAULT_BATCH = PROGRESS_STEP
"""Rows per batch where batches are committed one by one, and most rows of a short COPY."""

_UNDO_LIMIT = 5.0
"""Seconds that undoing a failed operation in the caller's transaction may take."""

_LEADING_ROW = re.compile(r"row -?\d+")
_TRAILING_ROW = re.compile(r" \(row (\d+)\)\Z")


class Operation(ABC):
    """One call of a ``bulk_*`` method.

    Args:
        host: Gives connections.
        name: Name of the operation, for messages.
        table: Table name, or schema and name.
        rows: The caller's rows.
        columns: Names of the columns, None to take them from the first row.
        batch_size: Rows per batch.
        atomic: All or nothing.
        progress: Called with the rows so far.
    """

    def __init__(
        self,
        host: BulkHost,
        name: str,
        table: str,
        rows: Iterable[Any] | AsyncIterable[Any],
        *,
        columns: Sequence[str] | None,
        batch_size: int | None,
        atomic: bool,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.parts = split_table(table)
        self.words = WORDS[host.engine]
        self.table = ".".join(map(self.words.quote, self.parts))
        self.what = f"{name}({table!r})"
        if batch_size is not None:
            _check_size(batch_size, self.what)
        if not atomic and host.in_transaction:
            raise ParameterError(
                f"{self.what}: atomic=False commits each batch, which only the transaction's end"
                " can; leave it out, or call the method of the database"
            )
        self._host = host
        self._columns = columns
        self._atomic = atomic
        self._size = batch_size if atomic else (batch_size or DEFAULT_BATCH)
        self._source = make_source(rows, self.what)
        # Batches that are committed one by one are reported once they are.
        self._progress = None if atomic else progress
        self._source.progress = progress if atomic else None
        # Any statement that writes to the table tells what the catalogue says about it.
        self._probe = self.words.probe.format(self.table)
        self._affected = 0
        self._batches = 0
        self.round_trips = 0

    async def run(self) -> BulkResult:
        """Take all rows and return what was done."""
        started = perf_counter()
        source = self._source
        self._host.check(self._probe)
        try:
            if await source.more(self._host.limit()):
                shape = source.shape(self._columns)
                self.prepare(shape)
                await (self._all(shape) if self._atomic else self._one_by_one(shape))
        finally:
            await source.close()
        return BulkResult(self._affected, self._batches, self.round_trips, perf_counter() - started)

    # -- what an operation says of itself --------------------------------------------------------

    @abstractmethod
    def prepare(self, shape: Shape) -> None:
        """Check the columns, before anything is sent."""

    @property
    @abstractmethod
    def is_one_command(self) -> bool:
        """A batch is one command, all or nothing by itself."""

    @abstractmethod
    def begun(self) -> None:
        """Note that a transaction has begun, or a part of one."""

    @abstractmethod
    async def send(self, driver: DriverConnection, shape: Shape, rows: Rows) -> int:
        """Send one batch and return how many rows it affected."""

    # -- all or nothing ------------------------------------------------------------------------

    async def _all(self, shape: Shape) -> None:
        affected, batches = await self._attempts(lambda: self._everything(shape), alone=self._short)
        self._affected, self._batches = affected, batches

    @property
    def _short(self) -> bool:
        """All rows are in hand and one ordinary COPY takes them: no transaction is needed."""
        length = self._source.length
        most = DEFAULT_BATCH if self._size is None else min(self._size, DEFAULT_BATCH)
        return self.is_one_command and length is not None and length <= most

    async def _everything(self, shape: Shape) -> tuple[int, int]:
        host = self._host
        if self._short:
            pooled = await host.acquire()
            try:
                return await self._batch(pooled, shape, None, alone=not host.in_transaction), 1
            finally:
                host.release(pooled)
        if host.in_transaction:
            return await self._in_savepoint(await host.acquire(), shape)
        self.round_trips += 2  # BEGIN and COMMIT
        async with host.transaction() as pooled:
            return await self._every_batch(pooled, shape)

    async def _in_savepoint(self, pooled: Pooled, shape: Shape) -> tuple[int, int]:
        """Several commands in the caller's transaction: undone together if one fails."""
        await self._control(pooled, self.words.savepoint)
        try:
            done = await self._every_batch(pooled, shape)
        except BaseException:
            await self._undo(pooled)
            raise
        await self._control(pooled, (*self.cleanup(), *self.words.release))
        return done

    def cleanup(self) -> tuple[str, ...]:
        """Return commands that leave no trace in the transaction."""
        return ()

    def remains(self) -> tuple[str, ...]:
        """Return commands that remove what going back to a savepoint leaves."""
        return ()

    async def _control(self, pooled: Pooled, commands: tuple[str, ...]) -> None:
        context = self._host.context
        with Watch(context, pooled, self._host.limit(), what=self.what, write_sent=False):
            await self.execute(pooled.driver, *commands)

    async def _undo(self, pooled: Pooled) -> None:
        """Go back to the savepoint; where that fails, the transaction can only be rolled back."""
        context, driver = self._host.context, pooled.driver
        limit = context.loop.time() + _UNDO_LIMIT
        try:
            # A cancelled command may have ended well: without this it would stay applied.
            if await driver.settle():
                with Watch(context, pooled, limit, what=self.what, write_sent=False):
                    await self.execute(driver, *self.words.undo, *self.remains())
        except (AuroraError, asyncio.CancelledError):
            # COMMIT must not make a part of it last.
            driver.abort()

    async def _every_batch(self, pooled: Pooled, shape: Shape) -> tuple[int, int]:
        self.begun()
        affected = batches = 0
        while await self._source.more(self._host.limit()):
            affected += await self._batch(pooled, shape, self._size, alone=False)
            batches += 1
        return affected, batches

    # -- batch by batch ------------------------------------------------------------------------

    async def _one_by_one(self, shape: Shape) -> None:
        source = self._source
        # Rows in hand are sent as fast as the server takes them; others when they come, and the
        # server's limit for a statement is not meant for that.
        size = self._size or DEFAULT_BATCH
        alone = self.is_one_command and source.length is not None and size <= DEFAULT_BATCH
        try:
            while await source.more(self._host.limit()):
                affected = await self._attempts(
                    lambda: self._single(shape, size, alone=alone), alone=alone
                )
                self._affected += affected
                self._batches += 1
                if self._progress is not None:
                    self._progress(source.taken)
        except Exception as error:
            if self._batches:
                if isinstance(error, AuroraError):
                    error.retry_safe = False  # of the whole, a part is applied
                error.add_note(
                    f"{self.what}: the first {self._batches} batch(es) are committed"
                    f" ({self._affected} row(s) affected); what failed came after them"
                )
            raise

    async def _single(self, shape: Shape, size: int, *, alone: bool) -> int:
        if alone:
            pooled = await self._host.acquire()
            try:
                return await self._batch(pooled, shape, size, alone=True)
            finally:
                self._host.release(pooled)
        self.round_trips += 2
        async with self._host.transaction() as pooled:
            self.begun()
            return await self._batch(pooled, shape, size, alone=False)

    # -- one batch -----------------------------------------------------------------------------

    async def _batch(self, pooled: Pooled, shape: Shape, size: int | None, *, alone: bool) -> int:
        """Send the next rows.

        Args:
            pooled: The connection.
            shape: What the rows are like.
            size: Most rows to take, None for all.
            alone: There is no transaction around it.
        """
        host, source = self._host, self._source
        before = source.taken
        try:
            with Watch(host.context, pooled, host.limit(), what=self.what, write_sent=alone):
                await self.look_up(pooled)
                affected = await self.send(pooled.driver, shape, source.batch(shape, size))
        except Exception as error:
            # A table of its own may have outlived the transaction.
            pooled.dirty |= bool(self.remains())
            if source.error is not None:
                # The rows themselves failed, whatever became of that on its way.
                raise source.error from source.error.__cause__
            if not isinstance(error, AuroraError):
                raise
            if alone:
                part_with(pooled, error, Access.WRITE)
            failure = self._explained(error, before, alone=alone)
            if failure is error:
                raise
            raise failure from error.__cause__
        source.batch_is_done()
        return affected

    async def look_up(self, pooled: Pooled) -> None:
        """Ask, once per table, whether writing to it can change the session."""
        host = self._host
        probe = host.probe(self._probe)
        variant = probe.variants[0]
        known = pooled.prepared.get(variant)
        if known is None:
            known = await host.context.preparer.prepare(pooled, probe, variant)
        # Triggers and policies run code that can.
        pooled.dirty |= not known.clean

    def _explained(
        self, error: AuroraError, before: int, *, alone: bool, all_sent: bool | None = None
    ) -> AuroraError:
        """Say of which operation and row of the whole input an error is.

        Args:
            error: What happened.
            before: Number of the batch's first row.
            alone: There is no transaction around it.
            all_sent: All its rows may have been sent; None to ask the source.
        """
        sent = self._source.handed_out if all_sent is None else all_sent
        if isinstance(error, ConnectionLost | DeadlineExceeded) and not (alone and sent):
            # The server applies a COPY when told that it is complete, a transaction at COMMIT.
            error.retry_safe, error.outcome_unknown = True, False
            if isinstance(error, DeadlineExceeded):
                error.args = (f"{self.what}: the deadline passed; nothing was applied",)
        if isinstance(error, BulkValueError):
            row = before + max(error.row, 0)
            text = _LEADING_ROW.sub(f"row {row}", error.message, count=1)
            return BulkValueError(f"{self.what}: {text}", row=row, column=error.column)
        number = row_of(error)
        if number is None:
            error.add_note(f"in {self.what}")
        else:
            error.args = (_TRAILING_ROW.sub(f" (row {before + number})", error.message),)
            error.add_note(f"in {self.what}, row {before + number}")
        return error

    # -- attempts ------------------------------------------------------------------------------

    async def _attempts(self, work: Callable[[], Any], *, alone: bool) -> Any:
        """Do ``work``; again where nothing of it was applied and its rows can be had again."""
        host, source = self._host, self._source
        mark = source.taken
        attempts = Attempts(host.context, self.what, enabled=not host.in_transaction)
        while True:
            try:
                done = await work()
            except AuroraError as error:
                if not alone and isinstance(error, ConnectionLost):
                    # Lost before COMMIT, BEGIN included; at COMMIT it is CommitInDoubt.
                    error.retry_safe, error.outcome_unknown = True, False
                if not source.rewind(mark):
                    raise
                unit = Unit.STATEMENT if alone else Unit.COMMIT
                await attempts.again(error, unit, Access.WRITE, host.limit())
            else:
                # A transaction counts as a success when it commits.
                if alone and not host.in_transaction and host.context.retry_budget.spent:
                    host.context.retry_budget.give(attempts.paid)
                return done

    async def execute(self, driver: DriverConnection, *commands: str) -> str:
        """Run commands, in one round trip where the engine can; the last one's tag."""
        if self.words.at_once:
            self.round_trips += 1
            return await driver.execute("; ".join(commands))
        tag = ""
        for command in commands:
            self.round_trips += 1
            tag = await driver.execute(command)
        return tag


def row_of(error: AuroraError) -> int | None:
    """Return the row, from 0 in its batch, that the server's answer to a COPY is about."""
    found = _TRAILING_ROW.search(error.message) if isinstance(error, DatabaseError) else None
    return None if found is None else int(found[1])


def _check_size(batch_size: object, what: str) -> None:
    whole = isinstance(batch_size, int) and not isinstance(batch_size, bool)
    if not whole or batch_size < 1:  # type: ignore[operator]  # a whole number
        raise ParameterError(
            f"{what}: batch_size must be a whole number of 1 or more, not {batch_size!r}"
        )
