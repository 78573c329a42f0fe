"""The queueing networks: against closed forms, plain mean value analysis, laws and a simulation."""

import heapq
import math
import random
from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scaling._queues import (
    Station,
    bounds,
    curve,
    curve_of,
    in_turn,
    limited,
    on_shared_cores,
    side_by_side,
    solve,
)


def mean_values(demands, population, think):
    """Exact mean value analysis of stations with one server each, as its authors wrote it down."""
    queues = [0.0] * len(demands)
    found = 0.0
    for callers in range(1, population + 1):
        times = [demand * (1 + queue) for demand, queue in zip(demands, queues, strict=True)]
        found = callers / (think + sum(times))
        queues = [found * time for time in times]
    return found


def machine_repair(servers, demand, think, population):
    """Callers who think, and a station of several servers: the textbook's M/M/c//N, by factorials."""

    def weight(inside):
        served = min(inside, servers)
        ways = math.comb(population, inside) * math.factorial(inside) / math.factorial(served)
        return ways * (demand / think) ** inside / servers ** (inside - served)

    total = sum(weight(inside) for inside in range(population + 1))
    return (
        sum(min(inside, servers) / demand * weight(inside) for inside in range(population + 1))
        / total
    )


def test_one_station_and_thinking_callers_by_hand():
    # One caller: 1 / (0.1 + 0.1). Two: the second meets half a caller on average, so that an
    # operation takes 0.15 s.
    station = [Station("cpu", 0.1)]
    assert solve(station, 1, think=0.1).throughput == pytest.approx(5)
    found = solve(station, 2, think=0.1)
    assert found.throughput == pytest.approx(8)
    assert found.response == pytest.approx(0.15)
    assert found.utilisation == {"cpu": pytest.approx(0.8)}
    assert found.bottleneck == "cpu"


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("population", [1, 2, 9, 40])
def test_balanced_stations_have_a_closed_form(count, population):
    network = [Station(str(number), 0.01) for number in range(count)]
    wanted = population / (0.01 * (population + count - 1))
    assert solve(network, population).throughput == pytest.approx(wanted)
    alike = [Station("all", 0.01 * count, 1, count)]
    assert solve(alike, population).throughput == pytest.approx(wanted)


@given(
    st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=5),
    st.integers(1, 30),
    st.floats(0.0, 2.0),
)
def test_stations_of_one_server_give_what_mean_value_analysis_gives(demands, population, think):
    network = [Station(str(number), demand) for number, demand in enumerate(demands)]
    found = solve(network, population, think=think).throughput
    assert found == pytest.approx(mean_values(demands, population, think), rel=1e-6)


@pytest.mark.parametrize("servers", [1, 2, 3, 8])
@pytest.mark.parametrize("population", [1, 2, 5, 20, 60])
def test_a_station_of_several_cores_has_a_closed_form(servers, population):
    found = solve([Station("cpu", 0.02, servers)], population, think=0.1).throughput
    assert found == pytest.approx(machine_repair(servers, 0.02, 0.1, population))


STATIONS = st.lists(
    st.builds(
        Station,
        st.uuids().map(str),
        st.floats(1e-5, 0.1),
        st.sampled_from([1, 2, 8, math.inf]),
        st.integers(1, 5),
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=40)
@given(STATIONS, st.integers(1, 40), st.floats(0.0, 1.0))
def test_throughput_lies_within_the_operational_bounds(network, population, think):
    least, most = bounds(network, population, think)
    found = solve(network, population, think=think)
    assert least * (1 - 1e-9) <= found.throughput <= most * (1 + 1e-9)
    assert all(0 <= share <= 1 + 1e-9 for share in found.utilisation.values())
    # Little's law over the whole cycle.
    assert found.throughput * (found.response + think) == pytest.approx(population)


@settings(deadline=None, max_examples=40)
@given(STATIONS)
def test_more_callers_never_do_less(network):
    found = curve(network, 40)
    assert all(after >= before * (1 - 1e-9) for before, after in pairwise(found))


@settings(deadline=None, max_examples=40)
@given(STATIONS, st.integers(0, 3), st.floats(1.1, 3.0))
def test_a_slower_station_never_makes_the_network_faster(network, place, factor):
    slower = list(network)
    old = slower[place % len(slower)]
    slower[place % len(slower)] = Station(old.name, old.demand * factor, old.servers, old.count)
    after, before = curve(slower, 20), curve(network, 20)
    assert all(one <= other * (1 + 1e-9) for one, other in zip(after, before, strict=True))


@settings(deadline=None, max_examples=40)
@given(STATIONS)
def test_the_order_of_the_stations_does_not_matter(network):
    assert curve(network, 20) == pytest.approx(curve(list(reversed(network)), 20))


def test_numbers_beyond_those_of_floats_are_no_trouble():
    # 50 µs beside a second of thinking: the weights of the states span thousands of digits.
    found = solve([Station("cpu", 5e-5)], 2_000, think=1.0)
    assert found.throughput == pytest.approx(2_000 / 1.00005, rel=1e-3)
    found = solve([Station("cpu", 1.0), Station("fast", 1e-9)], 500)
    assert found.throughput == pytest.approx(1.0)


@pytest.mark.parametrize("count", range(1, 9))
def test_stations_side_by_side_are_the_same_as_in_turn(count):
    one = curve_of(Station("cpu", 0.02, 2), 12)
    scaled = tuple(rate * count for rate in one)
    whole = scaled
    for _ in range(count - 1):
        whole = in_turn(whole, scaled)
    assert side_by_side(one, count) == pytest.approx(whole)


def test_a_pool_bounds_the_throughput_and_the_rest_waits():
    network = [Station("cpu", 0.01, 8), Station("network", 0.02, math.inf)]
    free = solve(network, 32)
    tight = solve(network, 32, most=4)
    assert tight.throughput == pytest.approx(solve(network, 4).throughput)
    assert tight.throughput < free.throughput
    assert tight.response == pytest.approx(32 / tight.throughput)
    assert solve(network, 32, most=100) == free
    assert limited((1.0, 2.0, 3.0), 2, 4) == (1.0, 2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Station("cpu", -1.0),
        lambda: Station("cpu", math.inf),
        lambda: Station("cpu", math.nan),
        lambda: Station("cpu", 1.0, 0),
        lambda: Station("cpu", 1.0, 1, 0),
        lambda: solve([Station("cpu", 0.0)], 1),
        lambda: solve([Station("cpu", 1.0)], 0),
        lambda: solve([Station("cpu", 1.0)], 1, most=0),
        lambda: solve([Station("cpu", 1.0)], 1, think=math.nan),
        lambda: on_shared_cores(1.0, 0.0, processes=1, cores=1, population=1),
        lambda: on_shared_cores(1.0, 1.0, processes=1, cores=0, population=1),
    ],
)
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must be|no station"):
        wrong()


