"""PostgreSQL's protocol, read only as far as faults need: where messages begin, and which they are.

No I/O. Every byte that is fed comes out again, in its order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER: Final = 5
_STARTUP_HEADER: Final = 8
_NEGOTIATIONS: Final = frozenset({80877103, 80877104})  # SSLRequest, GSSENCRequest
_CANCEL: Final = 80877102
_HEAD: Final = 4096
"""Bytes of a message that are looked at: the beginning of its SQL, and the names before it."""
_READ: Final = b"QPBEDC"
_CYCLE_ENDS: Final = b"QSF"
"""Query, Sync and FunctionCall: the server answers each by one ReadyForQuery in the end."""


class Piece(NamedTuple):
    """Some bytes to pass on.

    Attributes:
        data: The bytes.
        message: The letter of the message that begins with them, empty where none does.
        sql: The beginning of its SQL, None where it has none.
        cycle: How many ReadyForQuery are asked for, or were seen, before this message.
    """

    data: bytes
    message: str = ""
    sql: str | None = None
    cycle: int = 0


class Conversation:
    """Both directions of one connection.

    Attributes:
        opaque: The rest cannot be read: it is encrypted, or is not this protocol.
    """

    def __init__(self) -> None:
        self.opaque = False
        self._client = bytearray()
        self._server = bytearray()
        self._client_passing = 0
        self._server_passing = 0
        self._started = False
        self._negotiating = False
        self._server_cycle = 0
        self._asked = 0
        self._ready = 0
        self._statements: dict[bytes, str] = {}
        self._portals: dict[bytes, str | None] = {}

    def from_client(self, data: bytes) -> Iterator[Piece]:
        """Split what came from the client; an unfinished header is held until the rest comes."""
        held = self._client
        held += data
        while held:
            if self.opaque:
                yield Piece(_take(held, len(held)))
            elif self._client_passing:
                piece = _take(held, self._client_passing)
                self._client_passing -= len(piece)
                yield Piece(piece)
            else:
                found = self._message() if self._started else self._opening()
                if found is None:
                    return
                yield found

    def from_server(self, data: bytes) -> Iterator[Piece]:
        """Split what came from the server."""
        held = self._server
        held += data
        while held:
            if self.opaque:
                yield Piece(_take(held, len(held)))
            elif self._server_passing:
                piece = _take(held, self._server_passing)
                self._server_passing -= len(piece)
                yield Piece(piece, cycle=self._server_cycle)
            elif self._negotiating and held[0] in b"SGN":
                self._negotiating = False
                self.opaque = held[0] != ord("N")
                yield Piece(_take(held, 1))
            else:
                found = self._answer()
                if found is None:
                    return
                yield found

    def rest(self) -> tuple[bytes, bytes]:
        """What is held back from the client and from the server, when nothing more comes."""
        return bytes(self._client), bytes(self._server)

    def _opening(self) -> Piece | None:
        held = self._client
        if len(held) < _STARTUP_HEADER:
            return None
        length, code = int.from_bytes(held[:4], "big"), int.from_bytes(held[4:8], "big")
        if length < _STARTUP_HEADER or code == _CANCEL:
            self.opaque = True
            return Piece(_take(held, len(held)))
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
            return Piece(_take(held, len(held)))
        if letter in _READ and len(held) < min(total, _HEAD):
            return None
        sql = self._read(letter, bytes(held[_HEADER : min(total, _HEAD)]))
        piece = self._begin(total, chr(letter), sql)
        if letter in _CYCLE_ENDS:
            self._asked += 1
        return piece

    def _begin(self, total: int, message: str, sql: str | None) -> Piece:
        data = _take(self._client, total)
        self._client_passing = total - len(data)
        return Piece(data, message, sql, self._asked)

    def _answer(self) -> Piece | None:
        held = self._server
        if len(held) < _HEADER:
            return None
        letter, total = held[0], 1 + int.from_bytes(held[1:5], "big")
        if total < _HEADER:
            self.opaque = True
            return Piece(_take(held, len(held)))
        data = _take(held, total)
        self._server_passing = total - len(data)
        self._server_cycle = self._ready
        piece = Piece(data, chr(letter), None, self._ready)
        if letter == ord("Z"):
            self._ready += 1
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


def _take(held: bytearray, size: int) -> bytes:
    taken = bytes(held[:size])
    del held[:size]
    return taken
