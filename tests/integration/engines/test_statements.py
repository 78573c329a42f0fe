"""Statements of files and ad hoc ones, and what becomes of their rows."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from aurora_sql import (
    DataError,
    ParameterError,
    ProgrammingError,
    Repository,
    Row,
    RowNotFound,
    RowValidationError,
    TooManyRows,
    UniqueViolation,
)


@dataclass
class Account:
    id: int
    owner: str
    balance: Decimal


class Note(BaseModel):
    id: int
    text: str


class Holder(BaseModel):
    id: int
    owner: str
    note: Note | None


async def test_each_cardinality(db):
    row = await db.sql.accounts.get(id=1)
    assert isinstance(row, Row)
    assert (row.id, row["owner"], row[2], row.version) == (1, "owner 1", Decimal(100), 1)
    assert await db.sql.accounts.find(owner="nobody") is None
    assert [one.id for one in await db.sql.accounts.everyone()] == list(range(1, 11))
    assert await db.sql.accounts.how_many() == 10
    assert await db.sql.accounts.add(id=11, owner="new", balance=Decimal("1.50")) is None
    assert await db.sql.accounts.deposit(id=11, amount=Decimal("0.25")) == 1
    assert await db.sql.accounts.deposit(id=12, amount=1) == 0
    assert (await db.sql.accounts.get(id=11)).balance == Decimal("1.75")


async def test_an_update_that_changes_nothing_counts_the_rows_it_found(db):
    assert await db.sql.accounts.deposit(id=1, amount=0) == 1


async def test_no_row_and_too_many(db):
    with pytest.raises(RowNotFound, match=r"accounts\.get"):
        await db.sql.accounts.get(id=0)
    with pytest.raises(TooManyRows):
        await db.fetch_one("SELECT id FROM accounts")
    with pytest.raises(TooManyRows):
        await db.fetch_maybe("SELECT id FROM accounts")


async def test_parameters_are_checked_before_anything_is_sent(db):
    with pytest.raises(ParameterError, match=r"accounts\.get .*missing parameter 'id'"):
        await db.sql.accounts.get()
    with pytest.raises(ParameterError, match="unknown parameter 'name'"):
        await db.sql.accounts.get(id=1, name="x")


async def test_conditional_lines(db, outside):
    await outside.execute("UPDATE accounts SET balance = 500 WHERE id = 7")
    search = db.sql.accounts.search
    assert [one.id for one in await search(limit=3)] == [1, 2, 3]
    assert [one.id for one in await search(limit=2, sort="richest")] == [7, 1]
    assert [one.id for one in await search(limit=9, least=Decimal(101))] == [7]
    assert [one.id for one in await search(limit=9, least=1, owner="owner 3")] == [3]
    with pytest.raises(ParameterError, match="sort"):
        await search(limit=1, sort="poorest")


@pytest.mark.parametrize(
    ("ids", "inside"),
    [([], []), ([3], [3]), ([3, 1, 3], [1, 3]), (list(range(1, 8)), list(range(1, 8))), ([99], [])],
)
async def test_lists(db, ids, inside):
    assert [one.id for one in await db.sql.accounts.by_ids(ids=ids)] == inside
    outside = [n for n in range(1, 11) if n not in ids]
    assert [one.id for one in await db.sql.accounts.not_ids(ids=ids)] == outside


async def test_a_long_list(db):
    assert len(await db.sql.accounts.by_ids(ids=list(range(5_000)))) == 10


async def test_models(db, outside):
    found = await db.fetch_one(
        "SELECT id, owner, balance FROM accounts WHERE id = :id", {"id": 2}, model=Account
    )
    assert found == Account(2, "owner 2", Decimal(100))
    await outside.execute("INSERT INTO notes (account_id, text) VALUES (1, 'first')")
    holders = await db.fetch_all(
        'SELECT a.id, a.owner, n.id AS "note.id", n.text AS "note.text" FROM accounts AS a'
        " LEFT JOIN notes AS n ON n.account_id = a.id WHERE a.id < 3 ORDER BY a.id",
        model=Holder,
    )
    assert [(one.id, one.note and one.note.text) for one in holders] == [(1, "first"), (2, None)]
    with pytest.raises(RowValidationError, match="balance"):
        await db.fetch_one("SELECT id, owner FROM accounts WHERE id = 1", model=Account)


async def test_a_batch_is_all_or_nothing(db):
    await db.sql.accounts.add_many(
        [{"id": n, "owner": f"new {n}", "balance": 1} for n in range(20, 30)]
    )
    assert await db.sql.accounts.how_many() == 20
    with pytest.raises(UniqueViolation):
        await db.sql.accounts.add_many(
            [{"id": n, "owner": f"newer {n}", "balance": 1} for n in (30, 31, 1)]
        )
    assert await db.sql.accounts.how_many() == 20


async def test_a_script(db):
    await db.sql.accounts.tidy()
    found = [one.balance for one in await db.sql.accounts.everyone()][:3]
    assert found == [0, 1, 100]


async def test_a_script_that_fails_leaves_nothing(db):
    before = await db.sql.accounts.everyone()
    for _ in range(2):
        with pytest.raises(UniqueViolation):
            await db.sql.accounts.tidy_and_fail()
        assert await db.sql.accounts.everyone() == before
    with pytest.raises(UniqueViolation):
        async with db.transaction() as tx:
            await tx.sql.accounts.tidy()
            await tx.sql.accounts.tidy_and_fail()
    assert await db.sql.accounts.everyone() == before


async def test_a_stream_gives_all_rows_in_order(db):
    seen = [row.id async for row in db.sql.accounts.everyone.stream()]
    assert seen == list(range(1, 11))
    async for row in db.stream("SELECT id FROM accounts ORDER BY id", batch_size=2):
        if row.id == 3:
            break
    assert await db.sql.accounts.how_many() == 10


async def test_what_the_server_refuses_names_the_place(db):
    with pytest.raises(ProgrammingError) as caught:
        await db.fetch_all("SELECT nothing_of_the_kind FROM accounts")
    assert "nothing_of_the_kind" in str(caught.value)
    assert not caught.value.outcome_unknown


MIDNIGHT = dt.datetime(2000, 1, 1)
VALUES = [
    (0, "bigint"),
    (-(2**63), "bigint"),
    (2**63 - 1, "bigint"),
    (Decimal("12345678901234567890.12345"), "numeric(30, 5)"),
    (Decimal("-0.00001"), "numeric(30, 5)"),
    (1.5e-300, "double precision"),
    (-math.pi, "double precision"),
    ("", "text"),
    ("naïve ' \" \\ % ` ; -- /* 𝄞 \n\t\x1a", "text"),
    ("x" * 100_000, "text"),
    (b"", "BYTES"),
    (bytes(range(256)) * 10, "BYTES"),
    (dt.date(1999, 12, 31), "date"),
    (dt.time(23, 59, 59, 123456), "TIME6"),
    (dt.datetime(2026, 11, 22, 23, 59, 59, 999999), "STAMP6"),
    (None, "text"),
    (None, "bigint"),
]
_NAMES = {
    "BYTES": ("bytea", "longblob"),
    "TIME6": ("time(6)", "time(6)"),
    "STAMP6": ("timestamp(6)", "datetime(6)"),
    "text": ("text", "longtext"),
}


@pytest.mark.parametrize(("value", "kind"), VALUES, ids=lambda one: repr(one)[:30])
async def test_values_come_back_as_they_went(db, outside, on_mysql, value, kind):
    name = _NAMES.get(kind, (kind, kind))[on_mysql]
    await outside.execute("DROP TABLE IF EXISTS kept")
    await outside.execute(f"CREATE TABLE kept (id int PRIMARY KEY, v {name})")
    await db.execute("INSERT INTO kept (id, v) VALUES (1, :v)", {"v": value})
    await db.bulk_insert("kept", [(2, value)], columns=["id", "v"])
    rows = await db.fetch_all("SELECT v FROM kept ORDER BY id")
    found = [row.v for row in rows]
    if isinstance(value, dt.time) and on_mysql:
        found = [(MIDNIGHT + one).time() for one in found]  # TIME is a span there
    assert found == [value, value]
    assert [type(one) for one in rows[0]] == [type(one) for one in rows[1]]


async def test_json_and_uuid(db, outside, on_mysql):
    binary = "binary(16)" if on_mysql else "uuid"
    json = "json" if on_mysql else "jsonb"
    await outside.execute("DROP TABLE IF EXISTS kept")
    await outside.execute(f"CREATE TABLE kept (id int PRIMARY KEY, u {binary}, j {json})")
    value = {"a": [1, 2.5, None, "ü"], "b": {"c": True}}
    number = UUID("12345678-1234-5678-1234-567812345678")
    await db.execute("INSERT INTO kept VALUES (1, :u, :j)", {"u": number, "j": value})
    await db.bulk_insert("kept", [(2, number, value)], columns=["id", "u", "j"])
    for row in await db.fetch_all("SELECT u, j FROM kept"):
        assert row.j == value
        assert row.u == (number.bytes if on_mysql else number)


class Price(BaseModel):
    amount: Decimal = Field(alias="a")
    at: dt.datetime


class Priced(BaseModel):
    id: int
    j: Price | None
    more: list[Price]


async def test_models_in_json_columns(db, outside, on_mysql):
    json = "json" if on_mysql else "jsonb"
    await outside.execute("DROP TABLE IF EXISTS kept")
    await outside.execute(f"CREATE TABLE kept (id int PRIMARY KEY, j {json}, more {json})")
    price = Price(a=Decimal("1.50"), at=MIDNIGHT.replace(tzinfo=dt.UTC))
    account = Account(7, "o'\\ner\t\"", Decimal("0.5"))
    row = Priced(id=1, j=price, more=[price, price])
    kept = Repository(db, Priced, table="kept")
    assert await kept.insert(row) == row
    await db.bulk_insert("kept", [Priced(id=2, j=None, more=[price])])
    await db.bulk_upsert(
        "kept", [{"id": 3, "j": account, "more": ({"deep": account}, 1)}], keys=["id"]
    )
    document = {"a": "1.50", "at": "2000-01-01T00:00:00Z"}
    found = {"id": 7, "owner": account.owner, "balance": "0.5"}
    rows = await db.fetch_all("SELECT j, more FROM kept ORDER BY id")
    assert rows == [(document, [document] * 2), (None, [document]), (found, [{"deep": found}, 1])]
    assert await kept.get(1) == row


ATTACKS = [
    "'; DROP TABLE accounts; --",
    "\\'; DROP TABLE accounts; -- ",
    "\x00'; DROP TABLE accounts",
    "' OR '1'='1",
    "\xbf' OR 1=1 -- ",
    '" OR ""="',
    "/*! DROP TABLE accounts */",
    "${jndi}",
    ":id",
    "?",
    "$1",
]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_value_is_ever_code(db, outside, attack, on_mysql):
    if "\0" in attack and not on_mysql:
        with pytest.raises(DataError):  # PostgreSQL has no text with NUL
            await db.sql.accounts.find(owner=attack)
        return
    assert await db.sql.accounts.find(owner=attack) is None
    await db.sql.accounts.add(id=50, owner=attack, balance=1)
    assert (await db.sql.accounts.find(owner=attack)).id == 50
    assert await db.sql.accounts.how_many() == 11
    await db.bulk_upsert("accounts", [(50, attack + "2")], columns=["id", "owner"], keys=["id"])
    assert (await db.sql.accounts.get(id=50)).owner == attack + "2"
    assert await outside.value("SELECT count(*) FROM accounts") == 11
