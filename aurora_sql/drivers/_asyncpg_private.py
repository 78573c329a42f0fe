"""Every name of asyncpg that its documentation does not promise, gathered in one place.

The hot path goes beneath ``asyncpg.PreparedStatement``: its guards, its closure per call and
its status bookkeeping cost more than the statement layer above needs. What is used there has
been stable from asyncpg 0.30 to 0.32; :func:`check` looks for each name when a connection is
made, so that a release without one is refused with a sentence instead of failing in a query.

Shapes relied on:

``protocol.bind_execute(state, args, portal, limit, return_extra, timeout)``
    Rows, or (rows, tag, completed) with ``return_extra``. Encoding the arguments comes before
    anything is written. A timeout of None means the connection's ``command_timeout``, which
    is None here: no timer is made.
``protocol.queries_count``
    Rises when Execute or Query is written, and for nothing else: it tells whether a command
    was sent. COPY does not count.
``protocol._is_cancelling()``, ``protocol._wait_for_cancellation()``
    True from the moment a cancel request is made until the server has answered the cancelled
    command; the second waits for that.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Protocol

from aurora_sql.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Sequence

    import asyncpg

    from aurora_sql.drivers._asyncpg_transport import HoldingTransport

SUPPORTED = "asyncpg>=0.30,<0.33"

JSON_OID = 114
JSONB_OID = 3802


class StatementState(Protocol):
    """asyncpg's ``PreparedStatementState``: one statement prepared at the server."""

    name: str
    query: str
    closed: bool

    def _get_parameters(self) -> Sequence[asyncpg.Type]: ...

    def _get_attributes(self) -> Sequence[asyncpg.Attribute]: ...

    def mark_closed(self) -> None: ...


class WireProtocol(Protocol):
    """The part of asyncpg's ``BaseProtocol`` that the driver speaks to.

    Each ``no_timeout`` is None: the connection's ``command_timeout``, which is None as well.
    """

    queries_count: int

    async def bind_execute(
        self,
        state: StatementState,
        args: Sequence[Any],
        portal_name: str,
        limit: int,
        return_extra: bool,
        no_timeout: None,
        /,
    ) -> Any: ...

    async def bind_execute_many(
        self,
        state: StatementState,
        args: Iterable[Sequence[Any]],
        portal_name: str,
        no_timeout: None,
        return_rows: bool,
        /,
    ) -> Any: ...

    async def execute(
        self,
        state: StatementState,
        portal_name: str,
        limit: int,
        return_extra: bool,
        no_timeout: None,
        /,
    ) -> Any: ...

    async def close_portal(self, portal_name: str, no_timeout: None, /) -> Any: ...

    async def close_statement(self, state: StatementState, no_timeout: None, /) -> Any: ...

    async def query(self, query: str, no_timeout: None, /) -> str: ...

    async def copy_in(
        self,
        copy_stmt: str,
        reader: AsyncIterable[bytes] | None,
        data: None,
        records: Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]] | None,
        record_stmt: StatementState | None,
        no_timeout: None,
        /,
    ) -> str: ...

    async def copy_out(self, copy_stmt: str, sink: Any, no_timeout: None, /) -> str: ...

    async def _wait_for_cancellation(self) -> Any: ...

    def _is_cancelling(self) -> bool: ...

    def is_connected(self) -> bool: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def is_in_transaction(self) -> bool: ...

    def get_settings(self) -> Any: ...

    def get_record_class(self) -> type[Any]: ...


_PROTOCOL_NAMES = (
    "queries_count",
    "bind_execute",
    "bind_execute_many",
    "execute",
    "close_portal",
    "close_statement",
    "query",
    "copy_in",
    "copy_out",
    "_wait_for_cancellation",
    "_is_cancelling",
    "is_connected",
    "pause_writing",
    "resume_writing",
    "is_in_transaction",
    "get_settings",
    "get_record_class",
)
_CONNECTION_NAMES = ("_protocol", "_transport", "_loop", "_get_statement")
_SETTINGS_NAMES = ("add_python_codec",)
_STATE_NAMES = ("_get_parameters", "_get_attributes", "mark_closed", "name", "query", "closed")


def check(connection: asyncpg.Connection[Any]) -> None:
    """Make sure that this asyncpg has every private name in use.

    Raises:
        ConfigurationError: One is missing; the message names it.
    """
    missing = [name for name in _CONNECTION_NAMES if not hasattr(connection, name)]
    if not missing:
        wire = protocol_of(connection)
        missing = [name for name in _PROTOCOL_NAMES if not hasattr(wire, name)]
        if not missing:
            settings = wire.get_settings()
            # hasattr on the settings would ask for a server setting of that name: ask the type.
            missing = [name for name in _SETTINGS_NAMES if not hasattr(type(settings), name)]
    if not missing and not hasattr(transport_of(connection), "hold"):
        missing = ["way to take its transport from the event loop it is given"]
    if missing:
        raise ConfigurationError(_unsupported(missing))


def check_state(state: StatementState) -> None:
    """The same for a prepared statement's state, which exists only once one was prepared."""
    missing = [name for name in _STATE_NAMES if not hasattr(state, name)]
    if missing:
        raise ConfigurationError(_unsupported(missing))


