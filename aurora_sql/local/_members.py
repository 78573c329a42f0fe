"""The instances of a running cluster, and how each is configured and started."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from aurora_sql.errors import ConfigurationError
from aurora_sql.local import _addresses
from aurora_sql.local._directory import View
from aurora_sql.local._server import Server, instance_id
from aurora_sql.types import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aurora_sql.local._addresses import Address
    from aurora_sql.local._engine import Plan
    from aurora_sql.local._tools import Tools

S = TypeVar("S", bound=Server)

MOST_READERS = 15


class Members(ABC, Generic[S]):
    """The instances, the writer first."""

    def __init__(self, tools: Tools, plan: Plan, say: Callable[[str], None]) -> None:
        self.tools = tools
        self.plan = plan
        self.say = say
        self.servers: tuple[S, ...] = ()

    @property
    def writer(self) -> S:
        """The instance that has the writer's part, running or not."""
        return self.servers[0]

    def find(self, which: str) -> S:
        """The instance of an identifier, or of ``"writer"``.

        Raises:
            ConfigurationError: There is none.
        """
        for server in self.servers:
            if which in (server.id, "writer" if server.role is Role.WRITER else ""):
                return server
        known = ", ".join(server.id for server in self.servers)
        raise ConfigurationError(f"no instance {which!r}; there are 'writer', {known}")

    def reader(self, which: str) -> S:
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

    @abstractmethod
    def make(self, number: int, role: Role, address: Address) -> S:
        """An instance that is not among the members yet."""

    def start_all(self, addresses: Sequence[Address]) -> None:
        """Start the first instances; they are not ready yet."""
        self.servers = tuple(
            self.make(number, Role.READER if number > 1 else Role.WRITER, address)
            for number, address in enumerate(addresses, 1)
        )
        for server in self.servers:
            self.configure(server)
            self.start(server)

    @abstractmethod
    def configure(self, server: S) -> None:
        """Write the configuration that fits the part it has now."""

    @abstractmethod
    def start(self, server: S) -> None:
        """Start its process. Call it from the cluster's own thread."""

    @abstractmethod
    async def copy(self, server: S) -> None:
        """Make its data folder anew as a copy of the running writer's.

        Raises:
            ConfigurationError: A program that this takes is missing.
            OperationalError: It failed.
        """

    @abstractmethod
    def stop_all(self) -> None:
        """End all instances. Blocks, so that nothing can cancel it."""
