"""MySQL's client/server protocol: packets, lengths, and what each answer says. Pure functions.

Source for every layout here: MySQL's and MariaDB's documentation of the client/server protocol
("Protocol Basics", "Command Phase"); both servers agree in what is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

__all__ = ["ColumnDefinition", "Err", "Ok", "ProtocolError"]

MAX_PAYLOAD: Final = 0xFFFFFF
"""A packet of this size is continued in the next one."""

# Commands.
QUIT: Final = 0x01
QUERY: Final = 0x03
PING: Final = 0x0E
STMT_PREPARE: Final = 0x16
STMT_EXECUTE: Final = 0x17
STMT_CLOSE: Final = 0x19
STMT_RESET: Final = 0x1A
SET_OPTION: Final = 0x1B
STMT_FETCH: Final = 0x1C
RESET_CONNECTION: Final = 0x1F

# Flags of COM_STMT_EXECUTE.
NO_CURSOR: Final = 0
READ_ONLY_CURSOR: Final = 1

# Server status.
IN_TRANSACTION: Final = 0x0001
MORE_RESULTS: Final = 0x0008
CURSOR_EXISTS: Final = 0x0040
LAST_ROW_SENT: Final = 0x0080

# Capabilities that the client asks for.
CLIENT_FOUND_ROWS: Final = 1 << 1
CLIENT_LOCAL_FILES: Final = 1 << 7
CLIENT_SSL: Final = 1 << 11
CLIENT_MULTI_STATEMENTS: Final = 1 << 16
CLIENT_MULTI_RESULTS: Final = 1 << 17
CLIENT_PS_MULTI_RESULTS: Final = 1 << 18

# Types of fields.
DECIMAL: Final = 0
TINY: Final = 1
SHORT: Final = 2
LONG: Final = 3
FLOAT: Final = 4
DOUBLE: Final = 5
NULL: Final = 6
TIMESTAMP: Final = 7
LONGLONG: Final = 8
INT24: Final = 9
DATE: Final = 10
TIME: Final = 11
DATETIME: Final = 12
YEAR: Final = 13
VARCHAR: Final = 15
BIT: Final = 16
VECTOR: Final = 242
JSON: Final = 245
NEWDECIMAL: Final = 246
ENUM: Final = 247
SET: Final = 248
TINY_BLOB: Final = 249
MEDIUM_BLOB: Final = 250
LONG_BLOB: Final = 251
BLOB: Final = 252
VAR_STRING: Final = 253
STRING: Final = 254
GEOMETRY: Final = 255

UNSIGNED_FLAG: Final = 0x20
ENUM_FLAG: Final = 0x100
SET_FLAG: Final = 0x800
BINARY_CHARSET: Final = 63

# First byte of an answer.
OK: Final = 0x00
LOCAL_INFILE: Final = 0xFB
EOF: Final = 0xFE
ERR: Final = 0xFF
_EOF_SIZE: Final = 9
"""What starts as an EOF and is shorter than this is one."""

Buffer = bytes | bytearray

_U16 = Struct("<H").unpack_from
_U32 = Struct("<I").unpack_from
_U64 = Struct("<Q").unpack_from
_FIXED_PART = Struct("<HIBHB").unpack_from
_PREPARE_OK = Struct("<IHH").unpack_from
_EXECUTE = Struct("<BIBI").pack
# Three bytes of length, and the number of the first packet.
_HEADER = Struct("<I").pack
_FETCH = Struct("<BII").pack
_STATEMENT = Struct("<BI").pack


class ProtocolError(Exception):
    """The server sent something that cannot follow. The connection is of no more use."""


@dataclass(frozen=True, slots=True)
class Ok:
    """The answer to a command without rows."""

    affected: int
    status: int
    warnings: int
    info: str


@dataclass(frozen=True, slots=True)
class Err:
    """An error that the server answered with."""

    code: int
    sqlstate: str
    message: str


@dataclass(frozen=True, slots=True)
class ColumnDefinition:
    """One column of a result as the server describes it.

    Attributes:
        name: Its name in the result.
        table: Name of the table that it comes from, empty for an expression.
        charset: Number of the collation; 63 for bytes.
        length: Largest length, in bytes.
        type: Type of the field.
        flags: Flags of the field.
        format: MariaDB's name of what the text is in ("json"), else empty.
    """

    name: str
    table: str
    charset: int
    length: int
    type: int
    flags: int
    format: str = ""


def frame(payload: Buffer, sequence: int = 0) -> bytes:
    """Put a payload into as many packets as it takes."""
    size = len(payload)
    if size < MAX_PAYLOAD:
        return b"".join((size.to_bytes(3, "little"), bytes((sequence,)), payload))
    parts: list[Buffer] = []
    for start in range(0, size + 1, MAX_PAYLOAD):
        part = payload[start : start + MAX_PAYLOAD]
        parts += [len(part).to_bytes(3, "little"), bytes((sequence & 0xFF,)), part]
        sequence += 1
    return b"".join(parts)


def frame_after(head: bytes, payload: bytes) -> bytes:
    """Put a head and a payload into packets: as frame, without joining the two first."""
    size = len(head) + len(payload)
    if size < MAX_PAYLOAD:
        return _HEADER(size) + head + payload
    return frame(head + payload)


def command(number: int, body: Buffer = b"") -> bytes:
    """A command and what it is about."""
    return frame(bytes((number,)) + body)


def query(sql: str) -> bytes:
    """COM_QUERY."""
    return command(QUERY, sql.encode())


def execute_head(statement: int, flags: int) -> bytes:
    """The start of COM_STMT_EXECUTE; the parameters follow."""
    return _EXECUTE(STMT_EXECUTE, statement, flags, 1)


def fetch(statement: int, rows: int) -> bytes:
    """COM_STMT_FETCH."""
    return frame(_FETCH(STMT_FETCH, statement, rows))


def close_statement(statement: int) -> bytes:
    """COM_STMT_CLOSE, which the server does not answer."""
    return frame(_STATEMENT(STMT_CLOSE, statement))


def reset_statement(statement: int) -> bytes:
    """COM_STMT_RESET, which closes the cursor."""
    return frame(_STATEMENT(STMT_RESET, statement))


def multi_statements(*, on: bool) -> bytes:
    """COM_SET_OPTION: whether one COM_QUERY may hold several statements."""
    return command(SET_OPTION, b"\0\0" if on else b"\1\0")


def length_encoded(value: int) -> bytes:
    """An integer whose first byte tells how long it is."""
    if value < 251:  # noqa: PLR2004 - the protocol's own bound
        return bytes((value,))
    if value < 1 << 16:
        return b"\xfc" + value.to_bytes(2, "little")
    if value < 1 << 24:
        return b"\xfd" + value.to_bytes(3, "little")
    return b"\xfe" + value.to_bytes(8, "little")


def read_length(buffer: Buffer, pos: int) -> tuple[int, int]:
    """Such an integer, and the position behind it.

    Raises:
        ProtocolError: No integer starts like this.
    """
    first = buffer[pos]
    if first < 251:  # noqa: PLR2004 - the protocol's own bound
        return first, pos + 1
    if first == 0xFC:  # noqa: PLR2004 - a marker of the protocol
        return _U16(buffer, pos + 1)[0], pos + 3
    if first == 0xFD:  # noqa: PLR2004 - a marker of the protocol
        return int.from_bytes(buffer[pos + 1 : pos + 4], "little"), pos + 4
    if first == 0xFE:  # noqa: PLR2004 - a marker of the protocol
        return _U64(buffer, pos + 1)[0], pos + 9
    raise ProtocolError(f"no length starts with {first:#x}")


def read_bytes(buffer: Buffer, pos: int) -> tuple[bytes, int]:
    """A string with its length in front, and the position behind it."""
    size, pos = read_length(buffer, pos)
    return bytes(buffer[pos : pos + size]), pos + size


def is_eof(buffer: Buffer, start: int, stop: int) -> bool:
    """Whether this packet ends rows or columns."""
    return buffer[start] == EOF and stop - start < _EOF_SIZE


def eof_status(buffer: Buffer, start: int) -> int:
    """The server's status in an EOF."""
    status: int = _U16(buffer, start + 3)[0]
    return status


