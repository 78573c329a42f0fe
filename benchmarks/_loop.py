"""The event loop of a run, and its interruption."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import signal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from aurora_sql.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")


class LoopKind(StrEnum):
    """Which event loop."""

    AUTO = "auto"
    UVLOOP = "uvloop"
    ASYNCIO = "asyncio"


def choose(kind: LoopKind) -> tuple[str, Callable[[], asyncio.AbstractEventLoop] | None]:
    """Name and factory of the event loop; the factory is None for asyncio's own.

    Raises:
        ConfigurationError: uvloop was asked for and is not installed.
    """
    there = importlib.util.find_spec("uvloop") is not None
    if kind is LoopKind.UVLOOP and not there:
        raise ConfigurationError("uvloop is not installed: pip install 'aurora-sql[speed]'")
    if kind is LoopKind.ASYNCIO or not there:
        return "asyncio", None
    return "uvloop", importlib.import_module("uvloop").new_event_loop


def run(work: Callable[[], Coroutine[Any, Any, _T]], kind: LoopKind) -> _T:
    """Run a coroutine function in a new loop.

    The first SIGINT or SIGTERM cancels it, so that it cleans up.

    Raises:
        ConfigurationError: See :func:`choose`.
        KeyboardInterrupt: It was cancelled by a signal, and has cleaned up.
    """
    _, factory = choose(kind)
    stopped = False

    async def guarded() -> _T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def stop() -> None:
            nonlocal stopped
            # Later signals are swallowed: the cleaning up is under way and is bounded in time.
            if not stopped and task is not None:
                stopped = True
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows has no such handlers
                loop.add_signal_handler(number, stop)
        return await work()

    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(guarded())
    except asyncio.CancelledError:
        if stopped:
            raise KeyboardInterrupt from None
        raise
