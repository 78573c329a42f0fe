"""Opening connections: settings, TLS in every mode, and everything that goes wrong."""

import asyncio
import contextlib
import dataclasses
import socket
import ssl
import time

import pytest

from aurora_sql import errors
from aurora_sql.drivers import connect
from aurora_sql.settings import SslMode
from aurora_sql.settings._tls import plan
from aurora_sql.types import Engine


def tls(mode, root=None):
    made = plan(mode, None if root is None else str(root / "server.crt"), "ssl_root_cert")
    return {
        "tls": made.context,
        "tls_optional": made.optional,
        "tls_only_if_required": made.only_if_required,
    }


async def encrypted(connection):
    return bool((await connection.ask("SHOW SESSION STATUS LIKE 'Ssl_cipher'"))[0][1])


async def test_a_server_that_takes_no_writes_is_known_when_a_session_begins(opened, other):
    await other.execute("SET GLOBAL read_only = 1")
    try:
        assert (await opened()).is_standby is True
    finally:
        await other.execute("SET GLOBAL read_only = 0")


async def test_the_settings_of_a_session(opened, value, kind):
    connection = await opened(
        command_timeout=12.5,
        lock_timeout=2.5,
        idle_in_transaction_timeout=77.0,
        server_settings=(("max_sort_length", "2048"), ("character_set_results", "utf8mb4")),
    )
    assert connection.server_version > (8,)
    assert connection.is_mariadb is (kind == "mariadb")
    assert connection.backend_id == await value(connection, "SELECT CONNECTION_ID()")
    assert connection.is_standby is False
    assert await value(connection, "SELECT @@autocommit") == 1
    assert await value(connection, "SELECT @@time_zone") == "+00:00"
    assert await value(connection, "SELECT @@character_set_client") == "utf8mb4"
    assert await value(connection, "SELECT @@innodb_lock_wait_timeout") == 3
    assert await value(connection, "SELECT @@max_sort_length") == 2048
    assert "STRICT_TRANS_TABLES" in await value(connection, "SELECT @@sql_mode")
    if kind == "mysql":
        assert await value(connection, "SELECT @@max_execution_time") == 12500
        assert await value(connection, "SELECT @@wait_timeout") == 77
    else:
        assert await value(connection, "SELECT @@max_statement_time") == 12.5
        assert await value(connection, "SELECT @@idle_transaction_timeout") == 77
    assert "test" not in repr(connection)


async def test_a_setting_that_the_server_does_not_know(server):
    for setting in (("nonsense", "1"), ("a = 1; --", "1"), ("sql_mode", "nonsense")):
        with pytest.raises(errors.ConfigurationError):
            await connect(Engine.MYSQL, server.options(server_settings=(setting,)))


@pytest.mark.parametrize("mode", [SslMode.DISABLE, SslMode.ALLOW])
async def test_plain_text(opened, mode):
    assert not await encrypted(await opened(**tls(mode)))


@pytest.mark.parametrize(
    ("mode", "rooted"),
    [
        (SslMode.PREFER, False),
        (SslMode.REQUIRE, False),
        (SslMode.REQUIRE, True),
        (SslMode.VERIFY_CA, True),
        (SslMode.VERIFY_FULL, True),
    ],
)
async def test_tls(opened, mode, rooted, certificate, value):
    connection = await opened(**tls(mode, certificate if rooted else None))
    assert await encrypted(connection)
    assert await value(connection, "SELECT LENGTH(?)", "x" * 300_000) == 300_000
    task = asyncio.ensure_future(value(connection, "SELECT SLEEP(20)"))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    assert await connection.settle(5)
    assert await value(connection, "SELECT 7") == 7


async def test_an_unknown_certificate(server):
    for mode in (SslMode.VERIFY_CA, SslMode.VERIFY_FULL):
        with pytest.raises(errors.TlsError, match="not trusted"):
            await connect(Engine.MYSQL, server.options(**tls(mode)))


async def test_a_certificate_for_another_name(server, certificate):
    options = server.options(**tls(SslMode.VERIFY_FULL, certificate), host="127.0.0.2")
    with pytest.raises((errors.TlsError, errors.ConnectionFailed)):
        await connect(Engine.MYSQL, options)


async def test_no_silent_plain_text(start, kind, certificate):
    off = "--skip-ssl" if kind == "mariadb" else "--tls-version="
    with start(kind, off, "--max-connections=10") as one:
        for mode in (SslMode.REQUIRE, SslMode.VERIFY_FULL):
            with pytest.raises(errors.TlsError, match="does not take TLS"):
                await connect(Engine.MYSQL, one.options(**tls(mode, certificate)))
        connection = await connect(Engine.MYSQL, one.options(**tls(SslMode.PREFER)))
        assert not await encrypted(connection)
        others = []
        with pytest.raises(errors.TooManyConnections, match="max_connections"):
            for _ in range(15):
                others.append(await connect(Engine.MYSQL, one.options()))  # noqa: PERF401 - what was opened is kept
        for each in (connection, *others):
            await each.close()


async def test_over_the_unix_socket(opened, server, value):
    connection = await opened(host=server.socket)
    assert await value(connection, "SELECT 7") == 7


async def test_logins_that_fail(server):
    with pytest.raises(errors.AuthenticationFailed, match="username and password") as info:
        await connect(Engine.MYSQL, server.options(secret="battery staple"))
    assert "battery" not in str(info.value)
    with pytest.raises(errors.AuthenticationFailed):
        await connect(Engine.MYSQL, server.options(user="nobody_at_all"))
    with pytest.raises(errors.AuthenticationFailed):
        await connect(Engine.MYSQL, server.options(secret=None))
    with pytest.raises(errors.ConfigurationError, match="nowhere"):
        await connect(Engine.MYSQL, server.options(database="nowhere"))
    with pytest.raises(errors.ConnectionFailed, match="is the server running"):
        await connect(Engine.MYSQL, server.options(port=1))


