"""No value is ever code, wherever values travel, and each comes back as it went.

All attacks go through all places at once, and afterwards the table has exactly what was sent, and
the rest of the database what it had before.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import uuid
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import BaseModel, create_model

from aurora_sql import Aurora, BulkValueError, ParameterError, ProgrammingError, Repository
from tests.drills.outside import Outside as Administrator

EVIL = "1'); DROP TABLE victims; -- "
TEXTS = [
    EVIL,
    "'; DROP TABLE victims; --",
    "\\'; DROP TABLE victims; #",
    "\\",
    "\\\\'",
    "ends with a backslash\\",
    '" OR ""="',
    "` ; DROP TABLE victims; -- `",
    "' OR '1'='1",
    "''",
    "/*! DROP TABLE victims */",
    "*/ DROP TABLE victims /*",
    "$$; DROP TABLE victims; $$",
    "$1 :v ? %s {0} ${x} @x @@version",
    "NULL",
    "\\N",
    "\\0 \\Z \\b",
    "tab\tline\nreturn\rend",
    "a\tb\n2\t'c",
    '"]},{"$[*]": [null], "',
    "\\u0027; \u2019 \u02bc \uff07",
    # Whose second byte in Shift-JIS, GBK or Big5 is a backslash, or would swallow one.
    "表' OR 1=1 -- ",
    "縗\\' OR 1=1 -- ",
    "\xbf' \xbf\\' 功能'",
    "𝄞' 🐟\\",
    "x" * 300 + "'",
    "\x1a",
    "",
]
WITH_NUL = ["\0'; DROP TABLE victims; -- ", "a\0b"]
"""PostgreSQL has no such text."""
BYTES = [
    *(text.encode() for text in TEXTS),
    bytes(range(256)),
    b"\xbf\x5c'; DROP TABLE victims; -- ",
    b"\x95\x5c' \x81'",
    b"\\x27 0x27 X'27'",
]
SQL = """
-- name: put :exec
INSERT INTO things (id, place, label, raw) VALUES (:id, :place, :label, :raw);

-- name: put_many :batch
INSERT INTO things (id, place, label, raw) VALUES (:id, :place, :label, :raw);

-- name: put_together :exec
-- coalesce: on
INSERT INTO things (id, place, label, raw) VALUES (:id, :place, :label, :raw);

-- name: by_label :many
SELECT id, label FROM things WHERE place = :place AND label = :label ORDER BY id;

-- name: kept :many
-- cache: 1m
SELECT id, label FROM things WHERE place = :place AND label = :label ORDER BY id;

-- name: together :many
-- coalesce: on
SELECT id, label FROM things WHERE place = :place AND label = :label ORDER BY id;

-- name: by_raw :many
-- coalesce: on
SELECT id, raw FROM things WHERE raw = :raw ORDER BY id;

-- name: search :many
SELECT id, label FROM things
WHERE place = :place
  AND label = :label                  -- when :label
  AND raw = :raw                      -- when :raw
ORDER BY id                           -- when :sort = 'oldest'
ORDER BY id DESC                      -- when :sort = 'newest'
;

-- name: by_labels :many
SELECT id, label FROM things WHERE place = :place AND label {in_list} ORDER BY id;

-- name: relabel :affected
UPDATE things SET label = :label WHERE id = :id AND place = :place;

-- name: rid :affected
DELETE FROM things WHERE place = :place AND label = :label;
"""
MODES = {
    "as it is": {},
    "gbk": {
        "sql_mode": "'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'",
        "character_set_server": "gbk",
        "character_set_client": "gbk",
        "character_set_connection": "gbk",
    },
    "sjis": {"sql_mode": "''", "character_set_server": "sjis", "local_infile": "0"},
    "big5": {
        "sql_mode": "'NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'",
        "character_set_server": "big5",
        "local_infile": "0",
    },
}
"""What the server is set to, and with it every session that says nothing else."""
TABLES = "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = {}"


class Sly(str):
    """A text whose methods say something else."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __str__(self):
        return EVIL

    __repr__ = __str__

    def encode(self, *_):
        return EVIL.encode()

    def replace(self, *_):
        return EVIL

    def __contains__(self, _):
        return False

    def __format__(self, _):
        return EVIL


