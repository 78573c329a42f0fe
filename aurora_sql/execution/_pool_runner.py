"""How one statement runs on the pools: route, lease, run, give back.

``PoolRunner.run`` is the hot path: a point read spends about as long in it as in a handful of
dictionary look-ups. What is rare (a first use, a failure, an observer) stands elsewhere.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from aurora_sql.deadlines import Watched, surrounding_deadline
from aurora_sql.drivers import Begin
from aurora_sql.errors import (
    AuroraError,
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceeded,
    FailoverTimeout,
    PoolTimeout,
    StatementStale,
    UsageError,
)
from aurora_sql.execution._attempts import (
    Attempts,
    Lessor,
    Trace,
    attempts_of,
    deadline_exceeded,
    explain,
    explained,
    lost_to_replay,
    name_parameter,
    part_with,
    settle_wait,
    soften,
)
from aurora_sql.execution._cache import CachedReads
from aurora_sql.execution._coalesce import Coalescer
from aurora_sql.execution._connection_runner import sets_on, stream_on
from aurora_sql.execution._count import announce
from aurora_sql.execution._each import bind_each, gather_each
from aurora_sql.execution._explain import explain_leased
from aurora_sql.execution._flow import FinishedRows
from aurora_sql.execution._prepare import forget_stale
from aurora_sql.execution._stream import RowStream
from aurora_sql.execution._watch import Watch, call_limit, roll_back
from aurora_sql.instrumentation import StatementFinished
from aurora_sql.taxonomy import Unit
from aurora_sql.types import Access

if TYPE_CHECKING:
    import asyncio
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Iterable,
        Mapping,
        Sequence,
    )

    from aurora_sql.execution._connection_runner import ConnectionRunner
    from aurora_sql.execution._context import Context
    from aurora_sql.execution._explanation import Explanation
    from aurora_sql.execution._flow import Flow
    from aurora_sql.execution._prepare import Entry
    from aurora_sql.pool import Pooled
    from aurora_sql.statements import Statement, Variant

    _Told = Callable[[Statement, dict[str, Any]], Coroutine[Any, Any, Any]]

    class _Run(Protocol):
        """Runs a statement and fills in what observers want to know."""

        def __call__(
            self, statement: Statement, params: dict[str, Any], trace: Trace | None = None
        ) -> Coroutine[Any, Any, Any]: ...

    Once = Callable[
        [Statement, Callable[[ConnectionRunner], Awaitable[Any]]], Coroutine[Any, Any, Any]
    ]


class PoolRunner:
    """Runs statements on leases of the pools.

    Args:
        context: What all calls share.
        choose: Picks the pool for a statement, or what stands for one.
        once: Does what a write takes exactly once, in a transaction; None where nobody asks.
        elsewhere: Picks the pool for a read that was cut short by what its reader replays, from
            that reader's pool and how often it was; ``choose`` by default.
        spread: Among how many instances ``choose`` spreads a statement. Without it every call
            goes alone, whatever its statement says.
        caches: Answers of cached statements may be used again. Without it the server is asked.
    """

    __slots__ = (
        "_budget",
        "_choose",
        "_coalescer",
        "_context",
        "_current_task",
        "_elsewhere",
        "_once",
        "_sweeper",
        "_time",
        "_timeout",
        "run",
        "run_cached",
        "run_together",
    )

    def __init__(
        self,
        context: Context,
        choose: Callable[[Statement], Lessor],
        once: Once | None = None,
        elsewhere: Callable[[Lessor, int], Lessor] | None = None,
        spread: Callable[[Statement], int] | None = None,
        *,
        caches: bool = False,
    ) -> None:
        self._once = once
        self._elsewhere = elsewhere
        self._context = context
        self._choose = choose
        self._time = context.loop.time
        self._timeout = context.command_timeout
        self._sweeper = context.sweeper
        self._current_task = context.current_task
        self._budget = context.retry_budget
        # Chosen once: a call pays for observers only where there are any.
        self.run = self._run_observed if context.observers else self._run
        self.run_together: _Told = self._run_apart
        read_together: _Run = self._run
        self._coalescer: Coalescer | None = None
        if spread is not None:
            self._coalescer = Coalescer(context, self, self._run, spread)
            read_together = self._coalescer.run
            self.run_together = self._told(read_together)
        self.run_cached: _Told = self.run_together
        if caches:
            self.run_cached = self._told(CachedReads(context, self._run, read_together).run)

    async def _run(  # noqa: C901, PLR0912, PLR0915 - the hot path in one piece: each call would cost
        self, statement: Statement, params: dict[str, Any], trace: Trace | None = None
    ) -> Any:
        """Run a statement and return what its cardinality promises."""
        variant, args = statement.bind(params)
        now = self._time()
        limit = now + (statement.timeout or self._timeout)
        surrounding = surrounding_deadline()
        if surrounding is not None:
            if type(surrounding) is Watched:
                surrounding.watcher.starting(statement, self._context)
            if surrounding < limit:
                limit = surrounding
                if limit <= now:
                    raise deadline_exceeded(statement.where, write_sent=False)
        attempts: Attempts | None = None
        moved: Lessor | None = None
        while True:
            pool = self._choose(statement) if moved is None else moved
            pooled = pool.try_acquire(now)
            if pooled is None:
                pool, pooled = await self._acquire(pool, statement, limit)
            pooled.deadline = limit
            pooled.task = task = self._current_task()
            pooled.cancelling_before = task.cancelling()
            if limit < self._sweeper.next:
                self._sweeper.due(limit)
            entry: Entry | None = None
            try:
                entry = pooled.prepared.get(variant)
                if entry is None:
                    entry = await self._context.preparer.prepare(pooled, statement, variant)
                    if statement.repeatable:
                        await entry.keep_one_plan(args)
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
                    if trace.keep is not None:
                        return trace.keep(rows, entry.finish)  # type: ignore[arg-type]  # rows: it is a read
                finish = entry.finish
                return rows if finish is None else finish(rows)
            if trace is not None:
                trace.note(pool)
            if attempts is None:
                attempts = attempts_of(self._context, statement)
            access = statement.access if entry is None else entry.access
            await attempts.again(failure, Unit.STATEMENT, access, limit)
            moved = self._move(pool, failure, attempts)
            now = self._time()

    async def _run_observed(self, statement: Statement, params: dict[str, Any]) -> Any:
        """The same, and tell the observers."""
        return await self._observe(self._run, statement, params)

    def _told(self, run: _Run) -> _Told:
        """The same, and tell the observers where there are any."""
        return partial(self._observe, run) if self._context.observers else run

    async def _observe(
        self,
        run: _Run,
        statement: Statement,
        params: dict[str, Any],
    ) -> Any:
        trace = Trace()
        started = self._time()
        error: str | None = None
        try:
            return await run(statement, params, trace)
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

    def _move(self, pool: Lessor, failure: BaseException, attempts: Attempts) -> Lessor | None:
        """Return where to run a read that its reader has cut short; None for where it belongs."""
        # Between two commands of a transaction the replay ends the session instead.
        ended = attempts.conflicts > 0 and isinstance(failure, ConnectionLost)
        if self._elsewhere is None or not (ended or lost_to_replay(failure)):
            return None
        attempts.conflicts += 1
        return self._elsewhere(pool, attempts.conflicts)

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

    async def run_invalidating(self, statement: Statement, params: dict[str, Any]) -> Any:
        """Run a write, and drop the answers that it puts out of date."""
        run = self.run_together if statement.coalesce else self._run_apart
        with self._context.cache.written(statement.invalidates):
            return await run(statement, params)

    async def run_each(self, statement: Statement, sets: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Run a read that may travel with others once for each set of parameters."""
        if self._coalescer is None:
            bind_each(statement, sets)
            return [await self.run_cached(statement, dict(params)) for params in sets]
        if statement.cache is None and not self._context.observers:
            return await self._coalescer.run_each(statement, sets)
        bind_each(statement, sets)
        return await gather_each(self.run_cached(statement, dict(params)) for params in sets)

    async def _run_apart(self, statement: Statement, params: dict[str, Any]) -> Any:
        """Run a statement alone that could travel with others."""
        if statement.retry == "exactly_once":
            return await self.run_once(statement, params)
        return await self.run(statement, params)

    async def run_once(self, statement: Statement, params: dict[str, Any]) -> Any:
        """Run a write exactly once, also where its COMMIT is not answered."""
        statement.bind(params)  # what is wrong with the parameters is told before anything is sent
        return await self.once(statement, lambda runner: runner.run(statement, params))

    async def once(
        self, statement: Statement, work: Callable[[ConnectionRunner], Awaitable[Any]]
    ) -> Any:
        """Do what a write takes exactly once, in a transaction."""
        if self._once is None:
            raise UsageError(f"{statement.where}: nothing runs it exactly once here")
        return await self._once(statement, work)

    async def run_sets(
        self,
        variant: Variant,
        sets: Sequence[Sequence[Any]],
        *,
        fetch: bool,
        trace: Trace,
        lock_timeout: float,
    ) -> list[Any]:
        """Run a write once for each set of values, pipelined, all or nothing.

        Args:
            variant: The write.
            sets: Values in its order.
            fetch: Return the rows of all runs.
            trace: What observers want to know.
            lock_timeout: Seconds that it waits for a lock.
        """
        context, statement = self._context, variant.statement
        limit = call_limit(context, statement.timeout)
        attempts: Attempts | None = None
        while True:
            pool = self._choose(statement)
            try:
                async with self.lease(statement, pool, trace) as (pooled, until):
                    return await sets_on(
                        context,
                        pooled,
                        statement,
                        variant,
                        sets,
                        min(limit, until),
                        write_sent=True,
                        fetch=fetch,
                        lock_timeout=lock_timeout,
                    )
            except AuroraError as error:
                if attempts is None:
                    attempts = attempts_of(context, statement)
                await attempts.again(error, Unit.STATEMENT, Access.WRITE, limit)

    async def run_batch(self, statement: Statement, sets: Iterable[Mapping[str, Any]]) -> None:
        """Run a statement once for each set of parameters, pipelined, all or nothing."""
        variant, rows = statement.bind_many(sets)
        announce(statement, self._context)
        with self._context.cache.written(statement.invalidates):
            async with self.lease(statement) as (pooled, limit):
                await sets_on(
                    self._context, pooled, statement, variant, rows, limit, write_sent=True
                )

    def explain(
        self, statement: Statement, params: dict[str, Any], *, analyze: bool
    ) -> Coroutine[Any, Any, Explanation]:
        """Ask the server for its plan of a statement, where it would run."""
        return explain_leased(
            self._context, self, self._coalescer, statement, params, analyze=analyze
        )

    async def run_script(self, statement: Statement) -> None:
        """Run several statements without parameters, in one implicit transaction."""
        variant, _ = statement.bind({})
        announce(statement, self._context)
        async with self.lease(statement) as (pooled, limit):
            what = statement.where
            pooled.dirty = not statement.session_clean
            with (
                self._context.cache.written(statement.invalidates),
                explained(self._context, statement, variant, ()),
                Watch(self._context, pooled, limit, what=what, write_sent=True),
            ):
                await pooled.driver.script(variant.sql)

    @asynccontextmanager
    async def lease(
        self, statement: Statement, chosen: Lessor | None = None, trace: Trace | None = None
    ) -> AsyncIterator[tuple[Pooled, float]]:
        """Lease a connection for a statement; yield it with the call's deadline.

        Args:
            statement: The statement.
            chosen: Where from; where it belongs by default.
            trace: Told of the instance.
        """
        limit = call_limit(self._context, statement.timeout)
        pool = self._choose(statement) if chosen is None else chosen
        pool, pooled = await self._acquire(pool, statement, limit)
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
            if trace is not None:
                trace.note(pool)

    def stream(self, statement: Statement, params: dict[str, Any], batch: int) -> RowStream[Any]:
        """Return the rows of a statement through a server-side cursor."""
        flow = FinishedRows(batch, reads=statement.access is Access.READ)
        return RowStream(self.pieces(statement, params, flow), statement.name)

    def pieces(
        self, statement: Statement, params: dict[str, Any], flow: Flow
    ) -> AsyncGenerator[Any, None]:
        """Return what a statement gives, piece by piece."""
        variant, args = statement.bind(params)
        return self._pieces(statement, variant, args, flow)

    async def _pieces(
        self, statement: Statement, variant: Variant, args: Sequence[Any], flow: Flow
    ) -> AsyncGenerator[Any, None]:
        """Yield pieces in a transaction of their own; each wait has the call's time limit.

        Until the first piece is handed out, an attempt that failed can be made again unseen.
        """
        announce(statement, self._context)
        attempts: Attempts | None = None
        moved: Lessor | None = None
        while True:
            started = False
            pool = self._choose(statement) if moved is None else moved
            try:
                async with aclosing(self._attempt(pool, statement, variant, args, flow)) as pieces:
                    async for piece in pieces:
                        started = True
                        yield piece
            except AuroraError as error:
                if started:
                    raise
                if attempts is None:
                    attempts = attempts_of(self._context, statement)
                limit = call_limit(self._context, statement.timeout)
                await attempts.again(error, Unit.STATEMENT, statement.access, limit)
                moved = self._move(pool, error, attempts)
            else:
                return

    async def _attempt(
        self,
        pool: Lessor,
        statement: Statement,
        variant: Variant,
        args: Sequence[Any],
        flow: Flow,
    ) -> AsyncGenerator[Any, None]:
        context, reading = self._context, flow.reads
        async with self.lease(statement, pool) as (pooled, limit):
            what, driver = statement.where, pooled.driver
            try:
                with Watch(context, pooled, limit, what=what, write_sent=False):
                    await driver.begin(Begin(read_only=reading))
                source = stream_on(context, pooled, statement, variant, args, flow)
                async with aclosing(source) as pieces:
                    async for piece in pieces:
                        yield piece
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
            with (
                context.cache.written(statement.invalidates),
                Watch(context, pooled, until, what=what, write_sent=True),
            ):
                await driver.commit()


def _maybe_stale(error: BaseException) -> StatementStale:
    stale = StatementStale(f"a type may have changed since this was prepared: {error}")
    stale.__cause__ = error
    return stale
