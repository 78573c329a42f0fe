"""Logging in to MySQL, whichever driver does it.

Both drivers grew out of PyMySQL, and what is mended here they share: each goes on in plain text
where a server has no TLS or answers in clear text any request for a password, takes what arrived
before TLS for what came over it, and allows several statements in one.
"""

from __future__ import annotations

import asyncio
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.drivers import _mysql_errors as mysql_errors
from aurora_sql.drivers import _mysql_protocol as p
from aurora_sql.drivers._mysql_connection import MySQLConnection
from aurora_sql.drivers._mysql_wire import Session, Wire
from aurora_sql.errors import AuthenticationFailed, ConfigurationError, TlsError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from aurora_sql.drivers._mysql_types import Codec
    from aurora_sql.drivers.base import ConnectOptions

    LogIn = Callable[[ConnectOptions, "Target", str | None], Awaitable[Session]]

CLIENT_MYSQL: Final = 1
"""MariaDB leaves this capability out, and has more in what others leave empty."""
EXTENDED_TYPES: Final = 1 << 3
"""MariaDB's capability: columns come with extended type information."""
# Where MariaDB's capabilities stand in the client's answer.
_EXTENDED_AT: Final = slice(28, 32)
# Each sends the password as it is: one at once, the other when the server words the question so.
_CLEAR: Final = {"mysql_clear_password", "dialog"}
_BROKEN: Final = "mysql_old_password"


@dataclass(frozen=True, slots=True)
class Target:
    """Where one attempt goes.

    Attributes:
        address: Host name or address to connect to.
        port: TCP port.
        tls: The context, None for plain text.
        tls_or_plain: Plain text will do where the server has no TLS.
    """

    address: str
    port: int
    tls: ssl.SSLContext | None
    tls_or_plain: bool = False


@dataclass(frozen=True, slots=True)
class Driver:
    """What of a driver is used.

    Attributes:
        log_in: Opens a session.
        codec: Reads rows.
    """

    log_in: LogIn
    codec: Codec


def choose(name: str) -> Driver:
    """The driver of this name; ``auto`` for asyncmy where it is installed, else aiomysql.

    Raises:
        ConfigurationError: It is not installed, or of a version that cannot be used.
    """
    if name == "asyncmy" or (name == "auto" and importlib.util.find_spec("asyncmy") is not None):
        try:
            # Here and not above: a driver is imported where it is used.
            from aurora_sql.drivers import _asyncmy_connect  # noqa: PLC0415 - see above
        except ImportError as exc:
            # Also a version without the functions that are used.
            if name == "asyncmy" or importlib.util.find_spec("aiomysql") is None:
                raise ConfigurationError(
                    f"asyncmy cannot be used ({exc}): pip install 'aurora-sql[mysql-speed]'"
                ) from exc
        else:
            return Driver(_asyncmy_connect.log_in, _asyncmy_connect.row_taker)
    try:
        from aurora_sql.drivers import _aiomysql_connect  # noqa: PLC0415 - see above
    except ImportError as exc:
        raise ConfigurationError(
            f"MySQL needs aiomysql ({exc}): pip install 'aurora-sql[mysql]'"
        ) from exc
    return Driver(_aiomysql_connect.log_in, _aiomysql_connect.row_taker)