def sly(base, *overridden):
    """A subclass whose forms as text are code."""
    names = ("__str__", "__repr__", "__format__", *overridden)
    return type(f"Sly{base.__name__}", (base,), dict.fromkeys(names, lambda *_: EVIL))


class SlyEnum(str, enum.Enum):  # noqa: UP042 - its text is another one
    ATTACK = EVIL

    def __str__(self):
        return "'; --"


VALUES = {
    "i": [0, -(2**63), 2**63 - 1, True, sly(int)(7), None],
    "f": [0.1, -5e-324, 1.7976931348623157e308, sly(float)(0.5), None],
    "n": [Decimal("1E+3"), Decimal("-0.00001"), sly(Decimal)("2.5"), None],
    "d": [dt.date(1000, 1, 1), sly(dt.date, "isoformat")(2024, 2, 29), None],
    "z": [
        dt.datetime(2024, 2, 29, 1, 2, 3, 4),
        sly(dt.datetime, "isoformat")(2024, 2, 29, 1, 2, 3),
        None,
    ],
    "h": [dt.time(23, 59, 59, 999999), sly(dt.time, "isoformat")(1, 2, 3), None],
    "u": [uuid.UUID(int=2**127 + 39), None],
    "j": [{"'; DROP TABLE victims; --": ["\\'", '"', "\u0027", None, 1.5]}, [Sly("'x")], None],
    "t": [Sly("it's \\ \t plain"), SlyEnum.ATTACK, sly(str)("'"), None],
}
TYPES = {
    "i": ("bigint", "bigint"),
    "f": ("double precision", "double"),
    "n": ("numeric(30, 5)", "decimal(30, 5)"),
    "d": ("date", "date"),
    "z": ("timestamp(6)", "datetime(6)"),
    "h": ("time(6)", "time(6)"),
    "u": ("uuid", "binary(16)"),
    "j": ("jsonb", "json"),
    "t": ("text", "text"),
}


class Thing(BaseModel):
    id: int
    place: str
    label: str
    raw: bytes | None = None


