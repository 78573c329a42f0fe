"""The pool: who gets which connection, and when there are more or fewer of them.

Everything that decides is synchronous and runs to its end between two awaits, so that there is
no lock. Everything that talks to a server runs in a task that the pool owns: a caller only ever
waits for a future, and a caller who is cancelled leaves nothing half-done.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from aurora_sql.deadlines import Sweeper, current_deadline
from aurora_sql.errors import FailoverTimeout, PoolClosed, PoolExhausted, PoolTimeout
from aurora_sql.pool import _decide, _upkeep
from aurora_sql.pool._books import Books
from aurora_sql.pool._keeper import Keeper
from aurora_sql.pool._opener import Opener
from aurora_sql.pool._pooled import Pooled, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from aurora_sql.drivers.base import DriverConnection
    from aurora_sql.errors import AuroraError
    from aurora_sql.pool._options import PoolOptions
    from aurora_sql.pool._queue import Waiter

__all__ = ["Pool"]

_logger = logging.getLogger("aurora_sql.pool")

_IDLE = State.IDLE
_LEASED = State.LEASED

_ABORT_LIMIT = 1.0
"""Seconds that closing the pool waits for its tasks once their connections are aborted."""


class Pool(Books):
    """A pool of connections to one instance.

    Leases go to callers in the order in which they came; an idle connection is taken from the
    top of the stack, so that the busy ones stay busy and the others can be trimmed. The pool
    grows by one connection at a time, in the background, while a caller waits or the floor is
    not reached. It belongs to the event loop in which :meth:`open` ran.

    Args:
        connect: Opens one connection, within a time limit of its own; cleans up if cancelled.
        options: See :class:`PoolOptions`.
        name: For messages, such as the instance's identifier.
        sweeper: The sweeper of the event loop; the pool makes one of its own by default.
        rng: Source of the jitter.
        troubled: Called when a connection broke, could not be opened or proved to be of no use:
            whoever knows other instances may want to look at them.

    Attributes:
        absent: Why there is nobody to connect to, for the callers that wait in vain; None while
            there is somebody.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[DriverConnection]],
        options: PoolOptions,
        *,
        name: str,
        sweeper: Sweeper | None = None,
        rng: random.Random | None = None,
        troubled: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name, options)
        self.absent: str | None = None
        self._troubled = troubled
        self.sweeper = Sweeper() if sweeper is None else sweeper
        self._owns_sweeper = sweeper is None
        self._chance = (random.Random() if rng is None else rng).random  # noqa: S311  jitter
        self._check_after = options.check_after
        self._upkeep_at = math.inf
        self._changed: asyncio.Event = asyncio.Event()

        self._keeper = Keeper(
            options, name=name, kept=self._returned, lost=self._lost, impatient=self._doubt
        )
        self._opener = Opener(
            connect,
            options,
            name=name,
            chance=self._chance,
            wanted=self._wants_more,
            arrived=self._add,
            refused=self._connect_failed,
        )

    # -- opening and closing ---------------------------------------------------------------

    async def open(self) -> None:
        """As :meth:`start`, in the form of :meth:`close`."""
        self.start()

    def start(self) -> None:
        """Start to fill the pool up to ``min_size``, in the background.

        Raises:
            PoolClosed: The pool was closed; make a new one.
        """
        if self._closing:
            raise PoolClosed(f"pool {self.name!r} was closed and cannot be opened again")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self.sweeper.watch(self)
            self._grow()

    async def close(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  it aborts then
        """Turn waiting callers away, wait for the leased connections, close everything.

        Args:
            timeout: Seconds to wait, ``close_timeout`` by default. Then the connections that
                are still leased are aborted and their callers get an error.
        """
        self._closing = True
        if self._loop is None or self._closed:
            self._closed = True
            return
        # Another generation: each release takes the slow path, which closes the connection.
        self._generation += 1
        self._queue.fail_all(lambda: PoolClosed(f"pool {self.name!r} is being closed"))
        if self._opener.task is not None:
            self._opener.task.cancel()
        self._retire_idle()
        limit = self.options.close_timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(None if limit == math.inf else limit):
                while self._all or self._keeper.tasks or self._opener.task is not None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            if limit > 0:  # with 0, nobody asked to wait
                _logger.warning("%r is not drained after %g s; the rest is aborted", self, limit)
        finally:
            await self._abort_all()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _abort_all(self) -> None:
        for pooled in tuple(self._all):
            pooled.driver.abort()
            if pooled.state is _LEASED:
                # Its caller gives it back some time after its error: that release does nothing.
                self._drop(pooled)
        pending: set[asyncio.Task[Any]] = {*self._keeper.tasks}
        if self._opener.task is not None:
            pending.add(self._opener.task)
        for task in pending:
            task.cancel()
        self._closed = True
        self.sweeper.unwatch(self)
        if self._owns_sweeper:
            self.sweeper.stop()
        if pending:
            await asyncio.wait(pending, timeout=_ABORT_LIMIT)
            await asyncio.sleep(0)  # their done callbacks put the gauges right

    # -- leasing ---------------------------------------------------------------------------

    def try_acquire(self, now: float) -> Pooled | None:
        """Lease an idle connection that needs no check, unless somebody waits already.

        Args:
            now: ``loop.time()``.

        Returns:
            None when the caller has to go through :meth:`acquire`.
        """
        idle = self._idle
        if not idle or self._waiters:
            return None
        pooled = idle.pop()
        if now < pooled.fresh_until and not pooled.driver.is_closed:
            pooled.leased_at = now
            pooled.state = _LEASED
            self._leases += 1
            return pooled
        return self._look_closer(pooled, now)

    async def acquire(self, deadline: float | None = None) -> Pooled:
        """Lease a connection, in the order of the calls.

        Args:
            deadline: Absolute ``loop.time()``. The caller's own deadline and
                ``acquire_timeout`` hold besides; the earliest counts.

        Raises:
            PoolTimeout: The deadline passed; caused by the last failed connect, if one failed.
            AuthenticationFailed: Likewise, where that is why no connection can be opened.
            FailoverTimeout: Likewise, while there is nobody to connect to.
            PoolExhausted: As many callers wait as ``max_waiting`` allows.
            PoolClosed: The pool is not open.
            ConnectionFailed: There is no connection, and none can be opened before somebody
                changes something: ``AuthenticationFailed``, ``TlsError``, ….
        """
        loop = self._loop
        if loop is None or self._closing:
            state = "not open yet" if loop is None else "closed"
            raise PoolClosed(f"pool {self.name!r} is {state}")
        now = loop.time()
        pooled = self.try_acquire(now)
        if pooled is not None:
            return pooled
        waiter = self._enqueue(loop, now, deadline)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            handed_over = self._queue.abandon(waiter)
            if handed_over is not None:
                self.release(handed_over)
            raise
        finally:
            self._wait_seconds += loop.time() - now

    def release(self, pooled: Pooled) -> None:
        """Give a connection back. Never raises, and never waits for the server.

        Clean, it goes to the first caller that waits, or becomes idle. What has to be settled,
        rolled back, reset or closed is, by a task of the pool.
        """
        try:
            if (
                pooled.state is _LEASED
                and pooled.task is None
                and not pooled.timed_out
                and not pooled.dirty
                and not self._waiters
                and pooled.generation == self._generation
                and pooled.driver.is_ready
            ):
                pooled.state = _IDLE
                self._idle.append(pooled)
                return
            self._release_slowly(pooled)
        except Exception:
            _logger.exception("pool %r: giving back a connection failed; it is aborted", self.name)
            pooled.driver.abort()
            self._lost(pooled)

    def evict(self) -> None:
        """Replace all connections: what they are connected to is no longer what is wanted.

        Idle ones are closed now, in the background, leased ones when they are released, and
        ones that are being opened when the connect is through.
        """
        self._generation += 1
        self._opener.renew(self._generation)
        self._retire_idle()
        self._feed()

    def rename(self, name: str) -> None:
        """Take the name of another instance, for messages."""
        self.name = self._keeper.name = self._opener.name = name

    def sever(self, error: AuroraError | None = None) -> None:
        """Abort all connections: what they are connected to does not answer, or is not wanted.

        Those who wait for an answer get ``ConnectionLost``; those who wait for a connection go on
        waiting, or get ``error`` where they can go elsewhere.

        Args:
            error: Why nothing can be connected to for now; None where it can be.
        """
        self.evict()
        for pooled in tuple(self._all):
            pooled.driver.abort()
        if error is not None:
            self._opener.fail(error)

    # -- the slow paths of a lease ---------------------------------------------------------

    def _look_closer(self, pooled: Pooled | None, now: float) -> Pooled | None:
        """Decide on an idle connection, off the stack already, that is not fresh."""
        while pooled is not None:
            if pooled.driver.is_closed:
                self._drop(pooled)
                self._grow()
            elif pooled.expires_at <= now:
                self._keeper.close(pooled)
            elif now < pooled.leased_at + self._check_after:
                self._refresh(pooled, pooled.leased_at)
                self._lease(pooled, now)
                return pooled
            else:
                self._idle.append(pooled)
                return None
            pooled = self._idle.pop() if self._idle else None
        return None

    def _enqueue(
        self, loop: asyncio.AbstractEventLoop, now: float, deadline: float | None
    ) -> Waiter:
        error = self._opener.last_error
        if error is not None and now < self._opener.retry_at and self._is_hopeless(error):
            # The opener pauses. A new caller must neither hammer the server nor wait for what
            # cannot come.
            raise _decide.copy_error(error)
        if not _decide.room_for_waiter(
            waiting=len(self._waiters),
            in_use=self._in_use,
            max_size=self.options.max_size,
            max_waiting=self.options.max_waiting,
        ):
            self._rejected += 1
            raise PoolExhausted(
                f"pool {self.name!r}: {len(self._waiters)} callers wait already"
                f" (max_waiting = {self.options.max_waiting}, {self._in_use} of"
                f" {self.options.max_size} in use); shed load, or raise max_pool_size or"
                " max_waiting"
            )
        limit = now + self.options.acquire_timeout
        for other in (deadline, current_deadline()):
            if other is not None and other < limit:
                limit = other
        waiter = self._queue.join(loop, deadline=limit, now=now)
        self._feed()
        self.sweeper.due(limit)
        return waiter

    def _release_slowly(self, pooled: Pooled) -> None:
        if pooled.state is State.GONE:  # aborted when the pool was closed
            return
        if pooled.state is not _LEASED:
            _logger.error("pool %r: %r was given back twice; ignored", self.name, pooled)
            return
        driver = pooled.driver
        pooled.disarm()
        loop = self._running_loop()
        if not loop.is_running():  # no task could be started: a generator collected late
            driver.abort()
            self._drop(pooled)
        elif driver.is_closed:
            if pooled.generation == self._generation:
                self._troubled()
            self._lost(pooled)
        elif pooled.generation != self._generation:
            if pooled.retired:
                self._troubled()
            self._keeper.close(pooled)
        elif not driver.is_ready or pooled.dirty:
            if driver.is_settled and driver.in_transaction:
                _logger.warning(
                    "pool %r: a connection was given back inside an open transaction, which is"
                    " rolled back; given back at %s",
                    *(self.name, _upkeep.caller_hint()),
                )
            self._keeper.clean(pooled)
        else:
            self._hand_on(pooled, loop.time())

    # -- moving connections ----------------------------------------------------------------

    def _hand_on(self, pooled: Pooled, now: float) -> None:
        """Give a clean connection to the first waiter, or make it idle."""
        if pooled.expires_at <= now:
            self._keeper.close(pooled)
            return
        waiter = self._queue.first()
        if waiter is not None:
            self._lease(pooled, now)
            self._waited += 1
            waiter.future.set_result(pooled)
            return
        pooled.state = _IDLE
        self._idle.append(pooled)

    def _returned(self, pooled: Pooled) -> None:
        """A connection is new, checked or clean: hand it on if it still is wanted."""
        now = self._running_loop().time()
        pooled.leased_at = now
        self._refresh(pooled, now)
        if pooled.driver.is_closed:
            self._lost(pooled)
        elif pooled.generation != self._generation:
            self._keeper.close(pooled)
        else:
            self._hand_on(pooled, now)

    def _lost(self, pooled: Pooled) -> None:
        """A connection is closed: forget it, and replace it if it is missed."""
        self._drop(pooled)
        self._feed()

    def _lease(self, pooled: Pooled, now: float) -> None:
        pooled.leased_at = now
        pooled.state = _LEASED
        self._leases += 1

    def _refresh(self, pooled: Pooled, seen: float) -> None:
        pooled.fresh_until = min(seen + self._check_after, pooled.expires_at)

    def _drop(self, pooled: Pooled) -> None:
        """Forget a connection that is closed."""
        if self._all.pop(pooled, self) is None:
            pooled.state = State.GONE
            self._closed_count += 1
            self._changed.set()

    def _retire_idle(self) -> None:
        idle, self._idle = self._idle, []
        for pooled in idle:
            self._keeper.close(pooled)

    # -- growing ---------------------------------------------------------------------------

    def _feed(self) -> None:
        """Find connections for those who wait: idle ones that want a check first, then new ones."""
        if self._closing or self._loop is None:
            return
        now = self._loop.time()
        while self._idle and len(self._waiters) > len(self._keeper.coming):
            pooled = self._idle.pop()
            if pooled.driver.is_closed:
                self._drop(pooled)
            elif pooled.expires_at <= now:
                self._keeper.close(pooled)
            elif now < pooled.leased_at + self._check_after:
                self._hand_on(pooled, now)
            else:
                self._keeper.check(pooled)
        self._grow()

    def _doubt(self) -> None:
        """An answer is late: where one peer is gone, all may be, and nobody should wait for each.

        Every idle connection that is not fresh is checked now, side by side.
        """
        if self._waiters and not self._closing:
            now = self._running_loop().time()
            idle, self._idle = self._idle, []
            for pooled in idle:
                if now < pooled.leased_at + self._check_after:
                    self._idle.append(pooled)
                else:
                    self._keeper.check(pooled)
        self._feed()

    def _wants_more(self) -> bool:
        return _decide.wants_more(
            size=len(self._all) + self._opener.opening,
            min_size=self.options.min_size,
            max_size=self.options.max_size,
            waiting=len(self._waiters),
            coming=len(self._keeper.coming),
            closing=self._closing,
        )

    def _grow(self) -> None:
        if self._loop is not None:
            self._opener.run(self._loop)

    def _add(self, driver: DriverConnection, generation: int) -> None:
        """Take a new connection from the opener."""
        options = self.options
        now = self._running_loop().time()
        self._opened += 1
        lifetime = options.max_lifetime * (1 - options.lifetime_jitter * self._chance())
        pooled = Pooled(
            driver,
            generation=generation,
            now=now,
            expires_at=now + lifetime,
            read_only=options.read_only,
        )
        self._all[pooled] = None
        self._upkeep_at = min(self._upkeep_at, now + min(lifetime, options.idle_timeout))
        self.sweeper.due(self._upkeep_at)
        self._returned(pooled)

    def _connect_failed(self, error: Exception | None) -> None:
        """The opener failed; or, with None, it has ended."""
        if error is None:
            self._changed.set()
            return
        self._troubled()
        if self._is_hopeless(error):
            self._queue.fail_all(partial(_decide.copy_error, error))

    def _is_hopeless(self, error: Exception) -> bool:
        """No connection can be opened, and there is none that somebody could give back."""
        worth_waiting = self.options.patient and _decide.may_heal(error)
        return not worth_waiting and all(
            p.state is State.CLOSING or p.driver.is_closed for p in self._all
        )

    # -- deadlines and upkeep --------------------------------------------------------------

    def sweep(self, now: float) -> float:
        """Enforce the deadlines of waiting and of running calls, trim and renew the idle.

        Called by the sweeper.

        Args:
            now: ``loop.time()``.

        Returns:
            When to call again.
        """
        nearest = self._queue.expire(now, partial(self._timeout, now))
        for pooled in self._all:
            if pooled.task is not None:
                nearest = min(nearest, pooled.enforce(pooled.task, now, self.options.cancel_grace))
        if self._upkeep_at <= now:
            self._upkeep_at = self._keep_house(now)
        return min(nearest, self._upkeep_at)

    def _timeout(self, now: float, waiter: Waiter) -> Exception:
        cause = self._opener.last_error
        waited = now - waiter.since
        error: PoolTimeout | FailoverTimeout
        if cause is not None and not _decide.may_heal(cause):
            # Those who hold connections go on with them; there will be no others.
            refusal = _decide.copy_error(cause)
            refusal.add_note(_decide.full_text(self.name, waited, self.stats(), None))
            return refusal
        if self.absent is not None:
            error = FailoverTimeout(f"{self.absent}, and none was found within {waited:.3g} s")
        else:
            error = PoolTimeout(_decide.full_text(self.name, waited, self.stats(), cause))
        error.__cause__ = cause
        return error

    def _keep_house(self, now: float) -> float:
        """Close idle connections that are too old or too many; return when to look again."""
        leaving, following = _decide.upkeep(self._all, self._idle, self.options, now)
        for pooled in leaving:
            self._idle.remove(pooled)
            self._keeper.close(pooled)
        return following
