"""How statements run on one connection that a transaction holds."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aurora_sql.deadlines import Watched, surrounding_deadline
from aurora_sql.errors import (
    AuroraError,
    ParameterError,
    RowValidationError,
    TransactionAborted,
    UsageError,
)
from aurora_sql.execution._attempts import (
    deadline_exceeded,
    explain,
    explained,
    name_parameter,
    settle_wait,
    soften,
)
from aurora_sql.execution._count import announce
from aurora_sql.execution._each import bind_each
from aurora_sql.execution._explain import explain_on, refuse
from aurora_sql.execution._flow import FinishedRows
from aurora_sql.execution._prepare import entry_for, forget_stale
from aurora_sql.execution._stream import RowStream
from aurora_sql.execution._watch import Watch, call_limit, undo_limit
from aurora_sql.types import Access

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence

    from aurora_sql.drivers import Begin
    from aurora_sql.execution._context import Context
    from aurora_sql.execution._explanation import Explanation
    from aurora_sql.execution._flow import Flow
    from aurora_sql.execution._prepare import Entry
    from aurora_sql.pool import Pooled
    from aurora_sql.statements import Statement, Variant


async def sets_on(
    context: Context,
    pooled: Pooled,
    statement: Statement,
    variant: Variant,
    sets: Iterable[Sequence[Any]],
    limit: float,
    *,
    write_sent: bool,
    fetch: bool = False,
    lock_timeout: float | None = None,
) -> list[Any]:
    """Run a statement on a connection once for each set of values, pipelined.

    Returns the rows of all runs where ``fetch`` says so. With ``lock_timeout``, seconds, the server
    waits so long for a lock at most.
    """
    entry: Entry | None = None
    rows: list[Any] = []
    try:
        with (
            explained(context, statement, variant, ()),
            Watch(context, pooled, limit, what=statement.where, write_sent=write_sent),
        ):
            entry = await entry_for(context, pooled, statement, variant)
            pooled.dirty |= not entry.clean
            if lock_timeout is not None:
                pooled.driver.hold_lock_timeout(lock_timeout)
            if fetch:
                rows = await entry.prepared.fetch_many(sets)
            else:
                await entry.prepared.execute_many(sets)
    except AuroraError as error:
        forget_stale(pooled, variant, entry, error)
        raise
    entry.used = True
    return rows


async def stream_on(
    context: Context,
    pooled: Pooled,
    statement: Statement,
    variant: Variant,
    args: Sequence[Any],
    flow: Flow,
    owner: ConnectionRunner | None = None,
) -> AsyncGenerator[Any, None]:
    """Yield what a statement gives, piece by piece, in the open transaction of a connection.

    Args:
        context: What all calls share.
        pooled: The connection.
        statement: The statement.
        variant: The text of it to run.
        args: Values for ``$1``, ``$2``, ….
        flow: How its rows come.
        owner: Whoever shares the connection between this stream and other work; None where the
            connection is there for the stream alone.
    """
    what = statement.where
    entry: Entry | None = None
    source: AsyncGenerator[Any, None] | None = None
    if owner is not None:
        await owner.ready()
    try:
        while True:
            limit = _step_limit(context, statement, owner, source)
            with (
                explained(context, statement, variant, args),
                Watch(context, pooled, limit, what=what, write_sent=False),
            ):
                if entry is None or source is None:
                    entry = await entry_for(context, pooled, statement, variant)
                    pooled.dirty |= not entry.clean
                    shared = owner is not None
                    source = flow.open(pooled.driver, entry, variant, args, shared=shared)
                    if owner is not None:
                        owner.enter(source, alone=flow.fills)
                entry.used = True
                piece = await anext(source, None)
            if piece is None:
                return
            yield flow.finish(entry, piece)
    except AuroraError as error:
        if owner is not None:
            owner.fail(error)
        forget_stale(pooled, variant, entry, error)
        raise
    finally:
        if source is not None and (owner is None or flow.fills):
            # The end of the transaction, which follows, ends the cursor as well: a peer that is
            # silent must not hold up whoever leaves the stream. And nothing else can be sent
            # before a COPY is over.
            until = undo_limit(context)
            with (
                suppress(AuroraError),
                Watch(context, pooled, until, what=what, write_sent=False),
            ):
                await source.aclose()
        if source is not None and owner is not None:
            owner.leave(source, closed=flow.fills)


def _step_limit(
    context: Context,
    statement: Statement,
    owner: ConnectionRunner | None,
    source: AsyncGenerator[Any, None] | None,
) -> float:
    """Return the deadline of the next step of a stream, if there may be one.

    Raises:
        UsageError: Between two batches the owner has ended, and the connection may be somebody
            else's; or another task uses it right now.
    """
    limit = call_limit(context, statement.timeout)
    if owner is None:
        return limit
    owner.connection(source)
    return min(limit, owner.limit)


def _would_commit(statement: Statement) -> UsageError:
    return UsageError(
        f"{statement.where}: it ends the open transaction on MySQL, as DDL does there, and nothing "
        "before it could be rolled back; run it outside of the transaction"
    )


class ConnectionRunner:
    """Runs statements on one leased connection, one at a time.

    Args:
        context: What all calls share.
        pooled: The connection.
        what: Names the owner in messages, such as ``transaction``.
        limit: Loop time at which the owner has to be over; infinite for never.
        begin: How the transaction is to be opened, which has not been done yet.
        instance: Id of the instance that the connection leads to.

    Attributes:
        limit: The same.
        begin: The same; None from the moment that BEGIN is sent. It travels with the first
            statement where that is prepared already, which saves its round trip.
        sources: Cursors of streams that are not at their end.
        alone: The one of them that leaves no room for anything else on the connection, a COPY.
        failed: A statement failed where the server would go on: nothing runs any more until a
            savepoint before it, or the whole transaction, is rolled back.
        touched: Names of cached statements whose answers are out of date once it has committed.
    """

    __slots__ = (
        "_context",
        "_current_task",
        "_instance",
        "_leased",
        "_left",
        "_ready",
        "_sweeper",
        "_time",
        "_timeout",
        "_what",
        "alone",
        "begin",
        "failed",
        "limit",
        "sources",
        "touched",
    )

    def __init__(
        self,
        context: Context,
        pooled: Pooled,
        what: str,
        limit: float,
        begin: Begin,
        instance: str,
    ) -> None:
        self._context = context
        self._time = context.loop.time
        self._timeout = context.command_timeout
        self._sweeper = context.sweeper
        self._current_task = context.current_task
        self._what = what
        self._instance = instance
        self.limit = limit
        self.begin: Begin | None = begin
        self.sources: set[AsyncGenerator[Any, None]] = set()
        self.alone: AsyncGenerator[Any, None] | None = None
        self.failed = False
        self.touched: tuple[str, ...] = ()
        # Cursors of streams that were left early, to be closed before the next statement.
        self._left: list[AsyncGenerator[Any, None]] = []
        self._leased: Pooled | None = pooled
        # The connection when there is nothing to do before the next statement, no BEGIN and no
        # cursor to close: the hot path looks at one attribute.
        self._ready: Pooled | None = None

    @property
    def leased(self) -> Pooled | None:
        """The connection; None once the owner is over."""
        return self._leased

    def detach(self) -> None:
        """Let go of the connection: nothing runs here any more."""
        self._leased = self._ready = None
        self._left.clear()

    async def close_sources(self) -> None:
        """Close the cursors, where there are ``sources``, after :meth:`detach`.

        To be called between the end of the transaction and the release: a cursor that is closed
        later would be closed on a connection that belongs to somebody else.
        """
        while self.sources:
            # One that a task is in the middle of ends by itself: its connection was aborted.
            with suppress(RuntimeError, AuroraError):
                await self.sources.pop().aclose()

    def enter(self, source: AsyncGenerator[Any, None], *, alone: bool) -> None:
        """Note that a stream begins, ``alone`` where nothing else runs until it has ended."""
        self.sources.add(source)
        if alone:
            self.alone, self._ready = source, None

    def leave(self, source: AsyncGenerator[Any, None], *, closed: bool) -> None:
        """Note that a stream has ended, or was left: then its cursor is closed some time later.

        Not at once: a generator that was broken out of is closed by a task of the event loop's,
        while the transaction's own task runs its next statement already.
        """
        if self.alone is source:
            self.alone = None
        if source in self.sources:
            self.sources.discard(source)
            if self._leased is not None and not closed:
                self.sources.add(source)
                self._left.append(source)
                self._ready = None

    def connection(self, source: AsyncGenerator[Any, None] | None = None) -> Pooled:
        """Return the connection, if it is there and free.

        Args:
            source: The stream that asks for it, once it has begun.

        Raises:
            UsageError: The owner is over, or another task is using the connection right now.
        """
        pooled = self._leased
        if pooled is None:
            raise UsageError(f"this {self._what} is over; statements run inside its block only")
        if pooled.task is not None or (self.alone is not None and self.alone is not source):
            raise UsageError(
                f"another task is using this {self._what}: one connection runs one statement"
                " at a time; await them one after the other, or give each task its own"
            )
        return pooled

    async def ready(self) -> Pooled:
        """Return the connection, free, in its transaction, without cursors that were left behind.

        Raises:
            UsageError: As :meth:`connection`.
            TransactionAborted: A statement before it failed.
        """
        pooled = self.connection()
        if self.failed:
            raise TransactionAborted(
                f"a statement of this {self._what} failed before: roll back, or put what may fail"
                " into a savepoint"
            )
        begin = self.begin
        if begin is not None:
            limit = min(call_limit(self._context, None), self.limit)
            with Watch(self._context, pooled, limit, what="BEGIN", write_sent=False):
                # Whatever becomes of it: BEGIN may have arrived.
                self.begin = None
                await pooled.driver.begin(begin)
        if self._left:
            limit = min(call_limit(self._context, None), self.limit)
            with Watch(self._context, pooled, limit, what="CLOSE", write_sent=False):
                while self._left:
                    source = self._left.pop()
                    self.sources.discard(source)
                    await source.aclose()
        self._ready = pooled
        return pooled

    def fail(self, error: BaseException) -> None:
        """Note that a statement failed, as PostgreSQL's server does by itself."""
        leased = self._leased
        sent_nothing = isinstance(error, ParameterError | RowValidationError | UsageError)
        if leased is not None and not leased.driver.errors_abort and not sent_nothing:
            self.failed = True
            self._ready = None

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.fail(error)
            raise

    async def _first(self, variant: Variant) -> tuple[Pooled, Begin | None]:
        """Return the connection, and the BEGIN that travels with a variant, prepared already."""
        begin = self.begin
        if begin is None or self.failed or variant not in self.connection().prepared:
            return await self.ready(), None
        return self.connection(), begin

    async def run(  # noqa: C901, PLR0912, PLR0915 - the hot path stands in one piece: each call would cost
        self, statement: Statement, params: dict[str, Any]
    ) -> Any:
        """Run a statement and return what its cardinality promises."""
        if statement.commits_implicitly:
            raise _would_commit(statement)
        variant, args = statement.bind(params)
        begin: Begin | None = None
        pooled = self._ready
        if pooled is None or pooled.task is not None:
            pooled, begin = await self._first(variant)
        now = self._time()
        limit = now + (statement.timeout or self._timeout)
        surrounding = surrounding_deadline()
        if surrounding is not None:
            if type(surrounding) is Watched:
                surrounding.watcher.starting(statement, self._context)
            if surrounding < limit:  # noqa: PLR1730 - min() would cost more than the rest of this
                limit = surrounding
        if self.limit < limit:  # noqa: PLR1730 - the same
            limit = self.limit
        if limit <= now:
            raise deadline_exceeded(statement.where, write_sent=False)
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
            if begin is not None:
                self.begin, self._ready = None, pooled
                rows = await entry.begin_and_run(begin, args)
            elif entry.rowless:
                rows = await entry.execute(args)
            else:
                rows = await entry.fetch(args, entry.limit)
        except BaseException as error:
            failure = settle_wait(pooled, task, error, what=statement.where, write_sent=False)
            if isinstance(error, ParameterError) and not pooled.driver.in_transaction:
                self.begin, self._ready = begin, None  # nothing was sent, BEGIN neither
            self.fail(failure)
            if entry is not None:
                pooled.dirty |= not entry.clean
            forget_stale(pooled, variant, entry, error)
            name_parameter(failure, statement, variant)
            soften(failure, statement.access, in_transaction=True)
            explain(self._context, failure, statement, variant, args)
            if failure is error:
                raise
            raise failure from error
        pooled.task = None
        entry.used = True
        if not entry.clean:
            pooled.dirty = True
        finish = entry.finish
        return rows if finish is None else finish(rows)

    async def run_cached(self, statement: Statement, params: dict[str, Any]) -> Any:
        """As :meth:`run`: a transaction sees its own writes and its snapshot, no kept answers."""
        return await self.run(statement, params)

    async def run_invalidating(self, statement: Statement, params: dict[str, Any]) -> Any:
        """As :meth:`run`, and note what is out of date once the transaction has committed."""
        self.touched += statement.invalidates
        return await self.run(statement, params)

    async def run_together(self, statement: Statement, params: dict[str, Any]) -> Any:
        """As :meth:`run`: a transaction runs one statement after the other."""
        return await self.run(statement, params)

    async def run_each(self, statement: Statement, sets: Sequence[Mapping[str, Any]]) -> list[Any]:
        """As :meth:`run`, for one set after the other."""
        bind_each(statement, sets)
        return [await self.run(statement, dict(params)) for params in sets]

    async def run_once(self, statement: Statement, params: dict[str, Any]) -> Any:
        """As :meth:`run`: that it is applied once is up to the transaction."""
        return await self.run(statement, params)

    async def run_batch(self, statement: Statement, sets: Iterable[Mapping[str, Any]]) -> None:
        """Run a statement once for each set of parameters, pipelined."""
        variant, rows = statement.bind_many(sets)
        self.touched += statement.invalidates
        announce(statement, self._context)
        context, pooled = self._context, await self.ready()
        limit = min(call_limit(context, statement.timeout), self.limit)
        with self._failing():
            await sets_on(context, pooled, statement, variant, rows, limit, write_sent=False)

    async def run_sets(
        self,
        variant: Variant,
        sets: Sequence[Sequence[Any]],
        *,
        fetch: bool,
        lock_timeout: float,
    ) -> list[Any]:
        """Run a statement once for each set of values, pipelined; the rows of all runs.

        Until the end of the transaction, the server waits ``lock_timeout`` seconds for a lock.
        """
        statement = variant.statement
        context, pooled = self._context, await self.ready()
        limit = min(call_limit(context, statement.timeout), self.limit)
        with self._failing():
            return await sets_on(
                context,
                pooled,
                statement,
                variant,
                sets,
                limit,
                write_sent=False,
                fetch=fetch,
                lock_timeout=lock_timeout,
            )

    async def explain(
        self, statement: Statement, params: dict[str, Any], *, analyze: bool
    ) -> Explanation:
        """Ask the server for its plan of a statement, in the transaction."""
        refuse(statement, analyze=analyze)
        variant, args = statement.bind(params)
        context, pooled = self._context, await self.ready()
        limit = min(call_limit(context, statement.timeout), self.limit)
        with self._failing():
            found = await explain_on(context, pooled, variant, args, limit, analyze=analyze)
        apart = "In a transaction one call follows the other." if statement.coalesce else ""
        return replace(found, instance=self._instance, apart=apart)

    async def run_script(self, statement: Statement) -> None:
        """Run several statements without parameters, as part of the transaction."""
        if statement.commits_implicitly:
            raise _would_commit(statement)
        variant, _ = statement.bind({})
        self.touched += statement.invalidates
        announce(statement, self._context)
        context, pooled = self._context, await self.ready()
        pooled.dirty |= not statement.session_clean
        limit = min(call_limit(context, statement.timeout), self.limit)
        with (
            self._failing(),
            explained(context, statement, variant, ()),
            Watch(context, pooled, limit, what=statement.where, write_sent=False),
        ):
            await pooled.driver.execute(variant.sql)

    def stream(self, statement: Statement, params: dict[str, Any], batch: int) -> RowStream[Any]:
        """Return the rows of a statement through a server-side cursor of the transaction."""
        flow = FinishedRows(batch, reads=statement.access is Access.READ)
        return RowStream(self.pieces(statement, params, flow), statement.name)

    def pieces(
        self, statement: Statement, params: dict[str, Any], flow: Flow
    ) -> AsyncGenerator[Any, None]:
        """Return what a statement gives, piece by piece, in the transaction."""
        variant, args = statement.bind(params)
        self.touched += statement.invalidates
        announce(statement, self._context)
        return stream_on(self._context, self.connection(), statement, variant, args, flow, self)
