"""What the fault proxy knows of a protocol: where messages begin, and which they are.

No I/O. Every byte that is fed comes out again, in its order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Piece(NamedTuple):
    """Some bytes to pass on.

    Attributes:
        data: The bytes.
        message: The letter of the message that begins with them, empty where none does. The
            letters are those of PostgreSQL's protocol, whatever the engine.
        sql: The beginning of its SQL, None where it has none.
        cycle: How many answers were asked for, or have ended, before this message.
    """

    data: bytes
    message: str = ""
    sql: str | None = None
    cycle: int = 0


class Conversation(ABC):
    """Both directions of one connection.

    Attributes:
        opaque: The rest cannot be read: it is encrypted or compressed, or another protocol.
    """

    def __init__(self) -> None:
        self.opaque = False
        self._client = bytearray()
        self._server = bytearray()
        # What is left of a message that has begun; it passes as it comes.
        self._client_passing = 0
        self._server_passing = 0
        self._asked = 0
        self._answered = 0
        self._cycle = 0

    def from_client(self, data: bytes) -> Iterator[Piece]:
        """Split what came from the client; an unfinished header is held until the rest comes."""
        held = self._client
        held += data
        while held:
            if self.opaque:
                yield Piece(take(held, len(held)))
            elif self._client_passing:
                piece = take(held, self._client_passing)
                self._client_passing -= len(piece)
                yield Piece(piece)
            else:
                found = self._command()
                if found is None:
                    return
                yield found

    def from_server(self, data: bytes) -> Iterator[Piece]:
        """Split what came from the server."""
        held = self._server
        held += data
        while held:
            if self.opaque:
                yield Piece(take(held, len(held)))
            elif self._server_passing:
                piece = take(held, self._server_passing)
                self._server_passing -= len(piece)
                yield Piece(piece, cycle=self._cycle)
            else:
                found = self._answer()
                if found is None:
                    return
                yield found

    def rest(self) -> tuple[bytes, bytes]:
        """What is held back from the client and from the server, when nothing more comes."""
        return bytes(self._client), bytes(self._server)

    @abstractmethod
    def _command(self) -> Piece | None:
        """Take the beginning of the client's next message; None where too little is there."""

    @abstractmethod
    def _answer(self) -> Piece | None:
        """Take the beginning of the server's next message, and set ``_cycle`` to its answer's.

        None where too little of it is there.
        """

    def _begin_command(self, total: int) -> bytes:
        """Take what is there of a client's message of so many bytes; its rest passes unread."""
        data = take(self._client, total)
        self._client_passing = total - len(data)
        return data

    def _begin_answer(self, total: int) -> bytes:
        """As :meth:`_begin_command`, of a message of the server."""
        data = take(self._server, total)
        self._server_passing = total - len(data)
        return data


def take(held: bytearray, size: int) -> bytes:
    """Remove bytes from the beginning."""
    taken = bytes(held[:size])
    del held[:size]
    return taken
