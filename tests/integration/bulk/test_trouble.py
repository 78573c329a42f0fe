"""Failures, cancellation, deadlines and losses: all or nothing, and everything is usable after."""

import asyncio
import contextlib
import itertools

import pytest

from aurora_sql import BulkValueError, ConnectionLost, DeadlineExceeded, deadline, errors
from aurora_sql.instrumentation import RetryScheduled

COLUMNS = ("id", "name", "amount")
METHODS = ["bulk_insert", "bulk_upsert", "bulk_update"]


def options(method):
    return {"columns": COLUMNS} | ({} if method == "bulk_insert" else {"keys": ["id"]})


def row(number, name="new"):
    return number, name, None


class OwnError(Exception):
    pass


@pytest.fixture
async def filled(outside):
    await outside.execute(
        "INSERT INTO things (id, name) SELECT n, 'old' FROM generate_series(100, 199) AS n"
    )


@pytest.fixture
def untouched(outside):
    async def check():
        return await outside.fetchval(
            "SELECT count(*) = 100 AND bool_and(name = 'old') FROM things"
        )

    return check


# --- the caller's rows raise ----------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 700])
@pytest.mark.parametrize("method", METHODS[:2])
@pytest.mark.parametrize(
    "error",
    [OwnError("mine"), TimeoutError(), errors.Deadlock("theirs"), BulkValueError("x", row=7)],
)
async def test_errors_of_the_rows_pass_unchanged(
    db, filled, untouched, as_async, method, batch_size, error
):
    first = 1000 if method == "bulk_insert" else 0

    def rows(at):
        yield from map(row, range(first, first + at))
        raise error

    makes = [lambda at=at: rows(at) for at in (0, 5, 1000, 1400)]
    for make in (*makes, lambda: as_async(rows(5)), lambda: as_async(rows(1400))):
        with pytest.raises(type(error)) as caught:
            await getattr(db, method)("things", make(), batch_size=batch_size, **options(method))
        assert caught.value is error
        assert await untouched()


async def test_an_async_source_is_closed(db, filled):
    closed = []

    async def rows():
        try:
            for n in range(10):
                yield (n, n, n)
        finally:
            closed.append(True)

    source = rows()
    with pytest.raises(BulkValueError):
        await db.bulk_insert("things", source, columns=COLUMNS)
    assert closed
    source = rows()
    with pytest.raises(BulkValueError):
        await db.bulk_upsert("things", source, columns=COLUMNS, keys=["id"])
    assert closed == [True, True]


# --- batch by batch ---------------------------------------------------------------------------------


async def test_batches_are_committed_one_by_one(db, count, shape):
    seen = []
    rows = [row(n) for n in range(25)]
    result = await db.bulk_insert(
        "things", shape(rows), columns=COLUMNS, batch_size=10, atomic=False, progress=seen.append
    )
    assert (result.rows, result.batches, seen) == (25, 3, [10, 20, 25])
    rows = [row(n + 100) for n in range(25)]
    rows[22] = (122, None, None)
    with pytest.raises(errors.NotNullViolation, match=r"\(row 22\)") as caught:
        await db.bulk_insert("things", shape(rows), columns=COLUMNS, batch_size=10, atomic=False)
    assert any("first 2 batch(es) are committed (20 row(s)" in n for n in caught.value.__notes__)
    assert not caught.value.retry_safe
    assert await count() == 45
    rows[22] = (122, 5, None)
    with pytest.raises(BulkValueError, match="row 2, column 'name'") as bad:
        await db.bulk_insert(
            "things", shape(rows[20:]), columns=COLUMNS, batch_size=10, atomic=False
        )
    assert bad.value.retry_safe
    assert await count() == 45
    with pytest.raises(BulkValueError, match="row 22") as bad:
        await db.bulk_insert(
            "things",
            shape([row(n + 200) for n in range(22)] + [row(300, 5)]),
            columns=COLUMNS,
            batch_size=10,
            atomic=False,
        )
    assert not bad.value.retry_safe  # of the whole: 20 rows are there
    assert await count() == 65


async def test_progress(db, shape):
    seen = []
    rows = [row(n) for n in range(25_500)]
    await db.bulk_insert("things", shape(rows), columns=COLUMNS, progress=seen.append)
    assert seen == [10_000, 20_000, 25_500]
    seen.clear()
    rows = [row(n) for n in range(30_000, 50_000)]
    await db.bulk_insert(
        "things", shape(rows), columns=COLUMNS, progress=seen.append, batch_size=10_000
    )
    assert seen == [10_000, 20_000]


