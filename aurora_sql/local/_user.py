"""The user of the operating system that the servers run as."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Who runs the servers. PostgreSQL refuses to run as root.

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
    def find(cls) -> ServerUser:
        """Ourselves; for root ``postgres`` where that user exists, else ``nobody``.

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
                    f"user id {own} has no entry in the user database, which PostgreSQL needs; "
                    "run as a user that has one, or add it to /etc/passwd"
                ) from None
            return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, drops=False)
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, drops=True)
        raise ConfigurationError(
            "PostgreSQL does not run as root, and neither the user 'postgres' nor 'nobody' "
            "exists to run it; run as an ordinary user, or create one of them"
        )

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
