"""One session at a PostgreSQL server, by asyncpg."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from aurora_sql import errors
from aurora_sql.drivers import _asyncpg_errors, _asyncpg_types
from aurora_sql.drivers import _asyncpg_private as private
from aurora_sql.drivers._asyncpg_copy import CopyIn, CopyTargets, copy_out
from aurora_sql.drivers._asyncpg_statement import AsyncpgStatement
from aurora_sql.drivers._onlooker import Onlooker
from aurora_sql.drivers.base import PLAIN, Begin, DriverConnection

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Callable,
        Coroutine,
        Iterable,
        Iterator,
        Sequence,
    )

    import asyncpg

    from aurora_sql.drivers._source import Source

# Undoes what a caller can have done, one round trip. DISCARD ALL would do most of it, but may
# not stand in the implicit transaction of several statements and forgets our own prepared
# statements. The session's user comes first: another role may not be allowed the rest. RESET ALL
# goes back to the settings given at connect, and does not touch role and session user. Last, how
# many statements somebody has prepared by SQL: the command tag tells; hardly ever there are any.
_RESET = (
    "SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; CLOSE ALL; UNLISTEN *; "
    "DISCARD SEQUENCES; DISCARD TEMP; SELECT pg_catalog.pg_advisory_unlock_all(); "
    "SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql"
)
_NONE_PREPARED = "SELECT 0"
# By name: DEALLOCATE ALL would forget those that the library has prepared by the protocol, too.
_DEALLOCATE = (
    "SELECT pg_catalog.string_agg(pg_catalog.format('DEALLOCATE %I', name), '; ') "
    "FROM pg_catalog.pg_prepared_statements WHERE from_sql"
)
# The shortest statement that the server answers with a command tag.
_PING = "SELECT"
# Seconds that saying good-bye may take.
_CLOSE_TIMEOUT = 2.0


class AsyncpgConnection(DriverConnection):
    """One session. Made by :func:`aurora_sql.drivers.connect`; used by one task at a time."""

    __slots__ = (
        "__weakref__",
        "_begin_names",
        "_begins",
        "_committing",
        "_connection",
        "_interrupt",
        "_left",
        "_loop",
        "_miscounted",
        "_portals",
        "_settling",
        "_targets",
        "_where",
        "backend_id",
        "server_version",
        "transport",
        "wire",
    )

    errors_abort = True

    def __init__(
        self, connection: asyncpg.Connection[Any], loop: asyncio.AbstractEventLoop, where: str
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._where = where
        self.wire = private.protocol_of(connection)
        self.transport = private.transport_of(connection)
        self.backend_id = connection.get_server_pid()
        version = connection.get_server_version()
        self.server_version = (version.major, version.minor)
        # By how much asyncpg's own count of commands sent is wrong: it misses COPY.
        self._miscounted = 0
        self._portals = 0
        # Messages of each kind of BEGIN that the server has prepared: there are few.
        self._begins: dict[Begin, bytes] = {}
        self._begin_names = 0
        self._committing: asyncio.Task[str] | None = None
        self._left: asyncio.Task[Any] | None = None
        self._settling: asyncio.Task[None] | None = None
        self._interrupt: Callable[[], object] | None = None
        self._targets = CopyTargets()
        connection.add_termination_listener(self._on_terminated)

    # --- state ------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        return not self.wire.is_connected()

    @property
    def in_transaction(self) -> bool:
        return self.wire.is_in_transaction()

    @property
    def is_standby(self) -> bool | None:
        reported = getattr(self.wire.get_settings(), "in_hot_standby", None)
        return None if reported is None else reported == "on"

    @property
    def is_settled(self) -> bool:
        return self._left is None and not self.wire._is_cancelling()  # noqa: SLF001 - see _asyncpg_private

    @property
    def is_ready(self) -> bool:
        wire = self.wire
        return (
            wire.is_connected()
            and self._left is None
            and not wire.is_in_transaction()
            and not wire._is_cancelling()  # noqa: SLF001 - see _asyncpg_private
        )

    @property
    def is_cancelling(self) -> bool:
        """A cancel request is under way, or not yet answered."""
        return self.wire._is_cancelling()  # noqa: SLF001 - see _asyncpg_private

    @property
    def commands_sent(self) -> int:
        return self.wire.queries_count + self._miscounted

    @property
    def where(self) -> str:
        """The server as host:port."""
        return self._where

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "open"
        if state == "open" and not self.is_settled:
            state = "unsettled"
        if state == "open" and self.in_transaction:
            state = "in transaction"
        return f"<AsyncpgConnection {self._where} backend={self.backend_id} {state}>"

    def failure(self, exc: Exception, sent_before: int) -> errors.AuroraError:
        """The library's error for one raised by asyncpg.

        Args:
            exc: What asyncpg raised.
            sent_before: asyncpg's count of commands before the call.
        """
        sent = self.wire.queries_count != sent_before
        if isinstance(exc, _asyncpg_errors.STALE_TYPES):
            # asyncpg's picture of a composite or enum type is out of date: forget all of them.
            self.wire.get_settings().clear_type_cache()
        return _asyncpg_errors.translate(exc, where=self._where, sent=sent)

    # --- commands ---------------------------------------------------------------------------

    def row_class(self) -> type[Any]:
        return _asyncpg_types.subclass(self.wire.get_record_class())

    async def prepare(self, sql: str, rows: type[Any] | None = None) -> AsyncpgStatement:
        return AsyncpgStatement(self, await self.prepare_state(sql, rows=rows))

    async def prepare_state(
        self, sql: str, *, named: bool = True, rows: type[Any] | None = None
    ) -> private.StatementState:
        """Prepare a statement under a name of its own, or as the one without a name."""
        sent = self.wire.queries_count
        try:
            state = await private.prepare(self._connection, sql, named=named, rows=rows)
        except Exception as exc:
            # Introspecting a type is a query and counts, but nothing of the caller's was run.
            failure = self.failure(exc, sent)
            if isinstance(failure, errors.ConnectionLost):
                failure.retry_safe, failure.outcome_unknown = True, False
            raise failure from exc
        private.check_state(state)
        return state

    async def forget(self, state: private.StatementState) -> None:
        """Close a statement at the server; nothing happens where that is not possible now."""
        if state.closed or self.is_closed or not self.is_settled:
            return
        try:
            await self.wire.close_statement(state, None)
        except Exception as exc:
            raise self.failure(exc, self.wire.queries_count) from exc

    async def fetch_value(self, sql: str, *args: Any) -> Any:
        """One value of one row, by a statement that is not kept."""
        sent = self.wire.queries_count
        try:
            return await self._connection.fetchval(sql, *args)
        except Exception as exc:
            raise self.failure(exc, sent) from exc

    async def execute(self, sql: str) -> str:
        sent = self.wire.queries_count
        try:
            return await private.run_script(self.wire, sql)
        except Exception as exc:
            raise self.failure(exc, sent) from exc

    async def ping(self) -> None:
        await self.execute(_PING)

    async def reset(self) -> None:
        tag = await self.execute(f"ROLLBACK; {_RESET}" if self.in_transaction else _RESET)
        if tag != _NONE_PREPARED:
            await self.execute(await self.fetch_value(_DEALLOCATE))

    # --- transactions -----------------------------------------------------------------------

    async def begin(self, begin: Begin = PLAIN) -> None:
        sent = self.wire.queries_count
        try:
            # One coroutine less than execute(): every transaction comes through here.
            await self.wire.query("; ".join(_begin_commands(begin)), None)
        except Exception as exc:
            raise self.failure(exc, sent) from exc

    def hold_begin(self, begin: Begin) -> bool:
        """Let BEGIN go in front of the next prepared statement, in one packet.

        The server answers both at the statement's Sync, and asyncpg, which waits for the
        statement, passes over BEGIN's part of the answer.

        Returns:
            BEGIN is new to the server: :meth:`keep_begin` is to be told that it arrived.
        """
        messages = self._begins.get(begin)
        if messages is not None:
            self.transport.hold(messages)
            return False
        keep = begin.timeout is None  # one that is computed is hardly ever the same again
        # If the statement fails, nobody knows whether the server has got as far as this name.
        self._begin_names += keep
        name = self._begin_name() if keep else ""
        commands = _begin_commands(begin)
        self.transport.hold(b"".join(private.unanswered(sql, name) for sql in commands))
        return keep

    def keep_begin(self, begin: Begin) -> None:
        """Note that the server has prepared this BEGIN: from now on it need not be parsed."""
        (sql,) = _begin_commands(begin)
        self._begins[begin] = private.unanswered(sql, self._begin_name(), parse=False)

    def hold_lock_timeout(self, seconds: float) -> None:
        # SET LOCAL outside of BEGIN would be a warning each time, in the server's log too.
        timeout = _asyncpg_types.milliseconds(seconds)
        self.transport.hold(
            private.unanswered(
                f"SELECT FROM pg_catalog.set_config('lock_timeout', '{timeout}', true) AS is_set"
                " WHERE is_set IS NULL"
            )
        )

    def _begin_name(self) -> str:
        return f"aurora_begin_{self._begin_names}"

    async def commit(self) -> None:
        if not self.is_settled and not await self.settle():
            self.abort()
        if not self.wire.is_in_transaction():
            if self.is_closed:
                raise self.failure(ConnectionError("closed before COMMIT"), self.wire.queries_count)
            raise errors.TransactionAborted(
                "no transaction is open any more: something ended it before COMMIT"
            )
        sent = self.wire.queries_count
        # Not awaited directly: cancelling the caller would cancel asyncpg's future for the
        # answer, and asyncpg would send a cancel request.
        try:
            coroutine, answer = private.send_query(self.wire, "COMMIT")
            try:
                await Onlooker(answer, self._loop)
            except asyncio.CancelledError:
                self._committing = self._loop.create_task(_see_through(coroutine, answer))
                self.leave(self._committing)
                raise
            tag = private.receive_answer(coroutine)
        except Exception as exc:
            raise self._commit_failure(exc, sent) from exc
        if tag != "COMMIT":
            raise errors.TransactionAborted(
                f"COMMIT answered {tag}: a statement of the transaction had failed, "
                "and nothing of it was applied"
            )

    def _commit_failure(self, exc: Exception, sent_before: int) -> errors.AuroraError:
        failure = self.failure(exc, sent_before)
        if failure.outcome_unknown:
            return errors.CommitInDoubt(
                f"{self._where}: COMMIT was sent and not answered ({exc}): the transaction is "
                "applied as a whole or not at all; look before repeating it"
            )
        return failure

    async def rollback(self) -> None:
        if self.wire.is_in_transaction():
            await self.execute("ROLLBACK")

    # --- work that may wait for the socket -----------------------------------------------------

    async def beside(self, work: Coroutine[Any, Any, Any], source: Source) -> Any:
        """Send many parameter sets in a task of its own, which a cancelled caller leaves.

        Where asyncpg waits for the socket to take more, it waits for an event that a lost
        connection never sets, and swallows a cancellation. So while sets remain it is stopped by
        its source, upon which it ends the command properly; once all are sent, by cancelling.
        """
        task = self._loop.create_task(work)
        self._interrupt = task.cancel
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            source.stop()
            if source.exhausted:
                task.cancel()
            self.leave(task)
            raise
        finally:
            self._interrupt = None
        if task.cancelled():
            raise ConnectionResetError("the connection broke while data was being sent")
        return task.result()

    def leave(self, task: asyncio.Task[Any]) -> None:
        """Note work that goes on although its caller is gone; :meth:`settle` waits for it."""
        if not task.done():
            self._left = task
            task.add_done_callback(self._left_is_done)

    def _left_is_done(self, task: asyncio.Task[Any]) -> None:
        # Reading the error keeps asyncio from logging it: nobody is left to raise it to.
        if not task.cancelled():
            task.exception()
        if self._left is task:
            self._left = None

    def _on_terminated(self, _: object) -> None:
        # Whoever waits for the socket of a lost connection waits for ever. A COMMIT waits for
        # its answer alone, which fails with the connection.
        if self._interrupt is not None:
            self._interrupt()
        if self._left is not None and self._left is not self._committing:
            self._left.cancel()

    # --- cursors ----------------------------------------------------------------------------

    def next_portal(self) -> str:
        """A name for a cursor, unique on this connection."""
        self._portals += 1
        return f"aurora_{self._portals}"

    async def close_portal(self, portal: str) -> None:
        """Forget a cursor; nothing happens where its transaction or the connection is gone."""
        if self.is_closed or not self.is_settled or not self.in_transaction:
            return
        sent = self.wire.queries_count
        try:
            await self.wire.close_portal(portal, None)
        except Exception as exc:
            raise self.failure(exc, sent) from exc

    # --- COPY -------------------------------------------------------------------------------

    async def check_idle(self, state: private.StatementState | None = None) -> None:
        """Make sure that the session can take a command, at once and with nothing sent.

        A server that ends a session says so before it closes the connection. Told that between
        two commands, asyncpg refuses the next one. Where that is a COPY it also leaves a future
        behind that nobody reads, of which asyncio complains, and the refusal looks like one of
        the values.

        Args:
            state: Any statement prepared here; without one, one is prepared, at a round trip.

        Raises:
            ConnectionLost: It cannot; safe to repeat.
        """
        if state is None:
            state = await self.prepare_state(_PING, named=False)
        try:
            await private.run_for_nobody(self.wire, state)
        except Exception as exc:
            raise self.failure(exc, self.wire.queries_count) from exc
        self._miscounted -= 1  # asyncpg counted this one

    async def copy_in(
        self,
        table: Sequence[str],
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]],
    ) -> int:
        target = await self._targets.get(self, table, columns)
        return await CopyIn(self, self._targets, target, rows).run()

    def copy_out(
        self, sql: str, count: Callable[[int], object] | None = None
    ) -> AsyncGenerator[bytes, None]:
        return copy_out(self, sql, count)

    @contextlib.contextmanager
    def copying(self, interrupt: Callable[[], object]) -> Iterator[None]:
        """While a COPY runs: count it as sent, and interrupt it when the connection breaks."""
        self._miscounted += 1
        self._interrupt = interrupt
        try:
            yield
        finally:
            self._interrupt = None

    # --- the end ----------------------------------------------------------------------------

    async def settle(self, timeout: float = 2.0) -> bool:  # noqa: ASYNC109 - gives up, does not raise
        if self.is_settled:
            return not self.is_closed
        if self._settling is None or self._settling.done():
            # A task, so that a cancelled caller leaves asyncpg's own futures alone.
            self._settling = self._loop.create_task(self._settle())
        await asyncio.wait((self._settling,), timeout=timeout)
        return self._settling.done() and self.is_settled and not self.is_closed

    async def _settle(self) -> None:
        if self._left is not None:
            await asyncio.wait((self._left,))
        # Whatever goes wrong here has closed the connection, which is_closed tells.
        with contextlib.suppress(Exception):
            await self.wire._wait_for_cancellation()  # noqa: SLF001 - see _asyncpg_private

    async def close(self) -> None:
        try:
            # asyncpg would cancel a command that is under way, COMMIT included.
            if self.is_settled or await self.settle():
                await self._connection.close(timeout=_CLOSE_TIMEOUT)
        except Exception:  # noqa: BLE001 - the connection is of no use any more, whatever it was
            return
        finally:
            self.abort()

    def abort(self) -> None:
        with contextlib.suppress(Exception):
            self._connection.terminate()
        if self._settling is not None:
            self._settling.cancel()


def _begin_commands(begin: Begin) -> list[str]:
    sql = "BEGIN"
    if begin.isolation is not None:
        sql += f" ISOLATION LEVEL {begin.isolation.value.upper()}"
    if begin.read_only:
        sql += " READ ONLY"
    if begin.timeout is None:
        return [sql]
    timeout = _asyncpg_types.milliseconds(begin.timeout)
    return [sql, f"SET LOCAL statement_timeout = {timeout}"]


async def _see_through(coroutine: Coroutine[Any, Any, str], answer: asyncio.Future[Any]) -> str:
    """Wait for the answer to a COMMIT whose caller is gone."""
    await asyncio.wait((answer,))
    return private.receive_answer(coroutine)
