"""The floors: the same work without the library, on bare asyncpg connections and on its pool.

They run the text that the library prepares, with the same parameters and codecs, on as many
connections as there are callers. The bare floor is what a caller with a connection and prepared
statements of its own gets; nothing that shares connections can be faster.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson

from benchmarks._results import BARE, POOL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks._sides import Call
    from benchmarks._target import Target
    from benchmarks._work import Bulk, PlaceOrder, Purchase, Single, Work

_APPLICATION = "aurora_sql benchmark floor"
_JSONB_VERSION = b"\x01"
_CLOSE_LIMIT = 2.0
_CLOSING = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


async def prepare_connection(connection: asyncpg.Connection[Any]) -> None:
    """Give a connection the codec for jsonb that the library uses, so that both do that work."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: _JSONB_VERSION + orjson.dumps(value),
        decoder=lambda data: orjson.loads(data[1:]),
        format="binary",
    )


async def connect(options: dict[str, Any]) -> asyncpg.Connection[Any]:
    """Open one connection of a floor."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(
        **options, server_settings={"application_name": _APPLICATION}
    )
    try:
        await prepare_connection(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


class _Connection:
    """Makes the calls on a connection of the caller's own."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection

    async def single(self, work: Single) -> Call:
        statement = await self._connection.prepare(work.sql)
        run = statement.fetchrow if work.one_row else statement.fetch
        return lambda value: run(*value.args)

    async def bulk(self, work: Bulk) -> Call:
        copy, columns = self._connection.copy_records_to_table, work.columns
        return lambda rows: copy(work.table, records=rows, columns=columns)

    async def place_order(self, work: PlaceOrder) -> Call:
        connection = self._connection
        reserve = (await connection.prepare(work.reserve)).fetchrow
        add = (await connection.prepare(work.add)).fetchrow
        add_item = (await connection.prepare(work.add_item)).fetch
        execute = connection.execute

        async def place(value: Purchase) -> Any:
            await execute("BEGIN")
            product: Any = await reserve(value.quantity, value.product)
            order: Any = await add(value.customer, value.total)
            await add_item(order["id"], product["id"], value.quantity, product["price"])
            await execute("COMMIT")
            return order

        return place


class _Pool:
    """Makes the calls on asyncpg's pool."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def single(self, work: Single) -> Call:
        sql = work.sql
        if work.one_row:
            fetchrow = self._pool.fetchrow
            return lambda value: fetchrow(sql, *value.args)
        if work.rowless:
            execute = self._pool.execute
            return lambda value: execute(sql, *value.args)
        fetch = self._pool.fetch
        return lambda value: fetch(sql, *value.args)

    async def bulk(self, work: Bulk) -> Call:
        copy, columns = self._pool.copy_records_to_table, work.columns
        return lambda rows: copy(work.table, records=rows, columns=columns)

    async def place_order(self, work: PlaceOrder) -> Call:
        pool, reserve, add, add_item = self._pool, work.reserve, work.add, work.add_item

        async def place(value: Purchase) -> Any:
            async with pool.acquire() as connection, connection.transaction():
                product: Any = await connection.fetchrow(reserve, value.quantity, value.product)
                order: Any = await connection.fetchrow(add, value.customer, value.total)
                await connection.execute(
                    add_item, order["id"], product["id"], value.quantity, product["price"]
                )
                return order

        return place


class BareConnections:
    """One connection for each caller, its statements prepared once."""

    name = BARE

    def __init__(self, target: Target, work: Work, callers: int) -> None:
        self._target = target
        self._work = work
        self._callers = callers
        self._connections: list[asyncpg.Connection[Any]] = []

    async def open(self) -> None:
        """Open all connections."""
        options = self._target.options(self._work.role)
        for number in range(self._callers):
            self._connections.append(await connect(options[number % len(options)]))

    async def close(self) -> None:
        """Close them."""
        connections, self._connections = self._connections, []
        for connection in connections:
            await _close(connection)

    async def calls(self) -> list[Callable[[Any], Awaitable[Any]]]:
        """Return the work of each caller."""
        calls = []
        for connection in self._connections:
            calls.append(await self._work.on(_Connection(connection)))
            # asyncpg prepares with Flush and without Sync: the implicit transaction, and with it
            # a lock on the tables, would stay until the first call, and block what empties them.
            await connection.execute("SELECT")
        return calls


class AsyncpgPool:
    """``asyncpg.Pool`` with as many connections as callers, one pool for each server."""

    name = POOL

    def __init__(self, target: Target, work: Work, callers: int) -> None:
        self._target = target
        self._work = work
        self._callers = callers
        self._pools: list[asyncpg.Pool[Any]] = []

    async def open(self) -> None:
        """Open the pools with all their connections."""
        options = self._target.options(self._work.role)
        for number, one in enumerate(options):
            size = len(range(number, self._callers, len(options)))
            if not size:
                continue
            pool = asyncpg.create_pool(
                **one,
                min_size=size,
                max_size=size,
                init=prepare_connection,
                server_settings={"application_name": _APPLICATION},
            )
            self._pools.append(pool)
            await pool

    async def close(self) -> None:
        """Close the pools."""
        pools, self._pools = self._pools, []
        for pool in pools:
            # A measurement that was interrupted may have left a connection in the middle of a
            # command, for which close() would wait without end.
            with contextlib.suppress(*_CLOSING):
                async with asyncio.timeout(_CLOSE_LIMIT):
                    await pool.close()
                continue
            pool.terminate()

    async def calls(self) -> list[Callable[[Any], Awaitable[Any]]]:
        """Return the work of each caller; callers are spread evenly over the servers."""
        works = [await self._work.on(_Pool(pool)) for pool in self._pools]
        return [works[number % len(works)] for number in range(self._callers)]


async def _close(connection: asyncpg.Connection[Any]) -> None:
    with contextlib.suppress(*_CLOSING):
        await connection.close(timeout=_CLOSE_LIMIT)
        return
    connection.terminate()