def plain(value, *, on_mysql):
    """What a value is once its class is forgotten, as the server gives it back."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, dt.datetime):
        return dt.datetime.combine(dt.date(*value.timetuple()[:3]), plain_time(value))
    if isinstance(value, dt.time) and on_mysql:
        time = plain_time(value)
        return dt.datetime.combine(dt.date.min, time) - dt.datetime.combine(dt.date.min, dt.time())
    if isinstance(value, uuid.UUID) and on_mysql:
        return value.bytes
    return value


def plain_time(value):
    return dt.time(value.hour, value.minute, value.second, value.microsecond)


@pytest.fixture
async def administrator(cluster, on_mysql):
    """Sets global variables and sets them back."""
    if not on_mysql:
        yield None
        return
    session = await Administrator.open(cluster)
    before = {}
    for name in sorted({name for mode in MODES.values() for name in mode}):
        before[name] = await session.fetchval(f"SELECT @@GLOBAL.{name}")

    async def change(mode):
        for name, value in mode.items():
            await session.execute(f"SET GLOBAL {name} = {value}")

    yield change
    for name, value in before.items():
        quoted = value if isinstance(value, int) else f"'{value}'"
        await session.execute(f"SET GLOBAL {name} = {quoted}")
    await session.close()


@pytest.fixture
async def attacked(outside, settings, tmp_path, on_mysql, at_rest, request, administrator):
    """A database that must be the same afterwards, and a table to write to."""
    mode = MODES[getattr(request, "param", "as it is")]
    if mode and not on_mysql:
        pytest.skip("PostgreSQL has no such modes")
    if mode:
        await administrator(mode)
    utf8 = " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" if on_mysql else ""
    raw = "varbinary(400)" if on_mysql else "bytea"
    columns = "id int, place varchar(20), label varchar(400) NOT NULL DEFAULT ''"
    for sql in (
        "DROP TABLE IF EXISTS things",
        "DROP TABLE IF EXISTS victims",
        "CREATE TABLE victims (v int)",
        "INSERT INTO victims VALUES (1), (2), (4)",
        f"CREATE TABLE things ({columns}, raw {raw}, PRIMARY KEY (place, id)){utf8}",
    ):
        await outside.execute(sql)
    tables = TABLES.format("DATABASE()" if on_mysql else "'public'")
    before = sorted(await outside.rows(tables))
    in_list = "IN (:labels)" if on_mysql else "= ANY(:labels)"
    (tmp_path / "t.sql").write_text(SQL.replace("{in_list}", in_list))
    async with Aurora(settings, sql=tmp_path) as db:
        if "sql_mode" in mode:  # it has come about
            found = await db.fetch_value("SELECT @@sql_mode")
            assert set(mode["sql_mode"].strip("'").split(",")) <= {*found.split(","), ""}
            assert await db.fetch_value("SELECT @@local_infile") == int("local_infile" not in mode)
        yield db
        await at_rest(db)
    assert sorted(await outside.rows(tables)) == before
    assert await outside.rows("SELECT v FROM victims ORDER BY v") == [(1,), (2,), (4,)]


every_mode = pytest.mark.parametrize("attacked", MODES, indirect=True)


@pytest.fixture
def rows(on_mysql):
    """A row for each attack."""
    texts = TEXTS + WITH_NUL if on_mysql else TEXTS
    return [
        {"id": number, "label": text, "raw": BYTES[number % len(BYTES)]}
        for number, text in enumerate(texts)
    ]


async def one_by_one(db, rows):
    for row in rows:
        await db.sql.t.put(**row)


async def together(db, rows):
    await db.sql.t.put_together(**rows[0])
    await asyncio.gather(*(db.sql.t.put_together(**row) for row in rows[1:]))


async def many(db, rows):
    await db.sql.t.put_many(rows)


async def ad_hoc(db, rows):
    for row in rows:
        await db.execute(
            "INSERT INTO things (id, place, label, raw) VALUES (:id, :place, :label, :raw)", row
        )


async def bulk(db, rows):
    await db.bulk_insert("things", rows)


async def upsert(db, rows):
    await db.bulk_insert("things", [{**row, "label": "", "raw": b""} for row in rows[::2]])
    await db.bulk_upsert("things", rows, keys=["place", "id"])


async def update(db, rows):
    await db.bulk_insert("things", [{**row, "label": "", "raw": b""} for row in rows])
    await db.bulk_update("things", rows, keys=["id", "place"])


async def relabel(db, rows):
    await db.bulk_insert("things", [{**row, "label": ""} for row in rows])
    async with db.transaction() as tx:
        for row in rows:
            changed = await tx.sql.t.relabel(id=row["id"], place=row["place"], label=row["label"])
            assert changed == 1


async def by_repository(db, rows):
    things = Repository(db, Thing, table="things")
    for row in rows:
        assert await things.insert(row) == Thing(**row)


WAYS = (one_by_one, together, many, ad_hoc, bulk, upsert, update, relabel, by_repository)


@every_mode
async def test_what_is_written_is_what_stands_there(attacked, rows):
    for number, way in enumerate(WAYS, 1):
        mine = [{**row, "id": row["id"] + 1000 * number, "place": way.__name__} for row in rows]
        await way(attacked, mine)
        found = await attacked.fetch_all(
            "SELECT id, label, raw FROM things WHERE id >= :first ORDER BY id",
            {"first": 1000 * number},
        )
        assert found == [(row["id"], row["label"], row["raw"]) for row in mine], way


@every_mode
async def test_what_is_looked_for_is_what_is_found(attacked, rows):
    db, t = attacked, attacked.sql.t
    await bulk(db, [{**row, "place": "here"} for row in rows])
    params = [{"place": "here", "label": row["label"]} for row in rows]

    async def stream(**one):
        async with t.by_label.stream(**one) as found:
            return [row async for row in found]

    async def of_repository(**one):
        things = Repository(db, Thing, table="things")
        return await things.list(one, order_by=["-label"], limit=5, offset=0)

    async def in_list(place, label):
        return await t.by_labels(place=place, labels=[label, "nothing", label])

    asked = [t.by_label, t.together, t.kept, t.kept, t.search, stream, of_repository, in_list]
    for ask in asked:
        await ask(**params[0])  # how others travel is known then
        found = await asyncio.gather(*(ask(**one) for one in params))
        assert [[row.id for row in each] for each in found] == [[row["id"]] for row in rows], ask
        assert [each[0].label for each in found] == [row["label"] for row in rows]
    found = await t.together.each(params)
    assert [[row.id for row in each] for each in found] == [[row["id"]] for row in rows]
    assert len(await t.by_labels(place="here", labels=[row["label"] for row in rows])) == len(rows)
    await t.by_raw(raw=b"")
    found = await asyncio.gather(*(t.by_raw(raw=row["raw"]) for row in rows))
    assert all(row["id"] in [one.id for one in each] for row, each in zip(rows, found, strict=True))
    for row in rows:
        with pytest.raises(ParameterError, match="sort"):
            await t.search(place="here", sort=row["label"])
    deleted = await db.bulk_delete("things", [{"label": row["label"]} for row in rows[:9]])
    assert deleted.rows == 9
    assert sum([await t.rid(**one) for one in params]) == len(rows) - 9


@pytest.mark.parametrize("attacked", ["as it is", "big5"], indirect=True)
async def test_values_of_every_type(attacked, outside, on_mysql):
    """Also of classes that say something else of themselves: by bulk work and by a statement."""
    db = attacked
    await outside.execute("DROP TABLE IF EXISTS typed")
    columns = ", ".join(f"{name} {types[on_mysql]}" for name, types in TYPES.items())
    await outside.execute(f"CREATE TABLE typed (id int PRIMARY KEY, {columns})")
    longest = max(map(len, VALUES.values()))
    rows = [
        {name: values[number % len(values)] for name, values in VALUES.items()}
        for number in range(longest * 3)
    ]
    names = ", ".join(TYPES)
    insert = f"INSERT INTO typed (id, {names}) VALUES (:id, {', '.join(f':{n}' for n in TYPES)})"
    for number, row in enumerate(rows):
        await db.execute(insert, {"id": number, **row})
    await db.bulk_insert("typed", [{"id": 100 + n, **row} for n, row in enumerate(rows)])
    found = await db.fetch_all(f"SELECT {names} FROM typed ORDER BY id")
    expected = [tuple(plain(one, on_mysql=on_mysql) for one in row.values()) for row in rows]
    assert [tuple(row) for row in found] == expected * 2
    await outside.execute("DROP TABLE typed")


NAMES = [
    "things; DROP TABLE victims",
    "things` (id) VALUES (1); DROP TABLE victims; -- ",
    'things"; DROP TABLE victims; -- ',
    '"things`; DROP TABLE victims; -- "',
    '"things""; DROP TABLE victims; -- "',
    "things' OR 1=1",
    "things\\",
]


async def test_names_of_tables_and_columns(attacked):
    for name in NAMES:
        for call in calls_with(attacked, name):
            with pytest.raises((ParameterError, ProgrammingError, BulkValueError)):
                await call()
    assert await attacked.fetch_value("SELECT count(*) FROM things") == 0


def calls_with(db, name):
    """Everything that takes a name that it does not know."""
    row = {"id": 1, "place": "x", "label": "y"}
    model = create_model("Odd", **{"id": (int, ...), name: (str, "x")})
    things = Repository(db, Thing, table="things")
    odd = Repository(db, model, table="things")
    return (
        lambda: db.bulk_insert(name, [row]),
        lambda: db.bulk_upsert(name, [row], keys=["id"]),
        lambda: db.bulk_update(name, [row], keys=["id"]),
        lambda: db.bulk_delete(name, [{"id": 1}]),
        lambda: db.bulk_insert("things", [{**row, name: "x"}]),
        lambda: db.bulk_upsert("things", [{**row, name: 1}], keys=["id", name]),
        lambda: db.bulk_upsert("things", [{**row, name: 1}], keys=["id"], update=[name]),
        lambda: db.bulk_update("things", [{"id": 1, name: 1}], keys=["id"]),
        lambda: db.bulk_delete("things", [{name: 1}]),
        lambda: Repository(db, Thing, table=name).list(),
        lambda: Repository(db, Thing, table=name).insert(row),
        lambda: Repository(db, model, table="things", key=name).find("x"),
        lambda: odd.list({name: "x"}),
        lambda: odd.list(order_by=[f"-{name}"]),
        lambda: odd.insert(model(id=1)),
        lambda: odd.update(model(id=1)),
        lambda: things.list({name: 1}),
        lambda: things.list(order_by=[name]),
        lambda: begin(db, name),
        lambda: in_session(db, name),
    )


async def begin(db, isolation):
    async with db.transaction(isolation=isolation) as tx:
        await tx.fetch_value("SELECT 1")


async def in_session(db, token):
    async with db.session(token=token) as session:
        await session.fetch_value("SELECT 1")


async def test_tables_and_columns_of_odd_names_are_what_they_are_called(
    attacked, outside, on_mysql
):
    name = "o`d\"d '; DROP TABLE victims; -- %s"
    mark = "`" if on_mysql else '"'
    quoted = mark + name.replace(mark, 2 * mark) + mark
    await outside.execute(f"DROP TABLE IF EXISTS {quoted}")
    await outside.execute(f"CREATE TABLE {quoted} (id int PRIMARY KEY, {quoted} varchar(20))")
    table = '"' + name.replace('"', '""') + '"'
    await attacked.bulk_insert(table, [{"id": 1, name: "a"}, {"id": 2, name: "b"}])
    await attacked.bulk_upsert(table, [{"id": 2, name: "c"}, {"id": 3, name: "d"}], keys=["id"])
    await attacked.bulk_update(table, [{"id": 1, name: "e"}], keys=["id"])
    await attacked.bulk_delete(table, [{name: "d"}])
    model = create_model("Odd", **{"id": (int, ...), name: (str, "x")})
    odd = Repository(attacked, model, table=table)
    assert await odd.insert(model(**{"id": 9, name: "z"})) == model(**{"id": 9, name: "z"})
    assert [one.id for one in await odd.list({name: "c"})] == [2]
    assert [one.id for one in await odd.list(order_by=[f"-{name}"])] == [9, 1, 2]
    assert await odd.update(model(**{"id": 9, name: "y"})) == model(**{"id": 9, name: "y"})
    assert await odd.delete(9)
    rows = await outside.rows(f"SELECT * FROM {quoted} ORDER BY id")
    assert rows == [(1, "e"), (2, "c")]
    await outside.execute(f"DROP TABLE {quoted}")


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80)
code_like = st.lists(
    st.sampled_from(["'", '"', "`", "\\", ";", "--", "/*", "*/", "#", "\t", "\n", "\\N", "?", ":v", "表", "縗"])
).map("".join)  # fmt: skip


@every_mode
@given(
    drawn=st.lists(st.tuples(texts | code_like, st.none() | st.binary(max_size=80)), max_size=40)
)
@examples(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_texts_and_bytes_of_any_kind(attacked, drawn):
    db, t = attacked, attacked.sql.t
    rows = [{"id": n, "label": text, "raw": raw} for n, (text, raw) in enumerate(drawn)]
    ways = (together, many, bulk, upsert) if rows else ()
    for way in ways:
        await way(db, [{**row, "place": way.__name__} for row in rows])
    found = await db.fetch_all("SELECT place, id, label, raw FROM things ORDER BY id")
    for way in ways:
        mine = [tuple(row)[1:] for row in found if row.place == way.__name__]
        assert mine == [(row["id"], row["label"], row["raw"]) for row in rows]
    asked = [{"place": "bulk", "label": row["label"]} for row in rows]
    for one, each in zip(rows, await t.together.each(asked), strict=True):
        assert one["id"] in [row.id for row in each]
        assert {row.label.rstrip(" ") for row in each} == {one["label"].rstrip(" ")}
    asked = [{"raw": row["raw"]} for row in rows if row["raw"] is not None]
    for one, each in zip(asked, await t.by_raw.each(asked), strict=True):
        assert {row.raw for row in each} == {one["raw"]}
    await db.execute("DELETE FROM things")
