"""A server and a driver that do exactly what a test says, on a clock that a test moves.

Nothing here waits for real time. When every task waits and no timer is set, the loop says so
instead of hanging: a lost wake-up fails a test at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
from collections import Counter, defaultdict, deque

import pytest

from aurora_sql.drivers.base import DriverConnection
from aurora_sql.errors import ConnectionLost
from aurora_sql.pool import Pool, PoolOptions, State


class Deadlock(BaseException):
    """Every task waits and nothing is scheduled."""


class _VirtualSelector(selectors.DefaultSelector):
    def __init__(self):
        super().__init__()
        self.now = 1000.0

    def select(self, timeout=None):
        events = super().select(0)
        if not events:
            if timeout is None:
                raise Deadlock("every task waits and nothing is scheduled")
            self.now += max(timeout, 0.0)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer as soon as nothing else is to be done."""

    def __init__(self):
        self._virtual = _VirtualSelector()
        self.trouble = []
        super().__init__(self._virtual)

    def time(self):
        return self._virtual.now

    def call_exception_handler(self, context):
        """Nobody reads a log: what a callback raises, or a future never tells, fails the test."""
        self.trouble.append(context)
        super().call_exception_handler(context)

    def pass_time(self, seconds):
        """Move the clock with no task having a say."""
        self._virtual.now += seconds


class FakeServer:
    """The far side: every await of every driver goes through :meth:`reach`."""

    def __init__(self):
        self.calls = []
        self.drivers = []
        self.holding = set()
        self.failing = defaultdict(deque)
        self.held = defaultdict(list)
        self.most = 0
        self.connecting = 0

    @property
    def open(self):
        return [driver for driver in self.drivers if not driver.is_closed]

    def count(self, name):
        return sum(call == name for call, _ in self.calls)

    def hold(self, *names):
        """From now on calls of these names wait until the test frees them."""
        self.holding.update(names)

    def fail(self, name, *errors):
        """The next calls of this name fail with these errors; None lets one through."""
        self.failing[name].extend(errors)

    def free(self, name, error=None):
        """Let the longest-held call of this name go on, or fail."""
        gate, _ = self.held[name].pop(0)
        if gate.done():  # cancelled; its task has not run since
            return
        if error is None:
            gate.set_result(None)
        else:
            gate.set_exception(error)

    def free_all(self):
        self.holding.clear()
        for name in list(self.held):
            while self.held[name]:
                self.free(name)

    def is_held(self, name):
        return bool(self.held[name])

    async def reach(self, name, driver=None):
        self.calls.append((name, driver))
        if name in self.holding:
            gate = asyncio.get_running_loop().create_future()
            entry = (gate, driver)
            self.held[name].append(entry)
            try:
                await gate
            finally:
                if entry in self.held[name]:
                    self.held[name].remove(entry)
        else:
            await asyncio.sleep(0)
        if self.failing[name]:
            error = self.failing[name].popleft()
            if error is not None:
                raise error

    async def connect(self):
        self.connecting += 1
        self._note()
        try:
            await self.reach("connect")
        finally:
            self.connecting -= 1
        driver = FakeDriver(self, len(self.drivers))
        self.drivers.append(driver)
        self._note()
        return driver

    def _note(self):
        self.most = max(self.most, self.connecting + len(self.open))

    def cut(self, driver):
        """Whatever waits on this connection learns that it is gone."""
        for entries in self.held.values():
            for entry in list(entries):
                gate, holder = entry
                if holder is driver and not gate.done():
                    entries.remove(entry)
                    gate.set_exception(ConnectionLost("aborted"))


