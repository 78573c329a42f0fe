"""Tokens, and what shows at least what a session has seen: without any server."""

import base64
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_sql import ParameterError
from aurora_sql.cluster import (
    NO_CLUSTER,
    NOBODY,
    WRITER,
    Position,
    Replica,
    Seen,
    Signer,
    identifier,
)

SECRET = "sixteen characters, and then some"
HERE, THERE = identifier("here"), identifier("there")
A, B = identifier("reader", 1), identifier("reader", 2)
FLOOR = Position(3, 1_000)

positions = st.builds(
    Position, st.integers(0, 2**32 - 1), st.integers(min_value=1, max_value=2**64 - 1)
)
servers = st.sampled_from([NOBODY, WRITER, A, B])
seens = st.builds(Seen, st.none() | positions, servers)


# -- tokens --------------------------------------------------------------------------------


@given(seen=seens)
def test_a_token_says_what_was_seen(seen):
    token = Signer(SECRET).sign(HERE, seen)
    cluster, read = Signer(SECRET).read(token)
    assert read == seen
    says_nothing_of_a_cluster = seen.floor is None and seen.by in (NOBODY, WRITER)
    assert cluster == (NO_CLUSTER if says_nothing_of_a_cluster else HERE)


@given(seen=seens)
def test_a_token_goes_into_a_url_or_a_header_as_it_is(seen):
    token = Signer(SECRET).sign(HERE, seen)
    assert type(token) is str
    assert len(token) == 82
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(seen=seens, place=st.integers(0, 81), other=st.sampled_from("AZaz09-_"))
def test_a_changed_token_is_refused(seen, place, other):
    token = Signer(SECRET).sign(HERE, seen)
    changed = token[:place] + other + token[place + 1 :]
    if changed != token:
        with pytest.raises(ParameterError):
            Signer(SECRET).read(changed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "x" * 82,
        "=" * 84,
        "nö",
        "a b",
        "A" * 10_000,
        Signer(SECRET).sign(HERE, Seen())[:-1],
    ],
)
def test_what_is_no_token_is_refused(text):
    with pytest.raises(ParameterError, match=r"leave the token out|token_secret"):
        Signer(SECRET).read(text)


@pytest.mark.parametrize("value", [b"AQ", 7, ["AQ"], True])
def test_a_token_is_text(value):
    with pytest.raises(ParameterError, match=f"not {type(value).__name__}$"):
        Signer(SECRET).read(value)


def test_one_text_stands_for_a_token():
    token = Signer(SECRET).sign(HERE, Seen(FLOOR, A))
    for other in (token + "=", token + "==", " " + token, token + "\n"):
        with pytest.raises(ParameterError):
            Signer(SECRET).read(other)


def test_another_secret_is_told_and_never_shown():
    token = Signer(SECRET).sign(HERE, Seen(FLOOR, A))
    with pytest.raises(ParameterError, match="same token_secret") as caught:
        Signer("another of sixteen characters").read(token)
    assert SECRET not in str(caught.value)
    assert "another of" not in str(caught.value)
    assert SECRET not in repr(Signer(SECRET))
    assert caught.value.retry_safe


def test_any_text_is_a_secret():
    signer = Signer("sixteen or more \udcff")
    assert signer.read(signer.sign(NO_CLUSTER, Seen())) == (NO_CLUSTER, Seen())


def test_without_a_secret_the_tokens_are_of_this_process():
    token = Signer(None).sign(HERE, Seen(FLOOR, A))
    assert Signer(None).read(token) == (HERE, Seen(FLOOR, A))
    code = "from aurora_sql.cluster import Signer, Seen; print(Signer(None).sign(bytes(8), Seen()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    with pytest.raises(ParameterError, match="set token_secret"):
        Signer(None).read(done.stdout.strip())


def test_another_format_is_told(monkeypatch):
    monkeypatch.setattr("aurora_sql.cluster._tokens._VERSION", 2)
    token = Signer(SECRET).sign(HERE, Seen(FLOOR, A))
    monkeypatch.undo()
    with pytest.raises(ParameterError, match=r"format 2, and this version .* reads format 1"):
        Signer(SECRET).read(token)


def test_a_token_shows_neither_secret_nor_address():
    data = base64.urlsafe_b64decode(Signer(SECRET).sign(HERE, Seen(FLOOR, A)) + "==")
    assert SECRET.encode() not in data


