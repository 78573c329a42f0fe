"""How one statement runs on the pools: route, lease, run, give back.

``PoolRunner.run`` is the hot path: a point read spends about as long in it as in a handful of
dictionary look-ups. What is rare (a first use, a failure, an observer) stands elsewhere.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from aurora_sql.deadlines import current_deadline
from aurora_sql.drivers import Begin
from aurora_sql.errors import (
    AuroraError,
    ConnectionFailed,
    DeadlineExceeded,
    FailoverTimeout,
    PoolTimeout,
    StatementStale,
    UsageError,
)
from aurora_sql.execution._attempts import (
    Attempts,
    attempts_of,
    deadline_exceeded,
    explain,
    explained,
    name_parameter,
    part_with,
    settle_wait,
    soften,
)
from aurora_sql.execution._connection_runner import batch_on, roll_back, stream_on
from aurora_sql.execution._prepare import forget_stale
from aurora_sql.execution._stream import RowStream
from aurora_sql.execution._watch import Watch, call_limit
from aurora_sql.instrumentation import StatementFinished
from aurora_sql.taxonomy import Unit
from aurora_sql.types import Access

if TYPE_CHECKING:
    import asyncio
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Coroutine,
        Iterable,
        Mapping,
        Sequence,
    )

    from aurora_sql.execution._context import Context
    from aurora_sql.execution._prepare import Entry
    from aurora_sql.pool import Pooled
    from aurora_sql.statements import Statement, Variant


class Lessor(Protocol):
    """Where connections come from: a pool, or what stands before pools and picks one."""

    @property
    def name(self) -> str:
        """The instance, for events; of several, the one that the last release was about."""

    def try_acquire(self, now: float) -> Pooled | None:
        """Lease an idle connection that needs no work; None for :meth:`acquire` to see to it."""

    async def acquire(self, deadline: float | None = None) -> Pooled:
        """Lease a connection, until a loop time at most."""

    def release(self, pooled: Pooled) -> None:
        """Give a connection back."""


class Trace:
    """What an observer wants to know of one call, filled in along the way."""

    __slots__ = ("attempts", "instance")

    def __init__(self) -> None:
        self.attempts = 0
        self.instance = ""

    def note(self, pool: Lessor) -> None:
        """Count an attempt."""
        self.attempts += 1
        self.instance = pool.name


class PoolRunner:
    """Runs statements on leases of the pools.

    Args:
        context: What all calls share.
        choose: Picks the pool for a statement, or what stands for one.
        run_once: Runs a write exactly once, which takes a transaction; None where nobody asks.
    """

    __slots__ = (
        "_budget",
        "_choose",
        "_context",
        "_current_task",
        "_due",
        "_run_once",
        "_time",
        "_timeout",
        "run",
    )

    def __init__(
        self,
        context: Context,
        choose: Callable[[Statement], Lessor],
        run_once: Callable[[Statement, dict[str, Any]], Coroutine[Any, Any, Any]] | None = None,
    ) -> None:
        self._run_once = run_once
        self._context = context
        self._choose = choose
        self._time = context.loop.time
        self._timeout = context.command_timeout
        self._due = context.sweeper.due
        self._current_task = context.current_task
        self._budget = context.retry_budget
        # Chosen once: a call pays for observers only where there are any.
        self.run = self._run_observed if context.observers else self._run

    async def _run(  # noqa: C901, PLR0912 - the hot path stands in one piece: each call would cost
        self, statement: Statement, params: dict[str, Any], trace: Trace | None = None
    ) -> Any:
        """Run a statement and return what its cardinality promises."""
        variant, args = statement.bind(params)
        now = self._time()
        limit = now + (statement.timeout or self._timeout)
        surrounding = current_deadline()
        if surrounding is not None and surrounding < limit:
            limit = surrounding
            if limit <= now:
                raise deadline_exceeded(statement.where, write_sent=False)
        attempts: Attempts | None = None
        while True:
            pool = self._choose(statement)
            pooled = pool.try_acquire(now)
            if pooled is None:
                pool, pooled = await self._acquire(pool, statement, limit)
            pooled.deadline = limit
            pooled.task = task = self._current_task()
            pooled.cancelling_before = task.cancelling()
            self._due(limit)
            entry: Entry | None = None
            try:
                entry = pooled.prepared.get(variant)
                if entry is None:
                    entry = await self._context.preparer.prepare(pooled, statement, variant)
                if entry.rowless:
                    rows = await entry.execute(args)
                else:
                    rows = await entry.fetch(args, entry.limit)
            except BaseException as error:  # noqa: BLE001 - cancellation has to be accounted for too
                failure = self._failed(error, pooled, task, entry, statement, variant, args)
                pool.release(pooled)
            else:
                pooled.task = None
                entry.used = True
                if not entry.clean:
                    pooled.dirty = True
                pool.release(pooled)
                if self._budget.spent:
                    self._budget.give(1 if attempts is None else attempts.paid)
                if trace is not None:
                    trace.note(pool)
                finish = entry.finish
                return rows if finish is None else finish(rows)
            if trace is not None:
                trace.note(pool)
            if attempts is None:
                attempts = attempts_of(self._context, statement)
            access = statement.access if entry is None else entry.access
            await attempts.again(failure, Unit.STATEMENT, access, limit)
            now = self._time()

    async def _run_observed(self, statement: Statement, params: dict[str, Any]) -> Any:
        """The same, and tell the observers."""
        trace = Trace()
        started = self._time()
        error: str | None = None
        try:
            return await self._run(statement, params, trace)
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            self._context.emit(
                StatementFinished(
                    statement.name,
                    trace.instance,
                    self._time() - started,
                    trace.attempts,
                    error,
                )
            )

    async def _acquire(
        self, pool: Lessor, statement: Statement, limit: float
    ) -> tuple[Lessor, Pooled]:
        """Lease a connection where one can be had; nothing is sent yet, so any instance will do."""
        attempts: Attempts | None = None
        while True:
            try:
                return pool, await self.acquire(pool, limit, statement.name)
            except (ConnectionFailed, PoolTimeout) as error:
                failed, pool = pool, self._choose(statement)
                if pool is failed:
                    if isinstance(error, PoolTimeout):
                        raise
                    if attempts is None:
                        attempts = attempts_of(self._context, statement)
                    await attempts.again(error, Unit.STATEMENT, Access.READ, limit)
                    pool = self._choose(statement)

    async def acquire(self, pool: Lessor, limit: float, what: str) -> Pooled:
        """Lease a connection, waiting for it until the call's deadline at most."""
        now = self._time()
        if limit <= now:
            raise deadline_exceeded(what, write_sent=False)
        try:
            return await pool.acquire(limit)
        except (PoolTimeout, FailoverTimeout) as error:
            if self._time() < limit:
                raise
            raise DeadlineExceeded(
                f"{what}: the deadline passed while waiting for a connection; {error.message}",
                retry_safe=True,
            ) from error

    def _failed(
        self,
        error: BaseException,
        pooled: Pooled,
        task: asyncio.Task[Any],
        entry: Entry | None,
        statement: Statement,
        variant: Variant,
        args: Sequence[Any],
    ) -> BaseException:
        """Close the books of a failed attempt; return what the caller would be told."""
        access = statement.access if entry is None else entry.access
        write_sent = entry is not None and access is Access.WRITE
        error = settle_wait(pooled, task, error, what=statement.where, write_sent=write_sent)
        if entry is None or not entry.clean or not entry.used:
            # A new statement that was prepared and not run has left the driver's implicit
            # transaction open, and with it a lock on the table; the reset ends it.
            pooled.dirty = True
        doubtful = forget_stale(pooled, variant, entry, error)
        if doubtful and self._context.retry_enabled and statement.retry != "never":
            error = _maybe_stale(error)
        name_parameter(error, statement, variant)
        part_with(pooled, error, access)
        soften(error, access, in_transaction=False)
        explain(self._context, error, statement, variant, args)
        return error

    # The rarer kinds of statements

    async def run_once(self, statement: Statement, params: dict[str, Any]) -> Any:
        """Run a write exactly once, also where its COMMIT is not answered."""
        if self._run_once is None:
            raise UsageError(f"{statement.where}: nothing runs it exactly once here")
        return await self._run_once(statement, params)

    async def run_batch(self, statement: Statement, sets: Iterable[Mapping[str, Any]]) -> None:
        """Run a statement once for each set of parameters, pipelined, all or nothing."""
        variant, rows = statement.bind_many(sets)
        async with self.lease(statement) as (pooled, limit):
            await batch_on(self._context, pooled, statement, variant, rows, limit, write_sent=True)

    async def run_script(self, statement: Statement) -> None:
        """Run several statements without parameters, in one implicit transaction."""
        variant, _ = statement.bind({})
        async with self.lease(statement) as (pooled, limit):
            what = statement.where
            pooled.dirty = not statement.session_clean
            with (
                explained(self._context, statement, variant, ()),
                Watch(self._context, pooled, limit, what=what, write_sent=True),
            ):
                await pooled.driver.execute(variant.sql)

    @asynccontextmanager
    async def lease(self, statement: Statement) -> AsyncIterator[tuple[Pooled, float]]:
        """Lease a connection for a statement; yield it with the call's deadline."""
        limit = call_limit(self._context, statement.timeout)
        pool, pooled = await self._acquire(self._choose(statement), statement, limit)
        try:
            yield pooled, limit
        except BaseException as error:
            pooled.dirty = True
            part_with(pooled, error, statement.access)
            raise
        else:
            if self._budget.spent:
                self._budget.give()
        finally:
            pool.release(pooled)

    def stream(self, statement: Statement, params: dict[str, Any], batch: int) -> RowStream[Any]:
        """Return the rows of a statement through a server-side cursor."""
        variant, args = statement.bind(params)
        return RowStream(self._batches(statement, variant, args, batch), statement.name)

    async def _batches(
        self, statement: Statement, variant: Variant, args: Sequence[Any], batch: int
    ) -> AsyncGenerator[list[Any], None]:
        """Yield batches in a transaction of their own; each wait has the call's time limit.

        Until the first batch is handed out, an attempt that failed can be made again unseen.
        """
        attempts: Attempts | None = None
        while True:
            started = False
            try:
                async with aclosing(self._attempt(statement, variant, args, batch)) as batches:
                    async for rows in batches:
                        started = True
                        yield rows
            except AuroraError as error:
                if started:
                    raise
                if attempts is None:
                    attempts = attempts_of(self._context, statement)
                limit = call_limit(self._context, statement.timeout)
                await attempts.again(error, Unit.STATEMENT, statement.access, limit)
            else:
                return

    async def _attempt(
        self, statement: Statement, variant: Variant, args: Sequence[Any], batch: int
    ) -> AsyncGenerator[list[Any], None]:
        context, reading = self._context, statement.access is Access.READ
        async with self.lease(statement) as (pooled, limit):
            what, driver = statement.where, pooled.driver
            try:
                with Watch(context, pooled, limit, what=what, write_sent=False):
                    await driver.begin(Begin(read_only=reading))
                source = stream_on(context, pooled, statement, variant, args, batch)
                async with aclosing(source) as batches:
                    async for rows in batches:
                        yield rows
            except BaseException:
                with suppress(AuroraError):  # the error that ends it is the one to tell
                    await roll_back(context, pooled)
                raise
            if reading:
                # All rows are there; what becomes of a transaction that only read is no concern
                # of the caller's.
                with suppress(AuroraError):
                    await roll_back(context, pooled)
                return
            until = call_limit(context, statement.timeout)
            with Watch(context, pooled, until, what=what, write_sent=True):
                await driver.commit()


def _maybe_stale(error: BaseException) -> StatementStale:
    stale = StatementStale(f"a type may have changed since this was prepared: {error}")
    stale.__cause__ = error
    return stale
