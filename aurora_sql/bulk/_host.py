"""Where bulk work finds its connection; the layer above fills it in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from aurora_sql.execution import Context
    from aurora_sql.pool import Pooled
    from aurora_sql.statements import Statement
    from aurora_sql.types import Engine


class BulkHost(ABC):
    """Gives connections to bulk operations.

    Args:
        context: For deadlines.
        engine: Of the servers.
        in_transaction: The connections are in the caller's transaction already.
    """

    def __init__(self, context: Context, engine: Engine, *, in_transaction: bool) -> None:
        self.context = context
        self.engine = engine
        self.in_transaction = in_transaction

    @abstractmethod
    async def acquire(self) -> Pooled:
        """Return a connection; each command on it commits by itself, unless in a transaction."""

    @abstractmethod
    def release(self, pooled: Pooled) -> None:
        """Give back what :meth:`acquire` returned."""

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Pooled]:
        """Lease a connection in a transaction that commits at the end of the block."""

    @abstractmethod
    def limit(self) -> float:
        """Return when a call that starts now has to be over, as loop time; infinite for never.

        The command timeout is not meant for loads of any length and does not count.
        """

    @abstractmethod
    def probe(self, sql: str) -> Statement:
        """Return the parsed statement for a text, the same one each time while it is in use."""

    @abstractmethod
    def check(self, sql: str) -> None:
        """Make sure, before anything is taken or sent, that a write can run here.

        Args:
            sql: A statement that writes to the table.

        Raises:
            UsageError: It cannot.
        """
