"""The seam to the database drivers: two classes, and what it takes to connect.

Everything above this package speaks to these two classes only. A driver translates every
foreign error into the tree of :mod:`aurora_sql.errors` before it leaves, ``from exc``.

Stage. An error of a call that was given up or lost says through ``retry_safe`` and
``outcome_unknown`` whether the command had been written to the socket:

* nothing was written: ``retry_safe=True``;
* written and no answer: ``retry_safe=False, outcome_unknown=True`` (the driver does not know
  whether the statement writes; the layer that does may soften it for a read);
* the server answered with an error: as the error's class says.

Cancellation. Every coroutine here may be cancelled at any await. The driver then asks the
server to stop the statement where the protocol allows it, never while COMMIT is under way,
and the connection must be settled (:meth:`DriverConnection.settle`) before it is used again.
No timer is made per call: whoever calls enforces the deadline by cancelling.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import ssl
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Awaitable,
        Callable,
        Iterable,
        Sequence,
    )

    from aurora_sql.types import Column, Isolation, ParameterType


@dataclass(frozen=True, slots=True)
class Begin:
    """How a transaction is opened.

    Attributes:
        isolation: Its isolation level; None for the server's default.
        read_only: The server refuses writes in it.
        timeout: The server's limit for each statement in it, in seconds; None for the session's.
    """

    isolation: Isolation | None = None
    read_only: bool = False
    timeout: float | None = None


PLAIN = Begin()
"""A transaction as the session's settings have it."""


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """What a driver needs to open one connection.

    Attributes:
        host: Host name or address, or the folder of a Unix socket.
        port: TCP port.
        database: Name of the database.
        user: Name of the user.
        password: Called for each connection, so that a rotated password is picked up.
        tls: None for plain text, else the context to use. Never both: there is no silent
            fallback to plain text unless ``tls_optional`` says so.
        tls_optional: Try TLS first and accept plain text if the server has none
            (``sslmode=prefer``), or the other way round with ``tls_only_if_required``.
        tls_only_if_required: Try plain text first (``sslmode=allow``).
        connect_timeout: Seconds for TCP, TLS and login together.
        command_timeout: The server's own limit for a statement in seconds, 0 for none.
        application_name: Shown in the server's session list.
        server_settings: Further settings to give at connect.
        lock_timeout: The server's own limit for waiting on a lock in seconds, 0 for none.
        idle_in_transaction_timeout: Seconds after which the server ends a session that holds a
            transaction open and sends nothing, 0 for never.
        client_check_interval: Seconds between the server's looks whether the client is still
            there while a statement runs, 0 for none. Left out on servers that lack it.
        keepalive_idle: Seconds of silence before TCP asks whether the peer lives, 0 for never. This
            and the following hold on both sides: the server is told them at connect.
        keepalive_interval: Seconds between such questions.
        keepalive_count: Unanswered questions after which the connection is given up.
        tcp_user_timeout: Seconds that sent data may stay unacknowledged, 0 for the system's own.
        mysql_driver: Which driver speaks to MySQL: ``aiomysql``, ``asyncmy``, or ``auto``: asyncmy
            where it is installed.
    """

    host: str
    port: int
    database: str
    user: str
    password: Callable[[], Awaitable[str | None]] = field(repr=False)
    tls: ssl.SSLContext | None = None
    tls_optional: bool = False
    tls_only_if_required: bool = False
    connect_timeout: float = 30.0
    command_timeout: float = 60.0
    application_name: str = "aurora_sql"
    server_settings: tuple[tuple[str, str], ...] = ()
    lock_timeout: float = 0.0
    idle_in_transaction_timeout: float = 300.0
    client_check_interval: float = 10.0
    keepalive_idle: int = 10
    keepalive_interval: int = 5
    keepalive_count: int = 3
    tcp_user_timeout: float = 30.0
    mysql_driver: str = "auto"


class PreparedStatement(ABC):
    """One statement, prepared on one connection."""

    __slots__ = ()

    columns: tuple[Column, ...]
    parameters: tuple[ParameterType, ...]

    @abstractmethod
    async def fetch(self, args: Sequence[Any], limit: int = 0) -> list[Any]:
        """Run it and return its rows (at most ``limit``, 0 for all), each a :class:`Row`."""

    @abstractmethod
    async def execute(self, args: Sequence[Any]) -> int:
        """Run it and return the number of rows it affected, -1 where the command has none."""

    @abstractmethod
    async def begin_and_fetch(self, begin: Begin, args: Sequence[Any], limit: int = 0) -> list[Any]:
        """Open a transaction and :meth:`fetch` in it, in one round trip where the protocol can.

        Values that cannot be encoded raise ParameterError before anything is sent: then no
        transaction is open. After any other error one may be, which :attr:`in_transaction` of
        the settled connection tells.
        """

    @abstractmethod
    async def begin_and_execute(self, begin: Begin, args: Sequence[Any]) -> int:
        """Open a transaction and :meth:`execute` in it: as :meth:`begin_and_fetch`."""

    @abstractmethod
    async def execute_many(self, sets: Iterable[Sequence[Any]]) -> None:
        """Run it once for each set, pipelined, in one implicit transaction."""

    @abstractmethod
    async def fetch_many(self, sets: Iterable[Sequence[Any]]) -> list[Any]:
        """The same, and return the rows of all runs."""

    @abstractmethod
    def stream(
        self,
        args: Sequence[Any],
        batch: int,
        told: Callable[[tuple[Column, ...]], object] | None = None,
    ) -> AsyncGenerator[list[Any], None]:
        """Yield rows in batches through a server-side cursor. Needs an open transaction.

        Close the generator (``contextlib.aclosing``) when leaving it early: the connection is
        usable after that.

        Args:
            args: The values.
            batch: Rows per round trip.
            told: Called with the columns of these rows, before the first of them, also where
                there are none. On MySQL they may follow from the values.
        """

    @abstractmethod
    async def close(self) -> None:
        """Forget it at the server."""


