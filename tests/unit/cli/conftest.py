"""The command line in its own process folder, without settings of the machine."""

import os

import pytest


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper().startswith("AURORA_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    """Run a command in this process; its code, output and errors."""
    from aurora_sql.cli._app import run as start

    def call(*args):
        code = start(args)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call
