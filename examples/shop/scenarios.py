"""What a shop does all day, in four scenarios, each a plain function on an open ``Aurora``.

They return tables. Nothing in them depends on the moment or on the order in which concurrent
callers happened to be served: after the same load, each run of the four in their order gives
the same rows, on whatever engine and topology.
"""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from aurora_sql import SerializationConflict
from examples.shop.data import END
from examples.shop.models import NewOrder, Wish

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from aurora_sql import Aurora, Transaction
    from examples.shop.models import (
        Customer,
        CustomerSummary,
        Order,
        OrderDetails,
        OrderWithItems,
        Product,
        StockLevel,
    )

CLOSING = datetime.combine(END, time.min, tzinfo=UTC)
"""The end of the generated history; what the scenarios add themselves is later."""


@dataclass(frozen=True, slots=True)
class Table:
    """One result, ready to be printed or compared.

    Attributes:
        title: What it shows.
        columns: Names of the columns.
        rows: The rows, each as long as ``columns``.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


# --- 1. Placing orders ---------------------------------------------------------------------


class OutOfStock(Exception):
    """A product has fewer pieces than the order wants."""

    def __init__(self, product_id: int, wanted: int, stock: int) -> None:
        super().__init__(f"product {product_id}: {wanted} wanted, {stock} in stock")
        self.product_id = product_id
        self.wanted = wanted
        self.stock = stock


async def place_order(tx: Transaction, order: NewOrder) -> Order:
    """Take the products from stock and write the order: everything, or nothing.

    To be called through ``db.run_in_transaction(place_order, order)``, which may call it again
    after a conflict: it touches nothing but the transaction.

    Raises:
        LookupError: There is no such product.
        OutOfStock: A product has too few pieces.
    """
    wanted: Counter[int] = Counter()
    for wish in order.wishes:
        wanted[wish.product_id] += wish.quantity
    ids = sorted(wanted)
    products: dict[int, Product] = {
        product.id: product for product in await tx.sql.products.lock_many(ids=ids)
    }
    for id_ in ids:
        if id_ not in products:
            raise LookupError(f"there is no product {id_}")
        if products[id_].stock < wanted[id_]:
            raise OutOfStock(id_, wanted[id_], products[id_].stock)
    quantities = [wanted[id_] for id_ in ids]
    prices = [products[id_].price for id_ in ids]
    total = sum((price * n for price, n in zip(prices, quantities, strict=True)), Decimal(0))
    await tx.sql.products.reserve_many(ids=ids, quantities=quantities)
    placed: Order = await tx.sql.orders.add(customer_id=order.customer_id, total_amount=total)
    await tx.sql.orders.add_items(
        order_id=placed.id, product_ids=ids, quantities=quantities, unit_prices=prices
    )
    await tx.sql.events.record(
        kind="order.placed",
        subject_id=placed.id,
        payload={"customer_id": order.customer_id, "total": str(total)},
    )
    return placed


async def place_orders(db: Aurora, *, pieces: int = 12, too_many: int = 8) -> tuple[Table, Table]:
    """More buyers than pieces, all at once; then a price that changes under a buyer's hands.

    Args:
        db: The shop.
        pieces: The product to fight for is the scarcest with at least this many.
        too_many: How many buyers will have to go without.
    """
    # What decides a write is read from the writer.
    levels: Sequence[StockLevel] = await db.sql.products.low_stock(threshold=1_000_000, limit=500)
    scarce = next((level for level in levels if level.stock >= pieces), levels[-1])
    buyers = scarce.stock + too_many
    plenty: Sequence[Product] = await db.writer.sql.products.search(min_stock=2 * buyers, limit=2)
    others = [product for product in plenty if product.id != scarce.id]
    customers: Sequence[Customer] = await db.writer.sql.customers.search(
        tier="standard", limit=buyers
    )

    async def buy(number: int) -> bool:
        wishes = [Wish(product_id=scarce.id, quantity=1)]
        if others:
            wishes.append(Wish(product_id=others[0].id, quantity=2))
        order = NewOrder(customer_id=customers[number % len(customers)].id, wishes=tuple(wishes))
        try:
            await db.run_in_transaction(place_order, order)
        except OutOfStock:
            return False
        return True

    outcomes = await asyncio.gather(*(buy(number) for number in range(buyers)))
    stock_after = (await db.sql.products.get(id=scarce.id)).stock
    first = Table(
        f"{buyers} buyers at once, one piece of {scarce.name} each",
        ("in stock before", "orders placed", "buyers refused", "in stock after"),
        ((scarce.stock, sum(outcomes), outcomes.count(False), stock_after),),
    )
    product_id = others[0].id if others else scarce.id
    return first, await _order_while_price_changes(db, customers[0].id, product_id)


async def _order_while_price_changes(db: Aurora, customer_id: int, product_id: int) -> Table:
    """An order under REPEATABLE READ whose product is changed by somebody else meanwhile.

    What the order has seen must not be mixed with what it now would overwrite: PostgreSQL refuses
    that by itself, on MySQL the order looks. The function runs again, and sells at the price that
    holds.
    """
    seen: list[tuple[Decimal, int]] = []

    async def raise_price() -> None:
        product = await db.sql.products.get(id=product_id)
        changed = await db.sql.products.change_price(
            id=product_id, version=product.version, price=product.price + 1
        )
        if changed is None:
            raise RuntimeError(f"somebody else changed product {product_id}; run it alone")

    async def order_one(tx: Transaction) -> Order:
        product = await tx.sql.products.get(id=product_id)
        seen.append((product.price, product.version))
        if len(seen) == 1:
            await raise_price()
        order: Order = await tx.sql.orders.add(customer_id=customer_id, total_amount=product.price)
        reserved = await tx.sql.products.reserve(id=product_id, quantity=1)
        if reserved is None:
            raise OutOfStock(product_id, 1, product.stock)
        if reserved.price != product.price:
            # PostgreSQL has refused to change the row by now. MySQL's REPEATABLE READ changes
            # the newest version of it, whatever the transaction has read before.
            raise SerializationConflict(f"the price of product {product_id} has changed")
        await tx.sql.orders.add_item(
            order_id=order.id, product_id=product_id, quantity=1, unit_price=product.price
        )
        return order

    try:
        order = await db.transaction(isolation="repeatable read").run(order_one)
    except OutOfStock:
        return Table("Price changed during an order", ("attempt",), ())
    last = len(seen)
    return Table(
        "The price goes up while the order is being placed",
        ("attempt", "price seen", "outcome"),
        tuple(
            (
                attempt,
                price,
                f"sold for {order.total_amount}" if attempt == last else "conflict, run again",
            )
            for attempt, (price, _) in enumerate(seen, 1)
        ),
    )


# --- 2. The customer page ------------------------------------------------------------------


class CustomerPage(NamedTuple):
    """Everything that the page of a customer shows."""

    summary: CustomerSummary
    history: list[OrderWithItems]
    latest: OrderDetails | None


async def customer_page(db: Aurora, customer_id: int, *, orders: int = 10) -> CustomerPage:
    """Read a customer's page from the readers, independent parts at the same time.

    Args:
        db: The shop.
        customer_id: Whose page.
        orders: How many of the latest orders to show.

    Raises:
        RowNotFound: There is no such customer.
    """
    # Both statements say `role: reader`, so db.sql takes them there.
    summary, history = await asyncio.gather(
        db.sql.customers.summary(id=customer_id),
        db.sql.customers.order_history(customer_id=customer_id, limit=orders),
    )
    # This one does not: the caller decides.
    latest = await db.reader.sql.orders.with_details(id=history[0].id) if history else None
    return CustomerPage(summary, history, latest)


async def customer_pages(db: Aurora, *, count: int = 5) -> Table:
    """The pages of those who spent most.

    Args:
        db: The shop.
        count: How many pages.
    """
    best = await db.sql.reports.top_customers(limit=count)
    pages = await asyncio.gather(*(customer_page(db, one.customer.id) for one in best))
    return Table(
        "Pages of the best customers, from the readers",
        ("customer", "tier", "orders", "spent", "sign-ins", "latest order"),
        tuple(_page_row(page) for page in pages),
    )


def _page_row(page: CustomerPage) -> tuple[Any, ...]:
    summary, latest = page.summary, page.latest
    return (
        summary.customer.full_name,
        summary.customer.tier,
        summary.order_count,
        summary.total_spent,
        "guest" if summary.account is None else summary.account.login_count,
        latest and f"{latest.total_amount}, {len(latest.items)} line(s)",
    )


# --- 3. Search and export ------------------------------------------------------------------


async def search_shop(db: Aurora) -> Table:
    """The same few statements with different filters: lines that come and go.

    Args:
        db: The shop.
    """
    sql = db.reader.sql
    best = (await sql.reports.top_customers(limit=1))[0].customer
    month_ago = CLOSING - timedelta(days=30)
    name = best.full_name.split()[0]
    searches: tuple[tuple[str, Any], ...] = (
        ("orders of the best customer", sql.orders.search(customer_id=best.id, limit=1000)),
        (
            "  ... delivered",
            sql.orders.search(customer_id=best.id, status="delivered", limit=1000),
        ),
        (
            "  ... since a month before the end",
            sql.orders.search(customer_id=best.id, since=month_ago, limit=1000),
        ),
        (
            "  ... the three largest",
            sql.orders.search(customer_id=best.id, sort="largest", limit=3),
        ),
        (f"customers called {name} …", sql.customers.search(name=f"{name} ", limit=1000)),
        (
            "  ... with gold",
            sql.customers.search(name=f"{name} ", tier="gold", limit=1000),
        ),
        ("books up to 10.00", sql.products.search(category="books", max_price=10, limit=1000)),
        (
            "  ... in hardcover",
            sql.products.search(
                category="books", max_price=10, attributes={"binding": "hardcover"}, limit=1000
            ),
        ),
    )
    rows = []
    for title, search in searches:
        found = await search
        rows.append((title, len(found), _headline(found[0]) if found else None))
    return Table("Searches", ("search", "found", "first"), tuple(rows))


def _headline(found: Any) -> str:
    for attribute in ("full_name", "name"):
        if hasattr(found, attribute):
            return str(getattr(found, attribute))
    return f"{found.status}, {found.total_amount}"


async def export_orders(db: Aurora, since: datetime, out: TextIO) -> Table:
    """Write all orders of a period as CSV, streamed from a reader through a cursor.

    Args:
        db: The shop.
        since: The first moment of the period.
        out: Where the CSV goes; memory does not grow with it.
    """
    writer = csv.writer(out)
    writer.writerow(("id", "customer_id", "status", "total_amount", "created_at"))
    count = 0
    amount = Decimal(0)
    async for order in db.reader.sql.orders.export.stream(since=since, batch_size=2000):
        writer.writerow(order)
        count += 1
        amount += order.total_amount
    return Table("Export", ("orders", "amount"), ((count, amount),))


# --- 4. The day's report, and the work that comes of it --------------------------------------


async def daily_report(db: Aurora, *, days: int = 7) -> tuple[Table, Table]:
    """Sales by day, and what sold best in each category.

    Args:
        db: The shop.
        days: How many days before the end of the history.
    """
    since = CLOSING - timedelta(days=days)
    sales, best = await asyncio.gather(
        db.reader.sql.reports.sales_by_day(since=since),
        db.reader.sql.reports.best_sellers(since=since, per_category=1),
    )
    return (
        Table(
            "Sales by day",
            ("day", "orders", "customers", "revenue"),
            tuple(
                (line.day, line.orders, line.customers, line.revenue)
                for line in sales
                if line.day < END
            ),
        ),
        Table(
            "Best sellers",
            ("category", "product", "pieces", "revenue"),
            tuple((line.category, line.name, line.pieces, line.revenue) for line in best),
        ),
    )


async def restock_and_ship(
    db: Aurora, *, threshold: int = 10, target: int = 100, ship: int = 50
) -> Table:
    """Refill what runs out, write it into the journal, and send off what is paid.

    Args:
        db: The shop.
        threshold: Products with fewer pieces are refilled.
        target: To this many pieces.
        ship: At most this many orders are sent off.
    """
    low = await db.sql.products.low_stock(threshold=threshold, limit=1000)
    refills = [{"id": level.id, "quantity": target - level.stock} for level in low]
    async with db.transaction() as tx:
        await tx.sql.products.restock(refills)
        await tx.sql.events.record_many(
            [
                {
                    "kind": "product.restocked",
                    "subject_id": refill["id"],
                    "payload": {"quantity": refill["quantity"]},
                }
                for refill in refills
            ]
        )
    still_low = await db.sql.products.low_stock(threshold=threshold, limit=1000)
    shipped = await db.sql.orders.ship_next(limit=ship)
    return Table(
        "Restock and ship",
        ("work", "count", "amount"),
        (
            (f"products below {threshold}", len(low), None),
            ("pieces that came in", sum(refill["quantity"] for refill in refills), None),
            ("products below it now", len(still_low), None),
            ("orders sent off", len(shipped), sum((o.total_amount for o in shipped), Decimal(0))),
        ),
    )
