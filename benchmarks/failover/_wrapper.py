"""AWS's wrapper: its asyncio port around psycopg, one connection for each caller.

It knows an Aurora cluster by the names of its hosts. The local cluster gets such names here; each
is turned into its address where psycopg connects, so that no name server is ever asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from aws_advanced_python_wrapper.aio import AsyncAwsWrapperConnection, release_resources_async
from aws_advanced_python_wrapper.errors import FailoverSuccessError
from aws_advanced_python_wrapper.errors import TransactionResolutionUnknownError as TransactionLost
from aws_advanced_python_wrapper.pep249 import Error as WrapperError

from benchmarks.failover import _work
from benchmarks.failover._work import Attempt, retried

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from aurora_sql.local import LocalCluster
    from benchmarks.failover._results import FailoverOptions
    from benchmarks.failover._work import Subject

_LOST: tuple[type[Exception], ...] = (psycopg.Error, WrapperError, OSError)
_MOVED = (FailoverSuccessError, TransactionLost)
"""It has connected to the new writer, and leaves it to the caller to do the unit of work again."""

_CLOSE = 2.0
"""Seconds that a connection may take to close."""


class _Names:
    """Names as Aurora gives them, each with the address of the local cluster that it stands for."""

    def __init__(self, cluster: LocalCluster) -> None:
        # The wrapper keeps what it knows of hosts for the life of the process, by name.
        domain = f"c{secrets.token_hex(6)}.us-east-1.rds.amazonaws.com"
        writer, reader = cluster.writer_endpoint, cluster.reader_endpoint
        self.writer = f"local.cluster-{domain}", writer[1]
        self.reader = f"local.cluster-ro-{domain}", reader[1]
        self._addresses = {self.writer[0]: writer[0], self.reader[0]: reader[0]}
        self._addresses |= {f"{one.id}.{domain}": one.host for one in cluster.instances}
        self.pattern = f"?.{domain}:{cluster.instances[0].port}"

    def driver(self) -> Callable[..., Awaitable[Any]]:
        """Psycopg's own connect, which looks addresses up here."""
        addresses = self._addresses

        class Resolved(psycopg.AsyncConnection[Any]):
            @classmethod
            async def _get_connection_params(cls, conninfo: str, **kwargs: Any) -> dict[str, Any]:
                found = await super()._get_connection_params(conninfo, **kwargs)
                return {**found, "hostaddr": addresses[str(found["host"])]}

        # Not overridden: the wrapper recognises psycopg by this very function.
        return Resolved.connect


class _Wrapper:
    def __init__(
        self,
        connect: Callable[[tuple[str, int]], Awaitable[Any]],
        names: _Names,
        seconds: float,
    ) -> None:
        self._connect = connect
        self._names = names
        self._seconds = seconds
        self._connections: dict[tuple[str, int], Any] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def write(self, number: int, caller: int) -> None:
        async def attempt(state: Attempt) -> None:
            async with self._connection("writer", caller) as connection:
                async with connection.cursor() as cursor:
                    await cursor.execute(
                        _work.COUNT_UP.format(id="%s"), (1 + number % _work.COUNTERS,)
                    )
                    await cursor.execute(_work.ADD.format(id="%s", caller="%s"), (number, caller))
                state.committing = True
                await connection.commit()

        await retried(attempt, _LOST, self._seconds)

    async def read(self, caller: int) -> None:
        await retried(lambda _: self._count("reader", caller), _LOST, self._seconds)

    async def _count(self, role: str, caller: int) -> None:
        async with self._connection(role, caller) as connection:
            async with connection.cursor() as cursor:
                await cursor.execute(_work.COUNT)
                await cursor.fetchone()
            await connection.commit()

    @asynccontextmanager
    async def _connection(self, role: str, caller: int) -> AsyncIterator[Any]:
        """The caller's own connection, which is given up after whatever the wrapper cannot mend."""
        key = role, caller
        if key not in self._connections:
            endpoint = self._names.writer if role == "writer" else self._names.reader
            self._connections[key] = await self._connect(endpoint)
        connection = self._connections[key]
        try:
            yield connection
        except _MOVED:
            raise
        except BaseException:
            del self._connections[key]
            # In the background: a caller whose deadline has passed does not wait for it.
            task = asyncio.create_task(_close(connection))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            raise

    async def open(self, options: FailoverOptions) -> None:
        """Open the connections one after another, and use each.

        Its connection tracker takes a connection that found the writer through the cluster
        endpoint for one to an old writer, and closes all of them at the first statement. Where
        another caller uses one of those at that moment, psycopg ends the process.
        """
        for role, callers in (("writer", options.writers), ("reader", options.readers)):
            for caller in range(callers):
                await retried(
                    lambda _, role=role, caller=caller: self._count(role, caller),  # type: ignore[misc]
                    _LOST,
                    self._seconds,
                )

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(_close(one) for one in self._connections.values()), *self._closing)


async def _close(connection: Any) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSE):
            await connection.close()


@asynccontextmanager
async def open_wrapper(
    cluster: LocalCluster, options: FailoverOptions, settings: Mapping[str, str]
) -> AsyncIterator[Subject]:
    """Open the wrapper on a cluster.

    Args:
        cluster: A local cluster.
        options: Of the run.
        settings: The wrapper's settings that differ from its defaults.
    """
    names = _Names(cluster)

    async def connect(endpoint: tuple[str, int]) -> Any:
        host, port = endpoint
        return await AsyncAwsWrapperConnection.connect(
            names.driver(),
            host=host,
            port=str(port),
            dbname=cluster.database,
            user=cluster.username,
            password=cluster.password,
            sslmode="disable",
            wrapper_dialect="aurora-pg",
            cluster_instance_host_pattern=names.pattern,
            **settings,
        )

    wrapper = _Wrapper(connect, names, options.deadline)
    try:
        await wrapper.open(options)
        yield wrapper
    finally:
        await wrapper.close()
        await release_resources_async()
