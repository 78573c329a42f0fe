"""Rows as CSV, as PostgreSQL's COPY has it: NULL is an empty field, the empty text ``""``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.export._values import format_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.types import Column

# What makes quotes necessary.
_SPECIAL: Final = re.compile(r'[",\r\n]')
_END_OF_DATA: Final = "\\."


class CsvRows:
    """Writes rows of these columns.

    Args:
        columns: What the rows consist of.
    """

    __slots__ = ("_columns", "_formats")

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._formats = [format_of(column) for column in columns]

    def header(self) -> bytes:
        """The line with the names of the columns."""
        return self._line([_field(column.name) for column in self._columns]).encode()

    def lines(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """The lines of these rows."""
        formats = self._formats
        return "".join(
            self._line(
                [
                    "" if value is None else _field(form(value))
                    for form, value in zip(formats, row, strict=True)
                ]
            )
            for row in rows
        ).encode()

    def _line(self, fields: list[str]) -> str:
        if fields == [_END_OF_DATA]:
            # Alone on a line it would end the data for some readers.
            fields = [f'"{_END_OF_DATA}"']
        return ",".join(fields) + "\n"


def _field(text: str) -> str:
    if text and not _SPECIAL.search(text):
        return text
    return '"' + text.replace('"', '""') + '"'
