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

    def batches(self) -> AsyncGenerator[list[RowT], None]:
        """Return the rows in lists, as they come from the server: quicker than one by one.

        Raises:
            UsageError: The stream was iterated before.
        """
        if self._taken:
            raise UsageError(f"{self._what}: a stream is read once; call stream() again")
        self._taken = True
        return self._batches

    async def _rows(self, batches: AsyncGenerator[list[RowT], None]) -> AsyncIterator[RowT]:
        async with aclosing(batches):
            async for batch in batches:
                for row in batch:
                    yield row

    def __aiter__(self) -> AsyncIterator[RowT]:
        return self._rows(self.batches())

    async def __aenter__(self) -> RowStream[RowT]:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._batches.aclose()

    def __repr__(self) -> str:
        return f"<RowStream of {self._what}{', taken' if self._taken else ''}>"
