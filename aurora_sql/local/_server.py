"""One instance and its processes, whatever its engine: ready, frozen, fenced, ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aurora_sql.errors import OperationalError
from aurora_sql.local import _guard
from aurora_sql.local._tools import tail

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from aurora_sql.types import Role

_POLL = 0.01
_FENCE_POLL = 0.002
_KILL_SECONDS = 10.0


def instance_id(number: int) -> str:
    """Identifier of an instance, by its number from 1; says nothing of its role, which changes."""
    return f"instance-{number}"


class PortTaken(OperationalError):
    """Somebody took the port between our look at it and the server's start."""


@dataclass(frozen=True, slots=True)
class LocalInstance:
    """One instance of a local cluster, as it was when it was asked for.

    Attributes:
        id: Identifier, what ``aurora_db_instance_identifier()`` (MySQL:
            ``aurora_sql_local.aurora_server_id()``) answers there.
        role: Writer or reader.
        host: Address that it listens on.
        port: Its TCP port.
        pid: Id of its main process; None while it does not run.
    """

    id: str
    role: Role
    host: str
    port: int
    pid: int | None


class Server(ABC):
    """One instance and its process.

    Attributes:
        taken: What the log says when something else listens on the port.
        shutdown: The signal that shuts it down in good order, without waiting for clients.
    """

    taken = "Address already in use"
    shutdown = signal.SIGINT

    def __init__(self, identifier: str, role: Role, address: tuple[str, int], folder: Path) -> None:
        self.id = identifier
        self.role = role
        self.host, self.port = address
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.paused = False
        self.lag = 0.0  # seconds by which its replay is held back
        self.process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Server {self.id} {self.role.value} {self.host}:{self.port} pid={self.pid}>"

    @property
    def pid(self) -> int | None:
        """Id of the main process, None while it does not run."""
        process = self.process
        return process.pid if process is not None and process.poll() is None else None

    def reap(self) -> None:
        """Let a process that has ended go, so that others see that it is gone."""
        if self.process is not None:
            self.process.poll()

    def describe(self) -> LocalInstance:
        """What users see of it."""
        return LocalInstance(self.id, self.role, self.host, self.port, self.pid)

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it accepts connections, as far as its files say."""

    async def wait_ready(self, deadline: float) -> None:
        """Wait until it accepts connections.

        Args:
            deadline: Time of ``time.monotonic()`` at which to give up.

        Raises:
            PortTaken: Something else listens on its port.
            OperationalError: It ended, or is not ready in time; with the end of its log.
        """
        while not self.is_ready():
            if self.pid is None:
                text = tail(self.log)
                problem = PortTaken if self.taken in text else OperationalError
                raise problem(f"{self.id} on {self.host}:{self.port} did not start:\n{text}")
            if time.monotonic() > deadline:
                raise OperationalError(
                    f"{self.id} on {self.host}:{self.port} is not ready in time; raise "
                    f"start_timeout if the machine is slow. Its log ends:\n{tail(self.log)}"
                )
            await asyncio.sleep(_POLL)

    def signal_all(self, signal_number: int) -> None:
        """Send a signal to the main process and to all of its children.

        Not to a process group: PostgreSQL gives each child a session of its own.
        """
        _guard.send(_guard.processes(_guard.roots(self.folder)), signal_number)

    def signal_main(self, signal_number: int) -> None:
        """Send a signal to the main process, if it runs."""
        pid = self.pid
        if pid is not None:
            _guard.send([pid], signal_number)

    def fence(self, grace: float) -> None:
        """Shut it down, and return only when none of its processes lives any more. Blocks.

        Args:
            grace: Seconds that a shutdown in good order may take before all are killed; with 0
                none is tried.

        Raises:
            OperationalError: A process cannot be ended.
        """
        if grace > 0 and self.pid is not None and not self.paused:
            self.signal_main(self.shutdown)
            self._wait_ended(grace)
        give_up = time.monotonic() + _KILL_SECONDS
        # Also when the main process is gone: its children outlive a kill of that one alone.
        while _guard.processes(_guard.roots(self.folder)) or self.pid is not None:
            if time.monotonic() > give_up:
                raise OperationalError(f"{self.id} has processes that cannot be ended")
            self.kill()
            time.sleep(_FENCE_POLL)
        self.paused = False

    def kill(self) -> None:
        """End all of its processes at once, as a crash of its machine would. Blocks."""
        running = _guard.processes(_guard.roots(self.folder))
        memory = _guard.shared_memory(self.folder, running)
        _guard.send(running, signal.SIGKILL)
        if self._wait_ended(_KILL_SECONDS):
            _guard.remove_shared_memory(memory)
        self.paused = False

    def pause(self) -> None:
        """Freeze all of its processes."""
        # The main process first, so that it makes no child that is missed.
        if self.process is not None:
            _guard.send([self.process.pid], signal.SIGSTOP)
        self.signal_all(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Let them go on."""
        self.signal_all(signal.SIGCONT)
        self.paused = False

    def stop(self, signal_number: int, limit: float) -> None:
        """Shut it down and wait; by force when ``limit`` seconds do not suffice.

        Blocks on purpose: nothing can cancel it half way.
        """
        process = self.process
        if process is None or process.poll() is not None:
            return
        if self.paused:
            self.signal_all(signal.SIGCONT)
            self.paused = False
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal_number)
        if not self._wait_ended(limit):
            self.kill()

    def _wait_ended(self, limit: float) -> bool:
        process = self.process
        if process is None:
            return True
        give_up = time.monotonic() + limit
        # Not Popen.wait: its polls are up to 50 ms apart, half of what a failover takes.
        while process.poll() is None:
            if time.monotonic() > give_up:
                return False
            time.sleep(_FENCE_POLL)
        return True
