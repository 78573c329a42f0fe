"""The scaling benchmark: from measurements to service times, predictions, budgets and reports."""

import io
import json
import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Engine
from benchmarks import main, scaling
from benchmarks._machine import Machine, Server, Software
from benchmarks._shop import Size
from benchmarks.scaling import Fleet, ScalingResult, _budget, _cells, _model, _processor
from benchmarks.scaling._chart import chart
from benchmarks.scaling._measure import _Accounts, sum_up
from benchmarks.scaling._model import ServiceTimes
from benchmarks.scaling._results import Cell, Point, Round, ScalingOptions
from benchmarks.scaling._worker import Measured

READ = ServiceTimes(client=40e-6, server=30e-6, waiting=20e-6)
WRITE = ServiceTimes(client=50e-6, server=90e-6, replication=40e-6, waiting=200e-6)


def a_round(times, throughput, *, others=0.0):
    return Round(
        seconds=1.0,
        operations=round(throughput),
        throughput=throughput,
        p50=1.0,
        p95=2.0,
        client_cpu=times.client * round(throughput),
        server_cpu=times.server * round(throughput),
        replication_cpu=times.replication * round(throughput),
        others=others,
    )


def a_point(cell, *, cores=2):
    """What would be measured if the model were right."""
    times = {"read": READ, "write": WRITE}.get(cell.operation)
    if times is None:
        times = ServiceTimes(40e-6 + 2e-6 * cell.rows, 30e-6 + 1e-6 * cell.rows, waiting=20e-6)
    throughput = _model.on_this_machine(
        times, processes=cell.processes, cores=cores, population=cell.callers * cell.processes
    )[-1]
    # Calm, and with another load beside: that one is not to count.
    disturbed = a_round(times.scaled(3, 3), throughput / 4, others=1.5)
    return Point(cell=cell, rounds=(disturbed, a_round(times, throughput)))


@pytest.fixture
def result():
    return ScalingResult(
        created="2026-01-01T00:00:00+00:00",
        machine=Machine(
            processor="a", cores=2, memory_gib=8, system="Linux", shared_with_server=True
        ),
        server=Server(version="18.6", aurora=None, readers=2, settings={}),
        software=Software(python="3.11", aurora_sql="1", loop="uvloop", revision=None),
        options=ScalingOptions(rounds=2, seconds=1, warm_up=0, scale=1, seed=1),
        load_average=0.5,
        points=tuple(a_point(cell) for cell in _cells.cells(2, most_rows=10_000)),
    )


# What is measured


def test_every_sweep_has_its_cells():
    found = _cells.cells(2, most_rows=500)
    by = {name: [cell for cell in found if cell.sweep == name] for name in _SWEEPS}
    assert [cell.callers for cell in by["callers"]] == [1, 2, 4, 8, 16, 32, 64]
    assert [cell.processes for cell in by["processes"]] == [1, 2, 4]
    assert [cell.readers for cell in by["readers"]] == [0, 1, 2]
    assert [cell.rows for cell in by["rows"]] == [1, 10, 100]  # 1,000 there are not
    assert {cell.operation for cell in by["write"]} == {"write"}
    assert len(found) == len(set(found))


_SWEEPS = ("callers", "processes", "readers", "rows", "write")


def test_a_read_of_rows_asks_for_rows_that_there_are():
    from aurora_sql.statements import StatementRegistry
    from benchmarks._shop import shop_files

    registry = StatementRegistry.load(shop_files().sql, dialect="postgresql")
    size = Size.of(0.01)
    work = _cells.work_of(
        Cell(sweep="rows", operation="rows", callers=1, rows=size.customers), registry, size, 1
    )
    assert all(value.named["ids"] == list(range(1, size.customers + 1)) for value in work.values)


