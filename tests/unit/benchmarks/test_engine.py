import asyncio
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks._engine import Clock, Sample, closed_loop, open_loop
from benchmarks._histogram import Latencies
from benchmarks._schedule import Arrivals, schedule

MILLISECOND = 1_000_000
STALL = 0.5
STALLED_CALL = 20


def stalling(service=0.001, stalled=STALLED_CALL):
    """A server that takes a millisecond for each call, and half a second for one."""
    numbers = itertools.count()

    async def call(value):
        await asyncio.sleep(STALL if next(numbers) == stalled else service)

    return call


def test_a_closed_loop_hides_a_stall(run, clock):
    sample = run(closed_loop([stalling()], [itertools.repeat(None)], 1.0, clock))
    slow = [one for one in sample.latencies if one >= 10 * MILLISECOND]
    assert slow == [pytest.approx(STALL * 1e9)]
    assert Latencies(sample.latencies).percentile(95) == pytest.approx(1, rel=0.01)


def test_an_open_loop_counts_everybody_whom_the_stall_kept_waiting(run, clock):
    starts = schedule(200, 2.0, Arrivals.CONSTANT, 0)
    sample = run(
        open_loop([stalling()], [itertools.repeat(None)], starts, queue_limit=1_000, clock=clock)
    )
    assert len(sample.latencies) == 400
    # 100 arrivals fall into half a second of standstill; they and those behind them waited.
    slow = [one for one in sample.latencies if one >= 10 * MILLISECOND]
    assert 100 <= len(slow) <= 140
    assert Latencies(sample.latencies).percentile(95) > 300
    assert sample.open is not None
    assert sample.open.held


def test_latency_counts_from_the_intended_start_also_when_the_dispatcher_is_late(run, clock):
    async def oversleep(seconds):
        await asyncio.sleep(0.04)

    async def call(value):
        return None

    sample = run(
        open_loop(
            [call],
            [itertools.repeat(None)],
            [10 * MILLISECOND],
            queue_limit=10,
            clock=Clock(now=clock.now, sleep=oversleep),
        )
    )
    assert list(sample.latencies) == [30 * MILLISECOND]
    assert sample.open is not None
    assert list(sample.open.lag) == [30 * MILLISECOND]


def test_arrivals_during_a_blocked_event_loop_are_late_too(run, clock):
    numbers = itertools.count()

    async def blocks_once(value):
        if next(numbers) == 0:
            # As a caller that computes: nobody runs for half a second, the dispatcher included.
            asyncio.get_running_loop().waiting.passed += 0.5

    starts = schedule(100, 1.0, Arrivals.CONSTANT, 0)
    sample = run(
        open_loop([blocks_once], [itertools.repeat(None)], starts, queue_limit=1_000, clock=clock)
    )
    assert len(sample.latencies) == 100
    late = [one for one in sample.latencies if one >= 5 * MILLISECOND]
    assert len(late) == pytest.approx(50, abs=2)
    assert max(late) == pytest.approx(500 * MILLISECOND, rel=0.01)


def test_a_full_queue_turns_arrivals_away_and_the_rate_is_not_held(run, clock):
    starts = schedule(100, 1.0, Arrivals.CONSTANT, 0)
    sample = run(
        open_loop(
            [stalling(service=0.1, stalled=None)],
            [itertools.repeat(None)],
            starts,
            queue_limit=3,
            clock=clock,
        )
    )
    figures = sample.open
    assert figures is not None
    # Ten a second are served, three wait, one is in service when the schedule ends.
    assert len(sample.latencies) == pytest.approx(14, abs=1)
    assert figures.dropped == 100 - len(sample.latencies)
    assert figures.unserved == 0
    assert not figures.held


