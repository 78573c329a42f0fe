"""A piece of SQL text and where it came from: every place in an error is computed here."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from aurora_sql.errors import StatementFileError

if TYPE_CHECKING:
    from pathlib import Path


class Source:
    """The text of a file, or of ad hoc SQL, with lines ended by a newline alone.

    Args:
        text: The text; CRLF and lone CR become a newline, so that what is sent does not depend
            on how the file was checked out.
        path: The file, None for ad hoc SQL.
    """

    __slots__ = ("_starts", "path", "text")

    def __init__(self, text: str, path: Path | None = None) -> None:
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.text = text
        self.path = path
        self._starts: list[int] | None = None

    def __repr__(self) -> str:
        return f"<Source {self.path or '(text)'} {len(self.text)} characters>"

    def part(self, start: int, end: int) -> Source:
        """The text between two offsets, all before it blank: places in it are places in this."""
        before = "\n" * self.text.count("\n", 0, start)
        last = self.text.rfind("\n", 0, start) + 1
        return Source(before + " " * (start - last) + self.text[start:end], self.path)

    def _line_starts(self) -> list[int]:
        # Made on the first use: only statements' first lines and errors need it.
        if self._starts is None:
            starts = [0]
            find, at = self.text.find, 0
            while (at := find("\n", at) + 1) > 0:
                starts.append(at)
            self._starts = starts
        return self._starts

    def line(self, offset: int) -> int:
        """Number of the line that holds the character at ``offset``, from 1."""
        return bisect_right(self._line_starts(), offset)

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of the character at ``offset``, both from 1."""
        starts = self._line_starts()
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1] + 1

    def error(self, message: str, offset: int | None = None) -> StatementFileError:
        """An error that names the file and, for an offset into the text, line and column."""
        if offset is None:
            return StatementFileError(message, path=self.path)
        line, column = self.place(offset)
        return StatementFileError(message, path=self.path, line=line, column=column)
