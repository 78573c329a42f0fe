"""The kinds of values that settings have, and how their spellings are read.

Every function here takes what a source gave and returns the value, or raises ``ValueError``
with a message that says what is allowed. The message never repeats a text that may hold a
password (a whole URL given where a host belongs).
"""

from __future__ import annotations

import ipaddress
import math
import re
from enum import Enum, StrEnum
from typing import Final, TypeVar

from aurora_sql.types import Engine

Address = tuple[str, int]

LONGEST_DURATION: Final = 2_147_483.0
"""Seconds; what a server limit in milliseconds can hold in 32 bits (24.8 days)."""

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>[a-z]*)", re.ASCII)
# The constant format of .NET's TimeSpan: [d.]hh:mm:ss[.fffffff]
_TIMESPAN: Final = re.compile(
    r"(?:(?P<days>\d{1,8})\.)?(?P<hours>\d{1,2}):(?P<minutes>\d{2}):(?P<seconds>\d{2}(?:\.\d{1,7})?)",
    re.ASCII,
)
_HOST: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?", re.ASCII | re.IGNORECASE)
_WEIGHT: Final = re.compile(r"\d{1,6}(?:\.\d{1,6})?", re.ASCII)
_LONGEST_HOST: Final = 253
_LONGEST_LABEL: Final = 63
_LAST_PORT: Final = 65535


class SslMode(StrEnum):
    """How the connection is protected; the meaning of each is libpq's.

    ``require`` with an ``ssl_root_cert`` verifies the chain, as ``verify-ca`` does.
    """

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class ReaderSelection(StrEnum):
    """How a reader is picked for a read."""

    LEAST_LOADED = "least_loaded"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    FASTEST = "fastest"
    WEIGHTED = "weighted"


class TopologyMode(StrEnum):
    """Where the list of instances comes from."""

    AUTO = "auto"
    AURORA = "aurora"
    STATIC = "static"


class MysqlDriver(StrEnum):
    """Which driver speaks to MySQL."""

    AUTO = "auto"
    AIOMYSQL = "aiomysql"
    ASYNCMY = "asyncmy"


DEFAULT_PORTS: Final = {Engine.POSTGRESQL: 5432, Engine.MYSQL: 3306}

E = TypeVar("E", bound=Enum)

_ENGINE_NAMES: Final = {
    "postgres": Engine.POSTGRESQL,
    "aurorapostgresql": Engine.POSTGRESQL,
    "auroramysql": Engine.MYSQL,
}


def fold(name: object) -> str:
    """Return a name without what spellings differ in: case, ``-``, ``_`` and spaces."""
    return re.sub(r"[-_ ]", "", str(name)).lower()


def choice(value: object, kind: type[E]) -> E:
    """Read one of an enumeration's values, in any of its spellings (``VerifyFull``)."""
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        for member in kind:
            if fold(member.value) == fold(value):
                return member
    allowed = ", ".join(str(member.value) for member in kind)
    raise ValueError(f"must be one of {allowed}")


def engine_name(value: object) -> Engine:
    """Read the engine; Aurora's own names (``aurora-postgresql``) are understood too."""
    known = _ENGINE_NAMES.get(fold(value)) if isinstance(value, str) else None
    return known or choice(value, Engine)


def duration(value: object) -> float:
    """Read a duration and return seconds.

    A number counts seconds; a text is a number with a unit (``500ms``, ``30s``, ``2m``, ``1h``,
    ``1d``; none means seconds) or .NET's ``00:00:30``.
    """
    allowed = 'must be seconds (30) or a text such as "500ms", "30s", "2m" or "00:00:30"'
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(allowed)  # noqa: TRY004 - pydantic turns only ValueError into a problem
    if isinstance(value, str):
        seconds = _duration_text(value.strip().lower())
        if seconds is None:
            raise ValueError(allowed)
    else:
        # An int too large for a float must not end in OverflowError.
        seconds = float(value) if abs(value) <= LONGEST_DURATION else math.inf
    if math.isnan(seconds) or seconds <= 0:
        raise ValueError("must be more than 0 seconds")
    if seconds > LONGEST_DURATION:
        raise ValueError(f"must be at most {LONGEST_DURATION:.0f} seconds")
    return seconds


def _duration_text(text: str) -> float | None:
    if match := _TIMESPAN.fullmatch(text):
        hours, minutes, rest = int(match["hours"]), int(match["minutes"]), float(match["seconds"])
        if hours > 23 or minutes > 59 or rest >= 60:  # noqa: PLR2004 - the clock's own limits
            return None
        return int(match["days"] or 0) * 86400.0 + hours * 3600.0 + minutes * 60.0 + rest
    if (match := _DURATION.fullmatch(text)) and (match["unit"] or "s") in _UNITS:
        return float(match["number"]) * _UNITS[match["unit"] or "s"]
    return None


