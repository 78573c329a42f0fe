"""The data layers behind the web application: the library and its peers."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from aurora_sql import Aurora
from aurora_sql.types import Role
from benchmarks._floors_postgresql import prepare_connection
from benchmarks._library import pool_settings
from benchmarks._results import OURS, POOL
from benchmarks._target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql import AuroraSettings

    Pair = tuple[int, int]

SQL = Path(__file__).resolve().parent / "sql"
_GET = "SELECT id, random_number FROM world WHERE id = $1"
_SET = "UPDATE world SET random_number = $1 WHERE id = $2"
_FORTUNES = "SELECT id, message FROM fortune"


@dataclass
class Layer:
    """What all of them have.

    Attributes:
        settings: Of the servers.
        connections: In the pool.
    """

    settings: AuroraSettings
    connections: int

    @property
    def options(self) -> dict[str, Any]:
        """What asyncpg takes for the writer."""
        return Target(self.settings).options(Role.WRITER)[0]


class Library(Layer):
    """aurora_sql: a call for each row; those for several rows travel together."""

    async def open(self) -> None:
        """Open the pools."""
        settings = pool_settings(self.settings, Role.WRITER, self.connections)
        self._db = Aurora(settings, sql=SQL)
        await self._db.__aenter__()
        self._sql = self._db.sql.worlds

    async def close(self) -> None:
        """Close them."""
        await self._db.__aexit__(None, None, None)

    async def one(self, key: int) -> Pair:
        """One row."""
        row = await self._sql.get(id=key)
        return row.id, row.random_number

    async def several(self, keys: Sequence[int]) -> list[Pair]:
        """A call for each row, at the same time."""
        rows = await self._sql.get_together.each([{"id": key} for key in keys])
        return [(row.id, row.random_number) for row in rows]

    async def change(self, pairs: Sequence[Pair]) -> None:
        """A call for each row, then the statement for all of them, pipelined."""
        await self.several([key for key, _ in pairs])
        await self._sql.set_numbers([{"id": key, "number": number} for key, number in pairs])

    async def fortunes(self) -> list[tuple[int, str]]:
        """All fortunes."""
        return [(row.id, row.message) for row in await self._sql.fortunes()]


class AsyncpgPool(Layer):
    """``asyncpg.Pool``; several rows by fetchmany, which sends all queries at once."""

    async def open(self) -> None:
        """Open the pool."""
        self._pool = await asyncpg.create_pool(
            **self.options,
            min_size=self.connections,
            max_size=self.connections,
            init=prepare_connection,
        )

    async def close(self) -> None:
        """Close it."""
        await self._pool.close()

    async def one(self, key: int) -> Pair:
        """One row."""
        row = await self._pool.fetchrow(_GET, key)
        return row[0], row[1]

    async def several(self, keys: Sequence[int]) -> list[Pair]:
        """A query for each row, pipelined."""
        rows = await self._pool.fetchmany(_GET, [(key,) for key in keys])
        return [(row[0], row[1]) for row in rows]

    async def change(self, pairs: Sequence[Pair]) -> None:
        """A query for each row, then one statement for all of them, both pipelined."""
        async with self._pool.acquire() as connection:
            await connection.fetchmany(_GET, [(key,) for key, _ in pairs])
            await connection.executemany(_SET, [(number, key) for key, number in pairs])

    async def fortunes(self) -> list[tuple[int, str]]:
        """All fortunes."""
        return [(row[0], row[1]) for row in await self._pool.fetch(_FORTUNES)]


class PsycopgPool(Layer):
    """psycopg_pool; several rows by executemany, which sends all queries in its pipeline mode."""

    async def open(self) -> None:
        """Open the pool."""
        from benchmarks.peers._psycopg import open_pool  # noqa: PLC0415 - may not be installed

        self._pool = await open_pool(Target(self.settings), self.options, self.connections)

    async def close(self) -> None:
        """Close it."""
        await self._pool.close()

    async def one(self, key: int) -> Pair:
        """One row."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_GET, (key,), binary=True)).fetchone()
        return row[0], row[1]

    async def several(self, keys: Sequence[int]) -> list[Pair]:
        """A query for each row, pipelined."""
        async with self._pool.connection() as connection:
            return await self._on(connection, keys)

    async def _on(self, connection: Any, keys: Sequence[int]) -> list[Pair]:
        async with connection.cursor(binary=True) as cursor:
            await cursor.executemany(_GET, [(key,) for key in keys], returning=True)
            rows = [await cursor.fetchone()]
            while cursor.nextset():
                rows.append(await cursor.fetchone())
        return [(row[0], row[1]) for row in rows]

    async def change(self, pairs: Sequence[Pair]) -> None:
        """A query for each row, then one statement for all of them, both pipelined."""
        async with self._pool.connection() as connection:
            await self._on(connection, [key for key, _ in pairs])
            async with connection.transaction(), connection.cursor() as cursor:
                await cursor.executemany(_SET, [(number, key) for key, number in pairs])

    async def fortunes(self) -> list[tuple[int, str]]:
        """All fortunes."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_FORTUNES, binary=True)).fetchall()
        return [(row[0], row[1]) for row in rows]


class SqlalchemyCore(Layer):
    """Core, in autocommit for reads; several rows one after the other on one connection."""

    async def open(self) -> None:
        """Make the engines; they share one pool."""
        from sqlalchemy import bindparam, select, update  # noqa: PLC0415 - may not be installed

        from benchmarks.peers._models import Fortune, World  # noqa: PLC0415 - see above
        from benchmarks.peers._sqlalchemy import open_engine  # noqa: PLC0415 - see above

        self._engine = open_engine(
            Target(self.settings), self.options, self.connections, autocommit=True
        )
        # A transaction for the changes, on the same pool.
        self._writing = self._engine.execution_options(isolation_level="READ COMMITTED")
        world, fortune = World.__table__, Fortune.__table__
        self._get = select(world.c.id, world.c.random_number).where(world.c.id == bindparam("key"))
        self._set = (
            update(world).where(world.c.id == bindparam("key")).values(random_number=bindparam("n"))
        )
        self._fortunes = select(fortune.c.id, fortune.c.message)

    async def close(self) -> None:
        """Close them."""
        await self._engine.dispose()

    async def one(self, key: int) -> Pair:
        """One row."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(self._get, {"key": key})).one()
        return row.id, row.random_number

    async def several(self, keys: Sequence[int]) -> list[Pair]:
        """A query for each row."""
        async with self._engine.connect() as connection:
            rows = [(await connection.execute(self._get, {"key": key})).one() for key in keys]
        return [(row.id, row.random_number) for row in rows]

    async def change(self, pairs: Sequence[Pair]) -> None:
        """A query for each row, then one statement for all of them."""
        async with self._writing.begin() as connection:
            for key, _ in pairs:
                (await connection.execute(self._get, {"key": key})).one()
            await connection.execute(
                self._set, [{"key": key, "n": number} for key, number in pairs]
            )

    async def fortunes(self) -> list[tuple[int, str]]:
        """All fortunes."""
        async with self._engine.connect() as connection:
            rows = (await connection.execute(self._fortunes)).all()
        return [(row.id, row.message) for row in rows]


