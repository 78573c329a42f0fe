"""What peers have in common: pools sized as the library's, and values in a form of their own."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks._sides import Call
    from benchmarks._target import Target
    from benchmarks._work import Floor, Work

APPLICATION = "aurora_sql benchmark peer"
_CLOSE_LIMIT = 2.0
_POSITION = re.compile(r"\$(\d+)")


class Peer(ABC):
    """A subject with a pool for each server, with as many connections in all as callers.

    Args:
        target: Servers.
        work: What to run; the subject takes the values in the form that :meth:`adapted` gives them.
        callers: How many share the pools.
    """

    name: str

    def __init__(self, target: Target, work: Work, callers: int) -> None:
        self.target = target
        self.work = self.adapted(work)
        self.callers = callers
        self.pools: list[Any] = []

    def adapted(self, work: Work) -> Work:
        """The work with its values as this peer takes them: converted before, not in, the calls."""
        return work

    def plain(self, answer: Any) -> Any:
        """An answer as lists of plain values, in the order of the library's columns."""
        return [list(one) for one in answer] if isinstance(answer, list) else list(answer)

    async def open(self) -> None:
        """Open the pools with all their connections, as far as the peer can."""
        options = self.target.options(self.work.role)
        for number, one in enumerate(options):
            size = len(range(number, self.callers, len(options)))
            if size:
                self.pools.append(await self.open_pool(one, size))

    async def close(self) -> None:
        """Close the pools."""
        pools, self.pools = self.pools, []
        for pool in pools:
            # A measurement that failed may have left a connection in the middle of a command; the
            # errors of foreign pools have no common base.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_LIMIT):
                    await self.close_pool(pool)

    async def calls(self) -> list[Call]:
        """Return the work of each caller; callers are spread evenly over the servers."""
        works = [await self.work.on(self.floor(pool)) for pool in self.pools]
        return [works[number % len(works)] for number in range(self.callers)]

    @abstractmethod
    async def open_pool(self, options: dict[str, Any], size: int) -> Any:
        """Open a pool at one server."""

    @abstractmethod
    async def close_pool(self, pool: Any) -> None:
        """Close it."""

    @abstractmethod
    def floor(self, pool: Any) -> Floor[Call]:
        """What makes the calls on a pool."""


def with_values(work: Work, convert: Callable[[Any], Any]) -> Work:
    """The same work with other values."""
    other = copy.copy(work)
    other.values = [convert(value) for value in work.values]
    return other


def named(sql: str) -> str:
    """A text with ``:p1`` for each ``$1``, or for each ``?`` in turn."""
    if "?" in sql:
        parts = sql.split("?")
        return "".join(
            part if number == 0 else f":p{number}{part}" for number, part in enumerate(parts)
        )
    return _POSITION.sub(r":p\1", sql)


def by_name(args: Sequence[Any]) -> dict[str, Any]:
    """Parameters for a text that :func:`named` made."""
    return {f"p{number}": value for number, value in enumerate(args, 1)}
