"""Where bulk work finds its connection; the layer above fills it in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from aurora_sql.execution import Context
    from aurora_sql.pool import Pooled


class BulkHost(ABC):
    """Gives connections to bulk operations.

    Args:
        context: For deadlines.
        in_transaction: The connections are in the caller's transaction already.
    """

    def __init__(self, context: Context, *, in_transaction: bool) -> None:
        self.context = context
        self.in_transaction = in_transaction

    @abstractmethod
    def lease(self) -> AbstractAsyncContextManager[Pooled]:
        """Lease a connection; each command commits by itself, unless in a transaction."""

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Pooled]:
        """Lease a connection in a transaction that commits at the end of the block."""