def test_a_backlog_that_is_served_in_the_end_is_still_a_rate_not_held(run, clock):
    starts = schedule(100, 1.0, Arrivals.CONSTANT, 0)
    sample = run(
        open_loop(
            [stalling(service=0.02, stalled=None)],
            [itertools.repeat(None)],
            starts,
            queue_limit=1_000,
            clock=clock,
        )
    )
    assert len(sample.latencies) == 100
    assert sample.open is not None
    assert sample.open.backlog == pytest.approx(50, abs=2)
    assert not sample.open.held
    assert sample.seconds == pytest.approx(2.0, rel=0.02)


def test_arrivals_that_are_never_answered_are_counted(run, clock):
    async def never(value):
        await asyncio.Event().wait()

    sample = run(
        open_loop(
            [never, never], [itertools.repeat(None)] * 2, [0] * 5, queue_limit=10, clock=clock
        )
    )
    figures = sample.open
    assert figures is not None
    assert (figures.offered, figures.dropped, figures.unserved) == (5, 0, 5)
    assert not figures.held
    assert sample.throughput == 0.0


@given(
    gaps=st.lists(st.integers(min_value=0, max_value=5_000_000), max_size=40),
    callers=st.integers(min_value=1, max_value=4),
    limit=st.integers(min_value=1, max_value=6),
    service=st.floats(min_value=0, max_value=0.02),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_arrival_is_accounted_for(run, clock, gaps, callers, limit, service):
    starts = list(itertools.accumulate(gaps))
    sample = run(
        open_loop(
            [stalling(service, stalled=3)] * callers,
            [itertools.repeat(None)] * callers,
            starts,
            queue_limit=limit,
            clock=clock,
        )
    )
    figures = sample.open
    assert figures is not None
    assert figures.offered == len(starts) == len(figures.lag)
    assert figures.dropped + len(sample.latencies) == len(starts)
    assert figures.unserved == 0
    assert all(one >= 0 for one in sample.latencies)


def test_callers_take_values_of_their_own(run, clock):
    seen = {0: [], 1: []}

    def caller(number):
        async def call(value):
            seen[number].append(value)
            await asyncio.sleep(0.001)

        return call

    sample = run(
        closed_loop(
            [caller(0), caller(1)], [itertools.cycle("ab"), itertools.cycle("xyz")], 0.01, clock
        )
    )
    assert "".join(seen[0]).startswith("aba")
    assert "".join(seen[1]).startswith("xyzx")
    assert len(sample.latencies) == len(seen[0]) + len(seen[1])


def test_each_caller_finishes_the_call_that_it_is_in(run, clock):
    sample = run(closed_loop([stalling(0.4, None)], [itertools.repeat(None)], 1.0, clock))
    assert len(sample.latencies) == 3
    assert sample.seconds == pytest.approx(1.2)
    assert sample.throughput == pytest.approx(2.5)


@pytest.mark.parametrize("kind", ["closed", "open"])
async def test_a_call_that_fails_ends_the_measurement_and_leaves_no_task(kind):
    before = asyncio.all_tasks()

    async def fails(value):
        await asyncio.sleep(0)
        raise LookupError("no such row")

    async def waits(value):
        await asyncio.Event().wait()

    calls, values = [fails, waits], [itertools.repeat(None)] * 2
    with pytest.raises(ExceptionGroup) as caught:
        if kind == "closed":
            await closed_loop(calls, values, 10)
        else:
            await open_loop(calls, values, [0, 0, 0], queue_limit=10)
    assert isinstance(caught.value.exceptions[0], LookupError)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("kind", ["closed", "open"])
async def test_a_cancelled_measurement_leaves_no_task(kind):
    before = asyncio.all_tasks()

    async def waits(value):
        await asyncio.Event().wait()

    calls, values = [waits] * 3, [itertools.repeat(None)] * 3
    if kind == "closed":
        work = closed_loop(calls, values, 10)
    else:
        work = open_loop(calls, values, [0, 0, 20_000_000_000], queue_limit=10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await work
    assert asyncio.all_tasks() == before


def test_a_sample_without_time_has_no_throughput():
    assert Sample(seconds=0.0, latencies=[]).throughput == 0.0
