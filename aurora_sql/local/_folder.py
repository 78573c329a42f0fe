"""The folder of a running cluster: made, locked, and removed even if its owner died."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError
from aurora_sql.local import _guard

if TYPE_CHECKING:
    from aurora_sql.local._user import ServerUser

_PREFIX = "aurora-sql-"
_LOCK = "lock"
_SOCKET_LIMIT = 100
"""Longest path of a Unix socket is 107 bytes on Linux, 103 on macOS."""
_LONGEST_INSIDE = len("/instance-16/.s.PGSQL.65535")


class RunFolder:
    """A temporary folder with a lock that says that its owner lives, and a guard beside it."""

    def __init__(self, path: Path, lock: int, guard: subprocess.Popen[bytes]) -> None:
        self.path = path
        self._lock = lock
        self._guard = guard

    @classmethod
    def make(cls, user: ServerUser) -> RunFolder:
        """Make it, after removing those whose owner is gone.

        Call it from the thread that lives as long as the cluster.

        Raises:
            ConfigurationError: No temporary folder can be used by the servers' user.
        """
        base = _base(user)
        remove_abandoned(base, user)
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        lock = -1
        try:
            # Locked before it has its name: who finds the name never finds it unlocked.
            unnamed = path / f"{_LOCK}.new"
            lock = os.open(unnamed, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(path / _LOCK)
            user.own(path)
            guard = _start_guard(path)
        except BaseException:
            if lock >= 0:
                os.close(lock)
            _guard.remove(path)
            raise
        return cls(path, lock, guard)

    def remove(self) -> None:
        """End what still runs in it, remove it and send the guard home."""
        _guard.end_processes(self.path)
        _guard.remove(self.path)
        os.close(self._lock)
        pipe = self._guard.stdin
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.write(b".")
                pipe.flush()
            pipe.close()
        self._guard.wait()


def _base(user: ServerUser) -> Path:
    for candidate in (Path(tempfile.gettempdir()).resolve(), Path("/tmp")):  # noqa: S108 - mkdtemp follows
        length = len(os.fsencode(candidate)) + len(f"/{_PREFIX}12345678") + _LONGEST_INSIDE
        if length <= _SOCKET_LIMIT and user.can_enter(candidate):
            return candidate
    raise ConfigurationError(
        f"the user '{user.name}', who runs the servers, cannot enter {tempfile.gettempdir()} nor "
        "/tmp, or their paths are too long for a socket; set TMPDIR to a folder that it can enter"  # noqa: S108 - a message
    )


def _start_guard(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-I", "-S", _guard.__file__, str(path), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        # Out of reach of Ctrl-C and of a closing terminal.
        start_new_session=True,
    )


def remove_abandoned(base: Path, user: ServerUser) -> list[Path]:
    """Clean up after clusters of this user whose owner is gone; the folders removed."""
    removed = []
    for path in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            # Only what we made ourselves: the folder lies in a place where all can write.
            if path.lstat().st_uid not in {user.uid, os.geteuid()} or path.is_symlink():
                continue
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _guard.end_processes(path)
                _guard.remove(path)
                removed.append(path)
            finally:
                os.close(lock)
    return removed
