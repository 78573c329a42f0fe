"""Private MySQL and MariaDB servers for tests."""

import contextlib
import dataclasses
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import ClassVar

from aurora_sql.drivers import ConnectOptions
from tests.servers import LACKING, SERVERS

KINDS = ("mysql", "mariadb")
DRIVERS = ("aiomysql", "asyncmy")
MYSQLD = SERVERS["mysql"].bin_dir / "mysqld"
MARIADBD = SERVERS["mariadb"].bin_dir / "mariadbd"


def missing(kind):
    """Why such a server cannot be had here, or None."""
    return LACKING[kind]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclasses.dataclass
class Server:
    """One running server."""

    driver: ClassVar[str] = "auto"
    """The driver that is under test."""

    kind: str
    folder: Path
    port: int
    process: subprocess.Popen

    @property
    def socket(self):
        return str(self.folder / "s")

    def options(self, **changes):
        secret = changes.pop("secret", "correct horse")

        async def password():
            return secret

        given = {
            "host": "127.0.0.1",
            "port": self.port,
            "database": "test",
            "user": "app",
            "password": password,
            "connect_timeout": 10.0,
            "mysql_driver": self.driver,
        }
        return ConnectOptions(**given | changes)


def _owner():
    if os.geteuid() != 0:
        return []
    for name in ("mysql", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            return [f"--user={name}"]
    return []


_SETUP = """\
CREATE DATABASE test CHARACTER SET utf8mb4;
CREATE USER app@'%' IDENTIFIED BY 'correct horse';
GRANT ALL ON *.* TO app@'%' WITH GRANT OPTION;
"""


@contextlib.contextmanager
def run(kind, *extra):
    """Start a server of its own; it is stopped and removed at the end."""
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="asql_", dir=shm if shm.is_dir() else None))
    folder.chmod(0o755)
    owner = _owner()
    (folder / "tmp").mkdir()
    if owner:
        for one in (folder, folder / "tmp"):
            shutil.chown(one, owner[0].partition("=")[2])
    process = None
    log = (folder / "log").open("wb")
    try:
        data = folder / "data"
        tmp = f"--tmpdir={folder / 'tmp'}"
        setup = folder / "setup.sql"
        setup.write_text(_SETUP)
        setup.chmod(0o644)
        if kind == "mysql":
            initialize = [
                MYSQLD,
                "--no-defaults",
                *owner,
                "--initialize-insecure",
                f"--datadir={data}",
                tmp,
                "--innodb-redo-log-capacity=32M",
                "--innodb-data-file-path=ibdata1:8M:autoextend",
            ]
            command = [
                MYSQLD,
                "--no-defaults",
                "--innodb-redo-log-capacity=32M",
                "--innodb-data-file-path=ibdata1:8M:autoextend",
            ]
        else:
            initialize = [
                "mariadb-install-db",
                "--no-defaults",
                *owner,
                f"--datadir={data}",
                tmp,
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-log-file-size=8M",
            ]
            command = [MARIADBD, "--no-defaults", "--innodb-log-file-size=8M"]
        if subprocess.run(initialize, check=False, stdout=log, stderr=log).returncode:
            raise RuntimeError((folder / "log").read_text(errors="replace")[-3000:])
        port = free_port()
        process = subprocess.Popen(
            [
                *command,
                *owner,
                f"--datadir={data}",
                tmp,
                f"--socket={folder / 's'}",
                f"--port={port}",
                "--bind-address=127.0.0.1",
                f"--pid-file={folder / 'pid'}",
                f"--init-file={setup}",
                "--skip-log-bin",
                "--innodb-buffer-pool-size=32M",
                "--performance-schema=OFF",
                "--innodb-flush-log-at-trx-commit=2",
                "--max-connections=40",
                "--local-infile=ON",
                "--innodb-deadlock-detect=ON",
                *extra,
            ],
            stdout=log,
            stderr=log,
        )
        _wait(process, port, folder / "log")
        yield Server(kind, folder, port, process)
    finally:
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process, port, log):
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
            if len(sock.recv(5)) == 5:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(log.read_text(errors="replace")[-3000:])
