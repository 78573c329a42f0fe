"""The monitor's task: when it looks, and that nothing ends it."""

from __future__ import annotations

import asyncio

import pytest

from aurora_sql.cluster import _monitor
from aurora_sql.cluster._monitor import Monitor, Pace, pause_in_search
from aurora_sql.cluster._sight import Sight
from aurora_sql.errors import AuthenticationFailed, ConnectionLost, TooManyConnections
from aurora_sql.types import Instance, Role, Topology

WRITER = Instance("a", "a", 1, Role.WRITER)
HEIR = Instance("b", "b", 1, Role.WRITER)
QUICK = Pace(calm=0.05, detection=0.12)
CALM = Pace(calm=60.0, detection=0.12)


class Link:
    """An address that answers, or does not."""

    def __init__(self, address, answer):
        self.address, self.answer, self.asked, self.limits = address, answer, [], []
        self.is_open = True

    async def ask(self, limit, *, anew=False):
        self.asked.append(anew)
        self.limits.append(limit)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self):
        pass


class FakeSight(Sight):
    """Sees what the test says; a link that answers with a topology proves it."""

    def __init__(self, answer, **answers):
        self.answer, self.looks, self.probed = answer, [], []
        self.links = {name: Link(name, answer) for name, answer in answers.items()}

    def link(self, address):
        return self.links.get(address[0])

    async def look(self, limit, *, troubled):
        self.looks.append(troubled)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def probe(self, link, limit):
        self.probed.append(link.address)
        answer = await link.ask(limit)
        if isinstance(answer, str):  # a reader that knows of one more
            self.links.setdefault(answer, Link(answer, Topology(HEIR)))
            return None
        return answer


class Pool:
    """As much of a pool as the monitor looks at."""

    def __init__(self, stalled=False):
        self.waits = stalled

    def stalled(self, since):
        return self.waits

    hangs = stalled


class Cluster:
    """Writes down what it is told."""

    def __init__(self, pool=None):
        self.pool, self.told, self.found = pool or Pool(), [], []

    def pools(self):
        return {WRITER: self.pool}

    def apply(self, topology, *, found):
        self.told.append(topology.writer)
        self.found.append(found)

    def bereave(self):
        self.told.append(None)

    def give_up(self, instance, pool, seconds):
        self.told.append((instance.id, seconds))
        pool.waits = False


@pytest.fixture
async def watch():
    """Start a monitor; it is closed at the end."""
    monitors = []

    def start(sight, cluster, pace=QUICK):
        monitor = Monitor(sight, cluster, pace)
        monitors.append(monitor)
        monitor.start()
        return monitor

    yield start
    for monitor in monitors:
        await monitor.close()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - looks at plain attributes
            await asyncio.sleep(0.005)


async def test_it_looks_again_and_again(watch):
    sight, cluster = FakeSight(Topology(WRITER)), Cluster()
    watch(sight, cluster)
    await until(lambda: len(cluster.told) > 2)
    assert set(cluster.told) == {WRITER}
    assert set(sight.looks) == set(cluster.found) == {False}


async def test_an_alarm_is_answered_at_once_and_many_by_one_look(watch):
    sight, cluster = FakeSight(Topology(WRITER)), Cluster()
    monitor = watch(sight, cluster, CALM)
    for _ in range(100):
        monitor.alarm()
    await until(lambda: cluster.told)
    assert sight.looks == [True]


async def test_what_breaks_in_a_look_does_not_end_it(watch, caplog):
    sight, cluster = FakeSight(ZeroDivisionError("a fault of ours")), Cluster()
    watch(sight, cluster)
    await until(lambda: len(sight.looks) > 1)
    assert "the look at the cluster broke" in caplog.text
    sight.answer = Topology(WRITER)
    await until(lambda: cluster.told == [WRITER])


async def test_without_an_answer_all_are_asked_until_one_proves_itself(watch):
    lost = ConnectionLost("gone")
    sight, cluster = FakeSight(lost, a=lost, b=Topology(None)), Cluster()
    sight.links["b"].answer = lost
    watch(sight, cluster)
    await until(lambda: cluster.told == [None])
    await until(lambda: len(sight.probed) > 6)
    assert cluster.told == [None]  # told once
    sight.answer = sight.links["b"].answer = Topology(HEIR)
    await until(lambda: len(cluster.told) > 1)
    assert cluster.told[:2] == [None, HEIR]
    assert cluster.found[0]
    assert {"a", "b"} <= set(sight.probed)


async def test_one_that_was_not_known_is_asked_too(watch):
    sight, cluster = FakeSight(ConnectionLost("gone"), a=ConnectionLost("gone"), b="c"), Cluster()
    watch(sight, cluster)
    await until(lambda: HEIR in cluster.told)
    assert "c" in sight.probed


