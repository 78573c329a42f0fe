import asyncio
import decimal
import random

import pytest

from aurora_sql import BulkValueError, ParameterError, errors

COLUMNS = ("id", "name", "amount")


@pytest.fixture
async def filled(outside):
    await outside.execute(
        "INSERT INTO things (id, name, amount) SELECT n, 'old', n FROM generate_series(0, 9) AS n"
    )


async def contents(db):
    found = await db.fetch_all("SELECT id, name, amount::int AS amount FROM things ORDER BY id")
    return [tuple(row) for row in found]


async def test_upsert_inserts_and_updates(db, filled, shape, thing):
    rows = [thing(n, name="new", amount=100) for n in (12, 3, 0, 11)]
    result = await db.bulk_upsert("things", shape(rows), keys=["id"])
    assert (result.rows, result.batches) == (4, 1)
    found = dict((row[0], row[1:]) for row in await contents(db))  # noqa: C402 - the rest is a tuple
    assert len(found) == 12
    assert {key for key, value in found.items() if value == ("new", 100)} == {0, 3, 11, 12}


async def test_upsert_of_some_columns(db, filled, thing):
    rows = [thing(n, name="new", amount=100) for n in (1, 20)]
    await db.bulk_upsert("things", rows, keys=["id"], update=["amount"])
    assert (1, "old", 100) in await contents(db)
    assert (20, "new", 100) in await contents(db)
    result = await db.bulk_upsert("things", rows, keys=["id"], update=())
    assert result.rows == 0


async def test_update(db, filled, shape):
    rows = [{"name": "new", "id": n} for n in (9, 1, 77)]
    result = await db.bulk_update("things", shape(rows), keys=["id"])
    assert (result.rows, result.batches) == (2, 1)
    assert [row[0] for row in await contents(db) if row[1] == "new"] == [1, 9]
    assert (9, "new", 9) in await contents(db)


async def test_delete(db, filled, shape):
    keys = [{"id": n} for n in (9, 1, 77, 1)]
    assert (await db.bulk_delete("things", shape(keys))).rows == 2
    assert (await db.bulk_delete("things", shape([(2,), (3,)]), columns=["id"])).rows == 2
    assert (await db.bulk_delete("things", [{"id": 4, "name": "other"}])).rows == 0
    assert [row[0] for row in await contents(db)] == [0, 4, 5, 6, 7, 8]


async def test_several_batches(db, filled, thing, shape):
    rows = [thing(n, name="new", amount=1) for n in range(25)]
    result = await db.bulk_upsert("things", shape(rows), keys=["id"], batch_size=10)
    assert (result.rows, result.batches) == (25, 3)
    result = await db.bulk_update("things", shape(rows), keys=["id"], batch_size=7, atomic=False)
    assert (result.rows, result.batches) == (25, 4)
    keys = [{"id": n} for n in range(25)]
    result = await db.bulk_delete("things", shape(keys), batch_size=24)
    assert (result.rows, result.batches) == (25, 2)


async def test_many_rows_are_analyzed_and_moved(db):
    rows = ((n, "x", None) for n in range(12_000))
    assert (await db.bulk_upsert("things", rows, columns=COLUMNS, keys=["id"])).rows == 12_000
    rows = ((n, "y", None) for n in range(12_000))
    assert (await db.bulk_update("things", rows, columns=COLUMNS, keys=["id"])).rows == 12_000
    keys = ((n,) for n in range(12_000))
    assert (await db.bulk_delete("things", keys, columns=["id"])).rows == 12_000


async def test_keys_of_two_columns(db, outside):
    await outside.execute("CREATE TABLE pairs (a int, b text, c int, UNIQUE (a, b))")
    rows = [{"a": 1, "b": "x", "c": 1}, {"a": 1, "b": "y", "c": 2}]
    await db.bulk_upsert("pairs", rows, keys=["a", "b"])
    await db.bulk_upsert("pairs", [{"b": "y", "a": 1, "c": 5}], keys=("a", "b"))
    with pytest.raises(BulkValueError, match="row 2: a row before it has the same a, b"):
        await db.bulk_upsert("pairs", [*rows, rows[1]], keys=["a", "b"])
    with pytest.raises(errors.ProgrammingError, match="no unique or exclusion constraint"):
        await db.bulk_upsert("pairs", rows, keys=["b"])
    assert await db.fetch_value("SELECT sum(c) FROM pairs") == 6


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("method", ["bulk_upsert", "bulk_update"])
async def test_two_rows_with_one_key(db, filled, thing, shape, method, batch_size):
    before = await contents(db)
    rows = [thing(n) for n in range(20)]
    rows[18]["id"] = 17
    with pytest.raises(BulkValueError, match="row 18: a row before it has the same id") as caught:
        await getattr(db, method)("things", shape(rows), keys=["id"], batch_size=batch_size)
    assert (caught.value.row, caught.value.column) == (18, "id")
    assert await contents(db) == before


