"""A wait for a future that a cancellation of the waiting task does not reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator
    from contextvars import Context


class Onlooker:
    """Wait for a future to be done: ``await Onlooker(future)``.

    ``asyncio.wait`` does the same in a turn of the event loop more: it waits for a future of its
    own. This is one that passes on everything but ``cancel``. A task waits for any object that
    has what it uses of a future, and sets ``_asyncio_future_blocking`` to say so.
    Source: asyncio's documentation, ``asyncio.isfuture``; ``Task.__step`` in asyncio/tasks.py.

    Raises:
        asyncio.CancelledError: The task was cancelled; the future goes on.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_context", "_future", "_loop")

    def __init__(self, future: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._future = future
        self._loop = loop
        self._asyncio_future_blocking = False
        self._callback: Callable[[asyncio.Future[Any]], object] | None = None
        self._context: Context | None = None

    def __await__(self) -> Generator[Any, None, None]:
        if not self._future.done():
            self._asyncio_future_blocking = True
            yield self

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop; a task asks whether it is its own."""
        return self._loop

    def add_done_callback(
        self, callback: Callable[[asyncio.Future[Any]], object], *, context: Context | None = None
    ) -> None:
        """Note how the task is to be woken; it waits from now on."""
        self._callback, self._context = callback, context
        self._future.add_done_callback(self._done, context=context)

    def _done(self, _: asyncio.Future[Any]) -> None:
        # Not the future itself: what it failed with is for whoever looks into it.
        if self._callback is not None:
            self._callback(_DONE)

    def cancel(self, msg: Any = None) -> bool:
        """Wake the task with CancelledError, and leave the future alone."""
        callback = self._callback
        if callback is None or self._future.done():
            return False  # the task is being woken already, and is cancelled then
        self._callback = None
        cancelled = self._loop.create_future()
        cancelled.cancel(msg)
        cancelled.add_done_callback(callback, context=self._context)
        return True


class _Done:
    """What a task is woken with: a future's result."""

    def result(self) -> None:
        """Return nothing, as there is nothing to say."""


_DONE: Any = _Done()
