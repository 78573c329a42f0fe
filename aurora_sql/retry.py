"""How long to wait before something runs again, and how much of it there may be.

Whether it may run again at all is :func:`aurora_sql.taxonomy.decide_error`'s word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aurora_sql.errors import AuroraError, ConflictError, LockTimeout, StatementStale

if TYPE_CHECKING:
    from collections.abc import Iterator


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


RETRY_COST: Final = 5
"""Tokens that a retry takes."""

TIMEOUT_COST: Final = 10
"""Tokens that a retry after a timeout takes: it has kept a server busy for all that time."""


class RetryBudget:
    """How much may be run again by all calls of one open Aurora together: a token bucket.

    ``max_retries`` bounds one call; where everything fails, the calls together would still send
    a multiple of their number to a server that is down already. A retry takes tokens; where there
    are too few left, the call fails with the error it has. A call that succeeds gives back one
    token, or what its last retry took. Sizes and prices are those of the AWS SDKs' standard mode
    (``botocore/retries/quota.py`` and ``standard.py``).

    Args:
        size: Tokens when full; 0 for no bound.

    Attributes:
        size: The same.
        spent: Tokens that are missing. 0 while all is well: whoever succeeds looks at it before
            calling :meth:`give`, so that a call which had no trouble pays for one look.
    """

    __slots__ = ("size", "spent")

    def __init__(self, size: int = 500) -> None:
        self.size = size
        self.spent = 0

    def take(self, error: AuroraError) -> int | None:
        """Pay for a retry after ``error``.

        Returns:
            The tokens it took; None where there are too few, and the retry must not be made.
        """
        if not self.size:
            return 0
        cost = TIMEOUT_COST if _is_timeout(error) else RETRY_COST
        if self.spent + cost > self.size:
            return None
        self.spent += cost
        return cost

    def give(self, tokens: int = 1) -> None:
        """Give back tokens after a success; the bucket never holds more than its size."""
        self.spent = max(0, self.spent - tokens)

    def __repr__(self) -> str:
        if not self.size:
            return "<RetryBudget: no bound>"
        return f"<RetryBudget: {self.size - self.spent} of {self.size}>"


def _is_timeout(error: BaseException | None) -> bool:
    # A connect or a socket that timed out is the cause of the error, or of the one it copies.
    # Causes can form a ring: an error that is raised from itself is its own.
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, (LockTimeout, TimeoutError)):
            return True
        seen.add(id(error))
        error = error.__cause__
    return False
