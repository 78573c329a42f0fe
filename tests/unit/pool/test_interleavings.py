"""All orders in which things can happen to a small pool.

A world is a pool of one or two connections on the fake server, with every await of the driver
held until a move frees it. A move is one thing that a caller, the server, the clock or an
operator does, or one step of the loop; between two moves without a step nothing else runs, so
that a cancellation can meet a hand-over in the same iteration. After every move the books must
balance; after the last one everything is freed, everyone who waits must be served, and the pool
must close with nothing left.

Every sequence up to some length is tried, then long random ones.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurora_sql.errors import AuthenticationFailed, ConnectionFailed, PoolError

HELD = ("connect", "ping", "reset", "settle", "rollback", "close")


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """Thousands of games fail on purpose; what is logged is tested elsewhere."""
    caplog.set_level(logging.CRITICAL, "aurora_sql.pool")


class World:
    """A pool with its callers, and the moves that are possible in it."""

    def __init__(self, lab, **options):
        self.lab = lab
        self.server = lab.server
        self.server.hold(*HELD)
        self.pool = lab.pool(**{"acquire_timeout": 50.0, "check_after": 10.0} | options)
        self.waiting = {}
        self.leased = {}
        self.closing = None
        self.served = 0

    async def caller(self, number):
        pooled = await self.pool.acquire()
        # No await in between: a cancellation finds the task done, or the lease not yet taken.
        self.leased[number] = pooled
        self.served += 1

    def call(self, number):
        if number not in self.leased and number not in self.waiting:
            task = asyncio.get_running_loop().create_task(self.caller(number))
            self.waiting[number] = task
            task.add_done_callback(lambda done: self.ended(number, done))

    def ended(self, number, task):
        del self.waiting[number]
        if not task.cancelled() and task.exception() is not None:
            assert isinstance(task.exception(), PoolError | ConnectionFailed), task.exception()

    def cancel(self, number):
        if number in self.waiting:
            self.waiting[number].cancel()

    def give(self, number, how):
        pooled = self.leased.pop(number, None)
        if pooled is None:
            return
        driver = pooled.driver
        if how == "dirty":
            pooled.dirty = driver.touched = True
        elif how == "transaction":
            driver.transaction = True
        elif how == "unsettled":
            driver.settled = False
        elif how == "broken":
            driver.closed = True
        self.pool.release(pooled)

    def server_does(self, name, error):
        if self.server.is_held(name):
            self.server.free(name, error)

    def work(self, error=None):
        """The longest-held call that is not a connect goes on."""
        for name in HELD[1:]:
            if self.server.is_held(name):
                self.server.free(name, error)
                return

    def break_idle(self):
        if self.pool._idle:
            self.pool._idle[0].driver.closed = True

    def evict(self):
        self.pool.evict()

    def close(self):
        if self.closing is None:
            self.closing = asyncio.get_running_loop().create_task(self.pool.close(5.0))

    async def pass_time(self, seconds):
        asyncio.get_running_loop().pass_time(seconds)
        await asyncio.sleep(0)

    async def move(self, move):
        name, *arguments = move
        if name == "step":
            await asyncio.sleep(0)
        elif name == "time":
            await self.pass_time(*arguments)
        else:
            getattr(self, name)(*arguments)
        self.check()

    def check(self):
        self.lab.check_books(self.pool, self.server)
        leased = list(self.leased.values())
        assert len(set(leased)) == len(leased), "one connection was leased to two callers"
        for pooled in leased:
            assert pooled.generation <= self.pool.stats().generation

    async def run(self, moves):
        await self.pool.open()
        for move in moves:
            await self.move(move)
        await self.finish()

    async def finish(self):
        """Nothing holds any more: whoever still waits gets a connection, and all of it ends."""
        self.server.free_all()
        for number in list(self.leased):
            self.give(number, "clean")
        for _ in range(200):
            await asyncio.sleep(0.05)
            self.check()
            for number in list(self.leased):
                self.give(number, "clean")
            if not self.waiting and self.pool.stats().returning == 0:
                break
        assert not self.waiting, f"a caller was forgotten: {self.pool}"
        if self.closing is None:
            stats = self.pool.stats()
            assert (stats.in_use, stats.waiting, stats.returning) == (0, 0, 0), self.pool
            for pooled in self.pool._all:
                driver = pooled.driver
                assert not driver.touched, "a session was leased on with what a caller left in it"
                assert not driver.transaction
                assert pooled.generation == stats.generation
            self.close()
        await self.closing
        self.lab.check_closed(self.pool)
        strays = asyncio.all_tasks() - {asyncio.current_task()}
        assert not strays, strays


STEP = ("step",)
UP = ("server_does", "connect", None)
DOWN = ("server_does", "connect", ConnectionFailed("refused"))
WRONG = ("server_does", "connect", AuthenticationFailed("wrong password"))

# The moves that can meet around a hand-over; small enough to try every order of them.
CORE = (
    STEP,
    ("call", 0),
    ("call", 1),
    ("cancel", 0),
    ("cancel", 1),
    ("give", 0, "clean"),
    ("give", 1, "dirty"),
    UP,
    DOWN,
    ("work",),
    ("evict",),
    ("close",),
)

ALL = (
    STEP,
    *(("call", number) for number in range(3)),
    *(("cancel", number) for number in range(3)),
    *(
        ("give", number, how)
        for number in range(3)
        for how in ("clean", "dirty", "transaction", "unsettled", "broken")
    ),
    UP,
    DOWN,
    WRONG,
    ("work",),
    ("work", ConnectionFailed("it broke")),
    ("break_idle",),
    ("evict",),
    ("close",),
    ("time", 0.2),
    ("time", 11.0),
    ("time", 60.0),
)


def play(lab_type, loop_type, games, **options):
    """Play games one after the other on one virtual loop."""
    with asyncio.Runner(loop_factory=loop_type) as runner:
        for moves in games:
            try:
                runner.run(World(lab_type(), **options).run(moves))
            except BaseException as error:
                error.add_note(f"moves: {moves}")
                error.add_note(f"options: {options}")
                raise


# What has happened before the sequence begins, to reach deeper than its length.
OPENINGS = {
    "empty": (),
    "one leased, one waiting": (
        *(("call", 0), STEP, STEP, UP, STEP, STEP, STEP),
        *(("call", 1), STEP),
    ),
}


@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("max_size", [1, 2])
def test_every_order_of_a_few_moves(lab, opening, max_size):
    games = (OPENINGS[opening] + moves for moves in itertools.product(CORE, repeat=3))
    play(type(lab), lab.VirtualLoop, games, max_size=max_size)


@pytest.mark.parametrize("release", ["clean", "dirty", "unsettled", "transaction", "broken"])
def test_every_order_around_a_hand_over(lab, release):
    """Five things, each once, in every order, with and without a step between the first four."""
    opening = OPENINGS["one leased, one waiting"]
    moves = (("give", 0, release), ("cancel", 1), ("call", 2), ("evict",), ("work",))
    games = (
        opening + tuple(itertools.chain.from_iterable(zip(order, steps, strict=True)))
        for order in itertools.permutations(moves)
        for first in itertools.product((STEP, ("check",)), repeat=3)
        for steps in [(*first, STEP, STEP)]
    )
    play(type(lab), lab.VirtualLoop, games, max_size=1)


@pytest.mark.parametrize("max_size", [1, 2, 3])
@pytest.mark.parametrize("min_size", [0, 1])
@pytest.mark.parametrize("seed", range(2))
def test_long_random_games(lab, max_size, min_size, seed):
    rng = random.Random(f"{max_size} {min_size} {seed}")
    # Closing ends a game: rare, or few games would get far.
    weights = [0.2 if move[0] == "close" else 6 if move == STEP else 1 for move in ALL]
    games = [rng.choices(ALL, weights, k=60) for _ in range(40)]
    play(
        type(lab),
        lab.VirtualLoop,
        games,
        max_size=max_size,
        min_size=min_size,
        max_lifetime=rng.choice([30.0, math.inf]),
        idle_timeout=15.0,
        max_waiting=rng.choice([0, 1, 100]),
    )


@given(st.lists(st.sampled_from(ALL), max_size=40), st.integers(1, 2), st.integers(0, 1))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # only the log level
)
def test_games_that_shrink(make_lab, moves, max_size, min_size):
    lab = make_lab()
    play(
        type(lab), lab.VirtualLoop, [moves], max_size=max_size, min_size=min_size, idle_timeout=15.0
    )
