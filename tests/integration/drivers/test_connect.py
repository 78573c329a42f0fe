import asyncio
import socket
import ssl
import sys

import pytest

from aurora_sql import errors
from aurora_sql.drivers import _asyncpg_connect, connect
from aurora_sql.types import Engine


async def settings(connection, *names):
    out = {}
    for name in names:
        statement = await connection.prepare(f"SHOW {name}")
        out[name] = (await statement.fetch(()))[0][0]
    return out


async def test_settings_travel_with_the_login(opened):
    connection = await opened(
        command_timeout=1.5,
        lock_timeout=0.25,
        idle_in_transaction_timeout=7,
        client_check_interval=3,
        application_name="shop",
        server_settings=(("search_path", "pg_catalog"),),
    )
    assert connection.commands_sent == 0
    assert await settings(
        connection,
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "client_connection_check_interval",
        "application_name",
        "search_path",
    ) == {
        "statement_timeout": "1500ms",
        "lock_timeout": "250ms",
        "idle_in_transaction_session_timeout": "7s",
        "client_connection_check_interval": "3s",
        "application_name": "shop",
        "search_path": "pg_catalog",
    }


async def test_the_server_is_told_to_notice_a_client_that_vanished(opened):
    names = ("idle", "interval", "count")
    connection = await opened(
        keepalive_idle=7, keepalive_interval=3, keepalive_count=4, tcp_user_timeout=2.5
    )
    assert await settings(
        connection, *(f"tcp_keepalives_{name}" for name in names), "tcp_user_timeout"
    ) == {
        "tcp_keepalives_idle": "7",
        "tcp_keepalives_interval": "3",
        "tcp_keepalives_count": "4",
        "tcp_user_timeout": "2500",
    }
    await connection.reset()
    assert (await settings(connection, "tcp_user_timeout")) == {"tcp_user_timeout": "2500"}


async def test_zero_means_no_limit(opened):
    connection = await opened(
        command_timeout=0, idle_in_transaction_timeout=0, client_check_interval=0
    )
    assert set(
        (
            await settings(
                connection,
                "statement_timeout",
                "idle_in_transaction_session_timeout",
                "client_connection_check_interval",
            )
        ).values()
    ) == {"0"}


async def test_a_server_without_the_check_interval_is_connected_to_without_it(
    opened, monkeypatch, value
):
    # The server refuses the login over a setting that it does not know, as versions before 14 do.
    monkeypatch.setattr(_asyncpg_connect, "_CHECK_INTERVAL", "client_connection_check_interva")
    connection = await opened(application_name="old server")
    assert await value(connection, "SHOW application_name") == "old server"


async def test_an_unknown_setting_is_a_configuration_error(opened):
    with pytest.raises(errors.ConfigurationError, match="no_such_setting"):
        await opened(server_settings=(("no_such_setting", "1"),))


async def test_a_bad_value_of_a_setting_is_a_configuration_error(opened):
    with pytest.raises(errors.ConfigurationError, match="work_mem"):
        await opened(server_settings=(("work_mem", "lots"),))


async def test_keepalive_is_on(connection):
    sock = connection._connection._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


async def test_a_unix_socket(opened, server, value):
    connection = await opened(host=str(server.folder))
    assert await value(connection, "SELECT inet_client_addr()") is None
    assert connection.where == f"{server.folder}/.s.PGSQL.{server.port}"


async def test_the_right_password(opened, value):
    connection = await opened(user="secretive", secret="correct horse")
    assert await value(connection, "SELECT current_user::text") == "secretive"


@pytest.mark.parametrize("secret", ["battery staple", "", None])
async def test_a_wrong_password(opened, secret):
    with pytest.raises(errors.AuthenticationFailed, match="secretive") as caught:
        await opened(user="secretive", secret=secret)
    assert caught.value.retry_safe
    if secret:
        assert secret not in str(caught.value)


async def test_the_environment_is_not_asked(opened, monkeypatch, tmp_path):
    monkeypatch.setenv("PGPASSWORD", "correct horse")
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    monkeypatch.setenv("PGSSLNEGOTIATION", "direct")
    with pytest.raises(errors.AuthenticationFailed):
        await opened(user="secretive")
    await opened()


async def test_an_unknown_user(opened):
    with pytest.raises(errors.AuthenticationFailed, match="nobody_here"):
        await opened(user="nobody_here")


async def test_an_unknown_database(opened):
    with pytest.raises(errors.ConfigurationError, match="no database 'nowhere'") as caught:
        await opened(database="nowhere")
    assert "setting `database`" in str(caught.value)


async def test_a_closed_port(opened):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(
            errors.ConnectionFailed, match=rf"127\.0\.0\.1:{port}.*running"
        ) as caught:
            await opened(port=port)
    assert caught.value.retry_safe
    assert not caught.value.outcome_unknown


async def test_a_host_name_that_does_not_resolve(opened):
    with pytest.raises(errors.ConnectionFailed, match=r"nowhere\.invalid"):
        await opened(host="nowhere.invalid")


async def test_a_host_that_never_answers(opened):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(errors.ConnectionFailed, match=r"within 0\.2 s"):
            await opened(port=silent.getsockname()[1], connect_timeout=0.2)


async def test_a_password_that_never_comes(server):
    async def never():
        await asyncio.Event().wait()

    options = server.options(connect_timeout=0.05, password=never)
    with pytest.raises(errors.ConnectionFailed, match=r"within 0\.05 s"):
        await connect(Engine.POSTGRESQL, options)


