"""MySQL's side of a benchmark (and MariaDB's): connections, the shop's rows, floors and goals."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiomysql
import pymysql

from aurora_sql import migrations
from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Engine, Role
from benchmarks._floors_mysql import DRIVERS, floors
from benchmarks._machine import Server
from benchmarks._results import OURS
from benchmarks._shop import COMMENT, PREFIX, TABLES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aurora_sql.settings import AuroraSettings
    from benchmarks._shop import ShopFiles, Size
    from benchmarks._sides import Subject
    from benchmarks._target import Target
    from benchmarks._work import Work

_MARK = "made_by_aurora_sql_benchmarks"
_SETTINGS = (
    "innodb_flush_log_at_trx_commit",
    "sync_binlog",
    "log_bin",
    "rpl_semi_sync_source_enabled",
    "rpl_semi_sync_master_enabled",
    "innodb_doublewrite",
    "innodb_buffer_pool_size",
    "max_connections",
)
_LONGEST_RUN = 7 * 24 * 3600
_DENIED = (1044, 1227)
# Nobody else uses the tables: a lock that does not come is a mistake, to be told at once.
_SESSION = "SET time_zone = '+00:00', lock_wait_timeout = 20, innodb_lock_wait_timeout = 20"


class Admin:
    """A connection for what is not measured."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def execute(self, query: str, /) -> None:
        """Run one statement without a result."""
        await self.fetch(query)

    async def fetch(self, query: str, /) -> list[tuple[Any, ...]]:
        """Return all rows."""
        async with self._connection.cursor() as cursor:
            await cursor.execute(query)
            return list(await cursor.fetchall())

    async def fetchval(self, query: str, /) -> Any:
        """Return the first value of the first row, None without one."""
        rows = await self.fetch(query)
        return rows[0][0] if rows else None


