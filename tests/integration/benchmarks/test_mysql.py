"""The suite on MySQL and on MariaDB: the same frame, with floors of its own."""

from __future__ import annotations

import secrets

import pytest

from aurora_sql.errors import ConfigurationError
from aurora_sql.local import LocalCluster
from aurora_sql.settings import MysqlDriver
from aurora_sql.types import Engine
from benchmarks import _shop
from benchmarks._floors_mysql import DRIVERS
from benchmarks._results import OURS, Options, Result
from benchmarks._rows import MODELS, OPERATIONS
from benchmarks._suite import DifferentAnswers, Suite
from benchmarks._target import Target, leftovers, sandbox

FILES = _shop.shop_files(engine=Engine.MYSQL)
SIZE = _shop.Size.of(0.01)


@pytest.fixture(scope="module")
def cluster_settings(server):
    if server.engine != "mysql":
        pytest.skip("test_run has the suite on PostgreSQL")
    with LocalCluster(engine="mysql", bin_dir=server.bin_dir, readers=1) as cluster:
        yield cluster.settings()


@pytest.fixture
def target(cluster_settings):
    return Target(cluster_settings)


@pytest.fixture
def databases(target):
    """Ask for the names of all databases."""

    async def names():
        async with target.connect() as admin:
            return sorted(row[0] for row in await admin.fetch("SHOW DATABASES"))

    return names


class Listener:
    """Listens to nothing."""

    def measuring(self, operation, subject, turn):
        pass

    def measured(self, operation, subject, sample):
        assert len(sample.latencies) > 0

    def finished(self, row):
        pass

    def skipped(self, operation, reason):
        pytest.fail(reason)


def suite(target, *, models=False):
    options = Options(
        mode="closed", callers=2, rounds=1, seconds=0.05, warm_up=0.0, scale=0.01, seed=1
    )
    return Suite(target, FILES, SIZE, options, models=models, listener=Listener())


def operations(*names):
    return [operation for operation in OPERATIONS if operation.name in names]


def on(target, driver):
    return Target(target.settings.replace({"mysql_driver": driver}))


async def test_all_rows_are_measured_beside_both_drivers(target, databases, tmp_path, server):
    # Each driver measures itself here, and is a floor on the other server.
    driver = {"mysql": MysqlDriver.AIOMYSQL, "mariadb": MysqlDriver.ASYNCMY}[server.name]
    before = await databases()
    async with sandbox(on(target, driver), FILES, SIZE) as place:
        result = await suite(place, models=True).run(OPERATIONS, "asyncio")
        async with place.connect() as admin:
            # What measurements added was taken back before each of them.
            assert await admin.fetchval("SELECT count(*) FROM orders") >= SIZE.orders
    assert result.complete
    assert [row.name for row in result.rows] == [operation.name for operation in OPERATIONS]
    bare = driver.value
    other = {"aiomysql": "asyncmy", "asyncmy": "aiomysql"}[bare]
    expected = [bare, f"{bare}.Pool", other, f"{other}.Pool"]
    for row in result.rows:
        rows = [*expected[:2], f"{bare} row by row", *expected[2:]]
        assert list(row.floors) == (rows if row.name == "bulk" else expected)
        names = [subject.name for subject in row.subjects]
        assert names[0] == OURS
        assert set(row.floors) <= set(names)
        assert (MODELS in names) == (row.name != "write")
        assert all(one.throughput.median > 0 for one in row.subjects)
        assert {key.split(" / ")[1] for key in row.goals} <= set(row.floors)
        assert row.ratio(f"{OURS} / {bare}").rounds == 1
    assert result.server.product in ("MySQL", "MariaDB")
    assert result.server.aurora is None
    assert result.server.readers == 1
    assert result.server.settings["innodb_flush_log_at_trx_commit"] in "012"
    assert result.software.asyncpg is None
    assert set(DRIVERS) == {"aiomysql", "asyncmy"}
    assert result.software.aiomysql
    assert result.software.asyncmy
    result.save(tmp_path / "result.json")
    assert Result.load(tmp_path / "result.json") == result
    assert await databases() == before


