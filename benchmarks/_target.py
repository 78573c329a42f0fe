"""Where a benchmark runs: a local cluster or a given one, in a database of its own."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from aurora_sql.errors import ConfigurationError
from aurora_sql.settings import is_loopback
from aurora_sql.types import Role
from benchmarks._shop import TABLES, build

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aurora_sql.settings import AuroraSettings
    from benchmarks._shop import ShopFiles, Size

_PREFIX = "aurora_bench_"
_COMMENT = "Made by the aurora_sql benchmarks, which drop it when they end."
_APPLICATION = "aurora_sql benchmark"
_CATCH_UP = 60.0
_CLEAN_UP = 30.0
# Nobody else uses the tables: a lock that does not come is a mistake, to be told at once.
_LOCK_LIMIT = "20s"


@dataclass(frozen=True, slots=True)
class Target:
    """Servers to measure on.

    Attributes:
        settings: Reach them through the library.
    """

    settings: AuroraSettings

    def options(self, role: Role) -> list[dict[str, Any]]:
        """What ``asyncpg.connect`` needs, for each server of a role."""
        settings = self.settings
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

    @property
    def on_this_machine(self) -> bool:
        """The writer runs on the machine of the client."""
        host, _ = self.settings.writer_address()
        return host.startswith("/") or is_loopback(host)

    @asynccontextmanager
    async def connect(self, role: Role = Role.WRITER) -> AsyncIterator[asyncpg.Connection[Any]]:
        """Open one connection for what is not measured."""
        connection = await asyncpg.connect(
            **self.options(role)[0],
            server_settings={"application_name": _APPLICATION, "lock_timeout": _LOCK_LIMIT},
        )
        try:
            yield connection
        finally:
            with contextlib.suppress(asyncpg.PostgresError, OSError, TimeoutError):
                await connection.close(timeout=_CLEAN_UP)
            connection.terminate()


@asynccontextmanager
async def local_target(readers: int) -> AsyncIterator[Target]:
    """Start a local cluster for the time of the block."""
    # Only here: a run on a given database needs no server binaries.
    from aurora_sql.local import LocalCluster  # noqa: PLC0415 - see above

    async with LocalCluster(engine="postgresql", readers=readers) as cluster:
        yield Target(cluster.settings())


@asynccontextmanager
async def sandbox(target: Target, files: ShopFiles, size: Size) -> AsyncIterator[Target]:
    """Make the shop in a place of its own and remove it at the end, whatever happens.

    The place is a new database. Where the user may not create one, the database of the settings
    is used if nothing is in it.

    Raises:
        ConfigurationError: No database may be created, and the given one is not empty.
    """
    name = f"{_PREFIX}{secrets.token_hex(4)}"
    async with target.connect() as admin:
        try:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        except asyncpg.InsufficientPrivilegeError:
            await _refuse_unless_empty(admin, target.settings.database)
            name = ""
    place = Target(target.settings.replace({"database": name})) if name else target
    try:
        if name:
            async with target.connect() as admin:
                await admin.execute(f"COMMENT ON DATABASE {name} IS '{_COMMENT}'")
        async with place.connect() as connection:
            await build(connection, files, size)
        await _wait_for_readers(place, size)
        yield place
    finally:
        # A second interruption must not leave the database behind.
        await _uninterrupted(_drop(target, name))


async def _refuse_unless_empty(connection: asyncpg.Connection[Any], database: str) -> None:
    found = await connection.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_catalog.pg_class AS c"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
        " AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') ORDER BY 1 LIMIT 3"
    )
    if found:
        names = ", ".join(row["name"] for row in found)
        raise ConfigurationError(
            f"the user may not create a database, and {database} is not empty (it has {names}):"
            " grant CREATEDB, or give an empty database; existing tables are never touched"
        )


async def _drop(target: Target, name: str) -> None:
    async with asyncio.timeout(_CLEAN_UP), target.connect() as admin:
        if name:
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        else:
            # It was empty before: these are ours.
            await admin.execute(f"DROP TABLE IF EXISTS {', '.join(TABLES)}")


async def _uninterrupted(work: Any) -> None:
    """Await work to its end, also when the task is cancelled meanwhile; then raise that."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
            cancelled = True
    if cancelled:
        task.exception()  # the cancellation matters more; this marks it as seen
        raise asyncio.CancelledError


async def _wait_for_readers(place: Target, size: Size) -> None:
    """Wait until each reader shows the data; by looking at it, which works on every engine."""
    limit = time.monotonic() + _CATCH_UP
    for options in place.options(Role.READER):
        while True:
            try:
                if await _last_order(options) == size.orders:
                    break
                problem = "it does not show the data"
            except (asyncpg.PostgresError, OSError, TimeoutError) as error:
                # The database itself arrives by replication.
                problem = str(error)
            if time.monotonic() > limit:
                raise ConfigurationError(
                    f"reader {options['host']}:{options['port']} did not follow the writer in"
                    f" {_CATCH_UP:.0f} s: {problem}"
                )
            await asyncio.sleep(0.1)


async def _last_order(options: dict[str, Any]) -> Any:
    connection = await asyncpg.connect(**options)
    try:
        return await connection.fetchval(
            "SELECT max(id) FROM orders WHERE (SELECT count(*) FROM order_items) > 0"
        )
    finally:
        await connection.close()


async def leftovers(target: Target) -> list[str]:
    """Drop the databases of earlier runs that were killed; return those that were dropped.

    Raises:
        ConfigurationError: One of them is in use: by a run that still goes on.
    """
    dropped = []
    async with target.connect() as admin:
        rows = await admin.fetch(
            "SELECT datname FROM pg_catalog.pg_database AS d"
            " WHERE datname ~ $1 AND pg_catalog.shobj_description(d.oid, 'pg_database') = $2"
            " ORDER BY 1",
            f"^{_PREFIX}[0-9a-f]{{8}}$",
            _COMMENT,
        )
        for row in rows:
            try:
                # Not by force: a run that still goes on keeps its database.
                await admin.execute(f"DROP DATABASE {row['datname']}")
            except asyncpg.ObjectInUseError as error:
                raise ConfigurationError(
                    f"database {row['datname']} is in use: a benchmark still runs on it"
                ) from error
            dropped.append(row["datname"])
    return dropped
