"""PostgreSQL's side of a benchmark: connections, the shop's tables and rows, floors and goals."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from aurora_sql.types import Engine, Role
from benchmarks._floors_postgresql import AsyncpgPool, BareConnections
from benchmarks._machine import Server
from benchmarks._results import OURS
from benchmarks._rows import MODELS
from benchmarks._shop import COMMENT, PREFIX, TABLES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from aurora_sql.settings import AuroraSettings
    from benchmarks._shop import ShopFiles, Size
    from benchmarks._sides import Subject
    from benchmarks._target import Target
    from benchmarks._work import Work

_APPLICATION = "aurora_sql benchmark"
_CLEAN_UP = 30.0
# Nobody else uses the tables: a lock that does not come is a mistake, to be told at once.
_LOCK_LIMIT = "20s"
_SETTINGS = (
    "fsync",
    "synchronous_commit",
    "synchronous_standby_names",
    "full_page_writes",
    "shared_buffers",
    "max_connections",
    "jit",
)


class PostgreSQL:
    """See :class:`benchmarks._sides.Side`."""

    engine = Engine.POSTGRESQL
    most_subjects = 4

    def options(self, settings: AuroraSettings, role: Role) -> list[dict[str, Any]]:
        """What ``asyncpg.connect`` needs, for each server of a role."""
        addresses = (
            settings.reader_addresses() if role is Role.READER else (settings.writer_address(),)
        )
        found = []
        for host, port in addresses:
            values = settings.connection_values(host, port)
            tls: Any = values.tls.context
            if tls is None:
                tls = False
            elif values.tls.optional:
                # asyncpg falls back to plain text only for the modes that it is given by name.
                tls = values.tls.mode.value
            found.append(
                {
                    "host": host,
                    "port": port,
                    "database": values.database,
                    "user": values.user,
                    "password": values.password and values.password.get_secret_value(),
                    "ssl": tls,
                    "timeout": values.connect_timeout,
                }
            )
        return found

    @asynccontextmanager
    async def connect(self, options: dict[str, Any]) -> AsyncIterator[asyncpg.Connection[Any]]:
        """Open one connection for what is not measured."""
        connection = await asyncpg.connect(
            **options,
            server_settings={"application_name": _APPLICATION, "lock_timeout": _LOCK_LIMIT},
        )
        try:
            yield connection
        finally:
            with contextlib.suppress(asyncpg.PostgresError, OSError, TimeoutError):
                await connection.close(timeout=_CLEAN_UP)
            connection.terminate()

    async def make_place(self, admin: asyncpg.Connection[Any], name: str) -> bool:
        """Create a database."""
        try:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        except asyncpg.InsufficientPrivilegeError:
            return False
        return True

    async def mark(self, admin: asyncpg.Connection[Any], name: str) -> None:
        """Give it a comment that says whose it is."""
        await admin.execute(f"COMMENT ON DATABASE {name} IS '{COMMENT}'")

    def held(self, place: Target) -> AbstractAsyncContextManager[None]:
        """Nothing to do: PostgreSQL drops no database that somebody uses."""
        del place
        return contextlib.nullcontext()

    async def found(self, admin: asyncpg.Connection[Any]) -> list[str]:
        """Up to three tables, views or sequences."""
        rows = await admin.fetch(
            "SELECT c.oid::regclass::text AS name FROM pg_catalog.pg_class AS c"
            " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
            " AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') ORDER BY 1 LIMIT 3"
        )
        return [row["name"] for row in rows]

    async def build(self, place: Target, files: ShopFiles, size: Size) -> None:
        """Create the schema and fill it; vacuumed, so that the first readers set no hint bits."""
        async with place.connect() as admin:
            await admin.execute(_schema(files))
            await admin.execute(_data(size))
            # One command each: VACUUM refuses to run inside the implicit transaction of several.
            await admin.execute(f"VACUUM (ANALYZE) {', '.join(TABLES)}")

    async def drop(self, admin: asyncpg.Connection[Any], name: str) -> None:
        """Drop the database, or the tables where there is none of our own."""
        if name:
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        else:
            await admin.execute(f"DROP TABLE IF EXISTS {', '.join(TABLES)}")

    async def leftovers(self, admin: asyncpg.Connection[Any]) -> list[str]:
        """Databases with our kind of name and our comment."""
        rows = await admin.fetch(
            "SELECT datname FROM pg_catalog.pg_database AS d"
            " WHERE datname ~ $1 AND pg_catalog.shobj_description(d.oid, 'pg_database') = $2"
            " ORDER BY 1",
            f"^{PREFIX}[0-9a-f]{{8}}$",
            COMMENT,
        )
        return [row["datname"] for row in rows]

    async def drop_unused(self, admin: asyncpg.Connection[Any], name: str) -> bool:
        """Drop a database, not by force."""
        try:
            await admin.execute(f"DROP DATABASE {name}")
        except asyncpg.ObjectInUseError:
            return False
        return True

    def reset(self, size: Size) -> tuple[str, ...]:
        """Commands that undo what a measurement added."""
        return (
            "TRUNCATE events RESTART IDENTITY",
            f"DELETE FROM order_items WHERE order_id > {size.orders}",
            f"DELETE FROM orders WHERE id > {size.orders}",
        )

    async def server(self, admin: asyncpg.Connection[Any], readers: int) -> Server:
        """Ask the server about itself."""
        rows = await admin.fetch(
            "SELECT name, pg_catalog.current_setting(name) AS value"
            " FROM pg_catalog.pg_settings WHERE name = ANY($1) ORDER BY name",
            list(_SETTINGS),
        )
        # A local cluster has Aurora's functions too; only the real one has its storage, which is
        # what the version function of an own making does not stand for.
        aurora = await admin.fetchval(
            "SELECT count(*) > 0 FROM pg_catalog.pg_settings WHERE name = 'aurora_compute_plan_id'"
            " OR name LIKE 'rds.%'"
        )
        return Server(
            version=await admin.fetchval("SELECT pg_catalog.current_setting('server_version')"),
            aurora=await admin.fetchval("SELECT aurora_version()") if aurora else None,
            readers=readers,
            settings={row["name"]: row["value"] for row in rows},
        )

    async def most_connections(self, admin: asyncpg.Connection[Any]) -> int:
        """As the server's setting says."""
        return int(await admin.fetchval("SELECT current_setting('max_connections')"))

    def floors(self, target: Target, work: Work, callers: int) -> Sequence[Subject]:
        """Bare connections of asyncpg, and its pool."""
        return (BareConnections(target, work, callers), AsyncpgPool(target, work, callers))

    def goals(self, row: str, floors: Sequence[str]) -> dict[str, float]:
        """Least ratios of a row."""
        bare, pool = (f"{OURS} / {name}" for name in floors)
        return {
            "read-writer": {bare: 0.85, pool: 2.5},
            "bulk": {bare: 0.95, f"{MODELS} / {floors[0]}": 0.9},
            "join": {bare: 0.95},
            "transaction": {bare: 0.9, pool: 1.3},
        }.get(row, {})


def _schema(files: ShopFiles) -> str:
    """The migrations in their order, as one script."""
    paths = sorted(
        path for path in files.migrations.glob("*.sql") if not path.stem.endswith(".rollback")
    )
    return "\n;\n".join(path.read_text(encoding="utf-8") for path in paths)


def _data(size: Size) -> str:
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
