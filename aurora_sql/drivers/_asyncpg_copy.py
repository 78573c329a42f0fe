"""COPY in and out on an asyncpg connection.

In: asyncpg encodes rows to the binary format in C, given the types of the columns. It learns
them from a prepared ``SELECT`` of the columns, which it keeps in its statement cache: after a
change of the table it would go on with the old types, and eight bytes of a bigint are eight
bytes of a timestamp. Here the types are kept per table and columns as well, and beside them a
guard: a prepared ``SELECT columns … WHERE false``, executed in the same round trip in front of
COPY, where the server refuses it if the types have changed.

Arrow record batches are encoded column by column, in ``_asyncpg_columns.py``, where there is an
encoder for each pair of an Arrow type and a type of the server; else row by row like others.

The statement that tells the types is ``SELECT columns … UNION ALL SELECT $1, $2 …``: its
placeholders have the types of the columns too, so that after a failure asyncpg's argument
encoder can tell which value of the row it was, without sending anything. As a guard it would
not do: a column made narrower is united with a placeholder of the old type, and the type of the
result stays what it was.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from aurora_sql import errors
from aurora_sql.drivers._asyncpg_errors import is_answer
from aurora_sql.drivers._asyncpg_types import columns_of, quote
from aurora_sql.drivers._columns import ColumnBatches
from aurora_sql.drivers._source import AsyncSource, Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence

    from aurora_sql.drivers._asyncpg_connection import AsyncpgConnection
    from aurora_sql.drivers._asyncpg_private import StatementState
    from aurora_sql.types import Column

# Prepared column types kept per connection; a service loads into few tables.
_KEPT = 32
# "COPY orders, line 3, column amount: …", from the server's context line.
_CONTEXT = re.compile(r"^COPY .*?, line (\d+)(?:, column ([^:]+))?", re.MULTILINE)
# Class of errors about values.
_VALUE_CLASS = "22"
_NO_ROWS: Final = False
_TURN: Final = 0.005
"""Seconds after which a COPY lets others have their turn."""
_LITTLE: Final = 16 * 1024
"""Bytes: at so many left transports let the writer go on (``set_write_buffer_limits``)."""


class CopyTarget:
    """A table and its columns, ready for COPY on one connection."""

    __slots__ = ("columns", "guard", "key", "names", "sql", "state")

    def __init__(
        self,
        key: tuple[tuple[str, ...], tuple[str, ...]],
        state: StatementState,
        guard: StatementState | None,
    ) -> None:
        self.key = key
        self.state = state
        self.guard = guard
        self.names = key[1]
        self.columns: tuple[Column, ...] = columns_of(state)
        copy = f"COPY {quote(key[0])} ({_list(key[1])}) FROM STDIN (FORMAT binary)"
        self.sql = copy if guard is None else f"EXECUTE {quote((guard.name,))}; {copy}"


class CopyTargets:
    """The targets of one connection, the least recently used forgotten first."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[tuple[tuple[str, ...], tuple[str, ...]], CopyTarget] = {}

    async def get(
        self, connection: AsyncpgConnection, table: Sequence[str], columns: Sequence[str]
    ) -> CopyTarget:
        """The target for these columns, prepared if it is not known yet."""
        key = (tuple(table), tuple(columns))
        target = self._kept.pop(key, None)
        if target is None:
            target = await self._make(connection, key)
        else:
            self._kept[key] = target
        return target

    async def _make(
        self, connection: AsyncpgConnection, key: tuple[tuple[str, ...], tuple[str, ...]]
    ) -> CopyTarget:
        table, columns = key
        if not columns:
            raise errors.ParameterError("COPY needs at least one column")
        holders = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
        select = f"SELECT {_list(columns)} FROM {quote(table)} WHERE false"
        # A temporary table is another one the next time. And executing the statement takes the
        # right to SELECT, which a role that only loads may lack. Their types are looked up for
        # each COPY, by the statement without a name, which need not be forgotten.
        guarded = table[0] != "pg_temp" and await connection.fetch_value(
            "SELECT pg_catalog.has_table_privilege($1::text, 'SELECT')", quote(table)
        )
        types = f"{select} UNION ALL SELECT {holders} WHERE false"
        guard = await connection.prepare_state(select) if guarded else None
        state = await connection.prepare_state(types, named=guarded)
        target = CopyTarget(key, state, guard)
        if guarded:
            self._kept[key] = target
            if len(self._kept) > _KEPT:
                await self.drop(connection, next(iter(self._kept.values())))
        return target

    async def drop(self, connection: AsyncpgConnection, target: CopyTarget) -> None:
        """Forget a target whose types may be wrong."""
        if self._kept.get(target.key) is target:
            del self._kept[target.key]
            await connection.forget(target.state)
            if target.guard is not None:
                await connection.forget(target.guard)


