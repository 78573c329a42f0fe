"""Drills 21 and 26: a server that is full, starts, knows another password or has no disk left."""

import asyncio
import time
import traceback
from contextlib import suppress
from dataclasses import replace

import aiomysql
import asyncpg
import pytest

from aurora_sql import AuthenticationFailed, DatabaseError, DeadlineExceeded, TooManyConnections
from aurora_sql.types import Engine
from tests.drills.ledger import QUESTIONS
from tests.drills.load import read, replayed, tolerant, under_load
from tests.drills.outside import SLEEP, USERS

MOST = {
    Engine.POSTGRESQL: "SELECT current_setting('max_connections')",
    Engine.MYSQL: "SELECT @@max_connections",
}


async def test_no_connection_is_left(opened, outside, look, markers, check, ledger, cluster):
    """Who has connections goes on with those; who comes new is told; later all is as before."""
    async with opened(min_pool_size=2) as db:
        most = int(await outside.fetchval(MOST[cluster.engine]))
        taken = []
        try:
            with suppress(asyncpg.TooManyConnectionsError, aiomysql.OperationalError):
                for _ in range(most):
                    taken.append(await connect(cluster))  # noqa: PERF401 - kept on the way
            ledger.faults += 1
            with pytest.raises(TooManyConnections) as raised:
                async with opened():
                    pass
            assert raised.value.retry_safe
            async with under_load(db, ledger, replayed, read, callers=20, limit=20.0):
                await asyncio.sleep(1)
        finally:
            for connection in taken:
                terminate(connection)
        async with asyncio.timeout(10):  # until the server has noticed
            while True:
                with suppress(asyncpg.TooManyConnectionsError, aiomysql.OperationalError):
                    for _ in range(10):
                        terminate(await connect(cluster))
                    break
                await asyncio.sleep(0.05)
        async with under_load(db, ledger, replayed, read, callers=20):
            # After a failure the pool pauses for up to two seconds.
            async with asyncio.timeout(5):
                while sum(one.size for one in db.pool_stats().values()) <= 2:  # noqa: ASYNC110 - polls the pool
                    await asyncio.sleep(0.02)
    await check()


async def connect(cluster):
    """One of many clients that are not the library's."""
    writer = cluster.instances[0]
    user = {"host": writer.host, "port": writer.port, "user": cluster.username}
    if cluster.engine is Engine.MYSQL:
        return await aiomysql.connect(
            **user, password=cluster.password, db="information_schema", connect_timeout=5
        )
    return await asyncpg.connect(
        **user, password=cluster.password, database=cluster.database, ssl=False
    )


def terminate(connection):
    if isinstance(connection, asyncpg.Connection):
        connection.terminate()
    else:
        connection.close()


@pytest.mark.not_on(
    "mysql", "mariadb", because="it opens its port when it has recovered: until then nobody answers"
)
async def test_the_server_is_starting_up(opened, outside, cluster, markers, check, ledger):
    """A crash leaves it much to recover: until then it refuses everybody (57P03)."""
    seen = set()

    async def knock():
        while True:
            try:
                terminate(await connect(cluster))
            except asyncpg.PostgresError as error:
                seen.add(error.sqlstate)
            except OSError:
                pass
            await asyncio.sleep(0.002)

    ledger.most_retries = QUESTIONS
    async with opened() as db, under_load(db, ledger, replayed, read, limit=30.0):
        await outside.execute("CREATE TABLE IF NOT EXISTS much AS SELECT 1 AS n WHERE false")
        await outside.execute("INSERT INTO much SELECT generate_series(1, 500000)")
        knocking = asyncio.create_task(knock())
        try:
            await cluster.kill("writer")
            ledger.faults += 1
            await asyncio.sleep(0.3)
            await cluster.restart("writer")
        finally:
            knocking.cancel()
            with suppress(asyncio.CancelledError):
                await knocking
        await asyncio.sleep(0.5)
    assert "57P03" in seen
    await check()


async def test_the_password_changes(opened, outside, look, markers, check, ledger):
    """Open connections live on; new ones say which user is refused, and never the password."""
    await outside.make_user("shop", "old-secret")
    user = {"username": "shop", "password": "old-secret", "min_pool_size": 1}
    try:
        async with opened(**user, connection_timeout=1.0) as db:
            await replayed(db, ledger, 0)
            await outside.change_password("shop", "new-secret")
            ledger.faults += 1
            for _ in range(5):
                await replayed(db, ledger, 0)
            with pytest.raises(AuthenticationFailed, match="shop") as raised:
                async with opened(**user):
                    pass
            assert "secret" not in "".join(traceback.format_exception(raised.value))
            async with opened(**user | {"password": "new-secret"}) as renewed:
                await replayed(renewed, ledger, 1)
            # Its one connection is gone, and no other can be made until the password is back.
            await replace(outside, sessions=USERS[outside.engine].format("shop")).end_sessions(50)
            await tolerant(replayed)(db, ledger, 0, 2.0)
            await outside.change_password("shop", "old-secret")
            # After a failure the pool pauses for up to two seconds, and says so at once.
            async with asyncio.timeout(5):
                before = ledger.acknowledgements
                while ledger.acknowledgements == before:
                    await tolerant(replayed, AuthenticationFailed)(db, ledger, 0)
                    await asyncio.sleep(0.02)
        await check()
    finally:
        await outside.drop_user("shop")


async def test_the_wall_clock_steps(opened, outside, markers, check, rng, ledger, monkeypatch):
    """Deadlines, pauses and the ages of connections go by the clock that does not."""
    clock, steps = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: clock() + steps[-1])
    async with opened() as db:
        async with under_load(db, ledger, replayed, read):
            for _ in range(10):
                await asyncio.sleep(0.05)
                steps.append(rng.uniform(-86_400, 86_400))
                ledger.faults += 1
        with pytest.raises(DeadlineExceeded), ledger.call(0.2):
            await db.execute(SLEEP[outside.engine].format(5))
        assert db.pool_stats().popitem()[1].closed <= 1
    await check()


FILL = {
    Engine.POSTGRESQL: (
        "CREATE OR REPLACE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.id % 3 = 0 THEN RAISE SQLSTATE '53100' USING MESSAGE = 'could not extend file';"
        " END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER fill BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION fill()"
    ),
    Engine.MYSQL: (
        "CREATE TRIGGER fill BEFORE INSERT ON ledger FOR EACH ROW IF NEW.id % 3 = 0 THEN"
        " SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full';"
        " END IF"
    ),
}


async def test_the_disk_is_full(opened, outside, markers, check, ledger):
    """What the server says then is told, once."""
    await outside.execute(FILL[outside.engine])
    ledger.most_retries = 0
    async with opened() as db, under_load(db, ledger, tolerant(replayed)):
        await asyncio.sleep(0.5)
    ledger.faults = len(ledger.read().refused)
    assert ledger.faults
    await check()


@pytest.mark.not_on(
    "mysql", "mariadb", because="it has no limit on the temporary files of a session"
)
async def test_too_many_temporary_files(opened, outside):
    await outside.execute("ALTER DATABASE aurora SET temp_file_limit = '64kB'")
    try:
        async with opened() as limited:
            with pytest.raises(DatabaseError) as raised:
                await limited.fetch_value(
                    "SELECT count(*) FROM (SELECT n, repeat('x', 500) AS t"
                    " FROM generate_series(1, 100000) AS n ORDER BY t, n DESC OFFSET 1) AS s"
                )
            assert raised.value.code == "53400"
            assert await limited.fetch_value("SELECT 1") == 1
    finally:
        await outside.execute("ALTER DATABASE aurora RESET temp_file_limit")
