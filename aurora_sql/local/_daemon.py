"""Serves a cluster for the command line, in the foreground or as a process of its own.

As a process (``python -m aurora_sql.local._daemon FOLDER``) it reads its options as one line of
JSON from standard input, says on standard output what it does, one JSON object a line, and
goes on once a second line says ``keep``: if the command dies before, nothing stays behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from aurora_sql.errors import AuroraError, ConfigurationError, OperationalError
from aurora_sql.local._cluster import LocalCluster
from aurora_sql.local._control import SOCKET, Control, Herald
from aurora_sql.local._state import ClusterRecord, InstanceRecord, StateFolder
from aurora_sql.local._tools import tail

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_KEEP = "keep"


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What ``aurora-sql local up`` can be told about the cluster."""

    engine: str = "postgresql"
    readers: int = 2
    port: int | None = None
    database: str = "aurora"
    bin_dir: str | None = None
    data_dir: str | None = None
    durable: bool = False
    endpoint_lag: float = 0.0

    def cluster(self, progress: Callable[[str], None]) -> LocalCluster:
        """The cluster, not started."""
        return LocalCluster(
            self.engine,
            readers=self.readers,
            port=self.port,
            database=self.database,
            bin_dir=self.bin_dir,
            data_dir=self.data_dir,
            durable=self.durable,
            endpoint_lag=self.endpoint_lag,
            progress=progress,
        )


async def serve(
    options: ClusterOptions,
    state: StateFolder,
    progress: Callable[[str], None],
    ready: Callable[[ClusterRecord], Awaitable[bool]],
) -> None:
    """Run a cluster until SIGTERM, SIGINT or SIGHUP.

    Args:
        options: What cluster.
        state: Where to keep what other commands need.
        progress: Gets a line for each step.
        ready: Called once it serves; False ends it at once.

    Raises:
        AuroraError: It did not start.
    """
    state.make()
    state.acquire()
    try:
        work = asyncio.create_task(_serve(options, state, progress, ready))
        asked = False

        def stop() -> None:
            # In every phase a cancelled cluster cleans up after itself.
            nonlocal asked
            asked = True
            work.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, stop)
        try:
            await work
        except asyncio.CancelledError:
            if not asked:
                raise
    finally:
        state.release()


async def _serve(
    options: ClusterOptions,
    state: StateFolder,
    progress: Callable[[str], None],
    ready: Callable[[ClusterRecord], Awaitable[bool]],
) -> None:
    herald = Herald(progress)
    async with options.cluster(herald) as cluster:

        def record() -> ClusterRecord:
            return _record(cluster, socket)

        socket = cluster.log_path("writer").parent.parent / SOCKET
        control = Control(cluster, herald, socket, lambda: state.write(record()))
        await control.open()
        try:
            state.write(record())
            if await ready(record()):
                await asyncio.Event().wait()  # until cancelled
        finally:
            control.close()


def _record(cluster: LocalCluster, socket: Path) -> ClusterRecord:
    return ClusterRecord(
        pid=os.getpid(),
        version=cluster.server_version,
        writer_endpoint=cluster.writer_endpoint,
        reader_endpoint=cluster.reader_endpoint,
        instances=tuple(
            InstanceRecord(
                one.id, one.role.value, one.host, one.port, one.pid, str(cluster.log_path(one.id))
            )
            for one in cluster.instances
        ),
        environment=cluster.environment(),
        control=str(socket),
        product=cluster.server_product,
    )


def spawn(
    options: ClusterOptions, state: StateFolder, progress: Callable[[str], None]
) -> ClusterRecord:
    """Start a cluster in a process of its own and wait until it serves.

    Raises:
        AuroraError: It did not start; nothing is left of it.
    """
    state.read()  # tidies up after one that died
    state.make()
    with state.log_path.open("ab") as log:
        state.log_path.chmod(0o600)
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "aurora_sql.local._daemon", str(state.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            text=True,
        )
    try:
        _follow(process, options, progress, state)
        record = state.read()
    except BaseException:
        _close(process)
        process.terminate()
        process.wait()
        raise
    _close(process)
    if record is None:
        raise OperationalError("the cluster ended as soon as it had started")
    # It goes on without us: its exit is no business of this process.
    process.returncode = 0
    return record


def _close(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _follow(
    process: subprocess.Popen[str],
    options: ClusterOptions,
    progress: Callable[[str], None],
    state: StateFolder,
) -> None:
    if process.stdin is None or process.stdout is None:
        raise AssertionError
    process.stdin.write(json.dumps(asdict(options)) + "\n")
    process.stdin.flush()
    for line in process.stdout:
        event = json.loads(line)
        if "say" in event:
            progress(event["say"])
        elif "ready" in event:
            process.stdin.write(f"{_KEEP}\n")
            process.stdin.flush()
            return
        else:
            problem = ConfigurationError if event["configuration"] else OperationalError
            raise problem(event["error"])
    raise OperationalError(
        f"the cluster's process ended with exit code {process.wait()}:\n{tail(state.log_path)}"
    )


def _report(file: IO[str], event: dict[str, object]) -> None:
    file.write(json.dumps(event) + "\n")
    file.flush()


def main(folder: Path) -> int:
    """Serve one cluster as :func:`spawn` asks for it; the exit code."""
    options = ClusterOptions(**json.loads(sys.stdin.readline()))
    os.chdir("/")  # holds no file system that somebody may want to unmount

    listening = True

    async def ready(_: ClusterRecord) -> bool:
        nonlocal listening
        # The command hears no more of it: its end of the pipe closes.
        listening = False
        _report(sys.stdout, {"ready": True})
        # The command answers at once, or its end of the pipe closes.
        answer: str = await asyncio.to_thread(sys.stdin.readline)
        return answer == f"{_KEEP}\n"

    def say(text: str) -> None:
        if listening:
            _report(sys.stdout, {"say": text})

    try:
        asyncio.run(serve(options, StateFolder(folder), say, ready))
    except AuroraError as error:
        configuration = isinstance(error, ConfigurationError)
        _report(sys.stdout, {"error": str(error), "configuration": configuration})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
