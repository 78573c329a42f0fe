"""What the library told its callers, kept where a crash cannot change it, and held against the truth."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aurora_sql import AuroraError, CommitResolved, RetryScheduled, deadline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

GRACE = 1.0
"""Seconds by which a call may outlive its deadline: a loaded machine, not a speed."""

RETRIES = 3
"""The library's default for the further attempts of one call."""

UNDOING = 1.0
"""Seconds that closing a cursor and a ROLLBACK may take after a deadline, where nobody answers."""

QUESTIONS = 100
"""Attempts to find out what became of a COMMIT: as many as there is time for."""


@dataclass
class Told:
    """What callers were told, by the id of each unit of work."""

    acknowledged: set[int]
    refused: set[int]
    in_doubt: set[int]


class Ledger:
    """What callers were told, and how long it took; counted, so that twice shows.

    Each unit of work is written to a file before it starts and when its caller knows the end, and
    the file is synced: what is compared is what was told, whatever becomes of this process. A unit
    that was begun and has no end is in doubt.

    Args:
        path: The file.
        title: Names the drill in the report.

    Attributes:
        faults: What the drill did to the server or the network so far.
        grace: Seconds by which a call may outlive its deadline.
        most_retries: How many further attempts a call may make.
        begun: Number of the unit that began last.
        replays: Further attempts, of all calls together.
    """

    def __init__(self, path: Path, title: str) -> None:
        self.title = title
        self.path = path
        self.faults = 0
        self.grace = GRACE
        self.most_retries = RETRIES
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._numbers = itertools.count(1)
        self.begun = 0
        self.replays = 0
        self._calls = 0
        self._lines: Counter[str] = Counter()
        self._late: list[str] = []
        self._retries: dict[str, int] = {}
        self._resolved = {True: 0, False: 0}
        self._last: float | None = None
        self._pause = 0.0

    # What callers do

    @contextmanager
    def call(self, limit: float = 10.0) -> Iterator[None]:
        """A call with a deadline, and with nothing to compare: only its time is watched."""
        started = time.monotonic()
        self._calls += 1
        try:
            with deadline(limit):
                yield
        finally:
            took = time.monotonic() - started
            if took > limit + self.grace:
                self._late.append(f"{took:.2f} s with a deadline of {limit:g} s")

    @contextmanager
    def unit(self, limit: float = 10.0, number: int | None = None) -> Iterator[int]:
        """A unit of work that writes one entry, with the number that is yielded."""
        if number is None:
            number = next(self._numbers)
        self._write("begun", number)
        self.begun = number
        if self._last is None:
            self._last = time.monotonic()
        try:
            with self.call(limit):
                yield number
        except AuroraError as error:
            (self.doubt if error.outcome_unknown else self.refuse)(number)
            raise
        except asyncio.CancelledError:
            self.doubt(number)
            raise
        else:
            self.acknowledge(number)

    def acknowledge(self, number: int) -> None:
        self._write("acknowledged", number)
        now = time.monotonic()
        if self._last is not None:
            self._pause = max(self._pause, now - self._last)
        self._last = now

    def refuse(self, number: int) -> None:
        self._write("refused", number)

    def doubt(self, number: int) -> None:
        self._write("doubt", number)

    def observe(self, event: object) -> None:
        """Take what observers are told."""
        if isinstance(event, CommitResolved):
            self._resolved[event.applied] += 1
        elif isinstance(event, RetryScheduled):
            self.replays += 1
            self._retries[event.error] = max(event.attempt, self._retries.get(event.error, 0))

    def _write(self, what: str, number: int) -> None:
        self._lines[what] += 1
        os.write(self._file, f"{what} {number}\n".encode())
        if what == "acknowledged":
            os.fdatasync(self._file)

    # What is held against it

    @property
    def resolved(self) -> int:
        """Doubts that the library settled itself."""
        return sum(self._resolved.values())

    @property
    def applied(self) -> int:
        """Those of them whose work was there."""
        return self._resolved[True]

    @property
    def acknowledgements(self) -> int:
        """Units of work that were acknowledged so far."""
        return self._lines["acknowledged"]

    @property
    def progress(self) -> str:
        """What callers were told so far, in a few words."""
        # Not from the file: after an hour it is long.
        lines = self._lines
        left = lines["begun"] - lines["acknowledged"] - lines["refused"]
        return (
            f"{self._calls} calls, {lines['acknowledged']} writes acknowledged,"
            f" {lines['refused']} refused, {left} in doubt or under way"
        )

    def read(self) -> Told:
        """Read the file back."""
        told: dict[str, list[int]] = {"begun": [], "acknowledged": [], "refused": [], "doubt": []}
        for line in self.path.read_text().splitlines():
            what, number = line.split()
            told[what].append(int(number))
        acknowledged, refused = set(told["acknowledged"]), set(told["refused"])
        assert len(acknowledged) == len(told["acknowledged"]), "one was acknowledged twice"
        doubted = (set(told["begun"]) | set(told["doubt"])) - acknowledged - refused
        return Told(acknowledged, refused, doubted)

    def compare(self, written: Iterable[int]) -> None:
        """Check what the server has against what was told, and print the report."""
        entries = list(written)
        there, told = set(entries), self.read()
        lost, doubled = told.acknowledged - there, len(entries) - len(there)
        applied = len(told.in_doubt & there)
        print(  # noqa: T201 - the report
            f"\n{self.title}: {self._calls} calls, {self.faults} faults, worst pause"
            f" {self._pause:.2f} s; {len(told.acknowledged)} writes acknowledged, {len(lost)} lost,"
            f" {doubled} doubled, {len(told.refused)} refused; in doubt {len(told.in_doubt)}"
            f" (found: {applied} applied, {len(told.in_doubt) - applied} not), settled by the"
            f" library {self.resolved} ({self._resolved[True]} applied, {self._resolved[False]}"
            f" not); most retries of a call {max(self._retries.values(), default=0)}"
        )
        assert not doubled, "an id is there twice"
        assert not lost, f"acknowledged writes are lost: {sorted(lost)[:10]}"
        assert not told.refused & there, "writes that were said not to be applied are there"
        assert not there - told.acknowledged - told.in_doubt, "writes nobody knows of"
        assert not self._late, f"calls that outlived their deadline: {self._late[:5]}"
        assert max(self._retries.values(), default=0) <= self.most_retries, self._retries

    def close(self) -> None:
        os.close(self._file)