def test_a_round_is_summed_up_from_all_processes_and_accounts():
    before = _Accounts(serving={1: 1.0, 2: 5.0}, replication={9: 1.0})
    after = _Accounts(serving={1: 1.5, 3: 0.25}, replication={9: 1.25})
    one = Measured(
        operations=100, throughput=50.0, p50=1.0, p95=3.0, cpu=0.75, seconds=2.0, busy=3.0
    )
    two = Measured(
        operations=300, throughput=150.0, p50=2.0, p95=5.0, cpu=0.25, seconds=2.0, busy=4.0
    )
    found = sum_up([one, two], before, after)
    assert (found.operations, found.throughput, found.seconds) == (400, 200.0, 2.0)
    assert (found.p50, found.p95) == (1.5, 4.0)
    assert found.client_time == pytest.approx(1.0 / 400)
    assert found.server_time == pytest.approx(0.75 / 400)  # 2 has ended, 3 is new
    assert found.replication_time == pytest.approx(0.25 / 400)
    # Of the cores that were busy, 1.75 on average, a whole one was ours.
    assert found.others == pytest.approx(1.75 - (1.0 + 0.75 + 0.25) / 2.0)


# Processor times from /proc


@pytest.fixture
def proc(tmp_path):
    def add(pid, parent, name, *threads):
        for number, nanoseconds in enumerate(threads):
            folder = tmp_path / str(pid) / "task" / str(pid + number)
            folder.mkdir(parents=True)
            (folder / "schedstat").write_text(f"{nanoseconds} 5 1\n")
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0\n")

    add(10, 1, "postgres", 1_000_000_000)
    add(11, 10, "io) S 77 (worker", 500_000_000, 250_000_000)
    add(12, 11, "grandchild", 125_000_000)
    add(20, 1, "other", 9_000_000_000)
    (tmp_path / "stat").write_text("cpu  100 50 50 1000 500 25 25 50 999 999\ncpu0 1 1 1 1\n")
    (tmp_path / "uptime").write_text("1 1\n")
    return tmp_path


def test_the_family_of_a_server_is_counted_with_all_threads(proc):
    assert _processor.parents(proc) == {10: 1, 11: 10, 12: 11, 20: 1}
    assert _processor.used_by_families([10], proc) == {10: 1.0, 11: 0.75, 12: 0.125}
    assert _processor.used_by(99, proc) == 0  # gone


def test_busy_time_has_what_the_host_took_and_not_the_idling(proc, monkeypatch):
    monkeypatch.setattr(_processor.os, "sysconf", lambda _: 100)
    assert _processor.busy(proc) == pytest.approx(3.0)


def test_a_system_without_accounts_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="run it on Linux"):
        _processor.check(tmp_path)


# The model on the machine that was measured


def test_service_times_come_from_the_calmest_rounds(result):
    read = _model.service_times(result)
    assert read.client == pytest.approx(READ.client)
    assert read.server == pytest.approx(READ.server)
    assert read.waiting == pytest.approx(READ.waiting, rel=0.01)
    write = _model.service_times(result, "write")
    assert write.replication == pytest.approx(WRITE.replication)
    assert write.waiting == pytest.approx(WRITE.waiting, rel=0.01)


def test_a_measurement_that_follows_the_model_is_predicted(result):
    found = scaling.checks(result)
    assert len(found) == len(result.points)
    assert all(abs(check.error) < 0.01 for check in found)
    fed = {(check.point.cell.sweep, check.point.cell.callers) for check in found if check.fed}
    assert fed == {("callers", 1), ("callers", 16), ("write", 1), ("write", 16), ("rows", 8)}
    typical, worst = scaling.typical_error(found)
    assert 0 <= typical <= worst < 0.01


def test_one_that_does_not_is_off_by_as_much(result):
    (wrong,) = (p for p in result.sweep("callers") if p.cell.callers == 64)
    half = [one.model_copy(update={"throughput": one.throughput / 2}) for one in wrong.rounds]
    points = [
        point.model_copy(update={"rounds": tuple(half)}) if point is wrong else point
        for point in result.points
    ]
    found = scaling.checks(result.model_copy(update={"points": tuple(points)}))
    _, worst = scaling.typical_error(found)
    assert worst == pytest.approx(1.0, abs=0.02)


def test_processor_times_that_grow_with_the_load_are_told_from_a_wrong_network(result):
    (last,) = (p for p in result.sweep("callers") if p.cell.callers == 64)
    heavy = READ.scaled(2, 2)
    network = _model.on_this_machine(heavy, processes=1, cores=2, population=64)
    slow = last.model_copy(update={"rounds": (a_round(heavy, network[-1]),)})
    points = tuple(slow if point is last else point for point in result.points)
    found = scaling.checks(result.model_copy(update={"points": points}))
    assert scaling.typical_error(found)[1] > 0.5
    assert scaling.typical_error(found, own=True)[1] < 0.01


