"""Which reader gets the next read."""

from collections import Counter

import pytest

from aurora_sql.cluster import selector
from aurora_sql.cluster._selection import fit_readers
from aurora_sql.settings import ReaderSelection
from aurora_sql.types import Instance, Role


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


def test_the_fastest_one_is_taken_and_one_that_is_not_known_comes_last():
    pools = [Pool() for _ in range(3)]
    latencies = {pools[0]: 0.2, pools[1]: 0.1}
    select = selector(ReaderSelection.FASTEST, latency=latencies.get)
    assert select(pools) is pools[1]
    latencies[pools[1]] = 0.3
    assert select(pools) is pools[0]
    assert select(pools[2:]) is pools[2]


def test_weights_are_shares():
    pools = [Pool() for _ in range(3)]
    weights = dict(zip(pools, [3.0, 1.0, 0.0], strict=True))
    select = selector(ReaderSelection.WEIGHTED, weight=weights.__getitem__)
    shares = Counter(select(pools) for _ in range(4000))
    assert set(shares) == set(pools[:2])
    assert 2.4 < shares[pools[0]] / shares[pools[1]] < 3.7
    assert select(pools[2:]) is pools[2]  # nobody else is left


def test_only_readers_that_are_close_enough_are_fit():
    lags = [0.0, 0.5, 2.0, None]
    readers = {Instance(str(n), "h", n, Role.READER, lag=lag): Pool() for n, lag in enumerate(lags)}
    pools = tuple(readers.values())
    assert fit_readers(readers, None) == pools
    assert fit_readers(readers, 0.5) == pools[:2]
    assert fit_readers(readers, 2.0) == pools[:3]