async def test_the_floors_add_what_they_say(target):
    """Each floor's bulk adds all rows of a batch, and its transaction one order and one item."""
    async with sandbox(target, FILES, SIZE) as place, place.connect() as admin:
        from aurora_sql.statements import StatementRegistry

        registry = StatementRegistry.load(FILES.sql, dialect="mysql")
        for operation in operations("bulk", "transaction", "write"):
            work = operation.make(registry, SIZE, 1)
            for floor in place.side.floors(place, work, 1):
                for command in place.side.reset(SIZE):
                    await admin.execute(command)
                before = [await admin.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES]
                await floor.open()
                try:
                    (call,) = await floor.calls()
                    await call(work.values[0])
                finally:
                    await floor.close()
                after = [await admin.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES]
                added = [now - then for now, then in zip(after, before, strict=True)]
                assert added == ADDED[operation.name], floor.name


TABLES = ("events", "orders", "order_items")
ADDED = {"bulk": [1_000, 0, 0], "transaction": [0, 1, 1], "write": [1, 0, 0]}


async def test_different_answers_are_no_comparison(target, monkeypatch):
    from benchmarks._floors_mysql import _Runs

    honest = _Runs.single

    async def elsewhere(self, work):
        run = await honest(self, work)
        return lambda connection, cursor, value: run(
            connection, cursor, value._replace(args=(value.args[0] % 10 + 1,))
        )

    monkeypatch.setattr(_Runs, "single", elsewhere)
    async with sandbox(target, FILES, SIZE) as place:
        with pytest.raises(DifferentAnswers, match="simple read, writer: aurora_sql answers"):
            await suite(place).run(operations("read-writer"), "asyncio")


RIGHTS = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, CREATE ROUTINE,"
    " ALTER ROUTINE, EXECUTE"
)


async def test_a_user_without_create_gets_an_empty_database_used(target):
    database, user = f"bench_{secrets.token_hex(3)}", "bench_limited"
    async with target.connect() as admin:
        await admin.execute(f"CREATE DATABASE {database}")
        await admin.execute(f"CREATE USER {user} IDENTIFIED BY 'limited'")
        await admin.execute(f"GRANT {RIGHTS} ON {database}.* TO {user}")
    limited = Target(
        target.settings.replace({"username": user, "password": "limited", "database": database})
    )
    try:
        async with sandbox(limited, FILES, SIZE) as place:
            assert place.settings.database == database
            result = await suite(place).run(operations("read-writer"), "asyncio")
            assert result.complete
        async with limited.connect() as admin:
            assert await limited.side.found(admin) == []
            await admin.execute("CREATE TABLE orders (precious TEXT)")
        with pytest.raises(ConfigurationError, match=r"not empty \(it has orders\)"):
            async with sandbox(limited, FILES, SIZE):
                pytest.fail("must not be reached")
        async with limited.connect() as admin:
            assert await limited.side.found(admin) == ["orders"]
    finally:
        async with target.connect() as admin:
            await admin.execute(f"DROP DATABASE {database}")
            await admin.execute(f"DROP USER {user}")


async def test_databases_of_killed_runs_are_dropped_and_no_others(target, databases):
    before = await databases()
    async with target.connect() as admin:
        for name in ("aurora_bench_0badcafe", "aurora_bench_deadbeef"):
            await admin.execute(f"CREATE DATABASE {name}")
        await target.side.mark(admin, "aurora_bench_0badcafe")  # the other is somebody else's
    try:
        assert await leftovers(target) == ["aurora_bench_0badcafe"]
        assert await databases() == sorted([*before, "aurora_bench_deadbeef"])
    finally:
        async with target.connect() as admin:
            await admin.execute("DROP DATABASE aurora_bench_deadbeef")


async def test_a_database_in_use_is_kept(target):
    async with sandbox(target, FILES, SIZE):
        with pytest.raises(ConfigurationError, match="a benchmark still runs on it"):
            await leftovers(target)
