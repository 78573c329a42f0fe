"""Tokens from one session to another, of other processes and other clusters, and after failovers."""

import asyncio
import subprocess
import sys

import pytest

from aurora_sql import Aurora, AuroraError, ParameterError, UsageError
from aurora_sql.cluster import NO_CLUSTER, Position, Seen, identifier
from aurora_sql.local import LocalCluster
from aurora_sql.types import Role

OTHER_PROCESS = """
import asyncio, sys
from aurora_sql import Aurora, AuroraSettings

async def main():
    settings = AuroraSettings.from_url(sys.argv[1]).replace({"token_secret": sys.argv[2]})
    async with Aurora(settings) as db:
        async with db.session() as s:
            await s.execute("UPDATE counters SET value = 77 WHERE id = 20")
        print(s.token)

asyncio.run(main())
"""


async def test_a_token_is_text_at_every_moment(db):
    async with db.session() as s:
        tokens = [s.token]
        await s.sql.counters.on_reader()
        tokens.append(s.token)
        await s.sql.counters.count_up(id=1)
        tokens.append(s.token)
        await s.sql.counters.value(id=1)
        tokens.append(s.token)
    tokens.append(s.token)
    assert {type(one) for one in tokens} == {str}
    for token in tokens:
        async with db.session(token=token) as s:
            assert await s.sql.counters.value(id=1) is not None


@pytest.mark.parametrize("moment", ["after the write", "after a read", "after the block"])
async def test_whoever_gets_a_token_sees_the_write(
    opened, readers, writer, stop_replay, cluster, moment
):
    async with opened() as one, opened() as other:
        async with one.session() as s:
            await s.sql.counters.count_up(id=21)
            if moment == "after a read":
                await s.sql.counters.value(id=21)
            token = s.token
        token = s.token if moment == "after the block" else token
        async with other.session(token=token) as s:
            assert await s.sql.counters.value(id=21) == 1
            assert await s.sql.counters.where_am_i() != writer
        await stop_replay(*readers)
        async with one.session() as s:
            await s.sql.counters.count_up(id=21)
            if moment == "after a read":
                await s.sql.counters.value(id=21)
            token = s.token
        token = s.token if moment == "after the block" else token
        async with other.session(token=token) as s:
            assert await s.sql.counters.value(id=21) == 2
            assert await s.sql.counters.where_am_i() == writer
            token = s.token
        async with one.session(token=token) as s:
            assert await s.sql.counters.value(id=21) == 2


async def test_a_token_carries_what_a_reader_showed(opened, readers, writer, stop_replay):
    """Monotonic reads, from one session to the next: also of what others wrote."""
    first, second = readers
    await stop_replay(second)
    only_first, only_second = f"{first.host}:{first.port}", f"{second.host}:{second.port}"
    async with opened(read_endpoint=only_first) as one, opened(read_endpoint=only_second) as other:
        await one.sql.counters.count_up(id=22)
        async with asyncio.timeout(10):
            while await one.reader.sql.counters.value(id=22) != 1:  # noqa: ASYNC110 - polls a server
                await asyncio.sleep(0.01)
        async with one.session() as s:
            assert await s.sql.counters.on_reader() == first.id
            token = s.token
        async with other.session(token=token) as s:
            assert await s.sql.counters.on_reader() == writer
            assert await s.sql.counters.value(id=22) == 1
        async with one.session(token=token) as s:
            assert await s.sql.counters.on_reader() == first.id


async def test_an_exact_token_is_good_for_a_reader_that_is_behind_the_writer(
    db, readers, writer, stop_replay, cluster
):
    async with db.session() as s:
        await s.sql.counters.count_up(id=23)
    token = s.token
    await cluster.wait_replayed()
    await stop_replay(*readers)
    await db.sql.counters.count_up(id=23)
    async with db.session(token=token) as s:
        assert await s.sql.counters.where_am_i() != writer
        assert await s.sql.counters.value(id=23) == 1


