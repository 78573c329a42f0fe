"""Running the function of a transaction until it is known what became of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from aurora_sql.errors import (
    AuroraError,
    CommitInDoubt,
    ConfigurationError,
    ProgrammingError,
    UsageError,
)
from aurora_sql.execution import Attempts
from aurora_sql.instrumentation import CommitResolved, RetryScheduled
from aurora_sql.taxonomy import Unit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from uuid import UUID

    from aurora_sql.session._shared import Shared
    from aurora_sql.session._transaction import Transaction, TransactionContext
    from aurora_sql.types import Access

T = TypeVar("T")

# They would be raised again and again: whoever asks whether a commit was applied gives up.
_NO_ANSWER = (ConfigurationError, ProgrammingError, UsageError)


class _AppliedBefore(Exception):
    """An earlier attempt turned out to have been applied."""


class Replay(Generic[T]):
    """The attempts of one unit of work: a function of a transaction.

    It runs again where the transaction lost a conflict or its connection before COMMIT. Where
    COMMIT was not answered, the next attempt first finds out what became of it, by its marker.

    Args:
        shared: The open database.
        transaction: Opens each attempt.
        work: The function.
        name: Of the function, for messages.
        access: Whether the transaction may write.
        until: Loop time by which all attempts are over; infinite for never.
        marked: Begin each attempt with a marker.
    """

    def __init__(
        self,
        shared: Shared,
        transaction: TransactionContext,
        work: Callable[[Transaction], Awaitable[T]],
        *,
        name: str,
        access: Access,
        until: float,
        marked: bool,
    ) -> None:
        self._shared = shared
        self._context = shared.context
        self._transaction = transaction
        self._work = work
        self._name = name
        self._access = access
        self._until = until
        self._attempts = Attempts(shared.context, name)
        self._marker: UUID | None = shared.markers.new() if marked else None
        self._doubt: CommitInDoubt | None = None
        self._doubt_until = until
        self._result: T
        self._waits: Iterator[float] | None = None

    async def run(self) -> T:
        """Return what the function returned in the attempt that was applied.

        Raises:
            CommitInDoubt: COMMIT was not answered, and nobody could tell what became of it.
            AuroraError: What the last attempt failed with; it was not applied.
        """
        while True:
            self._transaction.replayed_by(self._attempts, self._until)
            try:
                result = await self._attempt()
            except AuroraError as error:
                await self._again(error)
            else:
                if self._marker is not None:
                    await self._shared.markers.purge()
                return result

    async def _attempt(self) -> T:
        try:
            async with self._transaction as transaction:
                if self._marker is not None:
                    await self._mark(transaction, self._marker)
                self._result = await self._work(transaction)
        except _AppliedBefore:
            self._context.emit(CommitResolved(self._name, applied=True))
        return self._result

    async def _mark(self, transaction: Transaction, marker: UUID) -> None:
        """Insert the marker; that it can be inserted settles a doubt."""
        runner = transaction._runner  # noqa: SLF001 - one package
        if not await self._shared.markers.insert(runner, marker):
            raise _AppliedBefore
        if self._doubt is not None:
            self._doubt = None
            self._waits = None
            self._context.emit(CommitResolved(self._name, applied=False))

    async def _again(self, error: AuroraError) -> None:
        """Wait until the next attempt, or raise."""
        if isinstance(error, CommitInDoubt) and self._marker is not None:
            await self._ask(error, error)
        elif self._doubt is not None:
            await self._ask(self._doubt, error)
        else:
            # Whether it was COMMIT that failed cannot be told from here.
            await self._attempts.again(error, Unit.COMMIT, self._access, self._until)
            if self._marker is not None:
                # The lost backend may hold the old marker until it notices: not to wait for it.
                self._marker = self._shared.markers.new()

    async def _ask(self, doubt: CommitInDoubt, error: AuroraError) -> None:
        """As :meth:`_again`, while it is open whether an earlier attempt was applied.

        As many attempts as there is time for, past the retry budget too: they ask, and change
        nothing unless the answer is that nothing was applied.
        """
        now = self._context.loop.time()
        if doubt is error:
            self._doubt = doubt
            self._doubt_until = min(self._until, now + self._context.command_timeout)
            self._waits = self._context.retry_policy.asking()
        number = self._attempts.count
        wait = next(self._waits or iter(()), None)
        if isinstance(error, _NO_ANSWER) or wait is None or now + wait >= self._doubt_until:
            doubt.add_note(f"{self._name}: attempt {number} could not find out what became of it")
            if doubt is error:
                raise doubt
            raise doubt from error
        self._context.emit(RetryScheduled(self._name, number, wait, type(error).__name__))
        self._attempts.count += 1
        if wait > 0:
            await asyncio.sleep(wait)