# Cores that both sides share


@given(st.floats(1e-6, 1e-2), st.floats(1e-6, 1e-2), st.integers(1, 5), st.floats(0.1, 8))
def test_shared_cores_keep_to_what_there_is(client, server, processes, cores):
    found = on_shared_cores(client, server, processes=processes, cores=cores, population=30)
    most = min(cores / (client + server), processes / client)
    alone = min(1.0, cores) / (client + server)
    assert found[0] == pytest.approx(alone)
    assert all(one <= most * (1 + 1e-9) for one in found)


def test_with_cores_for_everybody_sharing_costs_nothing():
    shared = on_shared_cores(0.01, 0.02, processes=1, cores=1_000, population=20)
    apart = curve([Station("client", 0.01), Station("server", 0.02, math.inf)], 20)
    assert shared == pytest.approx(apart)


def test_one_core_is_shared_and_a_second_process_then_does_not_help():
    one = on_shared_cores(0.01, 0.01, processes=1, cores=1, population=16)[-1]
    four = on_shared_cores(0.01, 0.01, processes=4, cores=1, population=16)[-1]
    assert one == four == pytest.approx(1 / 0.02)
    wide = on_shared_cores(0.01, 0.01, processes=4, cores=8, population=16)[-1]
    assert wide > 3 * one


# A simulation of its own, in which each process has a pool of its own


class Simulation:
    """Callers in processes with a pool each, a client's core for each process, one server.

    Service takes exponential times. A caller whose process has no free connection queues for one.
    """

    def __init__(self, *, processes, callers, pool, client, server, cores, network, seed):
        self.random = random.Random(seed)
        self.client, self.server, self.network = client, server, network
        self.free = [pool] * processes
        self.waiting = [deque() for _ in range(processes)]
        self.at_client = [deque() for _ in range(processes)]
        self.idle_cores = cores
        self.at_server = deque()
        self.events = []
        self.now = 0.0
        self.done = self.number = 0
        for process in range(processes):
            for _ in range(callers):
                self.acquire(process)

    def later(self, mean, what, *arguments):
        self.number += 1
        heapq.heappush(
            self.events,
            (self.now + self.random.expovariate(1 / mean), self.number, what, arguments),
        )

    def acquire(self, process):
        if not self.free[process]:
            self.waiting[process].append(process)
            return
        self.free[process] -= 1
        self.at_client[process].append(process)
        if len(self.at_client[process]) == 1:
            self.later(self.client, self.sent, process)

    def sent(self, process):
        self.at_client[process].popleft()
        if self.at_client[process]:
            self.later(self.client, self.sent, process)
        self.later(self.network, self.arrived, process)

    def arrived(self, process):
        if self.idle_cores:
            self.idle_cores -= 1
            self.later(self.server, self.answered, process)
        else:
            self.at_server.append(process)

    def answered(self, process):
        if self.at_server:
            self.later(self.server, self.answered, self.at_server.popleft())
        else:
            self.idle_cores += 1
        self.done += 1
        self.free[process] += 1
        if self.waiting[process]:
            self.waiting[process].popleft()
            self.acquire(process)
        self.acquire(process)

    def throughput(self, operations):
        self.run(operations // 10)
        begin, before = self.now, self.done
        self.run(operations)
        return (self.done - before) / (self.now - begin)

    def run(self, operations):
        until = self.done + operations
        while self.done < until:
            self.now, _, what, arguments = heapq.heappop(self.events)
            what(*arguments)


@pytest.mark.parametrize(
    ("processes", "callers", "pool", "cores"),
    [(1, 8, 8, 2), (4, 8, 8, 2), (4, 8, 2, 2), (4, 16, 3, 8), (8, 4, 4, 8)],
)
def test_the_model_agrees_with_a_simulation(processes, callers, pool, cores):
    client, server, network = 0.04, 0.03, 0.2
    simulated = Simulation(
        processes=processes,
        callers=callers,
        pool=pool,
        client=client,
        server=server,
        cores=cores,
        network=network,
        seed=7,
    ).throughput(40_000)
    network_of_stations = [
        Station("client", client, 1, processes),
        Station("server", server, cores),
        Station("network", network, math.inf),
    ]
    predicted = solve(
        network_of_stations, processes * callers, most=processes * min(callers, pool)
    ).throughput
    # Callers belong to a process, in the model to all of them: by that they differ.
    assert predicted == pytest.approx(simulated, rel=0.06)
