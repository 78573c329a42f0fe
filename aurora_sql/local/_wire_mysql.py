"""MySQL's protocol, read only as far as faults need: where commands begin, and where answers end.

No I/O. Every byte that is fed comes out again, in its order. Source of the layouts: MySQL's
documentation of the client/server protocol, "Connection Phase" and "Command Phase".
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from aurora_sql.local._wire import Conversation, Piece

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADER: Final = 4
_FULL: Final = 0xFFFFFF
"""The size of a packet that is continued in the next one."""
_HEAD: Final = 4096
"""Bytes of a command that are looked at: the beginning of its SQL."""
_ANSWER_HEAD: Final = 64

_COMPRESS, _SSL, _DEPRECATE_EOF, _ZSTD = 1 << 5, 1 << 11, 1 << 24, 1 << 26
_UNREADABLE: Final = _COMPRESS | _SSL | _ZSTD

_QUIT, _QUERY, _CHANGE_USER, _BINLOG, _BINLOG_GTID = 0x01, 0x03, 0x11, 0x12, 0x1E
_PREPARE, _EXECUTE, _LONG_DATA, _CLOSE, _FETCH, _BULK = 0x16, 0x17, 0x18, 0x19, 0x1C, 0xFA
_LETTERS: Final = {
    _QUIT: "X", _QUERY: "Q", _PREPARE: "P", _EXECUTE: "E", _FETCH: "E", _BULK: "E", _CLOSE: "C",
}  # fmt: skip
"""The messages of PostgreSQL's protocol that stand for the commands."""
_OF_STATEMENTS: Final = frozenset({_EXECUTE, _FETCH, _BULK, _CLOSE})
_WITH_ROWS: Final = frozenset({_QUERY, _EXECUTE, _BULK})
_UNANSWERED: Final = frozenset({_QUIT, _LONG_DATA, _CLOSE})
_ANOTHER_TALK: Final = frozenset({_CHANGE_USER, _BINLOG, _BINLOG_GTID})

_OK, _LOCAL_INFILE, _EOF, _ERR = 0x00, 0xFB, 0xFE, 0xFF
_EOF_SIZE: Final = 9
_MORE_RESULTS, _CURSOR = 1 << 3, 1 << 6


