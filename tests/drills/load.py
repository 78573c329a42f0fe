"""What callers do while things break."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

from aurora_sql import AuroraError

LARGE = """
SELECT n, repeat(substr('@ABCDEFGHIJKLMNOPQRSTUVWXY', 1 + n % 26, 1), :size) AS text
FROM numbers WHERE n <= :rows ORDER BY n
"""


def is_entry(answer, number, caller):
    """Whether this is the answer to the run that wrote an entry: itself, or that it is one row."""
    return answer == 1 or (answer.id, answer.caller) == (number, caller)


async def place(tx, number, caller):
    """A unit of work that would show it if it were applied twice, or by half."""
    assert await tx.sql.ledger.count_up(id=1 + number % 8) == 1
    return await tx.sql.ledger.add(id=number, caller=caller)


async def replayed(db, ledger, caller, limit=10.0):
    """A transaction that the library may run again."""
    with ledger.unit(limit) as number:
        assert is_entry(await db.run_in_transaction(place, number, caller), number, caller)


async def plain(db, ledger, caller, limit=10.0):
    """A write that is its own transaction and is never sent twice."""
    with ledger.unit(limit) as number:
        await db.sql.ledger.add(id=number, caller=-1 - caller)


async def read(db, ledger, caller, limit=10.0):
    with ledger.call(limit):
        assert await db.fetch_value("SELECT count(*) FROM counters") == 8


async def read_reader(db, ledger, caller, limit=10.0):
    with ledger.call(limit):
        assert await db.reader.fetch_value("SELECT count(*) FROM counters") == 8


async def stream(db, ledger, caller, limit=10.0):
    with ledger.call(limit):
        rows = [row.n async for row in db.reader.stream(LARGE, {"size": 100, "rows": 300})]
    assert rows == list(range(1, 301))


async def bulk(db, ledger, caller, limit=10.0):
    """One COPY of one entry in a transaction of its own."""
    with ledger.unit(limit) as number:
        await db.bulk_insert("ledger", [(number, -1 - caller)], columns=("id", "caller"))


def tolerant(work, *errors):
    """The same work by a caller who expects such errors; the ledger has noted them."""

    async def tolerated(*args, **options):
        with suppress(*(errors or (AuroraError,))):
            await work(*args, **options)

    return tolerated


@asynccontextmanager
async def under_load(db, ledger, *works, callers=8, limit=10.0):
    """Keep callers at work while the block runs; an error of theirs is one of the block's.

    Args:
        db: The database.
        ledger: Where they write down what they are told.
        works: What they do: the first caller the first, and so on in turn.
        callers: How many there are.
        limit: The deadline of each call in seconds.
    """
    working = True

    async def caller(name, work):
        while working:
            await work(db, ledger, name, limit)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for name in range(callers):
            group.create_task(caller(name, works[name % len(works)]))
        try:
            yield
        finally:
            working = False


def after(seconds, work, *args):
    """A task that does something later."""

    async def later():
        await asyncio.sleep(seconds)
        await work(*args)

    return asyncio.create_task(later())


EVERY_KIND = (replayed, tolerant(plain), read)


async def until(condition, seconds=20.0):
    """Wait for what has to come about."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - looks at plain attributes
            await asyncio.sleep(0.02)
