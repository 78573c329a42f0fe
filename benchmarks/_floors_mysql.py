"""MySQL's floors: the same work without the library, on aiomysql and asyncmy, bare and pooled.

They run the text that the library prepares, with ``%s`` for ``?``, in autocommit, and decode the
same columns. aiomysql writes values into the text, which is all that it can; asyncmy's cursors
run prepared statements, which is the fastest that it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiomysql
import orjson
import pymysql

from aurora_sql.errors import ConfigurationError
from benchmarks._work import Bulk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import ModuleType

    from benchmarks._sides import Call, Subject
    from benchmarks._target import Target
    from benchmarks._work import PlaceOrder, Purchase, Single, Work

    # On a connection, with one of its cursors, for a value.
    Run = Callable[[Any, Any, Any], Awaitable[Any]]

    Encode = Callable[[Sequence[Any]], Sequence[Any]]

_CLOSE_LIMIT = 2.0
_STATEMENTS = 64
# As the library's sessions have it, so that both read and write the same times.
_SESSION = "SET time_zone = '+00:00'"


@dataclass(frozen=True)
class Driver:
    """A driver of MySQL.

    Attributes:
        name: Of the driver, and of its bare connections.
        module: Has ``connect`` and ``create_pool``.
        options: What it is given beside where to connect to.
    """

    name: str
    module: ModuleType
    options: dict[str, Any] = field(default_factory=dict)

    def arguments(self, options: dict[str, Any]) -> dict[str, Any]:
        """What its ``connect`` takes."""
        return {
            **options,
            "charset": "utf8mb4",
            "autocommit": True,
            "init_command": _SESSION,
            **self.options,
        }


def _drivers() -> tuple[dict[str, Driver], tuple[type[Exception], ...]]:
    found = {"aiomysql": Driver("aiomysql", aiomysql)}
    failures: tuple[type[Exception], ...] = (pymysql.err.Error,)
    if importlib.util.find_spec("asyncmy") is not None:
        import asyncmy  # noqa: PLC0415 - optional

        found["asyncmy"] = Driver("asyncmy", asyncmy, {"stmt_cache_size": _STATEMENTS})
        failures += (asyncmy.errors.Error,)
    return found, failures


DRIVERS, FAILURES = _drivers()
"""The installed drivers by name, and what they raise."""

_CLOSING = (*FAILURES, OSError, TimeoutError, RuntimeError)


def in_format(sql: str, parameters: int) -> str:
    """The text with ``%s`` for each ``?``.

    Raises:
        ConfigurationError: It has a ``?`` that is no placeholder.
    """
    if sql.count("?") != parameters:
        raise ConfigurationError(
            f"the floors cannot run a text with a '?' that is no placeholder: {sql}"
        )
    return sql.replace("%", "%%").replace("?", "%s")


def _encoder(args: Sequence[Any]) -> Encode | None:
    """How values travel that no driver of MySQL takes: mappings and lists, as JSON."""
    places = [number for number, value in enumerate(args) if isinstance(value, (dict, list))]
    if not places:
        return None

    def encode(args: Sequence[Any]) -> Sequence[Any]:
        sent = list(args)
        for place in places:
            sent[place] = orjson.dumps(sent[place]).decode()
        return sent

    return encode


class _Runs:
    """Makes what is run on a connection and one of its cursors, for each kind of work."""

    async def single(self, work: Single) -> Run:
        """One statement, and its rows."""
        first = work.values[0].args
        sql, encode = in_format(work.sql, len(first)), _encoder(first)

        async def execute(connection: Any, cursor: Any, value: Any) -> None:
            del connection
            await cursor.execute(sql, value.args if encode is None else encode(value.args))

        async def fetch_one(connection: Any, cursor: Any, value: Any) -> Any:
            del connection
            await cursor.execute(sql, value.args)
            return await cursor.fetchone()

        async def fetch_all(connection: Any, cursor: Any, value: Any) -> Any:
            del connection
            await cursor.execute(sql, value.args)
            return await cursor.fetchall()

        if work.rowless:
            return execute
        run = fetch_one if work.one_row else fetch_all
        return _with_json(run, work) if work.json_columns else run

    async def bulk(self, work: Bulk) -> Run:
        """All rows by ``executemany``, which makes one INSERT of them."""
        sql, encode = _insert(work)

        async def insert(connection: Any, cursor: Any, rows: Any) -> None:
            del connection
            await cursor.executemany(sql, [encode(row) for row in rows])

        return insert

    async def place_order(self, work: PlaceOrder) -> Run:
        """Three statements between BEGIN and COMMIT."""
        reserve, add, add_item = (in_format(sql, sql.count("?")) for sql in work.texts)

        async def place(connection: Any, cursor: Any, value: Purchase) -> Any:
            await connection.begin()
            await cursor.execute(reserve, (value.product, value.quantity))
            product = await cursor.fetchone()
            await cursor.execute(add, (value.customer, value.total))
            order = await cursor.fetchone()
            # The id comes first in both, and behind the product's its price.
            await cursor.execute(add_item, (order[0], product[0], value.quantity, product[1]))
            await connection.commit()
            return order

        return place


class _RowByRow(_Runs):
    """The same, but each of many rows is an INSERT: ``executemany`` where it joins nothing."""

    async def bulk(self, work: Bulk) -> Run:
        """One-row INSERTs in a transaction, or each would wait for the disk."""
        sql, encode = _insert(work)

        async def insert(connection: Any, cursor: Any, rows: Any) -> None:
            await connection.begin()
            for row in rows:
                await cursor.execute(sql, encode(row))
            await connection.commit()

        return insert


def _insert(work: Bulk) -> tuple[str, Encode]:
    columns = ", ".join(work.columns)
    places = ", ".join(["%s"] * len(work.columns))
    sql = f"INSERT INTO {work.table} ({columns}) VALUES ({places})"
    return sql, _encoder(work.values[0][0]) or (lambda row: row)


def _with_json(run: Run, work: Single) -> Run:
    """Decode the JSON columns, as the library does; to the drivers they are text."""
    places: list[int] = []

    def decode(cursor: Any, row: Any) -> Any:
        if not places:
            names = [column[0] for column in cursor.description]
            places.extend(names.index(name) for name in work.json_columns)
        decoded = list(row)
        for place in places:
            decoded[place] = orjson.loads(decoded[place])
        return tuple(decoded)

    async def run_and_decode(connection: Any, cursor: Any, value: Any) -> Any:
        found = await run(connection, cursor, value)
        return decode(cursor, found) if work.one_row else [decode(cursor, row) for row in found]

    return run_and_decode


class BareConnections:
    """One connection for each caller, with a cursor that stays open."""

    def __init__(self, driver: Driver, target: Target, work: Work, callers: int) -> None:
        self.name = driver.name
        self._driver = driver
        self._target = target
        self._work = work
        self._callers = callers
        self._runs = _Runs()
        self._connections: list[Any] = []

    async def open(self) -> None:
        """Open all connections."""
        options = self._target.options(self._work.role)
        for number in range(self._callers):
            arguments = self._driver.arguments(options[number % len(options)])
            self._connections.append(await self._driver.module.connect(**arguments))

    async def close(self) -> None:
        """Close them."""
        connections, self._connections = self._connections, []
        for connection in connections:
            await _close(connection)

    async def calls(self) -> list[Call]:
        """Return the work of each caller."""
        run = await self._work.on(self._runs)
        return [_on(run, connection, await connection.cursor()) for connection in self._connections]


class RowByRow(BareConnections):
    """Bare connections that send many rows as one INSERT each."""

    def __init__(self, driver: Driver, target: Target, work: Work, callers: int) -> None:
        super().__init__(driver, target, work, callers)
        self.name = f"{driver.name} row by row"
        self._runs = _RowByRow()


def _on(run: Run, connection: Any, cursor: Any) -> Call:
    return lambda value: run(connection, cursor, value)


class Pool:
    """A driver's pool with as many connections as callers, one pool for each server."""

    def __init__(self, driver: Driver, target: Target, work: Work, callers: int) -> None:
        self.name = f"{driver.name}.Pool"
        self._driver = driver
        self._target = target
        self._work = work
        self._callers = callers
        self._pools: list[Any] = []

    async def open(self) -> None:
        """Open the pools with all their connections."""
        options = self._target.options(self._work.role)
        for number, one in enumerate(options):
            size = len(range(number, self._callers, len(options)))
            if size:
                arguments = self._driver.arguments(one)
                self._pools.append(
                    await self._driver.module.create_pool(minsize=size, maxsize=size, **arguments)
                )

    async def close(self) -> None:
        """Close the pools."""
        pools, self._pools = self._pools, []
        for pool in pools:
            # Also the connections that a measurement left in the middle of a command.
            pool.terminate()
            with contextlib.suppress(*_CLOSING):
                async with asyncio.timeout(_CLOSE_LIMIT):
                    await pool.wait_closed()

    async def calls(self) -> list[Call]:
        """Return the work of each caller; callers are spread evenly over the servers."""
        run = await self._work.on(_Runs())
        works = [_borrowing(run, pool) for pool in self._pools]
        return [works[number % len(works)] for number in range(self._callers)]


def _borrowing(run: Run, pool: Any) -> Call:
    async def call(value: Any) -> Any:
        async with pool.acquire() as connection, connection.cursor() as cursor:
            return await run(connection, cursor, value)

    return call


async def _close(connection: Any) -> None:
    with contextlib.suppress(*_CLOSING):
        async with asyncio.timeout(_CLOSE_LIMIT):
            await connection.ensure_closed()
        return
    connection.close()


def floors(chosen: str, target: Target, work: Work, callers: int) -> Sequence[Subject]:
    """Bare connections and pool of the chosen driver, for many rows row by row too; the others'.

    Args:
        chosen: Name of the driver that the library uses.
        target: Where.
        work: What.
        callers: How many.
    """
    names = sorted(DRIVERS, key=lambda name: name != chosen)
    found: list[Subject] = []
    for name in names:
        driver = DRIVERS[name]
        found += [kind(driver, target, work, callers) for kind in (BareConnections, Pool)]
    if isinstance(work, Bulk):
        found.insert(2, RowByRow(DRIVERS[chosen], target, work, callers))
    return found
