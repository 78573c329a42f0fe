"""What of a benchmark depends on the engine: one side for each, found by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import asyncpg

from aurora_sql.types import Engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from aurora_sql.settings import AuroraSettings
    from aurora_sql.types import Role
    from benchmarks._machine import Server
    from benchmarks._shop import ShopFiles, Size
    from benchmarks._target import Target
    from benchmarks._work import Work

    Call = Callable[[Any], Awaitable[Any]]


class Subject(Protocol):
    """One of the things that are compared."""

    @property
    def name(self) -> str:
        """As the report calls it."""

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect."""

    async def calls(self) -> list[Call]:
        """Return the work of each caller."""


class Admin(Protocol):
    """A connection for what is not measured; asyncpg's own has these three."""

    async def execute(self, query: str, /) -> Any:
        """Run one statement without a result."""

    async def fetchval(self, query: str, /) -> Any:
        """Return the first value of the first row, None without one."""

    async def fetch(self, query: str, /) -> Sequence[Any]:
        """Return all rows."""


class Side(Protocol):
    """One engine: its connections, its shop, its floors and what should be reached on it."""

    engine: Engine
    most_subjects: int
    """Of one row, the library's two included."""

    def options(self, settings: AuroraSettings, role: Role) -> list[dict[str, Any]]:
        """What the driver of the floors needs, for each server of a role."""

    def connect(self, options: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
        """Open an :class:`Admin`."""

    async def make_place(self, admin: Any, name: str) -> bool:
        """Create a database; False if the user may not."""

    async def mark(self, admin: Any, name: str) -> None:
        """Mark it as ours."""

    def held(self, place: Target) -> AbstractAsyncContextManager[None]:
        """Keep :meth:`drop_unused` of others away from a database for the time of the block."""

    async def found(self, admin: Any) -> list[str]:
        """Some of what is in the database."""

    async def build(self, place: Target, files: ShopFiles, size: Size) -> None:
        """Create the schema and fill it."""

    async def drop(self, admin: Any, name: str) -> None:
        """Drop the database of that name; without a name, everything that :meth:`build` made."""

    async def leftovers(self, admin: Any) -> list[str]:
        """The databases of ours that there are."""

    async def drop_unused(self, admin: Any, name: str) -> bool:
        """Drop a database; False if somebody uses it."""

    def reset(self, size: Size) -> tuple[str, ...]:
        """Commands that undo what a measurement added, so that each one meets the same tables."""

    async def server(self, admin: Any, readers: int) -> Server:
        """Ask the server about itself."""

    async def most_connections(self, admin: Any) -> int:
        """How many the server takes."""

    def floors(self, target: Target, work: Work, callers: int) -> Sequence[Subject]:
        """What stands beside the library: bare connections of its own driver, its pool, others."""

    def goals(self, row: str, floors: Sequence[str]) -> dict[str, float]:
        """Least ratios of a row, of the floors in the order of :meth:`floors`."""


def side_of(engine: Engine) -> Side:
    """The side of an engine."""
    # Here: a run on one engine needs no drivers of the other.
    if engine is Engine.MYSQL:
        from benchmarks._mysql import MySQL  # noqa: PLC0415 - see above

        return MySQL()
    from benchmarks._postgresql import PostgreSQL  # noqa: PLC0415 - see above

    return PostgreSQL()


def failures() -> tuple[type[Exception], ...]:
    """What the drivers of the floors raise."""
    found: tuple[type[Exception], ...] = (asyncpg.PostgresError, asyncpg.InterfaceError)
    try:
        from benchmarks._floors_mysql import FAILURES  # noqa: PLC0415 - may not be installed
    except ImportError:
        return found
    return found + FAILURES
