"""Stopping a MySQL statement from a second session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aurora_sql.drivers import _mysql_protocol as p
from aurora_sql.drivers import _mysql_session as session_sql
from aurora_sql.drivers._mysql_answers import Answer, TextRows
from aurora_sql.errors import AuroraError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aurora_sql.drivers._mysql_wire import Session

# Seconds that stopping a statement from a second session may take.
_TIMEOUT: Final = 5.0
_KILLED: Final = 1317
# What a late KILL QUERY may hit instead of somebody's statement.
_SACRIFICE: Final = "DO 0"
_SACRIFICES: Final = 4


class Killer:
    """Stops the statements of one session.

    Args:
        open_beside: Opens a second session at the same server.

    Attributes:
        identity: The server, as it names itself.
        number: The server's number for the session.
    """

    __slots__ = ("_open_beside", "identity", "number")

    def __init__(self, open_beside: Callable[[], Awaitable[Session]], number: int) -> None:
        self._open_beside = open_beside
        self.identity = ""
        self.number = number

    async def kill(self, answer: Answer) -> bool:
        """Stop the statement under way; whether a KILL was sent.

        Where that cannot be done the statement's own end is to be waited for.

        Args:
            answer: What the statement is waiting for.

        Raises:
            ConnectionError: A KILL was sent, and may still come.
        """
        sent = False
        other: Session | None = None
        try:
            async with asyncio.timeout(_TIMEOUT):
                other = await self._open_beside()
                rows = TextRows(extended=other.extended)
                await other.wire.send(p.query(session_sql.IDENTITY), rows)
                # Another server behind the same address would have another session of this number.
                if [(self.identity,)] == rows.rows and not answer.done:
                    sent = True
                    await other.wire.send(p.query(f"KILL QUERY {self.number}"), Answer())
        except (TimeoutError, OSError, AuroraError) as exc:
            if sent:
                # It may come at any time, and hit whatever runs then.
                raise ConnectionError("KILL QUERY was not answered") from exc
        finally:
            if other is not None:
                other.wire.post(p.command(p.QUIT))
                other.wire.abort()
        return sent


async def absorb(run: Callable[[bytes], Awaitable[p.Err | None]]) -> None:
    """Let a KILL QUERY that came too late hit nothing of anybody's.

    The server has set its mark before it answers the KILL, which has been waited for; a mark
    that no statement has met is met or cleared by the next one.

    Args:
        run: Runs a command of the session that was to be stopped, and returns its error.

    Raises:
        ConnectionError: The session does not come to rest.
    """
    for _ in range(_SACRIFICES):
        error = await run(p.query(_SACRIFICE))
        if error is None:
            return
        if error.code != _KILLED:
            break
    raise ConnectionError("the session does not come to rest after KILL QUERY")
