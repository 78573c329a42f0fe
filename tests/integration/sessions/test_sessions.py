"""Sessions: who answers their reads, and what it costs."""

import asyncio
import contextlib
import gc
import os
import signal

import pytest

from aurora_sql import (
    Aurora,
    AuroraError,
    ConnectionLost,
    DeadlineExceeded,
    ParameterError,
    UsageError,
    deadline,
)
from aurora_sql.instrumentation import RetryScheduled
from aurora_sql.local import LocalCluster


async def test_before_it_has_written_a_session_is_like_the_database(db, writer, questions):
    async with db.session() as s:
        assert await s.sql.counters.where_am_i() == writer
        assert await s.sql.counters.on_writer() == writer
    async with db.session() as s:
        assert await s.sql.counters.on_reader() != writer
    assert questions(db) == 0


async def test_after_a_write_any_read_goes_to_a_reader_that_shows_it(db, writer):
    async with db.session() as s:
        for n in range(1, 20):
            assert await s.sql.counters.count_up(id=1) == n
            assert await s.sql.counters.value(id=1) == n
            assert await s.sql.counters.where_am_i() != writer
            assert await s.sql.counters.on_writer() == writer
            assert await s.fetch_value("SELECT value FROM counters WHERE id = 1") == n


async def test_a_session_stays_on_its_reader_without_asking_again(db, questions, writer):
    async with db.session() as s:
        await s.sql.counters.count_up(id=1)
        instances = {await s.sql.counters.where_am_i() for _ in range(50)}
        assert len(instances) == 1
        assert writer not in instances
        assert questions(db) == 1


async def test_what_is_outside_of_sessions_asks_nothing(db, questions):
    await db.sql.counters.count_up(id=1)
    await db.reader.sql.counters.value(id=1)
    await db.sql.counters.on_reader()
    async with db.transaction() as tx:
        await tx.sql.counters.count_up(id=1)
    await db.bulk_update("counters", [{"id": 2, "value": 7}], keys=["id"])
    assert questions(db) == 0
    assert not db._shared.consistency._links


SLOW = "SELECT count(*) FROM counters, generate_series(1, 40000)"
"""Takes a good part of a second, on rows that are being locked again and again."""


@pytest.mark.parametrize("how", ["session", "reader", "stream"])
async def test_a_read_that_meets_a_recovery_conflict_goes_elsewhere(how):
    """All readers replay the same locks and cut every read short: only the writer is left."""
    no_patience = {"max_standby_streaming_delay": "0", "hot_standby_feedback": "off"}
    events, asked = [], []
    async with (
        LocalCluster(readers=2, server_settings=no_patience) as cluster,
        Aurora(cluster.settings().replace({"max_retry_count": 8}), observers=[events.append]) as db,
    ):
        await db.execute("CREATE TABLE counters (id int)")
        await db.execute("INSERT INTO counters SELECT generate_series(1, 100)")

        async def lock():
            while True:
                async with db.transaction() as tx:
                    await tx.execute("TRUNCATE counters")
                    await tx.execute("INSERT INTO counters SELECT generate_series(1, 100)")
                await asyncio.sleep(0.02)

        async with db.session() as session:
            await session.execute("INSERT INTO counters VALUES (0)")
            await cluster.wait_replayed()
            locking = asyncio.create_task(lock())
            try:
                if how == "session":
                    asked.append(await session.fetch_value(SLOW))
                elif how == "reader":
                    asked.append(await db.reader.fetch_value(SLOW))
                else:
                    asked += [row["count"] async for row in db.reader.stream(SLOW)]
            finally:
                locking.cancel()
                await asyncio.wait([locking])
    assert asked == [4000000]
    conflicts = [one for one in events if isinstance(one, RetryScheduled)]
    # Between BEGIN and the statement the session is ended.
    assert {one.error for one in conflicts} <= {"SerializationConflict", "ConnectionLost"}
    assert len(conflicts) >= 2


