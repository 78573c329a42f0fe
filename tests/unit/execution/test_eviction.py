"""CLOCK: what runs stays, what does not goes, and the number is kept."""

import random

import pytest

from aurora_sql.errors import ParameterError, ProgrammingError, StatementStale
from aurora_sql.execution._prepare import _evict, forget, forget_stale


class Prepared:
    def __init__(self, name, closed):
        self.name = name
        self.closed = closed

    async def close(self):
        self.closed.append(self.name)


class Entry:
    """As much of an entry as eviction looks at."""

    def __init__(self, name, closed):
        self.prepared = Prepared(name, closed)
        self.used = False


class Holder:
    def __init__(self):
        self.prepared = {}


@pytest.fixture
def closed():
    return []


@pytest.fixture
def holder(closed):
    holder = Holder()
    for name in "abcde":
        holder.prepared[name] = Entry(name, closed)
    return holder


async def test_the_oldest_that_did_not_run_goes(holder, closed):
    for name in "ab":
        holder.prepared[name].used = True
    await _evict(holder.prepared)
    assert closed == ["c"]
    # The hand passed the first two: they get one more round, at the end of the queue.
    assert list(holder.prepared) == ["d", "e", "a", "b"]
    assert not any(one.used for one in holder.prepared.values())


async def test_when_all_ran_the_first_goes(holder, closed):
    for one in holder.prepared.values():
        one.used = True
    await _evict(holder.prepared)
    assert closed == ["a"]


async def test_what_is_hot_survives_any_number_of_strangers(closed):
    rng, holder = random.Random(1), Holder()
    for number in range(2000):
        if len(holder.prepared) >= 16:
            await _evict(holder.prepared)
        holder.prepared[number] = Entry(number, closed)
        for hot in range(4):
            if number > 4:
                holder.prepared[hot].used = True
        if rng.random() < 0.3:
            rng.choice(list(holder.prepared.values())).used = True
        assert len(holder.prepared) <= 16
    assert set(range(4)) <= set(holder.prepared)
    assert len(closed) == 2000 - 16
    assert len(set(closed)) == len(closed)


async def test_a_forgotten_one_still_counts_and_is_closed_in_its_turn(holder, closed):
    entry = holder.prepared["b"]
    entry.used = True
    forget(holder, "b", entry)
    assert "b" not in holder.prepared
    assert len(holder.prepared) == 5
    forget(holder, "b", entry)
    assert len(holder.prepared) == 5
    for _ in range(5):
        await _evict(holder.prepared)
    assert sorted(closed) == list("abcde")


def test_what_an_error_makes_of_the_prepared_statements(closed):
    def case(error, *, used=True):
        holder = Holder()
        for name in "ab":
            holder.prepared[name] = Entry(name, closed)
            holder.prepared[name].used = used
        doubtful = forget_stale(holder, "a", holder.prepared["a"], error)
        return doubtful, [key for key in holder.prepared if type(key) is str]

    assert case(StatementStale("x")) == (False, [])
    assert case(ProgrammingError("x", code="42883")) == (True, ["b"])
    assert case(ProgrammingError("x", code="42883"), used=False) == (False, ["a", "b"])
    assert case(ProgrammingError("x", code="42P01")) == (False, ["a", "b"])
    assert case(ParameterError("x", number=1)) == (False, ["b"])
    assert case(ValueError()) == (False, ["a", "b"])
