"""The task that opens connections, one after the other, while the pool wants more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from typing import TYPE_CHECKING

from aurora_sql.errors import ConnectionFailed
from aurora_sql.pool import _decide

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aurora_sql.drivers.base import DriverConnection
    from aurora_sql.pool._options import PoolOptions

__all__ = ["Opener"]

_logger = logging.getLogger("aurora_sql.pool")


class Opener:
    """Opens connections in the background and paces the attempts after failures.

    One at a time: a crowd that connects at once is what a server in trouble needs least, and
    connections given back meanwhile often make the next one unnecessary.

    Attributes:
        opening: 1 while a connect is under way, else 0.
        failed: Attempts that failed so far.
        last_error: Why the last attempt failed; None after a success.
        retry_at: ``loop.time()`` before which no attempt is made.
        task: The task, None while no more connections are wanted.
    """

    __slots__ = (
        "_arrived",
        "_chance",
        "_connect",
        "_generation",
        "_in_a_row",
        "_options",
        "_refused",
        "_wanted",
        "_woken",
        "failed",
        "last_error",
        "name",
        "opening",
        "retry_at",
        "task",
    )

    def __init__(
        self,
        connect: Callable[[], Awaitable[DriverConnection]],
        options: PoolOptions,
        *,
        name: str,
        chance: Callable[[], float],
        wanted: Callable[[], bool],
        arrived: Callable[[DriverConnection, int], None],
        refused: Callable[[Exception | None], None],
    ) -> None:
        """Connect nothing yet.

        Args:
            connect: Opens one connection.
            options: The pool's.
            name: The pool's.
            chance: A random number from 0 to 1.
            wanted: Whether one more connection is wanted.
            arrived: Takes a new connection, and the generation in which its connect began.
            refused: Is told of each failure, and with None that the task has ended.
        """
        self._connect = connect
        self._options = options
        self.name = name
        self._chance = chance
        self._wanted = wanted
        self._arrived = arrived
        self._refused = refused
        self._generation = 0
        self._in_a_row = 0
        self._woken = asyncio.Event()
        self.opening = 0
        self.failed = 0
        self.last_error: Exception | None = None
        self.retry_at = -math.inf
        self.task: asyncio.Task[None] | None = None

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the task if it does not run and is wanted."""
        if self.task is None and self._wanted():
            self.task = loop.create_task(self._open(loop), name=f"pool {self.name}: open")
            self.task.add_done_callback(lambda done: self._ended(done, loop))

    def renew(self, generation: int) -> None:
        """Another target, or one that is back: earlier failures say nothing; it is tried at once.

        An attempt that is under way is cut short: it may be waiting for an answer from a machine
        that is gone, or that was when it was asked.
        """
        self._generation = generation
        self._forget_failures()
        self._woken.set()
        if self.opening and self.task is not None:
            self.task.cancel()  # another one starts when it has ended, if it is wanted

    def fail(self, error: Exception) -> None:
        """Count a failure that somebody else found: there is nobody to connect to."""
        self._fail(error, asyncio.get_running_loop().time())

    async def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._wanted():
            if loop.time() < self.retry_at:
                self._woken.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self.retry_at):
                        await self._woken.wait()
                continue
            generation = self._generation
            self.opening = 1
            try:
                driver = await self._connect_alive()
            except asyncio.CancelledError:
                self.opening = 0
                raise
            except Exception as exc:  # noqa: BLE001  any failure is told to those who wait
                self.opening = 0
                self._fail(exc, loop.time())
            else:
                self.opening = 0
                self._forget_failures()
                self._arrived(driver, generation)

    async def _connect_alive(self) -> DriverConnection:
        driver = await self._connect()
        if driver.is_closed:
            # Counted as a success it would be dropped and opened again without a pause.
            raise ConnectionFailed("the server closed the connection at once")
        return driver

    def _fail(self, error: Exception, now: float) -> None:
        self.failed += 1
        self._in_a_row += 1
        self.last_error = error
        pause = _decide.retry_pause(
            self._in_a_row,
            base=self._options.connect_retry_base,
            cap=self._options.connect_retry_cap,
            chance=self._chance(),
        )
        self.retry_at = now + pause
        # The first failure and then ever fewer of them: a server may be down for hours.
        rare = self._in_a_row & (self._in_a_row - 1) == 0
        _logger.log(
            logging.WARNING if rare else logging.DEBUG,
            "pool %r: connecting failed (%d in a row), next attempt in %.2f s: %s: %s",
            *(self.name, self._in_a_row, pause, type(error).__name__, error),
        )
        self._refused(error)

    def _forget_failures(self) -> None:
        self._in_a_row = 0
        self.last_error = None
        self.retry_at = -math.inf

    def _ended(self, task: asyncio.Task[None], loop: asyncio.AbstractEventLoop) -> None:
        # In a done callback: a task cancelled before its first step runs none of its own code.
        self.task = None
        self.opening = 0
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _logger.error("pool %r: opening connections broke", self.name, exc_info=error)
        self._refused(None)
        if error is None:
            # Someone may have begun to wait between the task's last look and this callback.
            self.run(loop)
