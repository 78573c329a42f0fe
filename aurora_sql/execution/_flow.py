"""How the rows of a read leave a connection: in lists, as they are, or as the text of a COPY.

A flow is what :func:`stream_on` carries: everything around it, the lease, the transaction, limits,
retries and cancellation, is the same for all of them.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from aurora_sql.statements import RESTORED, copy_texts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from aurora_sql.drivers import DriverConnection, PreparedStatement
    from aurora_sql.execution._prepare import Entry
    from aurora_sql.statements import Variant
    from aurora_sql.types import Column


class Flow(Protocol):
    """What comes out of a statement, piece by piece.

    Attributes:
        reads: It only reads: its transaction may be read-only, and is rolled back.
        fills: While it goes on the connection can do nothing else; a cursor leaves room between
            two pieces.
    """

    @property
    def reads(self) -> bool: ...

    @property
    def fills(self) -> bool: ...

    def open(
        self,
        driver: DriverConnection,
        entry: Entry,
        variant: Variant,
        args: Sequence[Any],
        *,
        shared: bool,
    ) -> AsyncGenerator[Any, None]:
        """Run a variant in the open transaction of a connection, and yield what it gives.

        Args:
            driver: The connection.
            entry: The variant, prepared there.
            variant: The variant.
            args: Values for its placeholders.
            shared: The transaction goes on after it.
        """

    def finish(self, entry: Entry, piece: Any) -> Any:
        """Make of a piece what the caller gets."""


class FinishedRows:
    """The rows of ``stream()``, through a cursor.

    Args:
        batch: Rows per round trip.
        reads: As :class:`Flow`.
    """

    fills: ClassVar = False

    def __init__(self, batch: int, *, reads: bool) -> None:
        self._batch = batch
        self.reads = reads

    def open(
        self,
        driver: DriverConnection,  # noqa: ARG002 - the entry knows it
        entry: Entry,
        variant: Variant,  # noqa: ARG002 - as the driver
        args: Sequence[Any],
        *,
        shared: bool,  # noqa: ARG002 - a cursor changes nothing
    ) -> AsyncGenerator[list[Any], None]:
        """As :meth:`Flow.open`."""
        return entry.prepared.stream(args, self._batch)

    def finish(self, entry: Entry, piece: list[Any]) -> list[Any]:
        """Make models of the rows, where the statement has one."""
        finish = entry.finish
        rows: list[Any] = piece if finish is None else finish(piece)
        return rows


class BareRows(FinishedRows):
    """Rows as the driver makes them, through a cursor.

    Attributes:
        columns: What they consist of, as soon as the first of them are there.
    """

    def __init__(self, batch: int) -> None:
        super().__init__(batch, reads=True)
        self.columns: tuple[Column, ...] = ()

    def open(
        self,
        driver: DriverConnection,  # noqa: ARG002 - as above
        entry: Entry,
        variant: Variant,  # noqa: ARG002 - as above
        args: Sequence[Any],
        *,
        shared: bool,  # noqa: ARG002 - as above
    ) -> AsyncGenerator[list[Any], None]:
        """As :meth:`Flow.open`."""
        return entry.prepared.stream(args, self._batch, self._tell)

    def _tell(self, columns: tuple[Column, ...]) -> None:
        self.columns = columns

    def finish(self, entry: Entry, piece: list[Any]) -> list[Any]:  # noqa: ARG002 - as above
        """Leave the rows as they are."""
        return piece


class CopiedText:
    """The text of COPY … TO STDOUT, as CSV: whole rows in each piece. PostgreSQL only.

    Args:
        header: The first line has the names of the columns.

    Attributes:
        columns: What the rows consist of, as soon as the first of them are there.
        rows: How many there were, once all are.
    """

    reads: ClassVar = True
    fills: ClassVar = True

    def __init__(self, *, header: bool) -> None:
        self._header = header
        self.columns: tuple[Column, ...] = ()
        self.rows = 0

    async def open(
        self,
        driver: DriverConnection,
        entry: Entry,  # noqa: ARG002 - prepared before the transaction, it may be out of date
        variant: Variant,
        args: Sequence[Any],
        *,
        shared: bool,
    ) -> AsyncGenerator[bytes, None]:
        """As :meth:`Flow.open`."""
        # Preparing it takes the locks that keep its tables as they are until the COPY is over,
        # which is parsed by itself, and whose columns nobody tells.
        async with _prepared(driver, variant.sql) as described:
            self.columns, parameters = described.columns, described.parameters
        texts = copy_texts(variant, parameters, args, header=self._header)
        before = await _ask(driver, texts.prepare, args)
        async with aclosing(driver.copy_out(texts.copy, self._count)) as chunks:
            async for chunk in chunks:
                yield chunk
        if shared:
            await _ask(driver, texts.restore, before[:RESTORED])

    def finish(self, entry: Entry, piece: bytes) -> bytes:  # noqa: ARG002 - as every flow has it
        """Leave the text as it is."""
        return piece

    def _count(self, rows: int) -> None:
        self.rows = rows


@asynccontextmanager
async def _prepared(driver: DriverConnection, sql: str) -> AsyncIterator[PreparedStatement]:
    """Prepare a statement that is not kept."""
    prepared = await driver.prepare(sql)
    try:
        yield prepared
    finally:
        if driver.is_settled and not driver.is_closed:
            await prepared.close()


async def _ask(driver: DriverConnection, sql: str, args: Sequence[Any]) -> tuple[Any, ...]:
    """Return the only row of a statement that is not kept."""
    async with _prepared(driver, sql) as prepared:
        (row,) = await prepared.fetch(args)
    return tuple(row)
