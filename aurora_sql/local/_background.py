"""A coroutine with a thread and an event loop of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class Background:
    """Runs one coroutine from start to end beside whatever loop the caller uses, or none.

    A cluster lives in one, so that it serves synchronous and asynchronous callers alike, outlives
    the loop of a single test, and has a thread that lives as long as its servers: Linux sends the
    death signal of a child when the *thread* that made it ends.

    Attributes:
        started: Done once the coroutine called ``ready``, or with the error that kept it from
            that, after it has cleaned up.
        ended: Done when the coroutine is over.
    """

    def __init__(self, name: str) -> None:
        self.started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._name = name
        self._lock = threading.Lock()
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def run(self, main: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> None:
        """Start the thread. ``main`` gets a function to call when it is ready."""
        # A daemon: a program that forgets to stop must not hang at its end.
        threading.Thread(target=self._run, args=(main,), name=self._name, daemon=True).start()

    def _run(self, main: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> None:
        failure: BaseException | None = None
        try:
            # Never the loop of a policy: uvloop gains nothing here and lacks child watchers.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._main(main))
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            failure = error
        if not self.started.done():
            self.started.set_exception(failure or asyncio.CancelledError())
            failure = None
        if failure is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(failure)

    async def _main(self, main: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> None:
        with self._lock:
            if self._stopping:
                return
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.current_task()
        await main(lambda: self.started.set_result(None))

    def stop(self) -> None:
        """Ask the coroutine to end; only the first call does anything."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            loop, task = self._loop, self._task
        if loop is not None and task is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it is over already
                loop.call_soon_threadsafe(task.cancel)

    def call(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run ``work`` in the thread's loop."""
        loop = self._loop
        if loop is None or loop.is_closed():
            work.close()
            raise RuntimeError("the background loop does not run")
        return asyncio.run_coroutine_threadsafe(work, loop)
