"""The suite end to end on a small cluster: what it measures, and what it leaves behind."""

import asyncio
import dataclasses
import math
import signal

import pytest

from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Role
from benchmarks import _layers, _load, _memory, _monitor, _shop
from benchmarks._coalesced import COALESCED
from benchmarks._results import BARE, OURS, POOL, Options, Result
from benchmarks._rows import MODELS, OPERATIONS
from benchmarks._suite import DifferentAnswers, Suite
from benchmarks._target import leftovers, sandbox

FILES = _shop.shop_files()
SIZE = _shop.Size.of(0.01)
NAMES = [operation.name for operation in OPERATIONS]


class Listener:
    """Notes what it is told."""

    def __init__(self):
        self.order = []
        self.rows = []
        self.reasons = []

    def measuring(self, operation, subject, turn):
        self.order.append((operation.name, turn, subject))

    def measured(self, operation, subject, sample):
        assert len(sample.latencies) > 0

    def finished(self, row):
        self.rows.append(row.name)

    def skipped(self, operation, reason):
        self.reasons.append((operation.name, reason))


def options(**changes):
    values = {
        "mode": "closed",
        "callers": 2,
        "rounds": 2,
        "seconds": 0.05,
        "warm_up": 0.0,
        "scale": 0.01,
        "seed": 1,
    }
    return Options(**values | changes)


def suite(target, listener, *, models=False, **changes):
    return Suite(target, FILES, SIZE, options(**changes), models=models, listener=listener)


def operations(*names):
    return [operation for operation in OPERATIONS if operation.name in names]


async def test_all_rows_are_measured_beside_their_floors(target, tmp_path, databases):
    before = await databases()
    listener = Listener()
    async with sandbox(target, FILES, SIZE) as place:
        result = await suite(place, listener, models=True).run(OPERATIONS, "asyncio")
        async with place.connect() as connection:
            orders = await connection.fetchval("SELECT count(*) FROM orders")
    assert result.complete
    assert [row.name for row in result.rows] == NAMES == listener.rows
    for row in result.rows:
        names = {subject.name for subject in row.subjects}
        assert {OURS, BARE, POOL} <= names
        assert (MODELS in names) == (row.name != "write")
        for one in row.subjects:
            assert len(one.rounds) == 2
            assert sum(measured.operations for measured in one.rounds) > 0
            assert one.throughput.median > 0
            assert 0 < one.latency.p50 <= one.latency.p95 <= one.latency.max
        assert row.ratio(f"{OURS} / {BARE}").rounds == 2
    # Orders of the last transactions are there: the rest was taken back before each measurement.
    assert orders >= SIZE.orders
    assert result.server.readers == 1
    assert result.server.settings["fsync"] in ("on", "off")
    assert result.machine.shared_with_server
    result.save(tmp_path / "result.json")
    assert Result.load(tmp_path / "result.json") == result
    assert await databases() == before


async def test_rows_for_many_callers_have_their_own_number(target):
    (operation,) = (one for one in COALESCED if one.name == "coalesced-write")
    few = dataclasses.replace(operation, callers=5)
    async with sandbox(target, FILES, SIZE) as place:
        result = await suite(place, Listener(), models=True, rounds=1).run([few], "asyncio")
        async with place.connect() as connection:
            written = await connection.fetchval("SELECT count(*) FROM events")
    (row,) = result.rows
    assert [subject.name for subject in row.subjects] == [OURS, BARE, POOL]
    # Each measurement begins with the tables as they were: what is there now is of the last.
    assert written >= sum(one.operations for one in row.subjects[-1].rounds)
    assert all(one.seconds >= 0.3 for subject in row.subjects for one in subject.rounds)
    assert result.options.callers == 2


async def test_subjects_take_turns(target):
    listener = Listener()
    async with sandbox(target, FILES, SIZE) as place:
        await suite(place, listener, rounds=3).run(operations("read-writer"), "asyncio")
    orders = [[name for _, turn, name in listener.order if turn == one] for one in range(3)]
    assert [order[0] for order in orders] == [OURS, BARE, POOL]
    assert all(sorted(order) == sorted([OURS, BARE, POOL]) for order in orders)


async def test_the_open_loop_offers_all_subjects_the_same_arrivals(target):
    changes = {"mode": "open", "rate": 200.0, "arrivals": "poisson", "queue_limit": 200}
    async with sandbox(target, FILES, SIZE) as place:
        result = await suite(place, Listener(), seconds=0.2, **changes).run(
            operations("read-writer"), "asyncio"
        )
    (row,) = result.rows
    offered = {one.open.offered for subject in row.subjects for one in subject.rounds}
    assert len(offered) == 1
    assert 15 <= offered.pop() <= 75
    assert row.at_rate


