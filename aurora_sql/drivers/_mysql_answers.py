"""What each command waits for: objects that are fed bytes until their answer is complete.

No I/O here. One turn of the event loop hands over all that has arrived, so that the answer to a
point read is one call.

Class attributes are what an answer is before anything of it has been read: making one sets only
what is its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aurora_sql.drivers import _mysql_protocol as p
from aurora_sql.drivers._mysql_types import field, row_decoder, row_taker

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.drivers._mysql_types import Codec
    from aurora_sql.types import Column

_EOF: Final = 9
"""Bytes of a packet that ends columns or rows, with its header."""


class Layout:
    """The columns of a result: how they were described, and what decodes its rows.

    Args:
        raw: The packets that described the columns.
        definitions: What they said.
        codec: What reads whole rows.
        make: Makes a row of a sequence of values.

    Attributes:
        raw: All that an answer with these columns starts with, up to the server's status. What
            starts with the same bytes has the same columns, and need not be read again.
        size: How much of an answer that is, with the status: where its rows begin.
        take: Reads whole rows out of a buffer.
        decode: Reads one row, wherever it starts.
    """

    __slots__ = ("columns", "decode", "definitions", "raw", "size", "take")

    def __init__(
        self,
        raw: bytes,
        definitions: list[p.ColumnDefinition],
        codec: Codec,
        make: Callable[[Any], Any],
    ) -> None:
        # Packets are counted: the number of columns, each of them, the end.
        self.raw = b"%b\5\0\0%c\xfe" % (raw, (len(definitions) + 2) & 0xFF)
        self.size = len(self.raw) + 4
        self.definitions = definitions
        fields = [field(one) for one in definitions]
        self.columns: tuple[Column, ...] = tuple(column for _, column in fields)
        self.decode = row_decoder([decoder for decoder, _ in fields], make)
        self.take = codec(definitions, make)

    def is_described_by(self, raw: bytes) -> bool:
        """Whether these packets describe the same columns."""
        return len(raw) == len(self.raw) - 5 and self.raw.startswith(raw)


class Answer:
    """An answer of one OK or ERR packet.

    Attributes:
        done: All of it has been read.
        status: The server's status at its end, None where it told none (an error).
        error: What the server answered with, if that was an error.
        ok: The last OK.
        upload: Name of the file that the server asks for.
    """

    done = False
    status: int | None = None
    error: p.Err | None = None
    ok: p.Ok | None = None
    upload: str | None = None
    _parts: bytearray | None = None
    # What takes the next packet; None for the first one of a result, and at the end: a bound
    # method of its own would keep the answer until the garbage collector comes.
    _next_packet: Callable[[p.Buffer, int, int], None] | None = None

    def feed(self, buffer: p.Buffer, pos: int) -> int:
        """Read the whole packets that stand in the buffer; the position behind them.

        Raises:
            ProtocolError: What stands there cannot follow.
        """
        end = len(buffer)
        while not self.done and end - pos >= 4:  # noqa: PLR2004 - a packet's header
            size = buffer[pos] | buffer[pos + 1] << 8 | buffer[pos + 2] << 16
            start = pos + 4
            stop = start + size
            if stop > end:
                break
            pos = stop
            if size == p.MAX_PAYLOAD or self._parts is not None:
                self._continued(buffer, start, stop, last=size < p.MAX_PAYLOAD)
            elif size == 0:
                raise p.ProtocolError("the server sent an empty packet")
            else:
                self._packet(buffer, start, stop)
        if self.done:
            self._next_packet = None
        return pos

    def _packet(self, buffer: p.Buffer, start: int, stop: int) -> None:
        (self._next_packet or self._first)(buffer, start, stop)

    def _continued(self, buffer: p.Buffer, start: int, stop: int, *, last: bool) -> None:
        if self._parts is None:
            self._parts = bytearray()
        self._parts += buffer[start:stop]
        if last:
            whole, self._parts = self._parts, None
            self._packet(whole, 0, len(whole))

    def _first(self, buffer: p.Buffer, start: int, stop: int) -> None:
        kind = buffer[start]
        if kind == p.OK:
            self._ok(buffer, start, stop)
        elif kind == p.ERR:
            self._err(buffer, start, stop)
        elif p.is_eof(buffer, start, stop):  # how COM_SET_OPTION is answered
            self._end(p.eof_status(buffer, start))
        else:
            raise p.ProtocolError(f"an answer cannot start with {kind:#x}")

    def _ok(self, buffer: p.Buffer, start: int, stop: int) -> None:
        self.ok = p.read_ok(buffer, start, stop)
        self._end(self.ok.status)

    def _err(self, buffer: p.Buffer, start: int, stop: int) -> None:
        self.error = p.read_err(buffer, start, stop)
        self.done = True

    def _end(self, status: int) -> None:
        self.status = status
        if status & p.MORE_RESULTS:
            self._next_packet = None
        else:
            self.done = True


class Results(Answer):
    """The answer to a command that may have rows: COM_QUERY, COM_STMT_EXECUTE.

    Attributes:
        layout: The columns of the first result with rows.
        cursor: The server opened a cursor: the rows are to be fetched.
        decoding: The first value that could not be represented.
    """

    layout: Layout | None = None
    cursor = False
    decoding: Exception | None = None
    extended = False
    _found = False
    # Set where columns begin.
    _left: int
    _raw: bytearray
    _columns: list[p.ColumnDefinition]

    def __init__(self, *, extended: bool = False) -> None:
        self.extended = extended

    def _first(self, buffer: p.Buffer, start: int, stop: int) -> None:
        kind = buffer[start]
        if kind in {p.OK, p.ERR}:
            super()._first(buffer, start, stop)
        elif kind == p.LOCAL_INFILE:
            self.upload = buffer[start + 1 : stop].decode("utf-8", "replace")
            self._next_packet = super()._first
        else:
            self._left, _ = p.read_length(buffer, start)
            self._raw = bytearray(buffer[start - 4 : stop])
            self._columns = []
            self._next_packet = self._column

    def _column(self, buffer: p.Buffer, start: int, stop: int) -> None:
        self._raw += buffer[start - 4 : stop]
        self._columns.append(p.read_column(buffer, start, extended=self.extended))
        self._left -= 1
        if not self._left:
            self._described(bytes(self._raw), self._columns)
            self._next_packet = self._columns_end

    def _described(self, raw: bytes, definitions: list[p.ColumnDefinition]) -> None:
        """All columns of a result are known."""

    def _columns_end(self, buffer: p.Buffer, start: int, stop: int) -> None:
        if buffer[start] == p.ERR:  # a cursor that could not be filled
            self._err(buffer, start, stop)
            return
        if not p.is_eof(buffer, start, stop):
            raise p.ProtocolError("the columns of a result do not end")
        status = p.eof_status(buffer, start)
        if status & p.CURSOR_EXISTS:
            self.cursor = True
            self.status = status
            self.done = True
        self._next_packet = self._row

    def _row(self, buffer: p.Buffer, start: int, stop: int) -> None:
        kind = buffer[start]
        if kind == p.EOF and stop - start < 9:  # noqa: PLR2004 - as is_eof, without the call
            self._found = True
            self._end(p.eof_status(buffer, start))
        elif kind == p.ERR:
            self._err(buffer, start, stop)
        else:
            self._take(buffer, start, stop)

    def _take(self, buffer: p.Buffer, start: int, stop: int) -> None:
        """Take a row, or leave it."""


class TextRows(Results):
    """The first result of a COM_QUERY of our own, as text."""

    def __init__(self, *, extended: bool = False) -> None:
        super().__init__(extended=extended)
        self.rows: list[tuple[str | None, ...]] = []

    def _take(self, buffer: p.Buffer, start: int, stop: int) -> None:
        self.rows.append(p.read_text_row(buffer, start, stop))


class BinaryRows(Results):
    """The answer to COM_STMT_EXECUTE.

    Args:
        layout: The columns as they were at the last execution; None where there was none, or a
            cursor is asked for.
        make: Makes a row of a sequence of values.
        limit: How many rows to keep, 0 for all.
        codec: What reads whole rows.
        extended: Columns come with MariaDB's extended type information.
    """

    _more = False
    # Whose rows come next, if they are wanted.
    _rows_of: Layout | None = None

    def __init__(
        self,
        layout: Layout | None,
        make: Callable[[Any], Any],
        limit: int = 0,
        codec: Codec = row_taker,
        *,
        extended: bool = False,
    ) -> None:
        self.layout = self._expected = layout
        self.rows: list[Any] = []
        self.extended = extended
        self._codec = codec
        self._make = make
        self._limit = limit

    def feed(self, buffer: p.Buffer, pos: int) -> int:
        layout = self._expected
        if layout is None:
            layout = self._rows_of
        else:
            # All columns are passed over at once where they are those of the last execution.
            self._expected = None
            start = pos + layout.size
            if buffer.startswith(layout.raw, pos) and start <= len(buffer):
                pos = start
            else:
                layout = None
        if layout is not None and self._parts is None:
            rows, limit = self.rows, self._limit
            try:
                pos = layout.take(buffer, pos, rows)
            except ValueError as exc:
                # The rest of the answer has to be read all the same.
                self.decoding = exc
                layout = None
            if limit and len(rows) >= limit:
                del rows[limit:]
                layout = None
            # The usual end, without the calls that it takes to read any packet.
            if len(buffer) - pos == _EOF and buffer[pos + 4] == p.EOF:
                status = buffer[pos + 7] | buffer[pos + 8] << 8
                if not status & p.MORE_RESULTS:
                    self.status = status
                    self.done = True
                    self._next_packet = None
                    return pos + _EOF
            self._rows_of = layout
            self._next_packet = self._row
        return super().feed(buffer, pos)

    def _described(self, raw: bytes, definitions: list[p.ColumnDefinition]) -> None:
        if self._found:
            # A further result, of a procedure: the first one counts.
            self._more = True
        elif self.layout is None or not self.layout.is_described_by(raw):
            self.layout = Layout(raw, definitions, self._codec, self._make)

    def _columns_end(self, buffer: p.Buffer, start: int, stop: int) -> None:
        super()._columns_end(buffer, start, stop)
        if not self._more and not self.done:
            self._rows_of = self.layout

    def _take(self, buffer: p.Buffer, start: int, _stop: int) -> None:
        layout = self._rows_of
        if layout is None:
            return
        try:
            self.rows.append(layout.decode(buffer, start))
        except ValueError as exc:
            self.decoding = exc
            self._rows_of = None
        if self._limit and len(self.rows) >= self._limit:
            self._rows_of = None

    def _end(self, status: int) -> None:
        self._rows_of = None
        super()._end(status)


class FetchedRows(Answer):
    """The answer to COM_STMT_FETCH."""

    decoding: Exception | None = None

    def __init__(self, layout: Layout) -> None:
        self.rows: list[Any] = []
        self._layout = layout

    def feed(self, buffer: p.Buffer, pos: int) -> int:
        if self.decoding is None and self._parts is None:
            try:
                pos = self._layout.take(buffer, pos, self.rows)
            except ValueError as exc:
                self.decoding = exc
        return super().feed(buffer, pos)

    def _first(self, buffer: p.Buffer, start: int, stop: int) -> None:
        kind = buffer[start]
        if kind == p.OK:
            if self.decoding is None:
                try:
                    self.rows.append(self._layout.decode(buffer, start))
                except ValueError as exc:
                    self.decoding = exc
        elif kind == p.ERR:
            self._err(buffer, start, stop)
        elif p.is_eof(buffer, start, stop):
            self.status = p.eof_status(buffer, start)
            self.done = True
        else:
            raise p.ProtocolError(f"a row cannot start with {kind:#x}")


class Prepared(Answer):
    """The answer to COM_STMT_PREPARE.

    Attributes:
        number: The statement's number, None where it was refused.
        parameters: How many placeholders it has.
        placeholders: What the server takes them for; nothing on MariaDB, which says the same of
            each.
        definitions: Its columns.
    """

    number: int | None = None
    parameters = 0
    _parameters_left = 0
    _columns_left = 0

    def __init__(self, *, extended: bool = False) -> None:
        self.definitions: list[p.ColumnDefinition] = []
        self.placeholders: list[p.ColumnDefinition] = []
        self._extended = extended

    def _first(self, buffer: p.Buffer, start: int, stop: int) -> None:
        if buffer[start] == p.ERR:
            self._err(buffer, start, stop)
            return
        if buffer[start] != p.OK:
            raise p.ProtocolError("COM_STMT_PREPARE cannot be answered like this")
        self.number, self._columns_left, self.parameters = p.read_prepared(buffer, start)
        self._parameters_left = self.parameters
        self._next()

    def _next(self) -> None:
        if self._parameters_left:
            self._next_packet = self._parameter
        elif self._columns_left:
            self._next_packet = self._column
        else:
            self.done = True

    def _parameter(self, buffer: p.Buffer, start: int, _stop: int) -> None:
        if not self._extended:
            self.placeholders.append(p.read_column(buffer, start, extended=False))
        self._parameters_left -= 1
        if not self._parameters_left:
            self._next_packet = self._group_end

    def _column(self, buffer: p.Buffer, start: int, _stop: int) -> None:
        self.definitions.append(p.read_column(buffer, start, extended=self._extended))
        self._columns_left -= 1
        if not self._columns_left:
            self._next_packet = self._group_end

    def _group_end(self, buffer: p.Buffer, start: int, stop: int) -> None:
        if not p.is_eof(buffer, start, stop):
            raise p.ProtocolError("the columns of a statement do not end")
        self.status = p.eof_status(buffer, start)
        self._next()
