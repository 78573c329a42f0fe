"""Where bulk work finds its connection: on a lease of its own, or in the caller's transaction."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aurora_sql.bulk import BulkHost
from aurora_sql.execution import call_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aurora_sql.execution import ConnectionRunner, Context
    from aurora_sql.pool import Pooled
    from aurora_sql.session._shared import Shared
    from aurora_sql.session._transaction import TransactionContext


class PoolHost(BulkHost):
    """Bulk work on a lease of the writer."""

    def __init__(self, shared: Shared, transaction: Callable[[], TransactionContext]) -> None:
        super().__init__(shared.context, in_transaction=False)
        self._shared = shared
        self._transaction = transaction

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Pooled]:
        """Lease a connection; each command on it commits by itself."""
        shared = self._shared
        pooled = await shared.lease_writer(call_limit(shared.context, math.inf))
        try:
            yield pooled
        finally:
            shared.release_writer(pooled)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Pooled]:
        """Open a transaction, without the server's limit per statement."""
        async with self._transaction() as transaction:
            yield transaction.leased


class TransactionHost(BulkHost):
    """Bulk work in a transaction that is open already."""

    def __init__(self, context: Context, runner: ConnectionRunner) -> None:
        super().__init__(context, in_transaction=True)
        self._runner = runner

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Pooled]:
        """Use the transaction's connection."""
        yield self._runner.connection()

    transaction = lease
