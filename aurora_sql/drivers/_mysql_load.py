"""Loading rows into MySQL: LOAD DATA LOCAL from memory, or INSERTs of many rows.

LOAD DATA LOCAL forgives: a value that does not fit is bent, a duplicate is skipped, and all that
is left of it is a warning (MySQL manual, "LOAD DATA Statement": LOCAL implies IGNORE). So it runs
in a transaction, or behind a savepoint in one that is open, and any warning undoes all of it.

The server asks for the file by name. The name is made up for each load, and no other is answered.
Text goes as UTF-8; a column of bytes goes as hexadecimal digits and a BIT column as a number,
which the server turns back, since what LOAD DATA reads is text of one character set.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import enum
import math
import re
import secrets
import uuid
from collections.abc import AsyncIterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aurora_sql import errors
from aurora_sql.drivers import _mysql_errors as mysql_errors
from aurora_sql.drivers import _mysql_parameters as parameters
from aurora_sql.drivers import _mysql_protocol as p
from aurora_sql.drivers._json import dumps, is_model
from aurora_sql.drivers._mysql_answers import Results
from aurora_sql.drivers._mysql_session import quote
from aurora_sql.drivers._mysql_wire import asks_for
from aurora_sql.drivers._source import AsyncSource, Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from aurora_sql.drivers._mysql_connection import MySQLConnection
    from aurora_sql.drivers._mysql_statement import MySQLStatement
    from aurora_sql.types import Column

    Rows = Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]]

# Bytes that are sent at once; the socket may hold this much more than it has sent.
_CHUNK: Final = 1 << 16
# Bytes and rows of one INSERT, and placeholders, which the protocol counts in 16 bits.
_INSERT_BYTES: Final = 1 << 22
_INSERT_ROWS: Final = 512
_PLACEHOLDERS: Final = 65535
_INFO = re.compile(r"Records: (\d+)\s+Deleted: \d+\s+Skipped: (\d+)\s+Warnings: (\d+)")
_SHOW: Final = "SHOW WARNINGS"


async def load(
    connection: MySQLConnection, table: tuple[str, ...], columns: tuple[str, ...], rows: Rows
) -> int:
    """Load the rows, all or none, and return how many.

    Raises:
        BulkValueError: A value does not fit; names row and column.
        IntegrityError: A constraint forbids a row.
    """
    if not columns:
        raise errors.ParameterError("a load needs at least one column")
    listing = ", ".join(quote((name,)) for name in columns)
    head = await connection.prepare(f"SELECT {listing} FROM {quote(table)} LIMIT 0")
    await head.close()
    source = _Rows(rows, len(columns), connection)
    target = _Target(table, head.columns)
    try:
        async with connection.all_or_nothing():
            if connection.local_infile:
                return await _Upload(connection, target, source).run()
            return await _Inserts(connection, target, source).run()
    except ConnectionResetError as exc:
        if exc is source.error:
            raise
        # No more rows were taken once the connection was gone.
        raise mysql_errors.lost(str(exc), where=connection.where, sent=True) from exc
    finally:
        await source.close()


class _Target:
    """A table and its columns."""

    __slots__ = ("columns", "table")

    def __init__(self, table: tuple[str, ...], columns: tuple[Column, ...]) -> None:
        self.table = quote(table)
        self.columns = columns

    def bad_value(self, row: int, number: int, reason: str) -> errors.BulkValueError:
        column = self.columns[number]
        return errors.BulkValueError(
            f"row {row}, column {column.name!r} ({column.type_name}): {reason}",
            row=row,
            column=column.name,
        )

    def fail(self, exc: errors.AuroraError, first: int = 0) -> NoReturn:
        """Raise a server's error, with the row that it names."""
        failure = self.answered(exc, first)
        if failure is exc:
            raise exc  # not from itself: whoever follows the causes would never come to an end
        raise failure from exc

    def answered(self, failure: errors.AuroraError, first: int = 0) -> errors.AuroraError:
        """A server's error, with the row that it names."""
        if not isinstance(failure, errors.DatabaseError):
            return failure
        row = mysql_errors.row_of(failure.message)
        if row is None:
            return failure
        row += first
        if isinstance(failure, errors.DataError):
            place = f"row {row}"
            if failure.column_name:
                place += f", column {failure.column_name!r}"
            return errors.BulkValueError(
                f"{place}: {failure.message}", row=row, column=failure.column_name
            )
        failure.args = (f"{failure.message} (row {row})",)
        return failure


