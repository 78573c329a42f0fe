"""Every coroutine of the driver, cancelled at every point: usable again, or closed."""

import asyncio
import contextlib

import pytest

from aurora_sql import errors
from aurora_sql.drivers import Begin


async def rows(count, pause=False):
    for n in range(count):
        if pause:
            await asyncio.sleep(0.001)
        yield n, "x" * 20


async def drain(stream):
    async with contextlib.aclosing(stream):
        async for _ in stream:
            await asyncio.sleep(0)


async def streamed(connection):
    await connection.begin()
    statement = await connection.prepare("SELECT generate_series(1, 2000), repeat('x', 100)")
    await drain(statement.stream((), 100))
    await connection.commit()


async def prepared(connection, work):
    statement = await connection.prepare("INSERT INTO victims VALUES ($1, $2)")
    try:
        await work(statement)
    finally:
        if connection.is_settled and not connection.is_closed:
            await statement.close()


WORK = {
    "execute": lambda c: c.execute("SELECT pg_sleep(0.01)"),
    "script": lambda c: c.execute("SELECT 1; SELECT pg_sleep(0.01); SELECT 1"),
    "prepare": lambda c: c.prepare("SELECT $1::victim_kind, $2::victim_pair"),
    "begin": lambda c: c.begin(Begin(timeout=1)),
    "ping": lambda c: c.ping(),
    "reset": lambda c: c.reset(),
    "fetch": lambda c: prepared(c, lambda s: s.fetch((1, "x"))),
    "affected": lambda c: prepared(c, lambda s: s.execute((1, "x"))),
    "execute_many": lambda c: prepared(
        c, lambda s: s.execute_many((n, "x" * 1000) for n in range(3000))
    ),
    "fetch_many": lambda c: prepared(c, lambda s: s.fetch_many([(n, "x") for n in range(100)])),
    "stream": streamed,
    "copy_in": lambda c: c.copy_in(
        ["victims"], ["id", "name"], [(n, "x" * 500) for n in range(5000)]
    ),
    "copy_in_async": lambda c: c.copy_in(["victims"], ["id", "name"], rows(2000)),
    "copy_in_slow": lambda c: c.copy_in(["victims"], ["id", "name"], rows(20, pause=True)),
    "copy_out": lambda c: drain(
        c.copy_out("COPY (SELECT repeat('x', 100) FROM generate_series(1, 20000)) TO STDOUT")
    ),
}


@pytest.fixture
async def victims(connection):
    await connection.execute(
        "DROP TABLE IF EXISTS victims; CREATE TABLE victims (id int, name text);"
        "DROP TYPE IF EXISTS victim_kind, victim_pair; CREATE TYPE victim_kind AS ENUM ('a');"
        "CREATE TYPE victim_pair AS (a int, b victim_kind)"
    )


async def check(connection, opened):
    """The connection is at rest and works, or it is of no use and says so."""
    if not await connection.settle():
        connection.abort()
        assert connection.is_closed
        return await opened()
    assert connection.is_settled
    await connection.rollback()
    statement = await connection.prepare("SELECT 42 AS answer")
    assert [row.answer for row in await statement.fetch(())] == [42]
    assert not connection.in_transaction
    return connection


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("step", ["turns", "time"])
async def test_cancelled_anywhere(opened, connection, victims, other, value, name, step):
    victim = await opened(application_name="victim")
    ends = 0
    for number in range(40):
        task = asyncio.ensure_future(WORK[name](victim))
        if step == "turns":
            for _ in range(number):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(number * 0.0007)
        ends += task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        victim = await check(victim, opened)
        if ends > 2:
            break
    await victim.close()
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'victim'"
    for _ in range(100):
        if await value(other, left) == 0:
            break
        await asyncio.sleep(0.02)
    assert await value(other, left) == 0
    assert len(asyncio.all_tasks()) == 1, "tasks are left"


@pytest.mark.parametrize("name", ["execute", "execute_many", "copy_in", "copy_in_async", "fetch"])
async def test_a_frozen_server_holds_nobody(opened, victims, frozen, server, name):
    # Frozen: the backend and the process that would take the cancel request.
    connection = await opened()
    loop = asyncio.get_running_loop()
    with frozen(connection.backend_id), frozen(server.process.pid):
        task = asyncio.ensure_future(WORK[name](connection))
        await asyncio.sleep(0.1)
        started = loop.time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            # An error of the rows may still be settled, which takes its two seconds.
            await asyncio.wait_for(task, 5)
        assert not connection.is_settled
        assert not await connection.settle(0.3)
        connection.abort()
        assert connection.is_closed
        assert loop.time() - started < 4
    await asyncio.sleep(0.05)
    assert len(asyncio.all_tasks()) == 1


async def test_close_on_a_frozen_server(opened, frozen, server):
    connection = await opened()
    task = asyncio.ensure_future(connection.execute("SELECT pg_sleep(10)"))
    await asyncio.sleep(0.05)
    with frozen(connection.backend_id), frozen(server.process.pid):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(connection.close(), 8)
    assert connection.is_closed


async def test_settle_may_be_cancelled_and_called_again(connection):
    task = asyncio.ensure_future(connection.execute("SELECT pg_sleep(10)"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for turns in range(5):
        settling = asyncio.ensure_future(connection.settle())
        for _ in range(turns):
            await asyncio.sleep(0)
        settling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await settling
    assert await connection.settle()
    await connection.ping()


async def test_nothing_sent_is_told_from_sent(connection):
    sent = connection.commands_sent
    task = asyncio.ensure_future(connection.execute("SELECT 1"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connection.commands_sent == sent
    task = asyncio.ensure_future(connection.execute("SELECT pg_sleep(1)"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connection.commands_sent == sent + 1


async def test_execute_many_loses_its_server_while_the_socket_is_full(
    opened, other, victims, frozen, value
):
    connection = await opened()
    statement = await connection.prepare("INSERT INTO victims VALUES ($1, $2)")
    with frozen(connection.backend_id):
        task = asyncio.ensure_future(statement.execute_many((n, "x" * 5000) for n in range(20000)))
        await asyncio.sleep(0.2)
        await other.execute(f"SELECT pg_terminate_backend({connection.backend_id})")
    with pytest.raises(errors.ConnectionLost) as caught:
        await asyncio.wait_for(task, 10)
    assert caught.value.outcome_unknown


async def test_copy_in_loses_its_server_while_the_socket_is_full(opened, other, victims, frozen):
    connection = await opened()
    await connection.copy_in(["victims"], ["id", "name"], [])
    with frozen(connection.backend_id):
        task = asyncio.ensure_future(
            connection.copy_in(["victims"], ["id", "name"], ((n, "x" * 5000) for n in range(20000)))
        )
        await asyncio.sleep(0.3)
        await other.execute(f"SELECT pg_terminate_backend({connection.backend_id})")
    with pytest.raises(errors.ConnectionLost) as caught:
        await asyncio.wait_for(task, 10)
    assert caught.value.outcome_unknown
    assert task.cancelling() == 0


async def test_execute_many_cancelled_on_its_way_is_rolled_back_and_over(
    connection, victims, value
):
    statement = await connection.prepare("INSERT INTO victims VALUES ($1, $2)")
    task = asyncio.ensure_future(statement.execute_many((n, "x" * 1000) for n in range(1_000_000)))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not connection.is_settled
    assert await connection.settle(5)
    assert await value(connection, "SELECT count(*) FROM victims") == 0
