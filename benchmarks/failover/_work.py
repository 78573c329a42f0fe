"""One unit of work, and the retry loop that people write around it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_T = TypeVar("_T")

COUNT_UP = "UPDATE counters SET value = value + 1 WHERE id = {id}"
ADD = "INSERT INTO ledger (id, caller) VALUES ({id}, {caller})"
COUNT = "SELECT count(*) FROM counters"
COUNTERS = 8

_PAUSE = 0.05
"""Seconds between two attempts."""


class InDoubt(Exception):
    """COMMIT was sent and not answered: nobody knows, so it is not done again."""


class Subject(Protocol):
    """What is measured. Each call keeps to the deadline of the run."""

    async def write(self, number: int, caller: int) -> None:
        """Do one unit of work: count up a counter and add a row with the number.

        Raises:
            InDoubt: It may be done or not.
            Exception: It is not done.
        """
        ...

    async def read(self, caller: int) -> None:
        """Read from a reader."""
        ...


class Attempt:
    """Where an attempt is.

    Attributes:
        committing: COMMIT may have been sent; from here on nothing is tried again.
    """

    committing = False


async def retried(
    attempt: Callable[[Attempt], Awaitable[_T]],
    lost: tuple[type[Exception], ...],
    deadline: float,
) -> _T:
    """Try again after each error that says that the connection was lost, until the deadline.

    Args:
        attempt: Does the whole unit of work on a connection that it gets for itself.
        lost: Errors after which it is tried again.
        deadline: Seconds.

    Raises:
        InDoubt: COMMIT was sent and not answered.
    """
    state = Attempt()
    try:
        async with asyncio.timeout(deadline):
            while True:
                try:
                    return await attempt(state)
                except lost:
                    if state.committing:
                        raise
                await asyncio.sleep(_PAUSE)
    except Exception as error:
        if state.committing:
            raise InDoubt from error
        raise