class MySQL:
    """See :class:`benchmarks._sides.Side`."""

    engine = Engine.MYSQL

    @property
    def most_subjects(self) -> int:
        """The library, with objects, row by row, and two for each driver."""
        return 3 + 2 * len(DRIVERS)

    def options(self, settings: AuroraSettings, role: Role) -> list[dict[str, Any]]:
        """What the drivers' ``connect`` needs, for each server of a role."""
        addresses = (
            settings.reader_addresses() if role is Role.READER else (settings.writer_address(),)
        )
        found = []
        for host, port in addresses:
            values = settings.connection_values(host, port)
            place: dict[str, Any] = (
                {"unix_socket": host} if host.startswith("/") else {"host": host, "port": port}
            )
            found.append(
                {
                    **place,
                    "db": values.database,
                    "user": values.user,
                    "password": values.password.get_secret_value() if values.password else "",
                    # Both drivers go on in plain text where the server has no TLS, which is
                    # what ssl_mode=prefer asks for; for other modes the library refuses.
                    "ssl": values.tls.context,
                    "connect_timeout": values.connect_timeout,
                }
            )
        return found

    @asynccontextmanager
    async def connect(self, options: dict[str, Any]) -> AsyncIterator[Admin]:
        """Open one connection for what is not measured."""
        connection = await aiomysql.connect(
            **options, charset="utf8mb4", autocommit=True, init_command=_SESSION
        )
        try:
            yield Admin(connection)
        finally:
            with contextlib.suppress(pymysql.err.Error, OSError):
                connection.close()

    async def make_place(self, admin: Admin, name: str) -> bool:
        """Create a database."""
        try:
            await admin.execute(f"CREATE DATABASE {name}")
        except pymysql.err.Error as error:
            if error.args[0] in _DENIED:
                return False
            raise
        return True

    async def mark(self, admin: Admin, name: str) -> None:
        """Put a table into it whose comment says whose it is."""
        await admin.execute(f"CREATE TABLE {name}.{_MARK} (id INT) COMMENT '{COMMENT}'")

    @asynccontextmanager
    async def held(self, place: Target) -> AsyncIterator[None]:
        """Hold a lock of the database's name: MySQL drops a database whoever uses it."""
        async with place.connect() as admin:
            await admin.execute(f"SET wait_timeout = {_LONGEST_RUN}")
            await admin.fetch(f"SELECT GET_LOCK('{place.settings.database}', 0)")
            yield

    async def found(self, admin: Admin) -> list[str]:
        """Up to three tables or views."""
        rows = await admin.fetch(
            "SELECT table_name FROM information_schema.tables"
            " WHERE table_schema = DATABASE() ORDER BY 1 LIMIT 3"
        )
        return [row[0] for row in rows]

    async def build(self, place: Target, files: ShopFiles, size: Size) -> None:
        """Apply the migrations, which only the library can split, and fill the tables."""
        await migrations.apply(place.settings, files.migrations)
        async with place.connect() as admin:
            for command in _data(size):
                await admin.execute(command)
            await admin.execute(f"ANALYZE TABLE {', '.join(TABLES)}")

    async def drop(self, admin: Admin, name: str) -> None:
        """Drop the database; where there is none of our own, what was made in the empty one."""
        if name:
            await admin.execute(f"DROP DATABASE IF EXISTS {name}")
            return
        await admin.execute("SET foreign_key_checks = 0")
        for (table,) in await admin.fetch(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
        ):
            await admin.execute(f"DROP TABLE `{table}`")
        for (function,) in await admin.fetch(
            "SELECT routine_name FROM information_schema.routines"
            " WHERE routine_schema = DATABASE() AND routine_type = 'FUNCTION'"
        ):
            await admin.execute(f"DROP FUNCTION `{function}`")

    async def leftovers(self, admin: Admin) -> list[str]:
        """Databases with our kind of name and our table."""
        rows = await admin.fetch(
            "SELECT table_schema FROM information_schema.tables"
            f" WHERE table_schema REGEXP '^{PREFIX}[0-9a-f]{{8}}$'"
            f" AND table_name = '{_MARK}' AND table_comment = '{COMMENT}' ORDER BY 1"
        )
        return [row[0] for row in rows]

    async def drop_unused(self, admin: Admin, name: str) -> bool:
        """Drop a database that no run holds."""
        if await admin.fetchval(f"SELECT IS_USED_LOCK('{name}')") is not None:
            return False
        await admin.execute(f"DROP DATABASE {name}")
        return True

    def reset(self, size: Size) -> tuple[str, ...]:
        """Commands that undo what a measurement added."""
        return (
            "TRUNCATE TABLE events",
            f"DELETE FROM order_items WHERE order_id > {size.orders}",
            f"DELETE FROM orders WHERE id > {size.orders}",
        )

    async def server(self, admin: Admin, readers: int) -> Server:
        """Ask the server about itself."""
        rows = await admin.fetch("SHOW GLOBAL VARIABLES")
        variables = {name.lower(): value for name, value in rows}
        version = variables["version"]
        return Server(
            product="MariaDB" if "mariadb" in version.lower() else "MySQL",
            version=version.removeprefix("5.5.5-"),
            aurora=variables.get("aurora_version"),
            readers=readers,
            settings={name: variables[name] for name in _SETTINGS if name in variables},
        )

    async def most_connections(self, admin: Admin) -> int:
        """As the server's setting says."""
        return int(await admin.fetchval("SELECT @@max_connections"))

    def floors(self, target: Target, work: Work, callers: int) -> Sequence[Subject]:
        """Both drivers' bare connections and pools, first those of the library's own driver."""
        return floors(driver_of(target.settings), target, work, callers)

    def goals(self, row: str, floors: Sequence[str]) -> dict[str, float]:
        """Least ratios of a row."""
        bare, pool = (f"{OURS} / {name}" for name in floors[:2])
        return {
            "read-writer": {bare: 0.9, pool: 1.0},
            "bulk": {bare: 1.0, f"{OURS} / {floors[2 % len(floors)]}": 3.0},
            "transaction": {bare: 0.9},
        }.get(row, {})