@pytest.mark.parametrize(
    ("answer", "gone"),
    [
        (ConnectionLost("silent"), True),
        (TooManyConnections("full"), False),
        (Topology(WRITER), False),
    ],
)
async def test_who_answers_nothing_is_given_up_and_who_answers_anything_is_not(watch, answer, gone):
    sight, cluster = FakeSight(Topology(WRITER), a=answer), Cluster(Pool(stalled=True))
    watch(sight, cluster, CALM)
    await until(lambda: len(sight.links["a"].asked) > 1)
    if gone:
        assert sight.links["a"].asked == [False, True]
        assert cluster.told[0] == ("a", CALM.detection)
        await until(lambda: sight.looks == [True])
    else:
        assert cluster.told == sight.looks == []


async def test_who_has_to_be_connected_to_first_gets_the_time_of_both_questions(watch):
    """Far away, a connection takes many times as long as an answer."""
    sight = FakeSight(Topology(WRITER), a=ConnectionLost("silent"))
    sight.links["a"].is_open, cluster = False, Cluster(Pool(stalled=True))
    watch(sight, cluster, CALM)
    await until(lambda: cluster.told)
    assert sight.links["a"].limits == [CALM.answer * 2]


async def test_nobody_is_asked_while_nobody_waits(watch):
    sight, cluster = FakeSight(Topology(WRITER), a=Topology(WRITER)), Cluster()
    watch(sight, cluster, CALM)
    await asyncio.sleep(0.2)
    assert sight.links["a"].asked == []


@pytest.mark.parametrize(
    ("answer", "gone"), [(ConnectionLost("silent"), True), (TooManyConnections("full"), False)]
)
async def test_who_falls_silent_in_a_search_is_given_up_too(watch, answer, gone):
    """Or the calls that hang on it would keep the pool full when the new writer is found."""
    sight, cluster = FakeSight(ConnectionLost("gone"), a=answer), Cluster(Pool(stalled=True))
    cluster.pool.stalled = lambda since: False  # the search begins for another reason
    watch(sight, cluster)
    await until(lambda: len(sight.probed) > 4)
    assert cluster.told == ([None, ("a", QUICK.detection)] if gone else [])


@pytest.mark.parametrize("refusal", [AuthenticationFailed("no"), TooManyConnections("full")])
async def test_that_nobody_may_be_asked_does_not_mean_that_there_is_no_writer(watch, refusal):
    sight, cluster = FakeSight(refusal, a=refusal, b=None), Cluster()
    watch(sight, cluster)
    await until(lambda: len(sight.looks) > 3)
    assert cluster.told == []
    sight.answer = Topology(WRITER)
    await until(lambda: cluster.told)
    assert set(cluster.found) == {False}


async def test_one_that_is_silent_may_have_been_the_writer_whoever_else_refuses(watch):
    sight = FakeSight(
        ConnectionLost("gone"), a=ConnectionLost("gone"), b=TooManyConnections("full")
    )
    cluster = Cluster()
    watch(sight, cluster)
    await until(lambda: cluster.told == [None])
    sight.links["b"].answer = Topology(HEIR)
    await until(lambda: HEIR in cluster.told)


def test_a_search_begins_quickly_and_then_leaves_servers_in_peace():
    assert {pause_in_search(after, chance) for after in (0.0, 4.9) for chance in (0.0, 1.0)} == {
        0.05
    }
    assert pause_in_search(6.0, 1.0) == pytest.approx(0.6)
    assert pause_in_search(6.0, 0.5) == pytest.approx(0.3)
    assert pause_in_search(60.0, 0.0) == 0.05
    assert pause_in_search(3600.0, 1.0) == 2.0
    bounds = [pause_in_search(after, 1.0) for after in range(60)]
    assert bounds == sorted(bounds)


async def test_a_long_search_is_no_storm(watch, monkeypatch):
    """Both instances would be asked 20 times a second, over new connections, for ever."""
    monkeypatch.setattr(_monitor, "_QUICKLY", 0.3)
    monkeypatch.setattr(_monitor, "_PART", 1.0)
    lost = ConnectionLost("gone")
    sight, cluster = FakeSight(lost, a=lost, b=lost), Cluster()
    watch(sight, cluster)
    await until(lambda: cluster.told == [None])
    await asyncio.sleep(3)
    asked = len(sight.probed)
    assert 2 * 4 < asked < 2 * 40, asked
    sight.answer = sight.links["b"].answer = Topology(HEIR)
    await until(lambda: HEIR in cluster.told)


async def test_closing_in_the_middle_of_a_search_ends_it(watch):
    lost = ConnectionLost("gone")
    sight, cluster = FakeSight(lost, a=lost), Cluster()
    monitor = watch(sight, cluster)
    await until(lambda: cluster.told == [None])
    before = asyncio.all_tasks()
    await monitor.close()
    assert len(asyncio.all_tasks() & before) == 1
