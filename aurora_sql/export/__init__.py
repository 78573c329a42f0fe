"""What a report leaves as: Arrow tables, CSV, and the file that it is written to.

Nothing here talks to a database: it takes columns, and rows or the text of a COPY. pyarrow is
imported once a table is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError
from aurora_sql.export._rows import CsvRows
from aurora_sql.export._target import CsvTarget, Target, target_of

if TYPE_CHECKING:
    from aurora_sql.export._arrow import TableMaker

__all__ = ["CsvRows", "CsvTarget", "Target", "new_table", "target_of"]


def new_table(what: str, *, copied: bool) -> TableMaker:
    """Return what makes an Arrow table of pieces.

    Args:
        what: Names the statement in messages.
        copied: The pieces are the text of a COPY, not rows.

    Raises:
        ConfigurationError: pyarrow or numpy is not installed.
    """
    try:
        from aurora_sql.export import _arrow  # noqa: PLC0415 - only who wants Arrow needs pyarrow
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{what}: an Arrow table needs {error.name}: pip install 'aurora-sql[arrow]'"
        ) from error
    return _arrow.CopiedTable(what) if copied else _arrow.RowsTable(what)