async def test_leaving_asks_only_after_a_write(db, questions):
    async with db.session() as s:
        await s.sql.counters.on_reader()
        await s.sql.counters.where_am_i()
    assert questions(db) == 0
    async with db.session() as s:
        await s.sql.counters.count_up(id=1)
        await s.sql.counters.count_up(id=1)
    assert questions(db) == 1
    async with db.session() as s:
        await s.sql.counters.count_up(id=1)
        await s.sql.counters.where_am_i()
    assert questions(db) == 2
    with pytest.raises(ZeroDivisionError):
        async with db.session() as s:
            await s.sql.counters.count_up(id=1)
            raise ZeroDivisionError
    assert questions(db) == 2


async def add(tx):
    return await tx.sql.counters.count_up(id=3)


async def in_transaction(s):
    async with s.transaction() as tx:
        await add(tx)


async def replayed(s):
    await s.run_in_transaction(add)


async def in_bulk(s):
    await s.bulk_update("counters", [{"id": 3, "value": 1}], keys=["id"])


async def upserted(s):
    await s.bulk_upsert("counters", [{"id": 3, "value": 1}], keys=["id"])


async def not_atomic(s):
    await s.bulk_update("counters", [{"id": 3, "value": 1}], keys=["id"], atomic=False)


async def executed(s):
    await s.execute("UPDATE counters SET value = 1 WHERE id = 3")


async def streamed(s):
    sql = "UPDATE counters SET value = 1 WHERE id = 3 RETURNING id"
    async with s.stream(sql) as rows:
        assert [row.id async for row in rows] == [3]


WRITES = [in_transaction, replayed, in_bulk, upserted, not_atomic, executed, streamed]


@pytest.mark.parametrize("write", WRITES)
async def test_every_way_to_write_counts(db, readers, writer, stop_replay, write):
    await stop_replay(*readers)
    async with db.session() as s:
        await write(s)
        assert await s.sql.counters.value(id=3) == 1
        assert await s.sql.counters.where_am_i() == writer
        assert "wrote" in repr(s)
    await stop_replay.resume()
    async with db.session(token=s.token) as s:
        assert await s.sql.counters.value(id=3) == 1


async def test_a_transaction_that_only_reads_is_no_write(db, writer, readers, stop_replay):
    async with db.session() as s:
        async with s.transaction(read_only=True) as tx:
            await tx.sql.counters.value(id=1)
        assert "wrote" not in repr(s)
        assert await s.sql.counters.where_am_i() == writer
    # It has shown what the writer has: a reader that is behind would go back.
    await stop_replay(*readers)
    await db.sql.counters.count_up(id=4)
    async with db.session() as s:
        async with s.transaction(read_only=True) as tx:
            assert await tx.sql.counters.value(id=4) == 1
        assert await s.sql.counters.on_reader() == writer


async def test_a_position_from_the_middle_of_a_write_does_not_cover_it(
    db, readers, writer, stop_replay, questions
):
    async with db.session() as s:
        async with s.transaction() as tx:
            await tx.sql.counters.count_up(id=11)
            assert await s.sql.counters.value(id=11) == 0
            assert await s.sql.counters.where_am_i() == writer
            assert questions(db) == 0
            await stop_replay(*readers)
        assert await s.sql.counters.value(id=11) == 1
        assert await s.sql.counters.where_am_i() == writer


async def test_what_an_open_transaction_shows_is_seen(db, readers, writer, stop_replay):
    """Others write between its begin and its read: a position from before does not cover that."""
    async with db.session() as s:
        await s.sql.counters.count_up(id=15)
        async with s.transaction(read_only=True) as tx:
            assert await s.sql.counters.value(id=14) == 0
            await stop_replay(*readers)
            await db.sql.counters.count_up(id=14)
            assert await tx.sql.counters.value(id=14) == 1
            assert await s.sql.counters.value(id=14) == 1
        assert await s.sql.counters.value(id=14) == 1
        assert await s.sql.counters.where_am_i() == writer


async def test_readers_that_stand_still_cost_one_wait(db, readers, writer, stop_replay):
    await stop_replay(*readers)
    loop = asyncio.get_running_loop()
    async with db.session() as s:
        await s.sql.counters.count_up(id=1)
        before = await s.sql.counters.value(id=1)
        started = loop.time()
        for n in range(before + 1, before + 30):
            assert await s.sql.counters.count_up(id=1) == n
            assert await s.sql.counters.value(id=1) == n
            assert await s.sql.counters.where_am_i() == writer
        # Thirty waits would take three seconds.
        assert loop.time() - started < 2
        await stop_replay.resume()
        db._shared.consistency.patience.clear()
        assert await s.sql.counters.where_am_i() != writer
        assert await s.sql.counters.value(id=1) == before + 29


