"""What the pools of a cluster are told when the monitor finds something."""

from __future__ import annotations

import pytest

from aurora_sql import AuroraSettings
from aurora_sql.cluster import Cluster
from aurora_sql.deadlines import Sweeper
from aurora_sql.types import Instance, Role, Topology

WRITER = Instance("a:5432", "a", 5432, Role.WRITER)
HEIR = Instance("b:5432", "b", 5432, Role.WRITER)


class Pool:
    """Writes down what it is told."""

    def __init__(self, *, available):
        self.available, self.absent, self.told = available, None, []

    def rename(self, name):
        pass

    def evict(self):
        self.told.append("evict")

    def sever(self):
        self.told.append("sever")


class Reigning:
    reign, refused = 2, ""

    def latency(self, address):
        return None


@pytest.fixture
def cluster():
    settings = AuroraSettings(write_endpoint="a", database="d", username="u", password="p")
    return Cluster(settings, Sweeper(), 1.0)


@pytest.mark.parametrize("available", [True, False])
def test_a_look_that_finds_nothing_new_leaves_the_pool_its_pauses(cluster, available):
    """Each failed connect makes the monitor look: it would be tried again at once, for ever."""
    cluster.writer_pool = Pool(available=available)
    cluster.apply(Topology(WRITER))
    assert cluster.writer_pool.told == []


def test_to_a_writer_that_is_back_everything_is_connected_anew(cluster):
    """At the same address it may be another instance."""
    cluster.writer_pool = Pool(available=False)
    cluster.bereave()
    assert "a:5432 was lost" in cluster.writer_pool.absent
    cluster.apply(Topology(WRITER), found=True)
    assert cluster.writer_pool.told == ["evict"]
    assert cluster.writer_pool.absent is None


def test_a_new_writer_takes_new_connections(cluster):
    cluster.writer_pool = Pool(available=True)
    cluster.apply(Topology(HEIR))
    assert cluster.writer_pool.told == ["sever"]


def test_a_new_writer_at_the_same_address_does_too(cluster):
    cluster.writer_pool = Pool(available=True)
    cluster._sight = Reigning()
    cluster.apply(Topology(WRITER), found=True)
    cluster.apply(Topology(WRITER))
    assert cluster.writer_pool.told == ["sever"]


async def test_a_reader_that_is_chosen_and_gone_is_not_replaced_by_one_that_is_not(cluster):
    chosen = Instance("b", "b", 5432, Role.READER)
    other = Instance("c", "c", 5432, Role.READER)
    cluster.writer_pool = Pool(available=True)
    cluster._settings = cluster._settings.replace({"read_endpoint": "b"})
    for readers, expected in (((chosen, other), ["b"]), ((other,), []), ((chosen,), ["b"])):
        assert [one.id for one in cluster._chosen(readers)] == expected


async def test_an_endpoint_that_is_no_instance_stands_for_all_readers(cluster):
    readers = [Instance(name, name, 5432, Role.READER) for name in "bc"]
    cluster._settings = cluster._settings.replace({"read_endpoint": "all-readers"})
    assert [one.id for one in cluster._chosen(readers)] == ["b", "c"]
