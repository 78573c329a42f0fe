"""The pool's options, and its decisions as plain functions."""

from __future__ import annotations

import math

import pytest

import aurora_sql.pool
from aurora_sql.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    DatabaseError,
    NoWriterAvailable,
    QueryCancelled,
    StatementFileError,
    TlsError,
    TooManyConnections,
)
from aurora_sql.pool import Pooled, PoolOptions, State, _decide, _upkeep


def test_the_public_names_exist():
    for name in aurora_sql.pool.__all__:
        assert getattr(aurora_sql.pool, name).__module__.startswith("aurora_sql.pool.")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("min_size", -1, "min_size must be a whole number of 0 or more, not -1"),
        ("max_size", 0, "max_size must be a whole number of 1 or more"),
        ("max_size", 2.0, "max_size must be a whole number"),
        ("max_size", True, "max_size must be a whole number"),
        ("max_waiting", -1, "max_waiting"),
        ("max_prepared", 0, "max_prepared"),
        ("min_size", 101, r"min_size \(101\) is above max_size \(100\)"),
        ("acquire_timeout", 0, "acquire_timeout must be above 0"),
        ("acquire_timeout", "30s", "acquire_timeout must be a number of seconds, not '30s'"),
        ("max_lifetime", -1.0, "max_lifetime"),
        ("idle_timeout", math.nan, "idle_timeout must be a number of seconds"),
        ("lifetime_jitter", 1.5, "lifetime_jitter is a part of max_lifetime from 0 to 1"),
        ("lifetime_jitter", -0.1, "lifetime_jitter must be 0 or more"),
        ("check_after", -1, "check_after must be 0 or more"),
        ("close_timeout", -1, "close_timeout must be 0 or more"),
        ("reset_timeout", math.inf, "reset_timeout must be finite"),
        ("check_timeout", math.inf, "check_timeout must be finite"),
        ("connect_retry_cap", math.inf, "connect_retry_cap must be finite"),
    ],
)
def test_a_bad_option_is_refused_by_name(option, value, says):
    with pytest.raises(ConfigurationError, match=says):
        PoolOptions(**{option: value})


def test_limits_may_be_infinite():
    PoolOptions(max_lifetime=math.inf, idle_timeout=math.inf, check_after=math.inf, min_size=0)


@pytest.mark.parametrize(
    ("size", "waiting", "coming", "closing", "wanted"),
    [
        (0, 0, 0, False, True),  # below the floor
        (2, 0, 0, False, False),
        (2, 1, 0, False, True),
        (2, 1, 1, False, False),  # one is on its way back
        (2, 2, 1, False, True),
        (5, 9, 0, False, False),  # full
        (0, 9, 0, True, False),
    ],
)
def test_when_one_more_connection_is_wanted(size, waiting, coming, closing, wanted):
    assert wanted is _decide.wants_more(
        size=size, min_size=2, max_size=5, waiting=waiting, coming=coming, closing=closing
    )


@pytest.mark.parametrize(
    ("waiting", "in_use", "max_waiting", "room"),
    [
        (0, 5, 0, False),
        (0, 4, 0, True),
        (1, 4, 0, False),
        (4, 0, 0, True),
        (2, 5, 3, True),
        (3, 5, 3, False),
    ],
)
def test_when_one_more_caller_may_wait(waiting, in_use, max_waiting, room):
    assert room is _decide.room_for_waiter(
        waiting=waiting, in_use=in_use, max_size=5, max_waiting=max_waiting
    )


@pytest.mark.parametrize(
    ("error", "heals"),
    [
        (ConnectionFailed(""), True),
        (TooManyConnections(""), True),
        (NoWriterAvailable(""), True),
        (OSError(), True),
        (TimeoutError(), True),
        (QueryCancelled(""), True),
        (AuthenticationFailed(""), False),
        (TlsError(""), False),
        (ConfigurationError(""), False),
        (DatabaseError(""), False),
        (ValueError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_which_failures_may_heal(error, heals):
    assert _decide.may_heal(error) is heals


def test_pauses_double_up_to_the_cap_and_are_spread():
    full = [_decide.retry_pause(n, base=0.1, cap=2.0, chance=1.0) for n in range(1, 8)]
    assert full == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert _decide.retry_pause(1, base=0.1, cap=2.0, chance=0.0) == 0.05
    assert _decide.retry_pause(10**6, base=0.1, cap=2.0, chance=0.0) == 1.0


def test_a_copied_error_is_caused_by_the_original():
    error = TooManyConnections("full", retry_safe=False)
    clone = _decide.copy_error(error)
    assert (type(clone), clone.args, clone.retry_safe) == (TooManyConnections, ("full",), False)
    assert clone is not error
    assert clone.__cause__ is error


def test_an_error_that_cannot_be_copied_is_used_as_it_is():
    class Odd(StatementFileError):
        def __init__(self, one, two):
            super().__init__(f"{one} {two}")

    error = Odd("a", "b")
    assert _decide.copy_error(error) is error


def test_the_hint_names_a_caller_outside_the_library():
    assert "test_decisions.py" in _upkeep.caller_hint()


def connection(lab, state=State.IDLE, *, used=100.0, expires=1000.0):
    driver = lab.FakeDriver(lab.server, 0)
    pooled = Pooled(driver, generation=0, now=used, expires_at=expires)
    pooled.state = state
    return pooled


def look(connections, now, **options):
    """Upkeep with a floor of one and 50 seconds of idling allowed."""
    settings = PoolOptions(**{"min_size": 1, "idle_timeout": 50.0} | options)
    idle = [pooled for pooled in connections if pooled.state is State.IDLE]
    return _decide.upkeep(connections, idle, settings, now)


def test_upkeep_closes_the_old_and_the_broken_even_at_the_floor(lab):
    old, broken, fine = connection(lab, expires=109.0), connection(lab), connection(lab)
    broken.driver.closed = True
    assert look([old, broken, fine], 110.0, min_size=3) == ([old, broken], 1000.0)


def test_upkeep_closes_what_idles_above_the_floor_the_longest_first(lab):
    first, second, third = (connection(lab, used=used) for used in (100.0, 101.0, 130.0))
    assert look([first, second, third], 149.0) == ([], 150.0)
    assert look([first, second, third], 155.0) == ([first, second], 1000.0)
    assert look([first, second, third], 155.0, min_size=2) == ([first], 1000.0)


def test_upkeep_does_not_count_those_that_are_closing_already(lab):
    closing, idle = connection(lab, State.CLOSING), connection(lab)
    assert look([closing, idle], 155.0) == ([], 1000.0)


def test_upkeep_looks_again_at_what_is_leased_but_not_all_the_time(lab):
    leased = connection(lab, State.LEASED, expires=90.0)
    assert look([leased], 100.0) == ([], 101.0)
    assert look([leased, connection(lab)], 100.0, idle_timeout=0.5)[1] == 100.5
    nearly = connection(lab, expires=100.001)
    assert look([nearly], 100.0) == ([], 100.05)
    assert look([], 100.0) == ([], math.inf)
