"""Scopes that run on the pools: a database, its views, and sessions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from aurora_sql.errors import UsageError
from aurora_sql.execution import PoolRunner, call_limit
from aurora_sql.session._executor import Executor
from aurora_sql.session._host import PoolHost
from aurora_sql.session._sight import ObservedWriter, SessionReader, Sight
from aurora_sql.session._transaction import Transaction, TransactionContext
from aurora_sql.types import Access, Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from aurora_sql.execution import ConnectionRunner, Lessor
    from aurora_sql.session._shared import Shared
    from aurora_sql.statements import Statement
    from aurora_sql.types import Isolation

P = ParamSpec("P")
T = TypeVar("T")

_LAST_QUESTION = 1.0
"""Seconds that leaving a session may take to make its token exact; it holds without that too."""


class Scope(Executor):
    """Runs statements on leases of the pools that ``choose`` picks.

    Args:
        shared: The open database.
        choose: Picks the pool for a statement.
        spread: Among how many instances it spreads a statement; None where all calls go alone.
    """

    def __init__(
        self,
        shared: Shared,
        choose: Callable[[Statement], Lessor],
        spread: Callable[[Statement], int] | None = None,
    ) -> None:
        self._attach(shared, choose, spread)

    def _attach(
        self,
        shared: Shared,
        choose: Callable[[Statement], Lessor],
        spread: Callable[[Statement], int] | None,
        *,
        caches: bool = False,
    ) -> None:
        self._shared = shared
        self._adhoc = shared.adhoc
        self._choose_pool = choose
        self._runner: PoolRunner = PoolRunner(
            shared.context, choose, self._once, self._elsewhere, spread, caches=caches
        )
        self._host = PoolHost(
            shared,
            choose,
            lambda: TransactionContext(
                shared, isolation=None, read_only=False, timeout=None, server_timeout=math.inf
            ),
        )
        self.sql = shared.tree.bind(self._runner)

    async def _once(
        self, statement: Statement, work: Callable[[ConnectionRunner], Awaitable[Any]]
    ) -> Any:
        """Do it as BEGIN, marker, the work, COMMIT: its result is known before COMMIT."""
        shared = self._shared
        if self._choose_pool(statement) is not shared.writer:
            raise UsageError(
                f"{statement.where} is a write, and this view runs on readers: call it on the"
                " database or on its writer"
            )
        await shared.markers.require(statement.where)
        transaction = TransactionContext(
            shared, isolation=None, read_only=False, timeout=statement.timeout
        )
        return await transaction.run_work(
            lambda opened: work(opened._runner),  # noqa: SLF001 - one package
            statement.name,
        )

    def _elsewhere(self, pool: Lessor, conflicts: int) -> Lessor:
        return self._shared.cluster.elsewhere(pool, conflicts)

    def _bulk_host(self) -> PoolHost:
        return self._host


class TransactionalScope(Scope):
    """A scope that can open transactions on the writer."""

    def transaction(
        self,
        *,
        isolation: Isolation | str | None = None,
        read_only: bool = False,
        timeout: float | None = None,
    ) -> TransactionContext:
        """Return a transaction on the writer: ``async with db.transaction() as tx:``.

        It commits at the end of the block and rolls back when the block raises. A statement
        that failed dooms it even where its error was caught: COMMIT then raises
        TransactionAborted; use ``tx.savepoint()`` around what may fail.

        Args:
            isolation: ``"read committed"``, ``"repeatable read"`` or ``"serializable"``; the
                server's default if None.
            read_only: Let the server refuse writes.
            timeout: Seconds for the whole transaction; also the server's limit per statement.

        Raises:
            ParameterError: ``isolation`` is none of these.
        """
        return TransactionContext(
            self._shared, isolation=isolation, read_only=read_only, timeout=timeout
        )

    async def run_in_transaction(
        self,
        function: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``function(tx, *args, **kwargs)`` in a transaction, again where it must be.

        ``db.transaction(isolation=…).run(function, …)`` is the same with options. See
        :meth:`TransactionContext.run`.
        """
        return await self.transaction().run(function, *args, **kwargs)


class Session(TransactionalScope):
    """Work that belongs together: its reads see its writes, and never go back in time.

    Until it has written, or was given a token, statements run where they would outside of it. From
    then on every read may go to a reader: to one that has replayed what the session wrote and was
    shown, at once or within a fraction of a second; else to the writer. The session stays on its
    reader. Statements marked ``role: writer`` run on the writer.
    """

    def __init__(self, shared: Shared, token: str | None = None) -> None:
        self._given = None if token is None else shared.consistency.signer.read(token)
        self._entered = False
        self._sight = Sight()
        self._writing = ObservedWriter(shared, self._sight, writes=True)
        self._on_writer = ObservedWriter(shared, self._sight, writes=False)
        self._reading = SessionReader(shared, self._sight, self._on_writer)
        super().__init__(shared.with_writer(self._writing), self._choose)

    def _choose(self, statement: Statement) -> Lessor:
        role = statement.role
        if self._given is not None and not self._entered:
            raise UsageError("this session has a token: use it as `async with db.session(…) as s:`")
        if statement.access is Access.WRITE and role is not Role.READER:
            return self._writing
        if role is Role.READER or (role is None and self._sight.bound):
            return self._reading.choose(statement)
        return self._on_writer

    def _elsewhere(self, pool: Lessor, conflicts: int) -> Lessor:  # noqa: ARG002 - it is ours
        return self._reading.elsewhere(conflicts)

    def transaction(
        self,
        *,
        isolation: Isolation | str | None = None,
        read_only: bool = False,
        timeout: float | None = None,
    ) -> TransactionContext:
        """As :meth:`TransactionalScope.transaction`; counts as a write unless read-only."""
        shared = self._shared.with_writer(self._on_writer) if read_only else self._shared
        return TransactionContext(shared, isolation=isolation, read_only=read_only, timeout=timeout)

    @property
    def token(self) -> str:
        """What the session wrote and was shown, for ``db.session(token=…)``: URL-safe text.

        It takes no round trip, and can be had in the block and after it. Where the last thing that
        the session did was a write, a token taken in the block makes the session that gets it ask
        the writer for its position first; leaving the block has asked by itself.
        """
        consistency = self._shared.consistency
        return consistency.signer.sign(consistency.cluster_id, self._sight.seen)

    async def __aenter__(self) -> Self:
        if self._entered:
            raise UsageError("this session was entered before; call session() for each block")
        if self._given is not None:
            cluster_id, seen = self._given
            await self._shared.consistency.check(cluster_id)
            self._sight.take(seen)
        self._entered = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None and self._sight.wrote:
            limit = min(
                call_limit(self._shared.context, None),
                self._shared.context.loop.time() + _LAST_QUESTION,
            )
            await self._sight.settle(self._shared.consistency, limit)

    def __repr__(self) -> str:
        return f"<Session{' that wrote, or continues one' if self._sight.bound else ''}>"
