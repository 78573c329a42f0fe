"""The pools of a cluster by role, and who gets which statement."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from aurora_sql.cluster._connector import Connector
from aurora_sql.cluster._monitor import Monitor, Pace
from aurora_sql.cluster._opening import find_sight, first_look
from aurora_sql.cluster._selection import fit_readers, selector
from aurora_sql.cluster._topology import changes
from aurora_sql.errors import ConnectionFailed, NoWriterAvailable
from aurora_sql.instrumentation import InstanceSilent, TopologyChanged
from aurora_sql.pool import Pool, PoolOptions
from aurora_sql.settings import format_address
from aurora_sql.types import Instance, PoolStats, Role, Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aurora_sql.cluster._endpoints import Address
    from aurora_sql.cluster._sight import Sight
    from aurora_sql.cluster._topology import TopologyChange
    from aurora_sql.deadlines import Sweeper
    from aurora_sql.drivers import DriverConnection
    from aurora_sql.instrumentation import Event
    from aurora_sql.settings import AuroraSettings
    from aurora_sql.statements import Statement

_logger = logging.getLogger("aurora_sql.cluster")


class Cluster:
    """The instances of a cluster, a pool for each, and who gets which statement.

    The writer's pool is that of the role: on a failover it is turned to the new writer, and who
    waits for a connection goes on waiting. Each reader has a pool of its own.

    Args:
        settings: Endpoints, sizes and limits.
        sweeper: Enforces deadlines for all pools.
        server_timeout: The server's limit per statement in seconds.
        emit: Tells the observers.

    Attributes:
        engine: The engine of its servers.
        topology: The instances as they are known now.
        writer_pool: Connections to the writer.
        reader_pools: The readers' pools that reads may go to now.
    """

    def __init__(
        self,
        settings: AuroraSettings,
        sweeper: Sweeper,
        server_timeout: float,
        emit: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self.engine = settings.engine
        self._sweeper = sweeper
        self._emit = emit
        self._connector = Connector(settings, server_timeout)
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
        self._writer = writer
        self._reign = 0
        self.writer_pool = Pool(
            self._connect_writer,
            self._options,
            name=writer.id,
            sweeper=sweeper,
            troubled=self._troubled,
        )
        self._readers: dict[Instance, Pool] = {}
        self.reader_pools: tuple[Pool, ...] = ()
        weights = settings.weights()
        self._select = selector(
            settings.reader_selection,
            weight=lambda pool: weights.get(pool.name, 1.0),
            latency=lambda pool: self._latencies.get(pool.name),
        )
        self._latencies: dict[str, float | None] = {}
        self._sight: Sight | None = None
        self._monitor: Monitor | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._met: set[Address] = set()
        self._is_open = False

    # -- opening and closing ---------------------------------------------------------------

    async def open(self) -> None:
        """Find the instances, make sure that the writer answers, and start all pools.

        The first connection is made past the pool, which would go on trying until its timeout:
        whoever starts a service wants to know at once that an address or a password is wrong.
        The monitor keeps it.

        Readers that do not answer yet are no reason to fail: the writer takes their reads.

        Raises:
            ConfigurationError: ``topology`` cannot be what the settings say.
            AuroraError: No connection to the writer can be made.
        """
        pace = Pace(self._settings.topology_refresh, self._settings.failure_detection)
        sight = await find_sight(self._settings, self.topology, self._connector.open_monitor)
        self._sight = sight
        self._monitor = Monitor(sight, self, pace)
        topology = await first_look(sight, self._monitor, pace, self._settings)
        self.topology = Topology(topology.writer)
        self._reign = sight.reign
        if topology.writer is not None:
            self._writer = topology.writer
            self.writer_pool.rename(topology.writer.id)
        await self.writer_pool.open()
        self.apply(topology)
        self.writer_pool.release(await self.writer_pool.acquire())
        self._monitor.start()
        self._is_open = True

    async def close(self) -> None:
        """Drain and close all pools; cancelled, close them without waiting for anybody."""
        patience: float | None = None
        try:
            if self._monitor is not None:
                # First: it must not open pools while they are closed. Shielded, like the pools: a
                # task that is cancelled before its first step runs none of its code, and what is
                # not closed keeps its connections.
                closing = asyncio.ensure_future(self._monitor.close())
                try:
                    await asyncio.shield(closing)
                except asyncio.CancelledError:
                    patience = 0
                    await closing  # half a second at most
                    raise
        finally:
            await self._close_pools(patience)

    async def _close_pools(self, patience: float | None) -> None:
        for task in self._leaving:
            task.cancel()
        pools = (self.writer_pool, *self._readers.values())
        closing = asyncio.gather(
            *(pool.close(patience) for pool in pools), *self._leaving, return_exceptions=True
        )
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.gather(*(pool.close(timeout=0) for pool in pools), closing)
            raise

    # -- connecting ------------------------------------------------------------------------

    async def _connect_writer(self) -> DriverConnection:
        writer = self._writer
        connection = await self._connector.open((writer.host, writer.port))
        if connection.is_standby:
            await connection.close()
            raise NoWriterAvailable(
                f"{writer.id} is a reader now: it accepts no writes. Check that write_endpoint"
                " names the writer or the cluster endpoint"
            )
        return connection

    def _reader_pool(self, instance: Instance) -> Pool:
        # A read that finds its reader gone is served by another instance, at once.
        options = replace(self._options, patient=False, read_only=True)
        limit = self._settings.failure_detection

        async def connect() -> DriverConnection:
            try:
                async with asyncio.timeout(limit):
                    return await self._connector.open((instance.host, instance.port))
            except TimeoutError as error:
                raise ConnectionFailed(
                    f"{instance.id} did not answer within {limit:g} s"
                ) from error

        return Pool(
            connect, options, name=instance.id, sweeper=self._sweeper, troubled=self._troubled
        )

    def _troubled(self) -> None:
        if self._monitor is not None:
            self._monitor.alarm()

    # -- what the monitor finds ------------------------------------------------------------

    def apply(self, topology: Topology, *, found: bool = False) -> None:
        """Take over a topology: turn to its writer, take new readers in, let others go.

        Args:
            topology: The instances.
            found: The writer had been lost.
        """
        change = changes(self.topology, topology)
        self.topology = topology
        if topology.writer is not None:
            self._turn_to(topology.writer, found=found)
        self._set_readers(self._chosen(topology.readers))
        if change:
            self._announce(change)

    def _turn_to(self, writer: Instance, *, found: bool) -> None:
        pool, before = self.writer_pool, self._writer
        self._writer = writer
        pool.absent = None
        pool.rename(writer.id)
        reign, self._reign = self._reign, 0 if self._sight is None else self._sight.reign
        if (writer.host, writer.port) != (before.host, before.port) or self._reign != reign:
            # Nobody need wait for what the old one still has to say, if it says anything: what
            # was sent there and not answered may be lost.
            pool.sever()
        elif found:
            # At the same address it may be another instance, and connections that have survived
            # lead to the old one, where reads would pass for ever.
            pool.evict()

    def _set_readers(self, wanted: dict[Instance, Pool | None]) -> None:
        for instance in self._readers.keys() - wanted.keys():
            self._let_go(self._readers[instance])
        self._readers = {
            instance: self._readers.get(instance) or self._open_reader(instance)
            for instance in wanted
        }
        if self._sight is not None:
            latency = self._sight.latency
            self._latencies = {one.id: latency((one.host, one.port)) for one in wanted}
        self.reader_pools = fit_readers(self._readers, self._settings.max_replica_lag)

    def _chosen(self, readers: Iterable[Instance]) -> dict[Instance, Pool | None]:
        """Return the readers that the settings want, with what is newly known of them."""
        if not self._settings.enable_read_replicas:
            return {}
        known = {(one.host, one.port): one for one in readers}
        named = set(self._settings.reader_addresses())
        # Also one that is gone just now: what has been an instance stays one.
        self._met |= {*known, (self._writer.host, self._writer.port)}
        if named.isdisjoint(self._met):
            # An endpoint that is no instance stands for all readers.
            return dict.fromkeys(known.values())
        named.add(self._settings.writer_address())  # an instance may have been demoted
        return dict.fromkeys(one for address, one in known.items() if address in named)

    def _open_reader(self, instance: Instance) -> Pool:
        pool = self._reader_pool(instance)
        pool.start()
        return pool

    def _let_go(self, pool: Pool) -> None:
        task = asyncio.get_running_loop().create_task(pool.close(), name=f"drain {pool.name}")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def bereave(self) -> None:
        """There is no writer: who wants one waits, and reads go on."""
        if self.topology.writer is None:
            return
        change = changes(self.topology, Topology(None, self.topology.readers))
        self.topology = Topology(None, self.topology.readers)
        absent = f"no instance accepts writes since {self._writer.id} was lost"
        if self._sight is not None and self._sight.refused:
            absent = f"{absent} ({self._sight.refused})"
        self.writer_pool.absent = absent
        self._announce(change)

    def give_up(self, instance: Instance, pool: Pool, seconds: float) -> None:
        """Close all connections to an instance that does not answer."""
        _logger.warning("%s does not answer: all connections to it are closed", instance.id)
        self._emit(InstanceSilent(instance.id, seconds))
        pool.sever(ConnectionFailed(f"{instance.id} did not answer within {seconds:g} s"))

    def _announce(self, change: TopologyChange) -> None:
        if not self._is_open:
            return  # what is found while opening is no change
        event = TopologyChanged(
            writer=_id(self.topology.writer),
            old_writer=_id(change.old_writer),
            readers_added=tuple(one.id for one in change.readers_added),
            readers_removed=tuple(one.id for one in change.readers_removed),
        )
        _logger.warning(
            "writer %s, readers %s",
            event.writer or "none",
            ", ".join(one.id for one in self.topology.readers) or "none",
        )
        self._emit(event)

    # -- routing ---------------------------------------------------------------------------

    def route(self, statement: Statement) -> Pool:
        """Return the pool for a statement: a reader's where it asks for one, else the writer's."""
        # As reader_for() has it, written out: a call here would be one for each read.
        readers = self.reader_pools
        if statement.role is Role.READER and readers:
            pool = self._select(readers)
            return pool if pool.available else self._available_reader()
        return self.writer_pool

    def spread(self, statement: Statement) -> int:
        """Return among how many instances :meth:`route` spreads a statement."""
        return (len(self.reader_pools) or 1) if statement.role is Role.READER else 1

    def writer_for(self, statement: Statement) -> Pool:  # noqa: ARG002 - one signature for all routes
        """Return the writer's pool, whatever the statement says."""
        return self.writer_pool

    def reader_for(self, statement: Statement) -> Pool:  # noqa: ARG002 - one signature for all routes
        """Return a reader's pool, whatever the statement says; the writer's if there is none."""
        readers = self.reader_pools
        if readers:
            pool = self._select(readers)
            return pool if pool.available else self._available_reader()
        return self.writer_pool

    def elsewhere(self, pool: object, conflicts: int) -> Pool:
        """Return a pool for a read that the replay on its reader has cut short.

        Another reader may be spared; but all of them replay the same, and the writer replays
        nothing.

        Args:
            pool: The reader's.
            conflicts: How often this read has been cut short.
        """
        fit = [one for one in self.reader_pools if one is not pool and one.available]
        return self._select(fit) if fit and conflicts == 1 else self.writer_pool

    def _available_reader(self) -> Pool:
        fit = [one for one in self.reader_pools if one.available]
        return self._select(fit) if fit else self.writer_pool

    # -- what there is ---------------------------------------------------------------------

    def pools(self) -> dict[Instance, Pool]:
        """Return the pool of each instance, the writer's first; without one, that of the last."""
        return {self._writer: self.writer_pool, **self._readers}

    def stats(self) -> dict[str, PoolStats]:
        """Return gauges and counters of each pool by instance id."""
        return {instance.id: pool.stats() for instance, pool in self.pools().items()}

    def __repr__(self) -> str:
        return f"<Cluster {', '.join(repr(pool) for pool in self.pools().values())}>"


def _instance(address: Address, role: Role) -> Instance:
    host, port = address
    return Instance(format_address(address), host, port, role)


def _id(instance: Instance | None) -> str | None:
    return None if instance is None else instance.id