async def test_a_reader_that_is_nearly_there_is_waited_for(db, cluster, readers, writer):
    for reader in readers:
        await cluster.set_lag(reader.id, seconds=0.03)
    try:
        async with db.session() as s:
            for n in range(1, 6):
                assert await s.sql.counters.count_up(id=5) == n
                assert await s.sql.counters.value(id=5) == n
                assert await s.sql.counters.where_am_i() != writer
    finally:
        for reader in readers:
            await cluster.set_lag(reader.id, seconds=0)


async def test_the_wait_never_passes_the_deadline(db, readers, writer, stop_replay, monkeypatch):
    monkeypatch.setattr("aurora_sql.session._sight._WAIT", 30.0)
    await stop_replay(*readers)
    loop = asyncio.get_running_loop()
    async with db.session() as s:
        await s.sql.counters.count_up(id=1)
        started = loop.time()
        with deadline(0.3):
            assert await s.sql.counters.where_am_i() == writer
        assert loop.time() - started < 10


async def test_a_reader_that_changes_hands_shows_no_less(db, cluster, readers, writer, stop_replay):
    """The next reader has replayed what the last one showed, not only what was written."""
    first, second = readers
    await stop_replay(second)
    async with db.session() as s:
        pools = {pool.name: pool for pool in db._shared.cluster.reader_pools}
        s._reading._pool = pools[f"{first.host}:{first.port}"]
        assert await s.sql.counters.on_reader() == first.id
        await db.sql.counters.count_up(id=6)
        await asyncio.sleep(0.2)  # the first reader replays it
        rows = [row async for row in s.stream("SELECT value FROM counters WHERE id = 6")]
        assert rows[0].value >= 1
        s._reading._pool = pools[f"{second.host}:{second.port}"]
        assert await s.sql.counters.on_reader() == writer
        assert await s.sql.counters.value(id=6) >= 1


async def test_a_reader_is_killed_within_a_session(opened, cluster, readers, writer):
    async with opened(connection_timeout=5.0) as db, db.session() as s:
        await s.sql.counters.count_up(id=7)
        reader = await s.sql.counters.where_am_i()
        await cluster.kill(reader)
        try:
            for n in range(2, 12):
                assert await s.sql.counters.value(id=7) == n - 1
                assert await s.sql.counters.where_am_i() != reader
                assert await s.sql.counters.count_up(id=7) == n
        finally:
            await cluster.restart(reader)
        # One that restarted is another server: it may be behind what it has shown before.
        assert await s.sql.counters.value(id=7) == 11


async def test_a_reader_that_crashed_is_another_one(opened, bare, readers):
    """Its main process lives on, and it may show less than it has shown before."""
    reader = readers[0]
    async with opened(read_endpoint=f"{reader.host}:{reader.port}") as db:

        async def met():
            async with db.session() as s:
                where = await s.sql.counters.on_reader()
                return s._sight.seen.by if where == reader.id else None

        before = await met()
        assert before is not None
        victim = await bare(reader)
        os.kill(victim.get_server_pid(), signal.SIGKILL)
        after = None
        async with asyncio.timeout(20):
            while after is None:
                await asyncio.sleep(0.1)
                with contextlib.suppress(AuroraError):
                    after = await met()
        assert after != before


async def test_a_reader_that_is_frozen_does_not_hold_a_session_for_long(
    opened, cluster, readers, writer
):
    async with opened(min_pool_size=2) as db:
        for reader in readers:
            await cluster.pause(reader.id)
        try:
            loop = asyncio.get_running_loop()
            async with db.session() as s:
                assert await s.sql.counters.count_up(id=12) == 1
                started = loop.time()
                assert await s.sql.counters.value(id=12) == 1
                for _ in range(5):
                    assert await s.sql.counters.where_am_i() == writer
                assert loop.time() - started < 5
        finally:
            for reader in readers:
                await cluster.resume(reader.id)


