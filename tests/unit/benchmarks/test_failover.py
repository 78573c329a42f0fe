"""The ledger, the retry loop and the report of the failover benchmark."""

import asyncio
import importlib.util
import math

import pytest
from rich.console import Console

from aurora_sql.errors import ConfigurationError
from benchmarks import main
from benchmarks._machine import Machine, Server, Software
from benchmarks.failover import (
    CONTENDERS,
    FailoverOptions,
    FailoverResult,
    Outcome,
    choose_subjects,
    print_failover,
)
from benchmarks.failover._ledger import Ledger, Verdict
from benchmarks.failover._process import _end
from benchmarks.failover._work import InDoubt, retried


def outcome(**changes):
    values = {
        "name": "aurora_sql",
        "finds": "topology",
        "settings": {},
        "pauses": (0.1, 0.2, 0.4),
        "longest_gap": 0.9,
        "acknowledged": 1000,
        "lost": 0,
        "doubled": 0,
        "in_doubt": 0,
        "applied": 0,
        "unaccounted": 0,
        "errors": {},
        "reads": 5,
        "read_errors": {},
    }
    return Outcome(**values | changes)


def result(*outcomes, **changes):
    values = {
        "created": "2026-01-01T00:00:00+00:00",
        "complete": True,
        "machine": Machine(
            processor="p", cores=2, memory_gib=1.0, system="s", shared_with_server=True
        ),
        "server": Server(version="18", aurora=None, readers=2, settings={}),
        "software": Software(
            python="3", aurora_sql="1", asyncpg="1", loop="asyncio", revision=None
        ),
        "packages": {"psycopg": "3.3"},
        "options": FailoverOptions(),
        "outcomes": outcomes,
        "skipped": {},
    }
    return FailoverResult(**values | changes)


@pytest.fixture
def printed():
    def run(found):
        console = Console(width=200, record=True, file=None, quiet=False)
        with console.capture() as captured:
            print_failover(console, found)
        return captured.get()

    return run


def test_the_ledger_finds_what_is_lost_doubled_and_unaccounted():
    ledger = Ledger()
    for number in (1, 2, 3):
        ledger.acknowledge(number, at=float(number))
    ledger.in_doubt |= {4, 5}
    ledger.refuse(6, ValueError())
    ledger.refuse(7, ValueError())
    assert ledger.compare([1, 2, 3, 4]) == Verdict(lost=0, doubled=0, applied=1, unaccounted=0)
    assert ledger.compare([1, 2, 2, 4, 6]) == Verdict(lost=1, doubled=1, applied=1, unaccounted=1)
    assert ledger.errors == {"ValueError": 2}


def test_the_ledger_tells_when_work_went_on():
    ledger = Ledger()
    assert ledger.first_after(0.0) is None
    assert ledger.longest_gap() == 0
    for number, at in enumerate((1.0, 1.5, 4.0, 4.1)):
        ledger.acknowledge(number, at)
    assert ledger.first_after(1.5) == 4.0
    assert ledger.first_after(4.1) is None
    assert ledger.longest_gap() == 2.5


@pytest.mark.parametrize(
    ("committing", "expected"), [(False, "done"), (True, "in doubt")], ids=["before", "after"]
)
def test_nothing_is_tried_again_once_commit_was_sent(run, committing, expected):
    tries = []

    async def attempt(state):
        tries.append(1)
        if len(tries) == 1:
            state.committing = committing
            raise ConnectionResetError
        return "done"

    async def work():
        try:
            return await retried(attempt, (OSError,), 10)
        except InDoubt:
            return "in doubt"

    assert run(work()) == expected
    assert len(tries) == (1 if committing else 2)


def test_the_deadline_ends_the_loop_and_tells_a_doubt(run):
    async def never(state):
        raise ConnectionResetError

    async def unanswered(state):
        state.committing = True
        await asyncio.sleep(60)

    async def work(attempt):
        await retried(attempt, (OSError,), 1)

    with pytest.raises(TimeoutError):
        run(work(never))
    with pytest.raises(InDoubt):
        run(work(unanswered))


def test_a_failover_that_never_ended_is_the_worst():
    found = outcome(pauses=(0.1, None, 0.3))
    assert found.median == 0.3
    assert found.worst == math.inf
    assert outcome(pauses=(None, None, 0.3)).median == math.inf


