"""How long the library takes to start: its import, and the loading of a large registry."""

from __future__ import annotations

import compileall
import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError
from benchmarks._report import new_table
from benchmarks._stats import Spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

IMPORT_TARGET = 150.0
LOAD_TARGET = 150.0
STATEMENTS = 1_000
_FILES = 50
_TIMEOUT = 60.0
_MILLISECONDS = 1_000

_IMPORT = """
import time
begin, used = time.perf_counter(), time.process_time()
{line}
print(time.perf_counter() - begin, time.process_time() - used)
"""
_LOAD = """
import sys, time
from aurora_sql.statements import StatementRegistry
begin, used = time.perf_counter(), time.process_time()
registry = StatementRegistry.load(sys.argv[1], dialect="postgresql")
took = time.perf_counter() - begin, time.process_time() - used
assert len(registry) == int(sys.argv[2]), len(registry)
print(*took)
"""


def write_statements(folder: Path, count: int = STATEMENTS) -> None:
    """Write ``count`` statements such as services have, into a few dozen files."""
    for number in range(_FILES):
        blocks = [_statement(one) for one in range(number, count, _FILES)]
        (folder / f"part{number}.sql").write_text("\n".join(blocks), encoding="utf-8")


def _statement(number: int) -> str:
    match number % 4:
        case 0:
            return f"""-- name: get_{number} :one
-- The customer with this id.
SELECT id, email, full_name, tier, created_at
FROM customers
WHERE id = :id AND tier <> 'none: {number}';
"""
        case 1:
            return f"""-- name: add_{number} :one
-- A new order.
INSERT INTO orders (customer_id, status, total_amount)
VALUES (:customer_id, 'pending', :total_amount::numeric)
RETURNING id, customer_id, status, total_amount, created_at;
"""
        case 2:
            return f"""-- name: search_{number} :many
-- A customer's orders.
-- role: reader
-- timeout: 2s
SELECT o.id, o.status, o.total_amount, c.email AS "customer.email"
FROM orders AS o
JOIN customers AS c ON c.id = o.customer_id  -- each order has one
WHERE o.customer_id = :customer_id
  AND o.status = :status  -- when :status
  AND o.created_at >= :since  -- when :since
ORDER BY o.created_at DESC
LIMIT :limit;
"""
        case _:
            return f"""-- name: change_{number} :affected
/* Optimistic: the version tells. */
UPDATE products SET price = :price, version = version + 1
WHERE id = :id AND version = :version;
"""


@dataclass(frozen=True, slots=True)
class StartTime:
    """How long one thing takes.

    Attributes:
        what: Is started.
        wall: Milliseconds that pass.
        processor: Milliseconds of processor time: what it takes on a machine that is not busy.
        target: Milliseconds of ``wall``; None without one.
    """

    what: str
    wall: Spread
    processor: Spread
    target: float | None

    @classmethod
    def of(cls, what: str, times: list[tuple[float, float]], target: float | None) -> StartTime:
        """From pairs of both times."""
        walls, processors = zip(*times, strict=True)
        return cls(what, Spread.of(walls), Spread.of(processors), target)


def _timed(code: str, *arguments: str) -> tuple[float, float]:
    """Both times in milliseconds that a fresh process prints for a piece of code."""
    done = subprocess.run(  # noqa: S603 - this interpreter with code of our own
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise ConfigurationError(f"the measured process failed: {done.stderr.strip()[-500:]}")
    wall, processor = (float(one) * _MILLISECONDS for one in done.stdout.split())
    return wall, processor


def measure(repetitions: int, progress: Callable[[str], None]) -> list[StartTime]:
    """Measure in fresh processes.

    Raises:
        ConfigurationError: A process failed.
    """
    spec = importlib.util.find_spec("aurora_sql")
    for place in (spec.submodule_search_locations or []) if spec else []:
        compileall.compile_dir(place, quiet=2)
    progress("import aurora_sql")
    imports = [_timed(_IMPORT.format(line="import aurora_sql")) for _ in range(repetitions)]
    progress("everything that a service uses")
    line = "from aurora_sql import Aurora, AuroraSettings, StatementRegistry, deadline"
    full = [_timed(_IMPORT.format(line=line)) for _ in range(repetitions)]
    progress(f"a registry of {STATEMENTS:,} statements")
    with TemporaryDirectory(prefix="aurora-bench-") as folder:
        write_statements(Path(folder))
        loads = [_timed(_LOAD, folder, str(STATEMENTS)) for _ in range(repetitions)]
    return [
        StartTime.of("import aurora_sql", imports, IMPORT_TARGET),
        StartTime.of("import Aurora, AuroraSettings, …", full, None),
        StartTime.of(f"load {STATEMENTS:,} statements", loads, LOAD_TARGET),
    ]


def table(measured: list[StartTime]) -> Table:
    """The times for people."""
    shown = new_table("start, ms in fresh processes")
    shown.add_column("what")
    for name in ("median", "range", "processor time", "target", ""):
        shown.add_column(name, justify="right")
    for one in measured:
        met = ""
        if one.target is not None:
            good = one.wall.median < one.target
            met = "[green]met[/green]" if good else "[red]not met[/red]"
        shown.add_row(
            one.what,
            f"{one.wall.median:.1f}",
            f"{one.wall.low:.1f}-{one.wall.high:.1f}",
            f"{one.processor.median:.1f}",
            "" if one.target is None else f"{one.target:g}",
            met,
        )
    return shown
