"""Opening a session by asyncmy: login and the decoding of rows are its part, the rest is ours.

What asyncmy does otherwise and is mended here: see ``_mysql_login``; and for TLS it would make a
second transport of a copy of the socket.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from asyncmy.charset import charset_by_name
from asyncmy.connection import Connection, _MySQLProtocol
from asyncmy.errors import MySQLError

from aurora_sql.drivers import _mysql_login as login
from aurora_sql.drivers import _mysql_protocol as p
from aurora_sql.drivers._asyncmy_codec import row_taker
from aurora_sql.drivers._keepalive import keep_alive

if TYPE_CHECKING:
    import ssl

    from aurora_sql.drivers._mysql_login import Target
    from aurora_sql.drivers._mysql_wire import Session
    from aurora_sql.drivers.base import ConnectOptions

__all__ = ["log_in", "row_taker"]

_DEPRECATE_EOF: Final = 1 << 24


async def log_in(options: ConnectOptions, target: Target, password: str | None) -> Session:
    """Open a session.

    Raises:
        AuroraError: It cannot be opened.
    """
    try:
        return await Handshake(options, target, password).open()
    except MySQLError as exc:
        raise login.refusal(exc, options) from exc
    except Exception as exc:
        raise login.failure(exc, options, target) from exc


class Handshake(login.CheckedLogin, Connection):  # type: ignore[misc] # compiled: no types
    """asyncmy's login, with what it lacks. After it the socket is the session's own."""

    # asyncmy sets them.
    _proto: Any
    _transport: Any
    _mariadb_ext_caps: int
    server_capabilities: int

    def __init__(self, options: ConnectOptions, target: Target, password: str | None) -> None:
        local = options.host.startswith("/")
        super().__init__(
            host=options.host,
            port=options.port,
            unix_socket=options.host if local else None,
            user=options.user,
            # As bytes: text would be encoded as latin-1, and the servers take UTF-8.
            password=(password or "").encode(),
            database=options.database or None,
            charset="utf8mb4",
            program_name=options.application_name,
            autocommit=None,
        )
        self._client_flag &= ~p.CLIENT_MULTI_STATEMENTS
        self._client_flag |= p.CLIENT_FOUND_ROWS | p.CLIENT_LOCAL_FILES | p.CLIENT_PS_MULTI_RESULTS
        self._log_in_to(options, target)

    async def open(self) -> Session:
        """Connect and log in."""
        try:
            await self._login()
        except BaseException:
            if self._transport is not None:
                self._transport.abort()
            raise
        unread = self._proto.length > self._proto.pos
        return self._session(self._transport, self._loop, None, unread=unread)

    async def _login(self) -> None:
        loop = asyncio.get_running_loop()

        def protocol() -> Any:
            return _MySQLProtocol(loop)

        if self._local:
            opened = await loop.create_unix_connection(protocol, self._options.host)
        else:
            opened = await loop.create_connection(protocol, self._target.address, self._target.port)
        self._transport, self._proto = opened
        self._secure = self._local
        keep_alive(self._transport.get_extra_info("socket"), self._options)
        self._next_seq_id = 0
        await self._get_server_information()
        await self._request_authentication()

    async def _get_server_information(self) -> None:
        await super()._get_server_information()
        capabilities = self.server_capabilities
        self._extended = not capabilities & login.CLIENT_MYSQL and bool(
            self._mariadb_ext_caps & login.EXTENDED_TYPES
        )
        # What asyncmy would ask for where it is offered: loads of many rows in one command, and
        # results that end in another way.
        self._mariadb_ext_caps = 0
        self.server_capabilities = capabilities & ~_DEPRECATE_EOF

    async def _request_authentication(self) -> Any:
        if self._extended:
            # MariaDB reads more only from a client that leaves this out, as it does itself.
            self._client_flag &= ~login.CLIENT_MYSQL
        await self._answer_greeting(self.server_capabilities, self._auth_plugin_name)
        return await super()._request_authentication()

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        self._client_flag |= p.CLIENT_SSL
        login.nothing_unread(self._proto.length > self._proto.pos)
        charset = charset_by_name("utf8mb4").id
        self.write_packet(login.tls_request(self._client_flag, charset, extended=self._extended))
        self._transport = self._proto.transport = await self._loop.start_tls(
            self._transport, self._proto, context, server_hostname=self._options.host
        )
        # It has been done: asyncmy must not do it again, and may rely on it.
        self._ssl_context = context
        self._secure = self._tls_established = True
