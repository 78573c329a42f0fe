"""aiosql on asyncpg's pool: SQL in files too, as its adapter for asyncpg runs it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import aiosql
import asyncpg

from benchmarks._floors_postgresql import prepare_connection
from benchmarks.peers._base import APPLICATION, Peer, by_name, named, with_values

if TYPE_CHECKING:
    from benchmarks._sides import Call
    from benchmarks._work import Bulk, PlaceOrder, Purchase, Single, Work

_QUERIES = """\
-- name: {name}({parameters}){kind}
{sql}
"""


def _parameters(sql: str) -> list[str]:
    """The names that :func:`named` gives, which aiosql wants declared."""
    return sorted(set(re.findall(r":(p\d+)", named(sql))))


def _queries(*blocks: tuple[str, str, str]) -> Any:
    """Queries of (name, kind by aiosql's suffix, text)."""
    text = "\n".join(
        _QUERIES.format(
            name=name, parameters=", ".join(_parameters(sql)), kind=kind, sql=named(sql)
        )
        for name, kind, sql in blocks
    )
    return aiosql.from_str(text, "asyncpg")


class AiosqlPool(Peer):
    """aiosql's queries, handed an ``asyncpg.Pool``."""

    name = "aiosql on asyncpg"

    def adapted(self, work: Work) -> Work:
        """Parameters by the names of the queries."""
        if hasattr(work, "sql"):
            return with_values(work, lambda value: by_name(value.args))
        if hasattr(work, "columns"):
            return with_values(work, lambda rows: [by_name(row) for row in rows])
        return work

    async def open_pool(self, options: dict[str, Any], size: int) -> Any:
        """Open a pool at one server."""
        return await asyncpg.create_pool(
            **options,
            min_size=size,
            max_size=size,
            init=prepare_connection,
            server_settings={"application_name": APPLICATION},
        )

    async def close_pool(self, pool: Any) -> None:
        """Close it."""
        await pool.close()

    def plain(self, answer: Any) -> Any:
        """Of records, and of the generators that aiosql returns for many rows."""
        if isinstance(answer, asyncpg.Record):
            return list(answer.values())
        return [list(one.values()) for one in answer]

    def floor(self, pool: Any) -> _Calls:
        """What makes the calls on a pool."""
        return _Calls(pool)


class _Calls:
    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def single(self, work: Single) -> Call:
        kind = "!" if work.rowless else "^" if work.one_row else ""
        pool, run = self._pool, _queries(("run", kind, work.sql)).run
        return lambda value: run(pool, **value)

    async def bulk(self, work: Bulk) -> Call:
        places = ", ".join(f"${number}" for number in range(1, len(work.columns) + 1))
        sql = f"INSERT INTO {work.table} ({', '.join(work.columns)}) VALUES ({places})"
        pool, run = self._pool, _queries(("run", "*!", sql)).run
        return lambda rows: run(pool, rows)

    async def place_order(self, work: PlaceOrder) -> Call:
        pool = self._pool
        queries = _queries(
            ("reserve", "^", work.reserve), ("add", "^", work.add), ("add_item", "!", work.add_item)
        )

        async def place(value: Purchase) -> Any:
            async with pool.acquire() as connection, connection.transaction():
                product = await queries.reserve(connection, p1=value.quantity, p2=value.product)
                order = await queries.add(connection, p1=value.customer, p2=value.total)
                await queries.add_item(
                    connection,
                    p1=order["id"],
                    p2=product["id"],
                    p3=value.quantity,
                    p4=product["price"],
                )
                return order

        return place
