"""The library as a subject: through its public interface only."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aurora_sql import Aurora
from aurora_sql.types import Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aurora_sql.settings import AuroraSettings
    from aurora_sql.statements import StatementRegistry
    from aurora_sql.types import PoolStats
    from benchmarks._target import Target
    from benchmarks._work import Work

_OPENING = 60.0
_LOOK_AGAIN = 0.01


def pool_settings(settings: AuroraSettings, role: Role, callers: int) -> AuroraSettings:
    """Settings with as many connections in the pools of a role as there are callers."""
    readers = len(settings.reader_addresses())
    size = -(-callers // readers) if role is Role.READER and readers else callers
    changes: dict[str, object] = {"max_pool_size": size, "min_pool_size": size}
    if role is Role.WRITER:
        # Connections to readers that nobody uses would only take the servers' memory.
        changes["enable_read_replicas"] = False
    return settings.replace(changes)


def _is_opening(pool: PoolStats) -> bool:
    return pool.size - pool.opening < pool.min_size


class Library:
    """aurora_sql with its statements, its pools and its rows."""

    def __init__(
        self, name: str, target: Target, registry: StatementRegistry, work: Work, callers: int
    ) -> None:
        self.name = name
        self.work = work
        self._settings = pool_settings(target.settings, work.role, callers)
        self._registry = registry
        self._callers = callers
        self._stack = AsyncExitStack()
        self._db: Aurora | None = None

    async def open(self) -> None:
        """Open the pools with all their connections, as the other subjects do.

        Those that are still being opened would take the processor from the calls.
        """
        self._db = await self._stack.enter_async_context(Aurora(self._settings, sql=self._registry))
        async with asyncio.timeout(_OPENING):
            while any(_is_opening(one) for one in self._db.pool_stats().values()):  # noqa: ASYNC110 - the pools tell nobody
                await asyncio.sleep(_LOOK_AGAIN)

    async def close(self) -> None:
        """Close them."""
        self._db = None
        await self._stack.aclose()

    async def calls(self) -> list[Callable[[Any], Awaitable[Any]]]:
        """Return the work of each caller: the same, as callers of the library share it."""
        if self._db is None:
            raise RuntimeError(f"{self.name} is not open")
        return [self.work.ours(self._db)] * self._callers
