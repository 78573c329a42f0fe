"""The result of a run in its JSON form, and its figures."""

from __future__ import annotations

import json
import math
import statistics
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from benchmarks._machine import Machine, Server, Software
from benchmarks._results import load, read

if TYPE_CHECKING:
    from pathlib import Path

OURS = "aurora_sql"

MEDIAN_GOAL, WORST_GOAL = 0.3, 1.0
"""Seconds from the promoted instance's first write to the first acknowledged one."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FailoverOptions(_Frozen):
    """How a run is made; durations in seconds.

    Attributes:
        failovers: How often each subject's writer is killed.
        writers: Callers that write.
        readers: Callers that read from the readers.
        deadline: Of each unit of work and each read.
        endpoint_lag: For how long the cluster's endpoints lead where they led before.
        calm: Load before each kill, once the endpoints are right again.
        patience: How long the first acknowledged write is waited for.
    """

    failovers: int = 10
    writers: int = 8
    readers: int = 2
    deadline: float = 10.0
    endpoint_lag: float = 2.0
    calm: float = 2.0
    patience: float = 30.0


class Outcome(_Frozen):
    """What became of one subject.

    Attributes:
        name: Of the subject.
        finds: How it finds the writer.
        settings: What was set apart from the address and the size of pools.
        pauses: For each failover, the seconds from the promoted instance accepting writes to the
            first acknowledged write; None where there was none within the patience.
        longest_gap: Seconds between two acknowledged writes, the promotion included.
        acknowledged: Units of work that callers were told are done.
        lost: Of those, how many are not there.
        doubled: Units that are there more than once.
        in_doubt: Units of which callers were told that nobody knows.
        applied: Of those, how many are there.
        unaccounted: Units that are there though callers were told that they are not.
        errors: Other errors that reached callers who write, by class.
        reads: Reads that were answered.
        read_errors: Errors that reached callers who read, by class.
    """

    name: str
    finds: str
    settings: dict[str, str]
    pauses: tuple[float | None, ...]
    longest_gap: float
    acknowledged: int
    lost: int
    doubled: int
    in_doubt: int
    applied: int
    unaccounted: int
    errors: dict[str, int]
    reads: int
    read_errors: dict[str, int]

    @property
    def median(self) -> float:
        """The median pause in seconds; infinite if half the failovers never ended."""
        return statistics.median(self._pauses)

    @property
    def worst(self) -> float:
        """The longest pause in seconds; infinite if one failover never ended."""
        return max(self._pauses)

    @property
    def _pauses(self) -> list[float]:
        return [math.inf if pause is None else pause for pause in self.pauses]


class FailoverResult(_Frozen):
    """A run.

    Attributes:
        packages: Versions of what the subjects other than the library are made of.
        skipped: Why a subject was not measured, by its name.
    """

    schema_version: Literal[1] = 1
    kind: Literal["failover"] = "failover"
    created: str
    complete: bool
    machine: Machine
    server: Server
    software: Software
    packages: dict[str, str]
    options: FailoverOptions
    outcomes: tuple[Outcome, ...]
    skipped: dict[str, str]

    def outcome(self, name: str) -> Outcome | None:
        """The outcome of the subject of that name, None if it was not measured."""
        return next((one for one in self.outcomes if one.name == name), None)

    def save(self, path: Path) -> None:
        """Write it as JSON; the folder is made if it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> FailoverResult:
        """Read what :meth:`save` wrote.

        Raises:
            ConfigurationError: The file cannot be read, or is no result of this kind.
        """
        return load(path, cls, "failover")


def is_failover(path: Path) -> bool:
    """Whether a file says that it is a result of the failover benchmark.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        found = json.loads(read(path))
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("kind") == "failover"


def regressions(earlier: FailoverResult, now: FailoverResult, least: float) -> list[str]:
    """What became worse for the library, one sentence each.

    Args:
        earlier: The result to compare with.
        now: The later one.
        least: The earlier median over the later one that is still good enough; 1.0 for as quick.
            Units that are lost, doubled or unaccounted for are one too many at any rate.
    """
    then, today = earlier.outcome(OURS), now.outcome(OURS)
    if today is None:
        return []
    found = []
    if then is not None and then.median < least * today.median:
        found.append(
            f"the median, {_seconds(today.median)}, was {_seconds(then.median)}: below {least:g}"
        )
    for what, count in (
        ("lost", today.lost),
        ("doubled", today.doubled),
        ("there though their callers were told that they are not", today.unaccounted),
    ):
        if count:
            found.append(f"{count} units are {what}")
    return found


def _seconds(value: float) -> str:
    return "without end" if math.isinf(value) else f"{value:.3f} s"
