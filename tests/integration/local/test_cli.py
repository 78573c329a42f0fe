"""``aurora-sql local`` as processes of its own, as people run it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from aurora_sql.local._state import StateFolder

RUN = "from aurora_sql.cli._local import app; app()"


@pytest.fixture
def state(tmp_path):
    return StateFolder(tmp_path / "state")


@pytest.fixture
def command(environment, state):
    def run(*words, check=0):
        done = subprocess.run(
            [sys.executable, "-c", RUN, *words, "--state-dir", str(state.path)],
            capture_output=True,
            text=True,
            env={**environment, "COLUMNS": "200"},
            timeout=100,
            check=False,
        )
        assert done.returncode == check, done.stdout + done.stderr
        return done.stdout + done.stderr

    yield run
    record = state.read()
    if record is not None:
        os.kill(record.pid, signal.SIGKILL)


def test_up_status_down(command, state, nothing_left):
    assert "no cluster is running" in command("status", check=3)
    shown = command("up", "--readers", "1", "--database", "shop")
    record = state.read()
    places = [record.instances[0].log.rsplit("/", 2)[0]]
    for text in (
        "instance-2",
        "AURORA_WRITE_ENDPOINT=127.0.0.",
        "AURORA_DATABASE=shop",
        "local down",
    ):
        assert text in shown
    password = record.environment["AURORA_PASSWORD"]
    assert password not in shown
    assert f"AURORA_PASSWORD='{password}'" in state.environment_path.read_text()
    assert stat.S_IMODE(state.environment_path.stat().st_mode) == 0o600
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True
    )
    assert password not in listing.stdout

    shown = command("status")
    assert shown.count("available") == 2
    assert " ms" in shown
    assert "runs already" in command("up", check=2)

    reader = record.instances[1]
    os.kill(reader.pid, signal.SIGKILL)
    writer = record.instances[0]
    os.kill(writer.pid, signal.SIGSTOP)
    give_up = time.monotonic() + 30
    while "down" not in (shown := command("status")):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    assert "not answering" in shown  # the writer, frozen
    os.kill(writer.pid, signal.SIGCONT)

    assert "stopped" in command("down")
    assert nothing_left(places) == []
    assert not state.path.exists()
    assert "no cluster is running" in command("down")


def test_the_password_is_shown_on_request_and_the_shell_reads_the_file(command, state):
    shown = command("up", "--readers", "0", "--show-password")
    record = state.read()
    password = record.environment["AURORA_PASSWORD"]
    assert f"AURORA_PASSWORD={password}" in shown
    script = f"set -a; . {state.environment_path}; set +a; env"
    variables = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, text=True, check=True
    )
    assert f"AURORA_PASSWORD={password}" in variables.stdout.splitlines()
    command("down")


def test_what_happens_to_a_running_cluster_is_told(command, state, nothing_left):
    assert "no cluster is running" in command("failover", check=3)
    command("up", "--readers", "1")
    place = state.read().control.rsplit("/", 1)[0]
    shown = command("failover")
    for text in ("stopping instance-1", "promoting instance-2", "instance-2 is the writer"):
        assert text in shown
    record = state.read()
    assert [(one.id, one.role) for one in record.instances] == [
        ("instance-2", "writer"),
        ("instance-1", "reader"),
    ]
    writer = record.instances[0]
    assert record.environment["AURORA_WRITE_ENDPOINT"] == f"{writer.host}:{writer.port}"
    assert "instance-3 is a reader" in command("add-reader")
    assert "instance-3 lags 5 s" in command("lag", "instance-3", "5")
    assert "instance-1 is removed" in command("remove-reader", "instance-1")
    assert "instance-3 is paused" in command("pause", "instance-3")
    assert "is paused" in command("failover", "instance-3", check=2)
    assert "instance-3 is resumed" in command("resume", "instance-3")
    command("kill", "writer")
    assert state.read().instances[0].pid is None
    assert "instance-2 is restarted" in command("restart", "instance-2")
    assert "no instance 'x'" in command("kill", "x", check=2)
    command("down")
    assert nothing_left([place]) == []


def test_a_failed_start_is_told_and_leaves_nothing(command, state):
    assert "bin_dir: /nowhere has no program" in command("up", "--bin-dir", "/nowhere", check=2)
    assert not state.path.exists()


def test_the_death_of_the_serving_process_is_noticed(command, state, nothing_left):
    command("up", "--readers", "0")
    record = state.read()
    place = record.instances[0].log.rsplit("/", 2)[0]
    os.kill(record.pid, signal.SIGKILL)
    give_up = time.monotonic() + 20
    while nothing_left([place]):
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert "no cluster is running" in command("status", check=3)
    assert not state.path.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["initialising", "Running"])
@pytest.mark.parametrize("how", ["--foreground", "--detach"])
def test_interrupted(number, when, how, environment, state, nothing_left):
    if how == "--detach" and (when == "Running" or number == signal.SIGTERM):
        pytest.skip("the command has ended by then, or dies at once")
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "up", "--readers", "0", how, "--state-dir", str(state.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment, "PYTHONUNBUFFERED": "1"},
    )
    for line in process.stdout:
        if when in line:
            break
    process.send_signal(number)
    process.communicate(timeout=60)
    assert not state.path.exists()
    assert nothing_left([str(state.path)]) == []


def test_a_command_killed_during_the_start_leaves_nothing(environment, state, nothing_left):
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "up", "--readers", "0", "--state-dir", str(state.path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, "PYTHONUNBUFFERED": "1"},
    )
    process.stdout.readline()
    process.kill()
    process.communicate()
    give_up = time.monotonic() + 30
    while nothing_left([str(state.path)]):
        assert time.monotonic() < give_up, nothing_left([str(state.path)])
        time.sleep(0.1)
