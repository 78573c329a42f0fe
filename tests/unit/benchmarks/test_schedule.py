import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._schedule import Arrivals, held, schedule

SECOND = 1_000_000_000


@given(
    rate=st.floats(min_value=0.5, max_value=20_000),
    seconds=st.floats(min_value=0.01, max_value=0.5),
    arrivals=st.sampled_from(Arrivals),
    seed=st.integers(min_value=0, max_value=1_000),
)
def test_starts_ascend_within_the_measurement(rate, seconds, arrivals, seed):
    starts = schedule(rate, seconds, arrivals, seed)
    assert list(starts) == sorted(starts)
    assert all(0 <= start < seconds * SECOND for start in starts)


def test_constant_arrivals_have_equal_gaps():
    assert list(schedule(4, 1, Arrivals.CONSTANT, 0)) == [
        0,
        SECOND // 4,
        SECOND // 2,
        3 * SECOND // 4,
    ]


def test_random_arrivals_have_the_rate_and_are_repeatable():
    starts = schedule(1_000, 50, Arrivals.POISSON, 7)
    assert len(starts) == pytest.approx(50_000, rel=0.03)
    assert starts == schedule(1_000, 50, Arrivals.POISSON, 7)
    assert starts != schedule(1_000, 50, Arrivals.POISSON, 8)
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    # Exponential gaps: the share that is longer than the mean is 1/e, not a half.
    assert sum(gap > SECOND / 1_000 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.02)


@pytest.mark.parametrize(
    ("rate", "seconds"), [(0, 1), (-1, 1), (1, 0), (float("nan"), 1), (1e9, 3_600)]
)
def test_an_impossible_schedule_is_refused(rate, seconds):
    with pytest.raises(ValueError, match=r"must be positive|too many"):
        schedule(rate, seconds, Arrivals.CONSTANT, 0)


def test_a_rate_is_held_when_everything_is_answered_and_nothing_piles_up():
    assert held(offered=1_000, completed=1_000, backlog=16, callers=16)
    assert held(offered=1_000, completed=1_000, backlog=26, callers=16)
    assert not held(offered=1_000, completed=1_000, backlog=27, callers=16)
    assert not held(offered=1_000, completed=999, backlog=0, callers=16)
    assert held(offered=0, completed=0, backlog=0, callers=1)
