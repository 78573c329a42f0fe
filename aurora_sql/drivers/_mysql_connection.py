"""One session at a MySQL or MariaDB server, whoever logged in."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, cast

from aurora_sql import errors
from aurora_sql.drivers import _mysql_errors as mysql_errors
from aurora_sql.drivers import _mysql_protocol as p
from aurora_sql.drivers import _mysql_rows as mysql_rows
from aurora_sql.drivers import _mysql_session as session_sql
from aurora_sql.drivers._mysql_answers import Answer, Prepared, Results, TextRows
from aurora_sql.drivers._mysql_kill import Killer
from aurora_sql.drivers._mysql_leaving import Leaving
from aurora_sql.drivers._mysql_load import load
from aurora_sql.drivers._mysql_statement import MySQLStatement
from aurora_sql.drivers._mysql_transaction import Transaction
from aurora_sql.drivers.base import PLAIN, Begin, DriverConnection

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Awaitable,
        Callable,
        Hashable,
        Iterable,
        Sequence,
    )

    from aurora_sql.drivers._mysql_types import Codec
    from aurora_sql.drivers._mysql_wire import Session
    from aurora_sql.drivers.base import ConnectOptions

_CLOSE_TIMEOUT: Final = 2.0
_UNDO_TIMEOUT: Final = 30.0


class MySQLConnection(DriverConnection):
    """One session. Made by :func:`aurora_sql.drivers.connect`; used by one task at a time.

    The server tells with each OK whether a transaction is open, and with an error it does not: it
    is asked (COM_PING) after each error in a transaction, before the error is raised.

    A transaction that :meth:`begin` opened and that ended without :meth:`commit` or
    :meth:`rollback` (a deadlock rolled it back, DDL committed it) dooms the session until one of
    the two is called: statements meant for it would each commit on their own.
    """

    __slots__ = (
        "__weakref__",
        "_killer",
        "_mariadb",
        "_options",
        "_rows",
        "_sent",
        "_standby",
        "_timeout_changed",
        "backend_id",
        "codec",
        "epoch",
        "extended",
        "leaving",
        "local_infile",
        "max_packet",
        "server_version",
        "transaction",
        "where",
        "wire",
    )

    errors_abort = False

    def __init__(
        self,
        session: Session,
        options: ConnectOptions,
        row_base: type[Any] | None,
        where: str,
        open_beside: Callable[[ConnectOptions, Session], Awaitable[Session]],
        codec: Codec,
    ) -> None:
        self._options = options
        self._rows = mysql_rows.combined(cast("Hashable", row_base))
        self.wire = session.wire
        self.codec = codec
        self.where = where
        self.extended = session.extended
        self.backend_id = session.thread
        self.server_version, self._mariadb = session_sql.parse_version(session.version)
        self.max_packet = 1 << 24
        self.local_infile = False
        self._standby: bool | None = None
        # Rises with each reset, which makes the server forget its prepared statements.
        self.epoch = 0
        self._sent = 0
        self._timeout_changed = False
        self.transaction = Transaction()
        self._killer = Killer(lambda: open_beside(options, session), session.thread)
        self.leaving = Leaving(session.wire, self.transaction, self._killer)

    async def prepare_session(self) -> None:
        """Give the session its settings, and ask what it has to know of the server."""
        await self._set_settings()
        ((packet, infile, thread, identity, *reads),) = await self.ask(session_sql.FACTS)
        self.max_packet = int(packet or self.max_packet)
        self.local_infile = infile == "1"
        # Behind a proxy the greeting's number is the proxy's own.
        self.backend_id = int(thread or self.backend_id)
        self._killer.identity, self._killer.number = identity or "", self.backend_id
        # Later versions of MariaDB have names in place of 0 and 1.
        self._standby = not {"0", "OFF"}.issuperset(reads)

    async def _set_settings(self) -> None:
        sql = session_sql.settings(self._options, mariadb=self.is_mariadb)
        try:
            await self.command(sql)
        except errors.DatabaseError as exc:
            raise errors.ConfigurationError(
                f"{self.where}: the server refuses a setting given at connect: {exc} ({exc.code})"
            ) from exc

    # --- state ------------------------------------------------------------------------------

    @property
    def is_mariadb(self) -> bool:
        return self._mariadb

    @property
    def is_closed(self) -> bool:
        return self.wire.lost is not None

    @property
    def in_transaction(self) -> bool:
        return self.wire.in_transaction

    @property
    def is_standby(self) -> bool | None:
        return self._standby

    @property
    def is_settled(self) -> bool:
        return self.leaving.task is None

    @property
    def is_ready(self) -> bool:
        wire = self.wire
        return (
            wire.lost is None
            and not wire.status & p.IN_TRANSACTION
            and self.leaving.task is None
            and not self.transaction.begun
        )

    @property
    def commands_sent(self) -> int:
        return self._sent

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "open"
        if state == "open" and not self.is_settled:
            state = "unsettled"
        if state == "open" and self.in_transaction:
            state = "in transaction"
        return f"<MySQLConnection {self.where} backend={self.backend_id} {state}>"

    # --- commands ---------------------------------------------------------------------------

    async def run(
        self, packet: bytes, answer: Answer, *, counted: bool = True, stoppable: bool = True
    ) -> None:
        """Send a command and wait for its answer.

        Args:
            packet: The command.
            answer: Takes its answer.
            counted: It can change something.
            stoppable: It may be stopped by KILL QUERY when the caller leaves.
        """
        waiter = self.start(packet, answer, counted=counted)
        await self.wait(waiter, answer, counted=counted, stoppable=stoppable)

    def start(self, packet: bytes, answer: Answer, *, counted: bool = True) -> asyncio.Future[None]:
        """Send a command; :meth:`wait` is what the future must be waited for with."""
        if self.transaction.ended is not None and counted:
            raise self.transaction.doomed()
        wire = self.wire
        if wire._answer is not None or self.leaving.task is not None:  # noqa: SLF001 - asked often
            raise errors.OperationalError(
                f"{self.where}: the connection is busy with another command; one connection serves "
                "one task at a time: wait for the first, or use a second connection",
                retry_safe=True,
            )
        try:
            waiter = wire.send(packet, answer)
        except OSError as exc:
            raise mysql_errors.lost(str(exc), where=self.where, sent=False) from exc
        self._sent += counted
        return waiter

    async def wait(
        self,
        waiter: asyncio.Future[None],
        answer: Answer,
        *,
        counted: bool = True,
        stoppable: bool = True,
    ) -> None:
        """Wait for the answer to a command that was sent."""
        try:
            await waiter
        except (asyncio.CancelledError, OSError) as exc:
            self.left(exc, waiter, answer, counted=counted, stoppable=stoppable)
            raise
        if answer.error is not None or (
            self.transaction.begun and not self.wire.status & p.IN_TRANSACTION
        ):
            await self.consider(answer)

    def left(
        self,
        exc: BaseException,
        waiter: asyncio.Future[None],
        answer: Answer,
        *,
        counted: bool = True,
        stoppable: bool = True,
    ) -> None:
        """The answer did not come: the connection is lost, or the caller is gone."""
        if isinstance(exc, OSError):
            raise mysql_errors.lost(str(exc), where=self.where, sent=counted) from exc
        if not waiter.cancelled() and not answer.done and answer.upload:
            # The server's question for a file was on its way to the caller: no file.
            self.wire.post(p.frame(b"", 2))
        self.transaction.note(answer, is_open=self.in_transaction)
        self.leaving.leave(answer, stoppable=stoppable)

    async def consider(self, answer: Answer) -> None:
        """See what an answer means for the transaction, and raise its error."""
        self.transaction.note(answer, is_open=self.in_transaction)
        if answer.error is None:
            return
        error = mysql_errors.from_server(answer.error, where=self.where)
        if isinstance(error, errors.ConnectionLost):
            # The server closes next, or cannot say how it ended. A question whose answer is lost
            # would tell of itself alone: that nothing was sent.
            self.abort()
        elif self.transaction.unsure:
            with contextlib.suppress(errors.ConnectionLost):
                await self._learn()
        raise error

    async def _learn(self) -> None:
        """Ask whether the transaction is still open, which an error does not say."""
        await self.run(p.command(p.PING), Answer(), counted=False, stoppable=False)
        self.transaction.learned(is_open=self.in_transaction)

    def _raise_doomed(self) -> None:
        raise self.transaction.doomed()

    async def command(
        self, sql: str, *, counted: bool = False, stoppable: bool = True
    ) -> p.Ok | None:
        """Run one statement of our own without rows."""
        answer = Results(extended=self.extended)
        await self.run(p.query(sql), answer, counted=counted, stoppable=stoppable)
        if answer.upload is not None:
            raise self._refuse(answer.upload)
        return answer.ok

    async def ask(self, sql: str) -> list[tuple[str | None, ...]]:
        """Run one statement of our own; its rows as text."""
        answer = TextRows(extended=self.extended)
        await self.run(p.query(sql), answer, counted=False)
        if answer.upload is not None:
            raise self._refuse(answer.upload)
        return answer.rows

    def _refuse(self, name: str) -> errors.OperationalError:
        """Close: the server asks for a file that nobody offered."""
        self.abort()
        return errors.OperationalError(
            f"{self.where}: the server asked for the file {name!r} of this machine; it got "
            "nothing, and the connection is closed. LOAD DATA LOCAL is open to copy_in alone"
        )

    refuse = _refuse

    def row_class(self) -> type[Any]:
        return mysql_rows.subclass(self._rows)

    async def prepare(self, sql: str, rows: type[Any] | None = None) -> MySQLStatement:
        answer = await self.prepare_raw(sql)
        return MySQLStatement(self, sql, answer, rows or self._rows, own=rows is not None)

    async def prepare_raw(self, sql: str) -> Prepared:
        """Let the server prepare a statement."""
        packet = p.command(p.STMT_PREPARE, self.encode(sql))
        self.check_size(len(packet))
        answer = Prepared(extended=self.extended)
        await self.run(packet, answer, counted=False)
        return answer

    def encode(self, sql: str) -> bytes:
        """SQL as it is sent."""
        try:
            return sql.encode()
        except UnicodeEncodeError as exc:
            raise errors.ParameterError(
                f"the statement cannot be encoded as UTF-8 ({exc.reason} at position {exc.start})"
            ) from exc

    def check_size(self, size: int) -> None:
        """Refuse what the server would close the connection for."""
        if size > self.max_packet:
            raise errors.ParameterError(
                f"the statement and its values take {size} bytes, and the server takes "
                f"{self.max_packet} (max_allowed_packet): send less at once, or raise it there"
            )

    async def execute(self, sql: str) -> str:
        packet = p.command(p.QUERY, self.encode(sql))
        self.check_size(len(packet))
        if session_sql.holds_several(sql):
            await self._allow_several(on=True)
        answer = Results(extended=self.extended)
        try:
            await self.run(packet, answer)
        finally:
            if self.leaving.several and self.is_settled and not self.is_closed:
                await self._allow_several(on=False)
        if answer.upload is not None:
            raise self._refuse(answer.upload)
        if answer.ok is None:
            return "SELECT"
        return f"OK {answer.ok.affected}"

    async def script(self, sql: str) -> None:
        async with self.all_or_nothing(may_end=True):
            await self.execute(sql)

    async def _allow_several(self, *, on: bool) -> None:
        self.leaving.several = True
        await self.run(p.multi_statements(on=on), Answer(), counted=False, stoppable=False)
        self.leaving.several = on

    # --- transactions -----------------------------------------------------------------------

    async def begin(self, begin: Begin = PLAIN) -> None:
        if self.transaction.begun and self.transaction.ended is not None:
            raise self.transaction.doomed()
        if begin.timeout is not None:
            self._timeout_changed = True
            await self.command(
                "SET " + session_sql.statement_timeout(begin.timeout, mariadb=self.is_mariadb)
            )
        *settings, start = session_sql.begin_commands(begin)
        try:
            for sql in settings:
                await self.command(sql)
            await self.command(start, counted=True)
        except BaseException:
            if settings:
                # The isolation level would be that of whatever comes next.
                self.leaving.cleanup += ["START TRANSACTION", "ROLLBACK"]
                if self.is_settled and not self.is_closed:
                    self.leaving.leave(None, stoppable=False)
            raise
        self.transaction.begun = True

    async def commit(self) -> None:
        if not self.is_settled and not await self.settle():
            self.abort()
        if self.is_closed:
            raise mysql_errors.lost("closed before COMMIT", where=self.where, sent=False)
        if self.transaction.ended is not None or not self.in_transaction:
            ended, applied = self.transaction.ended, self.transaction.was_committed
            self.transaction.forget()
            await self._restore_timeout()
            raise errors.TransactionAborted(
                f"no transaction is open any more: {ended or 'something ended it before COMMIT'}",
                retry_safe=not applied,
            )
        try:
            await self.command("COMMIT", counted=True, stoppable=False)
        except errors.ConnectionLost as exc:
            if exc.outcome_unknown:
                raise errors.CommitInDoubt(
                    f"{self.where}: COMMIT was sent and not answered ({exc}): the transaction is "
                    "applied as a whole or not at all; look before repeating it"
                ) from exc
            raise
        finally:
            self.transaction.forget()
        await self._restore_timeout()

    def hold_lock_timeout(self, seconds: float) -> None:
        """Its limit is one of the session, in whole seconds."""

    async def rollback(self) -> None:
        self.transaction.forget()
        if self.in_transaction:
            await self.command("ROLLBACK", counted=True, stoppable=False)
        await self._restore_timeout()

    async def _restore_timeout(self) -> None:
        if self._timeout_changed:
            await self.command(self._timeout_sql(), stoppable=False)
            self._timeout_changed = False

    def _timeout_sql(self) -> str:
        return "SET " + session_sql.statement_timeout(
            self._options.command_timeout, mariadb=self.is_mariadb
        )

    @contextlib.asynccontextmanager
    async def all_or_nothing(self, *, may_end: bool = False) -> AsyncGenerator[None, None]:
        """A transaction around several commands, or a savepoint in one that is open.

        Args:
            may_end: One of them may commit what came before it.
        """
        inner = self.in_transaction or self.transaction.begun
        undo = "ROLLBACK TO SAVEPOINT aurora_sql_many" if inner else "ROLLBACK"
        try:
            await self.command(
                "SAVEPOINT aurora_sql_many" if inner else "START TRANSACTION", counted=True
            )
            self.transaction.begun = self.transaction.begun or not inner
            yield
            ended = not self.in_transaction or self.transaction.ended is not None
            if ended and not may_end:
                self._raise_doomed()
        except BaseException as exc:
            if not inner:
                self.transaction.forget()
            self._undo(undo)
            if isinstance(exc, Exception):
                await self.settle(_UNDO_TIMEOUT)
            raise
        if inner:
            await self.command("RELEASE SAVEPOINT aurora_sql_many")
        elif ended:
            self.transaction.forget()
        else:
            await self.commit()

    def _undo(self, sql: str) -> None:
        """Undo as soon as the session has come to rest, in a task that nobody can cancel."""
        if not self.is_closed and self.transaction.ended is None:
            self.leaving.cleanup.append(sql)
            self.leaving.leave(None, stoppable=False)

    # --- leaving a command ------------------------------------------------------------------

    async def settle(self, timeout: float = 2.0) -> bool:  # noqa: ASYNC109 - gives up, does not raise
        return await self.leaving.settle(timeout)

    # --- the rest ---------------------------------------------------------------------------

    async def copy_in(
        self,
        table: Sequence[str],
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]],
    ) -> int:
        return await load(self, tuple(table), tuple(columns), rows)

    async def copy_out(
        self,
        sql: str,
        count: Callable[[int], object] | None = None,  # noqa: ARG002 - there is nothing to count
    ) -> AsyncGenerator[bytes, None]:
        raise errors.ConfigurationError(
            "MySQL has no COPY … TO STDOUT: stream a SELECT and write its rows"
        )
        yield sql.encode()  # what makes it a generator

    async def ping(self) -> None:
        await self.run(p.command(p.PING), Answer(), counted=False, stoppable=False)

    async def reset(self) -> None:
        # The server forgets its prepared statements with the rest.
        self.epoch += 1
        self.transaction.forget()
        self.transaction.unsure = self._timeout_changed = False
        try:
            await self.run(p.command(p.RESET_CONNECTION), Answer(), counted=False, stoppable=False)
            await self._set_settings()
        except BaseException:
            # Half reset it is of no use.
            self.abort()
            raise

    async def close(self) -> None:
        try:
            if (self.is_settled or await self.settle()) and not self.wire.is_busy:
                self.wire.post(p.command(p.QUIT))
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self.wire.drain()
        except (OSError, TimeoutError):
            return
        finally:
            self.abort()

    def abort(self) -> None:
        self.wire.abort()
        self.leaving.cancel()
