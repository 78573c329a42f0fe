import json

import pytest
from rich.console import Console

from aurora_sql.errors import ConfigurationError
from benchmarks._engine import OpenFigures, Sample
from benchmarks._histogram import Latencies
from benchmarks._machine import Machine, Server, Software
from benchmarks._report import print_comparison, print_result, targets
from benchmarks._results import (
    BARE,
    OURS,
    POOL,
    Options,
    Result,
    Round,
    Row,
    Subject,
    compare,
    differences,
    regressions,
)

MS = 1_000_000


def subject(name, throughputs, latency=2.0):
    samples = [
        Sample(seconds=1.0, latencies=[int(latency * MS)] * throughput)
        for throughput in throughputs
    ]
    return Subject(
        name=name,
        rounds=tuple(Round.of(sample, position) for position, sample in enumerate(samples)),
        histogram=Latencies([int(latency * MS)] * sum(throughputs)).encode(),
    )


def row(ours, bare=(100, 100, 100), pool=(40, 40, 40), **changes):
    values = {
        "name": "read-writer",
        "title": "simple read, writer",
        "unit": "ops",
        "target_throughput": 95.0,
        "target_p95": 2.5,
        "goals": {f"{OURS} / {BARE}": 0.85, f"{OURS} / {POOL}": 2.5},
        "subjects": (subject(OURS, ours), subject(BARE, bare), subject(POOL, pool)),
    }
    return Row(**values | changes)


def result(*rows, **changes):
    values = {
        "created": "2026-01-01T00:00:00+00:00",
        "complete": True,
        "machine": Machine(
            processor="a fast one",
            cores=8,
            memory_gib=32.0,
            system="Linux",
            shared_with_server=True,
        ),
        "server": Server(version="18.6", aurora=None, readers=2, settings={"fsync": "on"}),
        "software": Software(
            python="3.11.7", aurora_sql="0.1", asyncpg="0.32.0", loop="uvloop 1", revision="abc"
        ),
        "options": Options(
            mode="closed", callers=16, rounds=3, seconds=1.0, warm_up=0.1, scale=1.0, seed=1
        ),
        "rows": rows,
    }
    return Result(**values | changes)


def text_of(printing):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123 - swallowed
    with console.file:
        printing(console)
    return console.export_text()


def test_a_result_survives_its_file(tmp_path):
    before = result(row((90, 91, 92)))
    before.save(tmp_path / "deeper" / "result.json")
    after = Result.load(tmp_path / "deeper" / "result.json")
    assert after == before
    assert after.rows[0].ours.latency == before.rows[0].ours.latency
    assert json.loads((tmp_path / "deeper" / "result.json").read_text())["schema_version"] == 1


def test_what_is_no_result_is_refused_and_named(tmp_path):
    path = tmp_path / "result.json"
    with pytest.raises(ConfigurationError, match=r"result\.json: cannot be read"):
        Result.load(path)
    path.write_text("{}")
    with pytest.raises(ConfigurationError, match="no benchmark result of schema 1"):
        Result.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Result.load(path)
    path.write_text(result().model_dump_json().replace('"schema_version":1', '"schema_version":2'))
    with pytest.raises(ConfigurationError, match="schema_version"):
        Result.load(path)


def test_ratios_are_medians_over_rounds():
    # A slow second round slows down everybody: the ratio stays.
    one = row((90, 45, 90), bare=(100, 50, 100))
    ratio = one.ratio(f"{OURS} / {BARE}")
    assert (ratio.median, ratio.low, ratio.high, ratio.rounds) == (0.9, 0.9, 0.9, 3)
    assert one.ratio(f"{OURS} / psycopg") is None
    assert set(one.floor_ratios()) == {f"{OURS} / {BARE}", f"{OURS} / {POOL}"}


def test_a_slower_library_is_told_from_a_slower_machine():
    earlier = result(row((90, 91, 92)))
    busy_machine = result(row((45, 46, 45), bare=(50, 50, 50), pool=(20, 20, 20)))
    (change,) = [one for one in compare(earlier, busy_machine) if one.subject == OURS]
    assert change.verdict == "worse"
    assert change.normalised == pytest.approx(0.9 / 0.91, abs=0.01)
    assert regressions(compare(earlier, busy_machine), 0.9) == []

    slower = result(row((70, 71, 72)))
    changes = compare(earlier, slower)
    (change,) = regressions(changes, 0.9)
    assert change.subject == OURS
    assert change.normalised_verdict == "worse"
    assert change.normalised == pytest.approx(71 / 91, abs=0.01)
    assert regressions(changes, 0.5) == []


