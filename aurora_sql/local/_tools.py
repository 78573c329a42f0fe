"""How the cluster runs the programs of PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from aurora_sql.errors import OperationalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.local._user import ServerUser

_LAUNCHER = Path(__file__).with_name("_launch.py")
_POLL = 0.01
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(frozen=True, slots=True)
class Tools:
    """Starts programs as the servers' user, so that they die with this process.

    Attributes:
        user: Who they run as.
        folder: Their working folder, one that the user can enter.
    """

    user: ServerUser
    folder: Path

    def spawn(
        self, command: Sequence[str | Path], log: IO[bytes], *, death_signal: int, stdin: int
    ) -> subprocess.Popen[bytes]:
        """Start a program. Call it from a thread that lives as long as the program should.

        ``subprocess`` rather than asyncio's processes: those need a child watcher, which the
        event loop policy of uvloop does not have.
        """
        # None of the caller's PG* variables, whatever they are: they would steer initdb.
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        return subprocess.Popen(  # noqa: S603 - the server's own programs
            [
                sys.executable,
                "-I",
                "-S",
                str(_LAUNCHER),
                str(death_signal),
                str(self.user.uid),
                str(self.user.gid),
                str(os.getpid()),
                *map(str, command),
            ],
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={**environment, "LC_ALL": "C", "TZ": "UTC"},
        )

    async def run(self, what: str, command: Sequence[str | Path], *, text: str = "") -> str:
        """Run a program to its end and return what it printed.

        Args:
            what: What it does, for the error: "initdb", …
            command: The program and its arguments. Never a secret: everybody can see them.
            text: Its standard input.

        Raises:
            OperationalError: It failed; the message has the end of its output.
        """
        log_path = self.folder / f"{what}.log"
        with log_path.open("wb") as log:
            process = self.spawn(command, log, death_signal=signal.SIGKILL, stdin=subprocess.PIPE)
            try:
                _feed(process, text.encode())
                while process.poll() is None:  # noqa: ASYNC110 - see spawn
                    await asyncio.sleep(_POLL)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        if process.returncode != 0:
            raise OperationalError(
                f"{what} failed with exit code {process.returncode}:\n{tail(log_path)}"
            )
        return log_path.read_text(encoding="utf-8", errors="replace")


def _feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    # Does not block: a few kilobytes, less than any pipe holds.
    pipe = process.stdin
    if pipe is None:
        return
    try:
        pipe.write(data)
        pipe.close()
    except BrokenPipeError:
        pass  # it ended without reading; its exit code says why


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, or what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"({path}: {error.strerror})"
    return "\n".join(text.splitlines()[-lines:]) or f"({path.name} is empty)"