class DriverConnection(ABC):
    """One session at the server. Used by one task at a time."""

    __slots__ = ()

    backend_id: int
    """The server's number for this session (process or thread id)."""

    server_version: tuple[int, ...]

    errors_abort: ClassVar[bool]
    """Any error of a statement fails the whole transaction at the server, as on PostgreSQL; where
    it does not, the layer above sees to that."""

    @property
    def is_mariadb(self) -> bool:
        """The server is MariaDB, which shares MySQL's protocol and not all of its words."""
        return False

    @property
    @abstractmethod
    def is_closed(self) -> bool:
        """The connection cannot be used any more."""

    @property
    @abstractmethod
    def in_transaction(self) -> bool:
        """A transaction is open, as the server said with its last answer."""

    @property
    @abstractmethod
    def is_standby(self) -> bool | None:
        """Whether the server is a reader: as it reports unasked, or said when the session began.

        None if it does neither.
        """

    @property
    @abstractmethod
    def is_settled(self) -> bool:
        """No cancelled command is still on its way."""

    @property
    def is_ready(self) -> bool:
        """Open, settled and in no transaction, nor in need of a rollback to forget one.

        Asked at each release: worth a shorter way.
        """
        return not self.is_closed and not self.in_transaction and self.is_settled

    @property
    @abstractmethod
    def commands_sent(self) -> int:
        """How many commands that can change something were written to the socket so far.

        Whoever cancels a call compares it before and after: unchanged means that nothing was
        sent. Preparing a statement does not count.
        """

    @abstractmethod
    def row_class(self) -> type[Any]:
        """Make a class for the rows of one statement, to be given to :meth:`prepare`."""

    @abstractmethod
    async def prepare(self, sql: str, rows: type[Any] | None = None) -> PreparedStatement:
        """Prepare one statement under a name of its own. The driver caches nothing.

        Args:
            sql: One statement.
            rows: Class of its rows, made by :meth:`row_class` of any connection that was opened
                with the same ``row_base``; by default the class that all statements share.
        """

    @abstractmethod
    async def execute(self, sql: str) -> str:
        """Run SQL without parameters, several statements allowed; the last command tag."""

    async def script(self, sql: str) -> None:
        """Run several statements outside of a transaction, all or nothing.

        PostgreSQL runs what comes in one message so. What defines tables ends the transaction on
        MySQL, and keeps what came before it.
        """
        await self.execute(sql)

    @abstractmethod
    async def begin(self, begin: Begin = PLAIN) -> None:
        """Open a transaction."""

    @abstractmethod
    async def commit(self) -> None:
        """Commit, without any cancel request ever being sent during it.

        A cancelled caller is let go at once while COMMIT goes on; until its answer is there
        :attr:`is_settled` is False, and :meth:`settle` waits for it.

        Raises:
            TransactionAborted: The server answered ROLLBACK: nothing was applied.
            CommitInDoubt: COMMIT was sent and no answer came.
        """

    @abstractmethod
    async def rollback(self) -> None:
        """Roll back, or forget a transaction that ended by itself; nothing happens without one."""

    @abstractmethod
    def hold_lock_timeout(self, seconds: float) -> None:
        """Let a limit for each wait for a lock go in front of the next pipelined sets of values.

        It holds until the end of their transaction. Nothing happens where the engine has no such
        limit.
        """

    @abstractmethod
    async def copy_in(
        self,
        table: Sequence[str],
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]],
    ) -> int:
        """Load rows by COPY (LOAD DATA) and return how many.

        Args:
            table: Name, or schema and name; not quoted.
            columns: Names of the columns, not quoted, in the order of the values.
            rows: The values; taken as they are needed, in bounded memory. A
                :class:`ColumnBatches` may be encoded by column.
        """

    @abstractmethod
    def copy_out(
        self, sql: str, count: Callable[[int], object] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Run a COPY … TO STDOUT command and yield its data as it comes, in whole rows.

        Reading stops while nobody asks for more. Close the generator
        (``contextlib.aclosing``) when leaving it early: the connection is settled after that, and
        closed where the rest could not be called off.

        Args:
            sql: The command.
            count: Called with the number of rows, once all are there.
        """

    @abstractmethod
    async def ping(self) -> None:
        """One round trip that proves that the server answers."""

    @abstractmethod
    async def reset(self) -> None:
        """Undo everything that a caller can have done to the session.

        Prepared statements made through :meth:`prepare` survive.
        """

    @abstractmethod
    async def settle(self, timeout: float = 2.0) -> bool:  # noqa: ASYNC109 - gives up, does not raise
        """Wait for a cancelled command, or for a COMMIT that its caller left, to end.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            False: the connection is of no more use, abort it.
        """

    @abstractmethod
    async def close(self) -> None:
        """Say good-bye to the server and close."""

    @abstractmethod
    def abort(self) -> None:
        """Close at once, without a word. Never raises."""
