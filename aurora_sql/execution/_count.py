"""How many statements a piece of work sends: a budget for tests, a warning for requests."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from aurora_sql.deadlines import Watched, surrounding_deadline, watched_by
from aurora_sql.errors import ParameterError, StatementBudgetExceeded, UsageError
from aurora_sql.instrumentation import RepeatedStatement
from aurora_sql.types import Access

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from aurora_sql.deadlines import Watcher
    from aurora_sql.execution._context import Context
    from aurora_sql.statements import Statement

_logger = logging.getLogger("aurora_sql.execution")


class StatementCount:
    """The statements that a ``with`` block sends: see :func:`count_statements`.

    Args:
        limit: Most statements; None for any number.
        warn_at: Runs of one statement that are worth a warning; None for no warnings.
    """

    def __init__(self, limit: int | None, warn_at: int | None) -> None:
        self._limit = limit
        self._warn_at = warn_at
        # By the statement, not by its name: ad hoc ones share a name.
        self._runs: dict[Statement, int] = {}
        self._outer: Watcher | None = None
        self._total = 0
        self._block: AbstractContextManager[None] | None = None

    @property
    def total(self) -> int:
        """How many statements there were."""
        return self._total

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each statement ran, by name, the most frequent first."""
        found: dict[str, int] = {}
        for statement, runs in self._runs.items():
            found[statement.name] = found.get(statement.name, 0) + runs
        return dict(sorted(found.items(), key=lambda one: -one[1]))

    def starting(self, statement: Statement, context: Context) -> None:
        """Count a statement before it is sent.

        Raises:
            StatementBudgetExceeded: It is one too many; it is not sent.
        """
        if self._outer is not None:
            self._outer.starting(statement, context)
        if self._limit is not None and self._total >= self._limit:
            raise StatementBudgetExceeded(
                f"{statement.where}: at most {self._limit} statements may be sent here, and these"
                f" were: {self}; fetch what belongs together with one statement, or raise the limit"
            )
        self._total += 1
        self._runs[statement] = runs = self._runs.get(statement, 0) + 1
        if runs == self._warn_at:
            advice = _ADVICE[statement.access]
            _logger.warning("%s ran %d times in one context: %s", statement.where, runs, advice)
            context.emit(RepeatedStatement(statement.name, runs, advice))

    def __enter__(self) -> Self:
        if self._block is not None:
            raise UsageError("this count is in use; call count_statements() for each block")
        surrounding = surrounding_deadline()
        self._outer = surrounding.watcher if type(surrounding) is Watched else None
        self._block = watched_by(self)
        self._block.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._block is not None:
            block, self._block = self._block, None
            block.__exit__(exc_type, exc, traceback)

    def __str__(self) -> str:
        return ", ".join(f"{runs} x {name}" for name, runs in self.counts.items()) or "none"

    def __repr__(self) -> str:
        return f"<StatementCount {self.total}: {self}>"


_ADVICE = {
    Access.READ: (
        "fetch the rows with one statement (= ANY(:ids), a join), or mark it 'coalesce: on' and"
        " ask for them at once with each()"
    ),
    Access.WRITE: "send the rows at once: a :batch, or bulk_insert() and its kin",
}


def count_statements(*, limit: int | None = None, warn_at: int | None = None) -> StatementCount:
    """Count the statements of a ``with`` block, in its task and in tasks that it starts.

    ```python
    with count_statements(limit=20, warn_at=10) as counted:
        ...
    print(counted.total, counted.counts)
    ```

    A call counts once, however often it has to be tried, when it is about to be sent; one that a
    cache answers or that travels with others sends nothing. A stream, a ``:batch`` and a
    ``:script`` count as one; BEGIN and COMMIT, bulk operations and what the library sends on its
    own account do not count. Blocks nest: each counts for itself.

    Args:
        limit: Most statements. The next call raises StatementBudgetExceeded and is not sent.
            Default: any number.
        warn_at: Runs of one statement at which a warning is logged, and RepeatedStatement told to
            observers, once for each statement. Default: never.

    Raises:
        ParameterError: ``limit`` is no whole number from 0 on, or ``warn_at`` none from 1 on.
    """
    for name, value, least in (("limit", limit, 0), ("warn_at", warn_at, 1)):
        if value is not None and (type(value) is not int or value < least):
            raise ParameterError(
                f"count_statements(): {name} must be a whole number from {least} on, or None,"
                f" not {value!r}"
            )
    return StatementCount(limit, warn_at)


def announce(statement: Statement, context: Context) -> None:
    """Tell whoever watches that a statement is about to be sent.

    Raises:
        StatementBudgetExceeded: It may not.
    """
    surrounding = surrounding_deadline()
    if type(surrounding) is Watched:
        surrounding.watcher.starting(statement, context)
