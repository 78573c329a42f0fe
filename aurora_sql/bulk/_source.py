"""The caller's rows, cut into batches and counted."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from operator import length_hint
from typing import TYPE_CHECKING, Any

from aurora_sql.bulk._shape import find_shape
from aurora_sql.bulk._values import is_model
from aurora_sql.errors import DeadlineExceeded, ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.bulk._shape import Shape

_END: Any = object()
_SLICE = 1000
"""Rows that are looked at together."""

_WIDE = 8192
"""Bytes of a row from which rows are taken one by one, for memory's sake."""

PROGRESS_STEP = 10_000
"""Rows between two reports of progress within one batch."""


class Source:
    """Rows from any iterable.

    What goes wrong in here, the caller's own errors among it, is remembered in :attr:`error`:
    such an error is passed on as it is and never leads to another attempt.

    Args:
        rows: Any iterable, also an asynchronous one.
        what: Names the operation in messages.

    Attributes:
        length: Number of rows, where all of them are in hand (a list or a tuple); else None.
        taken: Rows handed out so far.
        handed_out: All rows of the current batch have been asked for: from here on it is not
            certain that a COPY of them is not complete.
        error: What went wrong with the rows themselves.
        progress: Called with the number of rows handed out so far; None for not at all.

    Raises:
        ParameterError: ``rows`` is no iterable of rows.
    """

    def __init__(self, rows: Iterable[Any] | AsyncIterable[Any], what: str) -> None:
        self._what = what
        self._list: Sequence[Any] = ()
        self._sync: Iterator[Any] = iter(())
        self._async: AsyncIterator[Any] | None = None
        self.length: int | None = None
        if isinstance(rows, list | tuple):
            self._list = rows
            self.length = len(rows)
        elif _is_single(rows) or not isinstance(rows, Iterable | AsyncIterable):
            raise ParameterError(
                f"{what}: rows must be an iterable of rows, not a {type(rows).__name__}"
            )
        elif isinstance(rows, AsyncIterable):
            self._async = aiter(rows)
        else:
            self._sync = iter(rows)
        self._ahead: Any = _END
        self._direct: Iterator[Any] | None = None
        self._reported = 0
        self._finished = False
        self.taken = 0
        self.error: BaseException | None = None
        self.progress: Callable[[int], None] | None = None

    # -- before a batch ------------------------------------------------------------------------

    async def more(self, limit: float) -> bool:
        """Tell whether there is another row.

        Args:
            limit: Loop time to wait until for a row of an asynchronous iterable.

        Raises:
            DeadlineExceeded: It took longer.
        """
        if self.length is not None:
            return self.taken < self.length
        if self._ahead is _END:
            try:
                if self._async is None:
                    self._ahead = next(self._sync, _END)
                else:
                    self._ahead = await self._next(self._async, limit)
            except Exception as error:
                self.error = error
                raise
        return self._ahead is not _END

    async def _next(self, rows: AsyncIterator[Any], limit: float) -> Any:
        if limit == math.inf:
            return await anext(rows, _END)
        scope = asyncio.timeout_at(limit)
        try:
            async with scope:
                return await anext(rows, _END)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise DeadlineExceeded(
                f"{self._what}: the deadline passed while waiting for row {self.taken}",
                retry_safe=True,
            ) from error

    def shape(self, columns: Sequence[str] | None) -> Shape:
        """Find out what kind of rows these are, after :meth:`more` said that there is one.

        Args:
            columns: What the caller named, None to take the names from the first row.

        Raises:
            ParameterError: The rows have no names and none were given, or they are no rows.
        """
        return find_shape(self.first, columns, self._what)

    @property
    def first(self) -> Any:
        """The next row, after :meth:`more` said that there is one."""
        return self._list[self.taken] if self.length is not None else self._ahead

    def rewind(self, mark: int) -> bool:
        """Go back to row ``mark``; tell whether that is possible.

        It is where the rows are in hand, and where none was taken since.
        """
        if self.error is not None:
            return False
        if self.length is not None:
            self.taken = mark
            return True
        return self.taken == mark and self._ahead is not _END

    async def close(self) -> None:
        """Close an asynchronous generator of the caller's: nobody takes its rows any more."""
        close = getattr(self._async, "aclose", None)
        if close is not None:
            await close()

    # -- a batch -------------------------------------------------------------------------------

    def batch(
        self, shape: Shape, size: int | None
    ) -> Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]]:
        """Return the next ``size`` rows (all, if None) as values, as an iterable of their kind."""
        self._finished = False
        self._direct = None
        if self._async is not None or (self.length is None and _is_wide(self._ahead, shape)):
            return self._take_async(shape, size)
        if (
            size is None
            and shape.pick is None
            and self.progress is None
            and self.length is not None
            and self.taken == 0
            and self.length <= PROGRESS_STEP
        ):
            # The common case, at the price of one look at the types: the driver gets the list.
            shape.check_kinds(self._list, 0)
            self._direct = iter(self._list)
            return self._direct
        # In slices, so that no row costs a Python frame of its own.
        return chain.from_iterable(self._slices(shape, size))

    @property
    def handed_out(self) -> bool:
        return length_hint(self._direct) == 0 if self._direct is not None else self._finished

    def batch_is_done(self) -> None:
        """Count the rows of a batch that went well."""
        if self._direct is not None and self.length is not None:
            self.taken = self.length

    def _slices(self, shape: Shape, size: int | None) -> Iterator[Sequence[Sequence[Any]]]:
        left = size
        try:
            while left is None or left > 0:
                part = self._draw(_SLICE if left is None else min(left, _SLICE))
                if not part:
                    break
                yield shape.values(part, self.taken)
                self.taken += len(part)
                self._report(PROGRESS_STEP)
                if left is not None:
                    left -= len(part)
            self._report(1)
        except Exception as error:
            self.error = error
            raise
        self._finished = True

    def _draw(self, count: int) -> list[Any]:
        if self.length is not None:
            return list(self._list[self.taken : self.taken + count])
        ahead, self._ahead = self._ahead, _END
        if ahead is _END:
            return list(islice(self._sync, count))
        return [ahead, *islice(self._sync, count - 1)]

    async def _take_async(self, shape: Shape, size: int | None) -> AsyncIterator[Sequence[Any]]:
        plain, kind, rows = shape.pick is None, shape.kind, self._async
        left = -1 if size is None else size
        row, self._ahead = self._ahead, _END
        try:
            while row is not _END:
                if plain and type(row) is kind:
                    yield row
                else:
                    yield shape.values([row], self.taken)[0]
                self.taken += 1
                if self.taken % _SLICE == 0:
                    self._report(PROGRESS_STEP)
                left -= 1
                if left == 0:
                    break
                row = await anext(rows, _END) if rows is not None else next(self._sync, _END)
            self._report(1)
        except Exception as error:
            self.error = error
            raise
        self._finished = True

    def _report(self, step: int) -> None:
        if self.progress is not None and self.taken - self._reported >= step:
            self._reported = self.taken
            self.progress(self.taken)


def _is_single(rows: object) -> bool:
    """Whether this is one thing that happens to be iterable."""
    return isinstance(rows, str | bytes | bytearray | Mapping) or is_model(type(rows))


def _is_wide(first: Any, shape: Shape) -> bool:
    """Whether rows like this one, by the hundred, would fill the memory."""
    return sum(map(sys.getsizeof, shape.row(first))) >= _WIDE
