"""How far servers are: asked of the writer after a write, and of readers before they are believed.

One of these serves all sessions of an open Aurora. The writer is asked for its position once for
all sessions that want to know at the moment; what a reader is known to have replayed is kept, so
that most reads of a session need no question.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from aurora_sql.cluster import (
    NO_CLUSTER,
    Position,
    Replica,
    Signer,
    of_another_cluster,
)
from aurora_sql.errors import AuroraError
from aurora_sql.execution import Watch, call_limit
from aurora_sql.session._questions_mysql import MysqlQuestions
from aurora_sql.session._questions_postgresql import PostgresQuestions
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.cluster import Cluster
    from aurora_sql.drivers import PreparedStatement
    from aurora_sql.execution import Context
    from aurora_sql.pool import Pool, Pooled
    from aurora_sql.session._questions import Questions


_OVERTAKE = 0.05
"""Seconds that the writer is given to show what a reader showed before it."""
_ANSWER = 1.0
"""Seconds that the question about it may take."""
_OVERTAKE_PAUSE = 0.001
"""Seconds between two looks whether it does."""


def questions(engine: Engine) -> Questions:
    """Return what is asked of the servers of an engine."""
    return MysqlQuestions() if engine is Engine.MYSQL else PostgresQuestions()


class _Link:
    """What is known of the server behind one connection."""

    __slots__ = ("prepared", "replica", "usable")

    def __init__(self) -> None:
        self.prepared: dict[str, PreparedStatement] = {}
        self.replica: Replica | None = None
        self.usable = True


class Consistency:
    """Positions of the servers of one open database.

    Args:
        context: For running statements.
        cluster: The pools.
        signer: Makes and reads tokens.

    Attributes:
        cluster_id: Identifier of the cluster; ``NO_CLUSTER`` until a server was asked.
        signer: The same.
        patience: Loop time from which it is worth waiting for the readers of a pool again.
    """

    def __init__(self, context: Context, cluster: Cluster, signer: Signer) -> None:
        self.cluster_id = NO_CLUSTER
        self.signer = signer
        self.patience: WeakKeyDictionary[Pool, float] = WeakKeyDictionary()
        self._context = context
        self._writer_pool = cluster.writer_pool
        self._questions = questions(cluster.engine)
        self._scale = self._questions.scale
        # Transactions that have been at work for long.
        self._long: set[tuple[int, str]] = set()
        # By what the pool forgets, not by the driver's connection: the prepared statements in the
        # values refer to that, and would keep it for good.
        self._links: WeakKeyDictionary[Pooled, _Link] = WeakKeyDictionary()
        self._replicas: WeakValueDictionary[bytes, Replica] = WeakValueDictionary()
        self._asking = asyncio.Lock()
        self._sent = self._answered = 0
        self._position: Position | None = None

    async def position(self, limit: float) -> Position | None:
        """Return a position of the writer that was asked for after this call began.

        Callers share one question: those that come while it is under way wait for its end and
        share the next, since it may have been answered before they wrote.

        Args:
            limit: Loop time to wait until.

        Returns:
            None where nobody could tell.
        """
        wanted = self._sent + 1
        try:
            async with asyncio.timeout_at(None if limit == math.inf else limit):
                await self._asking.acquire()
        except TimeoutError:
            return None
        try:
            if self._answered < wanted:
                self._sent = number = self._sent + 1
                self._position = await self._ask_writer(limit)
                if self._position is None and self._context.loop.time() >= limit:
                    return None  # one caller ran out of time: the next may ask again
                # A failure is shared too: each caller in turn would only wait for it again.
                self._answered = number
            return self._position
        finally:
            self._asking.release()

    async def _ask_writer(self, limit: float) -> Position | None:
        try:
            pooled = await self._writer_pool.acquire(limit)
        except AuroraError:
            return None
        try:
            await self._identify(pooled, limit)
            return await self._questions.position(partial(self._ask, pooled, limit))
        except AuroraError:
            return None
        finally:
            self._writer_pool.release(pooled)

    async def check(self, cluster_id: bytes) -> None:
        """Make sure that a token is of this cluster.

        Raises:
            ParameterError: It is of another one.
            AuroraError: No server could be asked who we are.
        """
        if cluster_id == NO_CLUSTER:
            return
        if self.cluster_id == NO_CLUSTER:
            limit = call_limit(self._context, None)
            pooled = await self._writer_pool.acquire(limit)
            try:
                await self._identify(pooled, limit)
            finally:
                self._writer_pool.release(pooled)
        if cluster_id != self.cluster_id:
            raise of_another_cluster()

    def replica(self, pooled: Pooled) -> Replica | None:
        """Return the reader behind a connection, None where it was not asked yet."""
        link = self._links.get(pooled)
        return None if link is None else link.replica

    def met(self, server: bytes) -> str | None:
        """Return the name of the pool through which a reader was met last."""
        replica = self._replicas.get(server)
        return None if replica is None else replica.pool

    async def look(self, pool: Pool, pooled: Pooled, limit: float) -> Replica | None:
        """Ask the reader behind a leased connection of a pool how far it is.

        Returns:
            None where it is no reader, or does not tell.

        Raises:
            AuroraError: The connection broke, or the time is up.
        """
        link = self._link(pooled)
        if not link.usable:
            return None
        await self._identify(pooled, limit)
        questions = self._questions
        answer = await questions.progress(partial(self._ask, pooled, limit))
        if answer is None:
            # Nor will it be while this connection lives: a promoted reader stays the writer.
            link.usable = False
            if link.replica is not None:
                pooled.retire()  # by now its address may lead to a reader again
            link.replica = None
            return None
        if questions.scale != self._scale:
            self._scale = questions.scale
            for each in self._replicas.values():
                each.replayed = None
        replica = self._replicas.get(answer.server)
        if replica is None:
            replica = self._replicas[answer.server] = Replica(answer.server)
        replica.pool = pool.name
        replica.learn(answer.progress, side_by_side=questions.side_by_side)
        link.replica = replica
        return replica

    async def overtake(self, pooled: Pooled) -> None:
        """Wait until the writer shows what a reader may have shown before it.

        Bounded: what runs for longer is taken for a long statement, and not waited for again.

        Args:
            pooled: A leased connection of the writer.
        """
        time = self._context.loop.time
        until = time() + _OVERTAKE
        with suppress(AuroraError):  # the statement that follows tells what is wrong
            ask = partial(self._ask, pooled, until + _ANSWER)
            left = await self._questions.committing(ask) - self._long
            while left:
                if time() >= until:
                    self._long |= left
                    return
                await asyncio.sleep(_OVERTAKE_PAUSE)
                running = await self._questions.committing(ask)
                self._long &= running
                left &= running

    async def _identify(self, pooled: Pooled, limit: float) -> None:
        """Find out, once, which cluster this is; all its servers say the same."""
        if self.cluster_id == NO_CLUSTER:
            self.cluster_id = await self._questions.cluster(partial(self._ask, pooled, limit))

    def _link(self, pooled: Pooled) -> _Link:
        link = self._links.get(pooled)
        if link is None:
            link = self._links[pooled] = _Link()
        return link

    async def _ask(self, pooled: Pooled, limit: float, sql: str) -> Sequence[Any]:
        prepared = self._link(pooled).prepared
        try:
            with Watch(self._context, pooled, limit, what="a position", write_sent=False):
                question = prepared.get(sql)
                if question is None:
                    question = prepared[sql] = await pooled.driver.prepare(sql)
                return await question.fetch(())
        except BaseException:
            # The next one prepares it anew; what was prepared and has not run left a transaction.
            prepared.pop(sql, None)
            pooled.dirty = True
            raise
