"""The pool's decisions, as plain functions on plain numbers."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

from aurora_sql.errors import AuthenticationFailed, DatabaseError, OperationalError, TlsError
from aurora_sql.pool._pooled import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aurora_sql.pool._options import PoolOptions
    from aurora_sql.pool._pooled import Pooled
    from aurora_sql.types import PoolStats

__all__ = [
    "copy_error",
    "full_text",
    "may_heal",
    "retry_pause",
    "room_for_waiter",
    "upkeep",
    "wants_more",
]

_UPKEEP_GAP = 0.05
"""Seconds between two looks at the idle connections at least."""

_LOOK_AGAIN = 1.0
"""Seconds until a connection that outlived its time while leased is looked at again."""


def wants_more(
    *, size: int, min_size: int, max_size: int, waiting: int, coming: int, closing: bool
) -> bool:
    """Whether the pool should open one more connection.

    Args:
        size: Connections that exist, those being opened or closed included: the server counts
            them too.
        min_size: The floor.
        max_size: The ceiling.
        waiting: Callers that wait.
        coming: Connections that will be handed over within a round trip.
        closing: The pool is being closed.
    """
    return not closing and size < max_size and (size < min_size or waiting > coming)


def room_for_waiter(*, waiting: int, in_use: int, max_size: int, max_waiting: int) -> bool:
    """Whether one more caller may wait.

    The first callers, as many as the pool can serve without anybody giving a connection back,
    wait for a connect and not for each other: ``max_waiting`` bounds those beyond them.
    """
    return waiting < max_waiting + max_size - in_use


def may_heal(error: BaseException) -> bool:
    """Whether a failed connect may succeed later with nothing changed on our side.

    A refused connection, a server that starts up or has no connection left may heal. A wrong
    password, a certificate that does not fit, an unknown database or a programming error in the
    connect do not, and nobody should have to wait 30 seconds to be told.
    """
    if isinstance(error, AuthenticationFailed | TlsError):
        return False
    if isinstance(error, DatabaseError):
        return error.retry_safe
    return isinstance(error, OperationalError | OSError)  # TimeoutError is an OSError


def retry_pause(failures: int, *, base: float, cap: float, chance: float) -> float:
    """Seconds to pause after so many failures in a row.

    Args:
        failures: From 1.
        base: The first pause.
        cap: The longest.
        chance: A random number from 0 to 1; the pause lies between half of the full one and the
            full one, so that many processes do not knock together and none knocks at once.
    """
    doublings = min(failures - 1, 30)  # beyond it the power would only overflow
    return float(min(cap, base * 2**doublings) * (0.5 + chance / 2))


def copy_error(error: Exception) -> Exception:
    """A copy to raise in one of several tasks, caused by the original.

    One object raised in many tasks would collect the tracebacks of all of them.
    """
    try:
        clone = copy.copy(error)
    except Exception:  # noqa: BLE001  a foreign error may not be copyable; the original will do
        return error
    clone.__cause__ = error
    return clone


def full_text(name: str, waited: float, stats: PoolStats, error: Exception | None) -> str:
    """What a caller is told whose time has run out."""
    text = (
        f"no connection of pool {name!r} came free within {waited:.3g} s"
        f" ({stats.in_use} of {stats.max_size} in use, {stats.opening} opening,"
        f" {stats.returning} returning, {stats.waiting} waiting)"
    )
    if error is not None:
        return f"{text}; connecting fails: {error}. Check that the server can be reached"
    return f"{text}; hold connections for less time, or raise max_pool_size"


def upkeep(
    everything: Iterable[Pooled], idle: Sequence[Pooled], options: PoolOptions, now: float
) -> tuple[list[Pooled], float]:
    """Which idle connections to close, and when to look again.

    Args:
        everything: All connections of the pool.
        idle: The idle ones of them, the bottom of the stack, which idles longest, first.
        options: The pool's.
        now: ``loop.time()``.
    """
    staying = [pooled for pooled in everything if pooled.state is not State.CLOSING]
    surplus = len(staying) - options.min_size
    leaving = []
    for pooled in idle:
        too_many = surplus > 0 and pooled.leased_at + options.idle_timeout <= now
        if too_many or pooled.expires_at <= now or pooled.driver.is_closed:
            leaving.append(pooled)
            surplus -= 1
    following = math.inf
    for pooled in staying:
        if pooled in leaving:
            continue
        is_idle = pooled.state is State.IDLE
        following = min(
            following, pooled.expires_at if is_idle else max(pooled.expires_at, now + _LOOK_AGAIN)
        )
        if surplus > 0:
            following = min(
                following, (pooled.leased_at if is_idle else now) + options.idle_timeout
            )
    return leaving, max(following, now + _UPKEEP_GAP)