async def test_a_token_of_another_process(cluster, opened, readers, writer, stop_replay):
    secret = "the same secret in both processes"
    host, port = cluster.writer_endpoint
    url = f"postgresql://{cluster.username}:{cluster.password}@{host}:{port}/{cluster.database}"
    await stop_replay(*readers)
    run = [sys.executable, "-c", OTHER_PROCESS, url, secret]
    done = await asyncio.to_thread(
        subprocess.run, run, capture_output=True, text=True, check=False, timeout=60
    )
    assert not done.returncode, done.stderr
    token = done.stdout.strip()
    async with opened(token_secret=secret) as db, db.session(token=token) as s:
        assert await s.sql.counters.value(id=20) == 77
        assert await s.sql.counters.where_am_i() == writer
    async with opened(token_secret=None) as db:
        with pytest.raises(ParameterError, match="set token_secret"):
            db.session(token=token)
    async with opened() as db:
        with pytest.raises(ParameterError, match="same token_secret") as caught:
            db.session(token=token)
        assert secret not in str(caught.value)
        for changed in ("", token[:-1], token[:-1] + ("A" if token[-1] != "A" else "E"), token * 2):
            with pytest.raises(ParameterError):
                db.session(token=changed)
        with pytest.raises(ParameterError, match="not int"):
            db.session(token=7)


async def test_a_token_of_another_cluster_is_refused_before_anything_is_sent(db):
    signer = db._shared.consistency.signer
    token = signer.sign(identifier("another"), Seen(Position(1, 1)))
    for _ in range(2):
        with pytest.raises(ParameterError, match="of another cluster"):
            async with db.session(token=token) as s:
                await s.sql.counters.count_up(id=24)
    assert await db.sql.counters.value(id=24) == 0
    nothing = signer.sign(identifier("another"), Seen())
    assert signer.read(nothing)[0] == NO_CLUSTER
    async with db.session(token=nothing) as s:
        assert await s.sql.counters.value(id=24) == 0


async def test_a_session_with_a_token_has_to_be_entered(db):
    token = db._shared.consistency.signer.sign(identifier("another"), Seen(Position(1, 1)))
    session = db.session(token=token)
    with pytest.raises(UsageError, match="async with"):
        await session.sql.counters.value(id=1)
    with pytest.raises(ParameterError, match="another cluster"):
        async with session:
            pass
    with pytest.raises(UsageError, match="async with"):
        await session.sql.counters.value(id=1)


async def ordinary(cluster, outside, **changes):
    """Settings of a user without any privilege but those on the table."""
    await outside.execute(
        "DO $$ BEGIN CREATE ROLE plain LOGIN PASSWORD 'plain';"
        " EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "GRANT SELECT, UPDATE ON counters TO plain"
    )
    await cluster.wait_replayed()
    return {"username": "plain", "password": "plain"} | changes


async def test_an_ordinary_user_may_ask(opened, cluster, table, writer, questions):
    async with opened(**await ordinary(cluster, table)) as db:
        async with db.session() as s:
            assert await s.sql.counters.count_up(id=25) == 1
            assert await s.sql.counters.value(id=25) == 1
            assert await s.sql.counters.where_am_i() != writer
        async with db.session(token=s.token) as s:
            assert await s.sql.counters.where_am_i() != writer
        assert db._shared.consistency._questions.by_log


HIDDEN = "pg_last_wal_replay_lsn()"


async def test_readers_that_do_not_tell_are_asked_by_the_status_table(
    opened, cluster, table, writer, readers, stop_replay
):
    await table.execute(f"REVOKE EXECUTE ON FUNCTION {HIDDEN} FROM PUBLIC")
    try:
        async with opened(**await ordinary(cluster, table)) as db:
            for n in range(1, 4):
                async with db.session() as s:
                    assert await s.sql.counters.count_up(id=26) == n
                    assert await s.sql.counters.value(id=26) == n
                    assert await s.sql.counters.where_am_i() != writer
                    assert s._sight.seen.floor.epoch == 0
            assert not db._shared.consistency._questions.by_log
            await stop_replay(*readers)
            async with db.session() as s:
                assert await s.sql.counters.count_up(id=26) == 4
                assert await s.sql.counters.value(id=26) == 4
                assert await s.sql.counters.where_am_i() == writer
    finally:
        await table.execute(f"GRANT EXECUTE ON FUNCTION {HIDDEN} TO PUBLIC")