class CheckedLogin:
    """What both drivers' logins lack. Stands in front of the class that logs in.

    A subclass calls :meth:`_answer_greeting` before the driver answers the server's greeting, and
    has ``_start_tls``.
    """

    _options: ConnectOptions
    _target: Target
    _local: bool
    # Runs over TLS, or not over a network.
    _secure: bool
    # The server has proven who it is.
    _verified: bool
    # Columns will come with MariaDB's extended type information.
    _extended = False
    # The next packet is the answer to the greeting.
    _answering = False

    # The drivers have them.
    server_status: int
    server_version: str
    thread_id: Callable[[], int]

    def _log_in_to(self, options: ConnectOptions, target: Target) -> None:
        """Take what the login is checked by."""
        self._options = options
        self._target = target
        self._local = self._verified = options.host.startswith("/")

    async def _answer_greeting(self, capabilities: int, method: str) -> None:
        """Begin TLS if it is wanted, and see whether to answer.

        Args:
            capabilities: What the server can, by its greeting.
            method: The method of authentication that it names there.

        Raises:
            TlsError: The server has no TLS, and plain text is not allowed.
            AuthenticationFailed: The method would give the password away.
        """
        context = self._target.tls
        if wants_tls(self._options, self._target, capabilities) and context is not None:
            await self._start_tls(context)
            self._verified = is_verified(context)
        self._check_method(method)
        self._answering = True

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        raise NotImplementedError

    def write_packet(self, payload: bytes) -> None:
        if self._answering:
            # MariaDB's own capabilities go into the bytes that are empty otherwise.
            self._answering = False
            if self._extended:
                payload = with_extended_types(payload)
        super().write_packet(payload)  # type: ignore[misc] # the driver's

    async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        self._check_method(plugin_name.decode("latin-1"))
        return await super()._process_auth(  # type: ignore[misc] # the driver's
            plugin_name, auth_packet
        )

    def _check_method(self, name: str) -> None:
        check_method(self._options, name, verified=self._verified)

    def _session(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        keep: object,
        *,
        unread: bool,
    ) -> Session:
        """Take over the socket after the login.

        Raises:
            ConnectionError: Something came after the login that was not asked for.
        """
        wire = Wire(transport, loop, keep, self.server_status)
        if unread:
            wire.abort()
            raise ConnectionError("the server sent something unasked")
        return Session(
            wire,
            self.thread_id(),
            self.server_version,
            encrypted=self._secure and not self._local,
            extended=self._extended,
        )


async def connect(options: ConnectOptions, row_base: type[Any] | None) -> MySQLConnection:
    """Open one session; ``row_base`` is mixed into the class of its rows.

    Raises:
        ConfigurationError: The driver is not installed; the server refuses a setting, or has no
            such database.
        AuthenticationFailed: The server refuses the user or the password, or asks for the
            password in clear text where TLS is not verified.
        TlsError: No TLS connection of the kind asked for could be made.
        TooManyConnections: The server or the account has none left.
        ConnectionFailed: Anything else.
    """
    driver = choose(options.mysql_driver)
    where = address(options)
    session: Session | None = None

    async def open_beside(options: ConnectOptions, beside: Session) -> Session:
        return await _open_beside(options, beside, driver.log_in)

    try:
        async with asyncio.timeout(options.connect_timeout):
            session = await _by_tls_order(options, await options.password(), driver.log_in)
            connection = MySQLConnection(
                session, options, row_base, where, open_beside, driver.codec
            )
            await connection.prepare_session()
    except TimeoutError as exc:
        _drop(session)
        raise mysql_errors.on_connect(
            exc, where=where, timeout=options.connect_timeout, tls=False
        ) from exc
    except BaseException:
        _drop(session)
        raise
    return connection


def _drop(session: Session | None) -> None:
    if session is not None:
        session.wire.abort()


def address(options: ConnectOptions) -> str:
    """The server as people write it: host:port, or the socket's path."""
    if options.host.startswith("/"):
        return options.host
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{host}:{options.port}"


async def _by_tls_order(options: ConnectOptions, password: str | None, open_: LogIn) -> Session:
    plain = Target(options.host, options.port, None)
    if options.tls is None or options.host.startswith("/"):
        return await open_(options, plain, password)
    tls = Target(options.host, options.port, options.tls)
    if options.tls_only_if_required:
        try:
            return await open_(options, plain, password)
        except (TlsError, AuthenticationFailed):
            return await open_(options, tls, password)
    if not options.tls_optional:
        return await open_(options, tls, password)
    try:
        return await open_(
            options, Target(options.host, options.port, options.tls, tls_or_plain=True), password
        )
    except TlsError:
        return await open_(options, plain, password)


