import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._stats import Spread, ratios, rotated, verdict

figures = st.floats(min_value=1e-3, max_value=1e9)


@given(st.lists(figures, min_size=1, max_size=30))
def test_a_spread_is_ordered_and_holds_its_median(values):
    spread = Spread.of(values)
    assert spread.low <= spread.median <= spread.high
    assert spread.median == statistics.median(values)
    assert (spread.low, spread.high, spread.rounds) == (min(values), max(values), len(values))


def test_a_spread_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one round"):
        Spread.of([])


@given(st.integers(min_value=1, max_value=6))
def test_each_subject_has_each_place_once_in_as_many_rounds(count):
    subjects = list(range(count))
    orders = [rotated(subjects, turn) for turn in range(count)]
    for place in range(count):
        assert sorted(order[place] for order in orders) == subjects
    assert all(sorted(order) == subjects for order in orders)


def test_nothing_can_be_rotated():
    assert rotated([], 3) == ()


@given(st.lists(figures, min_size=1, max_size=20), figures)
def test_ratios_are_taken_within_each_round(floor, factor):
    assert ratios([value * factor for value in floor], floor) == pytest.approx(
        [factor] * len(floor)
    )


def test_ratios_do_not_see_what_happened_between_rounds():
    # The machine halves its speed in the second round: the ratio of medians would not tell
    # that the library was at 0.9 in both.
    assert ratios([90, 45], [100, 50]) == [0.9, 0.9]


def test_ratios_need_the_same_rounds():
    with pytest.raises(ValueError, match="2 rounds cannot be compared with 1"):
        ratios([1.0, 2.0], [1.0])


def test_a_round_without_a_floor_is_left_out():
    assert ratios([1.0, 2.0], [0.0, 4.0]) == [0.5]


@pytest.mark.parametrize(
    ("earlier", "now", "expected"),
    [
        ([10, 11, 12], [13, 14], "better"),
        ([10, 11, 12], [8, 9], "worse"),
        ([10, 11, 12], [12, 20], "within the spread"),
        ([10, 11, 12], [1, 100], "within the spread"),
        ([10], [10], "within the spread"),
    ],
)
def test_only_ranges_that_are_apart_count_as_a_change(earlier, now, expected):
    assert verdict(Spread.of(earlier), Spread.of(now)) == expected


@given(
    st.lists(figures, min_size=1, max_size=9),
    st.lists(figures, min_size=1, max_size=9),
)
def test_a_change_looks_the_other_way_round_from_the_other_side(earlier, now):
    there, back = (
        verdict(Spread.of(earlier), Spread.of(now)),
        verdict(Spread.of(now), Spread.of(earlier)),
    )
    opposite = {"better": "worse", "worse": "better", "within the spread": "within the spread"}
    assert back == opposite[there]
