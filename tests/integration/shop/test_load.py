"""Loading the generated shop."""

from pathlib import Path

import pytest

from aurora_sql import Aurora, migrations
from examples.shop import ShopData, ShopSize, load_shop
from examples.shop.data import COLUMNS

ROOT = Path(__file__).resolve().parents[3]
SQL = ROOT / "sql"
MIGRATIONS = ROOT / "migrations" / "postgresql"

CUSTOMERS, ORDERS, PRODUCTS, SEED = 400, 2_000, 120, 11


async def test_what_was_generated_is_what_is_there(db, loaded_shop):
    data = ShopData(ShopSize(CUSTOMERS, ORDERS, PRODUCTS), seed=SEED)
    for table, columns in COLUMNS.items():
        key = "order_id, product_id" if table == "order_items" else "id"
        rows = await db.fetch_all(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {key}")
        assert [tuple(row) for row in rows] == sorted(
            getattr(data, table)(), key=lambda row: row[:2] if table == "order_items" else row[:1]
        )
        assert loaded_shop.report.rows[table] == len(rows)
    assert loaded_shop.report.total == sum(loaded_shop.report.rows.values())
    assert loaded_shop.report.seconds > 0


async def test_progress_rises_to_the_number_of_rows(loaded_shop):
    last = {}
    for table, rows in loaded_shop.progress:
        assert rows >= last.get(table, 0)
        last[table] = rows
    assert last == loaded_shop.report.rows


async def test_foreign_keys_are_back_and_checked(db):
    keys = await db.fetch_all(
        "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f' ORDER BY conname"
    )
    assert [tuple(key) for key in keys] == [
        ("customers_user_id_fkey", True),
        ("order_items_order_id_fkey", True),
        ("order_items_product_id_fkey", True),
        ("orders_customer_id_fkey", True),
    ]
    deletes = await db.fetch_all(
        "SELECT conname, confdeltype::text FROM pg_constraint"
        " WHERE contype = 'f' AND confdeltype <> 'a' ORDER BY conname"
    )
    assert [tuple(key) for key in deletes] == [
        ("customers_user_id_fkey", "n"),
        ("order_items_order_id_fkey", "c"),
    ]


async def test_sequences_go_on_behind_the_loaded_rows(db):
    user = await db.sql.users.add(email="new@example.com", full_name="New")
    order = await db.sql.orders.add(customer_id=1, total_amount=1)
    assert user.id == (await db.sql.users.count())
    assert order.id == ORDERS + 1


async def test_the_planner_knows_the_tables(db):
    estimated = await db.fetch_value(
        "SELECT reltuples::bigint FROM pg_class WHERE oid = 'orders'::regclass"
    )
    assert estimated == ORDERS


async def test_a_shop_with_data_is_refused_untouched(db):
    with pytest.raises(ValueError, match=r"maintenance\.clear"):
        await load_shop(db, customers=1, orders=1)
    assert await db.fetch_value("SELECT count(*) FROM orders") == ORDERS


async def test_a_cleared_shop_can_be_loaded_again(db):
    assert await db.sql.maintenance.is_empty() is False
    await db.sql.maintenance.clear()
    assert await db.sql.maintenance.is_empty() is True
    report = await load_shop(db, customers=3, orders=5, products=2)
    assert report.rows["orders"] == 5


async def test_a_load_that_fails_leaves_nothing(empty_settings):
    await migrations.apply(empty_settings, MIGRATIONS)

    def give_up(table, rows):
        if table == "order_items":
            raise RuntimeError("enough")

    async with Aurora(empty_settings.replace({"min_pool_size": 0}), sql=SQL) as db:
        with pytest.raises(RuntimeError, match="enough"):
            await load_shop(db, customers=20, orders=50, products=5, progress=give_up)
        assert await db.sql.maintenance.is_empty() is True
        keys = await db.sql.maintenance.foreign_keys()
        assert len(keys) == 4
        assert all(stats.in_use == 0 for stats in db.pool_stats().values())
