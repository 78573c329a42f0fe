"""The MySQL instances, and how each is configured, started and copied."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError, OperationalError
from aurora_sql.local._members import Members
from aurora_sql.local._mysql import _setup
from aurora_sql.local._server import Server, instance_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aurora_sql.local._addresses import Address
    from aurora_sql.local._engine import Plan
    from aurora_sql.local._mysql._binaries import Binaries
    from aurora_sql.local._tools import Tools
    from aurora_sql.types import Role

_KEEP_SECONDS = 30.0
"""How long a shutdown may take whose data is kept."""
_FREEZE_SECONDS = 5.0
_READY = b"ready for connections"
_OPTIONS = "my.cnf"
# A copy that kept it would claim to be the server that it was copied from.
_IDENTITY = "auto.cnf"


class MySQLServer(Server):
    """One MySQL or MariaDB instance."""

    taken = "Bind on TCP/IP port"
    shutdown = signal.SIGTERM

    def __init__(self, number: int, role: Role, address: Address, folder: Path) -> None:
        super().__init__(instance_id(number), role, address, folder)
        self.number = number
        self.socket = folder / "mysql.sock"
        self.options = folder / _OPTIONS
        self.temporary = folder / "tmp"
        self._seen = 0

    def start(self, tools: Tools, binaries: Binaries) -> None:
        """Start the process; it is not ready yet."""
        if not self.temporary.is_dir():
            tools.user.make_folder(self.temporary)
        command: list[str | Path] = [
            binaries.server,
            f"--defaults-file={self.options}",
            # Not in the file: a wrapper around the server may say otherwise, and the last one wins.
            f"--secure-file-priv={tools.folder}",
        ]
        if tools.user.uid == 0:
            command.append("--user=root")  # it refuses unless told
        with self.log.open("ab") as log:
            self._seen = log.tell()
            self.process = tools.spawn(
                command, log, death_signal=signal.SIGKILL, stdin=subprocess.DEVNULL
            )

    def is_ready(self) -> bool:
        """Whether it accepts connections, as far as its log says."""
        with self.log.open("rb") as log:
            log.seek(self._seen)
            return _READY in log.read() and self.pid is not None


class MySQLMembers(Members[MySQLServer]):
    """The instances, the writer first.

    Attributes:
        passwords: Those of the cluster's own users; they are nowhere else.
    """

    def __init__(
        self,
        tools: Tools,
        binaries: Binaries,
        plan: Plan,
        say: Callable[[str], None],
        passwords: Mapping[str, str],
    ) -> None:
        super().__init__(tools, plan, say)
        self.binaries = binaries
        self.passwords = passwords

    def make(self, number: int, role: Role, address: Address) -> MySQLServer:
        """An instance that is not among the members yet."""
        return MySQLServer(number, role, address, self.tools.folder / instance_id(number))

    def configure(self, server: MySQLServer, hidden: Address | None = None) -> None:
        """Write the configuration that fits the part it has now, or hide it from clients."""
        text = _setup.option_file(server, self.binaries, self.plan.server_settings, hidden)
        self.tools.user.write(server.options, text)

    def start(self, server: MySQLServer) -> None:
        """Start its process. Call it from the cluster's own thread."""
        self.say(f"starting {server.id} ({server.role.value}) on {server.host}:{server.port}")
        server.start(self.tools, self.binaries)

    async def copy(self, server: MySQLServer) -> None:
        """Make its data folder anew as the writer's is at one moment.

        The writer is frozen while its files are copied. What is copied then is what a crash at that
        moment would leave, and what the server recovers from as after a crash.
        """
        self.say(f"copying {self.writer.id} for {server.id}")
        if server.folder.exists():
            shutil.rmtree(server.data, ignore_errors=True)
        else:
            self.tools.user.make_folder(server.folder)
        writer = self.writer
        writer.signal_main(signal.SIGSTOP)
        try:
            await _wait_frozen(writer)
            await copy_folder(self.tools, writer.data, server.data)
        finally:
            if not writer.paused:
                writer.signal_main(signal.SIGCONT)

    def stop_all(self) -> None:
        """End all instances. Blocks, so that nothing can cancel it."""
        for server in self.servers:
            if not (self.plan.keeps and server is self.servers[0]):
                server.signal_main(signal.SIGKILL)
        for server in reversed(self.servers):
            if self.plan.keeps and server is self.servers[0]:
                server.stop(signal.SIGTERM, _KEEP_SECONDS)
            else:
                server.stop(signal.SIGKILL, _KEEP_SECONDS)
        self.servers = ()


async def copy_folder(tools: Tools, source: Path, target: Path) -> None:
    """Copy a data folder for another instance.

    Raises:
        ConfigurationError: The program ``cp`` is missing.
        OperationalError: It failed.
    """
    program = shutil.which("cp")
    if program is None:
        raise ConfigurationError("the program 'cp' is needed and not on PATH")
    tools.user.make_folder(target)
    await tools.run(f"cp-{target.parent.name}", [program, "-R", f"{source}/.", target])
    (target / _IDENTITY).unlink(missing_ok=True)


async def _wait_frozen(server: MySQLServer) -> None:
    # The signal is on its way when kill() returns; a thread that writes finishes that first.
    if sys.platform != "linux":
        await asyncio.sleep(0.2)
        return
    give_up = time.monotonic() + _FREEZE_SECONDS
    while (pid := server.pid) is not None and _thread_states(pid) != {"T"}:
        if time.monotonic() > give_up:
            raise OperationalError(f"{server.id} cannot be frozen to copy it")
        await asyncio.sleep(0.002)


def _thread_states(pid: int) -> set[str]:
    try:
        return {
            path.read_text().rpartition(")")[2].split()[0]
            for path in Path(f"/proc/{pid}/task").glob("*/stat")
        }
    except OSError:
        return set()  # a thread ended while we looked
