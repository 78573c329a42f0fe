"""Scopes that run on the pools: a database, its views, and sessions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from aurora_sql.errors import UsageError
from aurora_sql.execution import PoolRunner
from aurora_sql.session._executor import Executor
from aurora_sql.session._host import PoolHost
from aurora_sql.session._transaction import Transaction, TransactionContext
from aurora_sql.types import Access

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from aurora_sql.pool import Pool
    from aurora_sql.session._shared import Shared
    from aurora_sql.statements import Statement
    from aurora_sql.types import Isolation

P = ParamSpec("P")
T = TypeVar("T")


class Scope(Executor):
    """Runs statements on leases of the pools that ``choose`` picks.

    Args:
        shared: The open database.
        choose: Picks the pool for a statement.
    """

    def __init__(self, shared: Shared, choose: Callable[[Statement], Pool]) -> None:
        self._attach(shared, choose)

    def _attach(self, shared: Shared, choose: Callable[[Statement], Pool]) -> None:
        self._shared = shared
        self._adhoc = shared.adhoc
        self._choose_pool = choose
        self._runner: PoolRunner = PoolRunner(shared.context, choose, self._run_once)
        self._host = PoolHost(
            shared,
            choose,
            lambda: TransactionContext(
                shared, isolation=None, read_only=False, timeout=None, server_timeout=math.inf
            ),
        )
        self.sql = shared.tree.bind(self._runner)

    async def _run_once(self, statement: Statement, params: dict[str, Any]) -> Any:
        """Run a write as BEGIN, marker, statement, COMMIT: its result is known before COMMIT."""
        shared = self._shared
        statement.bind(params)  # what is wrong with the parameters is told before anything is sent
        if self._choose_pool(statement) is not shared.cluster.writer_pool:
            raise UsageError(
                f"{statement.where} is a write, and this view runs on readers: call it on the"
                " database or on its writer"
            )
        await shared.markers.require(statement.where)
        transaction = TransactionContext(
            shared, isolation=None, read_only=False, timeout=statement.timeout
        )
        return await transaction.run_work(
            lambda opened: opened._runner.run(statement, params),  # noqa: SLF001 - one package
            statement.name,
        )

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
    """Work that belongs together: once it has written, its reads go to the writer.

    Before the first write, statements marked ``role: reader`` run on readers as usual.
    """

    def __init__(self, shared: Shared) -> None:
        self._wrote = False
        super().__init__(shared, self._choose)
        self._entered = False

    def _choose(self, statement: Statement) -> Pool:
        cluster = self._shared.cluster
        if statement.access is Access.WRITE:
            self._wrote = True
        return cluster.writer_pool if self._wrote else cluster.route(statement)

    def transaction(
        self,
        *,
        isolation: Isolation | str | None = None,
        read_only: bool = False,
        timeout: float | None = None,
    ) -> TransactionContext:
        """As :meth:`TransactionalScope.transaction`; counts as a write unless read-only."""
        if not read_only:
            self._wrote = True
        return super().transaction(isolation=isolation, read_only=read_only, timeout=timeout)

    async def __aenter__(self) -> Self:
        if self._entered:
            raise UsageError("this session was entered before; call session() for each block")
        self._entered = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def __repr__(self) -> str:
        return f"<Session{' that wrote' if self._wrote else ''}>"
