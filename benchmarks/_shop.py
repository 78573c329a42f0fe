"""The shop that is measured: where its files are, its schema, and its data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncpg

_CUSTOMERS = 10_000
_PRODUCTS = 1_000
_ORDERS = 50_000
_RETURNS = re.compile(r"^--[ \t]*returns:.*$", re.MULTILINE)

TABLES = ("users", "customers", "products", "orders", "order_items", "events")
"""What the migrations create, in an order in which it can be filled."""


@dataclass(frozen=True, slots=True)
class ShopFiles:
    """Where the shop's files are.

    Attributes:
        sql: Folder of the statements.
        migrations: Folder of the schema.
    """

    sql: Path
    migrations: Path


def shop_files(folder: Path | None = None) -> ShopFiles:
    """Find the shop's statements and schema.

    Args:
        folder: Holds ``sql`` and ``migrations``; by default this package's own ``shop`` folder
            (as installed), or the checkout around it.

    Raises:
        ConfigurationError: They are not there.
    """
    here = Path(__file__).resolve().parent
    places = [folder] if folder is not None else [here / "shop", here.parent]
    for place in places:
        files = ShopFiles(place / "sql", place / "migrations" / "postgresql")
        if (files.sql / "users.sql").is_file() and files.migrations.is_dir():
            return files
    raise ConfigurationError(
        f"the shop's sql and migrations/postgresql folders are not in {places[-1]}: give the folder"
        " that holds them as --shop"
    )


def without_models(source: Path, target: Path) -> None:
    """Copy the statements without their models.

    The floors hand out plain records. What is compared with them does the same work: the same
    statements with plain rows. Lines are emptied rather than removed, so that errors still
    name the right one.
    """
    for path in sorted(source.rglob("*.sql")):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(_RETURNS.sub("--", path.read_text(encoding="utf-8")), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows the tables have at the beginning. Ids go from 1 without a gap."""

    customers: int
    products: int
    orders: int

    @classmethod
    def of(cls, scale: float) -> Size:
        """The size at a scale; 1.0 is 10,000 customers, 1,000 products and 50,000 orders.

        Raises:
            ConfigurationError: The scale is not positive.
        """
        if not scale > 0:
            raise ConfigurationError(f"--scale must be more than 0, not {scale}")
        return cls(
            customers=max(int(_CUSTOMERS * scale), 10),
            products=max(int(_PRODUCTS * scale), 10),
            orders=max(int(_ORDERS * scale), 10),
        )


def schema(files: ShopFiles) -> str:
    """The migrations in their order, as one script."""
    paths = sorted(
        path for path in files.migrations.glob("*.sql") if not path.stem.endswith(".rollback")
    )
    return "\n;\n".join(path.read_text(encoding="utf-8") for path in paths)


def data(size: Size) -> str:
    """The script that fills the tables, on the server's side and the same each time."""
    return f"""
SELECT setseed(0.42);
INSERT INTO users (id, email, full_name, login_count, last_login_at)
SELECT n, 'user' || n || '@example.com', 'User Number ' || n, n % 50,
       timestamptz '2025-01-01' + n % 365 * interval '1 day'
FROM generate_series(1, {size.customers}) AS n;
INSERT INTO customers (id, user_id, email, full_name, tier, address)
SELECT n, CASE WHEN n % 10 > 0 THEN n END, 'customer' || n || '@example.com',
       'Customer Number ' || n,
       CASE WHEN n % 50 = 0 THEN 'gold' WHEN n % 10 = 0 THEN 'silver' ELSE 'standard' END,
       jsonb_build_object('street', n || ' High Street', 'city', 'City ' || n % 97,
                          'postcode', lpad((n % 99999)::text, 5, '0'), 'country', 'GB')
FROM generate_series(1, {size.customers}) AS n;
INSERT INTO products (id, sku, name, category, price, stock, attributes)
SELECT n, 'SKU-' || lpad(n::text, 8, '0'), 'Product Number ' || n, 'category ' || n % 12,
       (100 + n * 7919 % 20000) / 100.0, 1000000000,
       jsonb_build_object('colour', (ARRAY['red', 'green', 'blue'])[1 + n % 3])
FROM generate_series(1, {size.products}) AS n;
-- A few customers buy much, most buy little: the square of a uniform number does that.
INSERT INTO orders (id, customer_id, status, total_amount, created_at)
SELECT n, 1 + floor({size.customers} * power(random(), 2)),
       (ARRAY['delivered', 'delivered', 'delivered', 'shipped', 'paid', 'pending'])[1 + n % 6],
       (1000 + n::bigint * 104729 % 40000) / 100.0,
       timestamptz '2025-01-01' + n * (interval '365 days' / {size.orders})
FROM generate_series(1, {size.orders}) AS n;
INSERT INTO order_items (order_id, product_id, quantity, unit_price)
SELECT o.id, p.id, 1 + (o.id + p.id) % 4, p.price
FROM orders AS o
CROSS JOIN LATERAL (
    SELECT DISTINCT 1 + (o.id * 31 + k * k * 17) % {size.products} AS id
    FROM generate_series(0, o.id % 5) AS k
) AS picked
JOIN products AS p ON p.id = picked.id;
SELECT setval(pg_get_serial_sequence('users', 'id'), {size.customers});
SELECT setval(pg_get_serial_sequence('customers', 'id'), {size.customers});
SELECT setval(pg_get_serial_sequence('products', 'id'), {size.products});
SELECT setval(pg_get_serial_sequence('orders', 'id'), {size.orders});
"""


def reset(size: Size) -> tuple[str, ...]:
    """Commands that undo what a measurement added, so that each one meets the same tables."""
    return (
        "TRUNCATE events RESTART IDENTITY",
        f"DELETE FROM order_items WHERE order_id > {size.orders}",
        f"DELETE FROM orders WHERE id > {size.orders}",
    )


async def build(connection: asyncpg.Connection[Any], files: ShopFiles, size: Size) -> None:
    """Create the schema and fill it; vacuumed, so that the first readers set no hint bits."""
    await connection.execute(schema(files))
    await connection.execute(data(size))
    # One command each: VACUUM refuses to run inside the implicit transaction of several.
    await connection.execute(f"VACUUM (ANALYZE) {', '.join(TABLES)}")
