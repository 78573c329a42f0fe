"""Start and stop of what lives in a thread of its own, for callers with and without a loop."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from aurora_sql.errors import UsageError
from aurora_sql.local._background import Background

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self


class Lifecycle(ABC):
    """``async with``, ``with``, or :meth:`start` and :meth:`stop`; again and again.

    Args:
        what: What it is, for messages and the thread's name.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._background: Background | None = None

    @abstractmethod
    async def _live(self, ready: Callable[[], None]) -> None:
        """Start, call ``ready``, serve until cancelled, clean up."""

    async def __aenter__(self) -> Self:
        background = self._launch()
        started = asyncio.wrap_future(background.started)
        # A caller that is cancelled does not come back to take the error: take it for him.
        started.add_done_callback(lambda future: future.cancelled() or future.exception())
        try:
            await asyncio.shield(started)
        except BaseException:
            await self._finish(background)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._background is not None:
            await self._finish(self._background)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it serves; for callers without an event loop.

        Raises:
            ConfigurationError: The machine lacks something, or an argument cannot work.
            OperationalError: It did not start; of a server, the message has the end of its log.
            UsageError: It runs already.
        """
        background = self._launch()
        try:
            background.started.result()
        except BaseException:
            self._end(background)
            raise

    def stop(self) -> None:
        """End it and leave no process and no file; nothing happens when it is not running."""
        if self._background is not None:
            self._end(self._background)

    def _launch(self) -> Background:
        if self._background is not None:
            raise UsageError(f"this {self._what} runs already; make another one")
        self._background = Background(f"aurora-sql {self._what}")
        self._background.run(self._live)
        return self._background

    def _end(self, background: Background) -> None:
        background.stop()
        background.ended.result()
        self._background = None

    async def _finish(self, background: Background) -> None:
        background.stop()
        cancelled: asyncio.CancelledError | None = None
        ended = asyncio.wrap_future(background.ended)
        # Who cancels us while we clean up waits until that is done: it is a matter of a second.
        while not ended.done():
            try:
                await asyncio.shield(ended)
            except asyncio.CancelledError as error:
                cancelled = error
        self._background = None
        if cancelled is not None:
            raise cancelled
        ended.result()