async def test_each_caller_has_one_connection_and_no_more(target):
    seen = {}

    class Counting(Listener):
        def measured(self, operation, subject, sample):
            seen[subject] = len(sample.latencies)

    counted = []
    async with sandbox(target, FILES, SIZE) as place:
        run = asyncio.create_task(
            suite(place, Counting(), callers=3, seconds=0.3, rounds=1).run(
                operations("read-writer"), "asyncio"
            )
        )
        async with place.connect() as connection:
            while not run.done():
                rows = await connection.fetch(
                    "SELECT application_name, count(*) AS count FROM pg_stat_activity"
                    " WHERE datname = current_database() GROUP BY 1"
                )
                counted.append({row["application_name"]: row["count"] for row in rows})
                await asyncio.sleep(0.05)
        await run
    assert set(seen) == {OURS, BARE, POOL}
    assert max(one.get("aurora_sql", 0) for one in counted) == 3
    # Both floors: three bare connections and a pool of three.
    assert max(one.get("aurora_sql benchmark floor", 0) for one in counted) == 6


async def test_too_few_connections_at_the_server_are_worked_around(target):
    async with sandbox(target, FILES, SIZE) as place, place.connect() as connection:
        most = int(await connection.fetchval("SHOW max_connections"))
        one = suite(place, Listener(), callers=most // 4, rounds=1)
        result = await one.run(operations("read-writer"), "asyncio")
    assert result.options.reconnect
    assert len(result.rows[0].subjects) == 3


async def test_without_readers_their_row_is_left_out(target):
    listener = Listener()
    alone = type(target)(target.settings.replace({"enable_read_replicas": False}))
    async with sandbox(alone, FILES, SIZE) as place:
        result = await suite(place, listener).run(
            operations("read-writer", "read-readers"), "asyncio"
        )
    assert [row.name for row in result.rows] == ["read-writer"]
    assert result.complete
    assert listener.reasons[0][0] == "read-readers"


async def test_different_answers_are_no_comparison(target, monkeypatch):
    from benchmarks._floors_postgresql import _Pool

    honest = _Pool.single

    async def elsewhere(self, work):
        call = await honest(self, work)
        return lambda value: call(value._replace(args=(value.args[0] % 10 + 1,)))

    monkeypatch.setattr(_Pool, "single", elsewhere)
    async with sandbox(target, FILES, SIZE) as place:
        with pytest.raises(DifferentAnswers, match="simple read, writer: aurora_sql answers"):
            await suite(place, Listener()).run(operations("read-writer"), "asyncio")


async def test_a_call_that_fails_ends_the_run_and_leaves_nothing(target, databases):
    before = await databases()
    with pytest.raises(BaseExceptionGroup):
        async with sandbox(target, FILES, SIZE) as place:
            async with place.connect() as connection:
                await connection.execute("ALTER TABLE events ADD CHECK (kind = 'none')")
            await suite(place, Listener()).run(operations("write"), "asyncio")
    assert await databases() == before


async def test_a_cancelled_run_leaves_no_database(target, databases):
    before = await databases()
    inside = asyncio.Event()

    async def run():
        async with sandbox(target, FILES, SIZE) as place:
            inside.set()
            await suite(place, Listener(), seconds=30.0).run(operations("read-writer"), "asyncio")

    task = asyncio.create_task(run())
    await inside.wait()
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await databases() == before


async def test_impatience_does_not_stop_the_cleaning_up(target, databases):
    before = await databases()
    inside = asyncio.Event()

    async def run():
        async with sandbox(target, FILES, SIZE):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await inside.wait()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0.002)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await databases() == before


async def test_a_user_without_createdb_gets_an_empty_database_used(limited_user, tables, databases):
    before = await databases()
    async with sandbox(limited_user, FILES, SIZE) as place:
        assert place.settings.database == limited_user.settings.database
        assert set(await tables(limited_user)) == set(_shop.TABLES)
        result = await suite(place, Listener()).run(operations("read-writer"), "asyncio")
        assert result.complete
    assert await tables(limited_user) == []
    assert await databases() == before


async def test_existing_tables_are_never_touched(limited_user, tables):
    async with limited_user.connect() as connection:
        await connection.execute("CREATE TABLE orders (precious text)")
        await connection.execute("INSERT INTO orders VALUES ('data')")
    with pytest.raises(ConfigurationError, match=r"not empty \(it has orders\)"):
        async with sandbox(limited_user, FILES, SIZE):
            pytest.fail("must not be reached")
    assert await tables(limited_user) == ["orders"]
    async with limited_user.connect() as connection:
        assert await connection.fetchval("SELECT precious FROM orders") == "data"


