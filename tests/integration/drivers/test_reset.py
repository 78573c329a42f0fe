"""What a caller can have done to a session, and that reset() undoes it."""

import pytest

from aurora_sql import errors
from aurora_sql.drivers.base import Begin

DIRT = {
    "setting": ("SET work_mem = '7MB'", "SELECT current_setting('work_mem') = '7MB'"),
    "statement_timeout": (
        "SET statement_timeout = 4321",
        "SELECT current_setting('statement_timeout') <> '1min'",
    ),
    "own_setting": (
        "SET my.tenant = '5'",
        "SELECT coalesce(current_setting('my.tenant', true), '') <> ''",
    ),
    "set_config": (
        "SELECT set_config('search_path', 'nowhere', false)",
        "SELECT current_setting('search_path') = 'nowhere'",
    ),
    "role": ("SET ROLE plain", "SELECT current_user = 'plain'"),
    "session_authorization": ("SET SESSION AUTHORIZATION plain", "SELECT session_user = 'plain'"),
    "characteristics": (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SELECT current_setting('default_transaction_read_only') = 'on'",
    ),
    "temp_table": (
        "CREATE TEMP TABLE dirt (n int)",
        "SELECT to_regclass('pg_temp.dirt') IS NOT NULL",
    ),
    "advisory_lock": (
        "SELECT pg_advisory_lock(7)",
        "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    ),
    "listen": ("LISTEN dirt", "SELECT count(*) > 0 FROM pg_listening_channels()"),
    "cursor": (
        "DECLARE dirt CURSOR WITH HOLD FOR SELECT 1",
        "SELECT count(*) > 0 FROM pg_cursors WHERE name = 'dirt'",
    ),
    "time_zone": (
        "SET TIME ZONE 'Asia/Tokyo'",
        "SELECT current_setting('TimeZone') = 'Asia/Tokyo'",
    ),
}


@pytest.mark.parametrize("kind", DIRT)
async def test_each_kind_of_dirt(connection, value, kind):
    make, seen = DIRT[kind]
    await connection.execute(make)
    assert await value(connection, seen), "the dirt is not seen"
    sent = connection.commands_sent
    await connection.reset()
    assert connection.commands_sent == sent + 1
    assert not await value(connection, seen)


PREPARED = "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"


@pytest.mark.parametrize(
    "make",
    [
        "PREPARE dirt AS SELECT 1",
        'PREPARE dirt AS SELECT 1; PREPARE "Quo""ted; x" (int) AS SELECT $1',
        "DO $$ BEGIN EXECUTE 'PREPARE dirt AS SELECT 1'; END $$",
        "BEGIN; SAVEPOINT s; PREPARE dirt AS SELECT 1",
    ],
)
async def test_statements_prepared_by_sql_go_and_ours_stay(connection, value, make):
    ours = await connection.prepare("SELECT 1 AS one")
    await ours.begin_and_fetch(Begin(), ())
    await connection.commit()
    await connection.execute(make)
    assert await value(connection, PREPARED) > 0
    await connection.reset()
    assert await value(connection, PREPARED) == 0
    with pytest.raises(errors.DatabaseError, match="does not exist"):
        await connection.execute("EXECUTE dirt")
    # By the held BEGIN that the server keeps, too.
    assert [tuple(row) for row in await ours.begin_and_fetch(Begin(), ())] == [(1,)]
    await connection.commit()
    await connection.execute("PREPARE dirt AS SELECT 2")
    await connection.reset()


async def test_all_of_it_at_once_and_inside_a_transaction(connection, value):
    makes = [
        make
        for kind, (make, _) in DIRT.items()
        if kind not in {"role", "session_authorization", "characteristics"}
    ]
    await connection.execute("; ".join(makes))
    await connection.execute(
        "SET SESSION AUTHORIZATION plain; SET ROLE plain; SET default_transaction_read_only = on; BEGIN; SELECT 1"
    )
    await connection.reset()
    assert not connection.in_transaction
    for _, seen in DIRT.values():
        assert not await value(connection, seen)


async def test_a_failed_transaction(connection, value):
    await connection.begin()
    await connection.execute("SET LOCAL work_mem = '7MB'")
    with pytest.raises(errors.DataError):
        await connection.execute("SELECT 1 / 0")
    await connection.reset()
    assert not connection.in_transaction
    assert await value(connection, "SHOW work_mem") == "4MB"


async def test_sequences(connection, value):
    await connection.execute(
        "DROP SEQUENCE IF EXISTS numbers; CREATE SEQUENCE numbers; SELECT nextval('numbers')"
    )
    assert await value(connection, "SELECT lastval()") == 1
    await connection.reset()
    with pytest.raises(errors.DatabaseError, match="not yet defined"):
        await value(connection, "SELECT lastval()")


async def test_what_survives(opened, table):
    connection = await opened(command_timeout=12, server_settings=(("work_mem", "9MB"),))
    statement = await connection.prepare(
        "SELECT current_setting('work_mem') AS w, current_setting('statement_timeout') AS t"
    )
    await connection.copy_in([table], ["id", "name"], [(1, "x")])
    await connection.execute("SET work_mem = '1MB'; SET statement_timeout = 0")
    await connection.reset()
    assert tuple((await statement.fetch(()))[0]) == ("9MB", "12s")
    sent = connection.commands_sent
    assert await connection.copy_in([table], ["id", "name"], [(2, "x")]) == 1
    assert connection.commands_sent == sent + 1


async def test_a_plain_user_can_reset(opened):
    connection = await opened(user="plain")
    await connection.execute("CREATE TEMP TABLE dirt (n int); SET work_mem = '1MB'")
    await connection.reset()
    await connection.reset()


async def test_on_a_standby(opened, standby):
    connection = await opened(standby)
    await connection.execute("SET work_mem = '1MB'; BEGIN; SELECT 1")
    await connection.reset()
    assert not connection.in_transaction