def test_cores_that_others_keep_busy_are_not_there(result):
    def loaded(point):
        disturbed, calm = point.rounds
        rounds = disturbed, calm.model_copy(update={"others": 1.0})
        return point.model_copy(update={"rounds": rounds})

    alone = {check.point.cell: check.predicted for check in scaling.checks(result)}
    busy = result.model_copy(update={"points": tuple(map(loaded, result.points))})
    for check in scaling.checks(busy):
        # What a lone caller does takes one core at a time, and one is left.
        share = 1.0 if check.point.cell.callers == 1 else 0.95
        assert check.predicted <= share * alone[check.point.cell] * (1 + 1e-9)


def test_a_result_without_the_calibrating_cell_is_refused(result):
    points = tuple(p for p in result.points if p.cell.callers != 16)
    with pytest.raises(ConfigurationError, match="16 callers"):
        scaling.checks(result.model_copy(update={"points": points}))


# Fleets


def test_a_fleet_is_bound_by_its_busiest_station():
    few = _model.predict(Fleet(services=1, processes=1, callers=64, network=0.0), READ)
    assert few.solution.bottleneck == "client"
    assert few.solution.throughput == pytest.approx(1 / READ.client, rel=0.01)
    many = Fleet(services=32, callers=32, readers=0, network=0.0001)
    on_writer = _model.predict(many, READ).solution
    assert on_writer.bottleneck == "writer"
    assert on_writer.throughput == pytest.approx(many.cores / READ.server, rel=0.01)


def test_readers_take_reads_off_the_writer_and_writes_stay():
    crowd = {"services": 32, "callers": 16}
    none, one, four = (
        _model.predict(Fleet(readers=n, **crowd), READ).solution.throughput for n in (0, 1, 4)
    )
    assert one == pytest.approx(none)
    assert four > 2 * one
    writing = [
        _model.predict(Fleet(readers=n, reads=0.0, **crowd), READ, WRITE).solution.throughput
        for n in (0, 4)
    ]
    assert writing[0] == pytest.approx(writing[1])
    mixed = _model.stations(Fleet(readers=2, reads=0.75), READ, WRITE)
    demands = {one.name: one.demand for one in mixed}
    assert demands["writer"] == pytest.approx(0.25 * WRITE.server)
    assert demands["readers"] == pytest.approx(0.75 * READ.server)


def test_a_small_pool_binds_a_fleet_of_many_callers():
    wide = _model.predict(Fleet(services=1, callers=32, readers=0, pool=32), READ)
    tight = _model.predict(Fleet(services=1, callers=32, readers=0, pool=2), READ)
    assert tight.solution.throughput < 0.5 * wide.solution.throughput
    # Each reader has a pool of its own.
    more = _model.predict(Fleet(services=1, callers=32, readers=2, pool=2), READ)
    assert more.solution.throughput > tight.solution.throughput


def test_the_outlook_has_the_whole_grid_and_what_it_depends_on():
    fleet = Fleet(services=3, readers=3)
    found = scaling._model.outlook(fleet, READ, services=(1, 2), readers=(0,))
    assert set(found.grid) == {(n, m) for n in (1, 2, 3) for m in (0, 3)}
    assert found.grid[3, 3] == found.here
    assert found.here == _model.predict(fleet, READ)
    for one in found.sensitivity:
        assert one.more <= found.here.solution.throughput <= one.fewer
    assert any("0.5 ms" in sentence for sentence in found.assumed)
    assert any("8 cores" in sentence for sentence in found.assumed)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"services": 0}, "--services"),
        ({"processes": 0}, "--processes"),
        ({"callers": 0}, "--callers"),
        ({"pool": 0}, "--pool"),
        ({"cores": 0}, "--cores"),
        ({"readers": -1}, "--readers"),
        ({"network": -0.001}, "--network-ms"),
        ({"network": math.nan}, "--network-ms"),
        ({"think": math.inf}, "--think-ms"),
        ({"reads": 1.1}, "--reads"),
        ({"reads": math.nan}, "--reads"),
    ],
)
def test_a_wrong_fleet_is_refused_by_its_option(wrong, named):
    with pytest.raises(ConfigurationError, match=named):
        Fleet(**wrong)


