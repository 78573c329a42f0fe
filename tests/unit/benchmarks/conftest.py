"""An event loop whose time passes by itself: whoever sleeps is woken at once, and on time."""

from __future__ import annotations

import asyncio
import selectors

import pytest

from benchmarks._engine import Clock


class _Selector(selectors.SelectSelector):
    """Waits for nothing: the time that it was to wait has passed when it returns."""

    passed = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout:
            self.passed += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time."""

    def __init__(self) -> None:
        self.waiting = _Selector()
        super().__init__(self.waiting)

    def time(self) -> float:
        return self.waiting.passed


def _now() -> int:
    return round(asyncio.get_running_loop().time() * 1e9)


async def _sleep(seconds: float) -> None:
    # Yielding takes time as well, or a wait by yielding would never end.
    await asyncio.sleep(max(seconds, 1e-5))


@pytest.fixture
def clock() -> Clock:
    return Clock(now=_now, sleep=_sleep)


def _run(work):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


@pytest.fixture
def run():
    """Run a coroutine in virtual time."""
    return _run