def _unsupported(missing: list[str]) -> str:
    import asyncpg  # noqa: PLC0415 - loaded by the connection already; only its version is read

    return (
        f"asyncpg {asyncpg.__version__} has no {', '.join(missing)}, which the driver uses: "
        f'install a version that it knows ("{SUPPORTED}")'
    )


def protocol_of(connection: Any) -> WireProtocol:
    """The protocol object beneath a connection."""
    wire: WireProtocol = connection._protocol  # noqa: SLF001 - this module's purpose
    return wire


def socket_of(connection: Any) -> Any:
    """The socket beneath a connection (uvloop gives a stand-in with ``setsockopt``), or None."""
    return connection._transport.get_extra_info("socket")  # noqa: SLF001 - this module's purpose


async def prepare(
    connection: Any, sql: str, *, named: bool = True, rows: type[Any] | None = None
) -> StatementState:
    """Parse and describe one statement, types looked up as needed.

    No ``asyncpg.PreparedStatement`` is made: its finalizer would forget the statement at the
    server at a moment of the garbage collector's choosing.

    Args:
        connection: asyncpg's connection.
        sql: One statement.
        named: Under a name of its own; otherwise it lasts until the next one without a name.
        rows: Class of its rows; the connection's by default.
    """
    state: StatementState = await connection._get_statement(  # noqa: SLF001 - this module's purpose
        sql, None, named=True if named else "", use_cache=False, record_class=rows
    )
    return state


def set_codec(
    wire: WireProtocol,
    oid: int,
    name: str,
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
) -> None:
    """Give a built-in type its own binary codec without asking the server for the type's OID."""
    wire.get_settings().add_python_codec(
        oid, name, "pg_catalog", [], "scalar", encode, decode, "binary"
    )


def unanswered(sql: str, name: str = "", *, parse: bool = True) -> bytes:
    """A command without parameters as the messages Parse, Bind and Execute, without Sync.

    Args:
        sql: The command.
        name: Under which the server keeps it prepared; without one, until the next Parse.
        parse: False where it is kept already.

    The server runs it when the messages arrive, and keeps the answer until the Sync of whatever
    follows. If it fails, the server skips everything up to that Sync.
    Source: PostgreSQL's documentation, "Message Flow", "Extended Query" and "Message Formats".
    """
    known = name.encode() + b"\0"
    messages = [
        (b"P", known + sql.encode() + b"\0" + struct.pack("!h", 0)),
        (b"B", b"\0" + known + struct.pack("!hhh", 0, 0, 0)),
        (b"E", b"\0" + struct.pack("!i", 0)),
    ]
    return b"".join(
        letter + struct.pack("!i", len(body) + 4) + body
        for letter, body in (messages if parse else messages[1:])
    )


def transport_of(connection: Any) -> HoldingTransport:
    """The transport beneath a connection, the same that its protocol writes to.

    While asyncpg waits for the answer to a prepared statement it passes over ParseComplete,
    BindComplete and all but the last CommandComplete: what :func:`unanswered` makes can be held
    back by the transport to go in front of the statement.
    """
    transport: HoldingTransport = connection._transport  # noqa: SLF001 - this module's purpose
    return transport


def set_loop(connection: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Give a connection the event loop itself, which it looks up its own tasks by."""
    connection._loop = loop  # noqa: SLF001 - this module's purpose


def send_query(
    wire: WireProtocol, sql: str
) -> tuple[Coroutine[Any, Any, str], asyncio.Future[Any]]:
    """Send SQL by the simple protocol, and return before the answer.

    asyncpg's coroutine runs up to where it waits for the answer; the future it waits for is
    handed out instead of being awaited. Whoever waits for that future is not connected to the
    coroutine, so that a cancellation cannot reach it and no cancel request is ever sent, and no
    task is needed to shield it. To be called on a settled connection only.

    Returns:
        The coroutine, for :func:`receive_answer`, and the future that its answer completes.
    """
    coroutine = wire.query(sql, None)
    answer: asyncio.Future[Any] = coroutine.send(None)
    # What a task does before it waits for a future that a coroutine has yielded.
    answer._asyncio_future_blocking = False  # noqa: SLF001 - see above
    return coroutine, answer


def receive_answer(coroutine: Coroutine[Any, Any, str]) -> str:
    """Let the coroutine of :func:`send_query` end, once its future is done; the command tag."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        tag: str = end.value
        return tag
    raise RuntimeError("asyncpg waits for more than one answer to one query")


async def run_for_nobody(wire: WireProtocol, state: StatementState) -> None:
    """Run a prepared statement for no set of values: nothing is sent, nothing is waited for.

    asyncpg refuses it, and closes the connection, where it could not send a command either.
    """
    await wire.bind_execute_many(state, (), "", None, False)  # noqa: FBT003 - by position only


async def run_script(wire: WireProtocol, sql: str) -> str:
    """Run SQL by the simple protocol and return the last command tag, "" where there is none."""
    sent = wire.queries_count
    try:
        return await wire.query(sql, None)
    except AttributeError:
        # A script of nothing but white space and comments is answered without a tag, which
        # asyncpg decodes as if it were there; the connection itself is in order.
        if wire.queries_count == sent:
            raise
        return ""
