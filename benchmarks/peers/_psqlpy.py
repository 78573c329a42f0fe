"""psqlpy: a driver and a pool in Rust, on threads of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psqlpy

from benchmarks.peers._base import APPLICATION, Peer

if TYPE_CHECKING:
    from benchmarks._sides import Call
    from benchmarks._work import Bulk, PlaceOrder, Purchase, Single, Value

_MODES = {
    "disable": psqlpy.SslMode.Disable,
    "allow": psqlpy.SslMode.Allow,
    "prefer": psqlpy.SslMode.Prefer,
    "require": psqlpy.SslMode.Require,
    "verify-ca": psqlpy.SslMode.VerifyCa,
    "verify-full": psqlpy.SslMode.VerifyFull,
}


class Psqlpy(Peer):
    """``psqlpy.ConnectionPool``; it opens its connections on first use."""

    name = "psqlpy"

    def plain(self, answer: Any) -> Any:
        """Of dictionaries."""
        if isinstance(answer, list):
            return [list(one.values()) for one in answer]
        return list(answer.values())

    async def open_pool(self, options: dict[str, Any], size: int) -> Any:
        """Make a pool for one server."""
        settings = self.target.settings
        mode = "prefer" if settings.ssl_mode is None else settings.ssl_mode.value
        return psqlpy.ConnectionPool(
            host=options["host"],
            port=options["port"],
            db_name=options["database"],
            username=options["user"],
            password=options["password"],
            application_name=APPLICATION,
            # It takes no pool of one.
            max_db_pool_size=max(size, 2),
            conn_recycling_method=psqlpy.ConnRecyclingMethod.Fast,
            ssl_mode=_MODES[mode],
            ca_file=None if settings.ssl_root_cert is None else str(settings.ssl_root_cert),
        )

    async def close_pool(self, pool: Any) -> None:
        """Close it."""
        pool.close()

    def floor(self, pool: Any) -> _Calls:
        """What makes the calls on a pool."""
        return _Calls(pool)


class _Calls:
    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def single(self, work: Single) -> Call:
        pool, sql = self._pool, work.sql

        async def fetch_one(value: Value) -> Any:
            async with pool.acquire() as connection:
                return (await connection.fetch_row(sql, value.args)).result()

        async def fetch_all(value: Value) -> Any:
            async with pool.acquire() as connection:
                return (await connection.fetch(sql, value.args)).result()

        async def execute(value: Value) -> None:
            async with pool.acquire() as connection:
                await connection.execute(sql, value.args)

        if work.rowless:
            return execute
        return fetch_one if work.one_row else fetch_all

    async def bulk(self, work: Bulk) -> Call:
        pool, columns = self._pool, list(work.columns)

        async def insert(rows: Any) -> None:
            async with pool.acquire() as connection:
                await connection.copy_records_to_table(work.table, rows, columns)

        return insert

    async def place_order(self, work: PlaceOrder) -> Call:
        pool, (reserve, add, add_item) = self._pool, work.texts

        async def place(value: Purchase) -> Any:
            async with pool.acquire() as connection, connection.transaction() as inside:
                found = await inside.fetch_row(reserve, (value.quantity, value.product))
                product = found.result()
                found = await inside.fetch_row(add, (value.customer, value.total))
                order = found.result()
                await inside.execute(
                    add_item, (order["id"], product["id"], value.quantity, product["price"])
                )
                return order

        return place
