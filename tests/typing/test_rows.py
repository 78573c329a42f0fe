"""What a type checker knows of rows. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, assert_type

import asyncpg

from aurora_sql.rows import PlainRow, Row, RowColumns, build_maker, resolve_model
from aurora_sql.types import Column


class PgRow(Row, asyncpg.Record):
    """The two classes agree on the methods that both declare."""

    __slots__ = ()


def rows(row: Row, record: PgRow) -> None:
    assert_type(row["id"], Any)
    assert_type(row[0], Any)
    assert_type(row[:2], tuple[Any, ...])
    assert_type(row.email, Any)
    assert_type(row.get("id"), Any | None)
    assert_type(row.get("id", 1), Any | int)
    assert_type(row.keys(), Iterator[str])
    assert_type(row.values(), Iterator[Any])
    assert_type(row.items(), Iterator[tuple[str, Any]])
    assert_type(row._asdict(), dict[str, Any])
    assert_type(len(row), int)
    assert_type("id" in row, bool)
    assert_type(hash(row), int)
    assert_type(row == (1, "a"), bool)
    assert_type(list(row), list[Any])
    assert_type(sorted([row, record]), list[Row])
    assert_type({row: 1}, dict[Row, int])
    assert_type(record.items(), Iterator[tuple[str, Any]])
    narrowed: Row = record
    assert_type(narrowed["id"], Any)


def plain_rows() -> None:
    row = PlainRow(["id", "email"], (1, "a"))
    assert_type(row, PlainRow)
    assert_type(row[0], Any)
    assert_type(PlainRow(RowColumns(["id"]), [1]).get("id"), Any | None)


def makers(columns: list[Column], found: list[Row]) -> None:
    maker = build_maker(columns, int, where="users.count (users.sql:1)", nullability={})
    assert_type(maker, Callable[[list[Row]], list[Any]] | None)
    if maker is not None:
        assert_type(maker(found), list[Any])
    assert_type(resolve_model("shop.models.User"), type[Any])
