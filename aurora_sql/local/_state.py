"""What a cluster started from the command line leaves in a folder for the next command."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aurora_sql.errors import ConfigurationError

_LOCK = "lock"
_CLUSTER = "cluster.json"
_ENVIRONMENT = "environment"
_LOG = "log"
_POLL = 0.05
_NO_FILE = -1


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One instance in the state folder."""

    id: str
    role: str
    host: str
    port: int
    pid: int | None
    log: str


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """A running cluster in the state folder.

    Holds the password: its ``repr`` does not show it.

    Attributes:
        control: The socket on which the serving process takes commands.
        product: What the servers are: PostgreSQL, MySQL or MariaDB.
    """

    pid: int
    version: str
    writer_endpoint: tuple[str, int]
    reader_endpoint: tuple[str, int]
    instances: tuple[InstanceRecord, ...]
    environment: dict[str, str]
    control: str = ""
    product: str = "PostgreSQL"

    def __repr__(self) -> str:
        return f"<ClusterRecord pid={self.pid} instances={len(self.instances)}>"


def default_folder() -> Path:
    """``aurora-sql/local`` in ``XDG_STATE_HOME``, by default ``~/.local/state``."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state"
    return base / "aurora-sql" / "local"


class StateFolder:
    """The folder; a lock in it says whether the process that serves the cluster lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    @property
    def environment_path(self) -> Path:
        """File with the variables that reach the cluster, the password included; mode 0600."""
        return self.path / _ENVIRONMENT

    @property
    def log_path(self) -> Path:
        """What the process that serves the cluster had to say."""
        return self.path / _LOG

    def make(self) -> None:
        """Make the folder, for this user alone.

        Raises:
            ConfigurationError: It cannot be made, or others can read it.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = self.path.stat()
        except OSError as error:
            raise ConfigurationError(f"state folder {self.path}: {error.strerror}") from error
        if mode.st_uid != os.geteuid() or mode.st_mode & 0o077:
            raise ConfigurationError(
                f"state folder {self.path}: a password is kept there, so it must be yours and "
                f"closed to others: chmod 700 {self.path}, or choose another by --state-dir"
            )

    def acquire(self) -> None:
        """Become the one that serves the cluster of this folder, until :meth:`release`.

        Raises:
            ConfigurationError: Another process does already.
        """
        lock = self._try_lock(create=True)
        if lock is None:
            raise ConfigurationError(
                f"a cluster runs already with the state folder {self.path}: stop it by "
                "'aurora-sql local down', or choose another folder by --state-dir"
            )
        self._lock = lock

    def release(self) -> None:
        """Remove what was written, and the lock."""
        for name in (_CLUSTER, _ENVIRONMENT, _LOG, _LOCK):
            (self.path / name).unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        with contextlib.suppress(OSError):
            self.path.rmdir()  # fails when somebody keeps something else there

    def write(self, record: ClusterRecord) -> None:
        """Keep what the next command needs to know."""
        variables = "".join(f"{name}='{_shell(v)}'\n" for name, v in record.environment.items())
        self._write(_ENVIRONMENT, variables)
        self._write(_CLUSTER, json.dumps(asdict(record), indent=2) + "\n")

    def read(self) -> ClusterRecord | None:
        """The running cluster; None if there is none. Tidies up after one whose process died."""
        if not self.path.is_dir():
            return None
        lock = self._try_lock(create=False)
        if lock is not None:
            if lock != _NO_FILE:
                self._lock = lock
                self.release()
            return None
        try:
            values = json.loads((self.path / _CLUSTER).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None  # it is just starting, or just ending
        return _record(values)

    def wait_released(self, limit: float) -> bool:
        """Wait until the serving process has ended; False after ``limit`` seconds."""
        give_up = time.monotonic() + limit
        while time.monotonic() < give_up:
            lock = self._try_lock(create=False) if self.path.is_dir() else _NO_FILE
            if lock is not None:
                if lock != _NO_FILE:
                    self._lock = lock
                    self.release()
                return True
            time.sleep(_POLL)
        return False

    def _try_lock(self, *, create: bool) -> int | None:
        """The locked file's descriptor, None while another process holds it, ``_NO_FILE``."""
        path = self.path / _LOCK
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        while True:
            try:
                lock = os.open(path, flags, 0o600)
            except FileNotFoundError:
                return _NO_FILE
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The one before may have removed the file between our open and our lock.
                if os.path.samestat(os.fstat(lock), path.stat()):
                    return lock
                os.close(lock)
            except BlockingIOError:
                os.close(lock)
                return None
            except FileNotFoundError:
                os.close(lock)

    def _write(self, name: str, text: str) -> None:
        new = self.path / f"{name}.new"
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        new.replace(self.path / name)


def _shell(value: str) -> str:
    return value.replace("'", "'\\''")


def _record(values: dict[str, Any]) -> ClusterRecord:
    return ClusterRecord(
        pid=values["pid"],
        version=values["version"],
        writer_endpoint=tuple(values["writer_endpoint"]),
        reader_endpoint=tuple(values["reader_endpoint"]),
        instances=tuple(InstanceRecord(**instance) for instance in values["instances"]),
        environment=values["environment"],
        control=values["control"],
        product=values["product"],
    )
