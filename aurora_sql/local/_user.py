"""The user of the operating system that the servers run as."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Who runs the servers. PostgreSQL refuses to run as root, and nobody wants MySQL to.

    Attributes:
        name: Login name.
        uid: User id.
        gid: Group id.
        drops: We are root, and the servers run as somebody else.
    """

    name: str
    uid: int
    gid: int
    drops: bool

    @classmethod
    def find(
        cls, names: Sequence[str] = ("postgres", "nobody"), what: str = "PostgreSQL"
    ) -> ServerUser:
        """Ourselves; for root the first of ``names`` that exists.

        Args:
            names: Users that may run the servers for root.
            what: The server, for messages.

        Raises:
            ConfigurationError: The user has no entry in the user database (PostgreSQL needs
                one), or we are root and neither user exists.
        """
        own = os.geteuid()
        if own != 0:
            try:
                entry = pwd.getpwuid(own)
            except KeyError:
                raise ConfigurationError(
                    f"user id {own} has no entry in the user database, which {what} needs; "
                    "run as a user that has one, or add it to /etc/passwd"
                ) from None
            return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, drops=False)
        for name in names:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, drops=True)
        raise ConfigurationError(
            f"{what} does not run as root, and neither the user '{names[0]}' nor '{names[-1]}' "
            "exists to run it; run as an ordinary user, or create one of them"
        )

    @classmethod
    def root(cls) -> ServerUser:
        """Root itself, for programs that only root can reach."""
        return cls("root", 0, 0, drops=False)

    def can_enter(self, folder: Path) -> bool:
        """Whether the user may pass through ``folder`` and everything above it."""
        for place in (folder, *folder.parents):
            mode = place.stat()
            if mode.st_uid == self.uid:
                wanted = stat.S_IXUSR
            elif mode.st_gid == self.gid:
                wanted = stat.S_IXGRP
            else:
                wanted = stat.S_IXOTH
            if not mode.st_mode & wanted:
                return False
        return True

    def can_run(self, program: Path) -> bool:
        """Whether the user may run ``program``: tried, for scripts run others in turn."""
        try:
            subprocess.run(  # noqa: S603 - the program that was chosen
                [program, "--no-defaults", "--version"],
                check=True,
                capture_output=True,
                cwd="/",
                user=self.uid,
                group=self.gid,
                extra_groups=[],
            )
        except (OSError, subprocess.CalledProcessError):
            return False
        return True

    def open_kept(self, data_dir: Path, name: str) -> Path:
        """The folder ``name`` in one that keeps data between runs, made if missing.

        Raises:
            ConfigurationError: It cannot be made, or the user cannot enter it.
        """
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            data = data_dir / name
            if not data.exists():
                self.make_folder(data)
        except OSError as error:
            raise ConfigurationError(f"data_dir: {data_dir}: {error.strerror}") from error
        if not self.can_enter(data):
            raise ConfigurationError(
                f"data_dir: the user '{self.name}', who runs the servers, cannot enter {data}"
            )
        return data

    def own(self, path: Path) -> None:
        """Give ``path`` to the user, where that is not the one we are."""
        if self.drops:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def make_folder(self, path: Path) -> None:
        """Make a folder that only the user can enter."""
        path.mkdir(mode=0o700)
        self.own(path)

    def write(self, path: Path, text: str) -> None:
        """Write a file that only the user can read; follows no symbolic link."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            if self.drops:
                os.fchown(file.fileno(), self.uid, self.gid)
            file.write(text)