class MySQLConversation(Conversation):
    """Both directions of one connection to MySQL or MariaDB.

    A piece's ``message`` is, from the client, the letter that stands for its command; from the
    server ``Z`` for the packet that ends an answer, ``G`` for one that asks for a file, ``D`` for
    any other of an answer. Its ``cycle`` is the number of the command, or of the one answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self._client_goes_on = self._server_goes_on = False
        self._logged_in = False
        self._eofs = 1
        self._pending: deque[tuple[int, str | None]] = deque()
        self._statements: dict[int, str | None] = {}
        self._uploading = False
        self._expect: Callable[[bytes, int], bool] = self._first
        self._left = 0

    # The client

    def _command(self) -> Piece | None:
        held = self._client
        if len(held) < _HEADER:
            return None
        size = int.from_bytes(held[:3], "little")
        goes_on, self._client_goes_on = self._client_goes_on, size == _FULL
        if not size or goes_on or self._uploading:
            return self._pass(size)
        if len(held) < _HEADER + min(size, _HEAD):
            self._client_goes_on = goes_on
            return None
        body = bytes(held[_HEADER : _HEADER + min(size, _HEAD)])
        if not self._logged_in:
            self._read_flags(body)
            return self._pass(size)
        if held[3]:
            return self._pass(size)
        return self._asks(size, body)

    def _read_flags(self, body: bytes) -> None:
        """What the client's first packet says of all that follows."""
        # Its other packets of the login are the password's, in whatever form.
        if self._client[3] == 1:
            flags = int.from_bytes(body[:4], "little")
            self.opaque = bool(flags & _UNREADABLE)
            self._eofs = 0 if flags & _DEPRECATE_EOF else 1

    def _asks(self, size: int, body: bytes) -> Piece:
        command = body[0]
        sql: str | None = None
        if command in {_QUERY, _PREPARE}:
            sql = body[1:].decode("utf-8", "replace")
        elif command in _OF_STATEMENTS:
            number = int.from_bytes(body[1:5], "little")
            sql = self._statements.get(number)
            if command == _CLOSE:
                self._statements.pop(number, None)
        elif command in _ANOTHER_TALK:
            self.opaque = True
        cycle = self._asked
        if command not in _UNANSWERED:
            self._asked += 1
            self._pending.append((command, sql))
        return self._pass(size, _LETTERS.get(command, ""), sql, cycle)

    def _pass(self, size: int, message: str = "", sql: str | None = None, cycle: int = 0) -> Piece:
        return Piece(self._begin_command(_HEADER + size), message, sql, cycle)

    # The server

    def _answer(self) -> Piece | None:
        held = self._server
        if len(held) < _HEADER:
            return None
        size = int.from_bytes(held[:3], "little")
        if len(held) < _HEADER + min(size, _ANSWER_HEAD):
            return None
        head = bytes(held[_HEADER : _HEADER + min(size, _ANSWER_HEAD)])
        goes_on, self._server_goes_on = self._server_goes_on, size == _FULL
        message = ""
        self._cycle = self._answered
        if goes_on or not head:
            pass
        elif not self._logged_in:
            self._logged_in = head[0] == _OK
        elif self._pending:
            message = "D"
            self._uploading = False
            if self._expect(head, size):
                message = "Z"
                self._pending.popleft()
                self._answered += 1
                self._expect = self._first
            elif self._uploading:
                message = "G"
        return Piece(self._begin_answer(_HEADER + size), message, None, self._cycle)

    # Each takes a packet's beginning and its size, and tells whether it ends the answer.

    def _first(self, head: bytes, size: int) -> bool:  # noqa: PLR0911 - one for each kind of answer
        kind = head[0]
        command, sql = self._pending[0]
        if kind == _ERR:
            return True
        if command == _PREPARE:
            self._statements[int.from_bytes(head[1:5], "little")] = sql
            counts = (int.from_bytes(head[at : at + 2], "little") for at in (5, 7))
            self._left = sum(count + self._eofs for count in counts if count)
            self._expect = self._described
            return not self._left
        if kind == _OK and command != _FETCH:
            return self._ends(_status(head))
        if kind == _LOCAL_INFILE:
            self._uploading = True
            return False
        if command == _FETCH:
            self._expect = self._row
            return self._row(head, size)
        if command not in _WITH_ROWS:
            return True
        self._left = _length(head, 0)[0] + self._eofs
        self._expect = self._column
        return False

    def _described(self, _head: bytes, _size: int) -> bool:
        self._left -= 1
        return not self._left

    def _column(self, head: bytes, _size: int) -> bool:
        self._left -= 1
        if self._left:
            return False
        self._expect = self._row
        # Rows at a cursor are to be fetched.
        at_cursor = self._eofs and int.from_bytes(head[3:5], "little") & _CURSOR
        return head[0] == _ERR or bool(at_cursor)

    def _row(self, head: bytes, size: int) -> bool:
        if head[0] == _EOF and size < (_EOF_SIZE if self._eofs else _FULL):
            return self._ends(int.from_bytes(head[3:5], "little") if self._eofs else _status(head))
        return head[0] == _ERR

    def _ends(self, status: int) -> bool:
        self._expect = self._first
        return not status & _MORE_RESULTS


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    width = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(data[at], 0)
    if not width:
        return data[at], at + 1
    return int.from_bytes(data[at + 1 : at + 1 + width], "little"), at + 1 + width


def _status(ok: bytes) -> int:
    """The server's status in an OK."""
    at = _length(ok, _length(ok, 1)[1])[1]
    return int.from_bytes(ok[at : at + 2], "little")
