"""The four bulk operations: COPY, or COPY into a staging table and one statement."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any
from zlib import crc32

from aurora_sql.bulk._input import END, Source, find_shape
from aurora_sql.bulk._names import check_columns, quote, quote_all, split_table
from aurora_sql.errors import AuroraError, BulkValueError, ParameterError
from aurora_sql.execution import Watch, call_limit
from aurora_sql.types import BulkResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence

    from aurora_sql.bulk._host import BulkHost
    from aurora_sql.bulk._input import Shape
    from aurora_sql.drivers import DriverConnection
    from aurora_sql.pool import Pooled

DEFAULT_BATCH = 10_000
"""Rows per batch where batches are committed one by one."""

_ANALYZE_FROM = 10_000


def _check_size(batch_size: object, what: str) -> None:
    whole = isinstance(batch_size, int) and not isinstance(batch_size, bool)
    if batch_size is not None and not (whole and batch_size >= 1):  # type: ignore[operator]  # a whole number
        raise ParameterError(
            f"{what}: batch_size must be a whole number of 1 or more, not {batch_size!r}"
        )


class _Operation:
    """What the four operations have in common: batches, deadlines, the result.

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
        self.table = ".".join(quote(part) for part in self.parts)
        self.what = f"{name}({table!r})"
        _check_size(batch_size, self.what)
        self._host = host
        self._columns = columns
        self._atomic = atomic or host.in_transaction
        self._size = batch_size if self._atomic else (batch_size or DEFAULT_BATCH)
        self._source = Source(rows, self.what, progress)
        self._started = perf_counter()
        self._affected = 0
        self._batches = 0
        self._in_own_transaction = False
        self.round_trips = 0

    async def run(self) -> BulkResult:
        """Take all rows and return what was done."""
        first = await self._source.peek()
        if first is END:
            return self._result()
        shape = find_shape(first, self._columns, self.what)
        self.prepare(shape)
        if self._atomic:
            async with self._connection() as pooled:
                while await self._source.peek() is not END:
                    await self._batch(pooled, shape)
        else:
            await self._run_batches(shape)
        return self._result()

    async def _run_batches(self, shape: Shape) -> None:
        try:
            while await self._source.peek() is not END:
                async with self._connection() as pooled:
                    affected = await self._batch(pooled, shape, count=False)
                self._affected += affected
                self._batches += 1
        except Exception as error:
            error.add_note(
                f"{self.what}: {self._batches} batch(es) with {self._affected} row(s) are"
                " committed; the batch that failed is not"
            )
            raise

    async def _batch(self, pooled: Pooled, shape: Shape, *, count: bool = True) -> int:
        before = self._source.taken
        limit = call_limit(self._host.context, math.inf)
        rows = self._source.batch(shape.convert, self._size)
        try:
            with Watch(
                self._host.context,
                pooled,
                limit,
                what=self.what,
                write_sent=not (self._in_own_transaction or self._host.in_transaction),
            ):
                affected = await self.send(pooled.driver, shape, rows)
        except BulkValueError as error:
            raise self._renumbered(error, before) from error.__cause__
        except AuroraError as error:
            error.add_note(f"in {self.what}, rows from {before} on")
            raise
        self._source.report_end()
        if count:
            self._affected += affected
            self._batches += 1
        return affected

    def _renumbered(self, error: BulkValueError, before: int) -> BulkValueError:
        """Count from the input's first row rather than from the batch's, and say of what."""
        if error.message.startswith(self.what):
            return error
        row = before + error.row
        column = f", column {error.column!r}" if error.column is not None else ""
        return BulkValueError(
            f"{self.what}: row {row}{column}: {error.message}", row=row, column=error.column
        )

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Pooled]:
        """A transaction where several commands belong together or one may take long."""
        self._in_own_transaction = self.needs_transaction()
        if not self._in_own_transaction:
            async with self._host.lease() as pooled:
                yield pooled
            return
        if not self._host.in_transaction:
            self.round_trips += 2
        async with self._host.transaction() as pooled:
            yield pooled

    def needs_transaction(self) -> bool:
        """Whether one command does not do."""
        return True

    @property
    def is_short(self) -> bool:
        """All rows are known to go in one batch of ordinary size."""
        length = self._source.known_length
        fits = length is not None and length <= DEFAULT_BATCH
        return fits and (self._size is None or length is None or length <= self._size)

    def prepare(self, shape: Shape) -> None:
        """Check the columns, before anything is sent."""

    async def send(
        self,
        driver: DriverConnection,
        shape: Shape,
        rows: Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]],
    ) -> int:
        """Send one batch and return how many rows it affected."""
        raise NotImplementedError

    async def execute(self, driver: DriverConnection, sql: str) -> str:
        """Run one command and count it."""
        self.round_trips += 1
        return await driver.execute(sql)

    def _result(self) -> BulkResult:
        return BulkResult(
            self._affected, self._batches, self.round_trips, perf_counter() - self._started
        )


class Insert(_Operation):
    """COPY straight into the table."""

    def needs_transaction(self) -> bool:
        """One COPY is all or nothing by itself.

        A long one gets a transaction for the sake of its limits: the server's limit per
        statement is lifted in it.
        """
        return not self.is_short and self._atomic

    async def send(
        self,
        driver: DriverConnection,
        shape: Shape,
        rows: Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]],
    ) -> int:
        """COPY the rows."""
        self.round_trips += 1
        return await driver.copy_in(self.parts, shape.columns, rows)


