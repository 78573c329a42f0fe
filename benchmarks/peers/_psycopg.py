"""psycopg 3: its asynchronous pool, with prepared statements and binary results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import psycopg
from psycopg.types.json import Jsonb, set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool

from benchmarks._work import Bulk, Single, Value
from benchmarks.peers._base import APPLICATION, Peer, with_values

if TYPE_CHECKING:
    from benchmarks._sides import Call
    from benchmarks._target import Target
    from benchmarks._work import PlaceOrder, Purchase, Work

_TYPES = ("text", "int8", "jsonb", "timestamptz")


def connect_arguments(target: Target, options: dict[str, Any]) -> dict[str, Any]:
    """What psycopg's ``connect`` takes, of what asyncpg's does."""
    settings = target.settings
    arguments = {
        "host": options["host"],
        "port": options["port"],
        "dbname": options["database"],
        "user": options["user"],
        "password": options["password"],
        "application_name": APPLICATION,
        # libpq has the same modes by the same names.
        "sslmode": "prefer" if settings.ssl_mode is None else settings.ssl_mode.value,
        "autocommit": True,
        # Prepared on first use; its default waits for the sixth.
        "prepare_threshold": 0,
        # Parameters as $1, as the server has them: the text needs no conversion.
        "cursor_factory": psycopg.AsyncRawCursor,
    }
    if settings.ssl_root_cert is not None:
        arguments["sslrootcert"] = str(settings.ssl_root_cert)
    return arguments


async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
    """Let a connection read and write JSON as the library does."""
    set_json_loads(orjson.loads, connection)
    set_json_dumps(orjson.dumps, connection)


async def open_pool(target: Target, options: dict[str, Any], size: int) -> AsyncConnectionPool[Any]:
    """Open a pool with all its connections."""
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        kwargs=connect_arguments(target, options),
        min_size=size,
        max_size=size,
        open=False,
        configure=configure,
    )
    await pool.open(wait=True)
    return pool


def _sent(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict) else value


class PsycopgPool(Peer):
    """``psycopg_pool.AsyncConnectionPool``."""

    name = "psycopg_pool"

    def adapted(self, work: Work) -> Work:
        """Mappings are marked as JSON."""
        if isinstance(work, Single):
            return with_values(
                work, lambda one: Value(one.named, tuple(_sent(value) for value in one.args))
            )
        if isinstance(work, Bulk):
            return with_values(
                work, lambda rows: [tuple(_sent(value) for value in row) for row in rows]
            )
        return work

    async def open_pool(self, options: dict[str, Any], size: int) -> Any:
        """Open a pool at one server."""
        return await open_pool(self.target, options, size)

    async def close_pool(self, pool: AsyncConnectionPool[Any]) -> None:
        """Close it."""
        await pool.close(timeout=1.0)

    def floor(self, pool: AsyncConnectionPool[Any]) -> _Calls:
        """What makes the calls on a pool."""
        return _Calls(pool)


class _Calls:
    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def single(self, work: Single) -> Call:
        pool, sql = self._pool, work.sql

        async def fetch_one(value: Value) -> Any:
            async with pool.connection() as connection:
                return await (await connection.execute(sql, value.args, binary=True)).fetchone()

        async def fetch_all(value: Value) -> Any:
            async with pool.connection() as connection:
                return await (await connection.execute(sql, value.args, binary=True)).fetchall()

        async def execute(value: Value) -> None:
            async with pool.connection() as connection:
                await connection.execute(sql, value.args)

        if work.rowless:
            return execute
        return fetch_one if work.one_row else fetch_all

    async def bulk(self, work: Bulk) -> Call:
        pool = self._pool
        sql = f"COPY {work.table} ({', '.join(work.columns)}) FROM STDIN (FORMAT BINARY)"

        async def insert(rows: Any) -> None:
            async with (
                pool.connection() as connection,
                connection.cursor() as cursor,
                cursor.copy(sql) as copy,
            ):
                copy.set_types(_TYPES)
                for row in rows:
                    await copy.write_row(row)

        return insert

    async def place_order(self, work: PlaceOrder) -> Call:
        pool, (reserve, add, add_item) = self._pool, work.texts

        async def place(value: Purchase) -> Any:
            async with pool.connection() as connection, connection.transaction():
                execute = connection.execute
                cursor = await execute(reserve, (value.quantity, value.product), binary=True)
                product: Any = await cursor.fetchone()
                cursor = await execute(add, (value.customer, value.total), binary=True)
                order: Any = await cursor.fetchone()
                # The id comes first in both, and behind the product's its price.
                await execute(add_item, (order[0], product[0], value.quantity, product[1]))
                return order

        return place