class _Rows:
    """The caller's rows, whether they come by themselves or are waited for."""

    __slots__ = ("_source",)

    def __init__(self, rows: Rows, width: int, connection: MySQLConnection) -> None:
        def alive() -> bool:
            return not connection.is_closed

        self._source: Source | AsyncSource = (
            AsyncSource(rows, width=width, alive=alive)
            if isinstance(rows, AsyncIterable)
            else Source(rows, width=width, alive=alive)
        )

    @property
    def error(self) -> BaseException | None:
        """What the caller's own rows raised."""
        return self._source.error

    async def take(self) -> AsyncGenerator[Sequence[Any], None]:
        """The rows, one by one."""
        if isinstance(self._source, AsyncSource):
            async for row in self._source.flat():
                yield row
        else:
            for row in self._source.flat():
                yield row

    async def close(self) -> None:
        if isinstance(self._source, AsyncSource):
            await self._source.close()


class _Upload:
    """One LOAD DATA LOCAL."""

    __slots__ = ("_answer", "_connection", "_rows", "_sequence", "_target", "_writers")

    def __init__(self, connection: MySQLConnection, target: _Target, rows: _Rows) -> None:
        self._connection = connection
        self._target = target
        self._rows = rows
        self._answer = Results(extended=connection.extended)
        # The server's question was the first packet of this command's answer.
        self._sequence = 2
        self._writers = [
            _hexadecimal if column.python_type is bytes else _text_of for column in target.columns
        ]

    async def run(self) -> int:
        connection, answer = self._connection, self._answer
        name = f"aurora_sql_{secrets.token_hex(16)}"
        try:
            await connection.run(p.query(self._sql(name)), answer, stoppable=False)
        except errors.AuroraError as exc:
            self._target.fail(exc)
        if answer.done:
            raise errors.OperationalError(f"{connection.where}: LOAD DATA asked for no file")
        if not asks_for(answer, name):
            raise connection.refuse(answer.upload or "")
        try:
            sent = await self._send()
        except BaseException as exc:
            # The end of the file, or the server would wait for more. What it got is undone.
            self._post(b"")
            if isinstance(exc, Exception):
                await self._end()
            else:
                connection.leaving.leave(answer, stoppable=False)
            raise
        self._post(b"")
        try:
            await self._end()
        except errors.AuroraError as exc:
            self._target.fail(exc)
        await self._check(sent)
        return sent

    def _sql(self, name: str) -> str:
        fields, sets = [], []
        for number, column in enumerate(self._target.columns):
            quoted = quote((column.name,))
            if column.python_type is bytes:
                fields.append(f"@aurora_sql_{number}")
                sets.append(f"{quoted} = UNHEX(@aurora_sql_{number})")
            elif column.type_name == "bit":
                fields.append(f"@aurora_sql_{number}")
                sets.append(f"{quoted} = CAST(@aurora_sql_{number} AS UNSIGNED)")
            else:
                fields.append(quoted)
        # Hexadecimal, since what a backslash means in quotes depends on sql_mode.
        sql = (
            f"LOAD DATA LOCAL INFILE '{name}' INTO TABLE {self._target.table} "
            "CHARACTER SET utf8mb4 FIELDS TERMINATED BY X'09' ESCAPED BY X'5C' "
            f"LINES TERMINATED BY X'0A' ({', '.join(fields)})"
        )
        return f"{sql} SET {', '.join(sets)}" if sets else sql

    async def _send(self) -> int:
        wire = self._connection.wire
        count, size = 0, 0
        lines: list[str] = []
        async with aclosing(self._rows.take()) as rows:
            async for row in rows:
                line = self._line(row, count)
                count += 1
                lines.append(line)
                size += len(line)
                if size >= _CHUNK:
                    await self._flush(lines, count)
                    lines, size = [], 0
                    # Rows that are there without waiting leave the others a turn too.
                    await asyncio.sleep(0)
        if lines:
            await self._flush(lines, count)
        if wire.lost is not None:
            raise mysql_errors.lost(str(wire.lost), where=self._connection.where, sent=True)
        return count

    async def _flush(self, lines: list[str], count: int) -> None:
        try:
            data = "".join(lines).encode()
        except UnicodeEncodeError:
            first = count - len(lines)
            raise self._not_text(lines, first) from None
        self._post(data)
        try:
            await self._connection.wire.drain()
        except OSError as exc:
            raise mysql_errors.lost(str(exc), where=self._connection.where, sent=True) from exc

    def _not_text(self, lines: list[str], first: int) -> errors.BulkValueError:
        for row, line in enumerate(lines, first):
            for number, text in enumerate(line.split("\t")):
                try:
                    text.encode()
                except UnicodeEncodeError as exc:
                    return self._target.bad_value(row, number, parameters.refusal(exc))
        raise AssertionError(lines)

    def _post(self, data: bytes) -> None:
        for start in range(0, len(data) or 1, p.MAX_PAYLOAD - 1):
            part = data[start : start + p.MAX_PAYLOAD - 1]
            self._connection.wire.post(p.frame(part, self._sequence & 0xFF))
            self._sequence += 1

    def _line(self, row: Sequence[Any], count: int) -> str:
        number = 0
        parts = []
        try:
            for number, write in enumerate(self._writers):
                parts.append(write(row[number]))
        except (ValueError, TypeError, OverflowError) as exc:
            raise self._target.bad_value(count, number, parameters.refusal(exc)) from exc
        return "\t".join(parts) + "\n"

    async def _end(self) -> None:
        connection = self._connection
        self._answer.upload = None
        try:
            waiter = connection.wire.resume()
        except OSError as exc:
            raise mysql_errors.lost(str(exc), where=connection.where, sent=True) from exc
        # Never stopped by KILL: MariaDB would take what is left of the file for commands.
        await connection.wait(waiter, self._answer, stoppable=False)

    async def _check(self, sent: int) -> None:
        """Find out what the server was silent about.

        Raises:
            BulkValueError: A value was bent.
            DatabaseError: A row was left out.
        """
        ok = self._answer.ok
        found = _INFO.search(ok.info) if ok is not None else None
        records, skipped, warnings = (int(n) for n in found.groups()) if found else (-1, 0, 0)
        if records == sent and not skipped and not warnings:
            return
        said = await self._connection.ask(_SHOW)
        for level, code, message in said:
            # A note is what an INSERT says of a rounded decimal.
            if level != "Note":
                raise self._target.answered(_of_warning(int(code or 0), message or ""))
        if records != sent or skipped or len(said) < warnings:
            raise errors.DatabaseError(
                f"{sent} rows were sent, and the server read {records}, left out {skipped} and "
                f"warned {warnings} times: nothing was loaded"
            )


