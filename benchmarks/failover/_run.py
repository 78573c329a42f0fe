"""A run over several subjects, one after the other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from benchmarks import _machine
from benchmarks.failover._process import Failed, Measured, measure_apart
from benchmarks.failover._results import FailoverResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.failover._results import FailoverOptions
    from benchmarks.failover._subjects import Contender


class Listener(Protocol):
    """Is told how far a run is."""

    def stage(self, text: str) -> None:
        """Something begins."""
        ...

    def paused(self, subject: str, turn: int, pause: float | None) -> None:
        """One failover is over."""
        ...


class Run:
    """A run.

    Args:
        contenders: The subjects.
        options: How they are measured.
        skipped: Why other subjects are not, by name.
        listener: Is told how far it is.

    Attributes:
        skipped: Why subjects are not measured, those that failed included.
    """

    def __init__(
        self,
        contenders: Sequence[Contender],
        options: FailoverOptions,
        *,
        skipped: Mapping[str, str],
        listener: Listener,
    ) -> None:
        self._contenders = contenders
        self._options = options
        self.skipped = dict(skipped)
        self._listener = listener
        self._measured: list[Measured] = []

    async def work(self) -> None:
        """Measure all subjects. Of one that fails, the result says why."""
        for one in self._contenders:
            self._listener.stage(f"{one.name}: starting a cluster")

            def paused(turn: int, pause: float | None, name: str = one.name) -> None:
                self._listener.paused(name, turn, pause)

            try:
                self._measured.append(await measure_apart(one, self._options, paused))
            except Failed as error:
                self.skipped[one.name] = str(error)
                self._listener.stage(f"{one.name}: {error}")

    def result(self) -> FailoverResult | None:
        """What was measured so far; None if nothing was."""
        if not self._measured:
            return None
        packages = {name for one in self._contenders for name in one.packages}
        done = {one.outcome.name for one in self._measured} | self.skipped.keys()
        return FailoverResult(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            complete=all(one.name in done for one in self._contenders),
            machine=_machine.machine(shared_with_server=True),
            server=self._measured[0].server,
            software=_machine.software("asyncio"),
            packages={name: _machine.version_of(name) for name in sorted(packages)},
            options=self._options,
            outcomes=tuple(one.outcome for one in self._measured),
            skipped=self.skipped,
        )
