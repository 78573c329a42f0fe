"""Pools by role over static endpoints: one writer, any number of readers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from aurora_sql.cluster._selection import selector
from aurora_sql.drivers import ConnectOptions, connect
from aurora_sql.errors import NoWriterAvailable
from aurora_sql.pool import Pool, PoolOptions
from aurora_sql.rows import Row
from aurora_sql.settings import format_address
from aurora_sql.types import Instance, PoolStats, Role, Topology

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aurora_sql.deadlines import Sweeper
    from aurora_sql.drivers import DriverConnection
    from aurora_sql.settings import AuroraSettings
    from aurora_sql.statements import Statement

    Connect = Callable[[], Awaitable[DriverConnection]]


class Cluster:
    """The instances of a cluster, a pool for each, and who gets which statement.

    An endpoint is taken as one instance whose role is what the settings say; the writer's is
    verified when a connection to it is made.

    Args:
        settings: Endpoints, sizes and limits.
        sweeper: Enforces deadlines for all pools.
        server_timeout: The server's limit per statement in seconds.
    """

    def __init__(self, settings: AuroraSettings, sweeper: Sweeper, server_timeout: float) -> None:
        self._settings = settings
        self._server_timeout = server_timeout
        self._options = PoolOptions(
            min_size=settings.min_pool_size,
            max_size=settings.max_pool_size,
            max_waiting=settings.max_waiting,
            acquire_timeout=settings.connection_timeout,
            max_lifetime=settings.max_connection_lifetime,
            idle_timeout=settings.connection_idle_timeout,
            check_after=settings.connection_check_after,
            max_prepared=settings.max_prepared_statements,
        )
        writer = _instance(settings.writer_address(), Role.WRITER)
        # An endpoint named for both roles is one instance: the writer serves its reads.
        readers = {
            found.id: found
            for found in (_instance(one, Role.READER) for one in settings.reader_addresses())
            if found.id != writer.id
        }
        self.topology = Topology(writer, tuple(readers.values()))
        self._connect_writer = self._connector(writer)
        self.writer_pool = self._pool(writer, self._connect_writer, sweeper)
        self.reader_pools = tuple(
            self._pool(one, self._connector(one), sweeper) for one in self.topology.readers
        )
        self._select = selector(settings.reader_selection)

    def _pool(self, instance: Instance, connect: Connect, sweeper: Sweeper) -> Pool:
        # A read that finds its reader gone is served by another instance, at once.
        patient = instance.role is Role.WRITER
        options = replace(self._options, patient=patient)
        return Pool(connect, options, name=instance.id, sweeper=sweeper)

    def _connector(self, instance: Instance) -> Connect:
        values = self._settings.connection_values(instance.host, instance.port)

        async def password() -> str | None:
            return None if values.password is None else values.password.get_secret_value()

        options = ConnectOptions(
            host=values.host,
            port=values.port,
            database=values.database,
            user=values.user,
            password=password,
            tls=values.tls.context,
            tls_optional=values.tls.optional,
            tls_only_if_required=values.tls.only_if_required,
            connect_timeout=values.connect_timeout,
            command_timeout=self._server_timeout,
            application_name=values.application_name,
        )
        return partial(self._connect, instance, options)

    async def _connect(self, instance: Instance, options: ConnectOptions) -> DriverConnection:
        connection = await connect(self._settings.engine, options, row_base=Row)
        if instance.role is Role.WRITER and connection.is_standby:
            await connection.close()
            raise NoWriterAvailable(
                f"{instance.id} is a reader now: it accepts no writes. Check that write_endpoint"
                " names the writer or the cluster endpoint"
            )
        return connection

    async def open(self) -> None:
        """Make sure that the writer answers, and start all pools.

        The first connection is made past the pool, which would go on trying until its timeout:
        whoever starts a service wants to know at once that an address or a password is wrong.

        Readers that do not answer yet are no reason to fail: the writer takes their reads.

        Raises:
            AuroraError: No connection to the writer can be made.
        """
        connection = await self._connect_writer()
        await connection.close()
        for pool in (self.writer_pool, *self.reader_pools):
            await pool.open()
        self.writer_pool.release(await self.writer_pool.acquire())

    async def close(self) -> None:
        """Drain and close all pools; cancelled, close them without waiting for anybody."""
        pools = (self.writer_pool, *self.reader_pools)
        closing = asyncio.gather(*(pool.close() for pool in pools))
        try:
            # Shielded: a task that is cancelled before its first step runs none of its code, and
            # a pool that is not closed keeps its connections.
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.gather(*(pool.close(timeout=0) for pool in pools), closing)
            raise

    # -- routing ---------------------------------------------------------------------------

    def route(self, statement: Statement) -> Pool:
        """Return the pool for a statement: a reader's where it asks for one, else the writer's."""
        if statement.role is Role.READER and self.reader_pools:
            return self._reader()
        return self.writer_pool

    def writer_for(self, statement: Statement) -> Pool:  # noqa: ARG002 - one signature for all routes
        """Return the writer's pool, whatever the statement says."""
        return self.writer_pool

    def reader_for(self, statement: Statement) -> Pool:  # noqa: ARG002 - one signature for all routes
        """Return a reader's pool, whatever the statement says; the writer's if there is none."""
        return self._reader() if self.reader_pools else self.writer_pool

    def _reader(self) -> Pool:
        pool = self._select(self.reader_pools)
        if pool.available:
            return pool
        fit = [one for one in self.reader_pools if one.available]
        return self._select(fit) if fit else self.writer_pool

    # -- what there is ---------------------------------------------------------------------

    def pools(self) -> dict[Instance, Pool]:
        """Return the pool of each instance, the writer's first."""
        pools = (self.writer_pool, *self.reader_pools)
        return dict(zip(self.topology.instances, pools, strict=True))

    def stats(self) -> dict[str, PoolStats]:
        """Return gauges and counters of each pool by instance id."""
        return {instance.id: pool.stats() for instance, pool in self.pools().items()}

    def __repr__(self) -> str:
        pools = (self.writer_pool, *self.reader_pools)
        return f"<Cluster {', '.join(repr(pool) for pool in pools)}>"


def _instance(address: tuple[str, int], role: Role) -> Instance:
    host, port = address
    return Instance(format_address(address), host, port, role)
