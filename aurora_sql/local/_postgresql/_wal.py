"""The write-ahead log that plays Aurora's storage.

PostgreSQL acknowledges a commit after it has written its log to the operating system, and what
was written outlives the process, however that dies. So the log folder of the writer that is
gone holds every acknowledged commit (those under ``synchronous_commit=off`` excepted, which are
acknowledged before). Nothing runs beside the writer for that, and no commit waits for anyone.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError, OperationalError

if TYPE_CHECKING:
    from pathlib import Path

    from aurora_sql.local._postgresql._binaries import Binaries

_SEGMENT = re.compile(r"[0-9A-F]{24}")
_HISTORY = re.compile(r"([0-9A-F]{8})\.history")
_RECORD = re.compile(r"lsn: ([0-9A-F]+/[0-9A-F]+), prev")
_PAGE = 8192
# Of a page: begins with a magic number, so that it is never all zeros.
_HEADER = 16
_END = ("error in WAL record at", "could not find a valid record", "could not find file")
"""What ``pg_waldump`` says where the log ends."""


class Storage:
    """Where a reader finds the log of a writer that is gone: a link that exists only then."""

    def __init__(self, folder: Path) -> None:
        self._link = folder / "storage"

    def restore_command(self) -> str:
        """What a reader fetches a segment with; fails at once while the writer lives."""
        place = shlex.quote(str(self._link)).replace("%", "%%")
        return f'cp {place}/%f "%p" 2>/dev/null'

    def open(self, log: Path) -> None:
        """Show the log of a writer of which no process lives any more."""
        self.close()
        self._link.symlink_to(log.resolve())

    def close(self) -> None:
        """Hide it again."""
        self._link.unlink(missing_ok=True)


def parse(position: str) -> int:
    """A position in the log as a number."""
    high, low = position.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def show(position: int) -> str:
    """A position in the log as PostgreSQL shows it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:08X}"


def drop_unwritten(log: Path) -> None:
    """Remove segments that a server made for later and has not written to: all zeros.

    ``pg_waldump`` takes the size of a segment from the header of the first file that it finds.
    """
    for path in log.iterdir():
        if _SEGMENT.fullmatch(path.name):
            with path.open("rb") as file:
                written = any(file.read(_HEADER))
            if not written:
                path.unlink()


def last_record(binaries: Binaries, log: Path, after: int) -> int:
    """Where the last complete record of a log begins. Blocks.

    PostgreSQL's own reader finds it: a record that a crash cut off fails its checksum.

    Args:
        binaries: Where ``pg_waldump`` is.
        log: The log folder of a server that does not run.
        after: A position up to which it is known to be complete.

    Returns:
        The record's position, 0 if there is none after the page of ``after``.

    Raises:
        ConfigurationError: ``pg_waldump`` is missing.
        OperationalError: The log cannot be read.
    """
    program = binaries.folder / "pg_waldump"
    if not program.is_file():
        raise ConfigurationError(f"failover needs the program pg_waldump in {binaries.folder}")
    segments = sorted(name for name in os.listdir(log) if _SEGMENT.fullmatch(name))  # noqa: PTH208 - names
    timeline = max(name[:8] for name in segments)
    own = [name for name in segments if name.startswith(timeline)]
    size = (log / own[0]).stat().st_size
    # The page before it, so that there is at least one record unless one fills the page.
    start = max((after - 1) // _PAGE * _PAGE, _start_of(own[0], size), _PAGE)
    found = 0
    with subprocess.Popen(  # noqa: S603 - the program beside the server
        [program, "-p", log, "-t", str(int(timeline, 16)), "-s", show(start)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
    ) as process:
        if process.stdout is None or process.stderr is None:
            raise AssertionError
        try:
            for line in process.stdout:
                match = _RECORD.search(line)
                if match is not None:
                    found = parse(match[1])
            said = process.stderr.read()
        except BaseException:
            process.kill()
            raise
    if not any(text in said for text in _END):
        raise OperationalError(f"pg_waldump could not read {log}: {said.strip()}")
    return found


def switch_point(log: Path) -> tuple[int, int]:
    """Where the newest timeline of a promoted server began: the old timeline and the position."""
    names = os.listdir(log)  # noqa: PTH208 - names
    newest = max(name for name in names if _HISTORY.fullmatch(name))
    lines = (log / newest).read_text().split("\n")
    timeline, position, *_ = next(line for line in reversed(lines) if line.strip()).split()
    return int(timeline), parse(position)


def discard_after(log: Path, timeline: int, position: int) -> None:
    """Remove what a crash cut off behind the last complete record.

    The new timeline goes on at that place. A piece of a record there would be pieced together
    with the pages of the new timeline, and the server would stumble over it.
    """
    prefix = f"{timeline:08X}"
    for path in sorted(log.iterdir()):
        if not (_SEGMENT.fullmatch(path.name) and path.name.startswith(prefix)):
            continue
        size = path.stat().st_size
        start = _start_of(path.name, size)
        if start >= position:
            path.unlink()
        elif start + size > position:
            with path.open("r+b") as file:
                file.seek(position - start)
                file.write(bytes(start + size - position))


def _start_of(name: str, size: int) -> int:
    return (int(name[8:16], 16) << 32) + int(name[16:24], 16) * size
