"""Settings read the environment and the current folder: each test starts with neither."""

import os

import pytest

REQUIRED = {"write_endpoint": "127.0.0.1", "database": "shop", "username": "app"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper().startswith("AURORA_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def required():
    """The three values without which nothing works."""
    return dict(REQUIRED)


@pytest.fixture
def make():
    """Settings from exactly these values and the required ones."""
    from aurora_sql.settings import AuroraSettings

    def build(**values):
        return AuroraSettings.from_values({**REQUIRED, **values})

    return build
