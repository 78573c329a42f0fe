"""What the answers of single servers prove."""

from __future__ import annotations

import asyncio

import pytest

from aurora_sql.cluster._endpoints import InstanceAddresses
from aurora_sql.cluster._providers import AuroraPostgreSQL, Report
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


def writes(epoch):
    return Report(None, in_recovery=False, epoch=epoch)


class Link:
    """An address whose connections lead to one server after the other."""

    def __init__(self, address, *servers):
        self.address, self.servers, self.asked = address, list(servers), []

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
        made = StaticSight(WRITER, [READER], connect, None)
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
