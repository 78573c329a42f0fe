"""Fills an empty shop by COPY, in one transaction."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.shop.data import COLUMNS, ShopData, ShopSize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aurora_sql import Aurora, Transaction
    from examples.shop.data import Row

    Progress = Callable[[str, int], None]

_ORDERS_AT_ONCE = 20_000
"""Orders held in memory, with their items, between one COPY and the next: about 15 MB."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What was loaded.

    Attributes:
        rows: Rows of each table.
        seconds: From BEGIN to COMMIT.
    """

    rows: dict[str, int]
    seconds: float

    @property
    def total(self) -> int:
        """Rows of all tables."""
        return sum(self.rows.values())


async def load_shop(
    db: Aurora,
    *,
    customers: int = 100_000,
    orders: int = 500_000,
    products: int = 2_000,
    seed: int = 1,
    progress: Progress | None = None,
) -> LoadReport:
    """Load a generated shop into migrated, empty tables: all of it or nothing.

    Args:
        db: An open Aurora whose ``sql`` is the shop's; its user must own the tables.
        customers: How many, at least 1; about nine in ten have an account.
        orders: How many; each has 1 to 6 items.
        products: How many, at least 1.
        seed: The same seed gives the same rows.
        progress: Called with a table and how many of its rows are loaded so far.

    Raises:
        ValueError: A number is too small, or the shop is not empty.
        AuroraError: The database refuses. Where that is ``maintenance.after_commit`` (a server that
            stops just then), all rows are there.
    """
    data = ShopData(ShopSize(customers, orders, products), seed=seed)
    begin = time.perf_counter()
    # No limit in time for the whole, each command keeps its own.
    async with db.transaction() as tx:
        if not await tx.sql.maintenance.is_empty():
            raise ValueError("the shop is not empty: run maintenance.clear first")
        load = _Load(tx, progress)
        keys = await tx.sql.maintenance.foreign_keys()
        for key in keys:
            await tx.execute(key.drop_command)
        for table in ("users", "customers", "products"):
            await load.insert(table, getattr(data, table)())
        await load.orders(data)
        # With statistics first: the check of a foreign key is a join, and wants a plan.
        await tx.sql.maintenance.after_load()
        for key in keys:
            await tx.execute(key.add_command)
    seconds = time.perf_counter() - begin
    await db.sql.maintenance.after_commit()
    return LoadReport(load.rows, seconds)


class _Load:
    """One load under way: where to, and how far it is."""

    def __init__(self, tx: Transaction, progress: Progress | None) -> None:
        self._tx = tx
        self._progress = progress
        self.rows = dict.fromkeys(COLUMNS, 0)

    async def insert(self, table: str, rows: Iterable[Row]) -> None:
        before = self.rows[table]

        def report(rows_so_far: int) -> None:
            self.rows[table] = before + rows_so_far
            if self._progress is not None:
                self._progress(table, self.rows[table])

        result = await self._tx.bulk_insert(table, rows, columns=COLUMNS[table], progress=report)
        report(result.rows)

    async def orders(self, data: ShopData) -> None:
        """Orders and items in turns, so that neither has to be generated twice."""
        orders: list[Row] = []
        items: list[Row] = []
        for day_orders, day_items in data.days_of_orders():
            orders += day_orders
            items += day_items
            if len(orders) >= _ORDERS_AT_ONCE:
                await self.insert("orders", orders)
                await self.insert("order_items", items)
                orders, items = [], []
        await self.insert("orders", orders)
        await self.insert("order_items", items)
