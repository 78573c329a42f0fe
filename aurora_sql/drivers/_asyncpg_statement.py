"""One prepared statement on one asyncpg connection: the hot path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aurora_sql.drivers import _asyncpg_types as types
from aurora_sql.drivers._source import Source
from aurora_sql.drivers.base import PreparedStatement
from aurora_sql.errors import ConfigurationError, ParameterError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from aurora_sql.drivers._asyncpg_connection import AsyncpgConnection
    from aurora_sql.drivers._asyncpg_private import StatementState
    from aurora_sql.drivers.base import Begin
    from aurora_sql.errors import AuroraError
    from aurora_sql.types import Column

# asyncpg's answer is the rows alone, or the rows, the command tag and whether it is complete.
_ROWS_ALONE: Final = False
_WITH_TAG: Final = True


class AsyncpgStatement(PreparedStatement):
    """A statement prepared on one connection.

    ``fetch`` and ``execute`` are one coroutine above asyncpg's own: the bound method is kept,
    nothing is guarded that the connection's owner guards already, no timer is made.
    """

    __slots__ = ("_bind_execute", "_connection", "_state", "_wire", "columns", "parameters")

    def __init__(self, connection: AsyncpgConnection, state: StatementState) -> None:
        self._connection = connection
        self._state = state
        self._wire = connection.wire
        self._bind_execute = connection.wire.bind_execute
        self.columns = types.columns_of(state)
        self.parameters = types.parameters_of(state)

    async def fetch(self, args: Sequence[Any], limit: int = 0) -> list[Any]:
        sent = self._wire.queries_count
        try:
            rows: list[Any] = await self._bind_execute(
                self._state, args, "", limit, _ROWS_ALONE, None
            )
        except Exception as exc:
            raise self._failure(exc, sent) from exc
        return rows

    async def execute(self, args: Sequence[Any]) -> int:
        sent = self._wire.queries_count
        try:
            answer = await self._bind_execute(self._state, args, "", 0, _WITH_TAG, None)
        except Exception as exc:
            raise self._failure(exc, sent) from exc
        return types.affected(answer[1])

    async def begin_and_fetch(self, begin: Begin, args: Sequence[Any], limit: int = 0) -> list[Any]:
        rows: list[Any] = await self._begin_and_run(begin, args, limit, _ROWS_ALONE)
        return rows

    async def begin_and_execute(self, begin: Begin, args: Sequence[Any]) -> int:
        answer = await self._begin_and_run(begin, args, 0, _WITH_TAG)
        return types.affected(answer[1])

    async def _begin_and_run(
        self, begin: Begin, args: Sequence[Any], limit: int, answer: bool
    ) -> Any:
        wire, connection = self._wire, self._connection
        sent = wire.queries_count
        new = connection.hold_begin(begin)
        try:
            answered = await self._bind_execute(self._state, args, "", limit, answer, None)
        except Exception as exc:
            # asyncpg refused the values, or the connection is closed: BEGIN was not sent either.
            connection.transport.drop()
            raise self._failure(exc, sent) from exc
        if new:
            connection.keep_begin(begin)
        return answered

    async def execute_many(self, sets: Iterable[Sequence[Any]]) -> None:
        await self._many(sets, return_rows=False)

    async def fetch_many(self, sets: Iterable[Sequence[Any]]) -> list[Any]:
        rows: list[Any] = await self._many(sets, return_rows=True)
        return rows

    async def _many(self, sets: Iterable[Sequence[Any]], *, return_rows: bool) -> Any:
        source = Source(sets)
        sent = self._wire.queries_count
        try:
            return await self._connection.beside(
                self._wire.bind_execute_many(self._state, source.flat(), "", None, return_rows),
                source,
            )
        except Exception as exc:
            if exc is source.error:
                raise
            raise self._failure(exc, sent) from exc
        finally:
            self._connection.transport.drop()  # what was to go in front of nothing

    async def stream(
        self,
        args: Sequence[Any],
        batch: int,
        told: Callable[[tuple[Column, ...]], object] | None = None,
    ) -> AsyncGenerator[list[Any], None]:
        connection, wire, state = self._connection, self._wire, self._state
        if batch < 1:
            raise ConfigurationError(f"the batch of a stream must be at least 1, not {batch}")
        if not connection.in_transaction:
            raise ConfigurationError(
                "a server-side cursor lives in a transaction: begin one before streaming"
            )
        portal = connection.next_portal()
        sent = wire.queries_count
        try:
            rows, _, completed = await self._bind_execute(
                state, args, portal, batch, _WITH_TAG, None
            )
        except Exception as exc:
            raise self._failure(exc, sent) from exc
        if told is not None:
            told(self.columns)
        try:
            while not completed:
                yield rows
                sent = wire.queries_count
                try:
                    rows, _, completed = await wire.execute(state, portal, batch, _WITH_TAG, None)
                except Exception as exc:
                    raise connection.failure(exc, sent) from exc
            if rows:
                yield rows
        finally:
            await connection.close_portal(portal)

    async def close(self) -> None:
        await self._connection.forget(self._state)

    def _failure(self, exc: Exception, sent_before: int) -> AuroraError:
        failure = self._connection.failure(exc, sent_before)
        if isinstance(failure, ParameterError) and failure.number is not None:
            kind = self.parameters[failure.number - 1].type_name
            failure.args = (f"{failure.message} (the server takes {kind})",)
        return failure

    def __repr__(self) -> str:
        text = " ".join(self._state.query.split())
        return f"<AsyncpgStatement {self._state.name} {text[:60]!r}>"
