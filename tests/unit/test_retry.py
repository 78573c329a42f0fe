"""The waits before further attempts, and the budget for them."""

import itertools

import pytest

from aurora_sql import errors
from aurora_sql.retry import RetryBudget, RetryPolicy


@pytest.mark.parametrize(
    ("error", "bounds"),
    [
        (errors.Deadlock("x"), [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5, 0.5]),
        (errors.ConnectionLost("x"), [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]),
        (errors.StatementStale("x"), [0.0] * 8),
    ],
)
def test_the_waits_stay_under_their_bounds_and_use_the_whole_range(error, bounds):
    policy = RetryPolicy(max_retries=8)
    drawn = [list(policy.waits(error)) for _ in range(300)]
    for place, bound in enumerate(bounds):
        at_place = [waits[place] for waits in drawn]
        assert all(0 <= wait <= bound for wait in at_place)
        assert max(at_place) >= 0.8 * bound
        assert min(at_place) <= 0.2 * bound
    assert all(len(waits) == 8 for waits in drawn)


def test_the_longest_wait_is_the_caller_s_choice():
    policy = RetryPolicy(max_retries=50, max_delay=0.03)
    for error in (errors.Deadlock("x"), errors.ConnectionLost("x")):
        assert max(policy.waits(error)) <= 0.03


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_there_are_as_many_waits_as_retries(retries):
    waits = RetryPolicy(max_retries=retries).waits(errors.Deadlock("x"))
    assert len(list(itertools.islice(waits, 100))) == retries


# -- the budget ----------------------------------------------------------------------------------

CONFLICT = errors.SerializationConflict("x")


def caused(error, cause):
    error.__cause__ = cause
    return error


def test_a_full_budget_pays_for_a_hundred_retries():
    budget = RetryBudget()
    paid = [budget.take(CONFLICT) for _ in range(101)]
    assert paid == [5] * 100 + [None]
    assert (budget.size, budget.spent) == (500, 500)


@pytest.mark.parametrize(
    "error",
    [
        errors.LockTimeout("x"),
        caused(errors.ConnectionFailed("x"), TimeoutError()),
        caused(errors.ConnectionLost("x"), caused(errors.ConnectionLost("x"), TimeoutError())),
    ],
)
def test_a_retry_after_a_timeout_costs_twice_as_much(error):
    budget = RetryBudget(25)
    assert [budget.take(error) for _ in range(3)] == [10, 10, None]
    assert budget.take(caused(errors.ConnectionLost("x"), ConnectionResetError())) == 5


def test_successes_fill_it_again_and_never_above_its_size():
    budget = RetryBudget(5)
    paid = budget.take(CONFLICT)
    assert budget.take(CONFLICT) is None
    for _ in range(4):
        budget.give()
    assert budget.take(CONFLICT) is None
    budget.give()
    assert budget.take(CONFLICT) == paid
    budget.give(paid)
    budget.give(100)
    assert budget.spent == 0
    assert budget.take(CONFLICT) == 5
    assert budget.take(CONFLICT) is None


def test_a_size_of_zero_is_no_bound():
    budget = RetryBudget(0)
    assert {budget.take(CONFLICT) for _ in range(1000)} == {0}
    assert budget.spent == 0
    budget.give()
    assert budget.spent == 0


def test_it_says_what_is_left():
    budget = RetryBudget(20)
    budget.take(CONFLICT)
    assert repr(budget) == "<RetryBudget: 15 of 20>"
    assert repr(RetryBudget(0)) == "<RetryBudget: no bound>"


def test_an_error_that_is_its_own_cause_is_no_endless_question():
    error, other = errors.ConnectionLost("lost"), errors.ConnectionLost("lost before")
    error.__cause__, other.__cause__ = other, error
    budget = RetryBudget(100)
    assert budget.take(error) == 5
    other.__cause__ = TimeoutError()
    assert budget.take(error) == 10