async def _open_beside(options: ConnectOptions, beside: Session, open_: LogIn) -> Session:
    """Open a second session at the same server, by the address that the first one reached."""
    peer = beside.wire.get_extra_info("peername")
    host, port = peer[:2] if isinstance(peer, tuple) else (options.host, options.port)
    tls = options.tls if beside.encrypted else None
    return await open_(options, Target(host, port, tls), await options.password())


def refusal(exc: Exception, options: ConnectOptions) -> Exception:
    """The error for what a driver raised with a code of the server or of the client library."""
    args = exc.args
    code = args[0] if args and isinstance(args[0], int) else 0
    message = str(args[1] if len(args) > 1 else args[0] if args else type(exc).__name__)
    return mysql_errors.refused(
        code,
        message,
        where=address(options),
        user=options.user,
        database=options.database,
    )


def failure(exc: Exception, options: ConnectOptions, target: Target) -> Exception:
    """The error for whatever else went wrong while a session was opened."""
    return mysql_errors.on_connect(
        exc,
        where=address(options),
        timeout=options.connect_timeout,
        tls=target.tls is not None,
    )


def wants_tls(options: ConnectOptions, target: Target, capabilities: int) -> bool:
    """Whether to ask the server for TLS.

    Raises:
        TlsError: The server has none, and plain text is not allowed.
    """
    if target.tls is None:
        return False
    if not capabilities & p.CLIENT_SSL and not target.tls_or_plain:
        raise TlsError(
            f"{address(options)}: the server does not take TLS connections: turn TLS on at the "
            "server, or choose another ssl_mode"
        )
    return bool(capabilities & p.CLIENT_SSL)


def tls_request(flags: int, charset: int, *, extended: bool) -> bytes:
    """The packet after which TLS begins."""
    head = flags | p.CLIENT_SSL | p.CLIENT_MULTI_RESULTS
    return (
        head.to_bytes(4, "little")
        + b"\xff\xff\xff\0"
        + bytes((charset,))
        + bytes(19)
        # MariaDB looks for its own here too, and only here.
        + (EXTENDED_TYPES if extended else 0).to_bytes(4, "little")
    )


def nothing_unread(unread: object) -> None:
    """Refuse what arrived before TLS: whoever put it there is not the server behind TLS.

    Raises:
        TlsError: There is something.
    """
    if unread:
        raise TlsError("the server sent something between its greeting and TLS")


def with_extended_types(payload: bytes) -> bytes:
    """The answer to the greeting with MariaDB's own capability in it."""
    patched = bytearray(payload)
    patched[_EXTENDED_AT] = EXTENDED_TYPES.to_bytes(4, "little")
    return bytes(patched)


def is_verified(context: ssl.SSLContext) -> bool:
    """Whether TLS with this context proves who the server is."""
    return context.verify_mode.name == "CERT_REQUIRED"


def check_method(options: ConnectOptions, name: str, *, verified: bool) -> None:
    """Refuse to give the password away.

    Raises:
        AuthenticationFailed: The method is broken, or sends the password as it is to a server
            that has not proven who it is.
    """
    where = address(options)
    if name == _BROKEN:
        raise AuthenticationFailed(
            f"{where}: the server asks for {_BROKEN}, which is broken; give the account "
            "another method"
        )
    if name in _CLEAR and not verified:
        raise AuthenticationFailed(
            f"{where}: the server asks for the password in clear text ({name}), which it "
            "gets only over TLS with a verified certificate: set ssl_mode to verify-full"
        )


def mariadb_capabilities(greeting: bytes) -> int:
    """MariaDB's own capabilities in its greeting: four bytes before the rest of the salt."""
    version_end = greeting.find(b"\0", 1)
    # Behind the version stand the thread's number, eight bytes of salt and a filler, the lower
    # capabilities, charset, status, the upper capabilities, the salt's length and a filler.
    at = version_end + 1 + 4 + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 6
    return int.from_bytes(greeting[at : at + 4], "little")
