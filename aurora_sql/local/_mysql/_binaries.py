"""Which MySQL or MariaDB the cluster runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError
from aurora_sql.local._mysql import _docker

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE = "AURORA_SQL_MYSQLD"
_NAMES = ("mysqld", "mariadbd")
_BESIDE_PATH = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec")
"""Where distributions put the server although no user has it on PATH."""
_INSTALL = ("mariadb-install-db", "mysql_install_db")
_RUN_SECONDS = 20.0


class Flavor(StrEnum):
    """Whose server it is."""

    MYSQL = "MySQL"
    MARIADB = "MariaDB"


_OLDEST = {
    # SHOW REPLICA STATUS and the settings named replica_ came with 8.0.26.
    Flavor.MYSQL: (8, 0, 26),
    # JSON_TABLE, and DDL that a crash leaves done or not done.
    Flavor.MARIADB: (10, 6, 0),
}


@dataclass(frozen=True, slots=True)
class Binaries:
    """The server's programs.

    Attributes:
        server: The server.
        flavor: Whose it is.
        version: Its version, three numbers.
        source: How it was found, for people.
        install: MariaDB's program that makes a data folder; None for MySQL, which does it itself.
    """

    server: Path
    flavor: Flavor
    version: tuple[int, int, int]
    source: str
    install: Path | None = None

    @property
    def full_version(self) -> str:
        """The version as text."""
        return ".".join(map(str, self.version))

    @property
    def is_mariadb(self) -> bool:
        """MariaDB, not MySQL."""
        return self.flavor is Flavor.MARIADB


def find(bin_dir: str | Path | None, say: Callable[[str], None]) -> Binaries:
    """Find the server: argument, variable, PATH, the private one, a Docker image.

    Args:
        bin_dir: Folder that the caller chose, None for none.
        say: Told before an image is fetched.

    Raises:
        ConfigurationError: There is none, it does not run, or it is too old.
    """
    server, source = _choose(bin_dir, say)
    flavor, version = identify(_says(server, source), f"{source}: {server}")
    if version < _OLDEST[flavor]:
        oldest = ".".join(map(str, _OLDEST[flavor]))
        raise ConfigurationError(
            f"{source}: {flavor} {'.'.join(map(str, version))} in {server.parent} is too old: "
            f"{oldest} or newer is needed"
        )
    install = None
    if flavor is Flavor.MARIADB:
        install = _install_program(server)
        if install is None:
            raise ConfigurationError(
                f"{source}: the program mariadb-install-db is neither beside {server} nor on PATH"
            )
    return Binaries(server, flavor, version, source, install)


def identify(says: str, what: str) -> tuple[Flavor, tuple[int, int, int]]:
    """Whose server says this of its version, and which version it is.

    Raises:
        ConfigurationError: It says no version.
    """
    match = re.search(r"Ver (\d+)\.(\d+)\.(\d+)", says)
    if match is None:
        raise ConfigurationError(f"{what} says no version: {says!r}")
    flavor = Flavor.MARIADB if "mariadb" in says.lower() else Flavor.MYSQL
    return flavor, (int(match[1]), int(match[2]), int(match[3]))


def private_folder() -> Path:
    """Where a server of this user alone may lie: ``aurora-sql-mysql`` in ``XDG_CACHE_HOME``."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return base / "aurora-sql-mysql"


def _choose(bin_dir: str | Path | None, say: Callable[[str], None]) -> tuple[Path, str]:
    if bin_dir is not None:
        folder = Path(bin_dir).expanduser().absolute()
        found = [folder / name for name in _NAMES if (folder / name).is_file()]
        if not found:
            raise ConfigurationError(f"bin_dir: {folder} has no program {' and no '.join(_NAMES)}")
        return found[0], "bin_dir"
    chosen = os.environ.get(VARIABLE)
    if chosen:
        server = Path(chosen).expanduser().absolute()
        if not server.is_file():
            raise ConfigurationError(f"{VARIABLE}: there is no program {server}")
        return server, VARIABLE
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), *_BESIDE_PATH))
    for name in _NAMES:
        on_path = shutil.which(name, path=places)
        if on_path is not None:
            return Path(on_path), "PATH"
    private = private_folder()
    if not (private / "bin" / "mysqld").is_file() and not _docker.unpack(private, say):
        raise ConfigurationError(
            "no MySQL or MariaDB found. Install a server (apt install mariadb-server, brew install "
            f"mysql), or name one by bin_dir or the variable {VARIABLE} (the path of a mysqld or "
            f"mariadbd), or let Docker provide one: pip install 'aurora-sql[docker]', once, with "
            "Docker running"
        )
    return private / "bin" / "mysqld", "private"


def _install_program(server: Path) -> Path | None:
    folder = server.resolve().parent
    for place in (folder, folder.parent / "bin", folder.parent / "scripts"):
        for name in _INSTALL:
            if (place / name).is_file():
                return place / name
    on_path = shutil.which(_INSTALL[0])
    return None if on_path is None else Path(on_path)


def _says(server: Path, source: str) -> str:
    try:
        return subprocess.run(  # noqa: S603 - the program that was chosen
            # Not the machine's my.cnf: a setting in it that is unknown would be an error.
            [server, "--no-defaults", "--version"],
            check=True,
            capture_output=True,
            text=True,
            cwd="/",
            timeout=_RUN_SECONDS,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(f"{source}: {server} does not run: {error}") from error
