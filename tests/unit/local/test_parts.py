"""Addresses, the forwarder, the background thread and the folder, each alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from aurora_sql.errors import ConfigurationError
from aurora_sql.local import _addresses, _folder, _guard
from aurora_sql.local._background import Background
from aurora_sql.local._endpoint import Endpoint
from aurora_sql.local._status import StatusBoard
from aurora_sql.local._tools import Tools, tail
from aurora_sql.local._user import ServerUser


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# Addresses


@pytest.mark.parametrize("spread", [True, False])
def test_every_endpoint_and_instance_has_an_address_of_its_own(spread, monkeypatch):
    real = _addresses._can_bind
    monkeypatch.setattr(
        _addresses, "_can_bind", lambda host, port: spread if port == 0 else real(host, port)
    )
    found = _addresses.choose(3)
    everything = [found.writer_endpoint, found.reader_endpoint, *found.instances]
    assert len(set(everything)) == 5
    assert len({port for _, port in everything}) == (1 if spread else 5)
    assert len({host for host, _ in everything}) == (5 if spread else 1)


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port}: .*127.0.0.1:{port} already"):
            _addresses.choose(1, port)


def test_a_port_that_was_just_used_can_be_used_again():
    port = free_port()
    assert _addresses.choose(1, port).writer_endpoint == ("127.0.0.1", port)
    assert _addresses.choose(1, port).instances[0][1] == port


# The forwarder


async def test_the_forwarder_passes_bytes_and_the_end_of_each_direction():
    async def answer(reader, writer):
        # Answers only once the client has closed its half.
        writer.write(b"got " + await reader.read())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    target = server.sockets[0].getsockname()
    endpoint = Endpoint(("127.0.0.1", free_port()), lambda: target)
    await endpoint.open()
    reader, writer = await asyncio.open_connection(*endpoint.address)
    data = os.urandom(1_000_000)
    writer.write(data)
    writer.write_eof()
    assert await reader.read() == b"got " + data
    writer.close()
    endpoint.close()
    server.close()


@pytest.mark.parametrize("alive", [True, False])
async def test_without_a_target_the_forwarder_hangs_up(alive):
    target = ("127.0.0.1", free_port()) if alive else None
    endpoint = Endpoint(("127.0.0.1", free_port()), lambda: target)
    await endpoint.open()
    reader, writer = await asyncio.open_connection(*endpoint.address)
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    endpoint.close()


async def test_close_cuts_connections_that_stand():
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    target = server.sockets[0].getsockname()
    endpoint = Endpoint(("127.0.0.1", free_port()), lambda: target)
    await endpoint.open()
    reader, writer = await asyncio.open_connection(*endpoint.address)
    await asyncio.sleep(0.05)
    endpoint.close()
    with pytest.raises((ConnectionError, EOFError)):
        async with asyncio.timeout(5):
            await reader.readexactly(1)
    with pytest.raises(OSError):
        await asyncio.open_connection(*endpoint.address)
    writer.close()
    server.close()


# The background thread


def test_stop_cancels_and_waits_for_the_cleanup():
    steps = []

    async def main(ready):
        try:
            ready()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            steps.append(threading.current_thread().name)

    background = Background("worker")
    background.run(main)
    background.started.result(5)
    for _ in range(3):
        background.stop()  # only the first counts: the cleanup is not cancelled
    background.ended.result(5)
    assert steps == ["worker"]
    with pytest.raises(RuntimeError):
        background.call(asyncio.sleep(0))


def test_a_failed_start_is_told_after_the_cleanup():
    steps = []

    async def main(ready):
        try:
            raise ValueError("no")
        finally:
            steps.append("clean")

    background = Background("worker")
    background.run(main)
    with pytest.raises(ValueError, match="no"):
        background.started.result(5)
    assert steps == ["clean"]
    background.ended.result(5)


def test_stopped_before_it_began():
    async def main(ready):
        ready()

    background = Background("worker")
    background.stop()
    background.run(main)
    background.ended.result(5)
    with pytest.raises(asyncio.CancelledError):
        background.started.result(5)


# The folder


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


def impostor(folder: Path, name: str) -> subprocess.Popen[bytes]:
    """A process that looks like one of the cluster's, called ``name``."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder.parent / name
    program.symlink_to("/bin/sleep")
    return subprocess.Popen([str(program), "60"], cwd=folder)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_abandoned_folder_goes_with_its_processes_and_a_live_one_stays(tmp_path):
    user = ServerUser("us", os.geteuid(), os.getegid(), drops=False)
    dead, unfinished = tmp_path / "aurora-sql-dead", tmp_path / "aurora-sql-unfinished"
    foreign = tmp_path / "something-else"
    for folder in (dead, unfinished, foreign):
        folder.mkdir()
    (dead / "lock").touch()
    (foreign / "lock").touch()
    server = impostor(dead / "instance-1" / "data", "postgres")
    bystander = impostor(dead / "instance-2" / "data", "less")
    live = tmp_path / "aurora-sql-live"
    live.mkdir()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLD,
            str(live / "lock"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        holder.stdout.readline()
        reaper = threading.Thread(target=server.wait)  # the zombie of our own child would stay
        reaper.start()
        assert _folder.remove_abandoned(tmp_path, user) == [dead]
        reaper.join(5)
        assert server.returncode is not None
        assert bystander.poll() is None
        assert not dead.exists()
        assert unfinished.exists()
        assert foreign.exists()
        assert live.exists()
    finally:
        holder.communicate()
        for process in (bystander, server):
            process.kill()
            process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_frozen_process_is_ended_too(tmp_path, monkeypatch):
    monkeypatch.setattr(_guard, "_QUIT_SECONDS", 20.0)  # a busy machine must not make it kill
    server = impostor(tmp_path / "instance-1" / "data", "postgres")
    _guard.send([server.pid], 19)
    reaper = threading.Thread(target=server.wait)
    reaper.start()
    before = time.monotonic()
    _guard.end_processes(tmp_path)
    reaper.join(5)
    assert server.returncode == -3
    assert time.monotonic() - before < _guard._QUIT_SECONDS


def test_a_program_heeds_the_signals_that_a_background_job_ignores(tmp_path):
    user = ServerUser("us", os.geteuid(), os.getegid(), drops=False)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (2, 3)}
    try:
        with (tmp_path / "log").open("wb") as log:
            program = Tools(user, tmp_path).spawn(
                ["/bin/sh", "-c", "echo up; exec sleep 60"],
                log,
                death_signal=signal.SIGKILL,
                stdin=subprocess.DEVNULL,
            )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    try:
        while not (tmp_path / "log").read_text():
            assert program.poll() is None
            time.sleep(0.01)
        program.send_signal(signal.SIGQUIT)
        assert program.wait(10) == -signal.SIGQUIT
    finally:
        program.kill()
        program.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_server_that_a_loader_runs_is_found_by_its_options(tmp_path):
    loader, program = tmp_path / "ld-linux-x86-64.so.2", tmp_path / "mysqld"
    loader.symlink_to("/bin/sh")
    program.write_text("read _\n")
    other = tmp_path / "other"
    other.write_text("read _\n")
    place = tmp_path / "cluster"
    place.mkdir()

    def run(*words):
        return subprocess.Popen([loader, *words], cwd="/", stdin=subprocess.PIPE)

    server = run(program, f"--defaults-file={place}/instance-1/my.cnf")
    elsewhere = run(program, f"--defaults-file={place}-2/instance-1/my.cnf")
    bystander = run(other, f"--defaults-file={place}/instance-1/my.cnf")
    try:
        assert _guard.processes(_guard.roots(place)) == [server.pid]
    finally:
        for process in (server, elsewhere, bystander):
            process.communicate()


def test_tail_gives_the_end_or_says_what_is_wrong(tmp_path):
    log = tmp_path / "x.log"
    assert "No such file" in tail(log)
    log.touch()
    assert tail(log) == "(x.log is empty)"
    log.write_text("\n".join(map(str, range(100))))
    assert tail(log, 2) == "98\n99"


# The status


async def test_who_ends_the_servers_next_has_no_session_open_any_more(tmp_path):
    """A socket closes in the loop's next turn, and ending servers holds the loop up."""

    class Engine:
        closed = False

        async def status(self):
            return None

        def disconnect(self):
            def close():
                self.closed = True

            asyncio.get_running_loop().call_soon(close)

    engine, seen = Engine(), []

    async def live():
        try:
            await StatusBoard(tmp_path, list, engine).keep_current()
        finally:
            seen.append(engine.closed)

    task = asyncio.create_task(live())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [True]
