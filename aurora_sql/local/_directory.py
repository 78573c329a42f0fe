"""What the cluster's endpoints know of the instances, late as DNS is."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.local._addresses import Address


@dataclass(frozen=True, slots=True)
class View:
    """Where the endpoints lead."""

    writer: Address | None
    readers: tuple[Address, ...]


class Directory:
    """Answers for the endpoints; what changes is answered some seconds later.

    Args:
        live: How it is now.
        lag: Seconds for which an endpoint still leads to where it led before.
        clock: Seconds that only grow.
    """

    def __init__(
        self, live: Callable[[], View], lag: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._live = live
        self._lag = lag
        self._clock = clock
        self._shown: View | None = None
        self._coming: deque[tuple[float, View]] = deque()
        self._turn = 0

    def look(self) -> View:
        """Notice a change, and tell what is answered now."""
        live, now = self._live(), self._clock()
        if self._shown is None or self._lag <= 0:
            self._shown = live
            return live
        newest = self._coming[-1][1] if self._coming else self._shown
        if live != newest:
            self._coming.append((now + self._lag, live))
        while self._coming and self._coming[0][0] <= now:
            self._shown = self._coming.popleft()[1]
        return self._shown

    def writer(self) -> Address | None:
        """Where the writer endpoint leads."""
        return self.look().writer

    def reader(self) -> Address | None:
        """Where the reader endpoint leads this time: to each reader in turn, else to the writer."""
        view = self.look()
        if not view.readers:
            return view.writer
        self._turn += 1
        return view.readers[(self._turn - 1) % len(view.readers)]