async def test_progress_that_raises_undoes_everything(db, filled, untouched, shape):
    def progress(rows):
        raise OwnError

    for size in (None, 10):
        with pytest.raises(OwnError):
            await db.bulk_insert(
                "things",
                shape([row(n) for n in range(20)]),
                columns=COLUMNS,
                batch_size=size,
                progress=progress,
            )
        assert await untouched()


# --- in a transaction ---------------------------------------------------------------------------


async def test_in_a_transaction(db, filled, untouched, count, shape):
    with contextlib.suppress(OwnError):
        async with db.transaction() as tx:
            rows = shape([row(n) for n in range(10)])
            assert (await tx.bulk_insert("things", rows, columns=COLUMNS)).rows == 10
            rows = shape([row(n, "newer") for n in range(5, 15)])
            assert (await tx.bulk_upsert("things", rows, columns=COLUMNS, keys=["id"])).rows == 10
            assert (
                await tx.bulk_update("things", [row(150)], columns=COLUMNS, keys=["id"])
            ).rows == 1
            assert (await tx.bulk_delete("things", [{"id": 199}])).rows == 1
            assert await tx.fetch_value("SELECT count(*) FROM things") == 114
            assert await count() == 100
            raise OwnError
    assert await untouched()


async def test_a_failure_in_a_transaction_leaves_nothing(db, filled, outside, as_async):
    """Whoever catches the error and goes on commits none of it."""

    def rows():
        yield from map(row, range(15))
        raise OwnError

    async with db.transaction(timeout=30) as tx:
        before = await tx.fetch_value("SHOW statement_timeout")
        for method in METHODS:
            for source in (rows(), as_async(rows())):
                with pytest.raises(OwnError):
                    await getattr(tx, method)("things", source, batch_size=5, **options(method))
        for method in METHODS[1:]:
            with pytest.raises(BulkValueError):
                await getattr(tx, method)("things", [row(1), row(1)], **options(method))
        await tx.bulk_upsert("things", [row(7)], columns=COLUMNS, keys=["id"])
        assert await tx.fetch_value("SHOW statement_timeout") == before
        left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'aurora_sql_stage%'"
        assert await tx.fetch_value(left) == 0
    assert await outside.fetchval("SELECT array_agg(id) FROM things WHERE name = 'new'") == [7]


async def test_atomic_false_is_refused_in_a_transaction(db):
    async with db.transaction() as tx:
        with pytest.raises(errors.ParameterError, match="atomic=False"):
            await tx.bulk_insert("things", [row(1)], columns=COLUMNS, atomic=False)


async def test_a_transaction_that_is_over(db):
    async with db.transaction() as tx:
        pass
    with pytest.raises(errors.UsageError, match="over"):
        await tx.bulk_insert("things", [row(1)], columns=COLUMNS)


async def test_the_transactions_own_limit_holds(db, untouched, filled):
    async def rows():
        yield row(1)
        await asyncio.sleep(30)

    for method in METHODS:
        with pytest.raises(DeadlineExceeded) as caught:
            async with db.transaction(timeout=0.3) as tx:
                await getattr(tx, method)("things", rows(), **options(method))
        assert caught.value.retry_safe
    assert await untouched()


# --- where it runs --------------------------------------------------------------------------------


async def test_scopes(db, count):
    await db.writer.bulk_insert("things", [row(1)], columns=COLUMNS)
    async with db.session() as session:
        assert "wrote" not in repr(session)
        await session.bulk_upsert("things", [row(2)], columns=COLUMNS, keys=["id"])
        assert "wrote" in repr(session)
    assert await count() == 2


async def test_a_trigger_may_change_the_session(db, outside):
    await outside.execute(
        "CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM set_config('app.user', 'somebody', false); RETURN new; END $$;"
        "CREATE TRIGGER mark BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION mark()"
    )
    await db.bulk_insert("one", [(1,)], columns=["n"])
    resets = sum(one.resets for one in db.pool_stats().values())
    assert resets == 0
    await db.bulk_insert("things", [row(1)], columns=COLUMNS)
    await db.bulk_upsert("things", [row(2)], columns=COLUMNS, keys=["id"])
    assert not await db.fetch_value("SELECT current_setting('app.user', true)")


# --- cancellation, deadlines, losses -----------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
async def test_cancelled_at_any_moment(db, filled, outside, method, at_rest):
    rows = [row(n) for n in range(150, 1150)]
    for delay in (0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016):
        for in_hand in (True, False):
            call = getattr(db, method)(
                "things", rows if in_hand else iter(rows), batch_size=400, **options(method)
            )
            task = asyncio.create_task(call)
            await asyncio.sleep(delay)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, errors.UniqueViolation):
                await task
            await at_rest(db)
            new = await outside.fetchval("SELECT count(*) FROM things WHERE name = 'new'")
            assert new in (0, 50, 1000)
            await outside.execute("DELETE FROM things WHERE name = 'new'")
    assert await db.fetch_value("SELECT 1") == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("after", [0, 1, 450])
