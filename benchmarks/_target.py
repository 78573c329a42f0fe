"""Where a benchmark runs: a local cluster or a given one, in a database of its own."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import ConfigurationError
from aurora_sql.settings import is_loopback
from aurora_sql.types import Role
from benchmarks._shop import PREFIX
from benchmarks._sides import failures, side_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from aurora_sql.settings import AuroraSettings
    from aurora_sql.types import Engine
    from benchmarks._shop import ShopFiles, Size
    from benchmarks._sides import Side

_CATCH_UP = 60.0
_CLEAN_UP = 30.0


@dataclass(frozen=True, slots=True)
class Target:
    """Servers to measure on.

    Attributes:
        settings: Reach them through the library.
    """

    settings: AuroraSettings

    @property
    def side(self) -> Side:
        """What depends on the engine."""
        return side_of(self.settings.engine)

    def options(self, role: Role) -> list[dict[str, Any]]:
        """What the driver of the floors needs, for each server of a role."""
        return self.side.options(self.settings, role)

    @property
    def on_this_machine(self) -> bool:
        """The writer runs on the machine of the client."""
        host, _ = self.settings.writer_address()
        return host.startswith("/") or is_loopback(host)

    def connect(self, role: Role = Role.WRITER) -> AbstractAsyncContextManager[Any]:
        """Open one connection for what is not measured; see :class:`benchmarks._sides.Admin`."""
        return self.side.connect(self.options(role)[0])


@asynccontextmanager
async def local_target(engine: Engine, readers: int) -> AsyncIterator[Target]:
    """Start a local cluster for the time of the block."""
    # Only here: a run on a given database needs no server binaries.
    from aurora_sql.local import LocalCluster  # noqa: PLC0415 - see above

    async with LocalCluster(engine=engine.value, readers=readers) as cluster:
        yield Target(cluster.settings())


@asynccontextmanager
async def sandbox(target: Target, files: ShopFiles, size: Size) -> AsyncIterator[Target]:
    """Make the shop in a place of its own and remove it at the end, whatever happens.

    The place is a new database. Where the user may not create one, the database of the settings
    is used if nothing is in it.

    Raises:
        ConfigurationError: No database may be created, and the given one is not empty.
    """
    side = target.side
    name = f"{PREFIX}{secrets.token_hex(4)}"
    async with target.connect() as admin:
        if not await side.make_place(admin, name):
            await _refuse_unless_empty(side, admin, target.settings.database)
            name = ""
    place = Target(target.settings.replace({"database": name})) if name else target
    try:
        if name:
            async with target.connect() as admin:
                await side.mark(admin, name)
        async with side.held(place):
            await side.build(place, files, size)
            await _wait_for_readers(place, size)
            yield place
    finally:
        # A second interruption must not leave the database behind.
        await _uninterrupted(_drop(target, name))


async def _refuse_unless_empty(side: Side, admin: Any, database: str) -> None:
    found = await side.found(admin)
    if found:
        raise ConfigurationError(
            f"the user may not create a database, and {database} is not empty (it has"
            f" {', '.join(found)}): grant CREATE DATABASE, or give an empty database; existing"
            " tables are never touched"
        )


async def _drop(target: Target, name: str) -> None:
    async with asyncio.timeout(_CLEAN_UP), target.connect() as admin:
        await target.side.drop(admin, name)


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
                if await _last_order(place.side, options) == size.orders:
                    break
                problem = "it does not show the data"
            except (*failures(), OSError, TimeoutError) as error:
                # The database itself arrives by replication.
                problem = str(error)
            if time.monotonic() > limit:
                raise ConfigurationError(
                    f"reader {options['host']}:{options['port']} did not follow the writer in"
                    f" {_CATCH_UP:.0f} s: {problem}"
                )
            await asyncio.sleep(0.1)


async def _last_order(side: Side, options: dict[str, Any]) -> Any:
    async with side.connect(options) as admin:
        return await admin.fetchval(
            "SELECT max(id) FROM orders WHERE (SELECT count(*) FROM order_items) > 0"
        )


async def leftovers(target: Target) -> list[str]:
    """Drop the databases of earlier runs that were killed; return those that were dropped.

    Raises:
        ConfigurationError: One of them is in use: by a run that still goes on.
    """
    dropped = []
    async with target.connect() as admin:
        for name in await target.side.leftovers(admin):
            # Not by force: a run that still goes on keeps its database.
            if not await target.side.drop_unused(admin, name):
                raise ConfigurationError(f"database {name} is in use: a benchmark still runs on it")
            dropped.append(name)
    return dropped
