import re
from pathlib import Path

import pytest

from aurora_sql.errors import ConfigurationError
from aurora_sql.statements import StatementRegistry
from benchmarks import _memory, _shop, _startup, main
from benchmarks._coalesced import COALESCED
from benchmarks._layers import STATEMENT
from benchmarks._machine import machine, revision, software, usable_cores
from benchmarks._options import Pace, Place, choose_rows, result_path
from benchmarks._rows import OPERATIONS
from benchmarks._schedule import Arrivals


def pace(**changes):
    values = {
        "quick": False,
        "rounds": None,
        "seconds": None,
        "warm_up": None,
        "callers": 16,
        "scale": None,
        "seed": 1,
        "models": None,
        "open_loop": False,
        "rate": None,
        "arrivals": Arrivals.POISSON,
        "queue": None,
    }
    return Pace(**values | changes)


def test_a_full_run_has_seven_rounds_and_a_quick_one_fits_into_a_minute():
    full = pace().options()
    assert (full.mode, full.rounds, full.seconds, full.callers) == ("closed", 7, 2.0, 16)
    assert pace().with_models
    quick = pace(quick=True).options()
    assert not pace(quick=True).with_models
    measured = 3 * len(OPERATIONS) + 1  # the bulk load also with models
    assert measured * quick.rounds * (quick.seconds + quick.warm_up) < 30


def test_what_is_given_wins_over_the_kind_of_run():
    options = pace(quick=True, rounds=5, seconds=1.5, warm_up=0.0, scale=2.0).options()
    assert (options.rounds, options.seconds, options.warm_up, options.scale) == (5, 1.5, 0.0, 2.0)
    assert pace(quick=True, models=True).with_models


