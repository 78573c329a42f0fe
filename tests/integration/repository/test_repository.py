import asyncio
import dataclasses
import datetime as dt
import enum

import pydantic
import pytest

from aurora_sql import (
    ParameterError,
    Repository,
    RowNotFound,
    StaleVersion,
    UniqueViolation,
    errors,
)


class Mood(enum.Enum):
    SAD = "sad"
    HAPPY = "happy"


class Settings(pydantic.BaseModel):
    theme: str = "dark"
    sizes: list[int] = []


class User(pydantic.BaseModel):
    id: int | None = None
    email: str
    full_name: str | None = None
    mood: Mood | None = None
    settings: Settings | None = None
    version: int = 1
    created_at: dt.datetime | None = None
    shout: str | None = None


@dataclasses.dataclass
class Slim:
    email: str
    full_name: str | None
    id: int | None = None


@pytest.fixture
def users(db):
    return Repository(db, User, table="users", version="version", computed=["shout"])


async def test_a_row_from_insert_to_delete(users):
    made = await users.insert(
        User(email="a@b.c", full_name="Ada", mood=Mood.HAPPY, settings=Settings(sizes=[1]))
    )
    assert made.id is not None
    assert made.created_at is not None  # never set, so that the column's default holds
    assert (made.shout, made.mood, made.settings.sizes) == ("ADA", Mood.HAPPY, [1])
    assert await users.get(made.id) == made == await users.find(made.id)
    changed = await users.update(made.model_copy(update={"full_name": "Grace", "mood": None}))
    assert (changed.full_name, changed.shout, changed.mood, changed.version) == (
        "Grace", "GRACE", None, 2,
    )  # fmt: skip
    assert await users.get(made.id) == changed
    assert await users.delete(made.id)
    assert not await users.delete(made.id)
    assert await users.find(made.id) is None
    with pytest.raises(RowNotFound, match="users: no row with id = "):
        await users.get(made.id)


async def test_insert_of_a_mapping(users):
    made = await users.insert({"email": "a@b.c", "mood": Mood.SAD, "id": 77})
    assert (made.id, made.mood) == (77, Mood.SAD)
    with pytest.raises(UniqueViolation):
        await users.insert({"email": "a@b.c"})
    with pytest.raises(ParameterError, match="no column 'nothing'; there are id, email"):
        await users.insert({"email": "x", "nothing": 1})
    with pytest.raises(ParameterError, match="computes shout"):
        await users.insert({"email": "x", "shout": "X"})
    with pytest.raises(errors.NotNullViolation):
        await users.insert({})


async def test_none_that_was_set_is_null(users, outside):
    await outside.execute("ALTER TABLE users ALTER full_name SET DEFAULT 'nobody'")
    assert (await users.insert(User(email="1"))).full_name == "nobody"
    assert (await users.insert(User(email="2", full_name=None))).full_name is None


async def test_stale_versions(users):
    first = await users.insert(User(email="a"))
    second = await users.update(first)
    with pytest.raises(StaleVersion, match="no longer has version = 1"):
        await users.update(first)
    with pytest.raises(StaleVersion):
        await users.delete(first.id, version=1)
    assert (await users.get(first.id)).version == 2
    assert await users.delete(first.id, version=2)
    with pytest.raises(StaleVersion):
        await users.update(second)


async def test_of_updates_at_once_one_wins(users):
    made = await users.insert(User(email="a"))

    async def change(name):
        return await users.update(made.model_copy(update={"full_name": name}))

    done = await asyncio.gather(*map(change, "abcdef"), return_exceptions=True)
    winners = [one for one in done if isinstance(one, User)]
    assert [one.version for one in winners] == [2]
    assert sum(isinstance(one, StaleVersion) for one in done) == 5
    assert (await users.get(made.id)).full_name == winners[0].full_name


