"""Rows of both implementations, and columns by their PostgreSQL type."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pydantic
import pytest

from aurora_sql.errors import RowValidationError
from aurora_sql.local import LocalCluster
from aurora_sql.rows import PlainRow, Row, build_maker
from aurora_sql.rows._nodes import Branch
from aurora_sql.rows._plan import Planner
from aurora_sql.types import Column

WHERE = "users.get (sql/users.sql:12)"

PYTHON_TYPES: dict[str, type[Any]] = {
    "int4": int,
    "int8": int,
    "text": str,
    "bool": bool,
    "float8": float,
    "numeric": Decimal,
    "timestamptz": dt.datetime,
    "date": dt.date,
    "time": dt.time,
    "interval": dt.timedelta,
    "uuid": UUID,
    "bytea": bytes,
    "json": object,
    "jsonb": object,
    "int4[]": list,
    "text[]": list,
    "xml": object,
}

MakeRow = Callable[[Sequence[str], Sequence[Any]], Row]


class PgRow(Row, asyncpg.Record):
    """As a driver combines it."""

    __slots__ = ()


class Server:
    """A connection, on a loop of its own, whose records are rows."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._loop = asyncio.new_event_loop()
        self.connection = self._loop.run_until_complete(self._connect(cluster))

    @staticmethod
    async def _connect(cluster: LocalCluster) -> asyncpg.Connection:
        writer = cluster.instances[0]
        connection = await asyncpg.connect(
            host=writer.host,
            port=writer.port,
            user=cluster.username,
            password=cluster.password,
            database=cluster.database,
            record_class=PgRow,
        )
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
        )
        return connection

    def row(self, columns: Sequence[str], values: Sequence[Any]) -> Row:
        names = ['"' + name.replace('"', '""') + '"' for name in columns]
        types = {bool: "bool", int: "int4", str: "text", list: "jsonb", type(None): "text"}
        parts = [
            f"${n}::{types[type(value)]} AS {name}"
            for n, (name, value) in enumerate(zip(names, values, strict=True), 1)
        ]
        query = f"SELECT {', '.join(parts)}"
        return self._loop.run_until_complete(self.connection.fetchrow(query, *values))

    def stop(self) -> None:
        self._loop.run_until_complete(self.connection.close())
        self._loop.close()


@pytest.fixture(scope="session")
def server(aurora_cluster: LocalCluster) -> Iterator[Server]:
    server = Server(aurora_cluster)
    yield server
    server.stop()


@pytest.fixture(params=["plain", "asyncpg"])
def make_row(request: pytest.FixtureRequest) -> MakeRow:
    return PlainRow if request.param == "plain" else request.getfixturevalue("server").row


@pytest.fixture(scope="session")
def columns() -> Callable[..., list[Column]]:
    def make(*pairs: str) -> list[Column]:
        """``columns("id int4", "customer.email text")``."""
        found = []
        for pair in pairs:
            name, _, type_name = pair.rpartition(" ")
            found.append(Column(name, type_name, PYTHON_TYPES[type_name]))
        return found

    return make


@pytest.fixture(scope="session")
def rows(columns) -> Callable[..., list[Row]]:
    def make(names: Sequence[Column], *values: Sequence[Any]) -> list[Row]:
        return [PlainRow([column.name for column in names], row) for row in values]

    return make


@pytest.fixture
def make(columns, rows):
    def make(model, names, *values, nullability=None):
        found = columns(*names)
        maker = build_maker(found, model, where=WHERE, nullability=nullability or {})
        assert maker is not None
        return maker(rows(found, *values))

    return make


@pytest.fixture
def refuse(columns):
    def refuse(model, names, *parts, nullability=None):
        with pytest.raises(RowValidationError) as caught:
            build_maker(columns(*names), model, where=WHERE, nullability=nullability or {})
        for part in (WHERE, *parts):
            assert part in str(caught.value)
        return str(caught.value)

    return refuse


@pytest.fixture
def mode(columns):
    def mode(model, *names):
        root = Planner(columns(*names), WHERE, {}).plan(model)
        assert isinstance(root, Branch)
        return root.mode

    return mode


@pytest.fixture(scope="session")
def same():
    return _same


def _same(made, validated):
    """Equal in all that pydantic keeps, the order of fields included."""
    assert type(made) is type(validated)
    assert made == validated
    assert repr(made) == repr(validated)
    assert list(made.__dict__) == list(validated.__dict__)
    assert made.model_fields_set == validated.model_fields_set
    assert made.model_extra == validated.model_extra
    assert made.__pydantic_private__ == validated.__pydantic_private__
    assert made.model_dump() == validated.model_dump()
    assert pydantic.TypeAdapter(type(made)).dump_json(made)
