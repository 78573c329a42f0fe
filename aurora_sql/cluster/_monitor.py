"""The task that keeps the topology true, and finds the new writer when the old one is gone."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from aurora_sql.errors import (
    AuroraError,
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    ConnectionLost,
    DatabaseError,
    TlsError,
    TooManyConnections,
)

if TYPE_CHECKING:
    from aurora_sql.cluster._link import Link
    from aurora_sql.cluster._sight import Sight
    from aurora_sql.pool import Pool
    from aurora_sql.types import Instance, Topology

_logger = logging.getLogger("aurora_sql.cluster")

_AGAIN: Final = 0.05
"""Seconds between two questions to one instance while the writer is searched for."""
_QUICKLY: Final = 5.0
"""Seconds for which they come as quickly as that."""
_PART: Final = 0.1
"""Part of the time it has taken so far that a later pause may take at most."""
_LONGEST: Final = 2.0
_QUICK: Final = 0.1
"""First pause after trouble; it grows by half each time until it is the calm one."""
_GROWTH: Final = 1.5
_REFUSED: Final = 1.0
"""Longest pause while no instance lets us ask: one that is full may be the writer no more."""
_ASKED: Final = 2
"""Questions without an answer after which an instance is given up."""
_REFUSALS: Final = (
    AuthenticationFailed,
    ConfigurationError,
    DatabaseError,
    TlsError,
    TooManyConnections,
)
"""Answers of a server that is there and does not tell us who it is."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the monitor looks, in seconds.

    Attributes:
        calm: Between two looks while all is well.
        detection: In which an instance that stopped answering is given up.
    """

    calm: float
    detection: float

    @property
    def tick(self) -> float:
        """Between two looks at the calls that wait for an answer; takes no round trip."""
        return self.detection / 12

    @property
    def patience(self) -> float:
        """After which a call without an answer makes its instance suspect."""
        return self.detection / 4

    @property
    def answer(self) -> float:
        """For an answer to the monitor; a suspect gets two of these, the second one anew."""
        return self.detection / 4


class Watched(Protocol):
    """What the monitor watches and tells: the cluster."""

    def pools(self) -> dict[Instance, Pool]:
        """Return the pool of each instance."""
        ...

    def apply(self, topology: Topology, *, found: bool) -> None:
        """Take over a topology; called with an equal one too, which has newer figures.

        Args:
            topology: The instances.
            found: The writer had been lost.
        """
        ...

    def bereave(self) -> None:
        """There is no writer at present."""
        ...

    def give_up(self, instance: Instance, pool: Pool, seconds: float) -> None:
        """An instance does not answer any more."""
        ...


class Monitor:
    """Looks at the instances: now and then, at once after trouble, and at who does not answer.

    Args:
        sight: Asks the instances.
        cluster: Is watched, and told.
        pace: How often.
    """

    def __init__(self, sight: Sight, cluster: Watched, pace: Pace) -> None:
        self._sight = sight
        self._cluster = cluster
        self._pace = pace
        self._alarm = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="cluster monitor")

    async def close(self) -> None:
        """End the task and close its connections."""
        task, self._task = self._task, None
        try:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        finally:
            await self._sight.close()

    def alarm(self) -> None:
        """Something broke: look at once."""
        self._alarm.set()

    async def _run(self) -> None:
        pause = self._pace.calm
        while True:
            told = True
            try:
                troubled = await self._rest(pause)
                told = await self._look(troubled=troubled)
            except Exception:
                # Nobody would notice that it ended: until the next failover.
                _logger.exception("the look at the cluster broke; the next one follows")
                troubled = False
            calm = self._pace.calm if told else min(self._pace.calm, _REFUSED)
            pause = _QUICK if troubled else min(pause * _GROWTH, calm)

    async def _rest(self, pause: float) -> bool:
        """Wait until the next look is due; return whether it is for trouble."""
        loop = asyncio.get_running_loop()
        until = loop.time() + pause
        # Trouble comes in crowds: one look serves all of it.
        await asyncio.sleep(min(_AGAIN, pause))
        while (left := until - loop.time()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, self._pace.tick)):
                    await self._alarm.wait()
            if self._alarm.is_set():
                self._alarm.clear()
                return True
            if await self._find_silent(loop.time()):
                return True
        return False

    async def _look(self, *, troubled: bool) -> bool:
        """Look; return whether it is known now who is the writer."""
        try:
            topology = await self._sight.look(self._pace.answer * 2, troubled=troubled)
        except AuroraError as error:
            _logger.warning("looking for the writer: %s: %s", type(error).__name__, error)
            try:
                topology = await self.search()
            except _REFUSALS as refusal:
                # That we may not ask does not mean that there is no writer: who has connections
                # goes on with those, and who needs a new one is told.
                _logger.warning("no instance lets the monitor ask: %s", refusal)
                return False
            finally:
                self._alarm.clear()  # what it was about has been dealt with
            self._cluster.apply(topology, found=True)
        else:
            self._cluster.apply(topology, found=False)
        return True

    # -- who does not answer ---------------------------------------------------------------

    async def _find_silent(self, now: float) -> bool:
        """Give up instances whose calls wait and that answer no question either."""
        since = now - self._pace.patience
        suspects = [
            (instance, pool)
            for instance, pool in self._cluster.pools().items()
            if pool.stalled(since)
        ]
        if not suspects:
            return False
        gone = await asyncio.gather(*(self._is_gone(instance) for instance, _ in suspects))
        for (instance, pool), silent in zip(suspects, gone, strict=True):
            if silent:
                self._cluster.give_up(instance, pool, self._pace.detection)
        return any(gone)

    async def _is_gone(self, instance: Instance) -> bool:
        link = self._sight.link((instance.host, instance.port))
        if link is None:
            return False
        # Where there is no connection yet, opening one takes most of the time: it gets all of it.
        limits = [self._pace.answer] * _ASKED if link.is_open else [self._pace.answer * _ASKED]
        for number, limit in enumerate(limits):
            try:
                await link.ask(limit, anew=number > 0)
            except AuroraError as error:
                if not _is_silence(error):
                    return False
                _logger.debug("%s is silent: %s", instance.id, error)
            else:
                return False
        return True

    # -- the search for the writer ---------------------------------------------------------

    async def search(self) -> Topology:
        """Ask all instances at once, again and again, until one proves to be the writer.

        Raises:
            AuroraError: All answered, none is the writer, and one refused to tell: a login that is
                not valid any more, or a server that is full.
        """
        tasks: dict[Link, asyncio.Task[Topology]] = {}
        silent: dict[Link, int] = {}
        refused: dict[Link, AuroraError] = {}
        bereft = False
        began = asyncio.get_running_loop().time()
        try:
            while True:
                # An answer can tell of instances that were not known.
                for link in self._sight.links.values():
                    if link not in tasks:
                        tasks[link] = asyncio.create_task(self._ask(link, silent, refused, began))
                done, _ = await asyncio.wait(
                    tasks.values(), timeout=_AGAIN, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    return task.result()
                if refused and silent.keys() >= tasks.keys() and not any(silent.values()):
                    raise next(iter(refused.values()))
                if not bereft and silent.keys() >= tasks.keys():
                    bereft = True
                    self._cluster.bereave()
                self._give_up_silent(silent)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _ask(
        self,
        link: Link,
        silent: dict[Link, int],
        refused: dict[Link, AuroraError],
        began: float,
    ) -> Topology:
        """Ask one until it proves itself; count how often in a row it did not answer.

        Args:
            link: Leads to it.
            silent: How often each did not answer.
            refused: What those answered last who did not say who they are.
            began: Loop time at which the search began.
        """
        clock = asyncio.get_running_loop().time
        while True:
            count = 0
            refused.pop(link, None)
            try:
                topology = await self._sight.probe(link, self._pace.answer)
            except AuroraError as error:
                _logger.debug("looking for the writer: %s", error)
                count = silent.get(link, 0) + 1 if _is_silence(error) else 0
                if isinstance(error, _REFUSALS):
                    refused[link] = error
            else:
                if topology is not None:
                    return topology
            silent[link] = count
            await asyncio.sleep(pause_in_search(clock() - began, random.random()))  # noqa: S311 - jitter

    def _give_up_silent(self, silent: dict[Link, int]) -> None:
        """Close what leads to those who did not answer twice, over a new connection at last.

        A search can take as long as a failover: calls that hang would hold their connections.
        """
        since = asyncio.get_running_loop().time() - self._pace.patience
        for instance, pool in self._cluster.pools().items():
            link = self._sight.link((instance.host, instance.port))
            if link is not None and silent.get(link, 0) >= _ASKED and pool.hangs(since):
                self._cluster.give_up(instance, pool, self._pace.detection)


def pause_in_search(searching: float, chance: float) -> float:
    """Seconds until an instance is asked again whether it is the writer.

    Quick at first: most failovers are over in seconds. After that each question can be a new
    connection with a login, from every process there is; a search that has taken long already is
    made longer by a tenth at most, and the processes do not ask together.

    Args:
        searching: Seconds since the search began.
        chance: A random number from 0 to 1.
    """
    if searching < _QUICKLY:
        return _AGAIN
    return max(_AGAIN, chance * min(_LONGEST, _PART * searching))


def _is_silence(error: AuroraError) -> bool:
    """Whether nobody answered; to be refused is to be answered."""
    return isinstance(error, (ConnectionFailed, ConnectionLost)) and not isinstance(
        error, _REFUSALS
    )
