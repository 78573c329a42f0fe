"""Private servers of both kinds, and connections to them."""

import asyncio
import contextlib
import datetime as dt
import importlib.util
import ipaddress
import shutil
import ssl
import sys
import tempfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from aurora_sql.drivers import connect
from aurora_sql.rows import Row
from aurora_sql.types import Engine


def _load(name):
    # The tests are no package; this folder's helper is loaded by its place.
    spec = importlib.util.spec_from_file_location(
        f"aurora_sql_tests_mysql_{name}", Path(__file__).with_name(f"{name}.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


servers = _load("servers")


_SPARED = (
    # From the login on, both drivers share the code.
    {"asyncmy", "asyncio"},
    # Each loop meets each driver, and each server too: not all three of each.
    {"mysql", "aiomysql", "uvloop"},
    {"mariadb", "aiomysql", "asyncio"},
)


def pytest_collection_modifyitems(config, items):
    """Spare combinations of event loop, server and driver whose pairs others have."""
    here = Path(__file__).parent
    spared = set()
    for item in items:
        if here in item.path.parents:
            words = set(item.name.rstrip("]").replace("[", "-").split("-"))
            if any(one <= words for one in _SPARED):
                spared.add(item)
    if spared:
        config.hook.pytest_deselected(items=list(spared))
        items[:] = [item for item in items if item not in spared]


@pytest.fixture(scope="session")
def start():
    """Start a further server."""
    return servers.run


@pytest.fixture(autouse=True, params=servers.DRIVERS)
def driver(request, monkeypatch):
    """Every test holds for both drivers."""
    pytest.importorskip(request.param)
    monkeypatch.setattr(servers.Server, "driver", request.param)
    return request.param


@pytest.fixture(scope="session", params=servers.KINDS)
def kind(request):
    reason = servers.missing(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="session")
def certificate(short_folder):
    """A folder with a self-signed certificate for 127.0.0.1, which the server's user can read."""
    folder = Path(tempfile.mkdtemp(prefix="asql_tls_", dir=short_folder))
    folder.chmod(0o755)
    _certificate(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _certificate(folder):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    for file in ("server.crt", "server.key"):
        (folder / file).chmod(0o644)


@pytest.fixture
def trusting(certificate):
    return ssl.create_default_context(cafile=str(certificate / "server.crt"))


@pytest.fixture(scope="session")
def server(kind, certificate):
    with servers.run(
        kind, f"--ssl-cert={certificate}/server.crt", f"--ssl-key={certificate}/server.key"
    ) as one:
        yield one


@pytest.fixture
async def opened(server):
    """Open connections; they are closed at the end of the test."""
    connections = []

    async def make(target=server, **changes):
        connection = await connect(Engine.MYSQL, target.options(**changes), row_base=Row)
        connections.append(connection)
        return connection

    yield make
    for connection in connections:
        connection.abort()
    await asyncio.sleep(0.01)


@pytest.fixture
async def connection(opened):
    return await opened()


@pytest.fixture
async def other(opened):
    """A second session, to look and to interfere with."""
    return await opened()


async def _relay(port, command, body, got, reader, writer):
    near, far = await asyncio.open_connection("127.0.0.1", port)

    async def back():
        while data := await near.read(1 << 16):
            writer.write(data)

    answers = asyncio.ensure_future(back())
    try:
        while (data := await reader.read(1 << 16)) and not data[4:].startswith(command):
            far.write(data)
        answers.cancel()
        await asyncio.wait([answers])
        if data:
            far.write(data)
            await near.read(1 << 16)
            writer.write(len(body).to_bytes(3, "little") + b"\1" + body)
            if body[:1] == b"\xff":
                writer.write_eof()
            while data := await reader.read(1 << 16):
                got.append(data)
    except ConnectionError:
        pass
    finally:
        answers.cancel()
        far.transport.abort()
        writer.transport.abort()


@pytest.fixture
def answering(server):
    """The server behind a relay that gives one command an answer of its own.

    The command is run, its own answer is dropped, and after an error the connection ends. Yields
    the port, and what the client has sent since.
    """

    @contextlib.asynccontextmanager
    async def relay(command, body):
        got, tasks = [], set()

        async def serve(*streams):
            tasks.add(asyncio.current_task())
            await _relay(server.port, command, body, got, *streams)

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            yield listening.sockets[0].getsockname()[1], got
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.01)

    return relay


@pytest.fixture
async def table(connection):
    await connection.execute(
        "DROP TABLE IF EXISTS things;"
        "CREATE TABLE things (id int PRIMARY KEY, name varchar(40) NOT NULL, amount decimal(10,2),"
        " at datetime(6), data json, raw varbinary(100), flags bit(8))"
    )
    return "things"


async def value(connection, sql, *args):
    statement = await connection.prepare(sql)
    rows = await statement.fetch(args)
    await statement.close()
    return rows[0][0] if rows else None


@pytest.fixture(name="value")
def _value():
    """One value of one row."""
    return value
