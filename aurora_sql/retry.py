"""What to do about an error: one pure decision, and how long to wait before acting on it.

The rule behind the table is "never twice": a unit of work runs again only when it is certain
that nothing of it was applied, or when it changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from aurora_sql.errors import (
    AuroraError,
    AuthenticationFailed,
    ConflictError,
    ConnectionFailed,
    ConnectionLost,
    LockTimeout,
    StatementStale,
    TlsError,
)
from aurora_sql.types import Access

if TYPE_CHECKING:
    from collections.abc import Iterator


class Verdict(Enum):
    """What may be done about an error."""

    RETRY = "retry"
    """Run the same statement again."""

    REPLAY = "replay"
    """Run the whole transaction again; the statement alone would be wrong."""

    RAISE = "raise"
    """Tell the caller."""


_UNHEALABLE = (AuthenticationFailed, TlsError)


def verdict(error: BaseException, *, access: Access, in_transaction: bool) -> Verdict:
    """Decide what may be done about ``error``.

    Args:
        error: What the driver or the pool raised.
        access: Whether the statement (or the transaction) writes.
        in_transaction: The statement ran in a transaction that other statements share.

    A lock that was not had in time (NOWAIT, ``lock_timeout``) is an answer rather than an
    accident for a lone statement: whoever wrote NOWAIT wants to know. A transaction that is
    marked as replayable runs again.
    """
    if not isinstance(error, AuroraError) or isinstance(error, _UNHEALABLE):
        return Verdict.RAISE
    again = Verdict.REPLAY if in_transaction else Verdict.RETRY
    if isinstance(error, LockTimeout):
        return Verdict.REPLAY if in_transaction else Verdict.RAISE
    if isinstance(error, (ConflictError, ConnectionFailed)):
        return again
    if isinstance(error, StatementStale) and in_transaction:
        return Verdict.REPLAY
    if isinstance(error, (ConnectionLost, StatementStale)):
        # Lost before COMMIT was sent, a transaction is certain not to have been applied; the
        # session layer says so through retry_safe. A lone write on its way is in doubt, and one
        # whose result turned out not to fit has been applied.
        harmless = error.retry_safe or (access is Access.READ and not in_transaction)
        return again if harmless else Verdict.RAISE
    return Verdict.RAISE


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently something is tried again.

    Attributes:
        max_retries: Most further attempts after the first; 0 for none.
        max_delay: Longest wait before one attempt, in seconds.
        conflict_base: First upper bound of the wait after a conflict, in seconds.
        connection_base: First upper bound of the wait after a lost connection, in seconds.
    """

    max_retries: int = 3
    max_delay: float = 30.0
    conflict_base: float = 0.02
    connection_base: float = 0.1

    def asking(self) -> Iterator[float]:
        """Yield the seconds between questions about a commit in doubt, without end.

        The first is asked at once; then full jitter, doubling up to a second: a failover lasts
        seconds, and one question is one statement.
        """
        import backoff  # noqa: PLC0415 - loads on first use: imports of the library stay quick

        yield 0.0
        bounds = backoff.expo(base=2, factor=0.05, max_value=1.0)
        next(bounds)  # the generator's first yield only starts it
        for bound in bounds:
            yield backoff.full_jitter(bound)

    def waits(self, error: AuroraError) -> Iterator[float]:
        """Yield the seconds to wait before each further attempt: full jitter, doubling.

        Conflicts are over in milliseconds, so their bound stays under half a second; a stale
        statement is prepared again at once.
        """
        import backoff  # noqa: PLC0415 - loads on first use: imports of the library stay quick

        if isinstance(error, StatementStale):
            base, cap = 0.0, 0.0
        elif isinstance(error, ConflictError):
            base, cap = self.conflict_base, min(0.5, self.max_delay)
        else:
            base, cap = self.connection_base, min(2.0, self.max_delay)
        bounds = backoff.expo(base=2, factor=base, max_value=cap)
        next(bounds)  # the generator's first yield only starts it
        for _ in range(self.max_retries):
            yield backoff.full_jitter(next(bounds))