async def test_a_deadline_while_rows_are_awaited(db, filled, untouched, at_rest, method, after):
    async def rows():
        for n in range(after):
            yield row(n + 1000)
        await asyncio.sleep(30)
        yield row(0)

    with pytest.raises(DeadlineExceeded) as caught, deadline(0.3):
        await getattr(db, method)("things", rows(), batch_size=200, **options(method))
    assert caught.value.retry_safe
    assert not caught.value.outcome_unknown
    await at_rest(db)
    assert await untouched()


@pytest.mark.parametrize("method", METHODS)
async def test_a_deadline_while_a_lock_is_awaited(db, filled, untouched, at_rest, outside, method):
    async with outside.transaction():
        await outside.execute("LOCK TABLE things IN EXCLUSIVE MODE")
        with pytest.raises(DeadlineExceeded), deadline(0.2):
            await getattr(db, method)("things", [row(1)], **options(method))
        await at_rest(db)
    assert await untouched()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_connection_killed_in_the_middle(
    db, filled, untouched, at_rest, outside, as_async, method, asynchronous
):
    async def rows():
        for n in range(50_000):
            if n == 20_000:
                await outside.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            if n > 20_000:
                await asyncio.sleep(0)
            yield row(n)

    with pytest.raises(ConnectionLost) as caught:
        await getattr(db, method)("things", rows(), **options(method))
    assert caught.value.retry_safe
    assert not caught.value.outcome_unknown
    await at_rest(db)
    assert await untouched()
    assert await db.fetch_value("SELECT 1") == 1


# --- other attempts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
async def test_dead_connections_in_the_pool_are_no_matter(opened, outside, filled, method):
    events = []
    async with opened(observers=[events.append]) as db:
        await db.bulk_upsert("things", [row(100)], columns=COLUMNS, keys=["id"])
        await outside.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        # The client has not read of its death yet.
        rows = [row(n) for n in (range(5) if method == "bulk_insert" else range(100, 105))]
        assert (await getattr(db, method)("things", rows, **options(method))).rows == 5


async def test_a_changed_table_is_no_matter_where_rows_are_in_hand(opened, outside):
    events = []
    async with opened(observers=[events.append]) as db:
        await db.bulk_insert("one", [(1,)], columns=["n"])
        await outside.execute("ALTER TABLE one ALTER n TYPE bigint")
        await db.bulk_insert("one", [(2,)], columns=["n"])
        assert await db.fetch_value("SELECT array_agg(n ORDER BY n) FROM one") == [1, 2]
        assert [e.error for e in events if isinstance(e, RetryScheduled)] == ["StatementStale"]
        await outside.execute("ALTER TABLE one ALTER n TYPE numeric")
        with pytest.raises(errors.StatementStale):
            await db.bulk_insert("one", ((n,) for n in range(3, 5)), columns=["n"])
        assert await db.fetch_value("SELECT count(*) FROM one") == 2


async def test_a_deadlock_is_lost_and_done_again(opened, outside, filled):
    events = []
    async with opened(observers=[events.append]) as db:
        await outside.execute("SET deadlock_timeout = '10s'")
        async with outside.transaction():
            await outside.execute("UPDATE things SET name = 'x' WHERE id = 101")
            task = asyncio.create_task(
                db.bulk_upsert("things", [row(100), row(101)], columns=COLUMNS, keys=["id"])
            )
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while not await outside.fetchval(waits):  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
            await outside.execute("UPDATE things SET name = 'x' WHERE id = 100")
        assert (await task).rows == 2
        assert [e.error for e in events if isinstance(e, RetryScheduled)] == ["Deadlock"]
    assert await outside.fetchval("SELECT count(*) FROM things WHERE name = 'new'") == 2


# --- memory -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_wide_rows_in_bounded_memory(db, as_async, asynchronous):
    import tracemalloc

    rows = ((n, "x" * 1_000_000, None) for n in range(60))
    tracemalloc.start()
    try:
        await db.bulk_insert("things", as_async(rows) if asynchronous else rows, columns=COLUMNS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


async def test_many_rows_in_bounded_memory(db, as_async):
    import tracemalloc

    rows = ({"id": n, "name": "x" * 100} for n in itertools.count())
    tracemalloc.start()
    try:
        await db.bulk_insert("things", as_async(itertools.islice(rows, 30_000)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
