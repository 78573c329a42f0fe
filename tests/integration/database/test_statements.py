"""What statements return, which parameters they take, and what their errors say."""

import traceback
from dataclasses import dataclass
from decimal import Decimal

import pytest
from pydantic import BaseModel

from aurora_sql import (
    ParameterError,
    ProgrammingError,
    RowNotFound,
    RowValidationError,
    StatementFileError,
    TooManyRows,
    UniqueViolation,
)


class Account(BaseModel):
    id: int
    owner: str
    balance: Decimal


@dataclass(frozen=True, slots=True)
class Short:
    id: int
    owner: str


async def test_each_cardinality_keeps_its_promise(db):
    row = await db.sql.accounts.get(id=1)
    assert (row.id, row["owner"], row[2]) == (1, "owner 1", Decimal("100.00"))
    assert await db.sql.accounts.find(id=99) is None
    assert await db.sql.accounts.balance(id=1) == Decimal("100.00")
    assert await db.sql.accounts.balance(id=99) is None
    assert [row.id for row in await db.sql.accounts.all()] == list(range(1, 11))
    assert await db.sql.accounts.add(id=11, owner="new", balance=1) is None
    assert await db.sql.accounts.deposit(id=11, amount=2) == 1
    assert await db.sql.accounts.deposit(id=99, amount=2) == 0
    await db.sql.accounts.add_all([{"id": 12, "owner": "a"}, {"id": 13, "owner": "b"}])
    await db.sql.accounts.maintain()
    assert await db.fetch_value("SELECT count(*) FROM accounts") == 15


async def test_a_broken_promise_is_named_with_its_place(db):
    with pytest.raises(RowNotFound, match=r"accounts\.get \(.*accounts\.sql:1\): no row"):
        await db.sql.accounts.get(id=99)
    with pytest.raises(TooManyRows, match="exactly one"):
        await db.sql.accounts.by_owner_prefix(prefix="owner%")


async def test_a_batch_and_a_script_are_all_or_nothing(db):
    with pytest.raises(UniqueViolation):
        await db.sql.accounts.add_all([{"id": 20, "owner": "x"}, {"id": 1, "owner": "y"}])
    with pytest.raises(UniqueViolation):
        await db.sql.accounts.broken_script()
    assert await db.fetch_value("SELECT count(*) FROM accounts") == 10
    await db.sql.accounts.add_all([])
    with pytest.raises(ParameterError, match="set 1"):
        await db.sql.accounts.add_all([{"id": 20, "owner": "x"}, {"id": 21}])


async def test_ad_hoc_sql_takes_models_and_query_builders(db):
    from pypika import NamedParameter, Query, Table

    accounts = await db.fetch_all(
        "SELECT id, owner, balance FROM accounts WHERE id = ANY(:ids) ORDER BY id",
        {"ids": [2, 1]},
        model=Account,
    )
    assert accounts == [Account(id=n, owner=f"owner {n}", balance=100) for n in (1, 2)]
    table = Table("accounts")
    query = Query.from_(table).select(table.id, table.owner).where(table.id == NamedParameter("id"))
    assert await db.fetch_one(query, {"id": 3}, model=Short) == Short(3, "owner 3")
    assert await db.fetch_maybe("SELECT 1 AS one WHERE false") is None
    assert await db.execute("DELETE FROM accounts WHERE id > :id", {"id": 8}) == 2
    with pytest.raises(ParameterError, match="not int"):
        await db.fetch_all(5)


async def test_a_model_that_does_not_fit_is_an_error_with_the_place(db, tmp_path, opened):
    with pytest.raises(RowValidationError, match="balance"):
        await db.fetch_all("SELECT id, owner FROM accounts", model=Account)
    (tmp_path / "x.sql").write_text("-- name: y :one\n-- returns: no.such.Model\nSELECT 1 AS a")
    async with opened(sql=tmp_path) as other:
        with pytest.raises(StatementFileError, match=r"x\.sql:1: returns: .*no\.such"):
            await other.sql.x.y()


