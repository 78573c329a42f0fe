import dataclasses
import datetime as dt
import decimal
import enum
from collections import namedtuple
from typing import Any, NamedTuple

import pydantic
import pytest

from aurora_sql import BulkValueError, ParameterError, UniqueViolation, errors

NOW = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
COLUMNS = ("id", "name", "amount", "at", "tags", "data", "mood")


class Mood(enum.Enum):
    SAD = "sad"
    HAPPY = "happy"


class Inner(pydantic.BaseModel):
    n: int
    price: decimal.Decimal


class Thing(pydantic.BaseModel):
    id: int
    name: str
    amount: decimal.Decimal | None = None
    at: dt.datetime | None = None
    tags: list[str] | None = None
    data: Any = None
    mood: Mood | None = None


@dataclasses.dataclass(slots=True)
class Slotted:
    id: int
    name: str
    mood: Mood


@dataclasses.dataclass
class Plain:
    id: int
    name: str
    mood: Mood


class Named(NamedTuple):
    name: str
    id: int


@pytest.mark.parametrize("number", [1, 1000, 2500])
async def test_rows_arrive(db, outside, shape, number):
    rows = [
        (n, f"thing {n}", decimal.Decimal("1.50"), NOW, ["a", None], {"n": n}, "sad")
        for n in range(number)
    ]
    result = await db.bulk_insert("things", shape(rows), columns=COLUMNS)
    assert (result.rows, result.batches) == (number, min(number, 1))
    found = await db.fetch_all("SELECT * FROM things ORDER BY id")
    assert [tuple(row) for row in found] == rows


@pytest.mark.parametrize(
    "make",
    [
        lambda n: {"id": n, "name": "x", "mood": Mood.SAD},
        lambda n: Slotted(n, "x", Mood.SAD),
        lambda n: Plain(n, "x", Mood.SAD),
        lambda n: Thing(id=n, name="x", mood=Mood.SAD),
        lambda n: namedtuple("Other", "name mood id")("x", "sad", n),  # noqa: PYI024 - this form too
    ],
    ids=["dict", "slotted", "dataclass", "pydantic", "namedtuple"],
)
async def test_names_come_from_the_rows(db, shape, make):
    kind = type(make(0))
    rows = [make(n) if kind in (dict, Slotted, Plain, Thing) else kind(*make(n)) for n in range(3)]
    result = await db.bulk_insert("things", shape(rows))
    assert result.rows == 3
    found = await db.fetch_all("SELECT id, name, mood FROM things ORDER BY id")
    assert [tuple(row) for row in found] == [(n, "x", "sad") for n in range(3)]


async def test_columns_pick_from_rows_with_names(db):
    await db.bulk_insert("things", [Named("x", 1)], columns=["id", "name"])
    await db.bulk_insert("things", [{"id": 2, "name": "y", "other": 3}], columns=["id", "name"])
    await db.bulk_insert("things", [Thing(id=3, name="z")], columns=["name", "id"])
    found = await db.fetch_all("SELECT id, name FROM things ORDER BY id")
    assert [tuple(row) for row in found] == [(1, "x"), (2, "y"), (3, "z")]


async def test_rows_of_a_query(db, shape):
    await db.bulk_insert("things", [(n, "x") for n in range(3)], columns=["id", "name"])
    rows = await db.fetch_all("SELECT name, id + 10 AS id FROM things ORDER BY id")
    assert (await db.bulk_insert("things", shape(rows))).rows == 3
    copied = db.stream("SELECT id + 20 AS id, name FROM things WHERE id < 10")
    assert (await db.bulk_insert("things", copied)).rows == 3
    other = await db.fetch_all("SELECT 'z' AS name, 77 AS id, 5 AS more")
    with pytest.raises(BulkValueError, match="row 1 has 'more'"):
        await db.bulk_insert("things", shape([rows[0], *other]))


async def test_columns_called_like_methods(db, outside):
    await outside.execute("CREATE TABLE odd (keys int, items int, get int, values int)")
    rows = await db.fetch_all("SELECT 1 AS keys, 2 AS items, 3 AS get, 4 AS values")
    await db.bulk_insert("odd", rows)
    await db.bulk_insert("odd", [{"keys": 5, "items": 6, "get": 7, "values": 8}])
    found = await db.fetch_all("SELECT * FROM odd ORDER BY keys")
    assert [tuple(row) for row in found] == [(1, 2, 3, 4), (5, 6, 7, 8)]


async def test_models_in_json_columns(db):
    inner = Inner(n=1, price=decimal.Decimal("1.5"))
    rows = [
        Thing(id=0, name="x", data=inner),
        Thing(id=1, name="x", data=[inner, {"deep": inner, "mood": Mood.SAD}]),
        Thing(id=2, name="x", data={"a": [1, None]}),
        Thing(id=3, name="x", data="text"),
        Thing(id=4, name="x", data=None),
    ]
    json = {"n": 1, "price": "1.5"}
    expected = [json, [json, {"deep": json, "mood": "sad"}], {"a": [1, None]}, "text", None]
    await db.bulk_insert("things", rows)
    await db.bulk_insert("things", [row.model_copy(update={"id": row.id + 10}) for row in rows])
    await db.bulk_insert(
        "things", [{"id": row.id + 20, "name": "x", "data": row.data} for row in rows]
    )
    found = await db.fetch_all("SELECT data FROM things ORDER BY id")
    assert [row.data for row in found] == expected * 3


