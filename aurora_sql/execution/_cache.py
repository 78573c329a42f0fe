"""Answers that may be used again for a stated time: ``cache: 5s``.

What is kept are rows as the driver made them, and each caller's result is made of them anew: no
caller can change what another one is given. Calls with equal parameters that miss at the same
moment share one query, a *flight*, which runs in a task of its own: whoever waits for it may be
cancelled or run out of time alone, and it ends with the last of them.
"""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import contextmanager
from copy import deepcopy
from itertools import islice
from sys import getsizeof
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aurora_sql.deadlines import current_deadline
from aurora_sql.errors import AuroraError, DatabaseError, DeadlineExceeded, PoolClosed
from aurora_sql.execution._attempts import Trace, deadline_exceeded
from aurora_sql.execution._count import announce
from aurora_sql.pool import copy_error
from aurora_sql.rows import PlainRow, RowColumns
from aurora_sql.types import CacheStats

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence

    from aurora_sql.execution._context import Context
    from aurora_sql.statements import Statement

    Run = Callable[[Statement, dict[str, Any], Trace | None], Awaitable[Any]]

Key: TypeAlias = tuple[Any, ...]
"""The variant, the values of its parameters, and their types: 1 and True are equal, and differ."""

_BOOKS: Final = 600
"""Bytes that an answer takes beside its rows and its parameters, about."""

_WEIGHED: Final = 64
"""Most rows of an answer that are weighed; the others are taken to be like them."""


class Answer:
    """The rows of one query, to make results of.

    Args:
        rows: As the driver made them.
        finish: Turns rows into a result; None where the rows are the result.

    Attributes:
        rows: The same.
        finish: The same.
        columns: Where a row holds what can be altered, so that each caller gets copies; else None.
        until: When it is too old, by the monotonic clock.
        used: Served since the last look for something to drop.
        size: Bytes that it takes, about.
    """

    __slots__ = ("columns", "finish", "rows", "size", "until", "used")

    def __init__(self, rows: list[Any], finish: Callable[[list[Any]], Any] | None) -> None:
        self.rows = rows
        self.finish = finish
        # A value that hashes cannot be altered, nor can a row of nothing else.
        self.columns = None if _all_hash(rows) else RowColumns(rows[0].keys())
        self.until = 0.0
        self.used = False
        self.size = _weigh(rows)

    def result(self) -> Any:
        """Return what the statement's cardinality promises, made for one caller alone.

        Raises:
            ResultError: The rows are not what it promises.
        """
        rows = self.rows
        columns = self.columns
        if columns is not None:
            rows = [PlainRow(columns, map(_own, row)) for row in rows]
        finish = self.finish
        return rows[:] if finish is None else finish(rows)


def _checked(rows: list[Any], finish: Callable[[list[Any]], Any] | None) -> Answer:
    """Make an answer of which a result can be made: errors are never kept."""
    answer = Answer(rows, finish)
    answer.result()
    return answer


class _Flight:
    """A query under way, shared by all who want its answer."""

    __slots__ = ("key", "name", "started", "task", "trace", "waiting")

    def __init__(self, key: Key, name: str) -> None:
        self.key = key
        self.name = name
        self.started = monotonic()
        self.trace = Trace()
        self.waiting = 0
        self.task: asyncio.Task[Answer]


