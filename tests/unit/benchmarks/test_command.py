import importlib.util
import sys

import pytest
import typer

from aurora_sql.cli import _bench
from aurora_sql.errors import ConfigurationError


@pytest.fixture
def application():
    app = typer.Typer(pretty_exceptions_enable=False)
    _bench.register(app)
    app.command(name="other")(lambda: None)

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            app(args=list(arguments), prog_name="aurora-sql")
        return caught.value.code

    return run


def test_the_suite_has_the_arguments_and_the_exit_code(application, capsys):
    assert application("bench", "--rows", "nothing") == 2
    assert "no row 'nothing'" in capsys.readouterr().err
    assert application("bench", "show", "/nowhere.json") == 2
    assert "/nowhere.json" in capsys.readouterr().err


def test_the_help_is_that_of_the_suite(application, capsys):
    assert application("bench", "--help") == 0
    out = capsys.readouterr().out
    assert "aurora-sql bench" in out
    assert "layers" in out


def test_the_command_loads_nothing_of_the_suite_before_it_is_used():
    import subprocess

    code = (
        "import sys, aurora_sql.cli._bench;"
        "print([name for name in ('benchmarks', 'asyncpg', 'hdrh') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_missing_suite_is_told_with_what_to_install(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "hdrh" else real(name)
    )
    app = typer.Typer(pretty_exceptions_enable=False)
    _bench.register(app)
    with pytest.raises(ConfigurationError, match=r"needs hdrh.*aurora-sql\[bench\]"):
        app(args=[], prog_name="aurora-sql")
