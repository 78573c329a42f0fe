"""What the scopes of one open Aurora share."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from aurora_sql.errors import DeadlineExceeded, FailoverTimeout, PoolTimeout
from aurora_sql.session._consistency import Consistency
from aurora_sql.session._markers import Markers

if TYPE_CHECKING:
    from aurora_sql.cluster import Cluster, Signer
    from aurora_sql.execution import Context, Lessor, StatementTree
    from aurora_sql.pool import Pooled
    from aurora_sql.session._adhoc import AdHocStatements


class Shared:
    """Context, cluster and statements of one open Aurora.

    Attributes:
        context: For running statements.
        cluster: Pools by role.
        tree: The registry's names.
        adhoc: Ad hoc statements, parsed.
        markers: Tell what became of a transaction.
        consistency: How far the servers are, for sessions.
        writer: Where connections of the writer come from; a session has its own look at them.
    """

    __slots__ = ("adhoc", "cluster", "consistency", "context", "markers", "tree", "writer")

    def __init__(
        self,
        context: Context,
        cluster: Cluster,
        tree: StatementTree,
        adhoc: AdHocStatements,
        signer: Signer,
    ) -> None:
        self.context = context
        self.cluster = cluster
        self.tree = tree
        self.adhoc = adhoc
        self.markers = Markers(context, cluster, adhoc)
        self.consistency = Consistency(context, cluster, signer)
        self.writer: Lessor = cluster.writer_pool

    def with_writer(self, writer: Lessor) -> Shared:
        """Return the same, with connections of the writer coming from elsewhere."""
        other = copy(self)
        other.writer = writer
        return other

    async def lease_writer(self, limit: float) -> Pooled:
        """Lease a connection of the writer.

        Args:
            limit: Loop time to wait until.

        Raises:
            DeadlineExceeded: The deadline passed first.
            PoolError: No connection can be had.
        """
        pool = self.writer
        time = self.context.loop.time
        now = time()
        pooled = pool.try_acquire(now)
        if pooled is not None:
            return pooled
        try:
            return await pool.acquire(limit)
        except (PoolTimeout, FailoverTimeout) as error:
            if time() < limit:
                raise
            raise DeadlineExceeded(
                f"the deadline passed while waiting for a connection; {error.message}",
                retry_safe=True,
            ) from error

    def release_writer(self, pooled: Pooled) -> None:
        """Give a connection of the writer back."""
        self.writer.release(pooled)