class ReadCache:
    """The answers and flights of one open database.

    Args:
        max_bytes: Most that all answers may take together, estimated; 0 keeps none.

    Attributes:
        answers: By key, in the order in which they are looked at for dropping.
        flights: By key; those whose answer may be kept and shared.
        hits: Calls that were served from an answer.
        misses: Calls that sent a query.
        joined: Calls that waited for the query of another call.
    """

    def __init__(self, max_bytes: int) -> None:
        self.answers: dict[Key, Answer] = {}
        self.flights: dict[Key, _Flight] = {}
        self.hits = self.misses = self.joined = 0
        self._max_bytes = max_bytes
        self._bytes = 0
        self._invalidated = self._evicted = 0
        self._names: dict[str, set[Key]] = {}
        self._tasks: set[asyncio.Task[Answer]] = set()

    def fly(self, flight: _Flight, query: Coroutine[Any, Any, Answer]) -> None:
        """Start a query; from now on others can wait for it."""
        # In a context of its own: the deadline of whoever happens to be first is not theirs.
        flight.task = asyncio.get_running_loop().create_task(query, context=contextvars.Context())
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._landed)
        self.flights[flight.key] = flight

    def _landed(self, task: asyncio.Task[Answer]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits raises it; nobody may, and that is no mistake

    def forget_flight(self, flight: _Flight) -> None:
        """Let nobody else wait for a flight, and its answer not be kept."""
        if self.flights.get(flight.key) is flight:
            del self.flights[flight.key]

    def keep(self, flight: _Flight, answer: Answer) -> None:
        """Keep the answer of a flight, unless a write has come in between."""
        if self.flights.get(flight.key) is not flight:
            return
        key = flight.key
        self._drop(key)
        self._look_at_two()
        answer.size += _BOOKS + sum(map(_size, key[1:]))
        if answer.until <= monotonic() or answer.size > self._max_bytes:
            return
        self.answers[key] = answer
        self._bytes += answer.size
        self._names.setdefault(flight.name, set()).add(key)
        while self._bytes > self._max_bytes:
            self._evict()

    def invalidate(self, names: Iterable[str]) -> None:
        """Drop the answers of statements, by full name; what is under way is not kept either."""
        for name in names:
            keys = self._names.pop(name, ())
            self._invalidated += len(keys)
            for key in keys:
                self._bytes -= self.answers.pop(key).size
            for flight in [one for one in self.flights.values() if one.name == name]:
                del self.flights[flight.key]

    @contextmanager
    def written(self, names: Iterable[str]) -> Iterator[None]:
        """Invalidate after the ``with`` block, unless it fails and nothing was applied."""
        try:
            yield
        except BaseException as error:
            if _may_have_applied(error):
                self.invalidate(names)
            raise
        self.invalidate(names)

    def _look_at_two(self) -> None:
        """Drop what is too old among the next two: in the end everything comes by."""
        now = monotonic()
        for key in tuple(islice(self.answers, 2)):
            if self.answers[key].until <= now:
                self._drop(key)
            else:
                self.answers[key] = self.answers.pop(key)

    def _evict(self) -> None:
        """Drop the first answer that is too old, or was not used since it was looked at (CLOCK)."""
        now = monotonic()
        while True:
            key = next(iter(self.answers))
            answer = self.answers[key]
            if answer.used and answer.until > now:
                answer.used = False
                self.answers[key] = self.answers.pop(key)
                continue
            self._evicted += answer.until > now
            self._drop(key)
            return

    def _drop(self, key: Key) -> None:
        answer = self.answers.pop(key, None)
        if answer is None:
            return
        self._bytes -= answer.size
        name = key[0].statement.name
        keys = self._names[name]
        keys.discard(key)
        if not keys:
            del self._names[name]

    def stats(self) -> CacheStats:
        """Return counters and gauges."""
        return CacheStats(
            hits=self.hits,
            misses=self.misses,
            joined=self.joined,
            entries=len(self.answers),
            bytes=self._bytes,
            max_bytes=self._max_bytes,
            evicted=self._evicted,
            invalidated=self._invalidated,
        )

    async def close(self) -> None:
        """End all queries under way; whoever waits for one gets PoolClosed."""
        self.flights.clear()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class CachedReads:
    """Runs cached statements for one scope.

    Args:
        context: What all calls share.
        run: Runs a statement on a lease.
        run_together: The same for those with ``coalesce: on``.
    """

    __slots__ = ("_answers", "_cache", "_context", "_run", "_run_together")

    def __init__(self, context: Context, run: Run, run_together: Run) -> None:
        self._context = context
        self._cache = context.cache
        self._answers = context.cache.answers
        self._run = run
        self._run_together = run_together

    async def run(
        self, statement: Statement, params: dict[str, Any], trace: Trace | None = None
    ) -> Any:
        """Return the result of an answer that is young enough, or of a query."""
        variant, args = statement.bind(params)
        key: Key = (variant, *args, *map(type, args))
        hashes = True
        try:
            answer = self._answers.get(key)
        except (TypeError, ValueError):  # a list, most often
            answer, hashes = None, False
        if answer is None and not (hashes and all(map(_is_plain, args))):
            try:
                key = (variant, _frozen(args))
            except (TypeError, ValueError):
                self._cache.misses += 1
                return await self._way(statement)(statement, params, trace)
            answer = self._answers.get(key)
            # The query binds them later than now.
            params = _own(params)
        if answer is not None and monotonic() < answer.until:
            self._cache.hits += 1
            answer.used = True
            if answer.columns is None:  # result(), without the call
                finish = answer.finish
                return answer.rows[:] if finish is None else finish(answer.rows)
            return answer.result()
        return (await self._fetch(statement, params, key, trace)).result()

    def _way(self, statement: Statement) -> Run:
        return self._run_together if statement.coalesce else self._run

    async def _fetch(
        self, statement: Statement, params: dict[str, Any], key: Key, trace: Trace | None
    ) -> Answer:
        """Wait for a query that is under way, or send one."""
        cache, time = self._cache, self._context.loop.time
        called = monotonic()
        limit = time() + (statement.timeout or self._context.command_timeout)
        surrounding = current_deadline()
        if surrounding is not None and surrounding < limit:
            limit = surrounding
        while True:
            if limit <= time():
                raise deadline_exceeded(statement.where, write_sent=False)
            flight = cache.flights.get(key)
            joins = flight is not None and monotonic() - flight.started < _age(statement)
            if flight is None or not joins:
                announce(statement, self._context)
                cache.misses += 1
                flight = _Flight(key, statement.name)
                cache.fly(flight, self._query(flight, statement, params))
            else:
                cache.joined += 1
            await self._wait(flight, limit, statement)
            if trace is not None and not joins:
                trace.follow(flight.trace)
            if flight.task.cancelled():
                raise PoolClosed(f"{statement.where}: closed while its answer was on the way")
            error = flight.task.exception()
            if error is None:
                return flight.task.result()
            if joins and isinstance(error, DeadlineExceeded) and flight.started < called:
                continue  # its time is over; ours began later
            raise copy_error(error) if isinstance(error, Exception) else error

    async def _wait(self, flight: _Flight, limit: float, statement: Statement) -> None:
        """Wait until a flight is over.

        Raises:
            DeadlineExceeded: It is not over in time.
        """
        task = flight.task
        flight.waiting += 1
        try:
            await asyncio.wait((task,), timeout=limit - self._context.loop.time())
        finally:
            flight.waiting -= 1
            if not flight.waiting and not task.done():
                # As for any call: without anybody to hear the answer the query is cancelled.
                self._cache.forget_flight(flight)
                task.cancel()
        if not task.done():
            raise deadline_exceeded(statement.where, write_sent=False)

    async def _query(self, flight: _Flight, statement: Statement, params: dict[str, Any]) -> Answer:
        """Send the query of a flight and keep its answer."""
        flight.trace.keep = _checked
        try:
            answer: Answer = await self._way(statement)(statement, params, flight.trace)
            # Counted from before it was sent: the server looked at the data later than that.
            answer.until = flight.started + _age(statement)
            self._cache.keep(flight, answer)
            return answer
        finally:
            self._cache.forget_flight(flight)


def _age(statement: Statement) -> float:
    return statement.cache or 0.0


def _may_have_applied(error: BaseException) -> bool:
    """Whether a write that ended so may have changed something, now or in a moment."""
    if not isinstance(error, AuroraError) or error.outcome_unknown:
        return True
    # A result that is not what was promised (ResultError) comes after the write.
    return not (error.retry_safe or isinstance(error, DatabaseError))


def _all_hash(rows: list[Any]) -> bool:
    try:
        for row in rows:
            hash(row)
    except TypeError:
        return False
    return True


def _own(value: Any) -> Any:
    """A value that is the caller's own: itself where it cannot be altered, else a copy."""
    kind = type(value)
    if kind is dict:
        return {key: _own(each) for key, each in value.items()}
    if kind is list:
        return [_own(each) for each in value]
    try:
        hash(value)
    except TypeError:
        return deepcopy(value)
    return value


def _is_plain(value: Any) -> bool:
    """Whether its type and value tell it from all others: in a tuple, 1 and True are the same."""
    return not isinstance(value, tuple)


def _frozen(value: Any) -> Any:
    """A stand-in for a parameter that hashes, equal for equal values of equal types.

    Raises:
        TypeError: There is none.
    """
    kind = type(value)
    if isinstance(value, (list, tuple)):
        return kind, tuple(map(_frozen, value))
    if kind is dict:
        return kind, tuple((_frozen(key), _frozen(each)) for key, each in value.items())
    if kind is bytearray or kind is memoryview:
        return kind, bytes(value)
    if kind is set:
        return kind, frozenset(map(_frozen, value))
    hash(value)
    return kind, value


def _weigh(rows: Sequence[Any]) -> int:
    """Estimate how many bytes rows take."""
    if not rows:
        return 0
    sample = rows[:: -(-len(rows) // _WEIGHED)]
    return sum(map(_size, sample)) * len(rows) // len(sample)


def _size(value: Any) -> int:
    if isinstance(value, type):
        return 0  # it is there anyway
    size = getsizeof(value, 64)
    if isinstance(value, dict):
        return size + sum(_size(key) + _size(each) for key, each in value.items())
    if isinstance(value, (list, tuple, set, frozenset)) or hasattr(value, "_asdict"):
        return size + sum(map(_size, value))
    return size
