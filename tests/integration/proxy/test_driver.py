"""Each fault on one connection of the library's driver to a real server."""

import asyncio
import time

import pytest

from aurora_sql.errors import CommitInDoubt, ConnectionFailed, ConnectionLost, UsageError
from aurora_sql.local import FaultProxy
from aurora_sql.local.faults import (
    Bandwidth,
    BlackHole,
    ByteLimit,
    Close,
    Direction,
    HalfClose,
    Latency,
    Reply,
    Request,
    Reset,
    Slices,
    Unanswered,
)

INSERT = "INSERT INTO marks (n) VALUES ({})"


async def insert(connection, n):
    return await (await connection.prepare("INSERT INTO marks (n) VALUES ($1)")).execute((n,))


async def value(connection, sql, *args):
    statement = await connection.prepare(sql)
    return (await statement.fetch(args))[0][0]


@pytest.fixture
async def connection(opened, outside):
    return await opened()


# --- requests and replies ---------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Reset(), Close(), HalfClose()], ids=repr)
async def test_a_dropped_reply_to_commit(proxy, connection, marks, fault):
    await connection.begin()
    await connection.execute(INSERT.format(1))
    proxy.inject(fault, at=Reply("COMMIT"))
    with pytest.raises(CommitInDoubt):
        await connection.commit()
    assert await marks() == [1]
    assert (proxy.stats.injected, proxy.stats.waiting) == (1, 0)


@pytest.mark.parametrize("fault", [Reset(), Close(), HalfClose()], ids=repr)
async def test_a_dropped_commit(proxy, connection, marks, fault):
    await connection.begin()
    await connection.execute(INSERT.format(1))
    proxy.inject(fault, at=Request("COMMIT"))
    # From here it looks the same: it was written to the socket, and no answer came.
    with pytest.raises(CommitInDoubt):
        await connection.commit()
    if fault != HalfClose():  # which ends the other way alone
        assert await marks() == []
    assert proxy.stats.injected == 1


async def test_replies_are_dropped_by_the_sql_that_was_prepared(proxy, connection, marks):
    statement = await connection.prepare("INSERT INTO marks (n) VALUES ($1)")
    other = await connection.prepare("SELECT count(*) FROM marks")
    proxy.inject(Reset(), at=Reply(r"insert\s+into marks"))
    assert (await other.fetch(()))[0][0] == 0
    with pytest.raises(ConnectionLost) as raised:
        await statement.execute((5,))
    assert raised.value.outcome_unknown
    assert await marks() == [5]


async def test_requests_are_dropped_by_the_sql_that_was_prepared(proxy, connection, marks):
    statement = await connection.prepare("INSERT INTO marks (n) VALUES ($1)")
    proxy.inject(Reset(), at=Request("INSERT"))
    with pytest.raises(ConnectionLost) as raised:
        await statement.execute((5,))
    assert raised.value.outcome_unknown
    assert await marks() == []


async def test_a_dropped_parse_has_sent_nothing_that_counts(proxy, connection):
    proxy.inject(Reset(), at=Request("SELECT 7", message="P"))
    assert await value(connection, "SELECT 6") == 6
    with pytest.raises(ConnectionLost) as raised:
        await connection.prepare("SELECT 7")
    assert raised.value.retry_safe
    assert not raised.value.outcome_unknown


async def test_a_large_answer_is_dropped_as_a_whole(proxy, connection):
    before = proxy.stats
    proxy.inject(Reset(), at=Reply("SELECT repeat"))
    with pytest.raises(ConnectionLost):
        await connection.execute("SELECT repeat('x', 1000000) FROM generate_series(1, 3)")
    after = proxy.stats
    assert after.bytes_to_client == before.bytes_to_client
    assert after.bytes_lost > 3_000_000


async def test_a_moment_comes_as_often_as_was_said(proxy, opened, marks, outside):
    proxy.inject(Reset(), at=Reply("INSERT"), times=2)
    for n in (1, 2):
        with pytest.raises(ConnectionLost):
            await (await opened()).execute(INSERT.format(n))
    await (await opened()).execute(INSERT.format(3))
    assert await marks() == [1, 2, 3]
    assert proxy.stats.injected == 2


async def test_a_moment_is_for_open_or_new_connections(proxy, opened, marks, outside):
    old = await opened()
    proxy.inject(Reset(), at=Request("INSERT"), on="new")
    await old.execute(INSERT.format(1))
    with pytest.raises(ConnectionLost):
        await (await opened()).execute(INSERT.format(2))
    proxy.inject(Reset(), at=Request("INSERT"), on="open")
    await (await opened()).execute(INSERT.format(3))
    with pytest.raises(ConnectionLost):
        await old.execute(INSERT.format(4))
    assert await marks() == [1, 3]


async def test_healing_forgets_what_waits(proxy, connection, marks):
    proxy.inject(Reset(), at=Reply("INSERT"))
    assert proxy.stats.waiting == 1
    proxy.heal()
    assert proxy.stats.waiting == 0
    await connection.execute(INSERT.format(1))
    assert await marks() == [1]


