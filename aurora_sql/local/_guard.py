"""Ends what a cluster left behind: its processes, then its folder.

Used in two ways: by the next cluster that starts, for folders whose owner is gone, and as a
script (``python -I -S _guard.py FOLDER PARENT``), a process beside the cluster that waits for
its parent to die, however it dies, and cleans up then. Imports nothing of the package: as a
script it must start in a few milliseconds and stay small.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_PROGRAMS = frozenset(
    {
        "postgres", "initdb", "cp", "pg_basebackup", "pg_waldump",
        "mysqld", "mariadbd", "mariadb-install-db", "mysql_install_db",
    }
)  # fmt: skip
_NAME_LENGTH = 15
"""Bytes of a program's name that Linux keeps."""
_SHORT_NAMES = frozenset(name[:_NAME_LENGTH] for name in _PROGRAMS)
_LOADERS = ("ld-linux", "ld-musl")
"""Names of what runs a program with libraries of its own; the program is among its arguments."""
_QUIT_SECONDS = 6.0
"""PostgreSQL itself kills its children 5 s after an immediate shutdown was asked for."""
_KILL_SECONDS = 3.0
_MEMORY_LINE = 6
"""Line of postmaster.pid, from 0, with key and id of the System V segment."""
_IPC_RMID = 0


def roots(folder: Path) -> tuple[str, ...]:
    """The folder of a cluster or an instance, and the data folders outside that it points to."""
    found = {os.path.realpath(folder)}
    for pattern in ("data", "*/data"):
        found.update(os.path.realpath(link) for link in folder.glob(pattern))
    return tuple(sorted(found))


def processes(places: tuple[str, ...]) -> list[int]:
    """Ids of the database processes that work in one of ``places``.

    Only programs that a cluster starts are considered, so that a shell or a pager that somebody
    opened in the folder is left alone.
    """
    if sys.platform != "linux":
        return _processes_by_ps(places)
    entries = os.listdir("/proc")  # noqa: PTH208 - thousands of Path objects for nothing
    return [int(entry) for entry in entries if entry.isdecimal() and _works_in(entry, places)]


def _works_in(pid: str, places: tuple[str, ...]) -> bool:
    base = f"/proc/{pid}"
    try:
        name = Path(base, "comm").read_text().strip()
        loaded = name.startswith(_LOADERS)
        if name not in _SHORT_NAMES and not loaded:
            return False
        # Every server process works inside its data folder; initdb and cp name theirs, and what
        # names it in an option (--datadir=…) may not work there yet.
        words = Path(base, "cmdline").read_bytes().decode(errors="replace").split("\0")
        if loaded and not any(Path(word).name in _PROGRAMS for word in words):
            return False
        words += [value for word in words if (value := word.partition("=")[2])]
        with contextlib.suppress(OSError):
            words.append(str(Path(base, "cwd").readlink()))
    except OSError:
        return False  # gone while we looked
    return any(_inside(word, places) for word in words)


def _inside(path: str, places: tuple[str, ...]) -> bool:
    path = path.removesuffix(" (deleted)")
    return any(path == place or path.startswith(place + os.sep) for place in places)


def _processes_by_ps(places: tuple[str, ...]) -> list[int]:
    listing = subprocess.run(
        ["/bin/ps", "-A", "-ww", "-o", "pid=,command="], capture_output=True, text=True, check=False
    ).stdout
    found = []
    for line in listing.splitlines():
        pid, _, command = line.strip().partition(" ")
        words = command.split()
        # A script comes after the shell that runs it.
        known = any(Path(word).name in _PROGRAMS for word in words[:2])
        words += [value for word in words if (value := word.partition("=")[2])]
        if known and any(_inside(word, places) for word in words):
            found.append(int(pid))
    return found


def send(pids: list[int], signal_number: int) -> None:
    """Send a signal to each process that still exists and is ours to signal."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal_number)


def shared_memory(folder: Path, pids: list[int]) -> list[int]:
    """System V segments of the main processes among ``pids``; a killed one leaves its behind."""
    found = []
    for pattern in ("data", "*/data"):
        for path in folder.glob(f"{pattern}/postmaster.pid"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                lines = path.read_text().splitlines()
                if int(lines[0]) in pids:
                    found.append(int(lines[_MEMORY_LINE].split()[1]))
    return found


def remove_shared_memory(segments: list[int]) -> None:
    """Remove segments whose processes were killed."""
    if not segments:
        return
    import ctypes  # noqa: PLC0415 - hardly ever needed

    library = ctypes.CDLL(None, use_errno=True)
    for segment in segments:
        library.shmctl(segment, _IPC_RMID, None)


def end_processes(folder: Path) -> None:
    """End every database process of the cluster: by immediate shutdown, then by force."""
    places = roots(folder)
    # Immediate shutdown first: a killed postmaster leaves its System V segment behind.
    for signal_number, limit in ((signal.SIGQUIT, _QUIT_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
        running = processes(places)
        memory = shared_memory(folder, running)
        send(running, signal.SIGCONT)
        send(running, signal_number)
        give_up = time.monotonic() + limit
        while processes(places):
            if time.monotonic() > give_up:
                break
            time.sleep(0.02)
        else:
            if signal_number == signal.SIGKILL:
                remove_shared_memory(memory)
            return


def remove(folder: Path) -> None:
    """Remove the folder; patient with a file that a dying process still makes."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.02)


def main(folder: Path, parent: int) -> None:
    """Wait for the parent to say good-bye (a byte on standard input) or to die; then clean up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while True:
        readable, _, _ = select.select([0], [], [], 1.0)
        if readable:
            if os.read(0, 1):
                return
            break
        # The pipe stays open as long as any fork of the parent holds it: ask for the parent too.
        if os.getppid() != parent:
            break
    end_processes(folder)
    remove(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
