"""What a :class:`~aurora_sql.local.FaultProxy` can do to connections, as plain data.

Faults that shape a connection: :class:`Latency`, :class:`Bandwidth`, :class:`Slices`,
:class:`ByteLimit`, :class:`SlowClose`, :class:`BlackHole`. Faults that end it: :class:`Reset`,
:class:`Close`, :class:`HalfClose`. For new connections alone: :class:`Unanswered`.

Moments at which a fault can wait to happen: :class:`Request` and :class:`Reply`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aurora_sql.errors import ConfigurationError

__all__ = [
    "Bandwidth",
    "BlackHole",
    "ByteLimit",
    "Close",
    "Connections",
    "Direction",
    "Fault",
    "HalfClose",
    "Latency",
    "Moment",
    "Reply",
    "Request",
    "Reset",
    "Slices",
    "SlowClose",
    "Unanswered",
]


class Direction(StrEnum):
    """Which way bytes go."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


class Connections(StrEnum):
    """Which connections a fault is for."""

    ALL = "all"
    OPEN = "open"
    """Those that are open when the fault is set."""
    NEW = "new"
    """Those that are made later, until the proxy is healed."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Bytes arrive later, in their order.

    Attributes:
        seconds: How much later.
        jitter: Up to so many seconds more, evenly at random.
        direction: Which way; None for both.
    """

    seconds: float
    jitter: float = 0.0
    direction: Direction | None = None

    def __post_init__(self) -> None:
        _not_negative("Latency", seconds=self.seconds, jitter=self.jitter)


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """No more than so many bytes go through in a second.

    Attributes:
        bytes_per_second: The rate, above 0.
        direction: Which way; None for both, each with that rate.
    """

    bytes_per_second: float
    direction: Direction | None = None

    def __post_init__(self) -> None:
        _above_zero("Bandwidth", bytes_per_second=self.bytes_per_second)


@dataclass(frozen=True, slots=True)
class Slices:
    """Bytes are passed on in pieces, each with a write to the socket of its own.

    Attributes:
        size: Bytes in a piece, at least 1.
        direction: Which way; None for both.
    """

    size: int = 1
    direction: Direction | None = None

    def __post_init__(self) -> None:
        _above_zero("Slices", size=self.size)


@dataclass(frozen=True, slots=True)
class SlowClose:
    """When one side closes, the other is told later.

    Attributes:
        seconds: How much later.
        direction: Which way the news goes; None for both.
    """

    seconds: float
    direction: Direction | None = None

    def __post_init__(self) -> None:
        _not_negative("SlowClose", seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class BlackHole:
    """Nothing goes through, the end of a connection included; the sockets stay open.

    A new connection is accepted and never answered; the server does not hear of it.

    Attributes:
        keep: Hold the bytes back and deliver them after healing, as TCP does by sending again.
            Otherwise they are lost, and healing resets each connection that lost some: nothing
            sensible could follow.
        direction: Which way; None for both.
    """

    keep: bool = False
    direction: Direction | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Both sides get a TCP reset; a new connection gets it right after it is made."""


@dataclass(frozen=True, slots=True)
class Close:
    """Both sides are told that the other has closed (FIN)."""


@dataclass(frozen=True, slots=True)
class HalfClose:
    """One side is told that the other will send no more; the other way stays open.

    Attributes:
        direction: Which way ends.
    """

    direction: Direction = Direction.TO_CLIENT


Ending = Reset | Close | HalfClose | BlackHole


@dataclass(frozen=True, slots=True)
class ByteLimit:
    """So many more bytes go through, then the connection ends.

    Attributes:
        size: How many, counted from when the fault is set; 0 or more.
        direction: Which way; None for both, each with that limit.
        then: What happens when the next byte would go.
    """

    size: int
    direction: Direction | None = None
    then: Ending = Reset()

    def __post_init__(self) -> None:
        _not_negative("ByteLimit", size=self.size)


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The system answers no attempt to connect: packets that open a connection vanish (Linux).

    Such an attempt succeeds if the proxy is healed before the client gives up.
    """


Fault = (
    Latency
    | Bandwidth
    | Slices
    | SlowClose
    | BlackHole
    | ByteLimit
    | Reset
    | Close
    | HalfClose
    | Unanswered
)

RUNNING: Final = "QE"
"""The messages of PostgreSQL's protocol that run something: Query and Execute."""
KINDS: Final = "QEPBDSCFHXdcf"


@dataclass(frozen=True, slots=True)
class Request:
    """When the client sends such a message, before any byte of it is passed on.

    A fault that ends the connection so drops the request: the server never sees it.

    Attributes:
        sql: Regular expression for the beginning of the SQL, in upper or lower case; empty for
            any. For Bind, Describe and Execute it is the SQL that was prepared.
        message: The letter of the message in PostgreSQL's protocol; empty for those that run
            something, Query and Execute. On MySQL ``Q`` is COM_QUERY, ``P`` COM_STMT_PREPARE, ``E``
            COM_STMT_EXECUTE and COM_STMT_FETCH, ``C`` COM_STMT_CLOSE and ``X`` COM_QUIT.
    """

    sql: str = ""
    message: str = ""

    def __post_init__(self) -> None:
        _check_moment(self.sql, self.message)

    def matches(self, message: str, sql: str | None) -> bool:
        """Whether a message with this letter and SQL is meant."""
        return _matches(self.sql, self.message, message, sql)


@dataclass(frozen=True, slots=True)
class Reply:
    """When the server has answered such a message, before any byte of the answer is passed on.

    A fault that ends the connection so drops the reply: the server has done its work, and the
    client never hears of it. Any other fault takes effect from the answer's first byte.

    Attributes:
        sql: As for :class:`Request`.
        message: As for :class:`Request`.
    """

    sql: str = ""
    message: str = ""

    def __post_init__(self) -> None:
        _check_moment(self.sql, self.message)

    def matches(self, message: str, sql: str | None) -> bool:
        """Whether the answer to a message with this letter and SQL is meant."""
        return _matches(self.sql, self.message, message, sql)


Moment = Request | Reply


def _matches(pattern: str, letter: str, message: str, sql: str | None) -> bool:
    if message not in (letter or RUNNING):
        return False
    if not pattern:
        return True
    return sql is not None and re.match(pattern, sql.lstrip(), re.IGNORECASE) is not None


def _check_moment(sql: str, message: str) -> None:
    try:
        re.compile(sql)
    except re.error as error:
        raise ConfigurationError(f"sql={sql!r}: no regular expression: {error}") from error
    if message and (len(message) != 1 or message not in KINDS):
        raise ConfigurationError(
            f"message={message!r}: must be one letter of a message that clients send: {KINDS}"
        )


def _not_negative(fault: str, **values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < float("inf"):
            raise ConfigurationError(f"{fault}: {name}={value!r}: must be 0 or more")


def _above_zero(fault: str, **values: float) -> None:
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ConfigurationError(f"{fault}: {name}={value!r}: must be above 0")
