"""The data folders of a cluster, made before any server runs."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError
from aurora_sql.local._postgresql import _setup
from aurora_sql.local._server import instance_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aurora_sql.local._postgresql._binaries import Binaries
    from aurora_sql.local._tools import Tools


class Preparation:
    """Makes the writer's data folder and copies it for the readers."""

    def __init__(
        self, tools: Tools, binaries: Binaries, username: str, say: Callable[[str], None]
    ) -> None:
        self._tools = tools
        self._binaries = binaries
        self._username = username
        self._say = say

    async def make_writer(self, data_dir: Path | None) -> Path:
        """Make the writer's data folder, or open the one that was kept.

        Args:
            data_dir: Folder in which the data is kept; None for a temporary one.

        Raises:
            ConfigurationError: The folder cannot be used, or is of another version.
        """
        user = self._tools.user
        folder = self._tools.folder / instance_id(1)
        user.make_folder(folder)
        data = folder / "data"
        if data_dir is not None:
            data.symlink_to(user.open_kept(data_dir, instance_id(1)))
        version = data / "PG_VERSION"
        if not version.exists():
            self._say("initialising the data folder")
            on_linux = sys.platform == "linux"
            command = _setup.initdb_command(self._binaries, data, self._username, on_linux)
            await self._tools.run("initdb", command)
        found = version.read_text().strip()
        if found != str(self._binaries.version):
            raise ConfigurationError(
                f"data_dir: {data_dir} was made by PostgreSQL {found}, and the programs are "
                f"{self._binaries.full_version}; choose others by bin_dir, or another data_dir"
            )
        return data

    async def install(self, data: Path, database: str, password: str) -> None:
        """Put Aurora's functions into every database to come, set the password, make the database.

        With a server that serves nobody (``postgres --single``): until the password is set
        nobody can connect, and afterwards the folder is that of a server shut down cleanly.
        """
        self._say("installing Aurora's functions")
        functions = _setup.FUNCTIONS.read_text(encoding="utf-8")
        await self._run_sql(data, "template0", functions)
        await self._run_sql(data, "template1", functions)
        sql = functions + _setup.password_sql(self._username, password)
        output = await self._run_sql(data, "postgres", sql + _setup.find_database_sql(database))
        if _setup.NOT_FOUND in output:
            sql = f"CREATE DATABASE {_setup.identifier(database)};\n\n"
            await self._run_sql(data, "postgres", sql)

    async def _run_sql(self, data: Path, database: str, sql: str) -> str:
        command = _setup.single_command(self._binaries, data, database)
        return await self._tools.run("setup", command, text=sql)

    async def copy(self, data: Path, readers: int) -> None:
        """Copy the data folder for each reader.

        A plain copy of a folder whose server was shut down cleanly is a base backup, and much
        quicker to have than one over the wire.
        """
        program = shutil.which("cp")
        if program is None:
            raise ConfigurationError("the program 'cp' is needed and not on PATH")
        for number in range(2, readers + 2):
            self._say(f"copying the data folder for {instance_id(number)}")
            folder = self._tools.folder / instance_id(number)
            self._tools.user.make_folder(folder)
            self._tools.user.make_folder(folder / "data")
            await self._tools.run("cp", [program, "-R", f"{data}/.", folder / "data"])