class CopyIn:
    """One COPY … FROM STDIN."""

    __slots__ = (
        "_connection",
        "_interrupted",
        "_pause_at",
        "_source",
        "_target",
        "_targets",
        "_task",
    )

    def __init__(
        self,
        connection: AsyncpgConnection,
        targets: CopyTargets,
        target: CopyTarget,
        rows: Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]],
    ) -> None:
        self._connection = connection
        self._targets = targets
        self._target = target
        width = len(target.names)
        alive = connection.wire.is_connected
        self._pause_at = perf_counter() + _TURN
        self._source: Source | AsyncSource | ColumnSource
        data = _in_columns(rows, target) if isinstance(rows, ColumnBatches) else None
        if data is not None:
            self._source = ColumnSource(data, alive)
        elif isinstance(rows, AsyncIterable):
            self._source = AsyncSource(rows, width=width, alive=self._next)
        else:
            self._source = Source(rows, width=width, alive=self._next)
        self._interrupted = False
        self._task: asyncio.Task[Any] | None = None

    async def run(self) -> int:
        """Load the rows and return how many."""
        self._task = asyncio.current_task()
        try:
            await self._connection.check_idle(self._target.state)
            with self._connection.copying(self._interrupt):
                return await self._copy()
        except asyncio.CancelledError:
            if not self._interrupted or self._task is None or self._task.uncancel() > 0:
                raise
            raise self._connection.failure(ConnectionResetError("during COPY"), -1) from None
        except Exception:
            # The interruption was answered with another error than its own.
            if self._interrupted and self._task is not None:
                self._task.uncancel()
            raise
        finally:
            if isinstance(self._source, AsyncSource):
                await self._source.close()

    def _next(self) -> bool:
        """Whether to go on; and let others have their turn before the next piece is sent.

        asyncpg encodes and sends on and on while the socket takes all, and nobody else runs: not
        the other callers, and not the monitor, which would take the server for silent.
        """
        wire, now = self._connection.wire, perf_counter()
        if now >= self._pause_at:
            self._pause_at = now + _TURN
            if self._connection.transport.get_write_buffer_size() <= _LITTLE:
                # As the transport does when its buffer is full: asyncpg waits with the next piece.
                # With more in the buffer it may have done so itself, or will with that piece.
                wire.pause_writing()
                asyncio.get_running_loop().call_soon(wire.resume_writing)
        return wire.is_connected()

    def _interrupt(self) -> None:
        # asyncpg waits for the socket to take more, which a lost connection never does.
        if self._task is not None:
            self._interrupted = True
            self._task.cancel()

    async def _copy(self) -> int:
        source, target = self._source, self._target
        try:
            if isinstance(source, ColumnSource):
                tag = await self._connection.wire.copy_in(
                    target.sql, source.chunks(), None, None, None, None
                )
            else:
                tag = await self._connection.wire.copy_in(
                    target.sql, None, None, source.flat(), target.state, None
                )
        except Exception as exc:
            raise await self._failure(exc) from exc
        return int(tag.rpartition(" ")[2])

    async def _failure(self, exc: Exception) -> Exception:
        """Bring the connection to rest after a failed COPY; the error to raise."""
        connection, source = self._connection, self._source
        if is_answer(exc):
            failure = self._server_failure(exc)
            if isinstance(failure, errors.StatementStale | errors.ProgrammingError):
                await self._targets.drop(connection, self._target)
            return failure
        if not await connection.settle():
            connection.abort()
        if exc is source.error:
            return exc
        if _is_about_the_connection(exc):
            return connection.failure(exc, -1)
        if isinstance(exc, RuntimeError) and connection.is_closed:
            # What uvloop says of a write to a socket that is gone.
            return connection.failure(ConnectionResetError(str(exc)), -1)
        if isinstance(exc, asyncpg.InternalClientError):
            return errors.ParameterError(
                f"COPY cannot load {quote(self._target.key[0])}: {exc}; leave the column out, or "
                "insert by a statement"
            )
        return await self._value_failure(exc)

    def _server_failure(self, exc: asyncpg.PostgresError) -> errors.AuroraError:
        failure = self._connection.failure(exc, -1)
        found = _CONTEXT.search(exc.context or "")
        if found is None or not isinstance(failure, errors.DatabaseError):
            return failure
        row, column = int(found[1]) - 1, found[2]
        if failure.code.startswith(_VALUE_CLASS):
            place = f"row {row}" + (f", column {column!r}" if column else "")
            return errors.BulkValueError(f"{place}: {failure.message}", row=row, column=column)
        failure.args = (f"{failure.message} (row {row})",)
        return failure

    async def _value_failure(self, exc: Exception) -> errors.BulkValueError:
        number, row = self._source.position
        place = f"row {number}"
        column: str | None = None
        if row is not None:
            found = await self._find(row)
            if found is not None:
                column = self._target.names[found]
                kind = self._target.columns[found].type_name
                place += f", column {column!r} ({kind})"
        return errors.BulkValueError(f"{place}: {exc}", row=number, column=column)

    async def _find(self, row: Sequence[Any]) -> int | None:
        """Index of the value that cannot be encoded.

        asyncpg encodes a parameter set before it writes it, and writes nothing where the first
        one fails; where it does not fail, the candidate's own error keeps it from being sent.
        """
        if self._connection.is_closed:
            return None
        try:
            await self._connection.wire.bind_execute_many(
                self._target.state, _candidate(row), "", None, _NO_ROWS
            )
        except (asyncpg.DataError, asyncpg.InterfaceError) as exc:
            found = re.search(r"\$(\d+)", str(exc.args[0]))
            return int(found[1]) - 1 if found else None
        except Exception:  # noqa: BLE001 - this is a search for words, the error is known already
            return None
        return None


