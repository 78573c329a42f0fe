"""What the answers of single servers prove."""

from __future__ import annotations

import asyncio

import pytest

from aurora_sql.cluster import _sight
from aurora_sql.cluster._endpoints import InstanceAddresses
from aurora_sql.cluster._providers_postgresql import AuroraPostgreSQL, StaticPostgreSQL
from aurora_sql.cluster._report import Report
from aurora_sql.cluster._sight import ClusterSight, StaticSight
from aurora_sql.errors import (
    ConnectionFailed,
    ConnectionLost,
    NoWriterAvailable,
    TooManyConnections,
)
from aurora_sql.types import Instance, Role

WRITER, READER = Instance("a", "a", 1, Role.WRITER), Instance("b", "b", 1, Role.READER)
READS = Report(None, in_recovery=True)


def writes(epoch, system=None):
    return Report(None, in_recovery=False, epoch=epoch, system=system)


def reads(system):
    return Report(None, in_recovery=True, system=system)


class Link:
    """An address whose connections lead to one server after the other."""

    def __init__(self, address, *servers):
        self.address, self.servers, self.asked, self.is_open = address, list(servers), [], True

    async def ask(self, limit, *, anew=False):
        self.asked.append(anew)
        if anew and len(self.servers) > 1:
            self.servers.pop(0)
        if isinstance(self.servers[0], Exception):
            raise self.servers.pop(0)
        return self.servers[0]


async def connect(address):
    raise AssertionError(address)


@pytest.fixture
def sight():
    def make(writer, reader):
        made = StaticSight(WRITER, [READER], StaticPostgreSQL(), connect, None)
        made.links = {("a", 1): Link(("a", 1), *writer), ("b", 1): Link(("b", 1), *reader)}
        return made

    return make


async def test_a_name_for_all_readers_is_not_taken_for_the_writer(sight):
    """Its connection leads to the reader that was promoted, and its next one to another."""
    seen = sight([ConnectionLost("gone")], [writes(2), READS])
    assert await seen.probe(seen.links["b", 1], 1.0) is None
    seen = sight([ConnectionLost("gone")], [writes(2)])
    assert (await seen.probe(seen.links["b", 1], 1.0)).writer == Instance("b", "b", 1, Role.WRITER)
    assert seen.links["b", 1].asked == [False, True, True]


async def test_the_name_of_the_writer_is_followed_each_time(sight):
    seen = sight([READS, READS, writes(2)], [READS])
    link = seen.links["a", 1]
    assert await seen.probe(link, 1.0) is None
    assert (await seen.probe(link, 1.0)).writer == WRITER
    assert link.asked == [True, True]


async def test_an_old_writer_that_wakes_up_proves_nothing(sight):
    seen = sight([writes(1)], [writes(2)])
    assert (await seen.look(1.0, troubled=False)).writer.id == "b"
    assert await seen.probe(seen.links["a", 1], 1.0) is None
    seen.links["b", 1].servers = [ConnectionLost("gone")]
    with pytest.raises(NoWriterAvailable, match="was demoted and does not know it"):
        await seen.look(1.0, troubled=False)


async def test_after_trouble_the_writer_is_asked_over_a_new_connection(sight):
    seen = sight([writes(1), READS], [READS])
    assert (await seen.look(1.0, troubled=False)).writer == WRITER
    with pytest.raises(NoWriterAvailable, match="a is a reader, b is a reader"):
        await seen.look(1.0, troubled=True)


async def test_a_server_that_is_full_is_asked_over_the_connection_that_is_there(sight):
    seen = sight([writes(1), TooManyConnections("full"), writes(1)], [READS])
    assert (await seen.look(1.0, troubled=True)).writer == WRITER
    assert seen.links["a", 1].asked == [True, False]


async def test_a_new_timeline_behind_the_same_name_is_another_writer(sight):
    seen = sight([writes(1), writes(2)], [READS])
    assert (await seen.look(1.0, troubled=False)).writer == WRITER
    with pytest.raises(NoWriterAvailable, match="a is on timeline 2 now"):
        await seen.look(1.0, troubled=True)
    assert (await seen.probe(seen.links["a", 1], 1.0)).writer == WRITER
    assert (await seen.look(1.0, troubled=True)).writer == WRITER


async def test_a_cluster_that_was_built_anew_is_believed(sight):
    """It begins with the first timeline again."""
    seen = sight([writes(5, 1), writes(1, 2), writes(1, 2)], [reads(1), reads(2)])
    assert (await seen.look(1.0, troubled=False)).writer == WRITER
    reign = seen.reign
    with pytest.raises(NoWriterAvailable, match="or it was built anew"):
        await seen.look(1.0, troubled=True)  # the other one is still of the old cluster
    assert await seen.probe(seen.links["a", 1], 1.0) is None
    assert "or it was built anew" in seen.refused
    assert seen.reign == reign
    await seen.links["b", 1].ask(1.0, anew=True)
    with pytest.raises(NoWriterAvailable, match="a is on timeline 1 now"):
        await seen.look(1.0, troubled=False)
    assert (await seen.look(1.0, troubled=False)).writer == WRITER
    assert seen.reign == reign + 1
    assert seen.refused == ""


async def test_who_was_of_the_old_cluster_and_is_silent_counts_for_a_while(sight, monkeypatch):
    seen = sight([writes(5, 1), writes(1, 2)], [reads(1)])
    await seen.look(1.0, troubled=False)
    link = seen.links["a", 1]
    assert await seen.probe(link, 1.0) is None
    monkeypatch.setattr(_sight, "_FORGOTTEN", 0.0)
    assert (await seen.probe(link, 1.0)).writer == WRITER


@pytest.mark.parametrize("system", [1, None])
async def test_an_earlier_timeline_of_the_same_cluster_is_refused_with_what_to_do(sight, system):
    """A restore looks just like an old writer that wakes up."""
    seen = sight([writes(5, 1), writes(4, system)], [READS])
    await seen.look(1.0, troubled=False)
    assert await seen.probe(seen.links["a", 1], 1.0) is None
    assert "restored to an earlier state, open Aurora anew" in seen.refused


async def test_a_reader_that_answered_before_the_writer_is_asked_again(sight):
    """Its answer was older than the write that the writer told of."""
    early = Report(None, in_recovery=True, position=4, replayed=3600.0)
    later = Report(None, in_recovery=True, position=5, replayed=0.0)
    answers = [early, later, early, early]
    seen = sight([Report(None, in_recovery=False, epoch=1, position=5)], [])

    async def ask(limit, *, anew=False):
        return answers.pop(0)

    seen.links["b", 1].ask = ask
    [reader] = (await seen.look(1.0, troubled=False)).readers
    assert reader.lag == 0.0
    [reader] = (await seen.look(1.0, troubled=False)).readers
    assert reader.lag < 60  # no further behind than since the first look
    assert not answers


async def test_a_look_that_fails_leaves_nobody_asking():
    """Or a reader's connection would be opened after all have been closed."""
    asking = asyncio.Event()

    async def connect(address):
        if address == ("b", 1):
            asking.set()
            await asyncio.sleep(60)
        await asking.wait()
        raise ConnectionFailed("refused")

    addresses = InstanceAddresses({}, None)
    seen = ClusterSight(("a", 1), addresses, AuroraPostgreSQL(), connect, None, time_all=True)
    seen._add(("b", 1))
    before = asyncio.all_tasks()
    with pytest.raises(ConnectionFailed, match="refused"):
        await seen.look(30.0, troubled=False)
    assert asyncio.all_tasks() == before
