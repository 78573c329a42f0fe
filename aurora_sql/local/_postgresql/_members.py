"""The PostgreSQL instances, and how each is configured, started and copied."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError
from aurora_sql.local._members import Members
from aurora_sql.local._postgresql import _setup
from aurora_sql.local._postgresql._wal import Storage
from aurora_sql.local._server import Server, instance_id
from aurora_sql.local._status import STATUS_FILE
from aurora_sql.types import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aurora_sql.local._addresses import Address
    from aurora_sql.local._engine import Plan
    from aurora_sql.local._postgresql._binaries import Binaries
    from aurora_sql.local._tools import Tools

_KEEP_SECONDS = 30.0
"""How long a shutdown may take whose data is kept."""
_DROP_SECONDS = 5.0
"""How long one may take whose data is removed: then the server would kill its children itself."""
_STATUS_LINE = 7
"""Line of postmaster.pid, from 0, that says how far the server is."""


class PostgresServer(Server):
    """One PostgreSQL instance."""

    def configure(self, tools: Tools, settings: Mapping[str, str], access: str, map_: str) -> None:
        """Write the configuration into the data folder.

        Args:
            tools: Whose user owns the files.
            settings: Server settings, for this instance alone or shared.
            access: Text of ``pg_hba.conf``.
            map_: Text of ``pg_ident.conf``.
        """
        lines = "".join(f"{name} = {quote(value)}\n" for name, value in settings.items())
        write = tools.user.write
        write(self.data / "postgresql.conf", "include 'aurora.conf'\n")
        write(self.data / "aurora.conf", lines)
        write(self.data / "pg_hba.conf", access)
        write(self.data / "pg_ident.conf", map_)
        signal_file = self.data / "standby.signal"
        if self.role is Role.READER:
            write(signal_file, "")
        else:
            signal_file.unlink(missing_ok=True)

    def start(self, tools: Tools, binaries: Binaries) -> None:
        """Start the process; it is not ready yet."""
        with self.log.open("ab") as log:
            self.process = tools.spawn(
                [binaries.folder / "postgres", "-D", self.data],
                log,
                # Immediate shutdown, should we die: unlike a kill it leaves no shared memory.
                death_signal=signal.SIGQUIT,
                stdin=subprocess.DEVNULL,
            )

    def is_ready(self) -> bool:
        """Whether it accepts connections, as far as its files say."""
        # The server keeps its state there for pg_ctl: no connection and no program is needed.
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        own = len(lines) > _STATUS_LINE and lines[0].strip() == str(self.pid)
        return own and lines[_STATUS_LINE].strip() == "ready"


class PostgresMembers(Members[PostgresServer]):
    """The instances, the writer first."""

    def __init__(
        self, tools: Tools, binaries: Binaries, plan: Plan, say: Callable[[str], None]
    ) -> None:
        super().__init__(tools, plan, say)
        self.binaries = binaries
        self.storage = Storage(tools.folder)

    def make(self, number: int, role: Role, address: Address) -> PostgresServer:
        """An instance that is not among the members yet."""
        folder = self.tools.folder / instance_id(number)
        return PostgresServer(instance_id(number), role, address, folder)

    def configure(self, server: PostgresServer) -> None:
        """Write the configuration that fits the part it has now."""
        plan, user = self.plan, self.tools.user
        settings = _setup.settings_for(
            server, self.writer, plan.username, plan.durable, plan.server_settings
        )
        if server.role is Role.READER:
            settings["restore_command"] = self.storage.restore_command()
            settings["recovery_min_apply_delay"] = f"{round(server.lag * 1000)}ms"
        own_name = pwd.getpwuid(os.geteuid()).pw_name
        map_ = _setup.user_map(user, own_name, plan.username)
        server.configure(self.tools, settings, _setup.access_rules(), map_)

    def start(self, server: PostgresServer) -> None:
        """Start its process. Call it from the cluster's own thread."""
        link = server.data / STATUS_FILE
        link.unlink(missing_ok=True)
        link.symlink_to(self.tools.folder / STATUS_FILE)
        self.say(f"starting {server.id} ({server.role.value}) on {server.host}:{server.port}")
        server.start(self.tools, self.binaries)

    async def copy(self, server: PostgresServer) -> None:
        """Make its data folder anew as a copy of the running writer's.

        Raises:
            ConfigurationError: ``pg_basebackup`` is missing.
            OperationalError: It failed.
        """
        program = self.binaries.folder / "pg_basebackup"
        if not program.is_file():
            raise ConfigurationError(
                f"a copy of the writer needs the program pg_basebackup in {self.binaries.folder}"
            )
        self.say(f"copying {self.writer.id} for {server.id}")
        if server.folder.exists():
            shutil.rmtree(server.data, ignore_errors=True)
        else:
            self.tools.user.make_folder(server.folder)
        writer = self.writer
        # -X stream holds a slot, so that no record it needs is removed meanwhile. Its second
        # process outlives a kill of the first, but only the end of the cluster does that, and it
        # ends both.
        options = ("-X", "stream", "-c", "fast", "--no-sync", "--no-manifest", "-w")
        place = ("-h", writer.folder, "-p", str(writer.port), "-U", self.plan.username)
        await self.tools.run(
            f"pg_basebackup-{server.id}", [program, "-D", server.data, *place, *options]
        )

    def stop_all(self) -> None:
        """End all instances. Blocks, so that nothing can cancel it."""
        # Readers first, so that they have all of the writer's records to say good-bye with.
        for server in reversed(self.servers):
            if self.plan.keeps and server.role is Role.WRITER:
                server.stop(signal.SIGINT, _KEEP_SECONDS)
            else:
                server.stop(signal.SIGQUIT, _DROP_SECONDS)
        self.servers = ()


def quote(value: str) -> str:
    """A value as it stands in a configuration file."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