async def test_a_reply_that_goes_into_a_black_hole(proxy, connection, marks):
    await connection.begin()
    await connection.execute(INSERT.format(1))
    proxy.inject(BlackHole(), at=Reply("COMMIT"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await connection.commit()
    assert not connection.is_settled
    assert await marks() == [1]
    # The connection lost bytes, so healing resets it, and the COMMIT that was left is over.
    proxy.heal()
    await connection.settle()
    assert connection.is_closed


async def test_a_reply_that_is_held_arrives_after_healing(proxy, connection, marks):
    await connection.begin()
    await connection.execute(INSERT.format(1))
    proxy.inject(BlackHole(keep=True), at=Reply("COMMIT"))
    committing = asyncio.ensure_future(connection.commit())
    await asyncio.sleep(0.2)
    assert not committing.done()
    assert await marks() == [1]
    proxy.heal()
    await committing
    assert await value(connection, "SELECT 1") == 1


# --- shapes -----------------------------------------------------------------------------------


async def test_latency_is_added_in_its_direction_and_changes_nothing_else(proxy, connection):
    for direction in (*Direction, None):
        proxy.inject(Latency(0.1, jitter=0.01, direction=direction))
        started = time.monotonic()
        assert await value(connection, "SELECT $1::text", "x" * 100_000) == "x" * 100_000
        # Two round trips: to prepare and to run.
        assert time.monotonic() - started > (0.4 if direction is None else 0.2)
        proxy.heal()


async def test_latency_does_not_limit_the_rate(proxy, connection):
    proxy.inject(Latency(0.2, direction=Direction.TO_CLIENT))
    # Some hundred chunks that are on their way at the same time.
    async with asyncio.timeout(10):
        got = await value(connection, "SELECT repeat('x', 10000000)")
    assert len(got) == 10_000_000


async def test_the_rate_is_limited(proxy, connection):
    proxy.inject(Bandwidth(100_000, direction=Direction.TO_CLIENT))
    started = time.monotonic()
    assert len(await value(connection, "SELECT repeat('x', 50000)")) == 50_000
    assert time.monotonic() - started > 0.4


async def test_one_byte_frames_change_nothing(proxy, opened, outside):
    proxy.inject(Slices(1))
    connection = await opened()
    await connection.begin()
    for n in range(20):
        assert await insert(connection, n) == 1
    await connection.commit()
    text = "ä€😀" * 3000
    assert await value(connection, "SELECT $1::text", text) == text
    assert await value(connection, "SELECT count(*) FROM marks") == 20
    assert proxy.stats.bytes_lost == 0


async def test_so_many_bytes_and_no_more(proxy, connection):
    before = proxy.stats.bytes_to_client
    proxy.inject(ByteLimit(12_345, direction=Direction.TO_CLIENT))
    with pytest.raises(ConnectionLost):
        await value(connection, "SELECT repeat('x', 100000)")
    assert proxy.stats.bytes_to_client - before == 12_345


async def test_a_limit_that_is_not_reached(proxy, connection):
    proxy.inject(ByteLimit(100_000))
    assert await value(connection, "SELECT 1") == 1
    assert not connection.is_closed


async def test_a_limit_on_the_way_to_the_server_cuts_a_write(proxy, connection, marks):
    proxy.inject(ByteLimit(10, direction=Direction.TO_SERVER))
    with pytest.raises(ConnectionLost) as raised:
        await connection.execute(INSERT.format(1))
    assert raised.value.outcome_unknown
    assert await marks() == []


# --- ends -------------------------------------------------------------------------------------


async def test_all_sockets_reset_at_once(proxy, opened, outside, eventually):
    connections = [await opened() for _ in range(5)]
    running = [asyncio.ensure_future(c.execute("SELECT pg_sleep(30)")) for c in connections]
    await eventually(lambda: proxy.stats.open == 5)
    proxy.inject(Reset(), on="open")
    assert proxy.stats.open == 0
    for task in running:
        with pytest.raises(ConnectionLost):
            await task
    assert await value(await opened(), "SELECT 1") == 1


async def test_new_connections_are_reset(proxy, opened, connection):
    proxy.inject(Reset(), on="new")
    with pytest.raises(ConnectionFailed):
        await opened()
    assert await value(connection, "SELECT 1") == 1
    proxy.heal()
    assert await value(await opened(), "SELECT 1") == 1


async def test_half_closed_by_the_server_s_side(proxy, connection):
    proxy.inject(HalfClose(Direction.TO_CLIENT))
    with pytest.raises(ConnectionLost):
        await value(connection, "SELECT 1")


async def test_half_closed_by_the_client_s_side(proxy, connection, eventually):
    proxy.inject(HalfClose(Direction.TO_SERVER))
    # The server takes it for a good-bye and closes.
    await eventually(lambda: proxy.stats.open == 0)
    with pytest.raises(ConnectionLost) as raised:
        await value(connection, "SELECT 1")
    assert raised.value.retry_safe


async def test_a_server_that_goes_away_is_passed_on(proxy, connection, outside, eventually):
    await outside.fetchval("SELECT pg_terminate_backend($1)", connection.backend_id)
    await eventually(lambda: connection.is_closed)
    await eventually(lambda: proxy.stats.open == 0)


# --- black holes ------------------------------------------------------------------------------


async def test_open_connections_in_a_black_hole(proxy, connection, marks):
    lost = proxy.stats.bytes_lost
    proxy.inject(BlackHole(), on="open")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await connection.execute(INSERT.format(1))
    assert proxy.stats.bytes_lost > lost
    assert proxy.stats.open >= 1
    proxy.heal()
    assert await marks() == []
    assert not await connection.settle() or connection.is_closed


async def test_what_is_held_goes_on_after_healing(proxy, connection, marks):
    proxy.inject(BlackHole(keep=True), on="open")
    task = asyncio.ensure_future(connection.execute(INSERT.format(1)))
    await asyncio.sleep(0.2)
    assert not task.done()
    assert await marks() == []
    proxy.heal()
    await task
    assert await marks() == [1]
    assert proxy.stats.bytes_lost == 0


async def test_a_black_hole_in_one_direction(proxy, connection, marks):
    proxy.inject(BlackHole(direction=Direction.TO_CLIENT))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await connection.execute(INSERT.format(1))
    assert await marks() == [1]


@pytest.mark.parametrize("fault", [BlackHole(), BlackHole(keep=True)], ids=repr)
async def test_the_end_of_a_connection_vanishes_too(proxy, connection, outside, fault, eventually):
    pid = connection.backend_id
    proxy.inject(fault)
    connection.abort()
    await asyncio.sleep(0.1)
    there = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"
    assert await outside.fetchval(there, pid) == 1
    proxy.heal()
    await eventually(lambda: proxy.stats.open == 0)


@pytest.mark.parametrize("fault", [BlackHole(), BlackHole(keep=True), Unanswered()], ids=repr)
async def test_new_connections_are_not_answered(proxy, opened, connection, fault):
    proxy.inject(fault, on="new")
    with pytest.raises(ConnectionFailed, match="within"):
        await opened(connect_timeout=0.3)
    assert await value(connection, "SELECT 1") == 1
    proxy.heal()
    assert await value(await opened(), "SELECT 1") == 1


@pytest.mark.parametrize("fault", [BlackHole(keep=True), Unanswered()], ids=repr)
async def test_a_held_attempt_to_connect_succeeds_after_healing(proxy, opened, fault):
    proxy.inject(fault, on="new")
    attempt = asyncio.ensure_future(opened())
    await asyncio.sleep(0.3)
    assert not attempt.done()
    proxy.heal()
    assert await value(await attempt, "SELECT 1") == 1


# --- the proxy itself -------------------------------------------------------------------------


async def test_a_blocked_loop_does_not_hold_the_proxy_up(proxy, connection):
    proxy.inject(Latency(0.1, direction=Direction.TO_CLIENT))
    task = asyncio.ensure_future(connection.execute("SELECT 1"))
    await asyncio.sleep(0)
    before = proxy.stats.bytes_to_client
    time.sleep(0.4)  # noqa: ASYNC251 - the blocked loop is what is under test
    assert proxy.stats.bytes_to_client > before
    await task


async def test_counts(proxy, opened, outside):
    assert proxy.stats.accepted == 0
    one = await opened()
    assert (proxy.stats.accepted, proxy.stats.open) == (1, 1)
    sent, got = proxy.stats.bytes_to_server, proxy.stats.bytes_to_client
    # One Query of 5 + 9 bytes out, and more than that back.
    await one.execute("SELECT 1")
    assert proxy.stats.bytes_to_server - sent == 14
    assert proxy.stats.bytes_to_client > got


async def test_a_server_that_refuses(cluster, opened):
    with FaultProxy("127.0.0.1", 1) as nobody:
        with pytest.raises(ConnectionFailed):
            await opened(nobody)
        assert nobody.stats.refused >= 1


async def test_leaving_ends_everything(cluster, opened, outside):
    async with cluster.fault_proxy("writer") as proxy:
        connection = await opened(proxy)
        proxy.inject(BlackHole(), on="all")
    with pytest.raises(ConnectionLost):
        await value(connection, "SELECT 1")
    assert proxy.stats.open == 0
    for use in (lambda: proxy.port, proxy.heal, lambda: proxy.inject(Reset())):
        with pytest.raises(UsageError, match="not running"):
            use()


async def test_it_says_what_it_does(proxy, cluster):
    proxy.inject(Latency(0.5), on="new")
    proxy.inject(Reset(), at=Reply("COMMIT"))
    text = repr(proxy)
    writer = cluster.instances[0]
    assert f"{proxy.host}:{proxy.port} to {writer.host}:{writer.port}, 0 open" in text
    assert "Latency(seconds=0.5" in text
    assert "Reset() at Reply(sql='COMMIT'" in text
    assert cluster.password not in text
