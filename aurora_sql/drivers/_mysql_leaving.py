"""Bringing a MySQL session to rest after a caller has left its command."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aurora_sql.drivers import _mysql_kill as kill
from aurora_sql.drivers import _mysql_protocol as p
from aurora_sql.drivers._mysql_answers import Answer, Prepared

if TYPE_CHECKING:
    from aurora_sql.drivers._mysql_kill import Killer
    from aurora_sql.drivers._mysql_transaction import Transaction
    from aurora_sql.drivers._mysql_wire import Wire


class Leaving:
    """Sees off commands whose callers are gone, in a task that nobody cancels.

    Args:
        wire: The session's socket.
        transaction: The books of the session's transaction.
        killer: Stops what can be stopped.

    Attributes:
        task: At work, None while the session is at rest.
        cleanup: SQL to be run before the session is used again.
        several: The session takes several statements in one command, which must end.
    """

    __slots__ = ("_killer", "_transaction", "_wire", "cleanup", "several", "task")

    def __init__(self, wire: Wire, transaction: Transaction, killer: Killer) -> None:
        self._wire = wire
        self._transaction = transaction
        self._killer = killer
        self.task: asyncio.Task[None] | None = None
        self.cleanup: list[str] = []
        self.several = False

    def leave(self, answer: Answer | None, *, stoppable: bool) -> None:
        """See a command off whose caller is gone; :meth:`settle` waits for it.

        Args:
            answer: Its answer; None if only the cleaning up is left.
            stoppable: It may be stopped by KILL QUERY.
        """
        wire = self._wire
        if isinstance(answer, Prepared) and answer.done and answer.number is not None:
            wire.post(p.close_statement(answer.number))
        if wire.lost is not None or self.task is not None:
            return
        nothing = answer is None or (answer.done and not self._transaction.unsure)
        if nothing and not self.cleanup and not self.several:
            return
        left = None if answer is None or answer.done else answer
        task = self.task = asyncio.get_running_loop().create_task(self._see_off(left, stoppable))
        task.add_done_callback(self._seen_off)

    async def settle(self, timeout: float) -> bool:  # noqa: ASYNC109 - gives up, does not raise
        """Wait until the session is at rest, for some seconds at most; whether it can be used."""
        if self.task is not None:
            await asyncio.wait((self.task,), timeout=timeout)
        return self.task is None and self._wire.lost is None

    def cancel(self) -> None:
        """Give up: the connection is closed."""
        if self.task is not None:
            self.task.cancel()

    def _seen_off(self, task: asyncio.Task[None]) -> None:
        failed = task.cancelled() or task.exception() is not None
        self.task = None
        if failed:
            self._wire.abort()

    async def _see_off(self, answer: Answer | None, stoppable: bool) -> None:
        wire, transaction = self._wire, self._transaction
        killed = False
        if answer is not None:
            # It may have come by now: this task starts a turn later.
            if stoppable and not answer.done:
                killed = await self._killer.kill(answer)
            await wire.idle()
            transaction.note(answer, is_open=wire.in_transaction)
            if isinstance(answer, Prepared) and answer.number is not None:
                wire.post(p.close_statement(answer.number))
        if killed:
            await kill.absorb(self._run)
        if transaction.unsure:
            await self._run(p.command(p.PING))
            transaction.learned(is_open=wire.in_transaction)
        if self.several:
            await self._run(p.multi_statements(on=False))
            self.several = False
        while self.cleanup:
            await self._run(p.query(self.cleanup.pop(0)))

    async def _run(self, packet: bytes) -> p.Err | None:
        """Run a command of the task; its error."""
        answer = Answer()
        await self._wire.send(packet, answer)
        return answer.error
