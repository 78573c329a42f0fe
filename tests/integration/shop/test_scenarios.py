"""The four scenarios, and what they promise when something goes wrong."""

import asyncio
import csv
import io
from datetime import timedelta
from decimal import Decimal

import pytest

from aurora_sql import Aurora, ForeignKeyViolation
from examples.shop import scenarios
from examples.shop.demo import SQL, as_rich
from examples.shop.models import NewOrder, Wish


def order(customer_id, *wishes):
    return NewOrder(
        customer_id=customer_id,
        wishes=tuple(Wish(product_id=product, quantity=n) for product, n in wishes),
    )


async def books(db):
    """What an order can change: stock, and the number of rows."""
    return {
        "stock": await db.fetch_value("SELECT sum(stock) FROM products"),
        "orders": await db.fetch_value("SELECT count(*) FROM orders"),
        "items": await db.fetch_value("SELECT count(*) FROM order_items"),
        "events": await db.fetch_value("SELECT count(*) FROM events"),
    }


class TestPlaceOrder:
    async def test_writes_the_order_its_items_and_the_event(self, db):
        await db.execute("UPDATE products SET stock = 50")
        before = await books(db)
        placed = await db.run_in_transaction(
            scenarios.place_order, order(7, (5, 2), (3, 1), (5, 1))
        )
        three, five = await db.sql.products.get(id=3), await db.sql.products.get(id=5)
        assert placed.total_amount == three.price + 3 * five.price
        items = await db.sql.orders.items(order_id=placed.id)
        assert [(item.product_id, item.quantity) for item in items] == [(3, 1), (5, 3)]
        (event,) = await db.sql.events.latest(subject_id=placed.id, limit=2)
        assert event.payload == {"customer_id": 7, "total": str(placed.total_amount)}
        after = await books(db)
        assert after == {
            "stock": before["stock"] - 4,
            "orders": before["orders"] + 1,
            "items": before["items"] + 2,
            "events": before["events"] + 1,
        }

    @pytest.mark.parametrize(
        ("wanted", "error"),
        [
            (order(7, (3, 1), (5, 10_000_000)), scenarios.OutOfStock),
            (order(7, (3, 1), (999_999, 1)), LookupError),
            (order(999_999, (3, 1)), ForeignKeyViolation),
        ],
    )
    async def test_changes_nothing_when_it_fails(self, db, wanted, error):
        await db.execute("UPDATE products SET stock = 50")
        before = await books(db)
        with pytest.raises(error):
            await db.run_in_transaction(scenarios.place_order, wanted)
        assert await books(db) == before

    async def test_buyers_of_the_same_two_products_in_any_order_never_deadlock(self, db):
        await db.execute("UPDATE products SET stock = 1000 WHERE id IN (1, 2)")
        orders = [order(1, (1, 1), (2, 1)), order(2, (2, 1), (1, 1))] * 15
        await asyncio.gather(*(db.run_in_transaction(scenarios.place_order, one) for one in orders))
        deadlocks = await db.fetch_value(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        assert deadlocks == 0
        assert [one.stock for one in await db.sql.products.lock_many(ids=[1, 2])] == [970, 970]

    def test_an_order_of_nothing_is_no_order(self):
        with pytest.raises(ValueError, match="wishes"):
            NewOrder(customer_id=1, wishes=())
        with pytest.raises(ValueError, match="quantity"):
            Wish(product_id=1, quantity=0)


async def test_more_buyers_than_pieces(db):
    sold, replay = await scenarios.place_orders(db, pieces=5, too_many=6)
    ((before, placed, refused, after),) = sold.rows
    assert before >= 5
    assert (placed, refused, after) == (before, 6, 0)
    (first, seen, outcome), (second, seen_again, sale) = replay.rows
    assert (first, outcome) == (1, "conflict, run again")
    assert (second, seen_again) == (2, seen + 1)
    assert sale == f"sold for {seen_again}"


async def test_the_replayed_order_is_there_once(db):
    await db.sql.events.record(kind="mark", subject_id=1, payload={})
    _, replay = await scenarios.place_orders(db)
    price = replay.rows[-1][1]
    last = await db.fetch_all("SELECT id, total_amount FROM orders ORDER BY id DESC LIMIT 2")
    assert last[0].total_amount == price
    assert last[1].total_amount != price - 1


async def test_customer_pages_come_from_readers(db, aurora_cluster):
    await aurora_cluster.wait_replayed()
    (best,) = await db.sql.reports.top_customers(limit=1)
    writer = db.topology.writer.id
    before = {id_: stats.leases for id_, stats in db.pool_stats().items()}
    page = await scenarios.customer_page(db, best.customer.id, orders=3)
    after = {id_: stats.leases for id_, stats in db.pool_stats().items()}
    assert page.summary.customer == best.customer
    assert len(page.history) == 3
    assert page.latest.id == page.history[0].id
    assert after[writer] == before[writer]
    assert sum(after.values()) == sum(before.values()) + 3


async def test_a_page_without_orders_has_no_latest(db, aurora_cluster):
    customer = await db.sql.customers.add(
        user_id=None, email="new@example.com", full_name="New", address=None
    )
    await aurora_cluster.wait_replayed()
    page = await scenarios.customer_page(db, customer.id)
    assert (page.history, page.latest) == ([], None)
    assert (page.summary.order_count, page.summary.last_order_at) == (0, None)


async def test_pages_of_the_best_customers(db):
    table = await scenarios.customer_pages(db, count=4)
    assert len(table.rows) == 4
    spent = [row[3] for row in table.rows]
    assert spent == sorted(spent, reverse=True)


async def test_narrower_searches_find_less(db):
    table = await scenarios.search_shop(db)
    found = [row[1] for row in table.rows]
    everything, delivered, recent, largest = found[:4]
    assert everything > delivered > 0
    assert everything > recent
    assert largest == 3
    assert found[4] >= found[5]
    assert found[6] >= found[7]


async def test_export_is_a_csv_of_the_period(db):
    out = io.StringIO(newline="")
    since = scenarios.CLOSING - timedelta(days=60)
    table = await scenarios.export_orders(db, since, out)
    out.seek(0)
    rows = list(csv.DictReader(out))
    ((count, amount),) = table.rows
    assert len(rows) == count > 0
    assert sum(Decimal(row["total_amount"]) for row in rows) == amount
    assert list(rows[0]) == ["id", "customer_id", "status", "total_amount", "created_at"]


async def test_report_covers_the_last_days_only(db):
    sales, best = await scenarios.daily_report(db, days=7)
    assert 0 < len(sales.rows) <= 7
    assert all(row[0] < scenarios.END for row in sales.rows)
    assert len({row[0] for row in best.rows}) == len(best.rows)


async def test_restock_refills_and_ships_once(db):
    await db.execute("UPDATE products SET stock = 3 WHERE id <= 4")
    await db.execute("UPDATE orders SET status = 'paid' WHERE id <= 6")
    first = dict(row[:2] for row in (await scenarios.restock_and_ship(db, ship=1000)).rows)
    assert first["products below 10"] >= 4
    assert first["products below it now"] == 0
    assert first["orders sent off"] >= 6
    assert {(await db.sql.products.get(id=id_)).stock for id_ in range(1, 5)} == {100}
    (event,) = await db.sql.events.latest(subject_id=1, kind="product.restocked", limit=5)
    assert event.payload == {"quantity": 97}
    second = dict(row[:2] for row in (await scenarios.restock_and_ship(db, ship=1000)).rows)
    assert second["products below 10"] == 0
    assert second["orders sent off"] == 0


async def test_the_same_shop_gives_the_same_tables(aurora_cluster, aurora_template):
    """Two copies of one shop, on two connections and on many: row by row the same."""

    async def run(name, size):
        await aurora_cluster.create_database(name, template=aurora_template)
        try:
            settings = aurora_cluster.settings(name).replace(
                {"min_pool_size": 0, "max_pool_size": size}
            )
            async with Aurora(settings, sql=SQL) as db:
                tables = list(await scenarios.place_orders(db))
                await aurora_cluster.wait_replayed()
                tables += [await scenarios.customer_pages(db), await scenarios.search_shop(db)]
                since = scenarios.CLOSING - timedelta(days=90)
                tables.append(await scenarios.export_orders(db, since, io.StringIO()))
                tables += await scenarios.daily_report(db)
                tables.append(await scenarios.restock_and_ship(db))
                assert all(stats.in_use == 0 for stats in db.pool_stats().values())
            return tables
        finally:
            await aurora_cluster.drop_database(name)

    few, many = await run("scenarios_few", 2), await run("scenarios_many", 20)
    assert few == many
    for table in many:
        assert table.rows
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert as_rich(table).row_count == len(table.rows)