def _of_warning(code: int, message: str) -> errors.AuroraError:
    failure = mysql_errors.from_server(p.Err(code, "22000", message), where="")
    if type(failure) is errors.DatabaseError:
        return errors.DataError(message, code=str(code))
    return failure


class _Inserts:
    """INSERTs of many rows, for servers that have LOAD DATA LOCAL turned off."""

    __slots__ = ("_connection", "_most", "_prepared", "_rows", "_sent", "_target")

    def __init__(self, connection: MySQLConnection, target: _Target, rows: _Rows) -> None:
        self._connection = connection
        self._target = target
        self._rows = rows
        self._sent = 0
        # By number of rows, each a power of two.
        self._prepared: dict[int, MySQLStatement] = {}
        self._most = 1
        while self._most < _INSERT_ROWS and self._most * 2 * len(target.columns) <= _PLACEHOLDERS:
            self._most *= 2

    async def run(self) -> int:
        batch: list[Sequence[Any]] = []
        try:
            async with aclosing(self._rows.take()) as rows:
                async for row in rows:
                    batch.append(row)
                    if len(batch) == self._most:
                        await self._insert(batch)
                        batch = []
            await self._insert(batch)
        finally:
            for statement in self._prepared.values():
                await statement.close()
        return self._sent

    async def _insert(self, batch: list[Sequence[Any]]) -> None:
        while batch:
            size = 1 << (len(batch).bit_length() - 1)
            part = batch[:size]
            if size > 1 and sum(map(_rough_size, part)) > self._limit():
                size //= 2
                await self._insert(part[:size])
            else:
                await self._insert_some(part)
            batch = batch[size:]

    def _limit(self) -> int:
        return min(_INSERT_BYTES, self._connection.max_packet // 2)

    async def _insert_some(self, rows: list[Sequence[Any]]) -> None:
        statement = self._prepared.get(len(rows))
        width = len(self._target.columns)
        if statement is None:
            names = ", ".join(quote((column.name,)) for column in self._target.columns)
            one = f"({', '.join('?' * width)})"
            statement = self._prepared[len(rows)] = await self._connection.prepare(
                f"INSERT INTO {self._target.table} ({names}) VALUES {', '.join([one] * len(rows))}"
            )
        try:
            await statement.execute([value for row in rows for value in row])
        except errors.ParameterError as exc:
            if exc.number is None:
                raise
            row, number = divmod(exc.number - 1, width)
            reason = exc.message.partition(": ")[2]
            raise self._target.bad_value(self._sent + row, number, reason) from exc
        except errors.DatabaseError as exc:
            self._target.fail(exc, self._sent)
        self._sent += len(rows)


def _rough_size(row: Sequence[Any]) -> int:
    return sum(
        4 * len(value) if isinstance(value, str) else len(value)
        for value in row
        if isinstance(value, str | bytes | bytearray | memoryview)
    ) + 16 * len(row)


# --- values as text -------------------------------------------------------------------------

_NULL: Final = "\\N"


def _escape(text: str) -> str:
    text = str.__str__(text)  # a subclass may mean something else by replace()
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "\t" in text:
        text = text.replace("\t", "\\t")
    if "\n" in text:
        text = text.replace("\n", "\\n")
    return text


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("MySQL has no infinity and no NaN; pass None")
    return float.__repr__(value)


def _timedelta(value: dt.timedelta) -> str:
    parameters.check_timedelta(value)
    sign, value = ("-", -value) if value < dt.timedelta() else ("", value)
    minutes, seconds = divmod(value.days * 86400 + value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours:02}:{minutes:02}:{seconds:02}.{value.microseconds:06}"


def _datetime(value: dt.datetime) -> str:
    return dt.datetime.isoformat(parameters.in_utc(value).replace(tzinfo=None), " ")


def _no_bytes(value: Any) -> str:
    raise ValueError(
        f"{type(value).__name__} goes as bytes, and this is no column of bytes: pass text"
    )


def _json(value: Any) -> str:
    return _escape(dumps(value).decode())


_TEXT: Final[dict[type[Any], Callable[[Any], str]]] = {
    type(None): lambda _: _NULL,
    bool: lambda value: "1" if value else "0",
    int: int.__repr__,
    float: _float,
    decimal.Decimal: parameters.decimal_text,
    str: _escape,
    bytes: _no_bytes,
    bytearray: _no_bytes,
    memoryview: _no_bytes,
    uuid.UUID: _no_bytes,
    dt.datetime: _datetime,
    dt.date: dt.date.isoformat,
    dt.time: lambda value: dt.time.isoformat(parameters.check_time(value)),
    dt.timedelta: _timedelta,
    dict: _json,
    list: _json,
    tuple: _json,
}


def _text_of(value: Any) -> str:
    kind = type(value)
    write = _TEXT.get(kind)
    if write is not None:
        return write(value)
    if isinstance(value, enum.Enum):
        return _text_of(value.value)
    for base in kind.__mro__:
        write = _TEXT.get(base)
        if write is not None:
            return write(value)
    return _json(value) if is_model(kind) else _text_of(parameters.plain(value))


def _hexadecimal(value: Any) -> str:
    if value is None:
        return _NULL
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, str):
        return value.encode().hex()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    raise TypeError(f"a column of bytes does not take {type(value).__name__}")
