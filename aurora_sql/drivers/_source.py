"""Taking rows from a caller's iterable: who failed, and at which row, at little cost per row."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import BulkValueError

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Callable,
        Iterable,
        Iterator,
        Sequence,
    )

_BATCH = 512


class StoppedError(Exception):
    """The rows were wanted no more."""


class Source:
    """Rows from an iterable, in small batches.

    A consumer written in C takes the rows through :meth:`flat` without a Python frame per row.
    After a failure the batch iterator's length hint tells which row was being worked on, and
    :attr:`error` tells whether the caller's own iterable raised.

    Args:
        rows: The caller's rows.
        width: Values that each row must have, None for not checked here.
        alive: Asked before each batch; no more rows are taken once it says no.
    """

    __slots__ = (
        "_alive",
        "_batch",
        "_before",
        "_iterator",
        "_rows",
        "_stopped",
        "_width",
        "error",
        "exhausted",
    )

    def __init__(
        self,
        rows: Iterable[Sequence[Any]],
        *,
        width: int | None = None,
        alive: Callable[[], bool] | None = None,
    ) -> None:
        self._rows = rows
        self._width = width
        self._alive = alive
        self._batch: list[Sequence[Any]] = []
        self._iterator: Iterator[Sequence[Any]] = iter(self._batch)
        self._before = 0
        self._stopped = False
        self.exhausted = False
        self.error: BaseException | None = None

    def stop(self) -> None:
        """Hand out no more rows: the consumer gets an error with the next batch."""
        self._stopped = True

    def flat(self) -> Iterator[Sequence[Any]]:
        """The rows, one by one."""
        return chain.from_iterable(self._batches())

    def _batches(self) -> Iterator[Iterator[Sequence[Any]]]:
        try:
            rows = iter(self._rows)
            while batch := list(islice(rows, _BATCH)):
                if self._stopped:
                    raise StoppedError  # noqa: TRY301 - it is the source that fails
                if self._width is not None:
                    check_width(batch, self._width, self._before + len(self._batch))
                if self._alive is not None and not self._alive():
                    break
                self._before += len(self._batch)
                self._batch = batch
                self._iterator = iter(batch)
                yield self._iterator
        except Exception as exc:
            self.error = exc
            raise
        self.exhausted = True
        if self._alive is not None and not self._alive():
            raise ConnectionResetError("the connection broke while rows were being sent")

    @property
    def position(self) -> tuple[int, Sequence[Any] | None]:
        """Number of the row taken last, from 0, and the row; (-1, None) before the first."""
        left: int = self._iterator.__length_hint__()  # type: ignore[attr-defined] # a list's iterator has it
        index = len(self._batch) - left - 1
        return self._before + index, self._batch[index] if index >= 0 else None


class AsyncSource:
    """The same for an async iterable, with a frame per row, as its nature is.

    Args:
        rows: The caller's rows; closed at the end if they can be.
        width: Values that each row must have.
        alive: Asked before each row; no more rows are taken once it says no.
    """

    __slots__ = ("_alive", "_flat", "_number", "_row", "_rows", "_width", "error")

    def __init__(
        self, rows: AsyncIterable[Sequence[Any]], *, width: int, alive: Callable[[], bool]
    ) -> None:
        self._rows = rows
        self._width = width
        self._alive = alive
        self._number = -1
        self._row: Sequence[Any] | None = None
        self._flat: AsyncGenerator[Sequence[Any], None] | None = None
        self.error: BaseException | None = None

    def flat(self) -> AsyncGenerator[Sequence[Any], None]:
        """The rows, one by one."""
        self._flat = self._take()
        return self._flat

    async def _take(self) -> AsyncGenerator[Sequence[Any], None]:
        width, alive = self._width, self._alive
        try:
            async for row in self._rows:
                try:
                    fits = len(row) == width
                except TypeError:
                    fits = False
                if not fits:
                    check_width([row], width, self._number + 1)
                if not alive():
                    break
                self._number += 1
                self._row = row
                yield row
        except Exception as exc:
            self.error = exc
            raise
        if not alive():
            raise ConnectionResetError("the connection broke while rows were being sent")

    async def close(self) -> None:
        """Close what was opened, the caller's generator too: nobody takes its rows any more."""
        if self._flat is not None:
            await self._flat.aclose()
        close = getattr(self._rows, "aclose", None)
        if close is not None:
            await close()

    @property
    def position(self) -> tuple[int, Sequence[Any] | None]:
        """Number of the row taken last, from 0, and the row; (-1, None) before the first."""
        return self._number, self._row


def check_width(batch: list[Sequence[Any]], width: int, first: int) -> None:
    """Refuse rows with more or fewer values than columns.

    Raises:
        BulkValueError: Names the row, counted from ``first``.
    """
    try:
        if set(map(len, batch)) == {width}:
            return
    except TypeError:
        pass
    for number, row in enumerate(batch, first):
        if not hasattr(row, "__len__"):
            raise BulkValueError(
                f"row {number}: a row is a sequence of {width} values, not {type(row).__name__}",
                row=number,
            )
        if len(row) != width:
            raise BulkValueError(f"row {number}: {len(row)} values for {width} columns", row=number)
