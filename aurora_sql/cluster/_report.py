"""What a provider is: who is in the cluster, as one of its servers tells.

A provider asks and reports; :mod:`aurora_sql.cluster._topology` decides what to believe. Every
report holds both what the status rows say and what the asked server proves of its own role, taken
by one statement: right after a failover the rows can be stale.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from aurora_sql.errors import AuroraError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.drivers import DriverConnection

WRITER_SESSION: Final = "MASTER_SESSION_ID"
"""What Aurora has in place of a session's identifier in the writer's row."""


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """What a status row says of one instance.

    Attributes:
        instance_id: The instance's identifier.
        is_writer: The row says that it is the writer.
        lag: Seconds behind the writer, None where it is not said.
        cpu: CPU in use, in percent, None where it is not said.
        age: Seconds since the instance last reported, by the server's clock; None where it is
            not said.
        address: Host and port as the server names them, None where it does not.
    """

    instance_id: str
    is_writer: bool
    lag: float | None = None
    cpu: float | None = None
    age: float | None = None
    address: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What one server answered.

    Attributes:
        instance_id: The asked instance's own identifier; None where servers have none.
        in_recovery: The asked instance is a reader at this moment: the role probe.
        epoch: Number of the writer's timeline, which rises with each promotion; None where the
            asked instance is a reader or does not tell.
        system: Identifier of the database system, the same on all instances of one cluster and
            after a restore from its files; None where the asked instance does not tell.
        position: How far in the log the asked instance is, None where it does not tell.
        replayed: Seconds since the last commit that a reader shows was made, None where it does
            not tell.
        rows: The status of all instances, stale rows and contradictions included; none where
            servers know nothing of each other.
    """

    instance_id: str | None
    in_recovery: bool
    epoch: int | None = None
    position: int | None = None
    replayed: float | None = None
    rows: tuple[InstanceStatus, ...] = ()
    system: int | None = None


class Provider(Protocol):
    """Knows how to ask one kind of server for the instances of its cluster.

    Attributes:
        knows_cluster: A server of this kind tells of all instances, not of itself alone.
    """

    knows_cluster: ClassVar[bool]

    async def ask(self, connection: DriverConnection) -> Report:
        """Ask the server at the other end; one question, in no transaction.

        Raises:
            AuroraError: The connection broke, or the server refused.
        """
        ...


async def fetch(connection: DriverConnection, sql: str) -> Sequence[Any]:
    """Return the rows of a question that is asked once."""
    statement = await connection.prepare(sql)
    try:
        return await statement.fetch(())
    finally:
        with suppress(AuroraError):
            await statement.close()