class _Staged(_Operation):
    """COPY into a staging table, then one statement."""

    def __init__(self, *args: Any, keys: Sequence[str] | None, **options: Any) -> None:
        super().__init__(*args, **options)
        # A name for each table: the driver remembers the types of a COPY target by its name.
        self.stage = f"aurora_sql_stage_{crc32(self.table.encode()):08x}"
        self.keys = () if keys is None else check_columns(keys, f"{self.what}: keys")

    def prepare(self, shape: Shape) -> None:
        """Check that the keys are among the columns."""
        missing = [key for key in self.keys if key not in shape.columns]
        if missing:
            raise ParameterError(
                f"{self.what}: key column {', '.join(missing)} is not among the columns"
                f" {', '.join(shape.columns)}"
            )

    async def send(
        self,
        driver: DriverConnection,
        shape: Shape,
        rows: Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]],
    ) -> int:
        """Stage the rows, check them, run the statement."""
        await self.execute(
            driver,
            f"CREATE TEMP TABLE {self.stage} ON COMMIT DROP AS"
            f" SELECT {quote_all(shape.columns)} FROM {self.table} WITH NO DATA",
        )
        self.round_trips += 1
        staged = await driver.copy_in(("pg_temp", self.stage), shape.columns, rows)
        if staged >= _ANALYZE_FROM:
            await self.execute(driver, f"ANALYZE pg_temp.{self.stage}")
        await self.check(driver, shape)
        tag = await self.execute(driver, self.statement(shape))
        # Other batches of this transaction need the name.
        await self.execute(driver, f"DROP TABLE pg_temp.{self.stage}")
        return int(tag.rpartition(" ")[2])

    async def check(self, driver: DriverConnection, shape: Shape) -> None:
        """Refuse keys that are NULL or stand twice: which row would win is left to chance."""
        keys = self.keys or shape.columns
        names = quote_all(keys)
        nulls = " OR ".join(f"{quote(key)} IS NULL" for key in keys)
        tag = await self.execute(
            driver,
            f"SELECT FROM pg_temp.{self.stage} WHERE {nulls} LIMIT 1",
        )
        if not tag.endswith(" 0"):
            raise ParameterError(f"{self.what}: a row has NULL in a key column ({', '.join(keys)})")
        tag = await self.execute(
            driver,
            f"SELECT FROM pg_temp.{self.stage} GROUP BY {names} HAVING count(*) > 1 LIMIT 1",
        )
        if not tag.endswith(" 0"):
            raise ParameterError(
                f"{self.what}: two rows of the input have the same {', '.join(keys)}"
            )

    def statement(self, shape: Shape) -> str:
        """Return the statement that moves the staged rows."""
        raise NotImplementedError

    def joined(self, keys: Sequence[str]) -> str:
        """Return the condition that joins target and stage."""
        return " AND ".join(f"t.{quote(key)} = s.{quote(key)}" for key in keys)


class Upsert(_Staged):
    """INSERT … ON CONFLICT from the staging table."""

    def __init__(self, *args: Any, update: Sequence[str] | None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._update = update

    def prepare(self, shape: Shape) -> None:
        """Check keys and updated columns."""
        super().prepare(shape)
        if self._update is None:
            self._changes = tuple(name for name in shape.columns if name not in self.keys)
            return
        changes = tuple(self._update)
        self._changes = check_columns(changes, f"{self.what}: update") if changes else ()
        unknown = [name for name in self._changes if name not in shape.columns]
        if unknown:
            raise ParameterError(
                f"{self.what}: update names {', '.join(unknown)}, which is not among the columns"
            )

    def statement(self, shape: Shape) -> str:
        """INSERT in the order of the keys, so that two of them lock rows in the same order."""
        names = quote_all(shape.columns)
        changes = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in self._changes)
        action = f"DO UPDATE SET {changes}" if changes else "DO NOTHING"
        return (
            f"INSERT INTO {self.table} ({names}) SELECT {names} FROM pg_temp.{self.stage}"
            f" ORDER BY {quote_all(self.keys)} ON CONFLICT ({quote_all(self.keys)}) {action}"
        )


class Update(_Staged):
    """UPDATE … FROM the staging table."""

    def prepare(self, shape: Shape) -> None:
        """Check that something is left to update."""
        super().prepare(shape)
        if all(name in self.keys for name in shape.columns):
            raise ParameterError(f"{self.what}: there is no column besides the keys to update")

    def statement(self, shape: Shape) -> str:
        """UPDATE the rows that the keys find."""
        changes = ", ".join(
            f"{quote(name)} = s.{quote(name)}" for name in shape.columns if name not in self.keys
        )
        return (
            f"UPDATE {self.table} AS t SET {changes} FROM pg_temp.{self.stage} AS s"
            f" WHERE {self.joined(self.keys)}"
        )


class Delete(_Staged):
    """DELETE … USING the staging table."""

    def statement(self, shape: Shape) -> str:
        """DELETE the rows that the keys find."""
        return (
            f"DELETE FROM {self.table} AS t USING pg_temp.{self.stage} AS s"
            f" WHERE {self.joined(shape.columns)}"
        )
