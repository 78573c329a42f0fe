"""What a cluster refuses before anything is started, and the texts it is set up with."""

from __future__ import annotations

from pathlib import Path

import pytest

from aurora_sql.errors import ConfigurationError
from aurora_sql.local import LocalCluster
from aurora_sql.local._postgresql import _setup
from aurora_sql.local._postgresql._binaries import Binaries


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"engine": "oracle"}, "engine='oracle'"),
        ({"readers": -1}, "readers=-1"),
        ({"readers": 16}, "readers=16"),
        ({"readers": "2"}, "readers='2'"),
        ({"port": 0}, "port=0"),
        ({"port": 65536}, "port=65536"),
        ({"password": ""}, "password"),
        ({"password": "two\nlines"}, "password"),
        ({"database": ""}, "database=''"),
        ({"database": "x" * 64}, "database="),
        ({"username": "a\0b"}, "username="),
        ({"server_settings": {"port": "1"}}, "port is set by the cluster"),
        ({"server_settings": {"PORT": "1"}}, "PORT is set by the cluster"),
        ({"server_settings": {"restore_command": "x"}}, "restore_command is set by the cluster"),
        ({"endpoint_lag": -1.0}, "endpoint_lag=-1.0"),
        ({"endpoint_lag": float("nan")}, "endpoint_lag=nan"),
        ({"server_settings": {"work mem": "1"}}, "'work mem'"),
        ({"server_settings": {"work_mem": 4}}, "work_mem must be one line of text"),
        ({"server_settings": {"work_mem": "4MB'\nport = 1"}}, "work_mem must be one line"),
    ],
)
def test_an_argument_that_cannot_work_is_named(arguments, named):
    with pytest.raises(ConfigurationError) as caught:
        LocalCluster(**arguments)
    assert named in str(caught.value)
    assert "two" not in str(caught.value)


async def test_nothing_can_be_asked_of_a_cluster_that_does_not_run():
    cluster = LocalCluster()
    assert cluster.instances == ()
    assert repr(cluster) == "<LocalCluster not running>"
    for ask in (cluster.settings, cluster.environment, lambda: cluster.writer_endpoint):
        with pytest.raises(ConfigurationError, match="not running"):
            ask()
    with pytest.raises(ConfigurationError, match="not running"):
        await cluster.wait_replayed()
    cluster.stop()


def test_the_password_is_in_no_repr():
    cluster = LocalCluster(password="open-sesame")
    assert cluster.password == "open-sesame"
    assert "open-sesame" not in repr(cluster)
    assert LocalCluster().password != LocalCluster().password
    assert len(LocalCluster().password) >= 20


@pytest.mark.parametrize(("version", "has"), [(13, False), (14, True), (18, True)])
def test_initdb_gets_only_options_its_version_has(version, has):
    binaries = Binaries(Path("/pg"), version, f"{version}.1", "test")
    command = _setup.initdb_command(binaries, Path("/data"), "postgres", linux=True)
    assert ("--no-instructions" in command) is has
    assert "--auth=reject" in command


@pytest.mark.parametrize(
    ("text", "quoted"),
    [("plain", "'plain'"), ("it's", "'it''s'"), ("a\\b'", " E'a\\\\b'''")],
)
def test_literals_are_quoted_whatever_the_text(text, quoted):
    assert _setup.literal(text) == quoted


def test_identifiers_are_quoted():
    assert _setup.identifier('a"b') == '"a""b"'
