"""What a measurement ran on: the machine, the server and the software."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from aurora_sql.types import Engine

_GIT_TIMEOUT = 5.0
_GIB = 1024**3


class Machine(BaseModel):
    """The machine of the client.

    Attributes:
        processor: Its model, as the operating system calls it.
        cores: Cores that this process may use.
        memory_gib: Main memory.
        system: Operating system and release.
        shared_with_server: The database server runs on the same cores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    processor: str
    cores: int
    memory_gib: float
    system: str
    shared_with_server: bool


class Server(BaseModel):
    """The database server, as it describes itself.

    Attributes:
        product: ``PostgreSQL``, ``MySQL`` or ``MariaDB``.
        version: Version of the product.
        aurora: Version of Aurora; None for any other server.
        readers: Readers that were reached beside the writer.
        settings: What decides how much a commit costs, and a few more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    product: str = "PostgreSQL"
    version: str
    aurora: str | None
    readers: int
    settings: dict[str, str]


class Software(BaseModel):
    """Versions on the client's side.

    Attributes:
        python: Of the interpreter.
        aurora_sql: Of the library.
        asyncpg: None where the servers are not PostgreSQL.
        aiomysql: None where the servers are not MySQL.
        asyncmy: The same, and None where it is not installed.
        loop: Name of the event loop, and its version if it is not Python's.
        revision: The git revision, with ``+`` if files were changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: str
    aurora_sql: str
    asyncpg: str | None = None
    aiomysql: str | None = None
    asyncmy: str | None = None
    loop: str
    revision: str | None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _memory_gib() -> float:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    except (OSError, ValueError, AttributeError):
        return 0.0  # not told on this system


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine(*, shared_with_server: bool) -> Machine:
    """Describe this machine."""
    return Machine(
        processor=_processor(),
        cores=usable_cores(),
        memory_gib=round(_memory_gib(), 1),
        system=f"{platform.system()} {platform.release()}",
        shared_with_server=shared_with_server,
    )


def revision(folder: Path | None = None) -> str | None:
    """The git revision of the checkout that this file belongs to; None outside of one."""
    git = shutil.which("git")
    if git is None:
        return None
    folder = folder or Path(__file__).resolve().parent

    def run(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603 - git from PATH with fixed arguments
            [git, "-C", str(folder), *arguments],
            capture_output=True,
            check=True,
            text=True,
            timeout=_GIT_TIMEOUT,
        ).stdout.strip()

    try:
        commit = run("rev-parse", "--short=12", "HEAD")
        changed = run("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+" if changed else commit


def version_of(distribution: str) -> str:
    """Version of an installed distribution, ``"-"`` where it is not installed as one."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "-"


def software(loop: str, engine: Engine = Engine.POSTGRESQL) -> Software:
    """Describe the client's software.

    Args:
        loop: Name of the event loop in use.
        engine: Whose drivers.
    """
    drivers = ("asyncpg",) if engine is Engine.POSTGRESQL else ("aiomysql", "asyncmy")
    versions = {name: version_of(name) for name in drivers}
    if loop == "uvloop":
        loop = f"uvloop {version_of('uvloop')}"
    return Software(
        python=platform.python_version(),
        aurora_sql=version_of("aurora-sql"),
        loop=loop,
        revision=revision(),
        **{name: version for name, version in versions.items() if version != "-"},
    )