@pytest.mark.parametrize("method", ["bulk_upsert", "bulk_update", "bulk_delete"])
async def test_a_key_that_is_null(db, filled, thing, shape, method):
    before = await contents(db)
    rows = [thing(n) for n in range(5)] + [thing(None)]
    options = {} if method == "bulk_delete" else {"keys": ["id"]}
    if method == "bulk_delete":
        rows = [{"id": row["id"]} for row in rows]
    with pytest.raises(BulkValueError, match="row 5, column 'id': NULL in a key") as caught:
        await getattr(db, method)("things", shape(rows), **options)
    assert (caught.value.row, caught.value.column) == (5, "id")
    assert await contents(db) == before


@pytest.mark.parametrize("method", ["bulk_upsert", "bulk_update"])
async def test_bad_values_name_row_and_column(db, filled, thing, shape, method):
    before = await contents(db)
    call = getattr(db, method)
    for bad, column in (
        ({"amount": "much"}, "amount"),
        ({"amount": decimal.Decimal(10**7)}, "amount"),
        ({"name": None}, "name"),
    ):
        rows = [thing(n, amount=1) for n in range(9)] + [thing(9, **bad)]
        with pytest.raises(BulkValueError, match=f"{method}.*row 9, column '{column}'") as caught:
            await call("things", shape(rows), keys=["id"], batch_size=6)
        assert (caught.value.row, caught.value.column) == (9, column)
    with pytest.raises(errors.CheckViolation):
        await call("things", shape([thing(1, amount=-1)]), keys=["id"])
    assert await contents(db) == before


@pytest.mark.parametrize(
    ("method", "options", "says"),
    [
        ("bulk_upsert", {"keys": ["nothing"]}, "key column 'nothing' is not among"),
        ("bulk_upsert", {"keys": []}, "at least one"),
        ("bulk_upsert", {"keys": "id"}, "a list of names"),
        ("bulk_upsert", {"keys": ["id", "id"]}, "twice"),
        ("bulk_upsert", {"keys": ["id"], "update": ["nothing"]}, "update names 'nothing'"),
        ("bulk_upsert", {"keys": ["id"], "update": "name"}, "a list of names"),
        ("bulk_update", {"keys": ["id", "name", "amount"]}, "no column besides the keys"),
        ("bulk_update", {"keys": ["id"], "batch_size": 0}, "batch_size"),
    ],
)
async def test_options_that_make_no_sense(db, thing, method, options, says):
    with pytest.raises(ParameterError, match=says):
        await getattr(db, method)("things", [thing(1)], **options)


@pytest.mark.parametrize("method", ["bulk_upsert", "bulk_update", "bulk_delete"])
async def test_nothing_to_do(db, shape, method):
    options = {} if method == "bulk_delete" else {"keys": ["id"]}
    result = await getattr(db, method)("things", shape([]), **options)
    assert (result.rows, result.batches, result.round_trips) == (0, 0, 0)


async def test_a_table_of_the_name_of_the_staging_table(db, outside, filled, thing):
    await outside.execute("CREATE TABLE aurora_sql_stage (id int)")
    await db.bulk_upsert("things", [thing(1, name="new")], keys=["id"])
    async with db.transaction() as tx:
        await tx.execute("CREATE TEMP TABLE aurora_sql_stage (mine int)")
        await tx.bulk_upsert("things", [thing(2, name="new")], keys=["id"])
        await tx.bulk_update("things", [thing(3, name="new")], keys=["id"])
        assert await tx.fetch_value("SELECT count(mine) FROM pg_temp.aurora_sql_stage") == 0
    assert [row[0] for row in await contents(db) if row[1] == "new"] == [1, 2, 3]
    await outside.execute("DROP TABLE aurora_sql_stage")


async def test_upserts_at_once_do_not_deadlock(opened, at_rest):
    picks = random.Random(1)

    async def work(db):
        for _ in range(4):
            rows = [(n, "x", None) for n in picks.sample(range(200), 150)]
            await db.bulk_upsert("things", rows, columns=COLUMNS, keys=["id"])

    # A deadlock would be hidden by another attempt.
    async with opened(enable_retry_on_failure=False) as db, asyncio.timeout(60):
        await asyncio.gather(*(work(db) for _ in range(6)))
        await at_rest(db)


async def test_tables_in_other_schemas_and_types_of_their_own(db, outside):
    await outside.execute(
        "CREATE SCHEMA far; CREATE DOMAIN far.small AS int CHECK (VALUE < 10);"
        "CREATE TABLE far.t (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n far.small, m mood)"
    )
    await db.bulk_insert("far.t", [(1, "sad"), (2, "happy")], columns=["n", "m"])
    rows = [dict(row.items()) for row in await db.fetch_all("SELECT * FROM far.t")]
    await db.bulk_upsert("far.t", [row | {"m": "sad"} for row in rows], keys=["id"])
    assert await db.fetch_value("SELECT count(*) FROM far.t WHERE m = 'sad'") == 2
    with pytest.raises(errors.CheckViolation, match=r"\(row 1\)"):
        await db.bulk_upsert("far.t", [rows[0], rows[1] | {"n": 10}], keys=["id"])
    with pytest.raises(BulkValueError, match="row 0, column 'm'"):
        await db.bulk_insert("far.t", [(1, "angry")], columns=["n", "m"])
