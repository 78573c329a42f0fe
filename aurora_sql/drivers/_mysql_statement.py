"""One prepared statement on one MySQL connection: the hot path."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any, Final

from aurora_sql import errors
from aurora_sql.drivers import _mysql_protocol as p
from aurora_sql.drivers._mysql_answers import BinaryRows, FetchedRows, Layout
from aurora_sql.drivers._mysql_parameters import NO_INTEGERS, agree, encode, integers
from aurora_sql.drivers._mysql_rows import class_for
from aurora_sql.drivers._mysql_types import field
from aurora_sql.drivers.base import PreparedStatement
from aurora_sql.types import ParameterType

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from aurora_sql.drivers._mysql_answers import Prepared
    from aurora_sql.drivers._mysql_connection import MySQLConnection
    from aurora_sql.drivers.base import Begin
    from aurora_sql.types import Column

_ANY: Final = ParameterType("any")
"""MariaDB says how many placeholders there are, and nothing of their types."""

_HEAD: Final = 10
"""Bytes in front of the parameters of COM_STMT_EXECUTE."""


class MySQLStatement(PreparedStatement):
    """A statement prepared on one connection; prepared anew after the session was reset."""

    __slots__ = (
        "_connection",
        "_count",
        "_epoch",
        "_head",
        "_integers",
        "_kinds",
        "_layout",
        "_make",
        "_number",
        "_sql",
        "_tables",
        "_types",
        "columns",
        "parameters",
    )

    def __init__(
        self,
        connection: MySQLConnection,
        sql: str,
        prepared: Prepared,
        rows: type[Any],
        *,
        own: bool,
    ) -> None:
        self._connection = connection
        self._sql = sql
        self._adopt(prepared)
        self._count = prepared.parameters
        self.parameters = tuple(
            ParameterType(field(one)[1].type_name) for one in prepared.placeholders
        ) or ((_ANY,) * prepared.parameters)
        self.columns: tuple[Column, ...] = tuple(field(one)[1] for one in prepared.definitions)
        self._tables = [one.table for one in prepared.definitions]
        self._layout: Layout | None = None
        self._types: bytes | None = b"" if not self._count else None
        self._make = class_for(rows, [column.name for column in self.columns], own=own)

    def _adopt(self, prepared: Prepared) -> None:
        if prepared.number is None:
            raise p.ProtocolError("a prepared statement without a number")
        self._number = prepared.number
        self._epoch = self._connection.epoch
        self._head = p.execute_head(self._number, p.NO_CURSOR)
        self._kinds, self._integers = NO_INTEGERS

    async def fetch(self, args: Sequence[Any], limit: int = 0) -> list[Any]:
        # In one piece, as each call would be felt; the same at leisure: execute.
        packet = self._packet_of_integers(args)
        if packet is None:
            packet = await self._packet(args)
        connection = self._connection
        answer = BinaryRows(
            self._layout, self._make, limit, connection.codec, extended=connection.extended
        )
        waiter = connection.start(packet, answer)
        try:
            await waiter
        except (asyncio.CancelledError, OSError) as exc:
            connection.left(exc, waiter, answer)
            raise
        if answer.error is not None or (
            connection.transaction.begun and not connection.wire.status & p.IN_TRANSACTION
        ):
            await connection.consider(answer)
        if answer.layout is not self._layout or answer.upload is not None:
            self._unusual(answer)
        if answer.decoding is not None:
            raise _decoding_failure(answer.decoding)
        return answer.rows

    async def execute(self, args: Sequence[Any]) -> int:
        packet = self._packet_of_integers(args) or await self._packet(args)
        connection = self._connection
        answer = BinaryRows(
            self._layout, self._make, 0, connection.codec, extended=connection.extended
        )
        await connection.run(packet, answer)
        self._unusual(answer)
        return -1 if answer.ok is None else answer.ok.affected

    def _unusual(self, answer: BinaryRows) -> None:
        """See to what most answers do not bring: other columns, a question for a file."""
        if answer.layout is not self._layout:
            first = not self.columns
            self._learn_layout(answer.layout)
            if first:
                answer.rows = [self._make(row) for row in answer.rows]
        if answer.upload is not None:
            raise self._connection.refuse(answer.upload)

    def _packet_of_integers(self, args: Sequence[Any]) -> bytes | None:
        """The command, if all values are integers as they were at the last execution."""
        if tuple(map(type, args)) != self._kinds or self._epoch != self._connection.epoch:
            return None
        try:
            return self._integers(*args)
        except struct.error:  # one of more than 64 bits, or unsigned
            return None

    async def _packet(self, args: Sequence[Any]) -> bytes:
        """The command for any values."""
        if self._epoch != self._connection.epoch:
            await self._prepare_again()
        types, payload = self.encode(args)
        if types != self._types:
            types = await self._accept(types)
            self._types = types
        # The statement's number may be a new one by now.
        packet = p.frame_after(self._head, payload)
        self._kinds, self._integers = integers(args, types, packet)
        return packet

    def encode(self, args: Sequence[Any]) -> tuple[bytes, bytes]:
        """The types of the values, and the values with all that goes with them.

        Raises:
            ParameterError: A value cannot be sent, there are too many or too few, or all together
                are larger than the server takes.
        """
        if len(args) != self._count:
            raise errors.ParameterError(
                f"the statement takes {self._count} parameters, and {len(args)} were given"
            )
        if not args:
            return b"", b""
        types, payload = encode(args)
        if len(payload) + _HEAD > self._connection.max_packet:
            self._connection.check_size(len(payload) + _HEAD)
        return types, payload

    async def _accept(self, types: bytes) -> bytes:
        """Take types that differ from those of the executions before.

        MySQL fixes the type of a placeholder that nothing else decides (``SELECT ?``) at the
        first execution, and silently converts what comes later: 'x' becomes 0 where an integer
        came first. So a statement whose types change is prepared anew; NULL has no type.
        """
        if self._types is None:
            return types
        merged = agree(self._types, types)
        if merged is not None:
            return merged
        if not self._connection.is_mariadb:
            number, epoch = self._number, self._epoch
            await self._prepare_again()
            if epoch == self._connection.epoch:
                self._connection.wire.post(p.close_statement(number))
        return types

    def _learn_layout(self, layout: Layout | None) -> None:
        """Take the columns of an answer as those of the next ones, if they are what was prepared.

        The server prepares a statement anew by itself when a table has changed. Columns of a table
        have to be what they were then; those of an expression may depend on the parameters.
        """
        if layout is None:
            return
        if not self.columns:
            # Of some statements (CALL, SHOW) the server tells the columns with the answer only.
            self.columns = layout.columns
            self._tables = [one.table for one in layout.definitions]
            self._make = class_for(self._make, [c.name for c in layout.columns], own=False)
            return
        names = [column.name for column in layout.columns]
        if names != [column.name for column in self.columns] or any(
            table and now.python_type is not was.python_type
            for table, now, was in zip(self._tables, layout.columns, self.columns, strict=True)
        ):
            raise errors.StatementStale(
                "the result no longer has the columns that were prepared: prepare it again; the "
                "statement itself has run",
                retry_safe=False,
            )
        self._layout = layout

    async def _prepare_again(self) -> None:
        prepared = await self._connection.prepare_raw(self._sql)
        columns = tuple(field(one)[1] for one in prepared.definitions)
        if self.columns and columns != self.columns and prepared.definitions:
            self._connection.wire.post(p.close_statement(prepared.number or 0))
            raise errors.StatementStale(
                "the tables of the statement have changed: prepare it again; nothing was run"
            )
        self._adopt(prepared)

    async def begin_and_fetch(self, begin: Begin, args: Sequence[Any], limit: int = 0) -> list[Any]:
        await self._begin(begin, args)
        return await self.fetch(args, limit)

    async def begin_and_execute(self, begin: Begin, args: Sequence[Any]) -> int:
        await self._begin(begin, args)
        return await self.execute(args)

    async def _begin(self, begin: Begin, args: Sequence[Any]) -> None:
        # A round trip of its own: after a BEGIN that failed the statement would commit by itself.
        self.encode(args)
        await self._connection.begin(begin)

    async def execute_many(self, sets: Iterable[Sequence[Any]]) -> None:
        await self._many(sets)

    async def fetch_many(self, sets: Iterable[Sequence[Any]]) -> list[Any]:
        return await self._many(sets)

    async def _many(self, sets: Iterable[Sequence[Any]]) -> list[Any]:
        # One by one: pipelined commands can hang Aurora MySQL (see _mysql_wire).
        rows: list[Any] = []
        async with self._connection.all_or_nothing():
            for element, args in enumerate(sets):
                try:
                    rows += await self.fetch(args)
                except errors.ParameterError as exc:
                    raise errors.ParameterError(
                        f"set {element}: {exc.message}", number=exc.number, element=element
                    ) from exc
        return rows

    async def stream(
        self,
        args: Sequence[Any],
        batch: int,
        told: Callable[[tuple[Column, ...]], object] | None = None,
    ) -> AsyncGenerator[list[Any], None]:
        connection = self._connection
        if batch < 1:
            raise errors.ConfigurationError(
                f"the batch of a stream must be at least 1, not {batch}"
            )
        if not connection.in_transaction:
            raise errors.ConfigurationError(
                "a server-side cursor lives in a transaction: begin one before streaming"
            )
        # A statement has one cursor at the server: each stream has a statement of its own.
        prepared = await connection.prepare_raw(self._sql)
        own = MySQLStatement(connection, self._sql, prepared, self._make, own=True)
        try:
            async for rows in own._stream(args, batch, told):
                yield rows
        finally:
            await own.close()

    async def _stream(
        self,
        args: Sequence[Any],
        batch: int,
        told: Callable[[tuple[Column, ...]], object] | None,
    ) -> AsyncGenerator[list[Any], None]:
        connection = self._connection
        answer = BinaryRows(None, self._make, 0, connection.codec, extended=connection.extended)
        _, payload = self.encode(args)
        head = p.execute_head(self._number, p.READ_ONLY_CURSOR)
        await connection.run(p.frame(head + payload), answer)
        self._learn_layout(answer.layout)
        if told is not None and answer.layout is not None:
            told(answer.layout.columns)
        if answer.decoding is not None:
            raise _decoding_failure(answer.decoding)
        if not answer.cursor or answer.layout is None:
            # The server made none (SHOW, CALL): all rows are here.
            for start in range(0, len(answer.rows), batch):
                yield answer.rows[start : start + batch]
            return
        last = False
        while not last:
            more = FetchedRows(answer.layout)
            await connection.run(p.fetch(self._number, batch), more, counted=False)
            if more.decoding is not None:
                raise _decoding_failure(more.decoding)
            last = bool((more.status or 0) & p.LAST_ROW_SENT)
            if more.rows:
                yield more.rows

    async def close(self) -> None:
        connection = self._connection
        if self._epoch == connection.epoch and not connection.is_closed:
            # Not answered; where a command is still under way the server reads it after that.
            connection.wire.post(p.close_statement(self._number))
            self._epoch = -1

    def __repr__(self) -> str:
        text = " ".join(self._sql.split())
        return f"<MySQLStatement {self._number} {text[:60]!r}>"


def _decoding_failure(exc: Exception) -> errors.DataError:
    return errors.DataError(
        f"a value of the result cannot be represented in Python: {exc}", retry_safe=False
    )