# -- what was seen -------------------------------------------------------------------------


def test_whoever_has_seen_nothing_is_content_with_any_reader():
    assert Seen().is_shown_by(A, None)
    assert Seen().is_shown_by(A, {1: 1})


@pytest.mark.parametrize(
    ("replayed", "shown", "may_be"),
    [
        (None, False, True),
        ({3: 999}, False, True),
        ({3: 1_000}, True, True),
        ({3: 1_001}, True, True),
        ({3: 1_001, 4: 1}, True, True),
        ({3: 999, 4: 1_001}, False, True),
        ({4: 1_001}, False, False),
        ({2: 1_001}, False, False),
    ],
)
def test_a_reader_must_have_replayed_the_floor_in_its_epoch(replayed, shown, may_be):
    assert Seen(FLOOR).is_shown_by(A, replayed) is shown
    assert Seen(FLOOR, A).is_shown_by(A, replayed) is shown
    assert Seen(FLOOR).may_be_shown_by(replayed) is may_be


def test_the_reader_that_was_looked_at_never_goes_back_and_no_other_is_known_to_follow():
    seen = Seen(FLOOR).after(A)
    far = {3: 2**63}
    assert seen.is_shown_by(A, far)
    assert not seen.is_shown_by(B, far)
    assert seen.after(A) == seen


@pytest.mark.parametrize(
    ("first", "then", "by"),
    [(NOBODY, A, A), (A, A, A), (A, B, WRITER), (A, WRITER, WRITER), (WRITER, A, WRITER)],
)
def test_two_servers_are_covered_by_the_writer_only(first, then, by):
    seen = Seen(FLOOR, first).after(then)
    assert seen == Seen(FLOOR, by)
    if by == WRITER:
        assert not seen.is_shown_by(A, {3: 2**63})


@pytest.mark.parametrize(
    ("floor", "position", "settled"),
    [
        (None, Position(3, 5), Seen(Position(3, 5))),
        (FLOOR, Position(3, 2_000), Seen(Position(3, 2_000))),
        (FLOOR, Position(3, 900), Seen(FLOOR)),  # the floor was read without waiting for the disk
        (FLOOR, Position(4, 900), Seen(Position(4, 900))),
        (FLOOR, Position(2, 9_000), Seen(FLOOR, WRITER)),  # no writer any more, and unaware of it
        (FLOOR, Position(0, 900), Seen(Position(0, 900))),
        (Position(0, 5), Position(1, 1), Seen(Position(1, 1))),
        # Histories of MySQL: their numbers tell nothing, what they cover does.
        (FLOOR, Position(7, 5, {7: 5, 3: 1_000}), Seen(Position(7, 5))),
        (FLOOR, Position(2, 5, {2: 5, 3: 1_000}), Seen(Position(2, 5))),
        (FLOOR, Position(7, 5, {7: 5, 3: 999}), Seen(FLOOR, WRITER)),
        (FLOOR, Position(7, 5, {7: 5}), Seen(FLOOR, WRITER)),
    ],
)
def test_a_position_of_the_writer_settles_what_was_seen(floor, position, settled):
    assert Seen(floor, WRITER).settled(position) == settled


progresses = st.lists(st.dictionaries(st.integers(0, 3), st.integers(1, 9), min_size=1), min_size=1)


@given(progresses)
def test_a_reader_never_goes_back(answers):
    replica = Replica(A)
    for answer in answers:
        replica.learn(answer, side_by_side=True)
        assert all(replica.replayed[epoch] >= lsn for epoch, lsn in answer.items())
    told = {pair for answer in answers for pair in answer.items()}
    assert replica.replayed == {epoch: max(n for e, n in told if e == epoch) for epoch, _ in told}


@given(progresses)
def test_of_epochs_that_follow_each_other_the_latest_counts(answers):
    replica = Replica(A)
    for answer in answers:
        replica.learn(answer, side_by_side=False)
    told = {pair for answer in answers for pair in answer.items()}
    latest = max(epoch for epoch, _ in told)
    assert replica.replayed == {latest: max(n for e, n in told if e == latest)}


def test_identifiers_have_no_meaning_of_their_own():
    found = {identifier(n) for n in range(1_000)}
    assert len(found) == 1_000
    assert not found & {NOBODY, WRITER, NO_CLUSTER}
    assert all(len(one) == len(NOBODY) for one in found)
