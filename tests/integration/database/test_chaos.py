"""Transfers under sabotage: what is acknowledged is there once, what is not at most once."""

import asyncio
import contextlib
import random

import pytest

from aurora_sql import AuroraError, CommitInDoubt, deadline

ACCOUNTS = 10
CALLERS = 12
SECONDS = 7.0


class Books:
    """What the callers were told."""

    def __init__(self):
        self.acknowledged = set()
        self.in_doubt = set()
        self.refused = set()
        self.notes = {"acknowledged": 0, "touched": 0}
        self.strange = []
        self.late = []


async def transfer(tx, key, source, target, amount):
    await tx.execute("INSERT INTO ledger (key) VALUES (:key)", {"key": key})
    row = await tx.sql.accounts.lock(id=source)
    amount = min(amount, row.balance)
    async with tx.savepoint():
        await tx.sql.accounts.deposit(id=source, amount=-amount)
        await tx.sql.accounts.deposit(id=target, amount=amount)


async def one_transfer(db, rng, books, number):
    source, target = rng.sample(range(1, ACCOUNTS + 1), 2)
    try:
        await db.run_in_transaction(transfer, number, source, target, rng.randint(1, 20))
    except CommitInDoubt:
        books.in_doubt.add(number)
    except asyncio.CancelledError:
        books.in_doubt.add(number)
        raise
    except AuroraError as error:
        (books.in_doubt if error.outcome_unknown else books.refused).add(number)
    else:
        books.acknowledged.add(number)


async def one_note(db, books):
    books.notes["touched"] += 1
    with contextlib.suppress(AuroraError):
        assert await db.execute("INSERT INTO notes DEFAULT VALUES") == 1
        books.notes["acknowledged"] += 1


async def one_read(db, rng):
    with contextlib.suppress(AuroraError):
        if rng.random() < 0.5:
            await db.sql.accounts.on_reader(id=rng.randint(1, ACCOUNTS))
        elif rng.random() < 0.5:
            total = await db.fetch_value("SELECT sum(balance) FROM accounts")
            assert total == 100 * ACCOUNTS
        else:
            rows = [row async for row in db.sql.accounts.all.stream(batch_size=3)]
            assert sum(row.balance for row in rows) == 100 * ACCOUNTS


async def caller(db, seed, books, numbers, until):
    rng = random.Random(seed)
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        limit = rng.choice([0.002, 0.02, 0.2, 2.0])
        started = loop.time()
        try:
            with deadline(limit):
                match rng.randrange(4):
                    case 0 | 1:
                        await one_transfer(db, rng, books, next(numbers))
                    case 2:
                        await one_note(db, books)
                    case _:
                        await one_read(db, rng)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task.uncancel() > 0:
                raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not be
            books.strange.append(error)
        if loop.time() - started > limit + 2.5:
            books.late.append((limit, loop.time() - started))


async def sabotage(rng, outside, cluster, tasks, until):
    loop = asyncio.get_running_loop()
    done = {"kill": 0, "pause": 0, "cancel": 0}
    while loop.time() < until:
        await asyncio.sleep(rng.uniform(0.02, 0.15))
        match rng.randrange(8):
            case 0 | 1 | 2:
                await outside.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
                    " datname = current_database() AND pid <> pg_backend_pid()"
                    f" ORDER BY random() LIMIT {rng.randint(1, 3)}"
                )
                done["kill"] += 1
            case 3:
                await cluster.pause("writer")
                try:
                    await asyncio.sleep(rng.uniform(0.05, 0.4))
                finally:
                    await cluster.resume("writer")
                done["pause"] += 1
            case _:
                for task in rng.sample(tasks, 3):
                    task.cancel()
                    done["cancel"] += 1
    return done


@pytest.mark.parametrize("seed", [20260701])
async def test_money_is_neither_made_nor_lost(
    opened, outside, aurora_cluster, at_rest, sessions, seed
):
    await outside.execute(
        "CREATE TABLE ledger (key bigint PRIMARY KEY); CREATE TABLE notes (id serial PRIMARY KEY)"
    )
    loop = asyncio.get_running_loop()
    complaints = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    before = asyncio.all_tasks()
    rng, books, numbers = random.Random(seed), Books(), iter(range(1_000_000))
    async with opened(max_pool_size=6, connection_timeout=3) as db:
        until = loop.time() + SECONDS
        tasks = [
            asyncio.create_task(caller(db, rng.random(), books, numbers, until))
            for _ in range(CALLERS)
        ]
        done = await sabotage(rng, outside, aurora_cluster, tasks, until)
        await asyncio.gather(*tasks)
        await at_rest(db, 15)
        # It works as if nothing had been.
        await db.run_in_transaction(transfer, 1_000_000, 1, 2, 1)
        assert await db.sql.accounts.balance(id=1) is not None
        await at_rest(db)
    assert asyncio.all_tasks() == before
    assert complaints == []
    assert books.strange == []
    assert books.late == []
    assert min(done.values()) > 0
    assert len(books.acknowledged) > 50, "the saboteur was too good for a test"
    for _ in range(100):
        if await sessions() == 0:
            break
        await asyncio.sleep(0.05)
    assert await sessions() == 0

    assert await outside.fetchval("SELECT sum(balance) FROM accounts") == 100 * ACCOUNTS
    keys = {row["key"] for row in await outside.fetch("SELECT key FROM ledger")} - {1_000_000}
    assert books.acknowledged <= keys
    assert not books.refused & keys
    assert keys <= books.acknowledged | books.in_doubt
    notes = await outside.fetchval("SELECT count(*) FROM notes")
    assert books.notes["acknowledged"] <= notes <= books.notes["touched"]
