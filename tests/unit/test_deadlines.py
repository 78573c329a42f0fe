"""Deadlines from the context, and the one timer that enforces them."""

from __future__ import annotations

import asyncio
import itertools
import math

import pytest

import aurora_sql.deadlines
from aurora_sql.deadlines import Sweeper, current_deadline, deadline, deadline_fired
from aurora_sql.errors import ParameterError


class Owner:
    """Fails nothing, notes when it is asked, and answers with what the test laid out."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def sweep(self, now):
        self.asked.append(now)
        answer = self.answers.pop(0) if self.answers else math.inf
        if isinstance(answer, Exception):
            raise answer
        return answer


def timers():
    loop = asyncio.get_running_loop()
    return [handle for handle in loop._scheduled if not handle.cancelled()]


def test_the_public_names_exist():
    assert all(hasattr(aurora_sql.deadlines, name) for name in aurora_sql.deadlines.__all__)


async def test_without_a_block_there_is_no_deadline():
    assert current_deadline() is None


async def test_a_block_sets_an_absolute_deadline():
    now = asyncio.get_running_loop().time()
    with deadline(5) as scope:
        assert current_deadline() == scope.at
        assert now + 5 <= scope.at < now + 6
        assert 4 < scope.remaining <= 5
    assert current_deadline() is None


async def test_nested_deadlines_only_shorten():
    with deadline(5) as outer:
        with deadline(1) as inner:
            assert current_deadline() == inner.at < outer.at
        with deadline(60) as longer:
            assert current_deadline() == longer.at == outer.at
        with deadline(math.inf):
            assert current_deadline() == outer.at
        assert current_deadline() == outer.at


async def test_it_is_restored_after_an_error():
    with deadline(5) as outer:
        with pytest.raises(ZeroDivisionError), deadline(1):
            _ = 1 / 0
        assert current_deadline() == outer.at


async def test_tasks_inherit_it_and_keep_theirs_to_themselves():
    async def child():
        inherited = current_deadline()
        with deadline(1):
            await asyncio.sleep(0)
        return inherited

    with deadline(5) as scope:
        tasks = [asyncio.create_task(child()) for _ in range(2)]
        await asyncio.sleep(0)
        assert current_deadline() == scope.at
        assert await asyncio.gather(*tasks) == [scope.at, scope.at]


async def test_zero_is_over_at_once_and_infinity_never():
    with deadline(0) as scope:
        assert scope.remaining == 0.0
    with deadline(math.inf) as scope:
        assert scope.remaining == math.inf


async def test_a_scope_may_be_entered_again_but_not_twice_at_once():
    scope = deadline(5)
    assert repr(scope) == "<deadline of 5 s, not entered>"
    with scope:
        assert "at " in repr(scope)
        with pytest.raises(RuntimeError, match="in use already"), scope:
            pass
        assert current_deadline() == scope.at
    first = scope.at
    with scope:
        assert scope.at >= first
    assert current_deadline() is None


@pytest.mark.parametrize("seconds", [-1, math.nan, "5", None, True])
def test_seconds_that_are_none(seconds):
    with pytest.raises(ParameterError, match="seconds must be"):
        deadline(seconds)


async def test_the_sweeper_keeps_one_timer_for_the_earliest_deadline():
    sweeper = Sweeper()
    sweeper.watch(Owner())
    now = asyncio.get_running_loop().time()
    assert timers() == []
    sweeper.due(now + 50)
    (first,) = timers()
    sweeper.due(now + 60)
    sweeper.due(now + 50)
    assert timers() == [first]
    sweeper.due(now + 40)
    (second,) = timers()
    assert second is not first
    assert second.when() == now + 40
    sweeper.stop()
    assert timers() == []


async def test_a_sweep_asks_everybody_and_goes_on_to_the_next_deadline():
    loop = asyncio.get_running_loop()
    start = loop.time()
    first, second = Owner(start + 0.04, start + 0.2), Owner(start + 0.06, math.inf)
    sweeper = Sweeper()
    for owner in (first, second, first):
        sweeper.watch(owner)
    sweeper.due(start + 0.01)
    await asyncio.sleep(0.05)
    assert len(first.asked) == len(second.asked) == 2
    assert first.asked[0] >= start + 0.01
    assert first.asked[1] >= start + 0.04
    assert timers()[0].when() == start + 0.2
    sweeper.stop()


async def test_with_nothing_due_there_is_no_timer():
    sweeper = Sweeper()
    owner = Owner(math.inf)
    sweeper.watch(owner)
    sweeper.due(0.0)  # long past: as soon as possible
    await asyncio.sleep(0.01)
    assert len(owner.asked) == 1
    assert timers() == []
    assert repr(sweeper) == "<Sweeper watching 1, no timer>"


async def test_an_owner_that_raises_does_not_stop_the_others(caplog):
    loop = asyncio.get_running_loop()
    broken, sound = Owner(RuntimeError("a bug")), Owner()
    sweeper = Sweeper()
    sweeper.watch(broken)
    sweeper.watch(sound)
    sweeper.due(0.0)
    await asyncio.sleep(0.01)
    assert len(sound.asked) == 1
    assert "a bug" in caplog.text
    # What it would have said is not known: it is asked again, soon and not at once.
    (timer,) = timers()
    assert 0.5 < timer.when() - loop.time() < 1.5
    sweeper.stop()


async def test_a_deadline_registered_during_a_sweep_is_kept():
    sweeper = Sweeper()
    at = asyncio.get_running_loop().time() + 30

    class Registering(Owner):
        def sweep(self, now):
            sweeper.due(at)
            return super().sweep(now)

    sweeper.watch(Registering(math.inf))
    sweeper.due(0.0)
    await asyncio.sleep(0.01)
    (timer,) = timers()
    assert timer.when() == at
    sweeper.stop()


async def test_an_owner_may_leave_during_a_sweep():
    sweeper = Sweeper()
    other = Owner()

    class Leaving(Owner):
        def sweep(self, now):
            sweeper.unwatch(self)
            return super().sweep(now)

    leaving = Leaving()
    sweeper.watch(leaving)
    sweeper.watch(other)
    for _ in range(2):
        sweeper.due(0.0)
        await asyncio.sleep(0.01)
    assert (len(leaving.asked), len(other.asked)) == (1, 2)


async def test_answers_in_the_past_do_not_spin():
    sweeper = Sweeper()
    fifth = asyncio.Event()

    class Past(Owner):
        def sweep(self, now):
            super().sweep(now)
            if len(self.asked) == 5:
                fifth.set()
            return 0.0

    owner = Past()
    sweeper.watch(owner)
    sweeper.due(0.0)
    await fifth.wait()
    sweeper.stop()
    gaps = [later - earlier for earlier, later in itertools.pairwise(owner.asked)]
    assert min(gaps) > 0.0009


async def test_a_timer_that_runs_early_does_not_find_too_little():
    loop = asyncio.get_running_loop()
    sweeper = Sweeper()
    owner = Owner()
    sweeper.watch(owner)
    at = loop.time() + 10
    sweeper._run(loop, at)  # as a loop with a coarse clock would
    assert owner.asked == [at]


async def test_the_last_owner_takes_the_timer_along():
    sweeper = Sweeper()
    owner = Owner()
    sweeper.watch(owner)
    sweeper.due(asyncio.get_running_loop().time() + 10)
    assert repr(sweeper).startswith("<Sweeper watching 1, next at ")
    sweeper.unwatch(owner)
    assert timers() == []


async def test_a_stopped_sweeper_stays_stopped():
    sweeper = Sweeper()
    owner = Owner()
    sweeper.watch(owner)
    sweeper.stop()
    sweeper.stop()
    sweeper.due(0.0)
    sweeper.due(-math.inf)
    await asyncio.sleep(0.01)
    assert owner.asked == []
    assert timers() == []
    assert repr(sweeper) == "<Sweeper stopped>"


async def test_a_sweeper_stopped_by_an_owner_leaves_no_timer():
    sweeper = Sweeper()

    class Stopping(Owner):
        def sweep(self, now):
            sweeper.stop()
            return now + 5

    sweeper.watch(Stopping())
    sweeper.due(0.0)
    await asyncio.sleep(0.01)
    assert timers() == []


@pytest.mark.parametrize(
    ("timed_out", "before", "requests", "fired", "left"),
    [
        (False, 0, 0, False, 0),  # nothing happened
        (False, 0, 1, False, 1),  # the caller alone: its request is not touched
        (True, 0, 1, True, 0),  # the deadline alone
        (True, 0, 2, False, 1),  # both
        (True, 1, 2, True, 1),  # the deadline, in a task that was cancelled before
        (True, 1, 3, False, 2),  # and cancelled again
    ],
)
def test_whose_cancellation_it_was(timed_out, before, requests, fired, left):
    class Task:
        cancelling = requests

        def uncancel(self):
            self.cancelling -= 1
            return self.cancelling

    task = Task()
    assert deadline_fired(timed_out, task, before) is fired
    assert task.cancelling == left


async def test_both_at_once_on_a_real_task():
    async def wait(fired):
        task = asyncio.current_task()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            fired.append(deadline_fired(timed_out=True, task=task, cancelling_before=0))
            raise

    for cancels, expected in ((1, True), (2, False)):
        fired = []
        task = asyncio.create_task(wait(fired))
        await asyncio.sleep(0)
        for _ in range(cancels):
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert fired == [expected]
