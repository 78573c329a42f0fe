"""How much the memory of a process grows while a million rows go through it, each way.

Each way runs in a fresh process, since memory that one operation has grown into would hide what
the next one needs. The process takes its settings from its standard input: arguments would show
the password to all users of the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, SecretStr

from aurora_sql import Aurora, AuroraSettings
from aurora_sql.errors import ConfigurationError
from benchmarks._report import new_table
from benchmarks._work import EVENT_COLUMNS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rich.table import Table

    from benchmarks._target import Target

TARGET_MB = 50.0
ROWS = 1_000_000
_WARM_UP = 100
_ROOT = Path(__file__).resolve().parent.parent
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_KIB_PER_MB = 1024
_KINDS = ("order.placed", "order.paid", "order.shipped")


class Way(StrEnum):
    """What goes through the process."""

    BULK = "bulk"
    STREAM = "stream"


class Growth(BaseModel):
    """What one process found out.

    Attributes:
        rows: Rows that went through.
        seconds: How long it took.
        before: Resident memory in MB when it began.
        peak: The most while it ran, in MB.
        exact: The peak is that of the operation alone; else it is that of the whole process,
            on systems which do not let it be reset.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    seconds: float
    before: float
    peak: float
    exact: bool

    @property
    def growth(self) -> float:
        """MB by which the memory grew."""
        return max(self.peak - self.before, 0.0)


def _status(name: str) -> float:
    """A figure of the process in MB, as Linux tells it."""
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / _KIB_PER_MB
    raise OSError(f"{_STATUS} does not tell {name}")


class Peak:
    """The resident memory from :meth:`begin` on."""

    def __init__(self) -> None:
        self.exact = False
        self.before = 0.0

    def begin(self) -> None:
        """Forget earlier peaks, where the system allows it."""
        try:
            _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
            self.before = _status("VmRSS")
            self.exact = True
        except OSError:
            self.before = self._most()

    def most(self) -> float:
        """The peak since then in MB."""
        return _status("VmHWM") if self.exact else self._most()

    @staticmethod
    def _most() -> float:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Bytes on macOS, KiB elsewhere.
        return most / _KIB_PER_MB / (_KIB_PER_MB if sys.platform == "darwin" else 1)


async def _events(count: int) -> AsyncIterator[tuple[Any, ...]]:
    at = datetime(2025, 1, 1, tzinfo=UTC)
    for number in range(count):
        yield _KINDS[number % 3], number, {"source": "web", "number": number}, at


async def _insert(db: Aurora, count: int) -> int:
    result = await db.bulk_insert("events", _events(count), columns=EVENT_COLUMNS)
    return result.rows


async def _stream(db: Aurora, count: int) -> int:
    rows = 0
    sql = "SELECT id, kind, subject_id, payload, recorded_at FROM events LIMIT :most"
    async for _ in db.stream(sql, {"most": count}):
        rows += 1
    return rows


async def _measure(way: Way, count: int, settings: AuroraSettings) -> Growth:
    work = _insert if way is Way.BULK else _stream
    peak = Peak()
    async with Aurora(settings) as db:
        # Modules that load on first use and the connection itself are no growth by rows.
        await work(db, _WARM_UP)
        peak.begin()
        begin = time.perf_counter()
        rows = await work(db, count)
        seconds = time.perf_counter() - begin
        return Growth(
            rows=rows, seconds=seconds, before=peak.before, peak=peak.most(), exact=peak.exact
        )


def settings_text(settings: AuroraSettings) -> str:
    """Settings as text for the other process, the password included."""
    values = settings.model_dump(mode="python", include=settings.model_fields_set)
    plain = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in values.items()
    }
    return json.dumps(plain)


def child(arguments: list[str]) -> None:
    """Measure one way in this process and print what was found."""
    way, count = Way(arguments[0]), int(arguments[1])
    settings = AuroraSettings.from_values(json.loads(sys.stdin.read()))
    print(asyncio.run(_measure(way, count, settings)).model_dump_json())


async def measure(
    target: Target, count: int, progress: Callable[[str], None]
) -> list[tuple[Way, Growth]]:
    """Insert ``count`` events and stream them, each in a fresh process.

    Raises:
        ConfigurationError: A process failed.
    """
    settings = target.settings.replace(
        {"min_pool_size": 1, "max_pool_size": 2, "enable_read_replicas": False}
    )
    found = []
    for way in Way:
        progress(f"{way.value}, {count:,} rows")
        found.append((way, await _in_fresh_process(way, count, settings_text(settings))))
    return found


async def _in_fresh_process(way: Way, count: int, settings: str) -> Growth:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks._memory",
        way.value,
        str(count),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    try:
        output, errors = await process.communicate(settings.encode())
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        text = errors.decode(errors="replace").strip()[-800:]
        raise ConfigurationError(f"{way.value}: the measured process failed: {text}")
    growth = Growth.model_validate_json(output)
    if growth.rows != count:
        raise ConfigurationError(f"{way.value}: {growth.rows:,} rows instead of {count:,}")
    return growth


def table(found: list[tuple[Way, Growth]]) -> Table:
    """The growth for people."""
    titles = {
        Way.BULK: "bulk_insert from an async generator",
        Way.STREAM: "stream() through a server-side cursor",
    }
    shown = new_table("peak memory")
    shown.add_column("operation")
    for name in ("rows", "rows/s", "before MB", "peak MB", "growth MB", "target", ""):
        shown.add_column(name, justify="right")
    for way, growth in found:
        met = growth.growth < TARGET_MB
        shown.add_row(
            titles[way],
            f"{growth.rows:,}",
            f"{growth.rows / growth.seconds:,.0f}",
            f"{growth.before:.1f}",
            f"{growth.peak:.1f}",
            f"{growth.growth:.1f}" + ("" if growth.exact else " (whole process)"),
            f"< {TARGET_MB:g}",
            "[green]met[/green]" if met else "[red]not met[/red]",
        )
    return shown


if __name__ == "__main__":
    child(sys.argv[1:])
