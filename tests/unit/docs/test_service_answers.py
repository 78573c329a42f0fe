"""Which error of the library becomes which status of the example service."""

from __future__ import annotations

import inspect
import json

import pytest

from aurora_sql import errors
from examples.service import Answer, answer_for

CLASSES = [
    one
    for one in vars(errors).values()
    if inspect.isclass(one) and issubclass(one, errors.AuroraError)
]


def make(one, **answers):
    error = one("no", row=0) if one is errors.BulkValueError else one("no")
    for name, value in answers.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize("one", CLASSES, ids=lambda one: one.__name__)
def test_unknown_outcome_is_never_answered_as_if_it_were_known(one):
    status = answer_for(make(one, outcome_unknown=True, retry_safe=False)).status
    about_the_request = (
        errors.RowNotFound,
        errors.StaleVersion,
        errors.IntegrityError,
        errors.DataError,
    )
    assert status == 504 or issubclass(one, about_the_request)


@pytest.mark.parametrize("one", CLASSES, ids=lambda one: one.__name__)
def test_nobody_is_asked_to_come_back_for_what_may_have_been_done(one):
    answer = answer_for(make(one, outcome_unknown=False, retry_safe=False))
    assert answer.status != 503
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.RowNotFound("no"), 404),
        (errors.TooManyRows("two"), 500),
        (errors.StaleVersion("old"), 409),
        (errors.UniqueViolation("twice", constraint="users_email_key"), 409),
        (errors.ForeignKeyViolation("none"), 409),
        (errors.DataError("too large"), 422),
        (errors.PoolTimeout("full"), 503),
        (errors.PoolExhausted("full"), 503),
        (errors.Deadlock("again"), 503),
        (errors.TooManyConnections("full"), 503),
        (errors.ReadOnlyInstance("a reader"), 503),
        (errors.DeadlineExceeded("late", retry_safe=True), 503),
        (errors.DeadlineExceeded("late", outcome_unknown=True), 504),
        (errors.ConnectionLost("gone", retry_safe=True), 503),
        (errors.ConnectionLost("gone", outcome_unknown=True), 504),
        (errors.CommitInDoubt("gone"), 504),
        (errors.ConfigurationError("wrong"), 500),
        (errors.ParameterError("wrong"), 500),
        (errors.UsageError("wrong"), 500),
        (errors.ProgrammingError("wrong"), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_status(error, status):
    assert answer_for(error).status == status


def test_messages_of_the_database_do_not_go_out():
    error = errors.UniqueViolation("Key (email)=(ada@example.com) exists", detail="ada@example.com")
    _, body = answer_for(error).encoded()
    assert b"ada" not in body


def test_an_answer_is_json_with_its_length():
    headers, body = Answer(200, {"name": "Zoë"}, {"location": "/x"}).encoded()
    assert json.loads(body) == {"name": "Zoë"}
    assert dict(headers)[b"content-length"] == str(len(body)).encode()
    assert dict(headers)[b"location"] == b"/x"
