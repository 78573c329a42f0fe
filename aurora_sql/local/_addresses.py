"""Where endpoints and instances listen."""

from __future__ import annotations

import errno
import random
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

Address = tuple[str, int]
"""Host and port."""

_FIRST_PORT, _LAST_PORT = 20_000, 32_000
"""Below the range that the system takes for outgoing connections, on Linux and macOS alike."""
_ATTEMPTS = 200


@dataclass(frozen=True, slots=True)
class Addresses:
    """One address for each of the cluster's endpoints and instances."""

    writer_endpoint: Address
    reader_endpoint: Address
    instances: tuple[Address, ...]


def choose(instances: int, port: int | None = None) -> Addresses:
    """Choose addresses that nobody listens on.

    As in Aurora each endpoint and each instance is a host of its own and all share one port.
    Where the machine has only one loopback address (macOS), they get consecutive ports instead.

    Args:
        instances: How many instances there are.
        port: The port of the writer endpoint; None for any that is free.

    Raises:
        ConfigurationError: ``port`` is taken, or nothing is free.
    """
    hosts = ["127.0.0.1"] * (instances + 2)
    spread = _can_bind("127.0.0.2", 0)
    if spread:
        hosts[1:] = ["127.0.0.2", *(f"127.0.0.{11 + number}" for number in range(instances))]
    if port is not None:
        found = _with_ports(hosts, port, spread=spread)
        taken = next((address for address in found if not _can_bind(*address)), None)
        if taken is not None:
            raise ConfigurationError(
                f"port {port}: something listens on {taken[0]}:{taken[1]} already; choose another"
            )
        return _named(found)
    for _ in range(_ATTEMPTS):
        start = random.randint(_FIRST_PORT, _LAST_PORT)  # noqa: S311 - no secret
        found = _with_ports(hosts, start, spread=spread)
        if all(_can_bind(*address) for address in found):
            return _named(found)
    raise ConfigurationError(
        f"no free port between {_FIRST_PORT} and {_LAST_PORT} on the loopback addresses"
    )


def expected(number: int, used: Sequence[Address]) -> Address | None:
    """Where an instance will listen unless something else does already.

    Args:
        number: The instance's, from 1.
        used: Addresses of the others.

    Returns:
        None where the machine has only one loopback address: then any port that is free.
    """
    return (f"127.0.0.{10 + number}", used[0][1]) if _can_bind("127.0.0.2", 0) else None


def choose_one(number: int, used: Sequence[Address]) -> Address:
    """Choose an address for one more instance, like those of the others where that is free.

    Args:
        number: The instance's number, from 1.
        used: The addresses of the other instances.

    Raises:
        ConfigurationError: Nothing is free.
    """
    host, port = expected(number, used) or used[0]
    if (host, port) not in used and _can_bind(host, port):
        return host, port
    # Those of the others that do not run at the moment are not free either.
    return choose_any(host, used)


def choose_any(host: str, used: Sequence[Address] = ()) -> Address:
    """Choose any port of a host that nobody listens on.

    Args:
        host: The host.
        used: Addresses to leave alone.

    Raises:
        ConfigurationError: Nothing is free.
    """
    for _ in range(_ATTEMPTS):
        port = random.randint(_FIRST_PORT, _LAST_PORT)  # noqa: S311 - no secret
        if (host, port) not in used and _can_bind(host, port):
            return host, port
    raise ConfigurationError(f"no free port between {_FIRST_PORT} and {_LAST_PORT} on {host}")


def _with_ports(hosts: list[str], start: int, *, spread: bool) -> list[Address]:
    return [(host, start if spread else start + place) for place, host in enumerate(hosts)]


def _named(found: list[Address]) -> Addresses:
    return Addresses(found[0], found[1], tuple(found[2:]))


def _can_bind(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections of an earlier cluster in TIME_WAIT do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Two sockets may be bound with that option; only one of them can listen.
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise ConfigurationError(f"port {port}: this user may not listen on it") from error
            return False
    return True
