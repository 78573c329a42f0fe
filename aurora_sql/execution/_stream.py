"""Rows that come as they are asked for."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aurora_sql.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from types import TracebackType

RowT = TypeVar("RowT")


class RowStream(Generic[RowT]):
    """The rows of one statement from a server-side cursor, in bounded memory.

    ``async for row in stream`` is all that is needed; leaving the loop early gives the
    connection back as soon as the stream is let go of. ``async with stream`` gives it back at
    the end of the block, for certain, also where something else still refers to the stream.
    """

    def __init__(self, batches: AsyncGenerator[list[Any], None], what: str) -> None:
        self._batches = batches
        self._what = what
        self._taken = False
        self._rows: AsyncGenerator[RowT, None] | None = None

    def batches(self) -> AsyncGenerator[list[RowT], None]:
        """Return the rows in lists, as they come from the server: quicker than one by one.

        Raises:
            UsageError: The stream was iterated before.
        """
        if self._taken:
            raise UsageError(f"{self._what}: a stream is read once; call stream() again")
        self._taken = True
        return self._batches

    def __aiter__(self) -> AsyncIterator[RowT]:
        self._rows = _one_by_one(self.batches())
        return self._rows

    async def __aenter__(self) -> RowStream[RowT]:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # From the outside in: a generator that was broken out of is closed by the event loop too,
        # unless it is closed already, and two may not close the same one.
        if self._rows is not None:
            await self._rows.aclose()
        self._taken = True
        await self._batches.aclose()

    def __repr__(self) -> str:
        return f"<RowStream of {self._what}{', taken' if self._taken else ''}>"


async def _one_by_one(batches: AsyncGenerator[list[RowT], None]) -> AsyncGenerator[RowT, None]:
    # No method: its frame would keep the stream alive, and the stream keeps the generator.
    async with aclosing(batches):
        async for batch in batches:
            for row in batch:
                yield row
