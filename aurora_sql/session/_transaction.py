"""Transactions: one connection of the writer, BEGIN to COMMIT, with the answer checked."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from aurora_sql.drivers import PLAIN, Begin
from aurora_sql.errors import (
    AuroraError,
    CommitInDoubt,
    DeadlineExceeded,
    ParameterError,
    TransactionAborted,
    UsageError,
)
from aurora_sql.execution import (
    ConnectionRunner,
    Watch,
    call_limit,
    deadline_exceeded,
    part_with,
    roll_back,
    undo_limit,
)
from aurora_sql.instrumentation import CommitAbandoned
from aurora_sql.session._executor import Executor
from aurora_sql.session._host import TransactionHost
from aurora_sql.session._replay import Replay
from aurora_sql.types import Access, Isolation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from aurora_sql.execution import Attempts, Context
    from aurora_sql.pool import Pooled
    from aurora_sql.session._shared import Shared

P = ParamSpec("P")
T = TypeVar("T")


class Savepoint:
    """A part of a transaction that can be undone alone: ``async with tx.savepoint():``.

    Leaving the block with an error rolls back to its begin; the transaction goes on. Savepoints
    nest.
    """

    def __init__(self, context: Context, runner: ConnectionRunner, name: str) -> None:
        self._context = context
        self._runner = runner
        self._name = name

    async def __aenter__(self) -> Self:
        runner = self._runner
        pooled = await runner.ready()
        limit = min(call_limit(self._context, None), runner.limit)
        await self._send(pooled, f"SAVEPOINT {self._name}", limit)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        runner, name = self._runner, self._name
        if error is None:
            pooled = await runner.ready()
            limit = min(call_limit(self._context, None), runner.limit)
            await self._send(pooled, f"RELEASE SAVEPOINT {name}", limit)
            return
        pooled_or_none = runner.leased
        if pooled_or_none is None or pooled_or_none.driver.is_closed:
            return  # there is nothing left to roll back to; the error says why
        # The deadline that ended the block may have passed; undoing the block has its own time.
        pooled = runner.connection()
        limit = undo_limit(self._context, runner.limit)
        driver = pooled.driver
        if not driver.is_settled:
            left = limit - self._context.loop.time()
            with Watch(self._context, pooled, limit, what="ROLLBACK", write_sent=False):
                await driver.settle(left)
        # A deadlock on MySQL has rolled back the whole transaction: the error says so.
        if driver.is_settled and driver.in_transaction:
            await self._send(
                pooled, f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}", limit
            )
            runner.failed = False

    async def _send(self, pooled: Pooled, command: str, limit: float) -> None:
        with Watch(self._context, pooled, limit, what=command, write_sent=False):
            await pooled.driver.execute(command)


class Transaction(Executor):
    """An open transaction. Statements on it run on its connection, one at a time."""

    def __init__(self, shared: Shared, pooled: Pooled, limit: float, begin: Begin) -> None:
        self._shared = shared
        self._context = shared.context
        self._adhoc = shared.adhoc
        self._runner: ConnectionRunner = ConnectionRunner(
            shared.context, pooled, "transaction", limit, begin, shared.writer.name
        )
        self.leased = pooled
        self._savepoints = 0
        self.sql = shared.tree.bind(self._runner)

    def _bulk_host(self) -> TransactionHost:
        return TransactionHost(self._shared, self._runner, self._runner.limit)

    def savepoint(self) -> Savepoint:
        """Return a block that can fail without failing the transaction."""
        self._savepoints += 1
        return Savepoint(self._context, self._runner, f"aurora_{self._savepoints}")

    async def _held(self) -> Pooled:
        """Return its connection, where it is open by now: for work beneath statements."""
        return await self._runner.ready()

    def __repr__(self) -> str:
        pooled = self._runner.leased
        return f"<Transaction on {pooled.driver!r}>" if pooled else "<Transaction over>"


class TransactionContext:
    """What ``db.transaction(…)`` returns: ``async with`` opens it, ``run`` may replay it."""

    def __init__(
        self,
        shared: Shared,
        *,
        isolation: Isolation | str | None,
        read_only: bool,
        timeout: float | None,
        server_timeout: float | None = None,
    ) -> None:
        self._shared = shared
        self._timeout = _seconds(timeout)
        self._how = PLAIN
        if isolation is not None or read_only or timeout is not None or server_timeout is not None:
            self._how = Begin(
                None if isolation is None else _isolation(isolation),
                read_only,
                timeout if server_timeout is None else server_timeout,
            )
        self._access = Access.READ if read_only else Access.WRITE
        self._attempts: Attempts | None = None
        self._entered = False
        self._open: Transaction | None = None
        self._until = math.inf
        self._limit = math.inf
        # Cached statements whose answers are out of date if a COMMIT in doubt was applied.
        self._touched: tuple[str, ...] = ()

    async def __aenter__(self) -> Transaction:
        if self._entered:
            raise UsageError("this transaction is open already; call transaction() for each block")
        self._entered = True
        try:
            self._open = await self._begin()
        except BaseException:
            self._entered = False
            raise
        return self._open

    async def _begin(self) -> Transaction:
        """Lease a connection. BEGIN is sent with the first statement: it has no effect before."""
        shared = self._shared
        context = shared.context
        if self._timeout is not None:
            # All replays of run() share one time limit.
            until, self._until = self._until, math.inf
            self._limit = min(context.loop.time() + self._timeout, until)
        limit = min(call_limit(context, None), self._limit)
        if limit <= context.loop.time():
            raise deadline_exceeded("BEGIN", write_sent=False)
        return Transaction(shared, await shared.lease_writer(limit), self._limit, self._how)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        transaction, self._open = self._open, None
        if transaction is None:
            return
        runner, pooled = transaction._runner, transaction.leased  # noqa: SLF001 - one pair of classes
        try:
            if pooled.task is not None or runner.alone is not None:
                # Another task still runs a statement: neither COMMIT nor ROLLBACK can be sent.
                pooled.driver.abort()
                if error is None:
                    raise UsageError(
                        "the transaction's block ended while another task was still using it;"
                        " it was rolled back: await everything before the block ends"
                    )
            elif runner.begin is not None:
                pass  # nothing was sent
            elif error is None and runner.failed:
                await roll_back(self._shared.context, pooled, self._limit)
                raise TransactionAborted(
                    "a statement of the transaction had failed, and nothing of it was applied"
                )
            elif error is None:
                await self._commit_and_invalidate(pooled, runner.touched)
            else:
                # The error that ends the block is the one to tell; a failing ROLLBACK is not:
                # the pool closes a connection whose transaction is still open.
                part_with(pooled, error, self._access)
                with suppress(AuroraError):
                    await roll_back(self._shared.context, pooled, self._limit)
        finally:
            if self._touched:
                # A replay has found out that the attempt in doubt was applied, or runs it again.
                self._shared.context.cache.invalidate(self._touched)
            try:
                runner.detach()
                if runner.sources:
                    await runner.close_sources()
            finally:
                self._entered = False
                self._shared.release_writer(pooled)

    async def _commit_and_invalidate(self, pooled: Pooled, touched: tuple[str, ...]) -> None:
        if not touched:
            await self._commit(pooled)
            return
        try:
            with self._shared.context.cache.written(touched):
                await self._commit(pooled)
        except AuroraError as error:
            if error.outcome_unknown:
                self._touched += touched
            raise

    async def _commit(self, pooled: Pooled) -> None:
        """COMMIT, shielded: a caller that is cancelled waits for the answer, until the deadline."""
        context = self._shared.context
        limit = min(call_limit(context, None), self._limit)
        try:
            with Watch(context, pooled, limit, what="COMMIT", write_sent=True):
                await pooled.driver.commit()
            if context.retry_budget.spent:
                attempts, self._attempts = self._attempts, None
                context.retry_budget.give(1 if attempts is None else attempts.paid)
        except DeadlineExceeded as error:
            if error.retry_safe:  # the deadline had passed before COMMIT was sent
                with suppress(AuroraError):
                    await roll_back(context, pooled, self._limit)
                raise
            context.emit(CommitAbandoned(self._shared.cluster.writer_pool.name, cancelled=False))
            raise CommitInDoubt(
                "COMMIT was not answered before the deadline: the transaction is applied as a"
                " whole or not at all; look for what it wrote before doing it again"
            ) from error
        except asyncio.CancelledError:
            settled = False
            with suppress(AuroraError, asyncio.CancelledError):
                left = limit - context.loop.time()
                with Watch(context, pooled, limit, what="COMMIT", write_sent=True):
                    settled = await pooled.driver.settle(left)
            if not settled:
                context.emit(CommitAbandoned(self._shared.cluster.writer_pool.name, cancelled=True))
            raise

    async def run(
        self,
        function: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a function in the transaction; run it again where the transaction lost a conflict.

        The function may run several times, so it must have no effect but what it does through
        its transaction. It never runs again after COMMIT may have been applied: where COMMIT was
        not answered and the database has the table of commit markers, it is found out first
        what became of it, and its result is returned if it was applied.

        Args:
            function: Called with the transaction, then ``args`` and ``kwargs``.
            args: Handed to the function.
            kwargs: Handed to the function.

        Raises:
            CommitInDoubt: COMMIT was sent, no answer came, and nobody could tell what became of it.
            AuroraError: What the last attempt failed with.
        """
        return await self.run_work(
            lambda transaction: function(transaction, *args, **kwargs),
            getattr(function, "__qualname__", repr(function)),
        )

    async def run_work(self, work: Callable[[Transaction], Awaitable[T]], name: str) -> T:
        """As :meth:`run`, with the arguments bound and a name for messages."""
        shared = self._shared
        context = shared.context
        until = math.inf if self._timeout is None else context.loop.time() + self._timeout
        until = min(until, call_limit(context, math.inf))
        marked = context.retry_enabled and not self._how.read_only and await shared.markers.there()
        replay = Replay(
            shared, self, work, name=name, access=self._access, until=until, marked=marked
        )
        return await replay.run()

    def replayed_by(self, attempts: Attempts, until: float) -> None:
        """Note, before it is opened again, who counts the attempts and by when all must end."""
        self._attempts = attempts
        self._until = until


def _isolation(value: Isolation | str) -> Isolation:
    try:
        return Isolation(value.replace("_", " ").lower() if type(value) is str else value)
    except ValueError:
        allowed = ", ".join(repr(level.value) for level in Isolation)
        raise ParameterError(f"isolation must be one of {allowed}, not {value!r}") from None


def _seconds(timeout: object) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise ParameterError(f"timeout must be a number of seconds, 0 or more, not {timeout!r}")
    return float(timeout)
