"""Which instance a statement runs on, and what becomes of it when readers are down."""

import asyncio

import pytest

from aurora_sql import ReadOnlyInstance
from aurora_sql.instrumentation import RetryScheduled


async def test_reads_go_where_their_statement_or_the_caller_says(db, aurora_cluster, settings):
    await aurora_cluster.wait_replayed()
    ids = [one.id for one in aurora_cluster.instances]
    assert await db.sql.accounts.where_am_i() in ids[1:]
    assert await db.writer.sql.accounts.where_am_i() == ids[0]
    assert await db.fetch_value("SELECT aurora_db_instance_identifier()") == ids[0]
    seen = {await db.reader.fetch_value("SELECT aurora_db_instance_identifier()") for _ in range(9)}
    assert seen == set(ids[1:])


async def test_a_write_to_a_reader_fails_at_once_and_says_what_to_do(
    opened, outside, aurora_cluster
):
    await outside.execute(
        "CREATE FUNCTION pay() RETURNS int LANGUAGE sql"
        " AS 'UPDATE accounts SET balance = 0 WHERE id = 1 RETURNING 1'"
    )
    await aurora_cluster.wait_replayed()
    events = []
    async with opened(observers=[events.append]) as db:
        what_to_do = r"this writes, and it was sent to a reader; run it by db or db\.writer"
        with pytest.raises(ReadOnlyInstance, match=what_to_do) as caught:
            await db.reader.sql.accounts.deposit(id=1, amount=1)
        assert caught.value.on_reader
        assert caught.value.retry_safe
        with pytest.raises(ReadOnlyInstance, match=what_to_do):
            async for _ in db.reader.stream("UPDATE accounts SET balance = 0 RETURNING id"):
                pass
        with pytest.raises(ReadOnlyInstance, match=what_to_do):
            await db.reader.fetch_value("SELECT pay()")
        before = sum(one.opened for one in db.pool_stats().values())
        assert await db.sql.accounts.where_am_i()
        assert sum(one.opened for one in db.pool_stats().values()) == before
    assert not [one for one in events if isinstance(one, RetryScheduled)]


@pytest.mark.parametrize("selection", ["round_robin", "random", "least_loaded"])
async def test_every_selection_uses_all_readers(opened, aurora_cluster, selection):
    await aurora_cluster.wait_replayed()
    async with opened(reader_selection=selection) as db:
        seen = {await db.sql.accounts.where_am_i() for _ in range(40)}
        assert len(seen) == 2


async def test_without_readers_the_writer_takes_their_reads(opened, aurora_cluster):
    async with opened(enable_read_replicas=False) as db:
        assert db.topology.readers == ()
        assert await db.sql.accounts.where_am_i() == aurora_cluster.instances[0].id


async def test_a_reader_that_is_down_is_left_out(opened, settings, aurora_cluster):
    good = settings.read_endpoint.split(",")[0]
    async with opened(read_endpoint=f"{good},127.0.0.1:9", connection_timeout=2) as db:
        await asyncio.sleep(0.3)
        seen = {await db.sql.accounts.where_am_i() for _ in range(10)}
        assert seen == {aurora_cluster.instances[1].id}
    async with opened(read_endpoint="127.0.0.1:9", connection_timeout=2) as db:
        await asyncio.sleep(0.3)
        assert await db.sql.accounts.where_am_i() == aurora_cluster.instances[0].id


async def test_health_tells_who_is_well(opened):
    async with opened() as db:
        health = await db.health()
        assert health.ok
        assert health.can_write
        assert len(health.instances) == 3
        assert all(one.latency > 0 and one.server_version[0] >= 13 for one in health.instances)
    async with opened(read_endpoint="127.0.0.1:9", connection_timeout=1) as db:
        health = await db.health(timeout=0.5)
        assert not health.ok
        assert health.can_write
        assert health.can_read
        assert "127.0.0.1:9" in health.instances[1].error


async def test_readers_that_die_and_return(opened, settings, outside):  # noqa: C901 - a proxy and its callers
    """A reader behind a door that is shut and opened again: no read fails."""
    from contextlib import suppress

    host, port = settings.reader_addresses()[0]
    links = set()

    async def pump(reader, writer):
        with suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def handle(reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        links.add(writer)
        links.add(far_writer)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    own = server.sockets[0].getsockname()[1]
    failures = []
    stop = False

    async def read(db):
        while not stop:
            try:
                await db.sql.accounts.on_reader(id=1)
            except Exception as error:  # noqa: BLE001 - none is expected
                failures.append(error)
            await asyncio.sleep(0.001)

    async with opened(read_endpoint=f"127.0.0.1:{own}", connection_timeout=2) as db:
        await asyncio.sleep(0.3)
        callers = [asyncio.create_task(read(db)) for _ in range(6)]
        for _ in range(2):
            await asyncio.sleep(0.3)
            server.close()
            for one in tuple(links):
                one.transport.abort()
            links.clear()
            await asyncio.sleep(0.6)
            server = await asyncio.start_server(handle, "127.0.0.1", own)
        limit = asyncio.get_running_loop().time() + 10

        def stats():
            return db.pool_stats()[f"127.0.0.1:{own}"]

        while stats().size == 0 and asyncio.get_running_loop().time() < limit:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        before = stats().leases
        await asyncio.sleep(0.3)
        assert stats().leases > before
        stop = True
        await asyncio.gather(*callers)
    assert failures == []
    server.close()
    for one in tuple(links):
        one.transport.abort()
    await asyncio.sleep(0.05)