async def test_a_reader_whose_connections_are_all_taken_is_not_waited_for(
    opened, readers, writer, at_rest
):
    reader = readers[0]
    address = f"{reader.host}:{reader.port}"
    async with opened(read_endpoint=address, max_pool_size=2) as db:
        async with db.session() as s:
            await s.sql.counters.count_up(id=16)
            assert await s.sql.counters.where_am_i() == reader.id
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(2):
                    rows = db.reader.stream("SELECT id FROM counters", batch_size=1)
                    await anext(aiter(await stack.enter_async_context(rows)))
                with deadline(2):
                    assert await s.sql.counters.value(id=16) == 1
                    assert await s.sql.counters.where_am_i() == writer
        await at_rest(db)


async def test_callers_without_time_do_not_keep_others_from_waiting(
    opened, cluster, readers, writer
):
    reader = readers[0]
    await cluster.set_lag(reader.id, seconds=0.03)
    try:
        async with opened(read_endpoint=f"{reader.host}:{reader.port}") as db:
            for n in range(1, 6):
                async with db.session() as s:
                    await s.sql.counters.count_up(id=17)
                    with contextlib.suppress(DeadlineExceeded), deadline(0.02):
                        await s.sql.counters.value(id=17)
                async with db.session() as s:
                    assert await s.sql.counters.count_up(id=17) == 2 * n
                    assert await s.sql.counters.value(id=17) == 2 * n
                    assert await s.sql.counters.where_am_i() != writer
    finally:
        await cluster.set_lag(reader.id, seconds=0)


async def test_a_reader_is_waited_for_again_though_it_was_asked_meanwhile(
    db, readers, writer, stop_replay, monkeypatch
):
    monkeypatch.setattr("aurora_sql.session._sight._NO_PATIENCE", 60.0)
    await stop_replay(*readers)
    async with db.session() as s:
        await s.sql.counters.count_up(id=18)
    token = s.token
    for _ in range(2):  # both readers
        async with db.session(token=token) as s:
            assert await s.sql.counters.value(id=18) == 1
    patience = dict(db._shared.consistency.patience)
    assert patience
    for _ in range(10):
        async with db.session(token=token) as s:
            assert await s.sql.counters.value(id=18) == 1
    for pool, until in patience.items():
        assert db._shared.consistency.patience[pool] == until


async def test_a_question_without_an_answer_holds_up_nobody_for_long(opened, cluster):
    from aurora_sql.local.faults import BlackHole, Reply

    async with cluster.fault_proxy("writer") as proxy:
        address = f"{proxy.host}:{proxy.port}"
        async with opened(write_endpoint=address, min_pool_size=2) as db:
            proxy.inject(BlackHole(), at=Reply("SELECT pg_catalog.substr"))

            async def one(number):
                async with db.session() as s:
                    await s.sql.counters.count_up(id=number)
                    with deadline(3):
                        return await s.sql.counters.value(id=number)

            loop = asyncio.get_running_loop()
            started = loop.time()
            assert await asyncio.gather(one(18), one(19)) == [1, 1]
            assert loop.time() - started < 2


async def test_events_name_the_instance_that_answered(opened, writer, cluster):
    events = []
    async with opened([events.append]) as db, db.session() as s:
        await s.sql.counters.count_up(id=1)
        where = await s.sql.counters.where_am_i()
        await s.sql.counters.on_writer()
    places = {one.id: f"{one.host}:{one.port}" for one in cluster.instances}
    assert where != writer
    assert [one.instance for one in events] == [places[writer], places[where], places[writer]]


async def test_one_question_serves_many_sessions(opened, questions):
    async with opened(max_pool_size=20) as db:
        count = 200

        async def one(number):
            async with db.session() as s:
                value = await s.sql.counters.count_up(id=1 + number % 100)
                assert await s.sql.counters.value(id=1 + number % 100) >= value

        await asyncio.gather(*(one(number) for number in range(count)))
        assert 1 <= questions(db) < count / 2


