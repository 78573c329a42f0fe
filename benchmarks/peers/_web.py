"""The web rows: one server process for each data layer, one process that loads them in turn."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import OperationalError
from benchmarks._results import OURS, Measured
from benchmarks._suite import DifferentAnswers, interleaved
from benchmarks.peers import _web_client, _web_server
from benchmarks.peers._web_app import PAGES, WORLDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from benchmarks._engine import Sample
    from benchmarks._results import Options
    from benchmarks._sides import Admin
    from benchmarks._suite import Listener
    from benchmarks._target import Target
    from benchmarks.peers._web_app import Page

_START = 60.0
_STOP = 10.0
_PATIENCE = 30.0
# The time is up when the first answer is there.
_ONCE = 0.0
_MESSAGES = (
    "fortune: No such file or directory",
    "A computer scientist is someone who fixes things that aren't broken.",
    "After enough decimal places, nobody gives a damn.",
    "A bad random number generator: 1, 1, 1, 1, 1, 4.33e+67, 1, 1, 1",
    "A computer program does what you tell it to do, not what you want it to do.",
    "Emacs is a nice operating system, but I prefer UNIX.",
    "Any program that runs right is obsolete.",
    "A list is only as strong as its weakest link.",
    "Feature: A bug with seniority.",
    "Computers make very fast, very accurate mistakes.",
    '<script>alert("This should not be displayed in a browser alert box.");</script>',
    "フレームワークのベンチマーク",
)


@dataclass(frozen=True, slots=True)
class _Site:
    """A running server."""

    name: str
    port: int


async def _received(pipe: Connection, limit: float, who: str) -> Any:
    """What a process sends.

    Raises:
        OperationalError: It died, or sent nothing in time.
    """
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pipe.fileno(), ready.set)
    try:
        async with asyncio.timeout(limit):
            await ready.wait()
    except TimeoutError:
        raise OperationalError(f"{who} was silent for {limit:.0f} s") from None
    finally:
        loop.remove_reader(pipe.fileno())
        # libuv leaves what it has watched non-blocking, and a long message comes in parts.
        os.set_blocking(pipe.fileno(), True)
    try:
        return pipe.recv()
    except (EOFError, OSError):
        raise OperationalError(f"{who} ended; its last words stand above, if it had any") from None


@asynccontextmanager
async def _process(work: Callable[..., None], *arguments: Any) -> AsyncIterator[Connection]:
    """Run a function with one end of a pipe as its last argument in a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        await asyncio.shield(_stop(process))


async def _stop(process: SpawnProcess) -> None:
    """Let a process end by itself; one that does not is killed."""
    process.terminate()
    await asyncio.to_thread(process.join, _STOP)
    if process.is_alive():
        process.kill()
        await asyncio.to_thread(process.join)
    process.close()


def _load(pipe: Connection) -> None:
    # The terminal sends an interruption to all; the process that started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _web_client.serve(pipe)


class Web:
    """The web rows on a target.

    Args:
        target: Servers; the tables are made in its database.
        options: How to measure.
        listener: Told how it goes on.
    """

    def __init__(self, target: Target, options: Options, listener: Listener) -> None:
        self._target = target
        self._options = options
        self._listener = listener
        self._client: Connection | None = None

    async def run(self, pages: Sequence[Page], names: Sequence[str]) -> tuple[Measured, ...]:
        """Measure pages.

        Args:
            pages: What is asked for.
            names: Data layers, of :func:`benchmarks.peers._web_layers.layers`.

        Raises:
            DifferentAnswers: Two data layers answer differently.
            OperationalError: A process failed.
        """
        if not pages or not names:
            return ()
        async with AsyncExitStack() as stack:
            admin = await stack.enter_async_context(self._target.connect())
            await _make_tables(admin)
            self._client = await stack.enter_async_context(_process(_load))
            # A group: when one does not start, none of the others is left behind.
            async with asyncio.TaskGroup() as group:
                starting = [group.create_task(self._start(stack, name)) for name in names]
            sites = [_Site(name, task.result()) for name, task in zip(names, starting, strict=True)]
            await self._agree(admin, sites)
            return tuple([await self._page(page, sites) for page in pages])

    async def _page(self, page: Page, sites: Sequence[_Site]) -> Measured:
        async def measure(site: _Site) -> Sample:
            return await self._measure(site, page)

        return Measured(
            name=page.name,
            title=page.title,
            unit="requests",
            floors=tuple(site.name for site in sites if site.name != OURS),
            subjects=await interleaved(page, sites, self._options.rounds, measure, self._listener),
        )

    async def _start(self, stack: AsyncExitStack, name: str) -> int:
        options = self._options
        pipe = await stack.enter_async_context(
            _process(_web_server.serve, name, self._target.settings, options.callers, options.seed)
        )
        port: int = await _received(pipe, _START, f"the web server of {name}")
        return port

    async def _ask(
        self, site: _Site, page: Page, connections: int, seconds: float
    ) -> tuple[Sample, bytes]:
        assert self._client is not None
        self._client.send((site.port, page.path, connections, seconds))
        answer = await _received(self._client, seconds + _PATIENCE, "the load generator")
        if isinstance(answer, str):
            raise OperationalError(f"{page.title}, {site.name}: {answer}")
        sample: Sample
        sample, last = answer
        return sample, last

    async def _measure(self, site: _Site, page: Page) -> Sample:
        options = self._options
        if options.warm_up > 0:
            await self._ask(site, page, options.callers, options.warm_up)
        sample, _ = await self._ask(site, page, options.callers, options.seconds)
        return sample

    async def _agree(self, admin: Admin, sites: Sequence[_Site]) -> None:
        """Ask each server for each page once: with the same seed all answer the same."""
        expected: dict[str, bytes] = {}
        for site in sites:
            await admin.execute(f"UPDATE world SET random_number = 1 + id * 7919 % {WORLDS}")
            for page in PAGES:
                _, answer = await self._ask(site, page, 1, _ONCE)
                self._compare(expected, page.title, site, answer.partition(b"\r\n\r\n")[2])
            rows = await admin.fetch("SELECT id, random_number FROM world ORDER BY id")
            self._compare(expected, "the rows left behind", site, repr(rows).encode())

    def _compare(self, expected: dict[str, bytes], what: str, site: _Site, found: bytes) -> None:
        if expected.setdefault(what, found) != found:
            raise DifferentAnswers(
                f"{what}: {site.name} does not give what {OURS} gives:"
                f" {found[:200]!r} instead of {expected[what][:200]!r}"
            )


async def _make_tables(admin: Admin) -> None:
    values = ", ".join(
        f"({number}, '{message.replace(chr(39), 2 * chr(39))}')"
        for number, message in enumerate(_MESSAGES, 1)
    )
    for command in (
        # Room in each page, so that a change rewrites its row where it stands.
        (
            "CREATE TABLE world (id integer PRIMARY KEY, random_number integer NOT NULL)"
            " WITH (fillfactor = 50)"
        ),
        "CREATE TABLE fortune (id integer PRIMARY KEY, message text NOT NULL)",
        (
            f"INSERT INTO world SELECT n, 1 + n * 7919 % {WORLDS}"
            f" FROM generate_series(1, {WORLDS}) AS n"
        ),
        f"INSERT INTO fortune VALUES {values}",
        "VACUUM (ANALYZE) world, fortune",
    ):
        await admin.execute(command)
