"""PostgreSQL's protocol, read only as far as faults need: where messages begin, and which they are.

No I/O. Every byte that is fed comes out again, in its order.
"""

from __future__ import annotations

from typing import Final

from aurora_sql.local._wire import Conversation, Piece, take

_HEADER: Final = 5
_STARTUP_HEADER: Final = 8
_NEGOTIATIONS: Final = frozenset({80877103, 80877104})  # SSLRequest, GSSENCRequest
_CANCEL: Final = 80877102
_HEAD: Final = 4096
"""Bytes of a message that are looked at: the beginning of its SQL, and the names before it."""
_READ: Final = b"QPBEDC"
_CYCLE_ENDS: Final = b"QSF"
"""Query, Sync and FunctionCall: the server answers each by one ReadyForQuery in the end."""


class PostgresConversation(Conversation):
    """Both directions of one connection to PostgreSQL.

    A piece's ``cycle`` counts ReadyForQuery.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started = False
        self._negotiating = False
        self._statements: dict[bytes, str] = {}
        self._portals: dict[bytes, str | None] = {}

    def _command(self) -> Piece | None:
        return self._message() if self._started else self._opening()

    def _opening(self) -> Piece | None:
        held = self._client
        if len(held) < _STARTUP_HEADER:
            return None
        length, code = int.from_bytes(held[:4], "big"), int.from_bytes(held[4:8], "big")
        if length < _STARTUP_HEADER or code == _CANCEL:
            self.opaque = True
            return Piece(take(held, len(held)))
        if code in _NEGOTIATIONS:
            self._negotiating = True
        else:
            self._started = True
            self._negotiating = False
            self._asked += 1
        return self._begin(length, "", None)

    def _message(self) -> Piece | None:
        held = self._client
        if len(held) < _HEADER:
            return None
        letter, total = held[0], 1 + int.from_bytes(held[1:5], "big")
        if total < _HEADER:
            self.opaque = True
            return Piece(take(held, len(held)))
        if letter in _READ and len(held) < min(total, _HEAD):
            return None
        sql = self._read(letter, bytes(held[_HEADER : min(total, _HEAD)]))
        piece = self._begin(total, chr(letter), sql)
        if letter in _CYCLE_ENDS:
            self._asked += 1
        return piece

    def _begin(self, total: int, message: str, sql: str | None) -> Piece:
        return Piece(self._begin_command(total), message, sql, self._asked)

    def _answer(self) -> Piece | None:
        held = self._server
        if self._negotiating and held[0] in b"SGN":
            self._negotiating = False
            self.opaque = held[0] != ord("N")
            return Piece(take(held, 1))
        if len(held) < _HEADER:
            return None
        letter, total = held[0], 1 + int.from_bytes(held[1:5], "big")
        if total < _HEADER:
            self.opaque = True
            return Piece(take(held, len(held)))
        self._cycle = self._answered
        piece = Piece(self._begin_answer(total), chr(letter), None, self._cycle)
        if letter == ord("Z"):
            self._answered += 1
        return piece

    def _read(self, letter: int, body: bytes) -> str | None:
        """Follow names from Parse through Bind to Execute, and give the SQL that is meant."""
        first, _, rest = body.partition(b"\0")
        second = rest.partition(b"\0")[0]
        kind, name = body[:1], first[1:]
        sql: str | None = None
        match chr(letter):
            case "Q":
                sql = first.decode("utf-8", "replace")
            case "P":
                sql = self._statements[first] = second.decode("utf-8", "replace")
            case "B":
                sql = self._portals[first] = self._statements.get(second)
            case "E":
                sql = self._portals.get(first)
            case "D":
                sql = self._named(kind, name)
            case "C":
                sql = self._named(kind, name)
                (self._portals if kind == b"P" else self._statements).pop(name, None)
        return sql

    def _named(self, kind: bytes, name: bytes) -> str | None:
        return self._portals.get(name) if kind == b"P" else self._statements.get(name)
