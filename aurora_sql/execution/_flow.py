"""How the rows of a read leave a connection: in lists, as they are, or as the text of a COPY.

A flow is what :func:`stream_on` carries: everything around it, the lease, the transaction, limits,
retries and cancellation, is the same for all of them.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from aurora_sql.errors import DatabaseError
from aurora_sql.statements import RESTORED, copy_texts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from aurora_sql.drivers import DriverConnection
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

    def finish(self, entry: Entry, piece: list[Any]) -> list[Any]:
        """Leave the rows as they are."""
        self.columns = entry.prepared.columns
        return piece

    def open(
        self,
        driver: DriverConnection,
        entry: Entry,
        variant: Variant,
        args: Sequence[Any],
        *,
        shared: bool,
    ) -> AsyncGenerator[list[Any], None]:
        """As :meth:`Flow.open`."""
        self.columns = entry.prepared.columns
        return super().open(driver, entry, variant, args, shared=shared)


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
        entry: Entry,
        variant: Variant,
        args: Sequence[Any],
        *,
        shared: bool,
    ) -> AsyncGenerator[bytes, None]:
        """As :meth:`Flow.open`."""
        self.columns = entry.prepared.columns
        texts = copy_texts(variant, entry.prepared.parameters, args, header=self._header)
        before = await _ask(driver, texts.prepare, args)
        try:
            async with aclosing(driver.copy_out(texts.copy, self._count)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except DatabaseError as error:
            error.position = None  # it counts characters of a text that nobody wrote
            raise
        if shared:
            await _ask(driver, texts.restore, before[:RESTORED])

    def finish(self, entry: Entry, piece: bytes) -> bytes:  # noqa: ARG002 - as every flow has it
        """Leave the text as it is."""
        return piece

    def _count(self, rows: int) -> None:
        self.rows = rows


async def _ask(driver: DriverConnection, sql: str, args: Sequence[Any]) -> tuple[Any, ...]:
    """Return the only row of a statement that is not kept."""
    prepared = await driver.prepare(sql)
    try:
        (row,) = await prepared.fetch(args)
    finally:
        if driver.is_settled and not driver.is_closed:
            await prepared.close()
    return tuple(row)
