"""What a measurement ran on: the machine, the server and the software."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import asyncpg

_GIT_TIMEOUT = 5.0
_GIB = 1024**3
_SERVER_SETTINGS = (
    "fsync",
    "synchronous_commit",
    "synchronous_standby_names",
    "full_page_writes",
    "shared_buffers",
    "max_connections",
    "jit",
)


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
        version: Version of PostgreSQL.
        aurora: Version of Aurora; None for another PostgreSQL.
        readers: Readers that were reached beside the writer.
        settings: What decides how much a commit costs, and a few more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    aurora: str | None
    readers: int
    settings: dict[str, str]


class Software(BaseModel):
    """Versions on the client's side; ``revision`` is the git revision, with ``+`` if changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: str
    aurora_sql: str
    asyncpg: str
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


def software(loop: str) -> Software:
    """Describe the client's software; ``loop`` is the name of the event loop in use."""
    if loop == "uvloop":
        loop = f"uvloop {version_of('uvloop')}"
    return Software(
        python=platform.python_version(),
        aurora_sql=version_of("aurora-sql"),
        asyncpg=version_of("asyncpg"),
        loop=loop,
        revision=revision(),
    )


async def server(connection: asyncpg.Connection[asyncpg.Record], readers: int) -> Server:
    """Ask the server about itself."""
    rows = await connection.fetch(
        "SELECT name, pg_catalog.current_setting(name) AS value"
        " FROM pg_catalog.pg_settings WHERE name = ANY($1) ORDER BY name",
        list(_SERVER_SETTINGS),
    )
    # A local cluster has Aurora's functions too; only the real one has its storage, which is
    # what the version function of an own making does not stand for.
    aurora = await connection.fetchval(
        "SELECT count(*) > 0 FROM pg_catalog.pg_settings WHERE name = 'aurora_compute_plan_id'"
        " OR name LIKE 'rds.%'"
    )
    return Server(
        version=await connection.fetchval("SELECT pg_catalog.current_setting('server_version')"),
        aurora=await connection.fetchval("SELECT aurora_version()") if aurora else None,
        readers=readers,
        settings={row["name"]: row["value"] for row in rows},
    )
