"""What every call on one open Aurora shares."""

from __future__ import annotations

import asyncio
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aurora_sql.deadlines import Sweeper
    from aurora_sql.execution._cache import ReadCache
    from aurora_sql.execution._prepare import Preparer
    from aurora_sql.instrumentation import Event, Observer
    from aurora_sql.retry import RetryBudget, RetryPolicy

_logger = logging.getLogger("aurora_sql.execution")


class Context:
    """Settings and services of one open Aurora, gathered for the layers that run statements.

    Attributes:
        loop: The event loop that everything runs on.
        sweeper: Enforces deadlines.
        preparer: Prepares statements on connections.
        command_timeout: Limit of one call in seconds, where nothing else is said.
        retry_policy: How often and how patiently one call tries again.
        retry_budget: How much all calls together may try again.
        retry_enabled: ``enable_retry_on_failure``.
        detailed_errors: ``enable_detailed_errors``.
        sensitive_data: ``enable_sensitive_data_logging``.
        observers: Who is told of events.
        cache: Kept answers of statements.
        current_task: Returns the running task; each call on the hot path asks for it.
    """

    __slots__ = (
        "cache",
        "command_timeout",
        "current_task",
        "detailed_errors",
        "loop",
        "observers",
        "preparer",
        "retry_budget",
        "retry_enabled",
        "retry_policy",
        "sensitive_data",
        "sweeper",
    )

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        sweeper: Sweeper,
        preparer: Preparer,
        command_timeout: float,
        retry_policy: RetryPolicy,
        retry_budget: RetryBudget,
        retry_enabled: bool,
        detailed_errors: bool,
        sensitive_data: bool,
        observers: Sequence[Observer],
        cache: ReadCache,
    ) -> None:
        self.loop = loop
        self.sweeper = sweeper
        self.preparer = preparer
        self.command_timeout = command_timeout
        self.retry_policy = retry_policy
        self.retry_budget = retry_budget
        self.retry_enabled = retry_enabled
        self.detailed_errors = detailed_errors
        self.sensitive_data = sensitive_data
        self.observers = tuple(observers)
        self.cache = cache
        self.current_task = _current_task(loop)

    def emit(self, event: Event) -> None:
        """Tell every observer.

        One that raises is logged: the work that the event is about has been done, or has failed
        with an error of its own, and its caller has to hear of that.
        """
        for observer in self.observers:
            try:
                observer(event)
            except Exception:
                _logger.exception("observer %r failed on %r", observer, event)


def _current_task(loop: asyncio.AbstractEventLoop) -> Callable[[], asyncio.Task[Any]]:
    # Whoever awaits the library does so in a task, so that there always is one.
    if sys.version_info >= (3, 12):
        return cast("Callable[[], asyncio.Task[Any]]", asyncio.current_task)  # in C from 3.12 on
    # Before, it is a Python function that costs a tenth of the library's share of a point read;
    # it looks the loop up in this dictionary.
    running: dict[Any, asyncio.Task[Any]] = asyncio.tasks._current_tasks  # type: ignore[attr-defined]  # noqa: SLF001
    return partial(running.__getitem__, loop)