def test_the_report_shows_targets_and_what_went_wrong(printed):
    text = printed(result(outcome()))
    assert "median under 300 ms: 200 ms, met" in text
    assert "worst under 1,000 ms: 400 ms, met" in text
    assert "are in doubt, none: 0, met" in text
    text = printed(
        result(
            outcome(pauses=(None,), errors={"DeadlineExceeded": 2}, in_doubt=3, unaccounted=1),
            skipped={"other": "pip install 'a[b]'"},
        )
    )
    assert "median under 300 ms: > 30 s, not met" in text
    assert "writes failed with DeadlineExceeded 2" in text
    assert "none: 5, not met" in text
    assert "of 3 in doubt 0 were applied" in text
    assert "1 units are there though" in text
    assert "other: not measured, pip install 'a[b]'" in text


def test_subjects_are_chosen_by_name(monkeypatch):
    chosen, missing = choose_subjects("asyncpg.pool,aurora_sql")
    assert [one.name for one in chosen] == ["asyncpg.Pool", "aurora_sql"]
    assert missing == {}
    with pytest.raises(ConfigurationError, match=r"--subjects: no subject 'asyncpg'"):
        choose_subjects("asyncpg")


def test_what_is_not_installed_is_left_out_or_refused_by_name(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    chosen, missing = choose_subjects(None)
    assert [one.name for one in chosen] == ["aurora_sql", "asyncpg.Pool"]
    assert set(missing) == {one.name for one in CONTENDERS} - {"aurora_sql", "asyncpg.Pool"}
    with pytest.raises(ConfigurationError, match=r"pip install 'aurora-sql\[bench-failover\]'"):
        choose_subjects("aws-wrapper")


def test_the_end_of_a_process_is_told():
    assert _end(-11, "") == "was ended by SIGSEGV"
    assert _end(1, "no such thing") == "failed with no such thing"


@pytest.fixture
def saved(tmp_path):
    def save(name, *outcomes, **changes):
        path = tmp_path / name
        result(*outcomes, **changes).save(path)
        return path

    return save


def test_a_result_is_shown_again_as_it_was(saved, printed, capsys):
    path = saved("f.json", outcome(pauses=(0.1, None, 0.2)), skipped={"x": "no [extra]"})
    assert main(["show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "3.3" in shown
    assert "> 30 s" in shown
    assert "no [extra]" in shown
    assert FailoverResult.load(path).outcomes[0].pauses == (0.1, None, 0.2)


def test_two_results_are_compared(saved, capsys):
    earlier = saved("a.json", outcome(), outcome(name="gone"))
    now = saved("b.json", outcome(pauses=(0.3, 0.4, 0.5)), outcome(name="new"))
    assert main(["compare", str(earlier), str(now)]) == 0
    out = capsys.readouterr().out
    assert "200 ms → 400 ms" in out
    assert "gone" not in out
    assert "new" not in out
    assert main(["compare", str(earlier), str(now), "--fail-below", "0.5"]) == 0
    assert main(["compare", str(earlier), str(now), "--fail-below", "0.6"]) == 1
    assert "the median, 0.400 s, was 0.200 s" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["lost", "doubled", "unaccounted"])
def test_a_lost_unit_is_one_too_many(saved, what):
    earlier, now = saved("a.json", outcome(**{what: 1})), saved("b.json", outcome(**{what: 1}))
    assert main(["compare", str(earlier), str(now), "--fail-below", "0.1"]) == 1
    assert main(["compare", str(earlier), str(now)]) == 0


def test_only_like_is_compared_and_broken_files_are_told(saved, tmp_path, capsys):
    good, other, broken = saved("a.json", outcome()), tmp_path / "o.json", tmp_path / "b.json"
    other.write_text("{}")
    broken.write_text('{"kind": "failover"}')
    for given in ([good, other], [other, good]):
        assert main(["compare", *map(str, given)]) == 2
        assert "o.json: no result of failover" in capsys.readouterr().err.replace("\n", "")
    assert main(["show", str(broken)]) == 2
    assert "`python -m benchmarks failover`" in capsys.readouterr().err
    assert main(["show", str(other)]) == 2
    assert "`python -m benchmarks run`" in capsys.readouterr().err
