"""What an engine does in its own way: its programs, its data, what it is asked.

Everything else (folders, addresses, endpoints, processes, the order of a failover, the command
line) is the same for both, and knows nothing of either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aurora_sql.local._changes import Changes
    from aurora_sql.local._members import Members
    from aurora_sql.local._tools import Tools
    from aurora_sql.local._user import ServerUser


@dataclass(frozen=True, slots=True)
class Plan:
    """What a cluster was asked to be, the same for all of its instances.

    Attributes:
        bin_dir: Folder with the server's programs, or None.
        data_dir: Folder that keeps the writer's data, or None.
        readers: How many there are at first.
        database: The database that is made.
        username: The user that is made.
        password: Theirs.
        durable: Write through to the disk.
        server_settings: The caller's settings, checked by the engine.
        timeout: Seconds that the start of an instance may take.
    """

    bin_dir: str | Path | None
    data_dir: Path | None
    readers: int
    database: str
    username: str
    password: str = field(repr=False)
    durable: bool
    server_settings: Mapping[str, str]
    timeout: float

    @property
    def keeps(self) -> bool:
        """The data of the first instance is kept after the end."""
        return self.data_dir is not None


class LocalEngine(ABC):
    """One engine's part of one cluster; made anew for each start.

    Args:
        plan: What the cluster is to be.
        say: Gets a line of text for each step.

    Attributes:
        product: Name of the servers.
        version: Version of the servers; both are known once they were found.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.say = say
        self.product = ""
        self.version = ""

    @abstractmethod
    def user(self) -> ServerUser:
        """Who will run the servers.

        Raises:
            ConfigurationError: Nobody can.
        """

    @abstractmethod
    async def prepare(self, tools: Tools) -> Members[Any]:
        """Find the programs and make the data folders of all first instances; none runs yet.

        Raises:
            ConfigurationError: There are no programs, or the data is of another version.
            OperationalError: A program failed.
        """

    @abstractmethod
    def changes(self, announce: Callable[[], None]) -> Changes[Any]:
        """What can happen to the instances that :meth:`prepare` made."""

    @abstractmethod
    async def join(self) -> None:
        """Make the readers follow, now that all instances accept connections."""

    @abstractmethod
    async def status(self) -> list[dict[str, Any]] | None:
        """The rows of Aurora's status table as the servers know them now; None: nobody knows.

        Raises:
            AuroraError: A server did not answer.
        """

    @abstractmethod
    def disconnect(self) -> None:
        """Drop whatever session :meth:`status` keeps."""

    @abstractmethod
    async def wait_replayed(self, limit: float) -> None:
        """Wait until every running reader has replayed what the writer has written.

        Raises:
            NoWriterAvailable: The writer does not run, so that nobody knows how far it came.
            OperationalError: A reader has not replayed it in that time; the message names it.
        """

    @abstractmethod
    async def create_database(self, name: str, template: str | None) -> None:
        """Make a database on the writer, as a copy of another one."""

    @abstractmethod
    async def drop_database(self, name: str) -> None:
        """Drop a database and whatever sessions are in it, if there is one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How an engine is chosen, before anything is done.

    Attributes:
        engine: The engine.
        username: Name of its administrator unless the caller names one.
        check_settings: Checks the caller's server settings.
        make: Makes the engine's part of a cluster.
    """

    engine: Engine
    username: str
    longest_username: int
    check_settings: Callable[[Mapping[str, object]], dict[str, str]]
    make: Callable[[Plan, Callable[[str], None]], LocalEngine]


def kind_of(engine: str) -> Kind:
    """The kind of an engine's name; imports no more than that engine's part.

    Raises:
        ConfigurationError: There is no such engine.
    """
    # Each on first use: who runs one engine loads nothing of the other.
    if engine == Engine.POSTGRESQL:
        from aurora_sql.local._postgresql._engine import KIND as POSTGRESQL  # noqa: PLC0415

        return POSTGRESQL
    if engine == Engine.MYSQL:
        from aurora_sql.local._mysql._engine import KIND as MYSQL  # noqa: PLC0415

        return MYSQL
    raise ConfigurationError(
        f"engine={engine!r}: a local cluster can be 'postgresql' or 'mysql' (also for MariaDB)"
    )
