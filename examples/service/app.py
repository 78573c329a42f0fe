"""The service: opened at start-up, closed at shutdown, one deadline for each request."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aurora_sql import Aurora, AuroraError, LoggingObserver, count_statements, deadline
from examples.service.answers import Answer, answer_for, problem
from examples.shop.models import Address, NewOrder
from examples.shop.scenarios import OutOfStock, place_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aurora_sql import AuroraSettings, Observer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SQL = Path(__file__).resolve().parents[2] / "sql"
LONGEST_BODY = 64 * 1024
OUR_MISTAKE = 500
_TOO_OFTEN = 10

_logger = logging.getLogger("examples.service")


@dataclass(frozen=True, slots=True)
class Request:
    """What a handler needs of a request.

    Attributes:
        id: The number in the path, 0 where there is none.
        query: The parameters after the question mark.
        body: The body.
    """

    id: int
    query: Mapping[str, str]
    body: bytes


class ProductSearch(BaseModel):
    """The parameters of ``GET /products``. What is left out leaves its line out of the SQL."""

    model_config = ConfigDict(extra="forbid")

    category: str | None = None
    max_price: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    min_stock: int | None = Field(default=None, ge=0, le=2**31 - 1)
    sort: str | None = Field(default=None, pattern="^(cheapest|dearest|newest)$")
    limit: int = Field(default=20, ge=1, le=100)


# --- the handlers ----------------------------------------------------------------------------


async def health(db: Aurora, request: Request) -> Answer:  # noqa: ARG001 - one signature for all
    """For a load balancer: 200 while orders can be placed."""
    found = await db.health(timeout=1.0)
    instances = [
        {"id": one.instance.id, "role": one.instance.role, "ok": one.ok, "error": one.error}
        for one in found.instances
    ]
    status = 200 if found.can_write else 503
    return Answer(status, {"ok": found.ok, "can_write": found.can_write, "instances": instances})


async def search_products(db: Aurora, request: Request) -> Answer:
    """From a reader: the statement says ``role: reader``."""
    search = ProductSearch.model_validate(request.query)
    return Answer(200, await db.sql.products.search(**search.model_dump()))


async def show_customer(db: Aurora, request: Request) -> Answer:
    """From a reader too."""
    return Answer(200, await db.sql.customers.summary(id=request.id))


async def move_customer(db: Aurora, request: Request) -> Answer:
    """One write outside any transaction: cut short, its outcome is not known."""
    address = Address.model_validate_json(request.body)
    moved = await db.sql.customers.move(id=request.id, address=address.model_dump())
    return Answer(200, address) if moved else problem(404, "there is no such customer")


async def show_order(db: Aurora, request: Request) -> Answer:
    """From the writer: a buyer looks at an order right after placing it."""
    return Answer(200, await db.sql.orders.with_details(id=request.id))


async def place(db: Aurora, request: Request) -> Answer:
    """In a transaction, which runs again by itself where the database asks for it."""
    order = NewOrder.model_validate_json(request.body)
    try:
        placed = await db.run_in_transaction(place_order, order)
    except OutOfStock as error:
        return problem(409, "too few in stock", product_id=error.product_id, stock=error.stock)
    except LookupError as error:
        return problem(422, str(error))
    return Answer(201, placed, {"location": f"/orders/{placed.id}"})


Handler = Callable[[Aurora, Request], Awaitable[Answer]]

ROUTES: Sequence[tuple[str, re.Pattern[str], Handler]] = tuple(
    (method, re.compile(path.replace("{id}", "([0-9]{1,18})")), handler)
    for method, path, handler in (
        ("GET", "/health", health),
        ("GET", "/products", search_products),
        ("GET", "/customers/{id}", show_customer),
        ("PUT", "/customers/{id}/address", move_customer),
        ("GET", "/orders/{id}", show_order),
        ("POST", "/orders", place),
    )
)


# --- the application -------------------------------------------------------------------------


class Service:
    """The ASGI application.

    Args:
        settings: Where the database is; ``AURORA_*`` variables, read at start-up, by default.
        time_limit: Seconds that the database work of one request may take.
        observers: Called with the library's events; a logger by default.
    """

    def __init__(
        self,
        settings: AuroraSettings | None = None,
        *,
        time_limit: float = 2.0,
        observers: Sequence[Observer] = (LoggingObserver(),),
    ) -> None:
        self._settings = settings
        self._time_limit = time_limit
        self._observers = observers
        self._db: Aurora | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of the ASGI server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            answer = await self._answer(scope, receive)
            headers, body = answer.encoded()
            start = {"type": "http.response.start", "status": answer.status, "headers": headers}
            await send(start)
            await send({"type": "http.response.body", "body": body})
        else:
            raise NotImplementedError(f"this service speaks no {scope['type']}")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with AsyncExitStack() as stack:
            try:
                # Settings, SQL files and a connection to the writer: what is wrong shows now.
                self._db = await stack.enter_async_context(
                    Aurora(self._settings, sql=SQL, observers=self._observers)
                )
            except AuroraError as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
            self._db = None
        # Here every connection is closed.
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        found = [
            (method, match, handler)
            for method, pattern, handler in ROUTES
            if (match := pattern.fullmatch(scope["path"]))
        ]
        if not found:
            return problem(404, "there is no such path")
        for method, match, handler in found:
            if method == scope["method"]:
                id_ = int(match[1]) if match.groups() else 0
                return await self._handle(handler, id_, scope, receive)
        allowed = ", ".join(method for method, _, _ in found)
        return Answer(405, {"title": f"use {allowed}"}, {"allow": allowed})

    async def _handle(self, handler: Handler, id_: int, scope: Scope, receive: Receive) -> Answer:
        body = await _read_body(receive)
        if body is None:
            return problem(413, f"at most {LONGEST_BODY} bytes")
        if self._db is None:
            return problem(503, "the service is not open", retry_after=1, done=False)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        try:
            # Every statement of the request shares it, waiting for a connection included.
            # A statement that runs over and over in it is worth a warning.
            with deadline(self._time_limit), count_statements(warn_at=_TOO_OFTEN):
                return await handler(self._db, Request(id_, query, body))
        except ValidationError as error:
            # Without the input: it may be anything, NaN or broken UTF-8 too.
            details = error.errors(include_url=False, include_context=False, include_input=False)
            return problem(422, "this cannot be read", errors=details)
        except AuroraError as error:
            answer = answer_for(error)
            if answer.status == OUR_MISTAKE:
                _logger.exception("%s", scope["path"])
            elif answer.status > OUR_MISTAKE:
                _logger.warning("%s: %s", scope["path"], error)
            return answer


async def _read_body(receive: Receive) -> bytes | None:
    """Read the body; None where it is too long."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > LONGEST_BODY:
            return None
        if not message.get("more_body", False):
            return bytes(body)
