"""Servers whose certificates the tests change, and the authorities that sign for them.

The wheel's PostgreSQL is built without TLS, so the tests run twice: against it behind a front
that speaks TLS for it, which works everywhere, and against a PostgreSQL of the machine that has
TLS of its own, where there is one.
"""

import asyncio
import datetime as dt
import ipaddress
import os
import ssl
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aurora_sql.drivers import ConnectOptions, connect
from aurora_sql.local import LocalCluster
from aurora_sql.settings import AuroraSettings

PEM = serialization.Encoding.PEM


class Authority:
    """A certificate authority made for the tests."""

    def __init__(self, name):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=2))
            .not_valid_after(now + dt.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )

    def save(self, path):
        path.write_bytes(self.certificate.public_bytes(PEM))
        return str(path)

    def issue(self, names, *, expired=False):
        """A server's key and certificate, both in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")]))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=2))
            .not_valid_after(now + dt.timedelta(days=-1 if expired else 1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )
        private = key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private, certificate.public_bytes(PEM)


class Front:
    """Speaks TLS for a server that cannot, as the protocol has it: SSLRequest, then S or N."""

    SSL_REQUEST = 80877103
    GSS_REQUEST = 80877104

    def __init__(self, settings, folder):
        self._upstream = settings.writer_address()
        self._folder = folder
        self._context = None
        self._kind = "host"
        self.asked = []
        self.versions = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._client, "127.0.0.1", 0))
        port = self._server.sockets[0].getsockname()[1]
        self.settings = settings.replace({"write_endpoint": f"127.0.0.1:{port}"})

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def close(self):
        async def end():
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def use(self, name):
        context = None
        if name is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        self._context = context
        self.asked.clear()

    def rules(self, kind):
        self._kind = kind

    def with_mode(self, mode, root=None):
        return self.settings.replace({"ssl_mode": mode, "ssl_root_cert": root})

    async def version_seen_by(self, connection):
        await connection.ping()
        return self.versions[-1]

    async def _client(self, reader, writer):
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader, writer):
        version = None
        while True:
            length, code = struct.unpack("!II", await reader.readexactly(8))
            if code not in {self.SSL_REQUEST, self.GSS_REQUEST}:
                break
            self.asked.append(code)
            secure = code == self.SSL_REQUEST and self._context is not None
            writer.write(b"S" if secure else b"N")
            await writer.drain()
            if secure:
                await writer.start_tls(self._context)
                version = writer.get_extra_info("ssl_object").version()
        start = struct.pack("!II", length, code) + await reader.readexactly(length - 8)
        if self._kind == ("hostnossl" if version else "hostssl"):
            what = "SSL encryption" if version else "no encryption"
            text = f'no pg_hba.conf entry for host "127.0.0.1", user "u", database "d", {what}'
            fields = f"SFATAL\0VFATAL\0C28000\0M{text}\0\0".encode()
            writer.write(b"E" + struct.pack("!I", len(fields) + 4) + fields)
            await writer.drain()
            return
        self.versions.append(version)
        up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        up_writer.write(start)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, up_writer))
                group.create_task(self._pump(up_reader, writer))
        except* OSError:
            pass
        finally:
            up_writer.close()

    @staticmethod
    async def _pump(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@dataclass
class TlsServer:
    """A server that has TLS itself, and what the tests do to it."""

    settings: AuroraSettings
    folder: Path
    hba: Path
    plain_hba: str

    async def version_seen_by(self, connection):
        statement = await connection.prepare(
            "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
        return (await statement.fetch(()))[0][0]

    def _admin(self):
        return psycopg.connect(
            host=self.settings.writer_address()[0],
            port=self.settings.writer_address()[1],
            dbname=self.settings.database,
            user=self.settings.username,
            password=self.settings.password.get_secret_value(),
            sslmode="allow",
            autocommit=True,
        )

    def use(self, name):
        """Present this certificate from now on; None switches TLS off."""
        with self._admin() as admin:
            admin.execute(f"ALTER SYSTEM SET ssl = {'off' if name is None else 'on'}")
            if name is not None:
                admin.execute(f"ALTER SYSTEM SET ssl_cert_file = '{self.folder / name}.pem'")
                admin.execute(f"ALTER SYSTEM SET ssl_key_file = '{self.folder / name}.key'")
        wanted = ("off", None) if name is None else ("on", f"{self.folder / name}.pem")
        self._reload(lambda admin: self._presents(admin, wanted))

    def rules(self, kind):
        """Let in connections of this kind only: ``host``, ``hostssl`` or ``hostnossl``."""
        text = f"{kind} all all 127.0.0.0/8 scram-sha-256\n" if kind != "host" else self.plain_hba
        self.hba.write_text(text)
        self._reload(
            lambda admin: admin.execute(
                "SELECT count(*) FROM pg_hba_file_rules WHERE type = %s", [kind]
            ).fetchone()[0]
        )

    @staticmethod
    def _presents(admin, wanted):
        ssl, file = admin.execute(
            "SELECT current_setting('ssl'), current_setting('ssl_cert_file')"
        ).fetchone()
        return ssl == wanted[0] and wanted[1] in {None, file}

    def _reload(self, seen):
        with self._admin() as admin:
            admin.execute("SELECT pg_reload_conf()")
        # Only a session that begins after the server re-read its files shows the new values.
        until = time.monotonic() + 20
        while True:
            with self._admin() as admin:
                if seen(admin):
                    break
            assert time.monotonic() < until
            time.sleep(0.02)
        # The rules are read by the server, not by the session that looks at the file.
        time.sleep(0.1)

    def with_mode(self, mode, root=None):
        return self.settings.replace({"ssl_mode": mode, "ssl_root_cert": root})


@pytest.fixture(scope="package")
def authority():
    return Authority("the right one")


@pytest.fixture(scope="package")
def other_authority():
    return Authority("a wrong one")


def write_certificates(authority, folder, host, owner=None):
    """Certificates of every kind for this host, their keys readable for the owner alone."""
    here = x509.IPAddress(ipaddress.ip_address(host))
    kinds = {
        "good": authority.issue([here]),
        "other-name": authority.issue([x509.DNSName("db.example.com")]),
        "expired": authority.issue([here], expired=True),
    }
    for name, (key, certificate) in kinds.items():
        (folder / f"{name}.pem").write_bytes(certificate)
        (folder / f"{name}.key").touch(mode=0o600)
        (folder / f"{name}.key").write_bytes(key)
        if owner not in {None, os.geteuid()}:
            os.chown(folder / f"{name}.key", owner, -1)


@pytest.fixture(scope="package")
def front(authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("front")
    write_certificates(authority, folder, "127.0.0.1")
    with LocalCluster(readers=0) as cluster:
        front = Front(cluster.settings(), folder)
        try:
            yield front
        finally:
            front.close()


@pytest.fixture(scope="package")
def own_tls(authority):
    """A PostgreSQL of the machine, or None where it has none with TLS."""
    builds = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not builds:
        yield None
        return
    with LocalCluster(readers=0, bin_dir=builds[-1]) as cluster:
        settings = cluster.settings()
        instance = cluster.instances[0]
        with psycopg.connect(
            host=instance.host,
            port=instance.port,
            dbname=settings.database,
            user=settings.username,
            password=settings.password.get_secret_value(),
        ) as admin:
            hba, data, context = admin.execute(
                "SELECT current_setting('hba_file'), current_setting('data_directory'), "
                "(SELECT context FROM pg_settings WHERE name = 'ssl')"
            ).fetchone()
        if context == "internal":
            yield None
            return
        # Beside the data, where the server's user can read.
        folder = Path(data) / "certificates"
        folder.mkdir()
        folder.chmod(0o755)
        owner = Path(f"/proc/{instance.pid}").stat().st_uid
        write_certificates(authority, folder, instance.host, owner)
        yield TlsServer(settings, folder, Path(hba), Path(hba).read_text())


@pytest.fixture(params=["front", "own"])
def server(request):
    """A server with a good certificate, as it also is again afterwards."""
    server = request.getfixturevalue("front" if request.param == "front" else "own_tls")
    if server is None:
        pytest.skip("no PostgreSQL with TLS on this machine; the front shows the same")
    server.use("good")
    yield server
    server.rules("host")
    server.use("good")


@pytest.fixture
def right_root(authority, tmp_path):
    return authority.save(tmp_path / "right.pem")


@pytest.fixture
def wrong_root(other_authority, tmp_path):
    return other_authority.save(tmp_path / "wrong.pem")


@pytest.fixture
def tls_version(server):
    """Connect by the driver as settings say; the TLS version, or None for plain text."""

    async def ask(settings):
        values = settings.connection_values(*settings.writer_address())

        async def password():
            return values.password.get_secret_value()

        connection = await connect(
            settings.engine,
            ConnectOptions(
                host=values.host,
                port=values.port,
                database=values.database,
                user=values.user,
                password=password,
                tls=values.tls.context,
                tls_optional=values.tls.optional,
                tls_only_if_required=values.tls.only_if_required,
                connect_timeout=values.connect_timeout,
            ),
        )
        try:
            return await server.version_seen_by(connection)
        finally:
            await connection.close()

    return ask
