"""What a type checker knows of the public names. Checked by mypy, never run."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, assert_type

from pydantic import BaseModel

from aurora_sql import (
    Access,
    Aurora,
    AuroraSettings,
    BulkResult,
    Cardinality,
    Executor,
    Explanation,
    Health,
    PoolStats,
    Row,
    RowStream,
    Session,
    Statement,
    StatementRegistry,
    Topology,
    Transaction,
)

SQL = "SELECT id, email FROM users WHERE id = :id"


class User(BaseModel):
    id: int
    email: str


@dataclasses.dataclass(slots=True, frozen=True)
class Person:
    id: int
    email: str


class Pair(NamedTuple):
    id: int
    email: str


class Entry(TypedDict):
    id: int
    email: str


async def open_and_close(settings: AuroraSettings, registry: StatementRegistry) -> None:
    async with Aurora() as db:
        assert_type(db, Aurora)
    async with Aurora(settings, sql="sql") as db:
        assert_type(db, Aurora)
    async with Aurora(settings, sql=Path("sql"), reload=True) as db:
        assert_type(db, Aurora)
    async with Aurora(settings, sql=registry) as db:
        assert_type(db, Aurora)


def settings_from_everywhere() -> None:
    assert_type(AuroraSettings(), AuroraSettings)
    assert_type(AuroraSettings.from_json("appsettings.json"), AuroraSettings)
    assert_type(AuroraSettings.from_url("postgresql://app@writer:5432/shop"), AuroraSettings)


async def rows_without_a_model(db: Executor) -> None:
    assert_type(await db.fetch_one(SQL, {"id": 1}), Row)
    assert_type(await db.fetch_one(SQL), Row)
    assert_type(await db.fetch_maybe(SQL, {"id": 1}), Row | None)
    assert_type(await db.fetch_all(SQL, {"id": 1}), list[Row])
    assert_type(await db.fetch_value(SQL, {"id": 1}), Any)
    assert_type(await db.execute(SQL, {"id": 1}), int)
    assert_type(db.stream(SQL, {"id": 1}), RowStream[Row])
    async for row in db.stream(SQL, {"id": 1}, batch_size=10):
        assert_type(row, Row)


async def reports(db: Executor, aurora: Aurora) -> None:
    assert_type(await db.export_csv("a.csv", SQL, {"id": 1}), int)
    assert_type(await db.export_csv(Path("a.csv"), SQL, header=False), int)
    assert_type(await db.export_csv(io.BytesIO(), SQL), int)
    await db.export_csv(io.StringIO(), SQL)  # type: ignore[arg-type]  # it takes text
    await db.export_csv(b"a.csv", SQL)  # type: ignore[arg-type]  # a path is no bytes
    (await db.fetch_arrow(SQL, {"id": 1})).to_pandas()
    (await aurora.sql.reports.sales_by_day.fetch_arrow(since=None)).to_pandas()


async def rows_with_a_model(db: Executor) -> None:
    assert_type(await db.fetch_one(SQL, {"id": 1}, model=User), User)
    assert_type(await db.fetch_maybe(SQL, {"id": 1}, model=User), User | None)
    assert_type(await db.fetch_all(SQL, {"id": 1}, model=User), list[User])
    assert_type(db.stream(SQL, {"id": 1}, model=User), RowStream[User])
    async for user in db.stream(SQL, {"id": 1}, model=User):
        assert_type(user, User)
    assert_type(await db.fetch_all(SQL, model=Person), list[Person])
    assert_type(await db.fetch_all(SQL, model=Pair), list[Pair])
    assert_type(await db.fetch_one(SQL, model=Entry), Entry)
    assert_type(await db.fetch_all(SQL, model=int), list[int])
    assert_type(await db.fetch_one(SQL, model=Decimal), Decimal)
    assert_type(await db.fetch_one(SQL, model=dict[str, Any]), dict[str, Any])
    assert_type(await db.fetch_all(SQL, model=tuple[int, str]), list[tuple[int, str]])


async def every_scope_is_an_executor(db: Aurora, tx: Transaction, session: Session) -> None:
    scopes: list[Executor] = [db, db.writer, db.reader, tx, session]
    for scope in scopes:
        assert_type(await scope.fetch_one(SQL, model=User), User)


async def statements_of_files(db: Aurora, tx: Transaction) -> None:
    assert_type(await db.sql.users.get_by_email(email="a@b.c"), Any)
    assert_type(await tx.sql.products.lock(id=1), Any)
    assert_type(await db.reader.sql.reports.sales_by_day(since=None), Any)
    async for row in db.sql.orders.export.stream(since=None):
        assert_type(row, Any)


async def what_runs(db: Aurora, tx: Transaction) -> None:
    assert_type(await db.explain(SQL, {"id": 1}), Explanation)
    found = await tx.explain(SQL, {"id": 1}, analyze=True)
    assert_type(found, Explanation)
    assert_type(found.sql, str)
    assert_type(found.plan, tuple[str, ...])
    assert_type(found.together, tuple[str, ...])
    assert_type(found.types, tuple[str, ...])
    assert_type(found.path, Path | None)
    assert_type(found.access, Access)


async def place_order(tx: Transaction, user: User, *, note: str = "") -> int:
    return await tx.execute(SQL, {"user": user.id, "note": note})


async def name_of(tx: Transaction) -> str | None:
    user = await tx.fetch_maybe(SQL, model=User)
    return None if user is None else user.email


async def transactions(db: Aurora, user: User) -> None:
    async with db.transaction() as tx:
        assert_type(tx, Transaction)
        async with tx.savepoint():
            assert_type(await tx.fetch_one(SQL, model=User), User)
    async with db.transaction(isolation="serializable", read_only=True, timeout=2.0) as tx:
        assert_type(tx, Transaction)
    assert_type(await db.run_in_transaction(place_order, user), int)
    assert_type(await db.run_in_transaction(place_order, user, note="x"), int)
    assert_type(await db.run_in_transaction(name_of), str | None)
    async with db.session() as session:
        assert_type(session, Session)
        assert_type(await session.run_in_transaction(name_of), str | None)
        assert_type(session.token, str)
    assert_type(db.session(token=session.token), Session)


async def numbers() -> AsyncIterator[tuple[int]]:
    yield (1,)


async def bulk(db: Executor, user: User) -> None:
    assert_type(await db.bulk_insert("users", [(1, "a")], columns=["id", "email"]), BulkResult)
    assert_type(await db.bulk_insert("users", [user]), BulkResult)
    assert_type(await db.bulk_insert("users", numbers(), columns=["id"]), BulkResult)
    assert_type(await db.bulk_upsert("users", [{"id": 1}], keys=["id"]), BulkResult)
    assert_type(await db.bulk_update("users", [{"id": 1}], keys=["id"]), BulkResult)
    result = await db.bulk_delete("users", keys=[{"id": 1}, {"id": 2}])
    assert_type(result, BulkResult)
    assert_type(result.rows, int)
    assert_type(result.batches, int)
    assert_type(result.round_trips, int)
    assert_type(result.seconds, float)
    assert_type(result.rows_per_second, float)


async def looking_in(db: Aurora) -> None:
    assert_type(await db.health(), Health)
    assert_type(db.topology, Topology)
    assert_type(db.pool_stats(), dict[str, PoolStats])


def registries() -> None:
    registry = StatementRegistry.load("sql", dialect="postgresql")
    assert_type(registry, StatementRegistry)
    statement = registry["users.get_by_email"]
    assert_type(statement, Statement)
    assert_type(statement.cardinality, Cardinality)
    assert_type(statement.access, Access)
    assert_type(statement.parameters, tuple[str, ...])
    assert_type(statement.line, int)
    assert_type(statement.doc, str)
