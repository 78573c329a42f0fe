"""The data folders of a MySQL cluster, made before any server serves."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError
from aurora_sql.local import _addresses
from aurora_sql.local._mysql import _setup
from aurora_sql.local._mysql._members import copy_folder
from aurora_sql.local._server import instance_id
from aurora_sql.types import Role

if TYPE_CHECKING:
    from pathlib import Path

    from aurora_sql.local._mysql._members import MySQLMembers

_MARK = "aurora_sql_server"
"""File in a data folder that says which server made it."""


class Preparation:
    """Makes the writer's data folder and copies it for the readers."""

    def __init__(self, members: MySQLMembers) -> None:
        self._members = members
        self._tools = members.tools
        self._plan = members.plan
        self._binaries = members.binaries

    async def run(self) -> None:
        """Make them all.

        Raises:
            ConfigurationError: The folder that keeps the data cannot be used.
            OperationalError: A program failed.
        """
        user = self._tools.user
        folder = self._tools.folder / instance_id(1)
        user.make_folder(folder)
        data = folder / "data"
        if self._plan.data_dir is not None:
            data.symlink_to(user.open_kept(self._plan.data_dir, instance_id(1)))
        else:
            user.make_folder(data)
        sql = _setup.first_sql(
            self._plan.username, self._plan.password, self._plan.database, self._members.passwords
        )
        # Read by the server, not given to it as an argument: everybody can see those.
        first = self._tools.folder / "first.sql"
        # MariaDB's bootstrap knows no users until it is told to.
        user.write(first, f"FLUSH PRIVILEGES;\n{sql}")
        try:
            if any(data.iterdir()):
                await self._open_kept(data, first)
            else:
                await self._initialise(data, first)
        finally:
            first.unlink()
        for number in range(2, self._plan.readers + 2):
            self._members.say(f"copying the data folder for {instance_id(number)}")
            target = self._tools.folder / instance_id(number)
            user.make_folder(target)
            await copy_folder(self._tools, data, target / "data")

    async def _initialise(self, data: Path, first: Path) -> None:
        self._members.say("initialising the data folder")
        binaries = self._binaries
        temporary = data.parent / "tmp"
        if not temporary.is_dir():
            self._tools.user.make_folder(temporary)
        common: list[str | Path] = ["--no-defaults", f"--tmpdir={temporary}"]
        if binaries.install is not None:
            command = [
                binaries.install,
                *common,
                f"--datadir={data}",
                f"--extra-file={first}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                "--innodb-log-file-size=64M",
                "--character-set-server=utf8mb4",
            ]
        else:
            command = [
                binaries.server,
                *common,
                "--initialize-insecure",
                f"--datadir={data}",
                f"--init-file={first}",
                "--log-bin-trust-function-creators=ON",
                "--performance-schema=OFF",
                "--innodb-redo-log-capacity=64M",
                "--innodb-flush-log-at-trx-commit=0",
                # Half a second less of waiting, with the files in memory.
                "--innodb-use-native-aio=OFF",
            ]
        if self._tools.user.uid == 0:
            command.append("--user=root")
        await self._tools.run("initialise", command)
        self._tools.user.write(data / _MARK, self._mark())

    def _mark(self) -> str:
        major, minor, _ = self._binaries.version
        return f"{self._binaries.flavor} {major}.{minor}\n"

    async def _open_kept(self, data: Path, first: Path) -> None:
        mark = data / _MARK
        made_by = mark.read_text(encoding="utf-8").strip() if mark.exists() else "something else"
        if made_by != self._mark().strip():
            raise ConfigurationError(
                f"data_dir: {self._plan.data_dir} was made by {made_by}, and the programs are "
                f"{self._mark().strip()}; choose others by bin_dir, or another data_dir"
            )
        # Started once where nobody can reach it, to have the passwords of this run.
        members = self._members
        server = members.make(1, Role.WRITER, _addresses.choose_any("127.0.0.1"))
        members.configure(server)
        text = server.options.read_text(encoding="utf-8")
        members.tools.user.write(
            server.options, f"{text}init_file = {first}\nskip_networking = ON\nskip_log_bin\n"
        )
        server.start(members.tools, self._binaries)
        try:
            await server.wait_ready(time.monotonic() + self._plan.timeout)
        finally:
            server.stop(signal.SIGTERM, self._plan.timeout)
