"""The six operations, each in three forms: on the library, on bare connections, on a pool.

All forms of an operation are made from the same statement and the same values, so that they
send the same text with the same parameters.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Access, Cardinality, Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from datetime import datetime
    from decimal import Decimal

    import asyncpg

    from aurora_sql import Aurora
    from aurora_sql.statements import StatementRegistry

    Call = Callable[[Any], Awaitable[Any]]

BATCH_ROWS = 1_000
EVENT_COLUMNS = ("kind", "subject_id", "payload", "recorded_at")


class Value(NamedTuple):
    """The parameters of one call, by name for the library and by position for the floors."""

    named: dict[str, Any]
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the bulk load as an object."""

    kind: str
    subject_id: int
    payload: dict[str, Any]
    recorded_at: datetime


class Work(ABC):
    """One operation with its values."""

    role: Role = Role.WRITER
    comparable: bool = False
    """All forms give the same answer to the same value: it reads."""

    statements: tuple[str, ...] = ()
    """Names of the statements that it runs."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    def streams(self, callers: int) -> list[Iterator[Any]]:
        """Endless values, one iterator for each caller, each beginning at a place of its own."""
        step = max(len(self.values) // callers, 1)
        starts = [number * step % len(self.values) for number in range(callers)]
        return [itertools.cycle((*self.values[start:], *self.values[:start])) for start in starts]

    def fills_models(self, registry: StatementRegistry) -> bool:
        """Whether a statement of this work fills models with this registry."""
        return any(registry[name].returns is not None for name in self.statements)

    @abstractmethod
    def ours(self, db: Aurora) -> Call:
        """The work through the library's public interface."""

    @abstractmethod
    async def bare(self, connection: asyncpg.Connection[Any]) -> Call:
        """The work on a connection of the caller's own."""

    @abstractmethod
    def pool(self, pool: asyncpg.Pool[Any]) -> Call:
        """The work on asyncpg's pool."""


class Single(Work):
    """One statement per operation."""

    def __init__(
        self, registry: StatementRegistry, name: str, values: Sequence[dict[str, Any]]
    ) -> None:
        self._name = name
        statement = registry[name]
        self.statements = (name,)
        self.comparable = statement.access == Access.READ
        self._cardinality = statement.cardinality
        self.role = statement.role or Role.WRITER
        bound = [statement.bind(named) for named in values]
        self._sql = bound[0][0].sql
        super().__init__(
            [Value(named, tuple(args)) for named, (_, args) in zip(values, bound, strict=True)]
        )

    def ours(self, db: Aurora) -> Call:
        run = db.sql[self._name]
        return lambda value: run(**value.named)

    async def bare(self, connection: asyncpg.Connection[Any]) -> Call:
        statement = await connection.prepare(self._sql)
        run = (
            statement.fetchrow
            if self._cardinality in (Cardinality.ONE, Cardinality.MAYBE)
            else statement.fetch
        )
        return lambda value: run(*value.args)

    def pool(self, pool: asyncpg.Pool[Any]) -> Call:
        sql = self._sql
        if self._cardinality in (Cardinality.ONE, Cardinality.MAYBE):
            fetchrow = pool.fetchrow
            return lambda value: fetchrow(sql, *value.args)
        if self._cardinality in (Cardinality.EXEC, Cardinality.AFFECTED):
            execute = pool.execute
            return lambda value: execute(sql, *value.args)
        fetch = pool.fetch
        return lambda value: fetch(sql, *value.args)


class Bulk(Work):
    """1,000 events per operation, by COPY."""

    def __init__(self, batches: Sequence[list[tuple[Any, ...]]]) -> None:
        super().__init__(batches)

    def ours(self, db: Aurora) -> Call:
        insert = db.bulk_insert
        return lambda rows: insert("events", rows, columns=EVENT_COLUMNS)

    async def bare(self, connection: asyncpg.Connection[Any]) -> Call:
        copy = connection.copy_records_to_table
        return lambda rows: copy("events", records=rows, columns=EVENT_COLUMNS)

    def pool(self, pool: asyncpg.Pool[Any]) -> Call:
        copy = pool.copy_records_to_table
        return lambda rows: copy("events", records=rows, columns=EVENT_COLUMNS)


class BulkObjects(Bulk):
    """The same from objects instead of tuples; the library takes the columns from them."""

    def __init__(self, batches: Sequence[list[tuple[Any, ...]]]) -> None:
        Work.__init__(self, [[Event(*row) for row in rows] for rows in batches])

    def ours(self, db: Aurora) -> Call:
        insert = db.bulk_insert
        return lambda rows: insert("events", rows)


@dataclass(frozen=True, slots=True)
class Purchase:
    """The parameters of one transaction."""

    product: int
    customer: int
    quantity: int
    total: Decimal


def _text(registry: StatementRegistry, name: str, positions: tuple[str, ...]) -> str:
    """The text that the library prepares; its parameters must be where the floors put them."""
    (variant,) = registry[name].variants
    if tuple(variant.parameters) != positions:
        raise ConfigurationError(
            f"{name} has the parameters {variant.parameters}; the benchmark's floors are written"
            f" for {positions}: bring the two together"
        )
    return variant.sql


class PlaceOrder(Work):
    """Take from stock, write the order, write its item: three statements in a transaction."""

    def __init__(self, registry: StatementRegistry, purchases: Sequence[Purchase]) -> None:
        super().__init__(purchases)
        self.statements = ("products.reserve", "orders.add", "orders.add_item")
        self._reserve = _text(registry, "products.reserve", ("quantity", "id"))
        self._add = _text(registry, "orders.add", ("customer_id", "total_amount"))
        self._add_item = _text(
            registry, "orders.add_item", ("order_id", "product_id", "quantity", "unit_price")
        )

    def ours(self, db: Aurora) -> Call:
        async def place(value: Purchase) -> Any:
            async with db.transaction() as tx:
                product = await tx.sql.products.reserve(id=value.product, quantity=value.quantity)
                order = await tx.sql.orders.add(
                    customer_id=value.customer, total_amount=value.total
                )
                await tx.sql.orders.add_item(
                    order_id=order.id,
                    product_id=product.id,
                    quantity=value.quantity,
                    unit_price=product.price,
                )
                return order

        return place

    async def bare(self, connection: asyncpg.Connection[Any]) -> Call:
        reserve = (await connection.prepare(self._reserve)).fetchrow
        add = (await connection.prepare(self._add)).fetchrow
        add_item = (await connection.prepare(self._add_item)).fetch
        execute = connection.execute

        async def place(value: Purchase) -> Any:
            await execute("BEGIN")
            product: Any = await reserve(value.quantity, value.product)
            order: Any = await add(value.customer, value.total)
            await add_item(order["id"], product["id"], value.quantity, product["price"])
            await execute("COMMIT")
            return order

        return place

    def pool(self, pool: asyncpg.Pool[Any]) -> Call:
        reserve, add, add_item = self._reserve, self._add, self._add_item

        async def place(value: Purchase) -> Any:
            async with pool.acquire() as connection, connection.transaction():
                product: Any = await connection.fetchrow(reserve, value.quantity, value.product)
                order: Any = await connection.fetchrow(add, value.customer, value.total)
                await connection.execute(
                    add_item, order["id"], product["id"], value.quantity, product["price"]
                )
                return order

        return place
