"""Rows that come in columns: Arrow record batches.

Nothing is imported here: whoever has such batches has loaded pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aurora_sql.errors import BulkValueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# Conversions to a value of Python; which error it is depends on the type.
_REFUSALS: Final = (ValueError, OverflowError, TypeError, ImportError)


class ColumnBatches:
    """Record batches, whole for a driver that encodes columns, row by row for any other.

    Args:
        schema: Arrow schema of the batches: the columns of the load, in their order.
        batches: Record batches; taken as they are needed, once.

    Attributes:
        schema: As given.
        names: Names of the columns.
        batches: As given, as an iterator.
    """

    def __init__(self, schema: Any, batches: Iterable[Any]) -> None:
        self.schema = schema
        self.names: tuple[str, ...] = tuple(schema.names)
        self.batches: Iterator[Any] = iter(batches)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        before = 0
        for batch in self.batches:
            yield from rows_of(batch, self.names, before)
            before += batch.num_rows


def rows_of(batch: Any, names: Sequence[str], before: int) -> Iterator[tuple[Any, ...]]:
    """Return the rows of a record batch as tuples of Python values.

    Args:
        batch: The record batch.
        names: Names of its columns, for messages.
        before: Rows before it, for messages.

    Raises:
        BulkValueError: Python has no such value (a date in the year 10000); names the row.
    """
    columns = [
        values_of(column, name, before) for name, column in zip(names, batch.columns, strict=True)
    ]
    return zip(*columns, strict=True)


def values_of(column: Any, name: str, before: int) -> list[Any]:
    """Return one column as Python values.

    Raises:
        BulkValueError: As :func:`rows_of`.
    """
    try:
        values: list[Any] = column.to_pylist()
    except _REFUSALS as error:
        for row in range(len(column)):
            try:
                column[row].as_py()
            except _REFUSALS as refusal:
                number = before + row
                raise BulkValueError(
                    f"row {number}, column {name!r}: {refusal}", row=number, column=name
                ) from error
        raise
    return values
