"""Which reader gets the next read."""

from collections import Counter

import pytest

from aurora_sql.cluster import selector
from aurora_sql.settings import ReaderSelection


class Pool:
    """As much of a pool as a selection looks at."""

    def __init__(self, load=0):
        self.load = load


@pytest.mark.parametrize("selection", ["round_robin", "random", "least_loaded"])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_every_reader_gets_its_share(selection, number):
    select, pools = selector(ReaderSelection(selection)), [Pool() for _ in range(number)]
    shares = Counter(select(pools) for _ in range(number * 300))
    assert set(shares) == set(pools)
    assert min(shares.values()) > 200
    if selection == "round_robin":
        assert set(shares.values()) == {300}


def test_round_robin_goes_on_when_the_number_changes():
    select, pools = selector(ReaderSelection.ROUND_ROBIN), [Pool() for _ in range(3)]
    select(pools)
    assert select(pools[:1]) is pools[0]
    assert {select(pools) for _ in range(3)} == set(pools)


def test_the_least_loaded_one_is_taken_wherever_it_stands():
    select = selector(ReaderSelection.LEAST_LOADED)
    for loads in ([3, 1, 2], [1, 2, 3], [5, 5, 0], [2, 2, 1]):
        pools = [Pool(load) for load in loads]
        for _ in range(7):
            assert select(pools).load == min(loads)


def test_equal_loads_are_spread():
    select, pools = selector(ReaderSelection.LEAST_LOADED), [Pool(4) for _ in range(3)]
    assert set(Counter(select(pools) for _ in range(30)).values()) == {10}
