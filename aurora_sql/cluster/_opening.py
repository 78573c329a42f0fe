"""What is done once, when a cluster is opened: who can be asked, and who is the writer now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aurora_sql.cluster._endpoints import EndpointKind, InstanceAddresses, read_endpoint
from aurora_sql.cluster._providers import detect, static
from aurora_sql.cluster._sight import ClusterSight, Sight, StaticSight
from aurora_sql.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    NoWriterAvailable,
    TlsError,
)
from aurora_sql.settings import ReaderSelection, TopologyMode, format_address
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from aurora_sql.cluster._monitor import Monitor, Pace
    from aurora_sql.cluster._sight import Connect
    from aurora_sql.drivers import DriverConnection
    from aurora_sql.settings import AuroraSettings
    from aurora_sql.types import Topology

_TELLING = {
    Engine.POSTGRESQL: "aurora_replica_status, rds_tools.show_topology",
    Engine.MYSQL: "information_schema.replica_host_status, mysql.rds_topology",
}
_WITH_A_CLUSTER = frozenset(
    {EndpointKind.CLUSTER, EndpointKind.READER, EndpointKind.CUSTOM, EndpointKind.INSTANCE}
)


async def find_sight(settings: AuroraSettings, named: Topology, connect: Connect) -> Sight:
    """Connect to the write endpoint, and find out how to see the cluster from there.

    Args:
        settings: Say which kind of topology is wanted.
        named: The endpoints of the settings.
        connect: Opens a connection to an address.

    Raises:
        ConfigurationError: The server knows of no cluster, or nothing tells where its instances
            are, and ``topology`` demands both.
        AuroraError: No endpoint that could lead to the writer answers.
    """
    endpoint = settings.writer_address()
    connection: DriverConnection | None = None
    try:
        connection = await connect(endpoint)
    except (AuthenticationFailed, TlsError):
        raise
    except ConnectionFailed:
        # Of several endpoints another may be the writer by now.
        if settings.topology is TopologyMode.AURORA or not named.readers:
            raise
    try:
        sight = await _cluster_sight(settings, connection, connect)
    except BaseException:
        if connection is not None:
            connection.abort()
        raise
    if sight is not None:
        return sight
    assert named.writer is not None  # the settings demand a write endpoint  # noqa: S101
    return StaticSight(named.writer, named.readers, static(settings.engine), connect, connection)


async def _cluster_sight(
    settings: AuroraSettings, connection: DriverConnection | None, connect: Connect
) -> ClusterSight | None:
    """Return how to see the cluster through its own functions; None for static endpoints."""
    endpoint = settings.writer_address()
    demanded = settings.topology is TopologyMode.AURORA
    if connection is None or settings.topology is TopologyMode.STATIC:
        return None
    custom = [host for host, _ in settings.reader_addresses() if _is_custom(host)]
    if custom and demanded:
        raise ConfigurationError(
            f"read_endpoint ({custom[0]}) is a custom endpoint, and only AWS's API tells which"
            " instances it stands for: name them, or use topology static"
        )
    if not demanded and settings.instance_endpoints is None:
        kind = read_endpoint(endpoint[0]).kind
        if custom or kind not in _WITH_A_CLUSTER:
            return None
    addresses = InstanceAddresses.of_settings(settings)
    provider = await detect(settings.engine, connection)
    if not provider.knows_cluster:
        if demanded:
            raise ConfigurationError(
                f"topology is aurora, and {format_address(endpoint)} has nothing that tells the"
                f" instances of a cluster ({_TELLING[settings.engine]}), or this user may not use"
                " it: use topology static, and name the readers"
            )
        return None
    fastest = settings.reader_selection is ReaderSelection.FASTEST
    return ClusterSight(endpoint, addresses, provider, connect, connection, time_all=fastest)


def _is_custom(host: str) -> bool:
    return read_endpoint(host).kind is EndpointKind.CUSTOM


async def first_look(
    sight: Sight, monitor: Monitor, pace: Pace, settings: AuroraSettings
) -> Topology:
    """Return the first topology.

    Where the write endpoint leads to a reader (DNS after a failover does for a while), the writer
    is searched for, for as long as a failure takes to be detected.

    Raises:
        NoWriterAvailable: There is none.
        AuroraError: The writer does not answer.
    """
    limit = min(pace.detection, settings.connection_timeout)
    try:
        return await sight.look(limit, troubled=False)
    except NoWriterAvailable as error:
        try:
            async with asyncio.timeout(limit):
                return await monitor.search()
        except TimeoutError:
            raise NoWriterAvailable(
                f"{error}. Check that write_endpoint names the writer or the cluster endpoint"
            ) from error
