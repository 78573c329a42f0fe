"""What a client is told: answers, and which error of the library becomes which of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from aurora_sql import (
    AuroraError,
    ConfigurationError,
    ConflictError,
    DataError,
    DeadlineExceeded,
    IntegrityError,
    OperationalError,
    PoolError,
    QueryCancelled,
    ReadOnlyInstance,
    RowNotFound,
    StaleVersion,
)

_ABOUT_THE_REQUEST = (DataError, IntegrityError, RowNotFound, StaleVersion)

_PASSING = (ConflictError, DeadlineExceeded, OperationalError, PoolError, QueryCancelled)
"""Trouble that time may heal, unlike a mistake in a setting, a file or a call."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, before it is sent.

    Attributes:
        status: Status code of HTTP.
        body: What is sent as JSON; models and decimals included.
        headers: Further headers.
    """

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Headers and body as ASGI wants them."""
        body = to_json(self.body)
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **self.headers,
        }
        return [(name.encode(), value.encode()) for name, value in headers.items()], body


def problem(status: int, title: str, *, retry_after: int | None = None, **more: Any) -> Answer:
    """Say what is wrong."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return Answer(status, {"title": title, **more}, headers)


def answer_for(error: AuroraError) -> Answer:
    """Decide what a client is told about an error.

    What the client did wrong comes first. Of the rest two questions decide: if it is not known
    whether the work was done, the client must look before it asks again (504); if it is certain
    that nothing was done and the trouble may pass, it may simply ask again (503). Anything else
    is our own mistake (500). No message of the database goes out: it may quote data.
    """
    if isinstance(error, _ABOUT_THE_REQUEST):
        return _about_the_request(error)
    if error.outcome_unknown:
        return problem(
            504, "it is not known whether this was done; look before asking again", done=None
        )
    passing = isinstance(error, (*_PASSING, ReadOnlyInstance))
    if passing and error.retry_safe and not isinstance(error, ConfigurationError):
        return problem(503, "not now; nothing was done", retry_after=1, done=False)
    return problem(500, "this is our mistake")


def _about_the_request(error: AuroraError) -> Answer:
    match error:
        case RowNotFound():
            return problem(404, "there is no such thing")
        case StaleVersion():
            return problem(409, "somebody else changed it; read it again")
        case IntegrityError():
            return problem(409, "it contradicts what is there", constraint=error.constraint)
        case _:
            return problem(422, "a value is out of range")
