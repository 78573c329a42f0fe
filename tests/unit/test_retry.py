"""The verdict over every class of error, and the waits."""

import inspect
import itertools

import pytest

from aurora_sql import errors
from aurora_sql.errors import AuroraError
from aurora_sql.retry import RetryPolicy, Verdict, verdict
from aurora_sql.types import Access

READ, WRITE = Access.READ, Access.WRITE
RETRY, REPLAY, RAISE = Verdict.RETRY, Verdict.REPLAY, Verdict.RAISE

# (a lone read, a lone write, in a transaction); what is not named here is raised everywhere.
AGAIN = {
    "ConflictError": (RETRY, RETRY, REPLAY),
    "SerializationConflict": (RETRY, RETRY, REPLAY),
    "Deadlock": (RETRY, RETRY, REPLAY),
    "LockTimeout": (RAISE, RAISE, REPLAY),
    "StatementStale": (RETRY, RETRY, REPLAY),
    "ConnectionFailed": (RETRY, RETRY, REPLAY),
    "TooManyConnections": (RETRY, RETRY, REPLAY),
    "ConnectionLost": (RETRY, RAISE, RAISE),
}

CLASSES = sorted(
    (one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, AuroraError)),
    key=lambda one: one.__name__,
)


def make(kind):
    if kind is errors.BulkValueError:
        return kind("x", row=0)
    return kind("x")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_has_its_verdict(kind):
    expected = AGAIN.get(kind.__name__, (RAISE, RAISE, RAISE))
    found = (
        verdict(make(kind), access=READ, in_transaction=False),
        verdict(make(kind), access=WRITE, in_transaction=False),
        verdict(make(kind), access=WRITE, in_transaction=True),
    )
    assert found == expected


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("access", [READ, WRITE])
@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_write_that_may_have_been_applied_never_runs_again(kind, access, in_transaction):
    error = make(kind)
    error.retry_safe, error.outcome_unknown = False, True
    if access is WRITE and kind in {errors.ConnectionLost, errors.CommitInDoubt}:
        assert verdict(error, access=access, in_transaction=in_transaction) is RAISE
    if kind is errors.CommitInDoubt or kind is errors.DeadlineExceeded:
        assert verdict(error, access=access, in_transaction=in_transaction) is RAISE


def test_a_write_whose_result_turned_out_not_to_fit_has_been_applied():
    error = errors.StatementStale("it has run", retry_safe=False)
    assert verdict(error, access=WRITE, in_transaction=False) is RAISE
    assert verdict(error, access=READ, in_transaction=False) is RETRY
    assert verdict(error, access=WRITE, in_transaction=True) is REPLAY


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_loss_before_anything_was_sent_is_harmless(in_transaction):
    error = errors.ConnectionLost("x", retry_safe=True)
    found = verdict(error, access=WRITE, in_transaction=in_transaction)
    assert found is (REPLAY if in_transaction else RETRY)


@pytest.mark.parametrize(
    "error", [ValueError(), KeyError(), TimeoutError(), ConnectionResetError(), KeyboardInterrupt()]
)
@pytest.mark.parametrize("in_transaction", [False, True])
def test_what_is_not_ours_is_raised(error, in_transaction):
    assert verdict(error, access=READ, in_transaction=in_transaction) is RAISE


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