async def test_enums_that_are_texts_and_arrays_of_them(db, outside):
    class Text(enum.StrEnum):
        A = "a"

    await outside.execute("CREATE TABLE moods (id int, all_of mood[], days date[], t text)")
    day = dt.date(2024, 1, 2)
    rows = [{"id": 1, "all_of": [Mood.SAD, Mood.HAPPY, None], "days": [day], "t": Text.A}]
    await db.bulk_insert("moods", rows)
    row = await db.fetch_one("SELECT * FROM moods")
    assert tuple(row) == (1, ["sad", "happy", None], [day], "a")


async def test_one_column(db, shape):
    await db.bulk_insert("one", shape([(1,), (2,)]), columns=["n"])
    await db.bulk_insert("one", shape([{"n": 3}, {"n": 4}]))
    assert await db.fetch_value("SELECT sum(n) FROM one") == 10


async def test_nothing_to_insert(db, shape, count):
    result = await db.bulk_insert("things", shape([]))
    assert (result.rows, result.batches, result.round_trips) == (0, 0, 0)
    assert result.rows_per_second == 0


async def test_names_with_all_kinds_of_characters(db, outside):
    await outside.execute(
        'CREATE SCHEMA "my.schema"; CREATE TABLE "my.schema"."Odd ""table" '
        '("Group" int PRIMARY KEY, "a b" text, "c.d" int, "e""f" int, "select" int, ":x" int)'
    )
    names = ["Group", "a b", "c.d", 'e"f', "select", ":x"]
    table = '"my.schema"."Odd ""table"'
    await db.bulk_insert(table, [(1, "x", 2, 3, 4, 5)], columns=names)
    await db.bulk_insert(table, [dict(zip(names, (2, "y", 2, 3, 4, 5), strict=True))])
    await db.bulk_upsert(table, [(2, "z", 2, 3, 4, 5)], columns=names, keys=["Group"])
    await db.bulk_update(table, [{"Group": 1, "c.d": 9}], keys=["Group"])
    await db.bulk_delete(table, [{"c.d": 2, 'e"f': 3}])
    assert [tuple(row) for row in await db.fetch_all(f"SELECT * FROM {table}")] == [
        (1, "x", 9, 3, 4, 5)
    ]


async def test_upper_case_names_are_what_they_say(db, outside):
    await outside.execute('CREATE TABLE "Orders" (n int)')
    assert (await db.bulk_insert("Orders", [(1,)], columns=["n"])).rows == 1
    with pytest.raises(errors.ProgrammingError, match="orders"):
        await db.bulk_insert("orders", [(1,)], columns=["n"])


async def test_identity_and_generated_columns(db, outside):
    await outside.execute(
        "CREATE TABLE made (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int,"
        " twice int GENERATED ALWAYS AS (n * 2) STORED)"
    )
    await db.bulk_insert("made", [(1,), (2,)], columns=["n"])
    await db.bulk_insert("made", [(10, 3)], columns=["id", "n"])
    await db.bulk_upsert("made", [(10, 4), (11, 5)], columns=["id", "n"], keys=["id"])
    found = await db.fetch_all("SELECT id, n, twice FROM made ORDER BY id")
    assert [tuple(row) for row in found] == [(1, 1, 2), (2, 2, 4), (10, 4, 8), (11, 5, 10)]
    with pytest.raises(errors.ProgrammingError, match="twice"):
        await db.bulk_insert("made", [(1, 2)], columns=["n", "twice"])


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1000, 2300])
@pytest.mark.parametrize("batch_size", [None, 700])
async def test_a_bad_value_names_row_and_column(db, shape, count, at, batch_size):
    rows = [(n, "x", None) for n in range(2400)]
    rows[at] = (at, "x", "much")
    with pytest.raises(BulkValueError, match=f"row {at}, column 'amount' .numeric.") as caught:
        await db.bulk_insert(
            "things", shape(rows), columns=["id", "name", "amount"], batch_size=batch_size
        )
    assert (caught.value.row, caught.value.column) == (at, "amount")
    assert caught.value.message.startswith("bulk_insert('things'): row")
    assert await count() == 0