class ColumnSource:
    """The data of a COPY whose columns are encoded here, with what went wrong in making it.

    Args:
        data: Bytes of a binary COPY.
        alive: Asked before each piece; no more are made once it says no.
    """

    __slots__ = ("_alive", "_data", "error")

    def __init__(self, data: Iterator[bytes], alive: Callable[[], bool]) -> None:
        self._data = data
        self._alive = alive
        self.error: BaseException | None = None

    position: Final = (-1, None)
    """No value is left to be found: the encoder has named its row."""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The data, piece by piece."""
        try:
            for chunk in self._data:
                if not self._alive():
                    break
                yield chunk
                # Other tasks get their turn: a batch takes milliseconds to encode.
                await asyncio.sleep(0)
        except Exception as exc:
            self.error = exc
            raise
        if not self._alive():
            raise ConnectionResetError("the connection broke while rows were being sent")


def _in_columns(rows: ColumnBatches, target: CopyTarget) -> Iterator[bytes] | None:
    """The data of these rows; None where a column has to go through values of Python."""
    from aurora_sql.drivers import _asyncpg_columns as columns  # noqa: PLC0415 - needs numpy

    encoders = columns.plan(rows.schema, target.columns)
    return None if encoders is None else columns.encode(rows, encoders)


class _NotToBeSentError(Exception):
    """Keeps a candidate row from being sent."""


def _candidate(row: Sequence[Any]) -> Iterable[Sequence[Any]]:
    yield tuple(row)
    raise _NotToBeSentError


def _list(columns: Sequence[str]) -> str:
    return ", ".join(quote((column,)) for column in columns)


def _is_about_the_connection(exc: Exception) -> bool:
    if isinstance(exc, asyncpg.InterfaceError):
        return "cannot perform operation" in str(exc.args[0])
    return isinstance(exc, OSError | asyncpg.ConnectionDoesNotExistError)


class _Handover:
    """One chunk between asyncpg's COPY and the consumer; asyncpg stops reading meanwhile."""

    __slots__ = ("_arrived", "_chunk", "_closed", "_taken")

    def __init__(self) -> None:
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._chunk: bytes | None = None
        self._closed = False

    async def put(self, chunk: bytes) -> None:
        """Hand a chunk over and wait until the next one is asked for."""
        if self._closed:
            return
        self._chunk = chunk
        self._taken.clear()
        self._arrived.set()
        await self._taken.wait()

    async def get(self) -> bytes | None:
        """Ask for the next chunk, None after the last."""
        self._taken.set()
        await self._arrived.wait()
        self._arrived.clear()
        chunk, self._chunk = self._chunk, None
        return chunk

    def end(self) -> None:
        """No chunk will come any more."""
        self._arrived.set()

    def close(self) -> None:
        """No chunk is wanted any more."""
        self._closed = True
        self._taken.set()


async def copy_out(
    connection: AsyncpgConnection, sql: str, count: Callable[[int], object] | None
) -> AsyncGenerator[bytes, None]:
    """Run COPY … TO STDOUT and yield its data; reading stops while nobody asks for more.

    The server sends each row as a message of its own, and asyncpg hands over whole messages.
    Source: PostgreSQL's documentation, "Message Flow", "COPY Operations".
    """
    handover = _Handover()

    async def run() -> str:
        try:
            return await connection.wire.copy_out(sql, handover.put, None)
        except asyncio.CancelledError:
            if not connection.is_cancelling:
                # Cancelled in the moment when a chunk had arrived and was not taken: asyncpg
                # sends no cancel request then, and meets the rest of the data unprepared.
                connection.abort()
            raise
        finally:
            handover.end()

    await connection.check_idle()
    loop = asyncio.get_running_loop()
    task = loop.create_task(run())
    with connection.copying(task.cancel):
        try:
            while (chunk := await handover.get()) is not None:
                yield chunk
            await asyncio.wait((task,))
        finally:
            if not task.done():
                # Let go of the chunk first: cancelled while it hands over the last one, asyncpg
                # would ask to cancel a command that has ended, and wait for that for ever.
                handover.close()
                loop.call_soon(task.cancel)
                connection.leave(task)
                # Closed early, the next command may follow at once, so the server's answer to
                # the cancel request is waited for. A cancelled caller is let go instead.
                if isinstance(sys.exc_info()[1], GeneratorExit) and not await connection.settle():
                    connection.abort()
    if task.cancelled():
        raise connection.failure(ConnectionResetError("during COPY"), -1)
    error = task.exception()
    if isinstance(error, Exception):
        raise connection.failure(error, -1) from error
    if count is not None:
        count(int(task.result().rpartition(" ")[2]))
