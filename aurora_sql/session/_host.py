"""Where bulk work finds its connection: on a lease of its own, or in the caller's transaction."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aurora_sql.bulk import BulkHost
from aurora_sql.errors import UsageError
from aurora_sql.execution import call_limit
from aurora_sql.types import Cardinality

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aurora_sql.execution import ConnectionRunner, Lessor
    from aurora_sql.pool import Pooled
    from aurora_sql.session._shared import Shared
    from aurora_sql.session._transaction import TransactionContext
    from aurora_sql.statements import Statement


class PoolHost(BulkHost):
    """Bulk work on a lease of the writer.

    Args:
        shared: The open database.
        choose: Picks the pool for a statement in this scope.
        transaction: Makes a transaction without the server's limit per statement.
    """

    def __init__(
        self,
        shared: Shared,
        choose: Callable[[Statement], Lessor],
        transaction: Callable[[], TransactionContext],
    ) -> None:
        super().__init__(shared.context, shared.cluster.engine, in_transaction=False)
        self._shared = shared
        self._choose = choose
        self._transaction = transaction

    def limit(self) -> float:
        """Return the deadline around the call."""
        return call_limit(self.context, math.inf)

    def probe(self, sql: str) -> Statement:
        """Return the parsed statement for a text."""
        return self._shared.adhoc.get(sql, Cardinality.EXEC, None)

    def check(self, sql: str) -> None:
        """Ask the scope where a write belongs.

        Raises:
            UsageError: To a reader: the scope is a view of the readers.
        """
        if self._choose(self.probe(sql)) is not self._shared.writer:
            raise UsageError(
                "bulk operations write, and this view runs on readers: call it on the database"
                " or on its writer"
            )

    async def acquire(self) -> Pooled:
        """Lease a connection; each command on it commits by itself."""
        return await self._shared.lease_writer(self.limit())

    def release(self, pooled: Pooled) -> None:
        """Give the lease back."""
        self._shared.release_writer(pooled)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Pooled]:
        """Open a transaction, without the server's limit per statement."""
        async with self._transaction() as transaction:
            yield await transaction._held()  # noqa: SLF001 - one package


class TransactionHost(BulkHost):
    """Bulk work in a transaction that is open already.

    Args:
        shared: The open database.
        runner: Holds the transaction's connection.
        limit: Loop time at which the transaction has to be over; infinite for never.
    """

    def __init__(self, shared: Shared, runner: ConnectionRunner, limit: float) -> None:
        super().__init__(shared.context, shared.cluster.engine, in_transaction=True)
        self._shared = shared
        self._runner = runner
        self._limit = limit

    def limit(self) -> float:
        """Return the deadline around the call, or the transaction's own if that comes first."""
        return min(call_limit(self.context, math.inf), self._limit)

    def probe(self, sql: str) -> Statement:
        """Return the parsed statement for a text."""
        return self._shared.adhoc.get(sql, Cardinality.EXEC, None)

    def check(self, sql: str) -> None:  # noqa: ARG002 - a transaction is on the writer
        """Make sure that the transaction is open and free."""
        self._runner.connection()

    async def acquire(self) -> Pooled:
        """Use the transaction's connection."""
        return await self._runner.ready()

    def release(self, pooled: Pooled) -> None:
        """Nothing: the transaction keeps its connection."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Pooled]:
        """Use the transaction."""
        yield await self._runner.ready()
