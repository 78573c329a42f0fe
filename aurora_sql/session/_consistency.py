"""How far servers are: asked of the writer after a write, and of readers before they are believed.

One of these serves all sessions of an open Aurora. The writer is asked for its position once for
all sessions that want to know at the moment; what a reader is known to have replayed is kept, so
that most reads of a session need no question.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from aurora_sql.cluster import (
    NO_CLUSTER,
    Position,
    Replica,
    Signer,
    identifier,
    of_another_cluster,
)
from aurora_sql.errors import AuroraError, ProgrammingError
from aurora_sql.execution import Watch, call_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.cluster import Cluster
    from aurora_sql.drivers import PreparedStatement
    from aurora_sql.execution import Context
    from aurora_sql.pool import Pool, Pooled

# All names are qualified and there are no operators: no search_path bends the meaning. Every user
# may call these functions; of the receiver of the log, only members of pg_read_all_stats are told.
_SAME_SERVER: Final = """
       pg_catalog.inet_server_addr()::pg_catalog.text, pg_catalog.inet_server_port(),
       pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()),
       pg_catalog.date_part('epoch', b.stats_reset)
"""
"""What a server keeps while it runs: the time of start is that of the main process, which outlives
a crash of its children; their statistics do not."""

# Two ways to ask. By the log: exact.
_LOG_WRITER: Final = """
SELECT pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8),
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), '0/0')::bigint,
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::bigint,
       pg_catalog.current_setting('synchronous_commit')
WHERE NOT pg_catalog.pg_is_in_recovery()
"""
# The control file falls behind the timeline that is being replayed, until the next restart point;
# it never runs ahead of it. A receiver of a later timeline is asked for only once all that came
# before that timeline has been replayed, so that no position beyond can be of the old one.
_LOG_READER: Final = f"""
SELECT pg_catalog.pg_is_in_recovery(),
       greatest(c.timeline_id, r.min_recovery_end_timeline, w.received_tli),
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_replay_lsn(), '0/0')::bigint,
       {_SAME_SERVER}
FROM pg_catalog.pg_control_checkpoint() AS c
CROSS JOIN pg_catalog.pg_control_recovery() AS r
CROSS JOIN pg_catalog.pg_stat_bgwriter AS b
LEFT JOIN pg_catalog.pg_stat_wal_receiver AS w ON true
"""
# By Aurora's status table, for servers whose readers do not tell what they replay. That these two
# columns answer to each other is documented nowhere. The storage is one: it has no timelines.
_STATUS_WRITER: Final = """
SELECT '0', s.durable_lsn::bigint, s.durable_lsn::bigint, 'on'
FROM pg_catalog.aurora_replica_status() AS s
WHERE s.server_id::pg_catalog.text
          OPERATOR(pg_catalog.=) pg_catalog.aurora_db_instance_identifier()::pg_catalog.text
  AND NOT pg_catalog.pg_is_in_recovery()
"""
_STATUS_READER: Final = f"""
SELECT pg_catalog.pg_is_in_recovery(), 0, s.current_read_lsn::bigint,
       {_SAME_SERVER}
FROM pg_catalog.aurora_replica_status() AS s
CROSS JOIN pg_catalog.pg_stat_bgwriter AS b
WHERE s.server_id::pg_catalog.text
          OPERATOR(pg_catalog.=) pg_catalog.aurora_db_instance_identifier()::pg_catalog.text
