"""The kinds of servers that tests run on, and where each is found.

MySQL is looked for where the library looks for a private one, MariaDB where Debian puts it;
``AURORA_SQL_TEST_MYSQL_BIN`` and ``AURORA_SQL_TEST_MARIADB_BIN`` name other folders.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from aurora_sql.errors import ConfigurationError
from aurora_sql.local._mysql import _binaries as _mysql_binaries
from aurora_sql.local._mysql._binaries import private_folder


@dataclass(frozen=True)
class ServerKind:
    """A server that clusters are tried on."""

    name: str
    engine: str
    bin_dir: Path | None


_KINDS = {
    "postgresql": ServerKind("postgresql", "postgresql", None),
    "mysql": ServerKind("mysql", "mysql", private_folder() / "bin"),
    "mariadb": ServerKind("mariadb", "mysql", Path("/usr/sbin")),
}


def _lacking(kind):
    """Why clusters cannot be tried on a server; None where they can."""
    if kind.engine == "postgresql":
        return None  # comes with the package
    try:
        found = _mysql_binaries.find(kind.bin_dir, lambda _: None)
    except ConfigurationError as error:
        return str(error)
    right = found.flavor.lower() == kind.name
    return None if right else f"{found.server} is {found.flavor}"


def _chosen(kind):
    folder = os.environ.get(f"AURORA_SQL_TEST_{kind.name.upper()}_BIN")
    return replace(kind, bin_dir=Path(folder)) if folder else kind


SERVERS = {name: _chosen(kind) for name, kind in _KINDS.items()}
LACKING = {name: _lacking(kind) for name, kind in SERVERS.items()}
"""By name, why a server cannot be tried; None where it can."""
