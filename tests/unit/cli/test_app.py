import logging
import subprocess
import sys

import pytest

from aurora_sql._version import __version__
from aurora_sql.cli import main


def test_the_version(run):
    assert run("--version") == (0, f"{__version__}\n", "")


def test_help_names_the_commands(run):
    code, out, _ = run("--help")
    assert code == 0
    assert all(name in out for name in ("bench", "explain", "local", "migrate"))
    assert all(
        name in run("migrate", "--help")[1]
        for name in ("new", "apply", "rollback", "list", "script")
    )


@pytest.mark.parametrize(
    "args", [("bogus",), ("migrate", "bogus"), ("migrate", "apply", "--bogus"), ("migrate", "new")]
)
def test_wrong_use_exits_2(run, args):
    code, _, err = run(*args)
    assert code == 2
    assert "Usage" in err


def test_an_error_of_ours_is_one_message_and_exit_2(run):
    code, out, err = run("migrate", "apply")
    assert (code, out) == (2, "")
    assert err.startswith(
        "aurora-sql: The settings have several problems:\n  AURORA_WRITE_ENDPOINT is missing\n"
    )
    assert "Traceback" not in err


def test_debug_shows_the_traceback(run, monkeypatch):
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    code, _, err = run("--debug", "migrate", "apply")
    assert code == 2
    assert "Traceback" in err
    assert "ConfigurationError" in err


def test_an_interruption_exits_130(run, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("aurora_sql.migrations.new", interrupted)
    assert run("migrate", "new", "x")[0] == 130


def test_an_error_that_is_not_ours_is_not_swallowed(run, monkeypatch):
    def broken(*_args, **_kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr("aurora_sql.migrations.new", broken)
    with pytest.raises(ZeroDivisionError):
        run("migrate", "new", "x")


@pytest.mark.parametrize(
    "url", ["postgresql://u:geheim@h/d", "postgresql://u:geheim@h/d?sslmode=nonsense"]
)
def test_a_password_on_the_command_line_is_refused(run, url):
    code, _, err = run("migrate", "list", "--url", url)
    assert code == 2
    assert "AURORA_PASSWORD" in err
    assert "geheim" not in err


def test_settings_and_url_exclude_each_other(run):
    code, _, err = run("migrate", "list", "--settings", "a.json", "--url", "postgresql://u@h/d")
    assert (code, "not both" in err) == (2, True)


def test_a_url_in_the_environment_may_have_its_password(run, monkeypatch):
    monkeypatch.setenv("AURORA_URL", "postgresql://u:geheim@127.0.0.1:1/d?connect_timeout=2")
    (__import__("pathlib").Path("m")).mkdir()
    code, _, err = run("migrate", "list", "-f", "m")
    assert code == 2
    assert "No connection to the writer 127.0.0.1:1" in err
    assert "geheim" not in err


def test_new_makes_files_and_names_them(run, tmp_path):
    code, out, _ = run("migrate", "new", "-f", "m", "Add  the Users' table!")
    first, second = out.split()
    assert code == 0
    assert first.endswith("-add-the-users-table.sql")
    assert second == first.replace(".sql", ".rollback.sql")
    assert (tmp_path / first).read_text() == "-- Add the Users' table!\n\n"


def test_a_missing_folder(run):
    code, _, err = run("migrate", "script", "--from-empty", "-f", "nowhere")
    assert code == 2
    assert "no folder of migrations nowhere" in err


def test_a_missing_extra_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "typer", None)
    for name in [name for name in sys.modules if name.startswith("aurora_sql.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "pip install 'aurora-sql[cli]'" in capsys.readouterr().err


def test_migrations_without_their_extra_say_what_to_install(run, monkeypatch, tmp_path):
    (tmp_path / "m").mkdir()
    monkeypatch.setitem(sys.modules, "yoyo", None)
    monkeypatch.setitem(sys.modules, "yoyo.migrations", None)
    code, _, err = run("migrate", "script", "--from-empty", "-f", "m")
    assert code == 2
    assert "aurora-sql[migrations]" in err


def test_importing_the_command_loads_no_database_code():
    code = (
        "import sys, aurora_sql.cli\n"
        "heavy = {'typer', 'rich', 'yoyo', 'psycopg', 'asyncpg', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
