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

    def hope(self):
        self.told.append("hope")


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


def test_a_writer_that_is_back_is_tried_at_once(cluster):
    cluster.writer_pool = Pool(available=False)
    cluster.bereave()
    assert "a:5432 was lost" in cluster.writer_pool.absent
    cluster.apply(Topology(WRITER))
    assert cluster.writer_pool.told == ["hope"]
    assert cluster.writer_pool.absent is None


def test_a_new_writer_takes_new_connections(cluster):
    cluster.writer_pool = Pool(available=True)
    cluster.apply(Topology(HEIR))
    assert cluster.writer_pool.told == ["evict"]
