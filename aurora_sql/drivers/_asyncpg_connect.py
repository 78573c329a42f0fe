"""Opening a session by asyncpg: settings at connect, TLS order, keepalives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

from aurora_sql.drivers import _asyncpg_errors, _asyncpg_types
from aurora_sql.drivers import _asyncpg_private as private
from aurora_sql.drivers._asyncpg_connection import AsyncpgConnection
from aurora_sql.drivers._asyncpg_transport import ConnectingLoop
from aurora_sql.drivers._keepalive import keep_alive
from aurora_sql.errors import AuroraError, AuthenticationFailed, TlsError

if TYPE_CHECKING:
    import ssl

    from aurora_sql.drivers.base import ConnectOptions

# The server looks at its socket that often while a statement runs, and stops when the client
# is gone. Known from PostgreSQL 14 on, on Linux; an older server refuses the whole connection.
_CHECK_INTERVAL = "client_connection_check_interval"
_LOOKUPS = 8


async def connect(options: ConnectOptions, row_base: type[Any] | None) -> AsyncpgConnection:
    """Open one session; ``row_base`` is mixed into the class of its rows.

    Raises:
        ConfigurationError: The installed asyncpg lacks something, or the server refuses a setting.
        AuthenticationFailed: The server refuses the user or the password.
        TlsError: No TLS connection of the kind asked for could be made.
        TooManyConnections: The server or the role has none left.
        ConnectionFailed: Anything else.
    """
    opening = _Opening(options, _asyncpg_types.record_class(row_base))
    try:
        async with asyncio.timeout(options.connect_timeout):
            connection = await opening.by_tls_order(await options.password())
    except TimeoutError as exc:
        raise opening.failure(exc) from exc
    try:
        private.check(connection)
        keep_alive(private.socket_of(connection), options)
        _asyncpg_types.install_json(private.protocol_of(connection))
        return AsyncpgConnection(connection, asyncio.get_running_loop(), opening.where)
    except BaseException:
        connection.terminate()
        raise


def address(options: ConnectOptions) -> str:
    """The server as people write it: host:port, or the socket's path."""
    if options.host.startswith("/"):
        return f"{options.host}/.s.PGSQL.{options.port}"
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{host}:{options.port}"


class _Opening:
    """One session being opened, in one or two attempts."""

    __slots__ = ("_options", "_record_class", "where")

    def __init__(self, options: ConnectOptions, record_class: type[asyncpg.Record]) -> None:
        self._options = options
        self._record_class = record_class
        self.where = address(options)

    def failure(self, exc: Exception, *, tls: bool = False) -> AuroraError:
        return _asyncpg_errors.on_connect(
            exc,
            where=self.where,
            user=self._options.user,
            database=self._options.database,
            tls=tls,
            timeout=self._options.connect_timeout,
        )

    async def by_tls_order(self, password: str | None) -> asyncpg.Connection[Any]:
        """Connect with or without TLS, in the order that the options ask for."""
        options = self._options
        if options.tls is None or options.host.startswith("/"):
            return await self._open(password, None)
        order: tuple[ssl.SSLContext | None, ...]
        if options.tls_only_if_required:
            order = (None, options.tls)
        elif options.tls_optional:
            order = (options.tls, None)
        else:
            return await self._open(password, options.tls)
        try:
            return await self._open(password, order[0])
        except (TlsError, AuthenticationFailed) as first:
            # AuthenticationFailed: pg_hba.conf may have a rule for the other kind of connection.
            try:
                return await self._open(password, order[1])
            except AuthenticationFailed as second:
                # A wrong password says more than "no entry for such connections".
                raise first if isinstance(first, AuthenticationFailed) else second from None

    async def _open(
        self, password: str | None, tls: ssl.SSLContext | None
    ) -> asyncpg.Connection[Any]:
        settings = server_settings(self._options)
        try:
            try:
                return await self._attempt(password, tls, settings)
            except asyncpg.UndefinedObjectError as exc:
                if not _asyncpg_errors.lacks_setting(exc, _CHECK_INTERVAL):
                    raise
                del settings[_CHECK_INTERVAL]
                return await self._attempt(password, tls, settings)
        except Exception as exc:
            raise self.failure(exc, tls=tls is not None) from exc

    async def _attempt(
        self, password: str | None, tls: ssl.SSLContext | None, settings: dict[str, str]
    ) -> asyncpg.Connection[Any]:
        # Lists, and a value for everything that asyncpg would otherwise look up in the
        # environment or in files of the user: only the options decide where this goes. The stubs
        # know neither a password of None nor that there may be no timeout.
        loop = asyncio.get_running_loop()
        connection: asyncpg.Connection[Any] = await asyncpg.connect(  # type: ignore[call-overload] # see above
            loop=ConnectingLoop(loop),
            host=[self._options.host],
            port=[self._options.port],
            user=self._options.user,
            password=lambda: password,
            database=self._options.database,
            ssl=False if tls is None else tls,
            direct_tls=False,
            target_session_attrs="any",
            server_settings=settings,
            # Statements are kept by the layer above; asyncpg keeps those of its own look-ups.
            statement_cache_size=_LOOKUPS,
            max_cached_statement_lifetime=0,
            # No timer per call, and connect_timeout covers this already.
            command_timeout=None,
            timeout=None,
            record_class=self._record_class,
        )
        private.set_loop(connection, loop)
        return connection


def server_settings(options: ConnectOptions) -> dict[str, str]:
    """The settings that go with the login, at no round trip; RESET ALL comes back to them."""
    settings = {"application_name": options.application_name}
    for name, seconds in (
        ("statement_timeout", options.command_timeout),
        ("lock_timeout", options.lock_timeout),
        ("idle_in_transaction_session_timeout", options.idle_in_transaction_timeout),
        (_CHECK_INTERVAL, options.client_check_interval),
    ):
        if seconds > 0:
            settings[name] = str(_asyncpg_types.milliseconds(seconds))
    if not options.host.startswith("/"):
        settings.update(_server_keepalives(options))
    settings.update(options.server_settings)
    return settings


def _server_keepalives(options: ConnectOptions) -> dict[str, str]:
    """What makes the server notice a client whose packets vanish, as we notice the server.

    By default it takes two hours; until then the transaction of such a client keeps its locks
    (PostgreSQL documentation, "Connections and Authentication": TCP settings).
    """
    settings = {}
    if options.keepalive_idle > 0:
        settings = {
            "tcp_keepalives_idle": str(options.keepalive_idle),
            "tcp_keepalives_interval": str(options.keepalive_interval),
            "tcp_keepalives_count": str(options.keepalive_count),
        }
    if options.tcp_user_timeout > 0:
        settings["tcp_user_timeout"] = str(_asyncpg_types.milliseconds(options.tcp_user_timeout))
    return settings
