"""The schema goes up and comes down again."""

from pathlib import Path

import pytest

from aurora_sql import Aurora, CheckViolation, UniqueViolation, migrations

ROOT = Path(__file__).resolve().parents[3]
MIGRATIONS = ROOT / "migrations" / "postgresql"

TABLES = {"customers", "events", "order_items", "orders", "products", "users"}

SCHEMA = """
SELECT 'column' AS kind, format('%s.%s %s %s', table_name, column_name, data_type, is_nullable)
  FROM information_schema.columns WHERE table_schema = 'public' AND table_name = ANY(:tables)
UNION ALL
SELECT 'constraint', format('%s: %s', conname, pg_get_constraintdef(oid))
  FROM pg_constraint WHERE conrelid::regclass::text = ANY(:tables)
UNION ALL
SELECT 'index', indexdef FROM pg_indexes WHERE tablename = ANY(:tables)
ORDER BY 1, 2
"""


async def schema(settings):
    async with Aurora(settings.replace({"min_pool_size": 0})) as db:
        rows = await db.fetch_all(SCHEMA, {"tables": sorted(TABLES)})
        return [tuple(row) for row in rows]


async def test_up_down_and_up_again_is_the_same_schema(empty_settings):
    applied = await migrations.apply(empty_settings, MIGRATIONS)
    first = await schema(empty_settings)
    assert {text.split(".")[0] for kind, text in first if kind == "column"} == TABLES

    await migrations.rollback(empty_settings, MIGRATIONS, [one.id for one in reversed(applied)])
    assert await schema(empty_settings) == []

    again = await migrations.apply(empty_settings, MIGRATIONS)
    assert [one.id for one in again] == [one.id for one in applied]
    assert await schema(empty_settings) == first


async def test_rows_need_no_more_than_what_has_no_default(db):
    customer = await db.sql.customers.add(
        user_id=None, email="n@example.com", full_name="N", address=None
    )
    result = await db.bulk_insert("orders", [(customer.id,)], columns=["customer_id"])
    assert result.rows == 1
    (order,) = await db.sql.orders.search(customer_id=customer.id, limit=2)
    assert (order.status, order.total_amount) == ("pending", 0)


@pytest.mark.parametrize(
    ("sql", "error", "constraint"),
    [
        ("UPDATE products SET stock = -1 WHERE id = 1", CheckViolation, "products_stock_check"),
        ("UPDATE products SET price = 0 WHERE id = 1", CheckViolation, "products_price_check"),
        (
            "UPDATE products SET attributes = '[]' WHERE id = 1",
            CheckViolation,
            "products_attributes_check",
        ),
        ("UPDATE orders SET status = 'lost' WHERE id = 1", CheckViolation, "orders_status_check"),
        (
            "UPDATE order_items SET quantity = 0 WHERE order_id = 1",
            CheckViolation,
            "order_items_quantity_check",
        ),
        ("UPDATE customers SET tier = 'tin'", CheckViolation, "customers_tier_check"),
        ("UPDATE users SET email = 'nobody'", CheckViolation, "users_email_check"),
        (
            "INSERT INTO users (email, full_name) SELECT upper(email), 'x' FROM users WHERE id = 1",
            UniqueViolation,
            "users_email_lower_key",
        ),
    ],
)
async def test_the_schema_refuses_nonsense(db, sql, error, constraint):
    with pytest.raises(error) as caught:
        await db.execute(sql)
    assert caught.value.constraint == constraint
