"""The members of a batch of writes, sorted by what finds their rows."""

import datetime as dt
from decimal import Decimal
from math import inf

import pytest

from aurora_sql.execution._group import Member
from aurora_sql.execution._group_writes import sort_by


class Awkward:
    def __init__(self, text):
        self.text = text

    def __lt__(self, other):
        raise ValueError("ask for any() or all()")

    def __repr__(self):
        return self.text


def members(*keys):
    return [Member((number, key), {}, inf, None) for number, key in enumerate(keys)]


@pytest.mark.parametrize(
    "keys",
    [
        [3, None, 1, 2],
        ["b", 1, None, "a"],
        [Decimal("sNaN"), Decimal(1), Decimal("sNaN")],
        [Awkward("b"), Awkward("a")],
        [{"a": 1}, {"a": 2}],
        [dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)],
    ],
)
def test_any_values_have_an_order(keys):
    some, others = members(*keys), members(*reversed(keys))
    sort_by(some, (1,))
    sort_by(others, (1,))
    assert sorted(member.args[0] for member in some) == list(range(len(keys)))
    assert [str(member.args[1]) for member in some] == [str(member.args[1]) for member in others]


def test_what_has_no_order_leaves_equal_values_as_they_came():
    some = members(*[9 - number // 10 for number in range(100)], "x", *[3] * 5)
    sort_by(some, (1,))
    threes = [member.args[0] for member in some if member.args[1] == 3]
    assert threes == [*range(60, 70), *range(101, 106)]
