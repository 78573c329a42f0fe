"""The two loops that measure: callers that wait for their answer, and arrivals that do not wait.

Both take the work as a plain function of one value that returns an awaitable, so that what
stands between the clock and the work is the same few instructions for whatever is measured.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks._schedule import held

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

_NANOSECONDS = 1_000_000_000
# Timers of an event loop have a resolution of a millisecond: what is nearer is awaited by
# yielding, so that the latency counted from the intended start is not the timer's.
_TIMER_RESOLUTION = 2_000_000

Call = "Callable[[Any], Awaitable[Any]]"


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as the loops see it; tests give their own.

    Attributes:
        now: Nanoseconds that only rise.
        sleep: Wait for so many seconds; 0 only lets others run.
    """

    now: Callable[[], int] = time.perf_counter_ns
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, slots=True)
class OpenFigures:
    """What an open loop says beyond its latencies.

    Attributes:
        offered: Arrivals of the schedule.
        dropped: Arrivals turned away because the queue was full; they have no latency.
        unserved: Arrivals still waiting or running when the drain ended; they have none either.
        backlog: Arrivals without an answer when the schedule ended.
        held: Whether the rate was held.
        lag: Nanoseconds by which each arrival was handed over late; the harness's own share
            of the latencies.
    """

    offered: int
    dropped: int
    unserved: int
    backlog: int
    held: bool
    lag: array[int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Attributes:
        seconds: From the first start to the last answer.
        latencies: Nanoseconds, one for each call that was answered.
        open: Figures of the open loop; None for a closed one.
    """

    seconds: float
    latencies: array[int] = field(repr=False)
    open: OpenFigures | None = None

    @property
    def throughput(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds if self.seconds > 0 else 0.0


async def closed_loop(
    calls: Sequence[Callable[[Any], Awaitable[Any]]],
    values: Sequence[Iterator[Any]],
    seconds: float,
    clock: Clock | None = None,
) -> Sample:
    """Let each caller make its calls one after the other until the time is up.

    Args:
        calls: The work, one for each caller.
        values: What each caller hands to its work, one endless iterator for each.
        seconds: Length of the measurement; each caller finishes the call that it is in.
        clock: Time; the real one by default.

    Raises:
        ExceptionGroup: A call failed; the others were cancelled. A measurement in which calls
            fail would measure something else.
    """
    clock = clock or Clock()
    now = clock.now
    latencies = array("q")
    begin = now()
    until = begin + int(seconds * _NANOSECONDS)

    async def caller(call: Callable[[Any], Awaitable[Any]], own_values: Iterator[Any]) -> None:
        append = latencies.append
        for value in own_values:
            started = now()
            await call(value)
            ended = now()
            append(ended - started)
            if ended >= until:
                return

    async with asyncio.TaskGroup() as group:
        for call, own_values in zip(calls, values, strict=True):
            group.create_task(caller(call, own_values))
    return Sample(seconds=(now() - begin) / _NANOSECONDS, latencies=latencies)


async def open_loop(
    calls: Sequence[Callable[[Any], Awaitable[Any]]],
    values: Sequence[Iterator[Any]],
    starts: Sequence[int],
    *,
    queue_limit: int,
    drain: float = 5.0,
    clock: Clock | None = None,
) -> Sample:
    """Start calls at given times, whether or not earlier ones were answered.

    A latency is counted from the intended start, so that the wait for a free caller and the
    delay of the harness itself are part of it.

    Args:
        calls: The work, one for each caller; as many calls run at once.
        values: What each caller hands to its work, one endless iterator for each.
        starts: Intended starts in nanoseconds after the begin, ascending.
        queue_limit: Arrivals that may wait for a caller; those beyond it are dropped.
        drain: Seconds after the last arrival in which waiting calls may still be answered.
        clock: Time; the real one by default.

    Raises:
        ExceptionGroup: A call failed; the others were cancelled.
    """
    run = _OpenRun(clock or Clock(), queue_limit)
    async with asyncio.TaskGroup() as group:
        workers = [
            group.create_task(run.work(call, own_values))
            for call, own_values in zip(calls, values, strict=True)
        ]
        await run.offer(starts)
        # A caller that fails cancels this task through the group.
        await run.drained(drain)
        for worker in workers:
            worker.cancel()
    completed = len(run.latencies)
    figures = OpenFigures(
        offered=len(starts),
        dropped=run.dropped,
        unserved=len(starts) - run.dropped - completed,
        backlog=run.backlog,
        held=held(
            offered=len(starts), completed=completed, backlog=run.backlog, callers=len(calls)
        ),
        lag=run.lag,
    )
    return Sample(
        seconds=(run.last_answer - run.begin) / _NANOSECONDS, latencies=run.latencies, open=figures
    )


class _OpenRun:
    """The state that the dispatcher and the callers of one open loop share."""

    def __init__(self, clock: Clock, queue_limit: int) -> None:
        self.clock = clock
        self.queue: asyncio.Queue[int] = asyncio.Queue(maxsize=queue_limit)
        self.latencies = array("q")
        self.lag = array("q")
        self.dropped = 0
        self.backlog = 0
        self.begin = self.last_answer = clock.now()

    async def offer(self, starts: Sequence[int]) -> None:
        """Hand over each arrival when it is due."""
        now, sleep = self.clock.now, self.clock.sleep
        for start in starts:
            due = self.begin + start
            gap = due - now()
            while gap > 0:
                far = gap > _TIMER_RESOLUTION
                await sleep((gap - _TIMER_RESOLUTION / 2) / _NANOSECONDS if far else 0)
                gap = due - now()
            self.lag.append(-gap)
            try:
                self.queue.put_nowait(due)
            except asyncio.QueueFull:
                self.dropped += 1
                # A dispatcher that is late never waits: let the callers empty the queue.
                await sleep(0)
        self.backlog = len(starts) - self.dropped - len(self.latencies)

    async def work(self, call: Callable[[Any], Awaitable[Any]], own_values: Iterator[Any]) -> None:
        """Serve arrivals until cancelled."""
        now, queue = self.clock.now, self.queue
        for value in own_values:
            due = await queue.get()
            await call(value)
            self.last_answer = now()
            self.latencies.append(self.last_answer - due)
            queue.task_done()

    async def drained(self, limit: float) -> None:
        """Wait until all arrivals are answered, or the limit in seconds has passed."""
        try:
            async with asyncio.timeout(limit):
                await self.queue.join()
        except TimeoutError:
            pass