async def test_passwords_of_any_text(opened, connection):
    for name, secret in (("umlaut", "pässwörd €🐟"), ("nothing", "")):
        await connection.execute(f"DROP USER IF EXISTS {name}")
        await connection.execute(f"CREATE USER {name} IDENTIFIED BY '{secret}'")
        await connection.execute(f"GRANT SELECT ON test.* TO {name}")
        for _ in range(2):  # the first login of caching_sha2_password takes the long way
            assert await (await opened(user=name, secret=secret)).ping() is None


async def test_a_peer_that_never_answers(server):
    held = []

    async def hold(reader, writer):
        held.append(writer)
        await reader.read()

    listener = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(errors.ConnectionFailed, match=r"within 0\.3 s"):
        await connect(Engine.MYSQL, server.options(port=port, connect_timeout=0.3))
    assert time.monotonic() - begun < 5
    listener.close()
    for writer in held:
        writer.transport.abort()
    await asyncio.sleep(0.01)


def greeting(plugin, *, ssl_too=False):
    low = 0xF7FF | 0x0800 if ssl_too else 0xF7FF
    body = (
        b"\x0a8.0.36\0"
        + (77).to_bytes(4, "little")
        + b"12345678\0"
        + low.to_bytes(2, "little")
        + b"\x2d\x02\0"
        + (0x00FF | 8).to_bytes(2, "little")
        + bytes([21])
        + bytes(10)
        + b"abcdefghijkl\0"
        + plugin
        + b"\0"
    )
    return len(body).to_bytes(3, "little") + b"\0" + body


class Liar:
    """A server that asks for more than it should get."""

    def __init__(self, certificate=None, *, plugin=b"mysql_native_password", switch=None):
        self.greeting = greeting(plugin, ssl_too=certificate is not None)
        self.switch = switch
        self.got = b""
        self.context = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate / "server.crt", certificate / "server.key")

    async def serve(self, sock):
        # By hand: what follows the request for TLS at once must not be read by anybody else.
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(sock, self.greeting)
            while self.context is not None and len(self.got) < 36:
                data = await loop.sock_recv(sock, 36 - len(self.got))
                if not data:
                    raise ConnectionError("the client has left")  # noqa: TRY301 - as if it were reset
                self.got += data
        except BaseException:
            sock.close()
            raise
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_accepted_socket(
            lambda: asyncio.StreamReaderProtocol(reader), sock, ssl=self.context
        )
        try:
            self.got += await reader.read(4096)
            if self.switch:
                body = b"\xfe" + self.switch + b"\0"
                number = 3 if self.context is not None else 2
                transport.write(len(body).to_bytes(3, "little") + bytes([number]) + body)
            while data := await reader.read(4096):
                self.got += data
        except OSError:
            pass
        finally:
            transport.abort()

    async def accept(self):
        sock, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        sock.setblocking(False)  # noqa: FBT003 - as the standard library has it
        with contextlib.suppress(OSError):
            await self.serve(sock)

    async def __aenter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)  # noqa: FBT003 - as the standard library has it
        self.port = self.listener.getsockname()[1]
        self.task = asyncio.ensure_future(self.accept())
        return self

    async def __aexit__(self, *_):
        await asyncio.sleep(0.05)
        self.task.cancel()
        await asyncio.wait([self.task])
        self.listener.close()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["greeting", "switch"])
@pytest.mark.parametrize("over", ["plain", "unverified"])
@pytest.mark.parametrize("clear", [b"mysql_clear_password", b"dialog"])
async def test_the_password_is_not_given_away(server, certificate, how, over, clear):
    asks = {"plugin": clear} if how == "greeting" else {"switch": clear}
    unverified = over == "unverified"
    async with Liar(certificate if unverified else None, **asks) as liar:
        mode = SslMode.REQUIRE if unverified else SslMode.DISABLE
        options = dataclasses.replace(server.options(port=liar.port), **tls(mode))
        with pytest.raises(errors.AuthenticationFailed, match="clear text"):
            await connect(Engine.MYSQL, options)
    assert b"correct horse" not in liar.got


async def test_what_comes_before_tls_does_not_count(server, certificate):
    async with Liar(certificate) as liar:
        liar.greeting += b"\x1d\0\0\2\xfemysql_clear_password\0abcdefg"
        options = dataclasses.replace(
            server.options(port=liar.port), **tls(SslMode.VERIFY_FULL, certificate)
        )
        with pytest.raises(errors.TlsError, match="between its greeting and TLS"):
            await connect(Engine.MYSQL, options)
    assert b"correct horse" not in liar.got


async def test_a_password_in_clear_text_over_verified_tls(server, certificate):
    async with Liar(certificate, switch=b"mysql_clear_password") as liar:
        options = dataclasses.replace(
            server.options(port=liar.port, connect_timeout=0.5),
            **tls(SslMode.VERIFY_FULL, certificate),
        )
        with pytest.raises(errors.ConnectionFailed, match="within"):
            await connect(Engine.MYSQL, options)
    assert b"correct horse\0" in liar.got


async def test_cancelled_at_every_turn_of_the_login(server, opened, value):
    observer = await opened()
    for turns in range(0, 60, 3):
        task = asyncio.ensure_future(connect(Engine.MYSQL, server.options()))
        for _ in range(turns):
            await asyncio.sleep(0.0001)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result().abort()
    sql = "SELECT count(*) FROM information_schema.processlist WHERE user = 'app'"
    for _ in range(100):
        if await value(observer, sql) <= 1:
            return
        await asyncio.sleep(0.05)
    pytest.fail("a session was left behind")
