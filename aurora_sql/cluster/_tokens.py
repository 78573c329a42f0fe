"""Tokens of sessions, and which reader is good enough for one: decided here, without any I/O.

A position is a place in the writer's log: in the bytes of PostgreSQL's timeline, or in the numbered
transactions of one history of MySQL's. A reader that has replayed a position shows everything that
was committed before it. What a session has been shown is a position (its floor) and at most
one server that it has looked at since: how far that server was when it answered is not known, but
the same server never goes back. To go to any other one takes a new position of the writer, read
after the last look, which covers all that any server can have shown.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import Final, TypeAlias

from aurora_sql.errors import ParameterError

_VERSION: Final = 1
_LAYOUT: Final = struct.Struct("!B8sIQ8s")
"""Version, cluster, epoch, position (0 for none), server looked at."""

_MAC_SIZE: Final = sha256().digest_size
_ID_SIZE: Final = 8
NOBODY: Final = bytes(_ID_SIZE)
WRITER: Final = b"\xff" * _ID_SIZE
"""Stands for the writer, whichever it is, among the identifiers of servers."""

NO_CLUSTER: Final = bytes(_ID_SIZE)

_ADVICE: Final = "leave the token out, and the session starts with nothing to wait for"


Progress: TypeAlias = Mapping[int, int]
"""How far a server has come, by epoch."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the writer's log.

    Attributes:
        epoch: The timeline, which rises with each failover, or what stands for a history of
            transactions; 0 where servers have none.
        lsn: Bytes since the beginning of the log, or transactions since that of the history.
        covers: Where histories do not follow each other by number, how far the writer has come in
            each of them; None where the epochs tell.
    """

    epoch: int
    lsn: int
    covers: Progress | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a session has been shown.

    Attributes:
        floor: A reader must have replayed this; None for no bound.
        by: The server that was looked at since: ``NOBODY``, ``WRITER`` or a reader's identifier.
    """

    floor: Position | None = None
    by: bytes = NOBODY

    def after(self, server: bytes) -> Seen:
        """What was seen once a server was looked at, or written to, as well."""
        if self.by in (server, NOBODY):
            return Seen(self.floor, server)
        return Seen(self.floor, WRITER)  # of two servers, a position of the writer covers both

    def settled(self, position: Position) -> Seen:
        """The same, by a position that the writer gave after the last look.

        One of an older epoch comes from a server that has not noticed that it is the writer no
        more: it settles nothing. One of a later epoch replaces the floor: what of the old epoch
        still exists lies before it.
        """
        floor = self.floor
        if floor is not None:
            if position.epoch == floor.epoch:
                position = max(position, floor)
            elif position.covers is not None:
                if position.covers.get(floor.epoch, 0) < floor.lsn:
                    return self
            elif 0 < position.epoch < floor.epoch:
                return self
        return Seen(position)

    def is_shown_by(self, server: bytes, replayed: Progress | None) -> bool:
        """Whether a server shows at least this.

        Args:
            server: Its identifier.
            replayed: What it is known to have replayed.
        """
        if self.by not in (server, NOBODY):
            return False
        if self.floor is None:
            return True
        return replayed is not None and replayed.get(self.floor.epoch, -1) >= self.floor.lsn

    def may_be_shown_by(self, replayed: Progress | None) -> bool:
        """Whether a server that has replayed so much may come to show it: epochs do not mix."""
        return self.floor is None or replayed is None or self.floor.epoch in replayed


class Replica:
    """One running reader, and how far it is known to have come.

    Attributes:
        id: Tells it from all other servers; a restart makes another one of it.
        pool: Name of the pool through which it was met last.
        replayed: It has replayed at least this; None while nobody has asked.
    """

    __slots__ = ("__weakref__", "id", "pool", "replayed")

    def __init__(self, identifier: bytes) -> None:
        self.id = identifier
        self.pool = ""
        self.replayed: Progress | None = None

    def learn(self, progress: Progress, *, side_by_side: bool) -> None:
        """Take note of an answer. They may overtake each other; a server never goes back.

        Args:
            progress: The answer.
            side_by_side: Epochs are histories beside each other; else only the latest counts.
        """
        known = dict(self.replayed or {})
        for epoch, lsn in progress.items():
            known[epoch] = max(known.get(epoch, 0), lsn)
        if not side_by_side:
            latest = max(known)
            known = {latest: known[latest]}
        self.replayed = known

    def __repr__(self) -> str:
        return f"<Replica {self.id.hex()} at {self.replayed}>"


def identifier(*facts: object) -> bytes:
    """Return a short identifier for what the facts describe; none with a meaning of its own."""
    return b"\1" + sha256("\0".join(map(str, facts)).encode()).digest()[: _ID_SIZE - 1]


class Signer:
    """Makes tokens and reads them.

    Args:
        secret: The key that all processes share; None for one that this process alone knows.
    """

    def __init__(self, secret: str | None) -> None:
        self._shared = secret is not None
        # Of the environment, bytes that are no text come as surrogates.
        self._key = process_key() if secret is None else secret.encode(errors="surrogatepass")

    def sign(self, cluster: bytes, seen: Seen) -> str:
        """Return the token for what a session of a cluster has seen."""
        floor = seen.floor or Position(0, 0)
        if seen.floor is None and seen.by in (NOBODY, WRITER):
            cluster = NO_CLUSTER  # it says nothing that another cluster could get wrong
        body = _LAYOUT.pack(_VERSION, cluster, floor.epoch, floor.lsn, seen.by)
        return _text(body + self._mac(body))

    def read(self, token: str) -> tuple[bytes, Seen]:
        """Return the cluster that a token is from (``NO_CLUSTER`` for any), and what was seen.

        Raises:
            ParameterError: It is no token, or was signed with another key.
        """
        if not isinstance(token, str):
            raise ParameterError(
                f"token must be the text of a session's token, not {type(token).__name__}"
            )
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            data = b""
        body, mac = data[:-_MAC_SIZE], data[-_MAC_SIZE:]
        # Of all texts that decode to these bytes, only the one that was handed out counts.
        if not body or token != _text(data):
            raise ParameterError(f"this is not a session's token, or not all of it: {_ADVICE}")
        if not hmac.compare_digest(mac, self._mac(body)):
            cause = (
                "give all processes the same token_secret"
                if self._shared
                else "set token_secret, the same in all processes that hand tokens to each other;"
                " without it each process accepts its own only"
            )
            raise ParameterError(
                f"this token was not signed by this process's key, or was changed: {cause}. For a"
                f" token that came from outside: {_ADVICE}"
            )
        if body[0] != _VERSION:
            raise ParameterError(
                f"this token has format {body[0]}, and this version of aurora_sql reads format"
                f" {_VERSION}: {_ADVICE}"
            )
        _, cluster, epoch, lsn, by = _LAYOUT.unpack(body)
        return cluster, Seen(Position(epoch, lsn) if lsn else None, by)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, b"aurora_sql session token\0" + body, "sha256")

    def __repr__(self) -> str:
        return f"<Signer with {'the shared' if self._shared else 'its own'} key>"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@cache
def process_key() -> bytes:
    """Return the key of this process, made when it is first needed."""
    return secrets.token_bytes(32)


def of_another_cluster() -> ParameterError:
    """Return the error for a token of another cluster."""
    return ParameterError(
        "this token is of another cluster: its position means nothing here. Hand tokens only to"
        f" services on the same cluster; otherwise {_ADVICE}"
    )
