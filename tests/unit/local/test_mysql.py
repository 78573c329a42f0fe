"""Parts of a local MySQL: which server, how far it is, how late, and what it is set up with."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from aurora_sql.errors import ConfigurationError
from aurora_sql.local import LocalCluster
from aurora_sql.local._mysql import _binaries, _docker, _gtid, _setup
from aurora_sql.local._mysql._asking import _delay
from aurora_sql.local._mysql._binaries import Flavor
from aurora_sql.local._mysql._engine import Lags

MYSQL = "/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))"
MARIADB = "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)"


def make(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for program in (name, "mariadb-install-db"):
        path = folder / program
        path.write_text(f"#!/bin/sh\necho '{says}'\n")
        path.chmod(0o755)
    return folder / name


def quiet(_text):
    pass


@pytest.fixture
def nothing(monkeypatch, tmp_path):
    """No server anywhere."""
    monkeypatch.delenv(_binaries.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(_binaries, "_BESIDE_PATH", ())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_docker.importlib.util, "find_spec", lambda _: None)


def test_argument_variable_path_and_the_private_one_in_that_order(nothing, tmp_path, monkeypatch):
    private = make(tmp_path / "cache" / "aurora-sql-mysql" / "bin", "mysqld", MYSQL)
    found = _binaries.find(None, quiet)
    assert (found.server, found.flavor, found.version) == (private, Flavor.MYSQL, (9, 7, 4))
    on_path = make(tmp_path / "path", "mariadbd", MARIADB)
    monkeypatch.setenv("PATH", str(on_path.parent), prepend=":")
    found = _binaries.find(None, quiet)
    assert (found.server, found.flavor, found.full_version) == (on_path, Flavor.MARIADB, "10.11.19")
    assert found.install == on_path.parent / "mariadb-install-db"
    named = make(tmp_path / "named", "mysqld", MYSQL)
    monkeypatch.setenv(_binaries.VARIABLE, str(named))
    assert _binaries.find(None, quiet).server == named
    argument = make(tmp_path / "argument", "mysqld", MYSQL)
    assert _binaries.find(argument.parent, quiet).server == argument


def test_none_at_all_says_all_ways_to_have_one(nothing):
    with pytest.raises(ConfigurationError) as caught:
        _binaries.find(None, quiet)
    for way in ("apt install", "bin_dir", "AURORA_SQL_MYSQLD", "aurora-sql[docker]"):
        assert way in str(caught.value)


def test_what_cannot_be_used_is_refused_by_name(nothing, tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match=r"bin_dir: .* has no program mysqld"):
        _binaries.find(tmp_path, quiet)
    old = make(tmp_path / "old", "mysqld", "mysqld  Ver 5.7.44 for Linux on x86_64")
    with pytest.raises(ConfigurationError, match=r"MySQL 5\.7\.44 .* too old: 8\.0\.26"):
        _binaries.find(old.parent, quiet)
    old = make(tmp_path / "old-too", "mariadbd", "mariadbd  Ver 10.5.1-MariaDB for Linux")
    with pytest.raises(ConfigurationError, match=r"MariaDB 10\.5\.1 .* too old: 10\.6\.0"):
        _binaries.find(old.parent, quiet)
    mute = make(tmp_path / "mute", "mysqld", "hello")
    with pytest.raises(ConfigurationError, match="says no version: 'hello"):
        _binaries.find(mute.parent, quiet)
    monkeypatch.setenv(_binaries.VARIABLE, "/nowhere/mysqld")
    with pytest.raises(ConfigurationError, match="AURORA_SQL_MYSQLD: there is no program /nowhere"):
        _binaries.find(None, quiet)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        (
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:8,\n2174b383-5441-11e8-b90a-c80aa9429562:1-3",
            9,
        ),
        ("3e11fa47-71ca-11e1-9e33-c80aa9429562:7", 1),
        ("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:tag:1-2:4", 8),
    ],
)
def test_sets_of_mysql_are_counted(text, count):
    assert _gtid.executed(text) == count


@pytest.mark.parametrize(("text", "count"), [("", 0), ("0-1-17", 17), ("0-2-18,1-1-2", 20)])
def test_positions_of_mariadb_are_read(text, count):
    assert _gtid.position(text) == count


def test_a_reader_is_as_late_as_the_first_thing_that_it_lacks():
    lags = Lags()
    assert lags.of(0, 10.0) == 0.0
    for position, now in ((1, 1.0), (5, 2.0), (5, 3.0), (9, 4.0)):
        lags.note(position, now)
    assert lags.of(9, 5.0) == 0.0
    assert lags.of(12, 5.0) == 0.0
    assert lags.of(5, 5.0) == 1.0
    assert lags.of(1, 5.0) == 3.0


def test_a_delay_is_never_shorter_than_asked():
    assert [_delay(seconds) for seconds in (0.0, 0.1, 1.0, 1.5)] == [0, 2, 2, 3]


@pytest.mark.parametrize(
    "name", ["port", "server-id", "READ_ONLY", "loose_read_only", "gtid_mode", "init-file"]
)
def test_what_the_cluster_sets_itself_is_refused(name):
    with pytest.raises(ConfigurationError, match=f"{name} is set by the cluster itself"):
        LocalCluster("mysql", server_settings={name: "1"})


def test_names_are_limited_as_the_engine_limits_them():
    LocalCluster(username="x" * 33)
    with pytest.raises(ConfigurationError, match="must be 1 to 32 bytes"):
        LocalCluster("mysql", username="x" * 33)
    assert LocalCluster("mysql").username == "admin"
    assert LocalCluster().username == "postgres"


def test_values_are_quoted_whatever_the_text():
    assert _setup.literal("it's \\ there") == "'it''s \\\\ there'"
    assert _setup.identifier("a`b") == "`a``b`"
    sql = _setup.first_sql("o'hara", "p'w\\", "d`b", {"aurora_local": "x", "aurora_replica": "y"})
    assert "IDENTIFIED BY 'p''w\\\\'" in sql
    assert "CREATE DATABASE IF NOT EXISTS `d``b`;" in sql
    assert "SUPER" not in sql
    assert "READ ONLY ADMIN" not in sql


# Docker


def archive(*files: tuple[str, bytes], link: tuple[str, str] | None = None) -> list[bytes]:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
        if link is not None:
            member = tarfile.TarInfo(link[0])
            member.type, member.linkname = tarfile.SYMTYPE, link[1]
            tar.addfile(member)
    text = data.getvalue()
    return [text[start : start + 1000] for start in range(0, len(text), 1000)]


def test_nothing_in_an_image_leads_out_of_its_folder(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    _docker.extract(
        archive(("ok", b"1"), ("../bad", b"2"), link=("etc", "/etc")),
        place,
    )
    assert [path.name for path in place.iterdir()] == ["ok"]
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


class Container:
    """What of a container is used: its files."""

    def get_archive(self, path):
        loader = b'#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n'
        files = {
            "/usr/sbin/mysqld": archive(("mysqld", b"program")),
            "/usr/lib64": archive(("lib64/ld-linux-x86-64.so.2", loader)),
            "/usr/share": archive(("share/mysql-8.4/charsets/Index.xml", b"")),
        }
        return files[path], {}


def test_the_wrapper_runs_what_was_unpacked_with_its_own_library(tmp_path):
    _docker._copy(Container(), tmp_path)
    words = subprocess.run(
        [tmp_path / "bin" / "mysqld", "--defaults-file=/a", "--secure-file-priv=/b"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    root = tmp_path / "root" / "usr"
    assert words == [
        "--library-path",
        f"{root}/lib64:{root}/lib64/mysql/private",
        f"{root}/sbin/mysqld",
        "--defaults-file=/a",  # which the server takes as the first option only
        f"--lc-messages-dir={root}/share/mysql-8.4",
        f"--character-sets-dir={root}/share/mysql-8.4/charsets",
        f"--plugin-dir={root}/lib64/mysql/plugin",
        "--secure-file-priv=/b",
    ]
