"""Bulk work: quick, all or nothing, and wrong values named."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from pydantic import BaseModel

from aurora_sql import (
    AuroraError,
    BulkValueError,
    CheckViolation,
    ParameterError,
    Repository,
    StaleVersion,
    TransactionAborted,
    UniqueViolation,
)


class Account(BaseModel):
    id: int
    owner: str
    balance: Decimal = Decimal(0)
    version: int = 1


class Note(BaseModel):
    id: int | None = None
    account_id: int | None
    text: str


STAGES = "SELECT count(*) FROM information_schema.tables WHERE table_name LIKE 'aurora_sql_load%'"


def accounts(*numbers, **changes):
    return [{"id": n, "owner": f"bulk {n}", "balance": Decimal(n), **changes} for n in numbers]


async def test_rows_are_inserted(db, outside):
    result = await db.bulk_insert("accounts", accounts(*range(100, 3_100)))
    assert result.rows == 3_000
    assert await outside.value("SELECT count(*) FROM accounts WHERE owner LIKE 'bulk %'") == 3_000
    assert await outside.value("SELECT sum(balance) FROM accounts WHERE id >= 100") == sum(
        range(100, 3_100)
    )


async def test_rows_come_from_an_async_generator(db, outside):
    async def rows():
        for one in accounts(*range(100, 25_100)):
            yield one

    seen = []
    result = await db.bulk_insert("accounts", rows(), progress=seen.append)
    assert result.rows == 25_000
    assert await outside.value("SELECT count(*) FROM accounts") == 25_010
    assert seen == sorted(seen)
    assert seen[-1] == 25_000


@pytest.mark.parametrize("rows", [3, 2_000, 12_000])
async def test_all_or_nothing(db, outside, rows):
    bad = accounts(*range(100, 100 + rows), 1)
    with pytest.raises(UniqueViolation):
        await db.bulk_insert("accounts", bad)
    assert await outside.value("SELECT count(*) FROM accounts") == 10


@pytest.mark.parametrize(
    ("column", "value"),
    [("balance", "no number"), ("owner", None), ("id", "x")],
)
async def test_a_bad_value_is_named_and_nothing_is_left(db, outside, column, value):
    rows = accounts(*range(100, 110))
    rows[7][column] = value
    with pytest.raises(AuroraError) as caught:
        await db.bulk_insert("accounts", rows)
    assert column in str(caught.value) + "".join(getattr(caught.value, "__notes__", ()))
    assert "7" in str(caught.value) + "".join(getattr(caught.value, "__notes__", ()))
    assert await outside.value("SELECT count(*) FROM accounts") == 10


async def test_too_long_and_out_of_range_is_never_cut(db, outside):
    rows = accounts(100, 101)
    rows[1]["balance"] = Decimal(10) ** 11
    with pytest.raises(AuroraError):
        await db.bulk_insert("accounts", rows)
    assert await outside.value("SELECT count(*) FROM accounts") == 10


async def test_upsert_inserts_and_changes(db, outside):
    rows = [{"id": n, "owner": f"new {n}", "balance": 7} for n in (1, 2, 50)]
    result = await db.bulk_upsert("accounts", rows, keys=["id"])
    assert result.rows == 3
    assert await outside.rows("SELECT owner, balance FROM accounts WHERE id IN (1, 50)") == [
        ("new 1", 7),
        ("new 50", 7),
    ]
    result = await db.bulk_upsert(
        "accounts", [{"id": n, "owner": f"newer {n}", "balance": 8} for n in (1, 60)],
        keys=["id"], update=[],
    )  # fmt: skip
    assert result.rows == 1
    assert await outside.value("SELECT owner FROM accounts WHERE id = 1") == "new 1"


async def test_upsert_by_another_unique_key(db, outside):
    rows = [{"id": 70, "owner": "x", "balance": 1}, {"id": 71, "owner": "owner 5", "balance": 9}]
    await db.bulk_upsert("accounts", rows, keys=["owner"], update=["balance"])
    assert await outside.value("SELECT balance FROM accounts WHERE id = 5") == 9
    assert await outside.value("SELECT count(*) FROM accounts WHERE id = 71") == 0


async def test_upsert_never_changes_a_row_found_by_another_key(db, outside):
    before = await outside.rows("SELECT id, owner, balance FROM accounts ORDER BY id")
    with pytest.raises(UniqueViolation):
        await db.bulk_upsert(
            "accounts", [{"id": 5, "owner": "owner 6", "balance": 1}], keys=["owner"]
        )
    with pytest.raises(UniqueViolation):
        await db.bulk_upsert(
            "accounts", [{"id": 5, "owner": "somebody", "balance": 1}], keys=["owner"]
        )
    assert await outside.rows("SELECT id, owner, balance FROM accounts ORDER BY id") == before


async def test_upsert_needs_a_unique_key(db):
    with pytest.raises(AuroraError) as caught:
        await db.bulk_upsert("accounts", accounts(1), keys=["balance"])
    assert not caught.value.outcome_unknown


async def test_update_and_delete(db, outside):
    result = await db.bulk_update(
        "accounts", [{"id": n, "balance": n} for n in (1, 2, 99)], keys=["id"]
    )
    assert result.rows == 2
    assert await outside.value("SELECT sum(balance) FROM accounts WHERE id < 3") == 3
    result = await db.bulk_delete("accounts", [{"id": 1}, {"id": 1}, {"id": 99}, {"id": 3}])
    assert result.rows == 2
    assert await outside.value("SELECT count(*) FROM accounts") == 8


async def test_keys_that_are_missing_or_stand_twice_are_named(db, outside):
    twice = [{"id": 1, "balance": 1}, {"id": 2, "balance": 1}, {"id": 1, "balance": 2}]
    with pytest.raises(BulkValueError, match="row 2: a row before it has the same id"):
        await db.bulk_update("accounts", twice, keys=["id"])
    missing = [{"owner": "owner 1", "balance": 1}, {"owner": None, "balance": 1}]
    with pytest.raises(AuroraError, match="row 1"):
        await db.bulk_update("accounts", missing, keys=["owner"])
    assert await outside.value("SELECT sum(balance) FROM accounts") == 1000


@pytest.mark.parametrize("name", ["s", "t", "one", "q", "k", "excluded", "new", "order"])
async def test_tables_of_any_name(db, outside, on_mysql, name):
    quoted = f"`{name}`" if on_mysql else f'"{name}"'
    await outside.execute(f"DROP TABLE IF EXISTS {quoted}")
    await outside.execute(
        f"CREATE TABLE {quoted} (a int, b int, v int NOT NULL, PRIMARY KEY (a, b))"
    )
    rows = [{"a": 1, "b": n, "v": n} for n in range(3)]
    await db.bulk_insert(name, rows)
    rows = [{"a": 1, "b": n, "v": n + 10} for n in (1, 2, 3)]
    assert (await db.bulk_upsert(name, rows, keys=["a", "b"])).rows == 3
    assert (await db.bulk_update(name, [{"a": 1, "b": 0, "v": 7}], keys=["b", "a"])).rows == 1
    assert (await db.bulk_delete(name, [{"a": 1, "b": 2}])).rows == 1
    found = await db.fetch_all(f"SELECT b, v FROM {quoted} ORDER BY b")
    assert found == [(0, 7), (1, 11), (3, 13)]
    await outside.execute(f"DROP TABLE {quoted}")


async def test_zero_is_a_number_like_any_other(db, outside):
    """It is no request for the next one, as MySQL would have it."""
    await outside.execute("INSERT INTO accounts (id, owner) VALUES (0, 'nobody')")
    await db.bulk_insert("notes", [(0, 1, "bulk")], columns=["id", "account_id", "text"])
    assert await outside.rows("SELECT id, text FROM notes") == [(0, "bulk")]
    await db.bulk_upsert("notes", [{"id": 0, "text": "changed"}], keys=["id"], update=["text"])
    assert await outside.rows("SELECT id, text FROM notes") == [(0, "changed")]
    assert (await db.bulk_delete("notes", [{"id": 0}])).rows == 1
    await db.execute("INSERT INTO notes (id, text) VALUES (:id, 'lone')", {"id": 0})
    made = await Repository(db, Note, table="notes").insert(Note(account_id=0, text="next"))
    assert made.id
    assert await outside.value("SELECT text FROM notes WHERE id = 0") == "lone"


async def test_a_null_where_none_may_be_is_named_by_its_row(db, outside):
    with pytest.raises(BulkValueError) as caught:
        await db.bulk_upsert("accounts", [*accounts(1), *accounts(2, id=None)], keys=["id"])
    assert (caught.value.row, caught.value.column) == (1, "id")
    rows = [{"id": 1, "owner": "x"}, {"id": 2, "owner": None}, {"id": 99, "owner": None}]
    for operation in (db.bulk_upsert, db.bulk_update):
        with pytest.raises(BulkValueError) as caught:
            await operation("accounts", rows, keys=["id"])
        assert (caught.value.row, caught.value.column) == (1, "owner")
    # What no row has is changed nowhere.
    assert (await db.bulk_update("accounts", rows[2:], keys=["id"])).rows == 0
    assert await outside.value("SELECT count(*) FROM accounts WHERE owner LIKE 'owner %'") == 10


async def test_in_a_transaction_it_is_part_of_it(db, outside):
    async with db.transaction() as tx:
        await tx.bulk_insert("accounts", accounts(100, 101))
        with pytest.raises(AuroraError):
            await tx.bulk_upsert("accounts", [{"id": 5, "owner": "owner 6"}], keys=["owner"])
        await tx.bulk_upsert("accounts", [{"id": 1, "owner": "changed"}], keys=["id"])
        await tx.bulk_delete("accounts", [{"id": 2}])
        assert await tx.sql.accounts.how_many() == 11
    assert await outside.value("SELECT count(*) FROM accounts") == 11
    assert await outside.value("SELECT owner FROM accounts WHERE id = 1") == "changed"
    with pytest.raises(LookupError):
        async with db.transaction() as tx:
            await tx.bulk_insert("accounts", accounts(102))
            await tx.bulk_delete("accounts", [{"id": 3}])
            raise LookupError
    assert await outside.value("SELECT count(*) FROM accounts") == 11


async def test_batches_one_by_one(db, outside):
    rows = [*accounts(*range(100, 130)), *accounts(1), *accounts(*range(130, 140))]
    with pytest.raises(UniqueViolation) as caught:
        await db.bulk_insert("accounts", rows, batch_size=10, atomic=False)
    assert any("first 3 batch" in note for note in caught.value.__notes__)
    assert await outside.value("SELECT count(*) FROM accounts") == 40


async def test_wrong_arguments(db):
    with pytest.raises(ParameterError):
        await db.bulk_insert("accounts", [(1, "x")])
    with pytest.raises(ParameterError, match="key column"):
        await db.bulk_update("accounts", accounts(1), keys=["nothing"])
    with pytest.raises(AuroraError, match="nowhere"):
        await db.bulk_insert("nowhere", accounts(1))


async def test_a_repository(db):
    people = Repository(db, Account, table="accounts", key="id", version="version")
    made = await people.insert(Account(id=77, owner="Ada", balance=Decimal(5)))
    assert made == Account(id=77, owner="Ada", balance=Decimal(5), version=1)
    changed = await people.update(made.model_copy(update={"owner": "Ada L."}))
    assert (changed.owner, changed.version) == ("Ada L.", 2)
    with pytest.raises(StaleVersion):
        await people.update(made)
    assert [one.id for one in await people.list(order_by=["-id"], limit=2, offset=1)] == [10, 9]
    assert [one.id for one in await people.list(offset=9)] == [10, 77]
    notes = Repository(db, Note, table="notes")
    first = await notes.insert(Note(account_id=77, text="one"))
    assert first.id is not None
    assert await notes.list({"account_id": None}) == []
    async with db.transaction() as tx:
        second = await notes.on(tx).insert(Note(account_id=None, text="two"))
        assert await notes.on(tx).get(second.id) == second
    assert [one.text for one in await notes.list({"account_id": None})] == ["two"]
    with pytest.raises(TransactionAborted):
        async with db.transaction() as tx:
            with pytest.raises(UniqueViolation):
                await people.on(tx).insert(made)
            await notes.on(tx).delete(second.id)
    assert await notes.find(second.id) == second
    assert await notes.delete(first.id)
    assert await people.delete(77, version=2)
    assert await people.find(77) is None


def as_table(rows):
    return pa.Table.from_pylist(rows).to_reader(max_chunksize=700)


@pytest.mark.parametrize("lanes", [1, 3])
async def test_arrow_is_loaded(db, outside, lanes):
    rows = accounts(*range(100, 2_600))
    result = await db.bulk_insert("accounts", as_table(rows), lanes=lanes, batch_size=1_000)
    assert result.rows == 2_500
    assert await outside.rows("SELECT count(*), sum(balance) FROM accounts WHERE id >= 100") == [
        (2_500, sum(row["balance"] for row in rows))
    ]
    assert await outside.value(STAGES) == 0


@pytest.mark.parametrize("atomic", [True, False])
async def test_lanes_keep_all_or_whole_batches(db, outside, atomic):
    rows = [*accounts(*range(100, 1_100)), {"id": 5_000, "owner": "bulk x", "balance": "no number"}]
    with pytest.raises(BulkValueError) as caught:
        await db.bulk_insert("accounts", rows, lanes=3, batch_size=100, atomic=atomic)
    assert caught.value.row == 1_000
    kept = await outside.value("SELECT count(*) FROM accounts WHERE id >= 100")
    assert kept % 100 == 0
    assert kept == 0 or not atomic
    assert await outside.value(STAGES) == 0


async def test_lanes_meet_a_constraint(db, outside):
    rows = accounts(*range(100, 1_000))
    rows[-1]["balance"] = Decimal(-1)
    with pytest.raises(CheckViolation):
        await db.bulk_insert("accounts", rows, lanes=3, batch_size=100)
    assert await outside.value("SELECT count(*) FROM accounts WHERE id >= 100") == 0
    assert await outside.value(STAGES) == 0