class SqlalchemyOrm(Layer):
    """The ORM: a session for each request."""

    async def open(self) -> None:
        """Make the engines; they share one pool."""
        from sqlalchemy import select  # noqa: PLC0415 - may not be installed
        from sqlalchemy.ext.asyncio import async_sessionmaker  # noqa: PLC0415 - see above

        from benchmarks.peers._models import Fortune, World  # noqa: PLC0415 - see above
        from benchmarks.peers._sqlalchemy import open_engine  # noqa: PLC0415 - see above

        self._world = World
        self._engine = open_engine(
            Target(self.settings), self.options, self.connections, autocommit=True
        )
        self._session = async_sessionmaker(self._engine, expire_on_commit=False)
        writing = self._engine.execution_options(isolation_level="READ COMMITTED")
        self._writing = async_sessionmaker(writing, expire_on_commit=False)
        self._fortunes = select(Fortune)

    async def close(self) -> None:
        """Close them."""
        await self._engine.dispose()

    async def one(self, key: int) -> Pair:
        """One row."""
        async with self._session() as session:
            row = await session.get_one(self._world, key)
        return row.id, row.random_number

    async def several(self, keys: Sequence[int]) -> list[Pair]:
        """A query for each row."""
        async with self._session() as session:
            rows = [await session.get_one(self._world, key) for key in keys]
        return [(row.id, row.random_number) for row in rows]

    async def change(self, pairs: Sequence[Pair]) -> None:
        """A query for each row; the unit of work writes what changed."""
        async with self._writing() as session:
            for key, number in pairs:
                row = await session.get_one(self._world, key)
                row.random_number = number
            await session.commit()

    async def fortunes(self) -> list[tuple[int, str]]:
        """All fortunes."""
        async with self._session() as session:
            rows = (await session.execute(self._fortunes)).scalars().all()
        return [(row.id, row.message) for row in rows]


_LAYERS: dict[str, tuple[type[Layer], tuple[str, ...]]] = {
    OURS: (Library, ()),
    POOL: (AsyncpgPool, ()),
    "psycopg_pool": (PsycopgPool, ("psycopg", "psycopg_pool")),
    "SQLAlchemy Core": (SqlalchemyCore, ("sqlalchemy", "greenlet")),
    "SQLAlchemy ORM": (SqlalchemyOrm, ("sqlalchemy", "greenlet")),
}


def layers() -> dict[str, type[Layer]]:
    """The installed ones by name."""
    return {
        name: kind
        for name, (kind, modules) in _LAYERS.items()
        if all(importlib.util.find_spec(module) is not None for module in modules)
    }


def web_names(peers: Sequence[str]) -> list[str]:
    """The data layers of the web rows, the library first: the chosen ones that are installed."""
    there = layers()
    return [name for name in there if name == OURS or name in peers]
