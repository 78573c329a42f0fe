"""Rows: what a statement returns, with a model or without.

Without a model a caller gets :class:`Row` objects as the driver made them. With one,
:func:`build_maker` checks the columns of the prepared statement against it once, and returns the
function that turns lists of rows into lists of models.
"""

from aurora_sql.rows._maker import build_maker
from aurora_sql.rows._resolve import resolve_model
from aurora_sql.rows._row import PlainRow, Row, RowColumns, name_columns

__all__ = ["PlainRow", "Row", "RowColumns", "build_maker", "name_columns", "resolve_model"]
