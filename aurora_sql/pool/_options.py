"""The options of a pool, checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass

from aurora_sql.errors import ConfigurationError

__all__ = ["PoolOptions"]

_COUNTS = {"min_size": 0, "max_size": 1, "max_waiting": 0, "max_prepared": 1}
"""Whole numbers, with the least that makes sense."""

_LIMITS = (
    "acquire_timeout",
    "max_lifetime",
    "idle_timeout",
    "check_timeout",
    "reset_timeout",
    "disconnect_timeout",
    "cancel_grace",
    "connect_retry_base",
    "connect_retry_cap",
)
"""Seconds that must be above zero."""

_FINITE = (
    "check_timeout",
    "reset_timeout",
    "disconnect_timeout",
    "connect_retry_base",
    "connect_retry_cap",
)
"""Limits of the pool's own work: without an end, a dead peer would keep its place for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """How one pool behaves. All times are seconds.

    Attributes:
        min_size: Connections that the pool keeps open.
        max_size: Most connections that the pool opens.
        max_waiting: Callers that may wait for a connection that another caller holds; 0 means
            that nobody does. Callers for whom the pool still has room to open a connection do
            not count: they wait for the connect, which has a limit of its own.
        acquire_timeout: Longest wait for a connection.
        patient: While there is no connection and none can be opened, callers wait for better
            times. False: they get the connect's error at once, for they can go elsewhere.
        read_only: The instance is there for reads.
        max_lifetime: Age at which a connection is replaced; ``math.inf`` for never.
        lifetime_jitter: Part of ``max_lifetime``, 0 to 1, by which each connection's own limit
            is shortened at random, so that they are not all replaced at once.
        idle_timeout: Idling for so long, a connection above ``min_size`` is closed.
        check_after: Idling for so long, a connection is checked by a round trip before it is
            leased. 0 checks each time, ``math.inf`` never.
        max_prepared: Prepared statements kept per connection (read by the execution layer).
        close_timeout: How long closing the pool waits for leased connections.
        check_timeout: Limit for that check.
        reset_timeout: Limit for settling, rolling back and resetting a returned connection.
        disconnect_timeout: Limit for a polite good-bye; after it the connection is aborted.
        cancel_grace: How long after its deadline a cancelled call may take to come back before
            its connection is aborted.
        connect_retry_base: First pause after a failed connect; it doubles with each failure.
        connect_retry_cap: Longest such pause.

    Raises:
        ConfigurationError: A value that cannot work, by its name.
    """

    min_size: int = 10
    max_size: int = 100
    max_waiting: int = 1000
    acquire_timeout: float = 30.0
    patient: bool = True
    read_only: bool = False
    max_lifetime: float = 1800.0
    lifetime_jitter: float = 0.1
    idle_timeout: float = 600.0
    check_after: float = 30.0
    max_prepared: int = 256
    close_timeout: float = 10.0
    check_timeout: float = 5.0
    reset_timeout: float = 5.0
    disconnect_timeout: float = 1.0
    cancel_grace: float = 5.0
    connect_retry_base: float = 0.1
    connect_retry_cap: float = 2.0

    def __post_init__(self) -> None:
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigurationError(
                    f"pool option {name} must be a whole number of {least} or more, not {value!r}"
                )
        for name in _LIMITS:
            _check_seconds(name, getattr(self, name), above_zero=True)
        for name in _FINITE:
            if math.isinf(getattr(self, name)):
                raise ConfigurationError(f"pool option {name} must be finite")
        for name in ("check_after", "close_timeout"):
            _check_seconds(name, getattr(self, name), above_zero=False)
        _check_seconds("lifetime_jitter", self.lifetime_jitter, above_zero=False)
        if self.lifetime_jitter > 1:
            raise ConfigurationError(
                f"pool option lifetime_jitter is a part of max_lifetime from 0 to 1,"
                f" not {self.lifetime_jitter!r}"
            )
        if self.min_size > self.max_size:
            raise ConfigurationError(
                f"pool option min_size ({self.min_size}) is above max_size ({self.max_size})"
            )


def _check_seconds(name: str, value: object, *, above_zero: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ConfigurationError(f"pool option {name} must be a number of seconds, not {value!r}")
    if value < 0 or (above_zero and value == 0):
        least = "above 0" if above_zero else "0 or more"
        raise ConfigurationError(f"pool option {name} must be {least}, not {value!r}")
