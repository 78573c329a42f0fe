"""Arrow tables and data frames as the rows of a bulk operation.

Whatever gives its columns through Arrow's PyCapsule interface (``__arrow_c_stream__``,
``__arrow_c_array__``) is taken. pyarrow is imported once such an object is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aurora_sql.bulk._names import check_columns
from aurora_sql.bulk._shape import Shape
from aurora_sql.bulk._source import PROGRESS_STEP, Source
from aurora_sql.drivers import ColumnBatches
from aurora_sql.errors import BulkValueError, ConfigurationError, ParameterError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Iterator, Sequence

_STREAM: Final = "__arrow_c_stream__"
_ARRAY: Final = "__arrow_c_array__"
_ROWS: Final = 8192
"""Rows that are encoded together: few enough to keep the event loop waiting for milliseconds."""

_BYTES: Final = 1 << 22
"""Bytes of rows that are encoded together, about."""


def make_source(rows: Any, what: str) -> Source:
    """Return the source for any kind of rows.

    Args:
        rows: What the caller gave.
        what: Names the operation in messages.

    Raises:
        ConfigurationError: They need a package that is not installed.
        ParameterError: They are no rows.
    """
    # Rows in a list are what most callers have.
    if not isinstance(rows, list | tuple | type) and (
        hasattr(rows, _STREAM) or hasattr(rows, _ARRAY)
    ):
        return ArrowSource(rows, what)
    return Source(rows, what)


class ArrowSource(Source):
    """Rows from record batches.

    A table, a record batch and a data frame are in hand and can be read again; a stream of
    batches is read once. See :class:`Source` for the rest.

    Args:
        rows: Anything with Arrow's PyCapsule interface.
        what: Names the operation in messages.

    Raises:
        ConfigurationError: pyarrow or numpy is not installed.
        ParameterError: It has no columns with names.
    """

    def __init__(self, rows: Any, what: str) -> None:
        super().__init__((), what)
        self._pa = pa = _pyarrow(what)
        self._table: Any = None
        self._stream: Iterator[Any] = iter(())
        table = _table_of(rows, pa, what)
        if table is not None:
            self._table = table
            self._schema = table.schema
            self.length = table.num_rows
        else:
            reader = pa.RecordBatchReader.from_stream(rows)
            self._stream = iter(reader)
            self._schema = reader.schema
            self.length = None
        check_columns(self._schema.names, f"{what}: the columns of {type(rows).__name__}")
        self._chosen: tuple[str, ...] = tuple(self._schema.names)
        self._held: Any = None
        self._stopped = False

    def shape(self, columns: Sequence[str] | None) -> Shape:
        """Return what the rows are like.

        Raises:
            ParameterError: There is no such column.
        """
        if columns is not None:
            self._chosen = check_columns(columns, f"{self._what}: columns")
            missing = [name for name in self._chosen if name not in self._schema.names]
            if missing:
                raise ParameterError(
                    f"{self._what}: there is no column {', '.join(map(repr, missing))}; there are"
                    f" {', '.join(map(repr, self._schema.names))}"
                )
        return Shape(self._chosen, self._what, tuple, (tuple,), None)

    async def more(self, limit: float) -> bool:
        """Tell whether there is another row; see :meth:`Source.more`."""
        if self.length is not None:
            return await super().more(limit)
        try:
            return self._fill()
        except Exception as error:
            self.error = error
            raise

    def _fill(self) -> bool:
        """Hold a batch that has rows, if there is one."""
        while self._held is None or self._held.num_rows == 0:
            self._held = next(self._stream, None)
            if self._held is None:
                return False
        return True

    def rewind(self, mark: int) -> bool:
        """Go back to row ``mark``; see :meth:`Source.rewind`."""
        if self.error is not None:
            return False
        if self.length is None:
            return self.taken == mark
        self.taken = mark
        return True

    def batch(
        self, shape: Shape, size: int | None
    ) -> Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]]:
        """Return the next ``size`` rows (all, if None) as :class:`ColumnBatches`."""
        self._finished = False
        schema = self._pa.schema(
            [
                self._pa.field(name, _plain(self._schema.field(name).type, self._pa))
                for name in shape.columns
            ]
        )
        return ColumnBatches(schema, self._counted(schema, size))

    def _counted(self, schema: Any, size: int | None) -> Iterator[Any]:
        left, before = size, self.taken
        try:
            while left is None or left > 0:
                part = self._cut(_ROWS if left is None else min(left, _ROWS))
                if part is None:
                    break
                yield self._cast(part, schema, self.taken - before)
                self.taken += part.num_rows
                self._report(PROGRESS_STEP)
                if left is not None:
                    left -= part.num_rows
            self._report(1)
        except BulkValueError:
            raise  # the operation adds the rows before this batch
        except Exception as error:
            self.error = error
            raise
        self._finished = True

    def _cut(self, most: int) -> Any:
        """Take up to ``most`` rows, as one record batch; None at the end."""
        if self.length is None:
            if not self._fill():
                return None
            held = self._held
            part = held.slice(0, _fitting(held, most))
            self._held = held.slice(part.num_rows)
            return part.select(list(self._chosen))
        if self.taken >= self.length:
            return None
        part = self._table.slice(self.taken, most).select(list(self._chosen))
        part = part.slice(0, _fitting(part, most)).combine_chunks()
        return part.to_batches()[0]

    def _cast(self, part: Any, schema: Any, before: int) -> Any:
        """Bring the columns to the types that this library knows."""
        pa, columns = self._pa, []
        for name, column, field in zip(schema.names, part.columns, schema, strict=True):
            if column.type == field.type:
                columns.append(column)
                continue
            try:
                columns.append(column.cast(field.type))
            except pa.ArrowInvalid as error:
                row = before + _first_refused(column, field.type, pa)
                raise BulkValueError(
                    f"row {row}, column {name!r}: {error}", row=row, column=name
                ) from error
        return pa.RecordBatch.from_arrays(columns, schema=schema)


def _pyarrow(what: str) -> Any:
    try:
        import numpy  # noqa: F401, ICN001, PLC0415 - only who loads Arrow needs it
        import pyarrow as pa  # noqa: PLC0415 - as numpy
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{what}: Arrow tables and data frames need {error.name}:"
            " pip install 'aurora-sql[arrow]'"
        ) from error
    return pa


def _table_of(rows: Any, pa: Any, what: str) -> Any:  # noqa: PLR0911 - one for each kind
    """Return rows that are in hand as a table; None for a stream."""
    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    if isinstance(rows, pa.RecordBatchReader):
        return None
    if type(rows).__module__.partition(".")[0] == "pandas":
        # The index is no column: rows are numbered where nobody asked for it.
        if not hasattr(rows, "columns"):
            raise ParameterError(f"{what}: rows must be a data frame, not a series")
        return pa.Table.from_pandas(rows, preserve_index=False)
    if hasattr(rows, "height") and hasattr(rows, _STREAM):  # a polars frame
        return pa.table(rows)
    if not hasattr(rows, _STREAM):
        return pa.Table.from_batches([pa.record_batch(rows)])
    return None


def _plain(kind: Any, pa: Any) -> Any:
    """Return the type that stands for an Arrow type here: one for each kind of value."""
    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _plain(kind.value_type, pa)
    if types.is_timestamp(kind):
        # Which zone it is shown in does not count; the server keeps the moment.
        return pa.timestamp("us", None if kind.tz is None else "UTC")
    for is_kind, plain in (
        (types.is_time, pa.time64("us")),
        (types.is_duration, pa.duration("us")),
        (types.is_date64, pa.date32()),
        (types.is_float16, pa.float32()),
        (_named("is_string_view", types), pa.large_string()),
        (_named("is_binary_view", types), pa.large_binary()),
    ):
        if is_kind(kind):
            return plain
    if str(kind).startswith(("decimal32", "decimal64")):
        return pa.decimal128(kind.precision, kind.scale)
    return kind


def _named(name: str, types: Any) -> Any:
    """Return a question that older versions of pyarrow do not know."""
    return getattr(types, name, lambda _: False)


def _first_refused(column: Any, kind: Any, pa: Any) -> int:
    for row in range(len(column)):
        try:
            column.slice(row, 1).cast(kind)
        except pa.ArrowInvalid:
            return row
    return 0


def _fitting(part: Any, most: int) -> int:
    """Return how many of the first rows to take, for memory's sake: at least one."""
    rows: int = part.num_rows
    if not rows:
        return 0
    size = part.nbytes
    by_size = rows if size <= _BYTES else max(1, rows * _BYTES // size)
    return min(most, by_size)