def whole_number(value: object) -> object:
    """Refuse true and false, which would count as 1 and 0; the rest is pydantic's to read."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number, not true or false")  # noqa: TRY004 - as above
    return value


def address(text: str, default_port: int) -> Address:
    """Read ``host``, ``host:port``, ``[IPv6]``, ``[IPv6]:port`` or the path of a socket folder."""
    text = text.strip()
    if "://" in text or "@" in text:
        raise ValueError("must be host or host:port, not a URL (AuroraSettings.from_url reads one)")
    if text.startswith("/"):
        return _socket_address(text, default_port)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not _is_ip(host, 6):
            raise ValueError(f"must hold an IPv6 address between the brackets, not {text!r}")
        if rest and not rest.startswith(":"):
            raise ValueError(f"must have :port or nothing after the brackets, not {text!r}")
        return host, _port(rest[1:], text) if rest else default_port
    if text.count(":") > 1:
        example = f"[{text}]" if _is_ip(text, 6) else "[::1]:5432"
        raise ValueError(f"must have an IPv6 address in brackets, such as {example}, not {text!r}")
    host, colon, port = text.partition(":")
    labels = host.removesuffix(".").split(".")
    if len(host) > _LONGEST_HOST or not all(
        len(label) <= _LONGEST_LABEL and _HOST.fullmatch(label) for label in labels
    ):
        raise ValueError(f"must be host or host:port, not {text!r}")
    if all(label.isdigit() for label in labels) and not _is_ip(host, 4):
        raise ValueError(f"must be a whole IPv4 address or a host name, not {text!r}")
    return host, _port(port, text) if colon else default_port


def addresses(text: str, default_port: int) -> tuple[Address, ...]:
    """Read one or several addresses, separated by commas; none may stand twice."""
    found: list[Address] = []
    for part in text.split(","):
        if not part.strip():
            raise ValueError("must have a host between its commas")
        one = address(part, default_port)
        if one in found:
            raise ValueError(f"names {format_address(one)} twice")
        found.append(one)
    return tuple(found)


def format_address(value: Address) -> str:
    """Write an address so that :func:`address` reads it back."""
    host, port = value
    return f"[{host}]:{port}" if ":" in host and not host.startswith("/") else f"{host}:{port}"


def instance_addresses(text: str, default_port: int) -> dict[str, Address]:
    """Read where instances are: ``?.db.example.com:5432``, ``id=host:port``, or several of these.

    Returns:
        Addresses by identifier. Under ``?`` stands the pattern for all others, where there is
        one: its host has a ``?`` where the identifier goes.
    """
    found: dict[str, Address] = {}
    for part in text.split(","):
        name, equals, place = part.partition("=")
        name = name.strip() if equals else "?"
        if not equals:
            if part.count("?") != 1:
                raise ValueError(
                    f"must hold id=host:port, or a host with one '?' where the identifier of an"
                    f" instance goes, not {part.strip()!r}"
                )
            place = part.replace("?", "x")
        elif not name or "?" in part:
            raise ValueError(f"must hold id=host:port, not {part.strip()!r}")
        if name in found:
            raise ValueError(f"says twice where {'all' if name == '?' else name} can be found")
        host, port = address(place, default_port)
        found[name] = (host if equals else part.strip().partition(":")[0], port)
    return found


def instance_weights(text: str) -> dict[str, float]:
    """Read ``id=weight`` pairs, separated by commas; a weight is 0 or more."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.strip().rpartition("=")
        weight = float(number) if _WEIGHT.fullmatch(number.strip()) else -1.0
        if not name.strip() or weight < 0:
            raise ValueError(f"must hold id=weight with numbers of 0 or more, not {part.strip()!r}")
        if name.strip() in found:
            raise ValueError(f"weighs {name.strip()} twice")
        found[name.strip()] = weight
    if not any(found.values()):
        raise ValueError("must give somebody a weight above 0")
    return found


def is_socket(host: str) -> bool:
    """Whether the host is the folder of a Unix socket."""
    return host.startswith("/")


def is_loopback(host: str) -> bool:
    """Whether the host can only be this machine: ``localhost``, 127.0.0.0/8, ``::1``."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().removesuffix(".")
        return name == "localhost" or name.endswith(".localhost")
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _socket_address(text: str, default_port: int) -> Address:
    folder, colon, port = text.rpartition(":")
    if colon and port.isdigit():
        return folder, _port(port, text)
    return text, default_port


def _port(text: str, whole: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5:  # noqa: PLR2004 - digits of 65535
        port = int(text)
        if 0 < port <= _LAST_PORT:
            return port
    raise ValueError(f"must have a port from 1 to {_LAST_PORT}, not {whole!r}")


def _is_ip(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False
