"""The measuring part of the scaling benchmark, on small local clusters of its own."""

import asyncio

import pytest

from aurora_sql.local import LocalCluster
from aurora_sql.types import Engine
from benchmarks import _shop
from benchmarks.scaling import _measure, checks, plan
from benchmarks.scaling._client import Client, ClientFailed
from benchmarks.scaling._model import Fleet
from benchmarks.scaling._results import Cell, ScalingOptions
from benchmarks.scaling._worker import Order, Setup, settings_for

OPTIONS = ScalingOptions(rounds=1, seconds=0.2, warm_up=0.05, scale=0.01, seed=1)
CELLS = (
    Cell(sweep="callers", operation="read", callers=1),
    Cell(sweep="callers", operation="read", callers=16),
    Cell(sweep="write", operation="write", callers=1),
    Cell(sweep="write", operation="write", callers=16),
    Cell(sweep="readers", operation="read", callers=4, processes=2, readers=1),
    Cell(sweep="rows", operation="rows", callers=2, rows=1),
    Cell(sweep="rows", operation="rows", callers=2, rows=100),
)


async def test_everybodys_processor_time_is_measured():
    steps, done = [], []
    result = await _measure.measure(
        Engine.POSTGRESQL,
        _shop.shop_files(),
        OPTIONS,
        readers=1,
        loop="asyncio",
        progress=steps.append,
        measured=lambda: done.append(1),
        chosen=CELLS,
    )
    assert [point.cell for point in result.points] == list(CELLS)
    assert len(done) == len(CELLS)
    assert steps[0] == "preparing servers and data"
    found = {point.cell: point.calmest for point in result.points}
    for cell, one in found.items():
        assert one.operations >= cell.callers * cell.processes
        assert one.client_cpu > 0
        # A server's process that is not counted shows here: an operation takes it a microsecond
        # at the very least, on any machine.
        assert one.server_time > 1e-6, cell
        assert 0 < one.p50 <= one.p95
    # What was measured feeds the model.
    assert len(checks(result)) == len(CELLS)
    planned = plan(result, Fleet(services=2, reads=0.5))
    assert planned.outlook.here.solution.throughput > 0
    assert planned.budget.recommended >= 2


@pytest.mark.parametrize(("readers", "serves"), [(0, "writer"), (1, "reader")])
def test_the_processes_of_the_serving_instances_are_those_that_count(readers, serves):
    cell = Cell(sweep="readers", operation="read", callers=1, readers=readers)
    with LocalCluster(readers=1) as cluster:
        found = _measure._Bench(cluster, [], OPTIONS)._accounts(cell)
        by_role = {one.role.value: one.pid for one in cluster.instances}
    (other,) = by_role.keys() - {serves}
    assert by_role[serves] in found.serving
    assert by_role[other] in found.replication
    # Each with the processes that it has started.
    assert min(len(found.serving), len(found.replication)) > 1
    assert not found.serving.keys() & found.replication.keys()


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """What a client process is told, for a cluster without the shop."""
    with LocalCluster(readers=0) as cluster:
        values = cluster.environment()
        settings = {name.removeprefix("AURORA_").lower(): one for name, one in values.items()}
        sql = _shop.shop_files().sql
        yield Setup(settings=settings, sql=str(sql), scale=0.01, seed=1)


ORDER = Order(cell=CELLS[0], seconds=0.1, warm_up=0.01)


async def test_a_client_that_cannot_measure_says_why(setup):
    async with Client(setup) as client:
        with pytest.raises(ClientFailed, match="users"):  # there is no such table
            await client.prepare(ORDER)


async def test_a_client_that_cannot_log_in_says_so_without_the_password(setup):
    wrong = setup.model_copy(update={"settings": setup.settings | {"password": "not-this-one"}})
    async with Client(wrong) as client:
        with pytest.raises(ClientFailed) as raised:
            await client.prepare(ORDER)
    assert "not-this-one" not in str(raised.value)
    assert setup.settings["password"] not in str(raised.value)


async def test_clients_are_gone_after_the_block_however_it_ends(setup):
    client = Client(setup)
    with pytest.raises(ZeroDivisionError):
        async with client:
            _ = 1 / 0
    assert client._process.returncode is not None
    client = Client(setup)
    entered = asyncio.Event()

    async def use():
        async with client:
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client._process.returncode is not None


async def test_a_client_that_was_killed_is_no_riddle(setup):
    async with Client(setup) as client:
        client._process.kill()
        with pytest.raises(ClientFailed, match=r"ended \(-9\)"):
            await client.prepare(ORDER)


@pytest.mark.parametrize(("count", "kept"), [(0, None), (1, "a:1"), (2, "a:1,b:2")])
def test_a_cell_has_only_its_readers(setup, count, kept):
    from aurora_sql import AuroraSettings

    settings = AuroraSettings.from_values(setup.settings | {"read_endpoint": "a:1,b:2"})
    assert settings_for(settings, count).read_endpoint == kept