async def test_the_error_of_the_password_callable_passes(server):
    async def broken():
        raise errors.ConfigurationError("no secret here")

    with pytest.raises(errors.ConfigurationError, match="no secret here"):
        await connect(Engine.POSTGRESQL, server.options(password=broken))


async def test_a_role_without_connections_left(opened):
    await opened(user="lonely")
    with pytest.raises(errors.TooManyConnections, match="max_connections"):
        await opened(user="lonely")


@pytest.mark.parametrize(
    ("engine", "driver", "extra"),
    [
        (Engine.MYSQL, "aiomysql", "mysql"),
        (Engine.MYSQL, "asyncmy", "mysql-speed"),
        (Engine.POSTGRESQL, "asyncpg", "postgresql"),
    ],
)
async def test_a_driver_that_is_not_installed(server, monkeypatch, engine, driver, extra):
    import aurora_sql.drivers

    for name in tuple(sys.modules):
        if name.startswith((f"{driver}.", f"aurora_sql.drivers._{driver}")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(aurora_sql.drivers, f"_{driver}_connect", raising=False)
    monkeypatch.setitem(sys.modules, driver, None)
    chosen = {"mysql_driver": driver} if engine is Engine.MYSQL else {}
    with pytest.raises(errors.ConfigurationError, match=rf"aurora-sql\[{extra}\]"):
        await connect(engine, server.options(**chosen))


async def test_no_password_in_reprs(opened, server):
    connection = await opened(user="secretive", secret="correct horse")
    assert "correct horse" not in repr(connection) + repr(vars(type(connection)))
    assert "password" not in repr(server.options(secret="correct horse"))


async def test_cancelled_at_every_turn_leaves_no_session(server, other, value):
    for turns in range(40):
        task = asyncio.ensure_future(
            connect(Engine.POSTGRESQL, server.options(application_name="given_up"))
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            connection = await task
        except asyncio.CancelledError:
            continue
        await connection.close()
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'given_up'"
    for _ in range(100):
        if await value(other, count) == 0:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("sessions are left")


# --- TLS --------------------------------------------------------------------------------------


def is_encrypted(connection):
    return connection._connection._transport.get_extra_info("ssl_object") is not None


async def test_tls(opened, trusting, tls_proxy, value):
    async with tls_proxy() as proxy:
        connection = await opened(tls=trusting, port=proxy.port)
        assert is_encrypted(connection)
        assert await value(connection, "SELECT 1") == 1


async def test_tls_with_a_certificate_that_is_not_trusted(opened, tls_proxy):
    async with tls_proxy() as proxy:
        with pytest.raises(errors.TlsError, match="ssl_root_cert"):
            await opened(tls=ssl.create_default_context(), port=proxy.port)


async def test_tls_refused_by_the_server_is_no_reason_for_plain_text(opened, tls_proxy, trusting):
    async with tls_proxy(takes_tls=False) as proxy:
        with pytest.raises(errors.TlsError, match="does not take TLS"):
            await opened(tls=trusting, port=proxy.port)


async def test_tls_optional_prefers_tls(opened, trusting, tls_proxy):
    async with tls_proxy() as proxy:
        assert is_encrypted(await opened(tls=trusting, tls_optional=True, port=proxy.port))


async def test_tls_optional_falls_back(opened, trusting, tls_proxy):
    async with tls_proxy(takes_tls=False) as proxy:
        connection = await opened(tls=trusting, tls_optional=True, port=proxy.port)
        assert not is_encrypted(connection)


async def test_tls_only_if_required_starts_without(opened, trusting, tls_proxy):
    async with tls_proxy() as proxy:
        connection = await opened(tls=trusting, tls_only_if_required=True, port=proxy.port)
        assert not is_encrypted(connection)


async def test_tls_only_if_required_takes_tls_where_it_is(opened, trusting, tls_proxy):
    async with tls_proxy(takes_plain=False) as proxy:
        connection = await opened(tls=trusting, tls_only_if_required=True, port=proxy.port)
        assert is_encrypted(connection)


async def test_both_orders_say_that_the_login_failed(opened, trusting, tls_proxy):
    async with tls_proxy() as proxy:
        for order in ({"tls_optional": True}, {"tls_only_if_required": True}):
            with pytest.raises(errors.AuthenticationFailed):
                await opened(tls=trusting, port=proxy.port, user="plainless", **order)


async def test_a_cancel_request_over_tls(opened, trusting, tls_proxy, value):
    async with tls_proxy() as proxy:
        connection = await opened(tls=trusting, port=proxy.port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connection.execute("SELECT pg_sleep(10)")
        assert await connection.settle()
        assert await value(connection, "SELECT 1") == 1


async def test_a_broken_tls_connection_is_a_lost_one(opened, trusting, tls_proxy):
    async with tls_proxy() as proxy:
        connection = await opened(tls=trusting, port=proxy.port)
        statement = asyncio.ensure_future(connection.execute("SELECT pg_sleep(10)"))
        await asyncio.sleep(0.02)
    with pytest.raises(errors.ConnectionLost) as caught:
        await statement
    assert caught.value.outcome_unknown


# --- what the server is -----------------------------------------------------------------------


async def test_version_and_backend(connection, value):
    assert connection.server_version[0] >= 13
    assert connection.backend_id == await value(connection, "SELECT pg_backend_pid()")
    assert connection.is_standby is False


async def test_a_standby_says_so(opened, standby):
    connection = await opened(standby)
    assert connection.is_standby is True
    with pytest.raises(errors.ReadOnlyInstance) as caught:
        await connection.execute("CREATE TABLE nothing ()")
    assert caught.value.retry_safe
    await connection.reset()
