"""How a command reaches the process that serves a cluster: one JSON object a line.

The command sends ``{"do": NAME, "instance": ID, "seconds": N}`` over a Unix socket in the
cluster's own folder, which only its user can enter. It is told what happens as ``{"say": TEXT}``
and at the end ``{"done": TEXT}`` or ``{"error": TEXT, "configuration": BOOL}``. A change goes on
when the command dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import AuroraError, ConfigurationError, OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aurora_sql.local._cluster import LocalCluster

SOCKET = "control"
_ANSWER = 300.0


class Herald:
    """Passes on what the cluster says: to the one who started it, and to who asked for a change."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self._listeners: set[Callable[[str], None]] = set()

    def __call__(self, text: str) -> None:
        """Called from the cluster's thread."""
        self._progress(text)
        for listener in tuple(self._listeners):
            listener(text)

    @contextlib.contextmanager
    def heard_by(self, listener: Callable[[str], None]) -> Iterator[None]:
        """Let ``listener`` hear too, while the block runs."""
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)


class Control:
    """Listens for commands.

    Args:
        cluster: What they are about.
        herald: What it says.
        path: The socket.
        changed: Called after each command, whatever came of it.
    """

    def __init__(
        self, cluster: LocalCluster, herald: Herald, path: Path, changed: Callable[[], None]
    ) -> None:
        self._cluster = cluster
        self._herald = herald
        self._path = path
        self._changed = changed
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._accept, str(self._path))
        self._path.chmod(0o600)

    def close(self) -> None:
        """Listen no more; the cluster ends what is under way."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._tasks.add(task)
        try:
            line = await reader.readline()
            _send(writer, await self._run(json.loads(line), writer))
            await writer.drain()
        except (OSError, ValueError, AuroraError, asyncio.CancelledError):
            # The command went away, or the cluster is being stopped: nobody is left to tell. Not
            # passed on: the stream server of Python 3.11 would report it as an error.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _run(self, command: dict[str, Any], writer: asyncio.StreamWriter) -> dict[str, Any]:
        loop = asyncio.get_running_loop()

        def listen(text: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended with the cluster
                loop.call_soon_threadsafe(_send, writer, {"say": text})

        try:
            with self._herald.heard_by(listen):
                done = await self._do(command)
        except AuroraError as error:
            return {"error": str(error), "configuration": isinstance(error, ConfigurationError)}
        finally:
            self._changed()
        return {"done": done}

    async def _do(self, command: dict[str, Any]) -> str:
        cluster, which = self._cluster, command.get("instance")
        match command["do"]:
            case "failover":
                made = await cluster.failover(which)
                return f"{made.new_writer} is the writer; {made.seconds:.3f} s without one"
            case "add-reader":
                return f"{await cluster.add_reader()} is a reader"
            case "lag":
                await cluster.set_lag(str(which), seconds=float(command["seconds"]))
                return f"{which} lags {command['seconds']:g} s"
            case name:
                return await self._do_to(str(name), str(which))

    async def _do_to(self, name: str, which: str) -> str:
        cluster = self._cluster
        known = {
            "remove-reader": (cluster.remove_reader, "removed"),
            "kill": (cluster.kill, "killed"),
            "pause": (cluster.pause, "paused"),
            "resume": (cluster.resume, "resumed"),
            "restart": (cluster.restart, "restarted"),
        }
        if name not in known:
            raise ConfigurationError(
                f"the running cluster knows no {name!r}; another version of aurora-sql started "
                "it: stop it with that one"
            )
        work, done = known[name]
        await work(which)
        return f"{which} is {done}"


def _send(writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
    if not writer.is_closing():
        writer.write(json.dumps(event).encode() + b"\n")


def request(path: str, command: dict[str, object], say: Callable[[str], None]) -> str:
    """Send one command and wait for its end.

    Args:
        path: The socket of the serving process.
        command: The command and its arguments.
        say: Gets a line for each step.

    Returns:
        What came of it.

    Raises:
        ConfigurationError: It was refused.
        OperationalError: It failed, or the serving process does not answer.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER)
        try:
            connection.connect(path)
            connection.sendall(json.dumps(command).encode() + b"\n")
            with connection.makefile("r", encoding="utf-8") as answers:
                for line in answers:
                    event = json.loads(line)
                    if "say" in event:
                        say(event["say"])
                    elif "done" in event:
                        return str(event["done"])
                    else:
                        problem = ConfigurationError if event["configuration"] else OperationalError
                        raise problem(event["error"])
        except OSError as error:
            raise OperationalError(f"the cluster's process does not answer: {error}") from error
    raise OperationalError("the cluster was stopped before the command was done")