def test_writes_that_were_not_measured_are_refused():
    with pytest.raises(ConfigurationError, match="--reads"):
        _model.predict(Fleet(reads=0.5), READ)


# The budget of connections


@pytest.mark.parametrize(
    ("gib", "published"), [(15.25, 1_600), (30.5, 3_200), (61, 5_000), (488, 5_000)]
)
def test_the_default_of_postgresql_is_the_published_one(gib, published):
    found = _budget.default_max_connections(Engine.POSTGRESQL, _budget.class_memory(gib))
    assert found == pytest.approx(published, abs=1)


@pytest.mark.parametrize(
    ("bytes_", "published"),
    [(3 * 2**30, 90), (15.25 * 2**30, 1_000), (30.5 * 2**30, 2_000), (488 * 2**30, 6_000)],
)
def test_the_default_of_mysql_is_the_published_one(bytes_, published):
    assert _budget.default_max_connections(Engine.MYSQL, bytes_) == pytest.approx(published, abs=1)
    # What is taken for the memory of a class errs to the lower side.
    low = _budget.default_max_connections(Engine.MYSQL, bytes_ / 2**30 * 1e9)
    assert 0.85 * published < low <= published


@pytest.mark.parametrize("memory", [0.0, -1.0, math.nan, 1e8])
def test_less_memory_than_any_class_has_is_refused(memory):
    with pytest.raises(ConfigurationError, match="--instance-memory"):
        _budget.default_max_connections(Engine.MYSQL, memory)


def poisson(mean, most):
    return sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(most + 1))


@given(st.floats(0.01, 900.0), st.sampled_from([0.5, 0.9, 0.999]))
def test_a_quantile_of_poisson_is_the_first_that_covers(mean, share):
    found = _budget.poisson_quantile(mean, share)
    assert poisson(mean, found) >= share - 1e-9
    if found:
        assert poisson(mean, found - 1) < share + 1e-9


def test_nobody_needs_a_connection_where_nothing_is_done():
    assert _budget.poisson_quantile(0.0, 0.999) == 0


def test_connections_are_counted_for_every_process_and_instance():
    fleet = Fleet(services=4, processes=2, readers=2, pool=20)
    found = _budget.budget(fleet, READ, rate=50_000, allowed=1_600)
    assert found.instance == 4 * 2 * (20 + 1)
    assert found.cluster == 3 * found.instance
    assert found.largest_pool == (1_600 - _budget.KEPT_FREE) // 8 - 1
    assert found.warnings == ()


def test_little_is_right_about_the_connections_in_use():
    fleet = Fleet(services=2, processes=1, readers=2)
    found = _budget.budget(fleet, READ, rate=1_000)
    # Hardly anybody waits at so low a rate: the time of a lone operation.
    alone = READ.client + READ.server + READ.waiting + fleet.network
    assert found.response == pytest.approx(alone, rel=0.05)
    assert found.busy == pytest.approx(1_000 * alone / 2 / 2, rel=0.05)
    planned = _budget.budget(fleet, READ)
    assert planned.rate == pytest.approx(0.7 * 2 / READ.client)
    assert planned.recommended > found.recommended


def test_the_busiest_instance_decides_where_the_load_is_uneven():
    even = Fleet(readers=2, reads=1.0)
    assert even.largest_share == 0.5
    assert Fleet(readers=4, reads=0.2).largest_share == 0.8
    assert Fleet(readers=0, reads=0.2).largest_share == 1.0


@pytest.mark.parametrize(
    ("fleet", "allowed", "told"),
    [
        (Fleet(services=10, processes=4, pool=100), 1_600, "--pool 38 fits"),
        (Fleet(services=1_000, processes=4, pool=1), 1_600, "no pool fits"),
        (Fleet(services=10, processes=4, pool=30), 1_600, "a deployment"),
        (Fleet(services=4, pool=1), 1_600, "the pools are the bottleneck"),
        (Fleet(services=4, pool=9), 1_600, "calls will wait for connections"),
        (Fleet(services=32, processes=4, pool=2, readers=16), 400, "do not fit into 400"),
    ],
)
def test_what_does_not_fit_is_told(fleet, allowed, told):
    found = _budget.budget(fleet, READ, allowed=allowed)
    assert any(told in sentence for sentence in found.warnings), found.warnings