async def test_a_question_that_is_under_way_does_not_serve_who_comes_later(db, monkeypatch):
    consistency = db._shared.consistency
    sent, answered, waited_for = [], asyncio.Event(), asyncio.Event()
    ask = consistency._ask_writer

    async def slow(limit):
        sent.append(await ask(limit))
        answered.set()
        await waited_for.wait()
        return sent[-1]

    monkeypatch.setattr(consistency, "_ask_writer", slow)
    limit = asyncio.get_running_loop().time() + 10
    first = asyncio.create_task(consistency.position(limit))
    await answered.wait()
    await db.sql.counters.count_up(id=1)
    late = [asyncio.create_task(consistency.position(limit)) for _ in range(20)]
    await asyncio.sleep(0)  # each of them has begun to wait
    waited_for.set()
    position = await first
    assert {await task for task in late} == {sent[1]}
    assert position == sent[0] < sent[1]
    assert len(sent) == 2


async def test_a_question_outlives_the_one_who_asked_it(db, monkeypatch):
    consistency = db._shared.consistency
    ask = consistency._ask_writer

    async def slow(limit):
        await asyncio.sleep(0.05)
        return await ask(limit)

    monkeypatch.setattr(consistency, "_ask_writer", slow)
    limit = asyncio.get_running_loop().time() + 10
    tasks = [asyncio.create_task(consistency.position(limit)) for _ in range(5)]
    await asyncio.sleep(0.02)
    for task in tasks[:2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one).__name__ for one in answers] == ["CancelledError"] * 2 + ["Position"] * 3


async def test_cancelled_at_any_moment_nothing_is_lost(db, at_rest):
    async with db.session() as s:
        await s.sql.counters.count_up(id=8)

        async def work():
            await s.sql.counters.count_up(id=8)
            return await s.sql.counters.value(id=8)

        for steps in range(40):
            task = asyncio.create_task(work())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await s.sql.counters.count_up(id=9) == await s.sql.counters.value(id=9)
        assert not s._reading._leased
    await at_rest(db)


async def test_what_is_known_of_a_connection_goes_with_it(db):
    cluster = db._shared.cluster
    for n in range(1, 4):
        async with db.session() as s:
            await s.sql.counters.count_up(id=13)
            assert await s.sql.counters.value(id=13) == n
        for pool in (cluster.writer_pool, *cluster.reader_pools):
            pool.evict()
    async with asyncio.timeout(10):
        while db._shared.consistency._links:
            gc.collect()
            await asyncio.sleep(0.01)


async def test_a_write_in_doubt_counts_as_a_write(opened, cluster, writer, readers, stop_replay):
    from aurora_sql.local.faults import Reply, Reset

    async with cluster.fault_proxy("writer") as proxy:
        address = f"{proxy.host}:{proxy.port}"
        async with opened(write_endpoint=address) as db, db.session() as s:
            await stop_replay(*readers)
            proxy.inject(Reset(), at=Reply("UPDATE counters"))
            with pytest.raises(ConnectionLost) as caught:
                await s.execute("UPDATE counters SET value = 5 WHERE id = 10")
            assert caught.value.outcome_unknown
            assert await s.sql.counters.value(id=10) == 5
            assert await s.sql.counters.where_am_i() == writer


async def test_behind_one_address_there_may_be_several_readers(
    opened, cluster, readers, stop_replay
):
    """Each connection is asked for itself: one reader of the endpoint stands still."""
    host, port = cluster.reader_endpoint
    await stop_replay(readers[1])
    async with opened(read_endpoint=f"{host}:{port}") as db:

        async def one(number):
            async with db.session() as s:
                value = await s.sql.counters.count_up(id=number)
                assert await s.sql.counters.value(id=number) == value
                assert await s.sql.counters.where_am_i() != readers[1].id

        for _ in range(3):
            await asyncio.gather(*(one(number) for number in range(1, 30)))


async def test_without_readers_the_writer_serves_all(opened, writer, questions):
    async with opened(enable_read_replicas=False) as db, db.session() as s:
        await s.sql.counters.count_up(id=1)
        assert await s.sql.counters.where_am_i() == writer
        assert questions(db) == 0


async def test_a_session_is_entered_once(db):
    session = db.session()
    async with session:
        pass
    with pytest.raises(UsageError, match="entered before"):
        async with session:
            pass


async def test_parameters_are_checked_as_ever(db):
    async with db.session() as s:
        await s.sql.counters.count_up(id=1)
        with pytest.raises(ParameterError, match="id"):
            await s.sql.counters.value()