def test_without_a_floor_the_throughput_is_judged():
    earlier = result(row((90,), subjects=(subject(OURS, (90,)),)))
    now = result(row((45,), subjects=(subject(OURS, (45,)),)))
    (change,) = regressions(compare(earlier, now), 0.9)
    assert change.normalised is None
    assert change.ratio == 0.5


def test_rows_that_only_one_result_has_are_not_compared():
    assert compare(result(), result(row((90,), bare=(100,), pool=(40,)))) == []
    assert compare(result(row((90,), bare=(100,), pool=(40,))), result()) == []


def test_what_makes_results_hard_to_compare_is_said():
    one = result()
    other = result(
        machine=one.machine.model_copy(update={"cores": 2}),
        software=one.software.model_copy(update={"python": "3.13.0", "revision": "def"}),
    )
    assert differences(one, one) == []
    assert differences(one, other) == ["another machine: cores", "python was 3.11.7, is 3.13.0"]


def test_the_report_says_where_it_ran_and_what_was_met():
    text = text_of(lambda console: print_result(console, result(row((90, 91, 92)))))
    for part in (
        "a fast one, 8 cores, 32 GiB",
        "shared with the server",
        "fsync=on",
        "Python 3.11.7",
        "target 95 ops/s: 91.0, not met",
        "target p95 2.5 ms: 2.00, met",
        "aurora_sql / asyncpg at least 0.85: 0.91 (0.90-0.92), met",
        "aurora_sql / asyncpg.Pool at least 2.5: 2.27 (2.25-2.30), not met",
    ):
        assert part in text, part


def test_a_target_is_met_by_calls_alone_or_together():
    together = {"name": "coalesced-read", "title": "together"}
    alone, slow = row((90,) * 3), row((90,) * 3, **together, target_p95=1.0)
    fast = row((96,) * 3, **together)
    join = row((10,) * 3, name="join", title="complex join")
    assert targets([alone, join]) == [
        (
            "[red]not met[/red]: simple read, writer (95% of the throughput, p95 2.00 of 2.5 ms);"
            " complex join (11% of the throughput, p95 2.00 of 2.5 ms)"
        )
    ]
    assert targets([alone, fast]) == ["[green]met[/green]: together"]
    assert "not met" in targets([slow])[0]


def test_the_report_says_that_a_rate_was_not_held_and_what_is_missing():
    figures = OpenFigures(offered=10, dropped=3, unserved=1, backlog=2, held=False, lag=[MS])
    rounds = (Round.of(Sample(seconds=1.0, latencies=[MS] * 6, open=figures), 0),)
    ours = Subject(name=OURS, rounds=rounds, histogram=Latencies([MS] * 6).encode())
    text = text_of(lambda console: print_result(console, result(row((1,), subjects=(ours,)))))
    assert "aurora_sql: the rate was not held (3 arrivals turned away, 1 never answered" in text
    assert "target 95 ops/s" not in text


def test_the_comparison_is_printed_with_its_verdicts():
    earlier, now = result(row((90, 91, 92))), result(row((70, 71, 72)))
    text = text_of(lambda console: print_comparison(console, earlier, now))
    assert "0.78 worse" in text
    assert "1.00 within the spread" in text


def test_an_interrupted_run_is_shown_as_such():
    text = text_of(lambda console: print_result(console, result(complete=False)))
    assert "interrupted: rows are missing" in text


def test_further_floors_have_a_line_and_normalise_nothing():
    floors = ("aiomysql", "aiomysql.Pool", "asyncmy", "asyncmy.Pool")
    rates = dict(zip((OURS, *floors), (90, 100, 80, 120, 60), strict=True))
    subjects = tuple(subject(name, [rate] * 3) for name, rate in rates.items())
    goals = {f"{OURS} / aiomysql": 0.9}
    measured = row((1,), subjects=subjects, floors=floors, goals=goals)
    here = result(measured)
    text = text_of(lambda console: print_result(console, here))
    assert "of aiomysql.Pool" in text
    assert "aurora_sql, of asyncmy: 0.75" in text
    assert "aurora_sql / aiomysql at least 0.9: 0.90" in text
    changes = compare(here, here)
    assert [change.subject for change in changes if not change.floor] == [OURS]
    assert regressions(changes, 1.01) == [changes[0]]
