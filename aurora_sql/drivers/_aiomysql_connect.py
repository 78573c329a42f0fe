"""Opening a session by aiomysql: login and TLS are its part, the protocol after that is ours.

What aiomysql does otherwise and is mended here: see ``_mysql_login``; and its time limit covers
the TCP connection alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiomysql
import pymysql

from aurora_sql.drivers import _mysql_login as login
from aurora_sql.drivers import _mysql_protocol as p
from aurora_sql.drivers._keepalive import keep_alive
from aurora_sql.drivers._mysql_types import row_taker

if TYPE_CHECKING:
    import ssl

    from aurora_sql.drivers._mysql_login import Target
    from aurora_sql.drivers._mysql_wire import Session
    from aurora_sql.drivers.base import ConnectOptions

__all__ = ["log_in", "row_taker"]


async def log_in(options: ConnectOptions, target: Target, password: str | None) -> Session:
    """Open a session.

    Raises:
        AuroraError: It cannot be opened.
    """
    try:
        return await Handshake(options, target, password).open()
    except pymysql.err.Error as exc:
        raise login.refusal(exc, options) from exc
    except Exception as exc:
        raise login.failure(exc, options, target) from exc


class Handshake(login.CheckedLogin, aiomysql.Connection):  # type: ignore[misc] # aiomysql has no types
    """aiomysql's login, with what it lacks. After it the socket is the session's own."""

    # aiomysql sets them, and has no types.
    _reader: Any
    _writer: Any

    def __init__(self, options: ConnectOptions, target: Target, password: str | None) -> None:
        local = options.host.startswith("/")
        super().__init__(
            host=options.host,
            port=options.port,
            unix_socket=options.host if local else None,
            user=options.user,
            # aiomysql encodes passwords as latin-1; the servers take UTF-8.
            password=(password or "").encode().decode("latin-1"),
            db=options.database or None,
            charset="utf8mb4",
            program_name=options.application_name,
            loop=asyncio.get_running_loop(),
        )
        self.client_flag &= ~p.CLIENT_MULTI_STATEMENTS
        self.client_flag |= p.CLIENT_FOUND_ROWS | p.CLIENT_LOCAL_FILES | p.CLIENT_PS_MULTI_RESULTS
        self._log_in_to(options, target)
        self._first: bytes | None = None

    async def open(self) -> Session:
        """Connect and log in."""
        try:
            await self._login()
        except BaseException:
            self._give_up()
            raise
        # The reader's own list, which nobody else knows of.
        unread = bool(self._reader._buffer)  # noqa: SLF001 - see above
        return self._session(self._writer.transport, self._loop, self, unread=unread)

    async def _login(self) -> None:
        connect = asyncio.open_unix_connection if self._local else asyncio.open_connection
        place: tuple[Any, ...] = (
            (self._options.host,) if self._local else (self._target.address, self._target.port)
        )
        self._reader, self._writer = await connect(*place)
        self._secure = self._local
        keep_alive(self._writer.get_extra_info("socket"), self._options)
        self._next_seq_id = 0
        await self._get_server_information()
        await self._request_authentication()

    def _give_up(self) -> None:
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.transport.abort()

    # aiomysql's writer is the wire's now; there is nothing to warn of.
    def __del__(self) -> None:
        self._writer = None

    async def _read_packet(self, *args: Any, **kwargs: Any) -> Any:
        packet = await super()._read_packet(*args, **kwargs)
        if self._first is None:
            self._first = packet.get_all_data()
        return packet

    async def _request_authentication(self) -> None:
        capabilities = self.server_capabilities
        self._extended = not capabilities & login.CLIENT_MYSQL and bool(
            login.mariadb_capabilities(self._first or b"") & login.EXTENDED_TYPES
        )
        if self._extended:
            # MariaDB reads more only from a client that leaves this out, as it does itself.
            self.client_flag &= ~login.CLIENT_MYSQL
        await self._answer_greeting(capabilities, self._server_auth_plugin)
        await super()._request_authentication()

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        self.client_flag |= p.CLIENT_SSL
        charset = pymysql.charset.charset_by_name(self.charset).id
        login.nothing_unread(self._reader._buffer)  # noqa: SLF001 - nobody else knows
        self.write_packet(login.tls_request(self.client_flag, charset, extended=self._extended))
        await self._writer.start_tls(context, server_hostname=self._options.host)
        self._secure = True
