"""The fault proxy: between clients and one server, it does to connections what networks do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aurora_sql.errors import ConfigurationError, OperationalError, UsageError
from aurora_sql.local._lifecycle import Lifecycle
from aurora_sql.local._link import Counters, Link
from aurora_sql.local._wire_mysql import MySQLConversation
from aurora_sql.local._wire_postgresql import PostgresConversation
from aurora_sql.local.faults import Connections, Fault, Moment, Unanswered
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from aurora_sql.local._link import Target
    from aurora_sql.local._wire import Conversation

T = TypeVar("T")

_CONVERSATIONS: Final[dict[Engine, type[Conversation]]] = {
    Engine.POSTGRESQL: PostgresConversation,
    Engine.MYSQL: MySQLConversation,
}
_BACKLOG: Final = 512
_FILL_SECONDS: Final = 0.2
_MOST_FILLERS: Final = 8


@dataclass(frozen=True, slots=True)
class ProxyStats:
    """What went through a proxy so far.

    Attributes:
        accepted: Connections of clients.
        open: Those that are open now.
        refused: Those that the server did not take.
        bytes_to_server: Bytes passed on to the server.
        bytes_to_client: Bytes passed on to clients.
        bytes_lost: Bytes that faults made vanish.
        injected: How often a fault took effect: on a connection, at its moment or at once.
        waiting: Faults that wait for their moment.
    """

    accepted: int
    open: int
    refused: int
    bytes_to_server: int
    bytes_to_client: int
    bytes_lost: int
    injected: int
    waiting: int


@dataclass(slots=True)
class _Watch:
    """A fault that waits for its moment."""

    fault: Fault
    moment: Moment
    times: int | None
    on: Connections
    newest: int
    """Number of the newest connection when it was set."""

    def covers(self, link: Link) -> bool:
        match self.on:
            case Connections.OPEN:
                return link.number <= self.newest
            case Connections.NEW:
                return link.number > self.newest
        return True


class FaultProxy(Lifecycle):
    """A TCP proxy in front of one PostgreSQL or MySQL server, with faults on demand.

    Use it with ``async with``, with ``with``, or by :meth:`start` and :meth:`stop`. It runs in a
    thread of its own, so that faults keep their time while the caller's event loop is busy or
    blocked. Its methods wait until what they do has taken effect, which takes well under a
    millisecond, and may be called from any thread.

    ```python
    async with FaultProxy(host, port) as proxy:
        proxy.inject(Latency(0.05))
        proxy.inject(Reset(), at=Reply("COMMIT"))
        ...
        proxy.heal()
    ```

    The moments :class:`Request` and :class:`Reply` need the engine's protocol in plain text;
    in an encrypted or compressed connection they never come.

    Args:
        host: Where the server is.
        port: Its port.
        engine: Whose protocol it speaks: ``"postgresql"``, or ``"mysql"``, which is MariaDB too.
        listen_host: Address to listen on.
        listen_port: Port to listen on, 0 for any that is free.
        seed: For jitter; the same seed gives the same numbers.

    Raises:
        ConfigurationError: An argument cannot work.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        engine: Engine | str = Engine.POSTGRESQL,
        listen_host: str = "127.0.0.1",
        listen_port: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__("fault proxy")
        for name, value, least in (("port", port, 1), ("listen_port", listen_port, 0)):
            if not least <= value < 65536:  # noqa: PLR2004 - the range of ports
                raise ConfigurationError(f"{name}={value!r}: must be {least} to 65535")
        try:
            self._conversation = _CONVERSATIONS[Engine(engine)]
        except ValueError as error:
            raise ConfigurationError(
                f"engine={engine!r}: must be 'postgresql' or 'mysql'"
            ) from error
        self._server = host, port
        self._listen = listen_host, listen_port
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._address: tuple[str, int] | None = None
        self._target: Target | None = None
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._fillers: list[socket.socket] = []
        self._filler_names: set[tuple[str, int]] = set()
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._for_new: list[Fault] = []
        self._watches: list[_Watch] = []
        self._counters = Counters()
        self._failure: BaseException | None = None

    def __repr__(self) -> str:
        where = "not running"
        if self._address is not None:
            where = f"{self._address[0]}:{self._address[1]}"
        told = [f"{fault} on new connections" for fault in list(self._for_new)]
        if self._fillers:
            told.append(f"{Unanswered()} on new connections")
        told += [f"{w.fault} at {w.moment}" for w in list(self._watches)]
        host, port = self._server
        return (
            f"<FaultProxy {where} to {host}:{port}, {len(self._links)} open, "
            f"{'; '.join(told) or 'no fault waits'}>"
        )

    # What users ask for

    @property
    def host(self) -> str:
        """The address that clients connect to."""
        return self._running()[0]

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        return self._running()[1]

    @property
    def stats(self) -> ProxyStats:
        """What went through so far; readable after the end too."""
        counters = self._counters
        return ProxyStats(
            accepted=counters.accepted,
            open=len(self._links),
            refused=counters.refused,
            bytes_to_server=counters.to_server,
            bytes_to_client=counters.to_client,
            bytes_lost=counters.lost,
            injected=counters.injected,
            waiting=len(self._watches),
        )

    def inject(
        self,
        fault: Fault,
        *,
        on: Connections | str = Connections.ALL,
        at: Moment | None = None,
        times: int | None = 1,
    ) -> None:
        """Set a fault.

        Args:
            fault: What happens; see :mod:`aurora_sql.local.faults`.
            on: To which connections: ``"open"``, ``"new"`` or ``"all"``.
            at: When: at the next message that fits, on whichever connection it comes; None for
                at once (for new connections: as soon as each is made).
            times: At how many such messages, None for all of them; of use with ``at`` alone.

        Raises:
            ConfigurationError: The combination cannot work.
            UsageError: The proxy is not running.
        """
        try:
            on = Connections(on)
        except ValueError as error:
            raise ConfigurationError(f"on={on!r}: must be 'open', 'new' or 'all'") from error
        if times is not None and times < 1:
            raise ConfigurationError(f"times={times!r}: must be 1 or more, or None")
        if at is None and times != 1:
            raise ConfigurationError(f"times={times!r} needs at=: a moment that can come again")
        if isinstance(fault, Unanswered) and (at is not None or on is Connections.OPEN):
            raise ConfigurationError("Unanswered is for new connections, at once: on='new'")
        self._call(self._inject(fault, on, at, times))

    def heal(self) -> None:
        """Take all faults away, those that wait included.

        What is held back is delivered. Connections that lost bytes in a black hole are reset.

        Raises:
            UsageError: The proxy is not running.
        """
        self._call(self._heal())

    def _running(self) -> tuple[str, int]:
        if self._address is None or self._background is None:
            raise UsageError("the proxy is not running: use it with `async with` or `with`")
        return self._address

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        background = self._background
        if background is None or self._address is None:
            work.close()
            self._running()
            raise AssertionError
        return background.call(work).result()

    # In the thread of the proxy

    async def _live(self, ready: Callable[[], None]) -> None:
        # What was set in an earlier run ended with it.
        self._for_new.clear()
        self._watches.clear()
        self._failure = None
        try:
            await self._open()
            ready()
            await asyncio.Event().wait()
        finally:
            await self._shut()
            if self._failure is not None:
                raise self._failure

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(*self._server, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ConfigurationError(f"host={self._server[0]!r}: not found: {error}") from error
        family, _, _, _, address = found[0]
        self._target = family, address
        host, port = self._listen
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._listener = listener
        listener.settimeout(0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(_BACKLOG)
        except OSError as error:
            raise OperationalError(
                f"{host}:{port}: the proxy cannot listen there: {error.strerror}"
            ) from error
        self._address = listener.getsockname()[:2]
        self._accepting = asyncio.ensure_future(self._accept(listener))

    async def _shut(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
        if self._listener is not None:
            self._listener.close()
        self._drop_fillers()
        for link in self._links:
            link.end(reset=False)
        if self._links:
            await asyncio.wait(self._links.values())

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, name = await loop.sock_accept(listener)
            except OSError:
                # That client is gone again, or the process has no descriptor left for now.
                await asyncio.sleep(0.01)
                continue
            if name[:2] in self._filler_names:
                self._filler_names.discard(name[:2])
                client.close()
                continue
            self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._target is None:
            raise AssertionError
        self._counters.accepted += 1
        link = Link(
            self._counters.accepted,
            client,
            self._target,
            self._due,
            self._counters,
            self._random,
            self._conversation(),
        )
        for fault in self._for_new:
            self._counters.injected += 1
            link.apply(fault)
        task = asyncio.ensure_future(link.run())
        self._links[link] = task
        task.add_done_callback(lambda task: self._ended(link, task))

    def _ended(self, link: Link, task: asyncio.Task[None]) -> None:
        del self._links[link]
        if not task.cancelled() and task.exception() is not None:
            # A mistake in the proxy itself must not pass for a fault: leaving the block raises it.
            self._failure = self._failure or task.exception()

    def _due(
        self, link: Link, moment: type[Moment], message: str, sql: str | None
    ) -> Iterator[Fault]:
        for watch in list(self._watches):
            if (
                isinstance(watch.moment, moment)
                and watch.covers(link)
                and watch.moment.matches(message, sql)
            ):
                if watch.times is not None:
                    watch.times -= 1
                    if not watch.times:
                        self._watches.remove(watch)
                yield watch.fault

    async def _inject(
        self, fault: Fault, on: Connections, at: Moment | None, times: int | None
    ) -> None:
        if isinstance(fault, Unanswered):
            await self._stop_answering()
            return
        if at is not None:
            self._watches.append(_Watch(fault, at, times, on, self._counters.accepted))
            return
        if on is not Connections.NEW:
            for link in list(self._links):
                self._counters.injected += 1
                link.apply(fault)
            await self._wait_ended()
        if on is not Connections.OPEN:
            self._for_new.append(fault)

    async def _heal(self) -> None:
        self._for_new.clear()
        self._watches.clear()
        for link in list(self._links):
            link.heal()
        await self._wait_ended()
        if self._fillers and self._listener is not None:
            self._listener.listen(_BACKLOG)
            self._drop_fillers()
            self._accepting = asyncio.ensure_future(self._accept(self._listener))

    async def _wait_ended(self) -> None:
        """Until the links that are to end have closed their sockets."""
        if ending := [task for link, task in self._links.items() if link.is_over]:
            await asyncio.wait(ending)

    async def _stop_answering(self) -> None:
        """Fill the queue of connections that nobody accepts: Linux then drops what comes."""
        if not sys.platform.startswith("linux"):
            raise ConfigurationError("Unanswered works on Linux only; use BlackHole on='new'")
        if self._fillers or self._listener is None or self._accepting is None:
            return
        self._accepting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._accepting
        self._listener.listen(0)
        loop = asyncio.get_running_loop()
        for _ in range(_MOST_FILLERS):
            filler = socket.socket(self._listener.family)
            filler.settimeout(0)
            self._fillers.append(filler)
            try:
                async with asyncio.timeout(_FILL_SECONDS):
                    await loop.sock_connect(filler, self._listener.getsockname())
            except TimeoutError:
                # This one's packets vanish, so will those of others. It must not go on trying.
                filler.close()
                self._counters.injected += 1
                return
            self._filler_names.add(filler.getsockname()[:2])
        raise OperationalError("the system goes on answering attempts to connect")

    def _drop_fillers(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