"""

_CLUSTER: Final = "SELECT system_identifier FROM pg_catalog.pg_control_system()"
_DATABASE: Final = """
SELECT oid::bigint, datname::pg_catalog.text FROM pg_catalog.pg_database
WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
"""


class _Link:
    """What is known of the server behind one connection."""

    __slots__ = ("prepared", "replica", "usable")

    def __init__(self) -> None:
        self.prepared: dict[str, PreparedStatement] = {}
        self.replica: Replica | None = None
        self.usable = True


class Consistency:
    """Positions of the servers of one open database.

    Args:
        context: For running statements.
        cluster: The pools.
        signer: Makes and reads tokens.

    Attributes:
        cluster_id: Identifier of the cluster; ``NO_CLUSTER`` until a server was asked.
        signer: The same.
        patience: Loop time from which it is worth waiting for the readers of a pool again.
    """

    def __init__(self, context: Context, cluster: Cluster, signer: Signer) -> None:
        self.cluster_id = NO_CLUSTER
        self.signer = signer
        self.patience: WeakKeyDictionary[Pool, float] = WeakKeyDictionary()
        self._context = context
        self._writer_pool = cluster.writer_pool
        self._by_log = True
        # By what the pool forgets, not by the driver's connection: the prepared statements in the
        # values refer to that, and would keep it for good.
        self._links: WeakKeyDictionary[Pooled, _Link] = WeakKeyDictionary()
        self._replicas: WeakValueDictionary[bytes, Replica] = WeakValueDictionary()
        self._asking = asyncio.Lock()
        self._sent = self._answered = 0
        self._position: Position | None = None

    async def position(self, limit: float) -> Position | None:
        """Return a position of the writer that was asked for after this call began.

        Callers share one question: those that come while it is under way wait for its end and
        share the next, since it may have been answered before they wrote.

        Args:
            limit: Loop time to wait until.

        Returns:
            None where nobody could tell.
        """
        wanted = self._sent + 1
        try:
            async with asyncio.timeout_at(None if limit == math.inf else limit):
                await self._asking.acquire()
        except TimeoutError:
            return None
        try:
            if self._answered < wanted:
                self._sent = number = self._sent + 1
                self._position = await self._ask_writer(limit)
                if self._position is None and self._context.loop.time() >= limit:
                    return None  # one caller ran out of time: the next may ask again
                # A failure is shared too: each caller in turn would only wait for it again.
                self._answered = number
            return self._position
        finally:
            self._asking.release()

    async def _ask_writer(self, limit: float) -> Position | None:
        try:
            pooled = await self._writer_pool.acquire(limit)
        except AuroraError:
            return None
        try:
            await self._identify(pooled, limit)
            rows = await self._ask(pooled, _LOG_WRITER if self._by_log else _STATUS_WRITER, limit)
        except AuroraError:
            return None
        finally:
            self._writer_pool.release(pooled)
        if not rows:
            return None  # it is no writer
        epoch, flushed, inserted, synchronous = rows[0]
        # Without waiting for the disk, a commit may be beyond what was flushed. Elsewhere the
        # place of the next record is of no use: it can lie past anything that will be replayed.
        return Position(int(epoch, 16), inserted if synchronous == "off" else flushed)

    async def check(self, cluster_id: bytes) -> None:
        """Make sure that a token is of this cluster.

        Raises:
            ParameterError: It is of another one.
            AuroraError: No server could be asked who we are.
        """
        if cluster_id == NO_CLUSTER:
            return
        if self.cluster_id == NO_CLUSTER:
            limit = call_limit(self._context, None)
            pooled = await self._writer_pool.acquire(limit)
            try:
                await self._identify(pooled, limit)
            finally:
                self._writer_pool.release(pooled)
        if cluster_id != self.cluster_id:
            raise of_another_cluster()

    def replica(self, pooled: Pooled) -> Replica | None:
        """Return the reader behind a connection, None where it was not asked yet."""
        link = self._links.get(pooled)
        return None if link is None else link.replica

    def met(self, server: bytes) -> str | None:
        """Return the name of the pool through which a reader was met last."""
        replica = self._replicas.get(server)
        return None if replica is None else replica.pool

    async def look(self, pool: Pool, pooled: Pooled, limit: float) -> Replica | None:
        """Ask the reader behind a leased connection of a pool how far it is.

        Returns:
            None where it is no reader, or does not tell.

        Raises:
            AuroraError: The connection broke, or the time is up.
        """
        link = self._link(pooled)
        if not link.usable:
            return None
        await self._identify(pooled, limit)
        rows: Sequence[Any] = ()
        by_log = self._by_log
        for by_log in (True, False) if self._by_log else (False,):
            try:
                rows = await self._ask(pooled, _LOG_READER if by_log else _STATUS_READER, limit)
            except ProgrammingError:
                continue  # there is no such function, or not for this user
            if rows and (rows[0][2] is not None or not rows[0][0]):
                break
        reading, epoch, lsn, *facts = rows[0] if rows else (False, 0, None)
        if not reading or lsn is None:
            # Nor will it be while this connection lives: a promoted reader stays the writer.
            link.usable = False
            if link.replica is not None:
                pooled.retire()  # by now its address may lead to a reader again
            link.replica = None
            return None
        if by_log != self._by_log:
            # From now on the writer is asked in the same way: the numbers of two need not agree.
            self._by_log = by_log
            for each in self._replicas.values():
                each.replayed = None
        known = identifier(*facts)
        replica = self._replicas.get(known)
        if replica is None:
            replica = self._replicas[known] = Replica(known)
        replica.pool = pool.name
        replica.learn(Position(epoch, lsn))
        link.replica = replica
        return replica

    async def _identify(self, pooled: Pooled, limit: float) -> None:
        """Find out, once, which cluster this is; all its servers say the same."""
        if self.cluster_id == NO_CLUSTER:
            try:
                rows = await self._ask(pooled, _CLUSTER, limit)
            except ProgrammingError:  # not for this user
                rows = await self._ask(pooled, _DATABASE, limit)
            self.cluster_id = identifier(*rows[0])

    def _link(self, pooled: Pooled) -> _Link:
        link = self._links.get(pooled)
        if link is None:
            link = self._links[pooled] = _Link()
        return link

    async def _ask(self, pooled: Pooled, sql: str, limit: float) -> Sequence[Any]:
        prepared = self._link(pooled).prepared
        try:
            with Watch(self._context, pooled, limit, what="a position", write_sent=False):
                question = prepared.get(sql)
                if question is None:
                    question = prepared[sql] = await pooled.driver.prepare(sql)
                return await question.fetch(())
        except BaseException:
            # The next one prepares it anew; what was prepared and has not run left a transaction.
            prepared.pop(sql, None)
            pooled.dirty = True
            raise
