"""A minimal ASGI application with the four database tests of TechEmpower, on any data layer.

One row; twenty rows, each by a query of its own; twenty rows read and then changed; a page of
escaped rows with one more that is made for the request.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Pair = tuple[int, int]

WORLDS = 10_000
"""Rows of the table ``world``, and the largest of its numbers."""

QUERIES = 20
"""Rows of one request for several."""

ADDED = "Additional fortune added at request time."

_PAGE = (
    "<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table>"
    "<tr><th>id</th><th>message</th></tr>{rows}</table></body></html>"
)
_NOT_FOUND = 404
_OK = 200


@dataclass(frozen=True, slots=True)
class Page:
    """One of the web rows.

    Attributes:
        name: As ``--rows`` takes it.
        title: For people.
        path: Of the requests.
    """

    name: str
    title: str
    path: str


PAGES = (
    Page("web-query", "web: one query", "/db"),
    Page("web-queries", f"web: {QUERIES} queries", "/queries"),
    Page("web-fortunes", "web: fortunes", "/fortunes"),
    Page("web-updates", f"web: {QUERIES} updates", "/updates"),
)
"""Those of TechEmpower that need a database, in an order in which all data layers agree."""


class Worlds(Protocol):
    """The data layer behind the application."""

    async def one(self, key: int) -> Pair:
        """The row with this id: the id and its number."""

    async def several(self, keys: Sequence[int]) -> list[Pair]:
        """The rows with these ids, each by a query of its own."""

    async def change(self, pairs: Sequence[Pair]) -> None:
        """Read each of these rows by a query of its own, then give it this number."""

    async def fortunes(self) -> list[tuple[int, str]]:
        """All fortunes: id and message."""


def _json(pair: Pair) -> dict[str, int]:
    return {"id": pair[0], "randomNumber": pair[1]}


def page(fortunes: Sequence[tuple[int, str]]) -> bytes:
    """The page of the fortunes and the added one, by message."""
    rows = sorted([*fortunes, (0, ADDED)], key=lambda fortune: fortune[1])
    return _PAGE.format(
        rows="".join(
            f"<tr><td>{number}</td><td>{escape(message)}</td></tr>" for number, message in rows
        )
    ).encode()


class Application:
    """The ASGI application.

    Args:
        worlds: The data layer.
        open_worlds: Opens it when the server starts.
        close_worlds: Closes it when the server stops.
        seed: Of the random rows.
    """

    def __init__(
        self,
        worlds: Worlds,
        open_worlds: Callable[[], Awaitable[None]],
        close_worlds: Callable[[], Awaitable[None]],
        seed: int = 1,
    ) -> None:
        self._worlds = worlds
        self._open = open_worlds
        self._close = close_worlds
        # Not for secrets: which rows are asked for.
        self._random = random.Random(seed)  # noqa: S311 - see above
        self._routes = {
            "/db": self._db,
            "/queries": self._queries,
            "/updates": self._updates,
            "/fortunes": self._fortunes,
        }

    def _key(self) -> int:
        return self._random.randint(1, WORLDS)

    async def _db(self) -> tuple[bytes, bytes]:
        return b"application/json", orjson.dumps(_json(await self._worlds.one(self._key())))

    async def _queries(self) -> tuple[bytes, bytes]:
        found = await self._worlds.several([self._key() for _ in range(QUERIES)])
        return b"application/json", orjson.dumps([_json(pair) for pair in found])

    async def _updates(self) -> tuple[bytes, bytes]:
        # In one order for all requests, or two of them wait for each other.
        keys = sorted(self._random.sample(range(1, WORLDS + 1), QUERIES))
        pairs = [(key, self._key()) for key in keys]
        await self._worlds.change(pairs)
        return b"application/json", orjson.dumps([_json(pair) for pair in pairs])

    async def _fortunes(self) -> tuple[bytes, bytes]:
        return b"text/html; charset=utf-8", page(await self._worlds.fortunes())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or the server's start and end."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        route = self._routes.get(scope["path"])
        if route is None:
            status, kind, body = _NOT_FOUND, b"text/plain", b"not found"
        else:
            status = _OK
            kind, body = await route()
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _lifespan(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._open()
                except Exception as error:  # noqa: BLE001 - the server is told of any
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._close()
                await send({"type": "lifespan.shutdown.complete"})
                return
