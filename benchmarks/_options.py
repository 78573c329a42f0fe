"""From what the command line says to what a run does."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aurora_sql.errors import ConfigurationError
from aurora_sql.settings import AuroraSettings, MysqlDriver
from aurora_sql.types import Engine
from benchmarks._coalesced import COALESCED
from benchmarks._results import Options
from benchmarks._rows import OPERATIONS
from benchmarks._target import Target, local_target, sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from benchmarks._rows import Operation
    from benchmarks._schedule import Arrivals
    from benchmarks._shop import ShopFiles, Size

RESULTS = Path("bench-results")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where to run; a local cluster if nothing is given.

    Attributes:
        url: Address of the writer.
        settings: A JSON file with the section ``AuroraDB``.
        environment: Take ``AURORA_*`` variables and ``.env``.
        readers: Readers of the local cluster.
        engine: Of the local cluster; None for PostgreSQL, or for that of what is given.
        driver: Of MySQL, for the library; None for what the settings say.
    """

    url: str | None = None
    settings: Path | None = None
    environment: bool = False
    readers: int = 2
    engine: Engine | None = None
    driver: MysqlDriver | None = None

    def given(self) -> AuroraSettings | None:
        """The settings that were given; None for a local cluster.

        Raises:
            ConfigurationError: More than one was given, or it is wrong.
        """
        named = [
            name
            for name, value in (
                ("--url", self.url),
                ("--settings", self.settings),
                ("--environment", self.environment),
            )
            if value
        ]
        if len(named) > 1:
            raise ConfigurationError(f"{' and '.join(named)}: give one place to run on")
        if self.url:
            return self._checked(AuroraSettings.from_url(self.url))
        if self.settings:
            return self._checked(AuroraSettings.from_json(self.settings))
        return self._checked(AuroraSettings()) if self.environment else None

    def _checked(self, settings: AuroraSettings) -> AuroraSettings:
        if self.engine is not None and self.engine is not settings.engine:
            raise ConfigurationError(
                f"--engine {self.engine.value}: the settings are for {settings.engine.value}; leave"
                " --engine out, or give an address of that engine"
            )
        return self._with_driver(settings)

    def _with_driver(self, settings: AuroraSettings) -> AuroraSettings:
        if self.driver is None:
            return settings
        return settings.replace({"mysql_driver": self.driver})

    def engine_of(self) -> Engine:
        """The engine of the servers.

        Raises:
            ConfigurationError: As :meth:`given`; or a driver of MySQL for another engine.
        """
        given = self.given()
        engine = (self.engine or Engine.POSTGRESQL) if given is None else given.engine
        if self.driver is not None and engine is not Engine.MYSQL:
            raise ConfigurationError(
                f"--driver {self.driver.value} is of no use with {engine.value}: add --engine mysql"
            )
        return engine

    @asynccontextmanager
    async def target(self) -> AsyncIterator[Target]:
        """The servers for the time of the block."""
        settings = self.given()
        if settings is not None:
            yield Target(settings)
            return
        async with local_target(self.engine_of(), self.readers) as target:
            yield Target(self._with_driver(target.settings))

    @asynccontextmanager
    async def shop(self, files: ShopFiles, size: Size) -> AsyncIterator[Target]:
        """The servers with the shop in a place of its own."""
        async with AsyncExitStack() as stack:
            target = await stack.enter_async_context(self.target())
            yield await stack.enter_async_context(sandbox(target, files, size))


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how hard; None is the default of the kind of run."""

    quick: bool
    rounds: int | None
    seconds: float | None
    warm_up: float | None
    callers: int
    scale: float | None
    seed: int
    models: bool | None
    open_loop: bool
    rate: float | None
    arrivals: Arrivals
    queue: int | None

    def options(self) -> Options:
        """The options of the run.

        Raises:
            ConfigurationError: They contradict each other.
        """
        if self.open_loop and self.rate is None:
            raise ConfigurationError("--open-loop needs --rate, the arrivals per second")
        if not self.open_loop and (self.rate is not None or self.queue is not None):
            raise ConfigurationError("--rate and --queue need --open-loop")
        for name, value in (("--seconds", self.seconds), ("--rate", self.rate)):
            if value is not None and not value > 0:
                raise ConfigurationError(f"{name} must be more than 0, not {value:g}")
        quick = self.quick
        rate = self.rate
        # A second's worth of arrivals may wait: more would only hide for longer that the rate
        # is not held.
        queue = self.queue or max(int(rate or 0), self.callers)
        return Options(
            mode="open" if self.open_loop else "closed",
            callers=self.callers,
            rounds=self.rounds or (3 if quick else 7),
            seconds=self.seconds or (0.3 if quick else 2.0),
            warm_up=(0.1 if quick else 0.3) if self.warm_up is None else self.warm_up,
            rate=rate,
            arrivals=self.arrivals.value if self.open_loop else None,
            queue_limit=queue if self.open_loop else None,
            scale=self.scale or (0.3 if quick else 1.0),
            seed=self.seed,
        )

    @property
    def with_models(self) -> bool:
        """Measure the library with models too, on every row."""
        return not self.quick if self.models is None else self.models


def choose_named(
    option: str, what: str, text: str | None, known: Mapping[str, _T]
) -> tuple[_T, ...]:
    """What a list of names asks for, once and in its order; all without one.

    Args:
        option: The option that the list was given with.
        what: What the names are names of.
        text: The names, by comma.
        known: All there are.

    Raises:
        ConfigurationError: A name is unknown.
    """
    if not text:
        return tuple(known.values())
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigurationError(
                f"{option}: no {what} {name!r}; there are {', '.join(known)}{hint}"
            )
    return tuple(known[name] for name in dict.fromkeys(wanted))


def choose_rows(text: str | None) -> tuple[Operation, ...]:
    """The operations of a list of names; all without one.

    Raises:
        ConfigurationError: A name is unknown.
    """
    return choose_named("--rows", "row", text, {one.name: one for one in (*OPERATIONS, *COALESCED)})


def result_path(given: Path | None, prefix: str = "") -> Path:
    """Where a result is written to."""
    if given is not None:
        return given
    return RESULTS / f"{prefix}{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
