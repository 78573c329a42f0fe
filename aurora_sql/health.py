"""Is the database there, and does each instance do its part?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aurora_sql.errors import AuroraError
from aurora_sql.execution import Watch, call_limit
from aurora_sql.types import Instance, PoolStats, Role

if TYPE_CHECKING:
    from aurora_sql.cluster import Cluster
    from aurora_sql.execution import Context
    from aurora_sql.pool import Pool


@dataclass(frozen=True, slots=True)
class InstanceHealth:
    """What one instance answered.

    Attributes:
        instance: The instance.
        ok: It answered in time and has the role it should have.
        latency: Seconds for one round trip, waiting for a connection not counted; None where it
            did not answer.
        server_version: Version of the server, ``(15, 4)``; empty where it did not answer.
        error: What is wrong, None when all is well.
        pool: Gauges and counters of its pool.
    """

    instance: Instance
    ok: bool
    latency: float | None
    server_version: tuple[int, ...]
    error: str | None
    pool: PoolStats


@dataclass(frozen=True, slots=True)
class Health:
    """What all instances answered.

    Attributes:
        ok: Every instance is well.
        can_write: The writer is well.
        can_read: At least one instance is well.
        instances: One entry per instance, the writer first.
    """

    ok: bool
    can_write: bool
    can_read: bool
    instances: tuple[InstanceHealth, ...]


async def check(context: Context, cluster: Cluster, timeout: float) -> Health:  # noqa: ASYNC109 - a limit per instance, reported rather than raised
    """Send each instance one round trip through its pool.

    Args:
        context: For deadlines.
        cluster: The instances.
        timeout: Seconds for each instance; they are asked at the same time.
    """
    limit = call_limit(context, timeout)
    found = await asyncio.gather(
        *(_check(context, instance, pool, limit) for instance, pool in cluster.pools().items())
    )
    return Health(
        ok=all(one.ok for one in found),
        can_write=any(one.ok for one in found if one.instance.role is Role.WRITER),
        can_read=any(one.ok for one in found),
        instances=tuple(found),
    )


async def _check(context: Context, instance: Instance, pool: Pool, limit: float) -> InstanceHealth:
    latency: float | None = None
    version: tuple[int, ...] = ()
    error: str | None = None
    try:
        pooled = await pool.acquire(limit)
        try:
            started = context.loop.time()
            with Watch(context, pooled, limit, what=f"health of {instance.id}", write_sent=False):
                await pooled.driver.ping()
            latency = context.loop.time() - started
            version = pooled.driver.server_version
            if pooled.driver.is_standby and instance.role is Role.WRITER:
                error = "it is the writer's endpoint, and the instance only reads"
        finally:
            pool.release(pooled)
    except AuroraError as failure:
        error = f"{type(failure).__name__}: {failure.message}"
    return InstanceHealth(instance, error is None, latency, version, error, pool.stats())