@pytest.mark.parametrize("batch_size", [None, 700])
async def test_a_value_that_the_server_refuses(db, shape, count, batch_size):
    rows = [(n, "x", 1) for n in range(1500)]
    rows[1400] = (1400, "x", 10**9)
    with pytest.raises(BulkValueError, match=r"row 1400.*overflow") as caught:
        await db.bulk_insert(
            "things", shape(rows), columns=["id", "name", "amount"], batch_size=batch_size
        )
    assert (caught.value.row, caught.value.column) == (1400, "amount")
    rows[1400] = (3, "x", 1)
    with pytest.raises(UniqueViolation, match=r"\(row 1400\)"):
        await db.bulk_insert(
            "things", shape(rows), columns=["id", "name", "amount"], batch_size=batch_size
        )
    rows[1400] = (1400, None, 1)
    with pytest.raises(errors.NotNullViolation, match=r"\(row 1400\)") as missing:
        await db.bulk_insert(
            "things", shape(rows), columns=["id", "name", "amount"], batch_size=batch_size
        )
    assert missing.value.column_name == "name"
    assert await count() == 0


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"id": 3}, "row 2 has no value for column 'name'"),
        ({"id": 3, "name": "x", "mood": "sad"}, "row 2 has 'mood', which the first row has not"),
        ({"id": 3, "nam": "x"}, "row 2 has"),
        ((3, "x"), "row 2 is a tuple, unlike the first one, a dict"),
        (Named("x", 3), "row 2 is a Named"),
        ("id", "row 2 is a str"),
        (None, "row 2 is a NoneType"),
    ],
)
async def test_mappings_of_another_form(db, shape, count, thing, bad, says):
    rows = [{"id": 1, "name": "x"}, {"name": "y", "id": 2}, bad]
    with pytest.raises(BulkValueError, match=says) as caught:
        await db.bulk_insert("things", shape(rows))
    assert caught.value.row == 2
    assert await count() == 0


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ((1,), "1 values for 2"),
        ((1, "x", 3), "3 values for 2"),
        ("xy", "is a str"),
        ({0: 1, 1: "x"}, "is a dict"),
        (None, "is a NoneType"),
        (5, "is a int"),
    ],
)
async def test_tuples_of_another_form(db, shape, count, bad, says):
    with pytest.raises(BulkValueError, match=f"bulk_insert.*row 2.*{says}") as caught:
        await db.bulk_insert("things", shape([(1, "x"), [2, "y"], bad]), columns=["id", "name"])
    assert caught.value.row == 2
    assert await count() == 0


async def test_models_of_another_kind(db, shape, count):
    class More(Thing):
        more: int = 1

    assert (
        await db.bulk_insert("things", shape([Thing(id=1, name="x"), More(id=2, name="y")]))
    ).rows == 2
    with pytest.raises(BulkValueError, match="row 1 is a Plain"):
        await db.bulk_insert("things", shape([Thing(id=3, name="x"), Plain(4, "x", Mood.SAD)]))
    half = Thing.model_construct(id=5)
    with pytest.raises(BulkValueError, match="row 1 has no value for column 'name'"):
        await db.bulk_insert("things", shape([Thing(id=4, name="x"), half]))
    assert await count() == 2


@pytest.mark.parametrize(
    "rows", ["ab", b"ab", {"id": 1}, 5, None, Thing(id=1, name="x"), Plain(1, "x", Mood.SAD)]
)
async def test_what_is_no_rows(db, rows):
    with pytest.raises(ParameterError, match="must be an iterable of rows"):
        await db.bulk_insert("things", rows)


@pytest.mark.parametrize("rows", [["ab"], [1], [None], [[1, 2]], [(1, 2)], [object()], [{}]])
async def test_rows_without_names(db, rows, shape):
    with pytest.raises(ParameterError, match="bulk_insert"):
        await db.bulk_insert("things", shape(rows))


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "7"])
async def test_batch_sizes_that_are_none(db, batch_size):
    with pytest.raises(ParameterError, match="batch_size"):
        await db.bulk_insert("things", [(1,)], columns=["id"], batch_size=batch_size)


@pytest.mark.parametrize("table", ["", "a.b.c", "a b", 'a"b', "a.", ".a", None, 5, "a\0b", '"a'])
async def test_tables_that_are_none(db, table):
    with pytest.raises(ParameterError, match="table must be"):
        await db.bulk_insert(table, [(1,)], columns=["id"])


@pytest.mark.parametrize("columns", [[], "id", ["id", "id"], [5], [""], ["a\0"]])
async def test_columns_that_are_none(db, columns):
    with pytest.raises(ParameterError, match="column"):
        await db.bulk_insert("things", [(1,)], columns=columns)


async def test_what_the_server_does_not_know(db, shape, count):
    with pytest.raises(errors.ProgrammingError, match="nowhere"):
        await db.bulk_insert("nowhere", shape([(1,)]), columns=["id"])
    with pytest.raises(errors.ProgrammingError, match="nothing"):
        await db.bulk_insert("things", shape([(1,)]), columns=["nothing"])
    with pytest.raises(errors.ProgrammingError, match="nowhere"):
        await db.bulk_insert("nowhere.things", shape([(1,)]), columns=["id"])
    assert (await db.bulk_insert("public.things", shape([(1, "x")]), columns=["id", "name"])).rows


async def test_a_field_that_the_model_lacks(db):
    with pytest.raises(ParameterError, match="Thing has no field 'nothing'"):
        await db.bulk_insert("things", [Thing(id=1, name="x")], columns=["id", "nothing"])
