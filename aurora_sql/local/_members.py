"""The instances of a running cluster, and how each is configured and started."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError
from aurora_sql.local import _addresses, _setup
from aurora_sql.local._directory import View
from aurora_sql.local._prepare import instance_id
from aurora_sql.local._server import Server
from aurora_sql.local._status import STATUS_FILE
from aurora_sql.local._wal import Storage
from aurora_sql.types import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aurora_sql.local._addresses import Address
    from aurora_sql.local._binaries import Binaries
    from aurora_sql.local._tools import Tools

MOST_READERS = 15
_KEEP_SECONDS = 30.0
"""How long a shutdown may take whose data is kept."""
_DROP_SECONDS = 5.0
"""How long one may take whose data is removed: then the server would kill its children itself."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is the same for all instances.

    Attributes:
        username: The administrator.
        durable: Write through to the disk.
        server_settings: The caller's settings.
        keeps: The data of the first instance is kept after the end.
        timeout: Seconds that the start of an instance may take.
    """

    username: str
    durable: bool
    server_settings: Mapping[str, str]
    keeps: bool
    timeout: float


class Members:
    """The instances, the writer first."""

    def __init__(
        self, tools: Tools, binaries: Binaries, plan: Plan, say: Callable[[str], None]
    ) -> None:
        self.tools = tools
        self.binaries = binaries
        self.plan = plan
        self.say = say
        self.storage = Storage(tools.folder)
        self.servers: tuple[Server, ...] = ()

    @property
    def writer(self) -> Server:
        """The instance that has the writer's part, running or not."""
        return self.servers[0]

    def find(self, which: str) -> Server:
        """The instance of an identifier, or of ``"writer"``.

        Raises:
            ConfigurationError: There is none.
        """
        for server in self.servers:
            if which in (server.id, "writer" if server.role is Role.WRITER else ""):
                return server
        known = ", ".join(server.id for server in self.servers)
        raise ConfigurationError(f"no instance {which!r}; there are 'writer', {known}")

    def reader(self, which: str) -> Server:
        """The reader of an identifier.

        Raises:
            ConfigurationError: There is none, or it is the writer.
        """
        server = self.find(which)
        if server.role is Role.WRITER:
            raise ConfigurationError(f"{server.id} is the writer; name a reader")
        return server

    def places(self) -> str:
        """Where each instance is found, also those to come, as the setting has it."""
        used = [(server.host, server.port) for server in self.servers]
        found = {instance_id(n): _addresses.expected(n, used) for n in range(1, MOST_READERS + 2)}
        found |= {server.id: (server.host, server.port) for server in self.servers}
        return ", ".join(
            f"{name}={place[0]}:{place[1]}" for name, place in found.items() if place is not None
        )

    def view(self) -> View:
        """Where the endpoints lead."""
        if not self.servers:
            return View(None, ())
        readers = (s for s in self.servers[1:] if s.pid is not None)
        return View(
            (self.writer.host, self.writer.port), tuple((one.host, one.port) for one in readers)
        )

    def make(self, number: int, role: Role, address: Address) -> Server:
        """An instance that is not among the members yet."""
        folder = self.tools.folder / instance_id(number)
        return Server(instance_id(number), role, address, folder)

    def start_all(self, addresses: Sequence[Address]) -> None:
        """Start the first instances; they are not ready yet."""
        self.servers = tuple(
            self.make(number, Role.READER if number > 1 else Role.WRITER, address)
            for number, address in enumerate(addresses, 1)
        )
        for server in self.servers:
            self.configure(server)
            self.start(server)

    def configure(self, server: Server) -> None:
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

    def start(self, server: Server) -> None:
        """Start its process. Call it from the cluster's own thread."""
        link = server.data / STATUS_FILE
        link.unlink(missing_ok=True)
        link.symlink_to(self.tools.folder / STATUS_FILE)
        self.say(f"starting {server.id} ({server.role.value}) on {server.host}:{server.port}")
        server.start(self.tools, self.binaries)

    async def copy(self, server: Server) -> None:
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
