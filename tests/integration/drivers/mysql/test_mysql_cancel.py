"""Cancelling: the statement is stopped, the connection settles, and no KILL hits another."""

import asyncio

import pytest

from aurora_sql import errors
from aurora_sql.drivers import _mysql_kill


async def cancelled(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def running(other, value, thread):
    return await value(
        other,
        "SELECT count(*) FROM information_schema.processlist WHERE id = ? AND command <> 'Sleep'",
        thread,
    )


async def test_a_cancelled_statement_is_stopped(connection, other, value):
    statement = await connection.prepare("SELECT SLEEP(?)")
    task = asyncio.ensure_future(statement.fetch((30,)))
    await asyncio.sleep(0.1)
    assert await running(other, value, connection.backend_id) == 1
    await cancelled(task)
    assert not connection.is_settled
    assert not connection.is_ready
    with pytest.raises(errors.OperationalError, match="busy"):
        await statement.fetch((0,))
    assert await connection.settle(5)
    assert connection.is_ready
    assert await running(other, value, connection.backend_id) == 0
    assert await value(connection, "SELECT 7") == 7


async def test_cancelled_in_a_transaction(connection, other, table, value):
    await connection.begin()
    await connection.execute("INSERT INTO things (id, name) VALUES (1, 'x')")
    statement = await connection.prepare("SELECT SLEEP(?)")
    task = asyncio.ensure_future(statement.fetch((30,)))
    await asyncio.sleep(0.05)
    await cancelled(task)
    assert await connection.settle(5)
    assert connection.in_transaction
    await connection.commit()
    assert await value(other, "SELECT count(*) FROM things") == 1


async def test_a_script_that_was_left_gives_the_permission_back(connection):
    task = asyncio.ensure_future(connection.execute("DO 1; SELECT SLEEP(30); DO 2"))
    await asyncio.sleep(0.1)
    await cancelled(task)
    assert await connection.settle(5)
    with pytest.raises(errors.ProgrammingError):
        await connection.command("DO 1; DO 2")


async def test_cancelled_at_every_turn(connection, value, other):
    """After 0, 1, 2, … turns of the loop, and at times in between."""
    statement = await connection.prepare(
        "SELECT id FROM (SELECT 1 AS id UNION SELECT 2) q WHERE id = ?"
    )
    for turns in range(40):
        task = asyncio.ensure_future(statement.fetch((1,)))
        for _ in range(turns % 8):
            await asyncio.sleep(0)
        if turns >= 8:
            await asyncio.sleep(turns * 0.00002)
        task.cancel()
        await asyncio.wait([task])
        assert await connection.settle(5)
        # A KILL that came late would hit one of these.
        for n in (1, 2):
            assert [row.id for row in await statement.fetch((n,))] == [n]
    assert connection.is_ready


async def test_a_kill_that_finds_nothing_to_stop_hits_nothing(connection, other, value):
    """The order that settle relies on: a KILL that is answered, a sacrifice, then anything."""
    slow = await connection.prepare("SELECT SLEEP(0.002)")
    hit = 0
    for _ in range(60):
        await other.execute(f"KILL QUERY {connection.backend_id}")
        try:
            await connection.execute("DO 0")
        except errors.QueryCancelled:
            hit += 1
        ((slept,),) = await slow.fetch(())
        assert slept == 0
    assert connection.is_ready


async def test_settling_takes_no_longer_than_asked(connection, other, value, monkeypatch):
    async def nowhere(*_):
        raise errors.ConnectionFailed("no way to the server")

    monkeypatch.setattr(connection._killer, "_open_beside", nowhere)
    task = asyncio.ensure_future(value(connection, "SELECT SLEEP(1)"))
    await asyncio.sleep(0.1)
    await cancelled(task)
    assert not await connection.settle(0.05)
    assert await connection.settle(5)
    assert await value(connection, "SELECT 7") == 7


async def test_another_server_behind_the_address_is_left_alone(connection, value, monkeypatch):
    monkeypatch.setattr(connection._killer, "identity", "somewhere else")
    task = asyncio.ensure_future(value(connection, "SELECT SLEEP(0.4)"))
    await asyncio.sleep(0.05)
    await cancelled(task)
    assert await connection.settle(5)
    assert await value(connection, "SELECT 7") == 7


async def test_commit_goes_on_without_its_caller(connection, other, table, value):
    for number in range(20):
        await connection.begin()
        await connection.execute(f"INSERT INTO things (id, name) VALUES ({number}, 'x')")
        task = asyncio.ensure_future(connection.commit())
        for _ in range(1 + number % 2):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await connection.settle(5)
        assert connection.is_ready
        assert await value(other, "SELECT count(*) FROM things WHERE id = ?", number) == 1


async def test_nobody_tries_to_stop_a_commit(connection, other, table, value, monkeypatch):
    opened = []

    async def count(*_):
        opened.append(1)
        raise errors.ConnectionFailed("not in this test")

    monkeypatch.setattr(connection._killer, "_open_beside", count)
    await connection.begin()
    await connection.execute("INSERT INTO things (id, name) VALUES (1, 'x')")
    await other.execute("FLUSH TABLES WITH READ LOCK")  # which COMMIT waits for
    task = asyncio.ensure_future(connection.commit())
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not await connection.settle(0.2)
    await other.execute("UNLOCK TABLES")
    assert await connection.settle(5)
    assert opened == []
    assert await value(connection, "SELECT count(*) FROM things") == 1


async def test_a_kill_that_comes_too_late_hits_the_sacrifice(connection, other, value, monkeypatch):
    async def late(*_):
        # As if the answer had overtaken the KILL.
        late_kills.append(connection.backend_id)
        await connection.wire.idle()
        await other.execute(f"KILL QUERY {connection.backend_id}")
        return True

    late_kills, seen = [], []
    absorb = _mysql_kill.absorb

    async def absorbed(run):
        seen.append(connection.wire.is_busy)
        await absorb(run)

    monkeypatch.setattr(_mysql_kill.Killer, "kill", late)
    monkeypatch.setattr(_mysql_kill, "absorb", absorbed)
    statement = await connection.prepare("SELECT SLEEP(?)")
    for _ in range(20):
        task = asyncio.ensure_future(statement.fetch((0.02,)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await connection.settle(5)
        assert [tuple(row) for row in await statement.fetch((0.001,))] == [(0,)]
    # None is sent where the answer is there before anybody could send it.
    assert len(late_kills) > 10
    assert seen == [False] * len(late_kills)


async def test_cancelled_while_preparing_leaves_no_statement(connection, value, other):
    async def prepared():
        rows = await other.ask("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'")
        return int(rows[0][1])

    before = await prepared()
    for turns in range(6):
        task = asyncio.ensure_future(connection.prepare("SELECT 1"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            await task.result().close()
        assert await connection.settle(5)
    await connection.ping()
    assert await prepared() == before


async def test_many_sets_left_are_undone(connection, other, table, value):
    insert = await connection.prepare("INSERT INTO things (id, name) VALUES (?, 'x')")
    for pause in (0, 0.002, 0.01, 0.03):
        task = asyncio.ensure_future(insert.execute_many((n,) for n in range(100000)))
        await asyncio.sleep(pause)
        task.cancel()
        await asyncio.wait([task])
        assert await connection.settle(5)
        assert connection.is_ready
        assert await value(other, "SELECT count(*) FROM things") == 0


async def test_a_stream_left_by_a_cancelled_caller(connection, value):
    statement = await connection.prepare(
        "SELECT a.n, SLEEP(0.05) FROM (SELECT 1 n UNION SELECT 2 UNION SELECT 3) a"
    )
    await connection.begin()

    async def read():
        stream = statement.stream((), 1)
        try:
            async for _ in stream:
                pass
        finally:
            await stream.aclose()

    task = asyncio.ensure_future(read())
    await asyncio.sleep(0.06)
    task.cancel()
    await asyncio.wait([task])
    assert await connection.settle(5)
    await connection.rollback()
    assert await value(connection, "SELECT 7") == 7