def test_the_queue_of_an_open_loop_holds_a_second():
    assert pace(open_loop=True, rate=5_000).options().queue_limit == 5_000
    assert pace(open_loop=True, rate=2).options().queue_limit == 16
    assert pace(open_loop=True, rate=2, queue=7).options().queue_limit == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"open_loop": True}, "--open-loop needs --rate"),
        ({"rate": 5}, "--rate and --queue need --open-loop"),
        ({"queue": 5}, "--rate and --queue need --open-loop"),
        ({"seconds": 0.0}, "--seconds must be more than 0"),
        ({"seconds": float("nan")}, "--seconds must be more than 0"),
        ({"open_loop": True, "rate": -1.0}, "--rate must be more than 0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        pace(**changes).options()


def test_rows_are_chosen_by_name_once_and_in_the_order_given():
    assert [one.name for one in choose_rows("join, write,join")] == ["join", "write"]
    assert choose_rows(None) == (*OPERATIONS, *COALESCED)
    with pytest.raises(ConfigurationError, match=r"no row 'joins'.*did you mean join\?"):
        choose_rows("joins")


def test_one_place_to_run_on(tmp_path):
    assert Place().given() is None
    assert Place(url="postgresql://a@127.0.0.1/b").given().database == "b"
    with pytest.raises(ConfigurationError, match="--url and --environment: give one place"):
        Place(url="postgresql://a@127.0.0.1/b", environment=True).given()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Place(settings=tmp_path / "missing.json").given()


def test_results_go_where_they_are_told_to():
    assert result_path(Path("x.json")) == Path("x.json")
    assert re.fullmatch(r"bench-results/\d{8}-\d{6}\.json", str(result_path(None)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "nothing"], "no row 'nothing'"),
        (["run", "--open-loop"], "--open-loop needs --rate"),
        (["run", "--fail-below", "0.9"], "--fail-below needs --compare"),
        (["run", "--compare", "/nowhere/result.json"], "cannot be read"),
        (["run", "--scale", "-1"], "--scale must be more than 0"),
        (["run", "--shop", "/nowhere"], "give the folder that holds them as --shop"),
        (["clean"], "clean needs --url"),
        (["show", "/nowhere/result.json"], "cannot be read"),
        (["run", "--callers", "0"], "--callers"),
        (["run", "--no-such-option"], "--no-such-option"),
    ],
)
def test_bad_arguments_are_told_before_anything_starts(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_help_names_the_program(capsys):
    assert main(["--help"], program="aurora-sql bench") == 0
    out = capsys.readouterr().out
    assert "aurora-sql bench" in out
    for name in ("run", "compare", "layers", "memory", "startup", "show", "clean"):
        assert name in out


def test_the_shop_is_found_in_the_checkout_and_measured_without_models(tmp_path):
    files = _shop.shop_files()
    _shop.without_models(files.sql, tmp_path)
    plain = StatementRegistry.load(tmp_path, dialect="postgresql")
    typed = StatementRegistry.load(files.sql, dialect="postgresql")
    assert sorted(plain) == sorted(typed)
    assert all(plain[name].returns is None for name in plain)
    assert typed[STATEMENT].returns is not None
    for name in plain:
        assert [one.sql for one in plain[name].variants] == [
            one.sql for one in typed[name].variants
        ]
        assert plain[name].line == typed[name].line


def test_all_subjects_are_given_the_same_values():
    registry = StatementRegistry.load(_shop.shop_files().sql, dialect="postgresql")
    size = _shop.Size.of(0.1)
    for operation in OPERATIONS:
        first, second = operation.make(registry, size, 1), operation.make(registry, size, 1)
        assert list(first.values) == list(second.values)
        one, other = first.streams(2)
        assert next(one) == first.values[0]
        assert next(other) == first.values[len(first.values) // 2]


def test_a_changed_statement_of_the_transaction_is_noticed(tmp_path):
    files = _shop.shop_files()
    _shop.without_models(files.sql, tmp_path)
    path = tmp_path / "products.sql"
    text = path.read_text().replace("WHERE id = :id\n  AND stock >= :quantity\nRETURNING id, price",
                                    "WHERE id = :key\n  AND stock >= :quantity\nRETURNING id, price")  # fmt: skip
    assert text != path.read_text()
    path.write_text(text)
    registry = StatementRegistry.load(tmp_path, dialect="postgresql")
    transaction = next(one for one in OPERATIONS if one.name == "transaction")
    with pytest.raises(ConfigurationError, match="bring the two together"):
        transaction.make(registry, _shop.Size.of(0.1), 1)


def test_the_large_registry_loads_and_has_what_services_have(tmp_path):
    _startup.write_statements(tmp_path)
    registry = StatementRegistry.load(tmp_path, dialect="postgresql")
    assert len(registry) == _startup.STATEMENTS
    assert {str(registry[name].cardinality.value) for name in registry} == {
        "one",
        "many",
        "affected",
    }
    assert max(len(registry[name].variants) for name in registry) == 4


def test_start_times_come_from_fresh_processes():
    measured = _startup.measure(1, lambda text: None)
    assert [one.target for one in measured] == [150.0, None, 150.0]
    assert all(one.wall.median > 0 for one in measured)


def test_a_measured_process_that_fails_is_an_error():
    with pytest.raises(ConfigurationError, match="no_such_module"):
        _startup._timed("import no_such_module")


def test_memory_that_grows_is_seen():
    peak = _memory.Peak()
    peak.begin()
    block = bytearray(64 * 1024 * 1024)
    block[::4096] = b"x" * len(block[::4096])
    del block
    assert peak.most() - peak.before >= 60


def test_settings_travel_to_the_measured_process_with_their_password(tmp_path):
    settings = Place(url="postgresql://a:secret@127.0.0.1/b?sslmode=disable").given()
    text = _memory.settings_text(settings)
    again = type(settings).from_values(__import__("json").loads(text))
    assert again.password.get_secret_value() == "secret"
    assert again.ssl_mode is settings.ssl_mode


def test_the_machine_is_described():
    here = machine(shared_with_server=True)
    assert here.cores == usable_cores() >= 1
    assert here.memory_gib > 0
    assert here.processor
    assert software("asyncio").loop == "asyncio"
    assert software("uvloop").loop.startswith("uvloop ")


def test_a_folder_outside_of_git_has_no_revision(tmp_path):
    assert revision(tmp_path) is None
