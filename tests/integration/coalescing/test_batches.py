"""What a batch of reads is to the server, and how its rows reach the callers."""

import asyncio

import pytest

from aurora_sql import RowValidationError
from aurora_sql.execution._group_reads import ReadGroup
from tests.integration.coalescing.models import Picky, Plain

ROWS = (
    "CREATE TABLE t (id int, note text);"
    "INSERT INTO t SELECT n, 'n' || n FROM generate_series(1, 5000) AS n; CREATE INDEX ON t (id); ANALYZE t"
)
PLANS = """
SELECT generic_plans > custom_plans FROM pg_prepared_statements
WHERE statement LIKE 'SELECT aurora_sql_k%' AND generic_plans + custom_plans > 0
"""


async def test_the_connection_that_was_asked_first_keeps_one_plan_too(opened, outside):
    await outside.execute(ROWS)
    text = "-- name: get :one\n-- coalesce: on\nSELECT id, note FROM t WHERE id = :id;"
    async with opened(text, min_pool_size=1, max_pool_size=1) as db:
        # A few at a time: for those the server would rather make a plan of their own, each time.
        for _ in range(12):
            await asyncio.gather(*(db.sql.t.get(id=n) for n in range(1, 9)))
        plans = await db.fetch_all(PLANS)
    assert [tuple(row) for row in plans] == [(True,)]


@pytest.fixture
def one_each(monkeypatch):
    """How often a batch was handed out at once."""
    told = []
    real = ReadGroup._hand_out_one_each

    def note(self, members, rows):
        told.append(real(self, members, rows))
        return told[-1]

    monkeypatch.setattr(ReadGroup, "_hand_out_one_each", note)
    return told


def named(model):
    return f"-- returns: {model.__module__}.{model.__qualname__}\n"


async def ask(call, numbers):
    return await asyncio.gather(*(call(id=n) for n in numbers), return_exceptions=True)


@pytest.mark.parametrize("cardinality", ["one", "maybe", "many", "scalar"])
async def test_with_a_row_each_the_answers_are_those_of_calls_alone(
    opened, outside, one_each, cardinality
):
    await outside.execute(ROWS)
    columns = "note" if cardinality == "scalar" else "id, note"
    text = f"-- name: get :{cardinality}\n{{}}SELECT {columns} FROM t WHERE id = :id;"
    numbers = [*range(1, 41), 5, 5]
    async with opened(text.format("")) as db:
        alone = await ask(db.sql.t.get, numbers)
    async with opened(text.format("-- coalesce: on\n")) as db:
        await db.sql.t.get(id=1)
        assert await ask(db.sql.t.get, numbers) == alone
    assert any(one_each)


@pytest.mark.parametrize("cardinality", ["one", "maybe", "many"])
async def test_as_many_rows_as_callers_may_still_be_of_others(
    opened, outside, one_each, cardinality
):
    """One has none, another has two."""
    await outside.execute(ROWS + "; DELETE FROM t WHERE id = 9; INSERT INTO t VALUES (20, 'again')")
    text = f"-- name: get :{cardinality}\n{{}}SELECT id, note FROM t WHERE id = :id;"
    numbers = range(1, 41)
    async with opened(text.format("")) as db:
        alone = await ask(db.sql.t.get, numbers)
    async with opened(text.format("-- coalesce: on\n")) as db:
        await db.sql.t.get(id=1)
        found = await ask(db.sql.t.get, numbers)
    assert not all(one_each)
    for one, other in zip(alone, found, strict=True):
        assert isinstance(other, Exception) == isinstance(one, Exception)
        assert (type(other) is type(one)) if isinstance(one, Exception) else one == other


async def test_a_row_that_does_not_fit_its_model_fails_its_caller_alone(opened, outside, one_each):
    await outside.execute(ROWS)
    select = "-- coalesce: on\nSELECT id, note FROM t WHERE id = :id;\n"
    text = (
        f"-- name: picky :one\n{named(Picky)}{select}-- name: plain :many\n{named(Plain)}{select}"
    )
    async with opened(text) as db:
        await asyncio.gather(db.sql.t.picky(id=1), db.sql.t.plain(id=1))
        picky = await ask(db.sql.t.picky, range(1, 41))
        plain = await ask(db.sql.t.plain, range(1, 41))
    assert isinstance(picky.pop(6), RowValidationError)
    assert [one.id for one in picky] == [n for n in range(1, 41) if n != 7]
    assert [type(one) for one in picky] == [Picky] * 39
    assert plain == [[Plain(n, f"n{n}")] for n in range(1, 41)]
    assert any(one_each)
    assert not all(one_each)


async def test_an_observed_call_gets_what_it_would_get_unobserved(opened, outside):
    await outside.execute(ROWS)
    text = (
        "-- name: get :one\n-- coalesce: on\n-- cache: 5s\nSELECT id, note FROM t WHERE id = :id;"
    )
    told = []
    async with opened(text, observers=[told.append]) as db:
        await db.sql.t.get(id=1)
        found = await ask(db.sql.t.get, range(2, 42))
        again = await ask(db.sql.t.get, range(2, 42))
    assert [row.id for row in found] == list(range(2, 42))
    assert again == found