def driver_of(settings: AuroraSettings) -> str:
    """The driver that the library uses with these settings.

    Raises:
        ConfigurationError: It is not installed.
    """
    name = settings.mysql_driver.value
    if name == "auto":
        return "asyncmy" if "asyncmy" in DRIVERS else "aiomysql"
    if name not in DRIVERS:
        raise ConfigurationError(f"{name} is not installed: pip install 'aurora-sql[mysql-speed]'")
    return name


def _numbers(most: int) -> str:
    """A common table expression ``numbers`` with the column n, from 1 to a number.

    Of digits, for MySQL and MariaDB limit recursion by settings of different names.
    """
    digits = len(str(most))
    names = [f"d{number}" for number in range(digits)]
    value = " + ".join(f"{10**power} * {name}.d" for power, name in enumerate(names))
    zero_to_nine = " UNION ALL SELECT ".join(("0 AS d", *map(str, range(1, 10))))
    tables = ", ".join(f"digit AS {name}" for name in names)
    return (
        f"WITH digit AS (SELECT {zero_to_nine}),"
        f" numbers AS (SELECT 1 + {value} AS n FROM {tables} HAVING n <= {most})"
    )


def _data(size: Size) -> list[str]:
    """The commands that fill the tables, on the server's side and the same each time."""
    customers, products, orders = size.customers, size.products, size.orders
    return [
        f"""
INSERT INTO users (id, email, full_name, login_count, last_login_at)
{_numbers(customers)}
SELECT n, concat('user', n, '@example.com'), concat('User Number ', n), n % 50,
       timestamp'2025-01-01 00:00:00' + INTERVAL n % 365 DAY
FROM numbers ORDER BY n""",
        f"""
INSERT INTO customers (id, user_id, email, full_name, tier, address)
{_numbers(customers)}
SELECT n, CASE WHEN n % 10 > 0 THEN n END, concat('customer', n, '@example.com'),
       concat('Customer Number ', n),
       CASE WHEN n % 50 = 0 THEN 'gold' WHEN n % 10 = 0 THEN 'silver' ELSE 'standard' END,
       json_object('street', concat(n, ' High Street'), 'city', concat('City ', n % 97),
                   'postcode', lpad(n % 99999, 5, '0'), 'country', 'GB')
FROM numbers ORDER BY n""",
        f"""
INSERT INTO products (id, sku, name, category, price, stock, attributes)
{_numbers(products)}
SELECT n, concat('SKU-', lpad(n, 8, '0')), concat('Product Number ', n),
       concat('category ', n % 12), (100 + n * 7919 % 20000) / 100, 1000000000,
       json_object('colour', elt(1 + n % 3, 'red', 'green', 'blue'))
FROM numbers ORDER BY n""",
        # A few customers buy much, most buy little: the square of a uniform number does that.
        f"""
INSERT INTO orders (id, customer_id, status, total_amount, created_at)
{_numbers(orders)}
SELECT n, 1 + floor({customers} * power(rand(42), 2)),
       elt(1 + n % 6, 'delivered', 'delivered', 'delivered', 'shipped', 'paid', 'pending'),
       (1000 + n * 104729 % 40000) / 100,
       timestamp'2025-01-01 00:00:00' + INTERVAL floor(n * 31536000 / {orders}) SECOND
FROM numbers ORDER BY n""",
        f"""
INSERT INTO order_items (order_id, product_id, quantity, unit_price)
WITH picks AS (SELECT 0 AS k UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3
               UNION ALL SELECT 4)
SELECT o.id, p.id, 1 + (o.id + p.id) % 4, p.price
FROM (
    SELECT DISTINCT orders.id, 1 + (orders.id * 31 + k * k * 17) % {products} AS product_id
    FROM orders JOIN picks ON k <= orders.id % 5
) AS o
JOIN products AS p ON p.id = o.product_id
ORDER BY o.id, p.id""",
    ]