async def test_names_and_documentation_are_at_hand(db):
    assert db.sql.accounts.get.__doc__ == "The account with this id."
    assert "accounts" in dir(db.sql)
    assert "deposit" in dir(db.sql.accounts)
    assert db.sql["accounts.get"].statement.name == "accounts.get"
    with pytest.raises(AttributeError, match=r"did you mean accounts\.deposit\?"):
        db.sql.accounts.depositt
    with pytest.raises(AttributeError, match="there are: accounts"):
        db.sql.nothing_like_it


async def test_wrong_parameters_are_refused_before_anything_is_sent(db):
    for params, message in [
        ({}, "missing parameter 'id'"),
        ({"id": 1, "idd": 2}, "unknown parameter 'idd'"),
        ({"ids": 1}, "did you mean 'id'"),
    ]:
        with pytest.raises(ParameterError, match=message) as raised:
            await db.sql.accounts.get(**params)
        assert raised.value.retry_safe


@pytest.mark.parametrize("params", [5, [1, 2], "id", [("id", 1)]])
async def test_parameters_that_are_no_mapping_are_named(db, params):
    with pytest.raises(ParameterError, match="mapping"):
        await db.fetch_all("SELECT :id::int", params)


async def test_a_value_of_the_wrong_kind_names_its_parameter(db, at_rest):
    with pytest.raises(ParameterError, match=r"accounts\.get .*parameter 'id'"):
        await db.sql.accounts.get(id="one")
    secret = "a private " + "value"  # not in the source line that the traceback shows
    with pytest.raises(ParameterError, match="parameter 'id'") as raised:
        await db.sql.accounts.get(id=secret)
    assert secret not in "".join(traceback.format_exception(raised.value))
    with pytest.raises(ParameterError, match="parameter 'amount'"):
        async with db.transaction() as tx:
            await tx.sql.accounts.deposit(id=1, amount="much")
    await at_rest(db)
    assert (await db.sql.accounts.get(id=1)).id == 1


async def test_errors_say_where_and_keep_their_secrets(opened):
    async with opened() as db:
        with pytest.raises(UniqueViolation) as raised:
            await db.sql.accounts.add(id=1, owner="secret owner", balance=0)
        text = "\n".join([str(raised.value), *raised.value.__notes__])
        assert "accounts.add" in text
        assert "accounts.sql:" in text
        assert "secret owner" not in text
        assert "INSERT" not in text
    async with opened(enable_sensitive_data_logging=True, enable_detailed_errors=True) as db:
        with pytest.raises(UniqueViolation) as raised:
            await db.sql.accounts.add(id=1, owner="secret owner", balance=0)
        text = "\n".join(raised.value.__notes__)
        assert "owner='secret owner'" in text
        assert "INSERT INTO accounts" in text
        assert "Key (id)=(1) already exists" in text


async def test_an_error_of_the_server_points_into_the_file(opened, tmp_path):
    (tmp_path / "x.sql").write_text("-- name: y :many\nSELECT id,\n       nope\nFROM accounts;\n")
    async with opened(sql=tmp_path) as db:
        with pytest.raises(ProgrammingError, match="nope") as raised:
            await db.sql.x.y()
        assert any("x.sql:3:8" in note for note in raised.value.__notes__)


async def test_a_statement_that_was_prepared_and_not_run_holds_no_lock(opened, outside, at_rest):
    async with opened(max_pool_size=1) as db:
        with pytest.raises(ParameterError, match="parameter 'id'"):
            await db.sql.accounts.get(id="not a number")
        with pytest.raises(RowValidationError):
            await db.fetch_all("SELECT id FROM accounts", model=Account)
        await at_rest(db)
        await outside.execute("SET lock_timeout = '2s'")
        await outside.execute("ALTER TABLE accounts ADD COLUMN more int")