class FakeDriver(DriverConnection):
    """One session that keeps the seam's promises and counts what is done to it."""

    __slots__ = (
        "aborts",
        "backend_id",
        "closed",
        "deaf",
        "server",
        "server_version",
        "settled",
        "touched",
        "transaction",
        "usable",
    )

    def __init__(self, server, number):
        self.server = server
        self.backend_id = number
        self.server_version = (18, 6)
        self.aborts = 0
        self.closed = False
        self.deaf = False
        self.settled = True
        self.touched = False
        self.transaction = False
        self.usable = True

    @property
    def is_closed(self):
        return self.closed

    @property
    def in_transaction(self):
        return self.transaction

    @property
    def is_standby(self):
        return None

    @property
    def is_settled(self):
        return self.settled

    @property
    def commands_sent(self):
        return sum(driver is self for _, driver in self.server.calls)

    def row_class(self):
        raise NotImplementedError

    async def prepare(self, sql, rows=None):
        raise NotImplementedError

    async def execute(self, sql):
        """One statement. Cancelled, it stays on its way; deaf, it ignores the first cancel."""
        try:
            await self.server.reach("execute", self)
        except asyncio.CancelledError:
            self.settled = False
            if self.deaf:
                await self.server.reach("cancel request", self)
            raise
        return "SELECT 1"

    async def begin(self, begin=None):
        await self.server.reach("begin", self)
        self.transaction = True

    async def commit(self):
        await self.server.reach("commit", self)
        self.transaction = False

    async def rollback(self):
        await self.server.reach("rollback", self)
        self.transaction = False

    async def copy_in(self, table, columns, rows):
        raise NotImplementedError

    def copy_out(self, sql):
        raise NotImplementedError

    async def ping(self):
        await self.server.reach("ping", self)

    def hold_lock_timeout(self, seconds):
        raise NotImplementedError

    async def reset(self):
        await self.server.reach("reset", self)
        self.touched = False

    async def settle(self):
        await self.server.reach("settle", self)
        self.settled = True
        return self.usable

    async def close(self):
        await self.server.reach("close", self)
        self.closed = True

    def abort(self):
        self.aborts += 1
        self.closed = True
        self.server.cut(self)

    def __repr__(self):
        return f"<FakeDriver {self.backend_id}{' closed' if self.closed else ''}>"


def check_books(pool, server):
    """What must hold between any two steps of the loop."""
    stats = pool.stats()
    assert stats.size == stats.idle + stats.in_use + stats.opening + stats.returning, pool
    assert min(stats.idle, stats.in_use, stats.opening, stats.returning, stats.waiting) >= 0, pool
    assert stats.size <= stats.max_size, pool
    assert stats.opening <= 1, pool
    assert stats.opening == server.connecting or pool._closing, pool
    states = Counter(pooled.state for pooled in pool._all)
    assert states[State.IDLE] == stats.idle == len(set(pool._idle)), pool
    assert states[State.LEASED] == stats.in_use, pool
    assert states[State.RETURNING] + states[State.CLOSING] == stats.returning, pool
    assert states[State.GONE] == 0, pool
    assert all(pooled.state is State.IDLE for pooled in pool._idle), pool
    assert len(pool._keeper.coming) <= stats.returning, pool
    if stats.idle and not pool._closing:
        assert sum(not w.future.done() for w in pool._waiters) <= len(pool._keeper.coming), pool
    assert server.most <= stats.max_size, f"{server.most} sessions at once: {pool}"
    for gauge in ("idle", "opening", "returning", "waiting"):
        assert f"{gauge} {getattr(stats, gauge)}" in repr(pool)
    assert f"in use {stats.in_use}" in repr(pool)


class Lab:
    """What a test needs, under one name."""

    Deadlock = Deadlock
    FakeDriver = FakeDriver
    FakeServer = FakeServer
    VirtualLoop = VirtualLoop
    check_books = staticmethod(check_books)

    def __init__(self):
        self.server = FakeServer()

    def pool(self, **options):
        """A pool on the fake server; two connections at most, none kept, unless told otherwise."""
        settings = {"min_size": 0, "max_size": 2, "lifetime_jitter": 0.0} | options
        return Pool(self.server.connect, PoolOptions(**settings), name="w1", rng=random.Random(1))

    @contextlib.asynccontextmanager
    async def open(self, **options):
        """The same, opened; at the end it is closed and all books must balance."""
        pool = self.pool(**options)
        await pool.open()
        try:
            yield pool
            check_books(pool, self.server)
        finally:
            self.server.free_all()
            await pool.close(1.0)
        self.check_closed(pool)

    def check_closed(self, pool):
        stats = pool.stats()
        gauges = (stats.size, stats.idle, stats.in_use, stats.opening, stats.returning)
        assert gauges == (0, 0, 0, 0, 0), pool
        assert stats.waiting == 0, pool
        assert stats.opened == stats.closed, pool
        assert not self.server.open
        assert not pool._keeper.tasks
        assert not pool._keeper.coming
        assert pool._opener.task is None
        assert pool.sweeper._timer is None
        assert asyncio.get_running_loop().trouble == []

    async def ticks(self, number=20):
        """Let the loop run without the clock moving."""
        for _ in range(number):
            await asyncio.sleep(0)

    async def lease(self, pool, number):
        """That many leased connections."""
        return [await pool.acquire() for _ in range(number)]


def pytest_asyncio_loop_factories(config, item):
    return {"virtual": VirtualLoop}


@pytest.fixture
def lab():
    return Lab()


@pytest.fixture
def server(lab):
    return lab.server


@pytest.fixture(scope="session")
def make_lab():
    """For property tests, which need a new one for each example."""
    return Lab