def read_ok(buffer: Buffer, start: int, stop: int) -> Ok:
    """Read an OK packet."""
    affected, pos = read_length(buffer, start + 1)
    _, pos = read_length(buffer, pos)
    status = _U16(buffer, pos)[0]
    warnings = _U16(buffer, pos + 2)[0]
    info = bytes(buffer[pos + 4 : stop])
    if info and info[0] == len(info) - 1:  # MariaDB sends it with its length in front
        info = info[1:]
    return Ok(affected, status, warnings, info.decode("utf-8", "replace"))


def read_err(buffer: Buffer, start: int, stop: int) -> Err:
    """Read an ERR packet."""
    code = _U16(buffer, start + 1)[0]
    pos, sqlstate = start + 3, ""
    if buffer[pos : pos + 1] == b"#":
        sqlstate = buffer[pos + 1 : pos + 6].decode("ascii", "replace")
        pos += 6
    return Err(code, sqlstate, buffer[pos:stop].decode("utf-8", "replace"))


def read_prepared(buffer: Buffer, start: int) -> tuple[int, int, int]:
    """The answer to COM_STMT_PREPARE: the statement's number, its columns, its parameters."""
    number, columns, parameters = _PREPARE_OK(buffer, start + 1)
    return number, columns, parameters


def read_column(buffer: Buffer, start: int, *, extended: bool = False) -> ColumnDefinition:
    """Read one column's definition.

    Args:
        buffer: Where it stands.
        start: Where it starts.
        extended: MariaDB's extended type information stands in it too.
    """
    pos = start
    names = []
    for _ in range(6):  # catalog, schema, table, its own name, name, its own name
        text, pos = read_bytes(buffer, pos)
        names.append(text)
    kind = ""
    if extended:
        more, pos = read_bytes(buffer, pos)
        kind = _format(more)
    charset, length, type_, flags, _ = _FIXED_PART(buffer, pos + 1)
    return ColumnDefinition(
        names[4].decode("utf-8", "replace"),
        names[3].decode("utf-8", "replace"),
        charset,
        length,
        type_,
        flags,
        kind,
    )


def _format(more: bytes) -> str:
    """What extended type information says of the format: pairs of kind and text; 1 is format."""
    pos = 0
    while pos < len(more):
        kind = more[pos]
        text, pos = read_bytes(more, pos + 1)
        if kind == 1:
            return text.decode("ascii", "replace")
    return ""


def read_text_row(buffer: Buffer, start: int, stop: int) -> tuple[str | None, ...]:
    """A row of the text protocol, as text."""
    pos = start
    values: list[str | None] = []
    while pos < stop:
        if buffer[pos] == LOCAL_INFILE:  # which stands for NULL here
            values.append(None)
            pos += 1
        else:
            text, pos = read_bytes(buffer, pos)
            values.append(text.decode("utf-8", "replace"))
    return tuple(values)
