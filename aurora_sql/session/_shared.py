"""What the scopes of one open Aurora share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aurora_sql.errors import DeadlineExceeded, FailoverTimeout, PoolTimeout
from aurora_sql.session._markers import Markers

if TYPE_CHECKING:
    from aurora_sql.cluster import Cluster
    from aurora_sql.execution import Context, StatementTree
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
    """

    __slots__ = ("adhoc", "cluster", "context", "markers", "tree")

    def __init__(
        self, context: Context, cluster: Cluster, tree: StatementTree, adhoc: AdHocStatements
    ) -> None:
        self.context = context
        self.cluster = cluster
        self.tree = tree
        self.adhoc = adhoc
        self.markers = Markers(context, cluster, adhoc)

    async def lease_writer(self, limit: float) -> Pooled:
        """Lease a connection of the writer.

        Args:
            limit: Loop time to wait until.

        Raises:
            DeadlineExceeded: The deadline passed first.
            PoolError: No connection can be had.
        """
        pool = self.cluster.writer_pool
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
        self.cluster.writer_pool.release(pooled)