async def test_readers_that_tell_nothing_take_no_reads(opened, cluster, table, writer):
    hidden = [HIDDEN, "aurora_replica_status()", "pg_control_system()"]
    for function in hidden:
        await table.execute(f"REVOKE EXECUTE ON FUNCTION pg_catalog.{function} FROM PUBLIC")
    try:
        async with opened(**await ordinary(cluster, table)) as db:
            async with db.session() as s:
                assert await s.sql.counters.count_up(id=27) == 1
                assert await s.sql.counters.value(id=27) == 1
                assert await s.sql.counters.where_am_i() == writer
                assert await s.sql.counters.on_reader() == writer
            assert db._shared.consistency.cluster_id != NO_CLUSTER
            async with db.session(token=s.token) as s:
                assert await s.sql.counters.value(id=27) == 1
    finally:
        for function in hidden:
            await table.execute(f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO PUBLIC")


async def test_commits_that_do_not_wait_for_the_disk(opened, cluster, table, writer):
    await table.execute(f"ALTER DATABASE {cluster.database} SET synchronous_commit = off")
    try:
        async with opened() as db:
            for n in range(1, 6):
                async with db.session() as s:
                    assert await s.sql.counters.count_up(id=28) == n
                async with db.session(token=s.token) as s:
                    assert await s.sql.counters.value(id=28) == n
    finally:
        await table.execute(f"ALTER DATABASE {cluster.database} RESET synchronous_commit")


# -- failover ------------------------------------------------------------------------------


@pytest.fixture
async def failing():
    """A cluster that may lose its writer, and an Aurora that follows by the endpoints."""
    async with LocalCluster(readers=2) as cluster:
        (host, port), (reader, reader_port) = cluster.writer_endpoint, cluster.reader_endpoint
        settings = cluster.settings().replace(
            {
                "write_endpoint": f"{host}:{port}",
                "read_endpoint": f"{reader}:{reader_port}",
                "min_pool_size": 1,
                "max_pool_size": 4,
            }
        )
        async with Aurora(settings) as db:
            await db.execute("CREATE TABLE counters (id int PRIMARY KEY, value int NOT NULL)")
            await db.execute("INSERT INTO counters VALUES (1, 0)")
            await cluster.wait_replayed()
            yield cluster, db


COUNT_UP = "UPDATE counters SET value = value + 1 WHERE id = 1 RETURNING value"
VALUE = "SELECT value FROM counters WHERE id = 1"
WHERE = "SELECT aurora_db_instance_identifier()"


async def written(s):
    """Write once the new writer is found."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await s.fetch_value(COUNT_UP)
            except AuroraError:
                await asyncio.sleep(0.05)


@pytest.mark.timeout(180)
async def test_a_failover_within_a_session_and_tokens_of_the_old_epoch(failing):
    cluster, db = failing
    async with db.session() as first:
        await first.fetch_value(COUNT_UP)
    async with db.session() as old:
        value = await old.fetch_value(COUNT_UP)
        assert await old.fetch_value(VALUE) == value
        before = old._sight.seen.floor
        shown = old.token
        await cluster.failover()
        (writer,) = [one.id for one in cluster.instances if one.role is Role.WRITER]
        # Reads and writes go on, and a write of the new epoch is seen.
        value = await written(old)
        for _ in range(5):
            assert await old.fetch_value(VALUE) == value
            value = await old.fetch_value(COUNT_UP)
            assert await old.fetch_value(VALUE) == value
    after = old._sight.seen.floor
    assert after.epoch == before.epoch + 1
    await cluster.wait_replayed()

    # Readers of the new epoch serve it again; the endpoint's connection to the one that was
    # promoted is given up.
    async with asyncio.timeout(20):
        while True:
            async with db.session(token=old.token) as s:
                if await s.fetch_value(WHERE) != writer:
                    assert await s.fetch_value(VALUE) == value
                    break
            await asyncio.sleep(0.05)

    # A token of the old epoch: the writer, then a position of the new one.
    async with db.session(token=first.token) as s:
        assert s._sight.seen.floor.epoch == before.epoch
        assert await s.fetch_value(WHERE) == writer
        assert await s.fetch_value(VALUE) == value
        assert s._sight.seen.floor.epoch == after.epoch
    # One that carries what another reader showed asks for a position at once.
    async with db.session(token=shown) as s:
        assert s._sight.seen.floor.epoch == before.epoch
        assert await s.fetch_value(VALUE) == value


async def test_positions_of_another_timeline_prove_nothing(failing):
    """A reader that is far ahead, but of an epoch other than the token's."""
    cluster, db = failing
    (writer,) = [one.id for one in cluster.instances if one.role is Role.WRITER]
    async with db.session() as s:
        await s.fetch_value(COUNT_UP)
    consistency = db._shared.consistency
    for epoch in (2, 7):
        token = consistency.signer.sign(consistency.cluster_id, Seen(Position(epoch, 1)))
        async with db.session(token=token) as s:
            assert await s.fetch_value(WHERE) == writer
