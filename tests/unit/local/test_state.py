"""The state folder of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from aurora_sql.errors import ConfigurationError
from aurora_sql.local._state import ClusterRecord, InstanceRecord, StateFolder, default_folder

RECORD = ClusterRecord(
    pid=12,
    version="18.6",
    writer_endpoint=("127.0.0.1", 5000),
    reader_endpoint=("127.0.0.2", 5000),
    instances=(InstanceRecord("instance-1", "writer", "127.0.0.11", 5000, 13, "/log"),),
    environment={"AURORA_PASSWORD": "it's $HOME `x`"},
)


def test_what_one_process_writes_another_reads(tmp_path):
    serving, asking = StateFolder(tmp_path / "a" / "state"), StateFolder(tmp_path / "a" / "state")
    assert asking.read() is None
    serving.make()
    serving.acquire()
    assert asking.read() is None  # it is still starting
    serving.write(RECORD)
    assert asking.read() == RECORD
    with pytest.raises(ConfigurationError, match=r"runs already.*local down"):
        asking.acquire()
    assert not asking.wait_released(0.1)
    serving.release()
    assert asking.read() is None
    assert asking.wait_released(0.1)
    assert not serving.path.exists()


def test_files_are_closed_to_others_and_the_shell_reads_the_environment(tmp_path):
    state = StateFolder(tmp_path / "state")
    state.make()
    state.acquire()
    state.write(RECORD)
    assert {path.stat().st_mode & 0o777 for path in state.path.iterdir()} == {0o600}
    assert state.path.stat().st_mode & 0o777 == 0o700
    shown = subprocess.run(
        ["/bin/sh", "-c", f'. {state.environment_path}; printf %s "$AURORA_PASSWORD"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "it's $HOME `x`"
    state.release()


def test_what_a_killed_process_left_is_removed(tmp_path):
    state = StateFolder(tmp_path / "state")
    state.make()
    dying = """
import os, signal, sys
from pathlib import Path
from aurora_sql.local._state import StateFolder
state = StateFolder(Path(sys.argv[1]))
state.acquire()
(state.path / "cluster.json").write_text("{}")
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", dying, str(state.path)], check=False, env=environment)
    assert (state.path / "cluster.json").exists()
    assert state.read() is None
    assert not state.path.exists()


def test_a_folder_that_others_can_read_is_refused(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        StateFolder(folder).make()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="state folder"):
        StateFolder(tmp_path / "file").make()


def test_release_leaves_what_is_not_its_own(tmp_path):
    state = StateFolder(tmp_path / "state")
    state.make()
    state.acquire()
    (state.path / "mine").write_text("kept")
    state.release()
    assert [path.name for path in state.path.iterdir()] == ["mine"]


def test_the_record_shows_no_password():
    assert "HOME" not in repr(RECORD)
    assert json.dumps(RECORD.environment) not in repr(RECORD)


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "aurora-sql" / "local"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # to be ignored, as its specification says
    monkeypatch.setenv("HOME", "/home/x")
    assert str(default_folder()) == "/home/x/.local/state/aurora-sql/local"