async def test_databases_of_killed_runs_are_dropped_and_no_others(target, databases):
    before = await databases()
    async with target.connect() as admin:
        await admin.execute("CREATE DATABASE aurora_bench_0badcafe")
        await admin.execute(
            "COMMENT ON DATABASE aurora_bench_0badcafe IS"
            " 'Made by the aurora_sql benchmarks, which drop it when they end.'"
        )
        await admin.execute("CREATE DATABASE aurora_bench_deadbeef")  # somebody else's
    try:
        assert await leftovers(target) == ["aurora_bench_0badcafe"]
        assert await databases() == sorted([*before, "aurora_bench_deadbeef"])
    finally:
        async with target.connect() as admin:
            await admin.execute("DROP DATABASE aurora_bench_deadbeef")


async def test_a_database_in_use_is_kept(target):
    async with sandbox(target, FILES, SIZE) as place, place.connect():
        with pytest.raises(ConfigurationError, match="a benchmark still runs on it"):
            await leftovers(target)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_process_cleans_up_and_shows_whole_rows(
    suite_process, databases, tmp_path, number
):
    before = await databases()
    process = await suite_process(
        "run", "--environment", "--rows", "join,read-writer", "--seconds", "0.3", "--rounds", "2",
        "--scale", "0.01", "--callers", "2", "--output", "result.json", "--no-models",
    )  # fmt: skip
    while line := (await process.stdout.readline()).decode():
        if line.startswith("complex join:"):
            break
    process.send_signal(number)
    process.send_signal(number)
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 130, errors.decode()
    assert "interrupted; everything that was made has been removed" in errors.decode()
    assert "rows are missing" in output.decode()
    result = Result.load(tmp_path / "result.json")
    assert not result.complete
    assert [row.name for row in result.rows] == ["join"]
    assert await databases() == before


async def test_the_command_line_measures_saves_and_compares(suite_process, tmp_path):
    arguments = ("--environment", "--rows", "read-writer", "--seconds", "0.1", "--rounds", "1",
                 "--scale", "0.01", "--callers", "2", "--no-models")  # fmt: skip
    process = await suite_process(*arguments, "--output", "first.json")
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert "shared with the server" in output.decode()
    assert "target 50,000 ops/s" in output.decode()

    process = await suite_process(
        *arguments, "--output", "second.json", "--compare", "first.json", "--fail-below", "1000"
    )
    output, errors = await process.communicate()
    assert process.returncode == 1
    assert "is below 1000" in errors.decode()
    assert "against 20" in output.decode()

    process = await suite_process("compare", "first.json", "second.json", "--fail-below", "0.001")
    await process.communicate()
    assert process.returncode == 0


async def test_layers_add_up_to_the_public_call(target):
    async with sandbox(target, FILES, SIZE) as place:
        costs = await _layers.measure(
            place, FILES, SIZE, callers=2, rounds=1, seconds=0.05, progress=lambda text: None
        )
    assert [cost.name for cost in costs] == [name for name, _ in _layers.STEPS]
    assert all(cost.alone > 0 and cost.network > 0 for cost in costs)
    # What waits for a server takes longer than what does not, whatever the machine.
    assert all(cost.network > cost.alone for cost in costs)


async def test_the_cost_of_the_monitor_is_measured_in_pairs(target):
    async with sandbox(target, FILES, SIZE) as place:
        cost = await _monitor.measure(
            place,
            FILES,
            SIZE,
            callers=2,
            pairs=3,
            seconds=0.05,
            rest=0.1,
            progress=lambda text: None,
        )
    assert cost.pairs == 3
    assert 0 < cost.low < cost.share < cost.high
    assert cost.at_rest > 0


def test_the_interval_of_ratios():
    assert _monitor.interval([2.0, 2.0, 2.0]) == pytest.approx((2.0, 2.0, 2.0))
    mean, low, high = _monitor.interval([0.5, 2.0, 1.0])
    assert mean == pytest.approx(1.0)
    assert low * high == pytest.approx(1.0)
    assert _monitor.interval([1.0, 1.1] * 10)[1] > 1.0
    assert _monitor.interval([0.9])[1:] == (0.0, math.inf)


async def test_memory_is_measured_in_processes_of_its_own(target):
    async with sandbox(target, FILES, SIZE) as place:
        found = dict(await _memory.measure(place, 5_000, lambda text: None))
    assert set(found) == set(_memory.Way)
    for growth in found.values():
        assert growth.rows == 5_000
        assert growth.peak >= growth.before > 0


def test_the_floors_reach_each_reader(target):
    options = target.options(Role.READER)
    assert len(options) == 1
    assert options[0]["port"] != target.options(Role.WRITER)[0]["port"] or (
        options[0]["host"] != target.options(Role.WRITER)[0]["host"]
    )


async def test_loads_are_measured_each_way(target):
    async with sandbox(target, FILES, SIZE) as place:
        found = await _load.measure(place, 3_000, 2, 2, lambda text: None)
    assert found[0].way == _load.FLOOR
    assert len(found) == 6
    assert all(timed.seconds.rounds == 2 and timed.ratio.low > 0 for timed in found)
