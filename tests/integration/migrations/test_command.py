import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest


@pytest.fixture
def run(environment, folder, capsys):
    from aurora_sql.cli._app import run as start

    def call(*args):
        code = start(["migrate", *args, "--folder", str(folder)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_apply_list_rollback(run, sql, settings, monkeypatch):
    code, out, err = run("apply")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split(" in ")[0] for line in lines] == [
        "applied 0001-users",
        "applied 0002-index",
        "applied 0003-more",
        "3 applied",
    ]
    assert lines[0].endswith(" s")
    assert run("apply")[1] == "Nothing to apply\n"

    code, out, _ = run("list")
    assert [(line.split()[0], line.split()[-1]) for line in out.splitlines()] == [
        ("applied", "0001-users"), ("applied", "0002-index"), ("applied", "0003-more"),
    ]  # fmt: skip
    assert out.splitlines()[0].split()[2].endswith("Z")

    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    code, out, _ = run("rollback", "--count", "2")
    assert code == 1
    assert out.index("0003-more") < out.index("0002-index") < out.index("Roll back?")
    assert f"database {settings.database}" in out
    assert sql("SELECT count(*) FROM users") == [(2,)]

    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert run("rollback")[1].splitlines()[-1] == "1 rolled back"
    assert run("rollback", "--yes", "-n", "5")[1].splitlines()[-1] == "2 rolled back"
    assert run("rollback")[1] == "Nothing to roll back\n"
    assert "pending" in run("list")[1]


def test_script(run, tmp_path, sql):
    code, out, _ = run("script")
    assert code == 0
    assert "CREATE TABLE users" in out
    assert run("script", "-o", str(tmp_path / "x.sql"))[1] == ""
    assert (tmp_path / "x.sql").read_text() == out
    assert sql("SELECT to_regclass('_yoyo_migration')") == [(None,)]


def test_settings_from_a_file_and_a_url(run, settings, tmp_path, monkeypatch):
    for name in ("WRITE_ENDPOINT", "DATABASE", "USERNAME"):
        monkeypatch.delenv(f"AURORA_{name}")
    path = tmp_path / "appsettings.json"
    path.write_text(json.dumps({"Shop": {
        "WriteEndpoint": settings.write_endpoint, "Database": settings.database, "Username": settings.username,
    }}))  # fmt: skip
    assert run("apply", "--settings", str(path), "--section", "Shop", "--to", "0001")[0] == 0
    url = f"postgresql://{settings.username}@{settings.write_endpoint}/{settings.database}"
    assert run("list", "--url", url)[1].splitlines()[0].startswith("applied")


def test_a_failure_is_one_message(run, folder):
    (folder / "0004-bad.sql").write_text("SELECT nope;\n")
    code, out, err = run("apply")
    assert code == 2
    assert "applied 0003-more" in out
    assert err.count("\n") == 1
    assert "0004-bad.sql:1" in err


def test_a_broken_python_migration_is_one_message(environment, folder):
    (folder / "0004-bad.py").write_text("raise RuntimeError('broken on purpose')\n")
    command = [
        sys.executable,
        "-c",
        "from aurora_sql.cli import main; main()",
        "migrate",
        "apply",
        "-f",
        str(folder),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "broken on purpose" in done.stderr


def test_an_interruption_ends_the_statement_and_exits_130(environment, folder, sql):
    (folder / "0004-slow.sql").write_text("CREATE TABLE half (id int);\nSELECT pg_sleep(60);\n")
    command = [
        sys.executable,
        "-c",
        "from aurora_sql.cli import main; main()",
        "migrate",
        "apply",
        "-f",
        str(folder),
    ]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        until = time.monotonic() + 30
        while not sql(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid()"
        ):
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert sql("SELECT to_regclass('half')") == [(None,)]
    assert sql(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid()"
    ) == [(0,)]