async def test_without_versions_the_last_write_wins(db):
    slim = Repository(db, Slim, table="public.users")
    made = await slim.insert(Slim("a", "x"))
    assert made.id is not None
    await slim.update(dataclasses.replace(made, full_name="y"))
    assert (await slim.update(dataclasses.replace(made, full_name="z"))).full_name == "z"
    with pytest.raises(RowNotFound):
        await slim.update(Slim("a", "x", id=12345))
    with pytest.raises(ParameterError, match="has no version column"):
        await slim.delete(1, version=1)


async def test_list(users):
    for n in range(6):
        await users.insert(
            User(email=f"{n}", full_name="even" if n % 2 == 0 else None, mood=Mood.SAD)
        )

    async def emails(*args, **options):
        return "".join(user.email for user in await users.list(*args, **options))

    assert await emails() == "012345"
    assert await emails(limit=2) == "01"
    assert await emails(limit=2, offset=5) == "5"
    assert await emails(limit=0) == ""
    assert await emails(order_by=["-id"]) == "543210"
    assert await emails({"full_name": "even"}) == "024"
    assert await emails({"full_name": None}) == "135"
    assert await emails({"mood": Mood.SAD, "full_name": None}, order_by=["-email"]) == "531"
    # The key decides between equals.
    assert await emails(order_by=["mood"], limit=3) == "012"
    assert await emails(order_by=["full_name", "-id"]) == "420531"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"where": {"nothing": 1}}, "no column 'nothing'"),
        ({"order_by": ["nothing"]}, "no column 'nothing'"),
        ({"order_by": ["id; DROP TABLE users"]}, "no column"),
        ({"order_by": "email"}, "list of columns"),
        ({"limit": -1}, "0 or more"),
        ({"offset": -1}, "0 or more"),
    ],
)
async def test_lists_that_make_no_sense(users, options, says):
    with pytest.raises(ParameterError, match=says):
        await users.list(**options)


async def test_on_a_transaction(db, users):
    with pytest.raises(StaleVersion):
        async with db.transaction() as tx:
            inside = users.on(tx)
            made = await inside.insert(User(email="a"))
            assert await inside.find(made.id) == made
            assert await users.find(made.id) is None
            await inside.update(made)
            await inside.update(made)
    assert await users.list() == []
    async with db.transaction() as tx:
        made = await users.on(tx).insert(User(email="a"))
    assert await users.get(made.id) == made


async def test_odd_names(db, outside):
    @dataclasses.dataclass
    class Odd:
        Id: int | None
        select: str
        größe: int  # noqa: PLC2401 - a column may be called so, thus a field

    await outside.execute(
        'CREATE SCHEMA "my.schema"; CREATE TABLE "my.schema"."Odd ""table" '
        '("Id" int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "select" text, größe int)'
    )
    odd = Repository(db, Odd, table='"my.schema"."Odd ""table"', key="Id")
    made = await odd.insert(Odd(None, "x", 3))
    assert await odd.update(dataclasses.replace(made, größe=4)) == Odd(1, "x", 4)
    assert await odd.list({"größe": 4, "select": "x"}) == [Odd(1, "x", 4)]
    assert await odd.delete(1)


async def test_only_defaults(db, outside):
    @dataclasses.dataclass
    class Bare:
        id: int | None = None

    await outside.execute("CREATE TABLE bare (id int GENERATED ALWAYS AS IDENTITY)")
    bare = Repository(db, Bare, table="bare")
    assert await bare.insert(Bare()) == Bare(1)
    with pytest.raises(ParameterError, match="no column besides the key"):
        await bare.update(Bare(1))


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        (User, {"key": "nothing"}, "no column 'nothing'"),
        (User, {"version": "nothing"}, "no column 'nothing'"),
        (User, {"computed": ["nothing"]}, "no column 'nothing'"),
        (User, {"computed": "shout"}, "list of names"),
        (User, {"computed": ["id"]}, "cannot be computed"),
        (dict, {}, "neither a pydantic model nor a dataclass"),
    ],
)
def test_repositories_that_make_no_sense(model, options, says):
    with pytest.raises(ParameterError, match=says):
        Repository(None, model, table="users", **options)
