"""Processor time of other processes, from Linux's ``/proc``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PROC = Path("/proc")
_NANOSECONDS = 1e9


def check(proc: Path = _PROC) -> None:
    """Refuse a system that does not tell processor times.

    Raises:
        ConfigurationError: It is not Linux, or its kernel keeps no such accounts.
    """
    if not (proc / "self" / "schedstat").is_file() or not (proc / "stat").is_file():
        raise ConfigurationError(
            "scaling reads processor times from /proc/PID/schedstat and /proc/stat, which this"
            " system does not have: run it on Linux, or print an earlier result with `show`"
        )


def family(roots: Iterable[int], parents: Mapping[int, int]) -> set[int]:
    """Processes and all that descend from them.

    Args:
        roots: Identifiers of processes.
        parents: The parent of each process that there is.
    """
    found = set(roots)
    grown = True
    while grown:
        new = {pid for pid, parent in parents.items() if parent in found} - found
        found |= new
        grown = bool(new)
    return found


def parents(proc: Path = _PROC) -> dict[int, int]:
    """The parent of each process that there is now."""
    found = {}
    for folder in proc.iterdir():
        if folder.name.isdecimal():
            try:
                text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # it ended meanwhile
            # The name, in parentheses, may hold anything; the state and the parent follow it.
            found[int(folder.name)] = int(text.rpartition(")")[2].split()[1])
    return found


def used_by(pid: int, proc: Path = _PROC) -> float:
    """Seconds of processor time that the threads of a process have used; 0 if it is gone."""
    total = 0
    for account in (proc / str(pid) / "task").glob("*/schedstat"):
        try:
            total += int(account.read_text(encoding="ascii").split()[0])
        except OSError:
            continue  # that thread ended meanwhile
    return total / _NANOSECONDS


def used_by_families(roots: Iterable[int], proc: Path = _PROC) -> dict[int, float]:
    """Seconds that each process of some families has used, by its identifier."""
    return {pid: used_by(pid, proc) for pid in family(roots, parents(proc))}


def spent(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Seconds between two accounts.

    What a process used that ended in between is lost; one that is new counts as a whole.
    """
    return sum(max(0.0, used - before.get(pid, 0.0)) for pid, used in after.items())


def busy(proc: Path = _PROC) -> float:
    """Seconds for which the machine's cores were busy since it started, all together.

    Time that the host of a virtual machine gave to others counts: it was not to be had.
    """
    line = (proc / "stat").read_text(encoding="ascii").split("\n", 1)[0]
    # user, nice, system, idle, iowait, irq, softirq, steal; guests are part of the first two.
    values = [int(one) for one in line.split()[1:9]]
    return (sum(values) - values[3] - values[4]) / os.sysconf("SC_CLK_TCK")