def test_the_largest_pool_that_is_named_does_fit():
    fleet = Fleet(services=10, processes=4, pool=100)
    largest = _budget.budget(fleet, READ, allowed=1_600).largest_pool
    for pool, fits in ((largest, True), (largest + 1, False)):
        again = _budget.budget(Fleet(services=10, processes=4, pool=pool), READ, allowed=1_600)
        assert (not any("too many" in one for one in again.warnings)) is fits


@pytest.mark.parametrize("rate", [0, -5, math.nan, 1e9])
def test_a_rate_that_the_fleet_cannot_do_is_refused(rate):
    with pytest.raises(ConfigurationError, match="--rate"):
        _budget.budget(Fleet(), READ, rate=rate)


def test_a_rate_at_the_very_edge_is_refused_in_words():
    # With two stations that are equally busy, n calls at work reach n / (n + 1) of the most.
    fleet = Fleet(services=1, processes=1, readers=0, cores=1, network=0.0)
    even = ServiceTimes(client=40e-6, server=40e-6)
    assert _budget.budget(fleet, even, rate=0.99 / even.client).busy == pytest.approx(99, rel=0.01)
    with pytest.raises(ConfigurationError, match="plan with less"):
        _budget.budget(fleet, even, rate=0.99999 / even.client)


# What people and programs see


def test_a_result_is_read_as_it_was_written(result, tmp_path):
    path = tmp_path / "folder" / "result.json"
    result.save(path)
    assert ScalingResult.load(path) == result
    assert scaling.is_scaling(path)
    path.write_text("[]")
    assert not scaling.is_scaling(path)
    path.write_text("no JSON")
    assert not scaling.is_scaling(path)
    with pytest.raises(ConfigurationError, match="benchmarks scaling"):
        ScalingResult.load(path)


def test_the_report_has_the_figures_with_their_assumptions(result):
    console = Console(width=140, record=True, file=io.StringIO())
    demand = scaling.Demand(memory=2)
    planned = scaling.show(console, result, Fleet(pool=100), demand)
    text = console.export_text()
    assert f"{planned.outlook.here.solution.throughput:,.0f}" in text
    assert "predicted, not measured" in text
    for sentence in planned.outlook.assumed:
        assert sentence[:60] in text
    assert "not fed (*)" in text
    assert "209" in text  # max_connections of 2 GiB
    assert "too many" in text
    assert "load average 0.5" in text


def test_an_earlier_result_is_used_without_measuring(result, tmp_path, capsys):
    path, page = tmp_path / "result.json", tmp_path / "page.html"
    result.save(path)
    arguments = ["scaling", "--from", str(path), "--html", str(page), "--services", "6"]
    assert main([*arguments, "--max-connections", "77"]) == 0
    text = capsys.readouterr().out
    assert "6 services" in text
    assert "77" in text
    assert "Predicted, not measured" in page.read_text()
    assert main(["show", str(path)]) == 0
    assert "simple read by callers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--reads", "2"], "--reads"),
        (["--network-ms", "-1"], "--network-ms"),
        (["--rate", "1e12"], "--rate"),
        (["--instance-memory", "0.1"], "--instance-memory"),
        (["--html", "/nowhere/page.html"], "--html"),
    ],
)
def test_wrong_options_end_with_their_name(result, tmp_path, capsys, arguments, told):
    path = tmp_path / "result.json"
    result.save(path)
    assert main(["scaling", "--from", str(path), *arguments]) == 2
    assert told in capsys.readouterr().err


def test_the_chart_has_a_line_for_each_number_of_readers(result):
    planned = scaling.plan(result, Fleet(readers=1))
    root = ET.fromstring(chart(planned.outlook))
    lines = root.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == len({readers for _, readers in planned.outlook.grid})
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "1 reader" in texts
    assert "writer only" in texts


def test_a_result_is_plain_json(result, tmp_path):
    result.save(tmp_path / "result.json")
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["kind"] == "scaling"
    assert len(found["points"]) == len(result.points)
