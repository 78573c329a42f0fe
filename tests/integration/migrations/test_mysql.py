"""Migrations on MySQL and on MariaDB: the same tests on both."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pymysql
import pytest

from aurora_sql import AuroraSettings, migrations
from aurora_sql.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    ConnectionLost,
    DatabaseError,
    LockTimeout,
    ReadOnlyInstance,
    TlsError,
    UniqueViolation,
)
from tests.servers import LACKING, SERVERS

ROOT = Path(__file__).resolve().parents[3]
IDS = ["0001-users", "0002-rows", "0003-more"]
PASSWORD = "geheim-7f1"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def programs(kind):
    if LACKING[kind] is not None:
        return None, None
    if kind == "mariadb":
        return str(SERVERS[kind].bin_dir / "mariadbd"), shutil.which("mariadb-install-db")
    server = str(SERVERS[kind].bin_dir / "mysqld")
    return server, server


class MysqlServer:
    """A private server, and a certificate whose only name is ``localhost``."""

    def __init__(self, kind, folder):
        self.kind = kind
        self.folder = folder
        self.port = free_port()
        self.process = None

    def start(self):
        server, install = programs(self.kind)
        user = []
        if os.geteuid() == 0:
            # The servers refuse to run as root.
            nobody = pwd.getpwnam("nobody")
            user = ["--user=nobody"]
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        data = self.folder / "data"
        if self.kind == "mariadb":
            make = [install, "--no-defaults", f"--datadir={data}", *user,
                    "--auth-root-authentication-method=normal", "--skip-test-db"]  # fmt: skip
        else:
            make = [install, "--no-defaults", "--initialize-insecure", f"--datadir={data}", *user]
        # Temporary files too: the user of the server may not be allowed elsewhere.
        environment = {**os.environ, "TMPDIR": str(self.folder)}
        made = subprocess.run(
            make, check=False, capture_output=True, timeout=60, text=True, env=environment
        )
        assert made.returncode == 0, made.stderr + made.stdout
        for name in ("ca.pem", "server.pem", "server-key.pem"):
            if os.geteuid() == 0:
                os.chown(self.folder / name, nobody.pw_uid, nobody.pw_gid)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [server, "--no-defaults", f"--datadir={data}", *user, f"--port={self.port}",
                 "--bind-address=127.0.0.1", f"--socket={self.folder}/s",
                 f"--pid-file={self.folder}/pid", "--innodb-buffer-pool-size=32M",
                 "--log-bin-trust-function-creators=1", f"--ssl-ca={self.folder}/ca.pem",
                 f"--ssl-cert={self.folder}/server.pem", f"--ssl-key={self.folder}/server-key.pem"],
                stdout=log, stderr=log, env=environment,
            )  # fmt: skip
        for _ in range(300):
            try:
                admin = self.connect()
                break
            except pymysql.err.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.1)
        with admin, admin.cursor() as cursor:
            cursor.execute("CREATE USER app@'127.0.0.1' IDENTIFIED BY %s", (PASSWORD,))
            cursor.execute("GRANT ALL ON *.* TO app@'127.0.0.1'")

    def connect(self, database=None, **options):
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=database, autocommit=True,
            ssl_disabled=True, **options,
        )  # fmt: skip

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)


def certificates(folder):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.now(UTC)

    def make(name, issuer=None):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer[0].subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        )  # fmt: skip
        if issuer:
            names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key

    ca = make("test authority")
    server = make("localhost", ca)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca[0].public_bytes(pem))
    (folder / "server.pem").write_bytes(server[0].public_bytes(pem))
    (folder / "server-key.pem").write_bytes(
        server[1].private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def mysql_server(request):
    if not all(programs(request.param)):
        pytest.skip(f"no {request.param} server is installed")
    # Not in pytest's folder, which only its owner may enter.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    certificates(folder)
    server = MysqlServer(request.param, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def settings(mysql_server, numbers):
    name = f"test_{next(numbers)}"
    with mysql_server.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    return AuroraSettings(
        engine="mysql", write_endpoint=f"127.0.0.1:{mysql_server.port}", database=name,
        username="app", password=PASSWORD,
    )  # fmt: skip


@pytest.fixture
def sql(mysql_server, settings):
    """Run SQL beside the migrations; the rows, if there are any."""
    with mysql_server.connect(settings.database) as connection, connection.cursor() as cursor:

        def run(text, *args):
            cursor.execute(text, args or None)
            return list(cursor.fetchall())

        yield run


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "migrations"
    folder.mkdir()
    files = {
        "0001-users.sql": "-- Users\nCREATE TABLE users (id int PRIMARY KEY, name text);\n"
        "INSERT INTO users VALUES (1, '100%s :x $$'); -- ; here\n",
        "0001-users.rollback.sql": "DROP TABLE users;\n",
        "0002-rows.sql": "-- depends: 0001-users\n-- words\nINSERT INTO users VALUES (2, 'a;b');\n"
        "UPDATE users SET name = 'A' WHERE id = 2;\n",
        "0002-rows.rollback.sql": "DELETE FROM users WHERE id = 2;\n",
        "0003-more.py": "from yoyo import step\n\n__depends__ = {'0002-rows'}\n\n\n"
        "def forward(connection):\n"
        "    with connection.cursor() as cursor:\n"
        "        cursor.execute(\"INSERT INTO users VALUES (3, 'python')\")\n\n\n"
        "def back(connection):\n"
        "    with connection.cursor() as cursor:\n"
        "        cursor.execute('DELETE FROM users WHERE id = 3')\n\n\n"
        "steps = [step(forward, back)]\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def broken(folder):
    """Of three statements the second one fails."""
    path = folder / "0004-half.sql"
    path.write_text(
        "CREATE TABLE half (id int);\n\n-- words\nINSERT INTO nowhere\nVALUES (1);\n"
        "CREATE TABLE other (id int);\n"
    )
    (folder / "0004-half.rollback.sql").write_text("DROP TABLE half;\nDROP TABLE other;\n")
    return path


def states(known):
    return [(one.id, one.state.value) for one in known]


def tables(sql):
    return {row[0] for row in sql("SHOW TABLES")}


async def test_apply_and_roll_back_everything(settings, folder, sql):
    assert states(await migrations.status(settings, folder)) == [(one, "pending") for one in IDS]
    assert tables(sql) == set()
    seen = []
    done = await migrations.apply(settings, folder, progress=seen.append)
    assert [one.id for one in done] == IDS
    assert seen == list(done)
    assert sql("SELECT * FROM users ORDER BY id") == [(1, "100%s :x $$"), (2, "A"), (3, "python")]
    known = await migrations.status(settings, folder)
    assert states(known) == [(one, "applied") for one in IDS]
    assert all(abs(datetime.now(UTC) - one.applied_at) < timedelta(minutes=1) for one in known)
    assert await migrations.apply(settings, folder) == ()
    ids = [one.id for one in await migrations.latest(settings, folder, 9)]
    assert ids == IDS[::-1]
    assert [one.id for one in await migrations.rollback(settings, folder, ids)] == ids
    assert "users" not in tables(sql)
    assert states(await migrations.status(settings, folder)) == [(one, "pending") for one in IDS]
    assert sql("SELECT operation, count(*) FROM _yoyo_log GROUP BY 1 ORDER BY 1") == [
        ("apply", 3),
        ("rollback", 3),
    ]
    assert sql("SELECT count(*) FROM _aurora_sql_unfinished") == [(0,)]
    assert sql("SELECT count(*) FROM yoyo_lock") == [(0,)]


@pytest.mark.filterwarnings("ignore:'(db|passwd)' is deprecated:DeprecationWarning")
async def test_yoyo_itself_reads_and_writes_the_same_books(settings, folder):
    import yoyo

    await migrations.apply(settings, folder, to="0001")
    host, port = settings.writer_address()
    backend = yoyo.get_backend(f"mysql://app:{PASSWORD}@{host}:{port}/{settings.database}")
    with backend:
        found = yoyo.read_migrations(str(folder))
        assert [one.id for one in backend.to_apply(found)] == IDS[1:]
        with backend.lock():
            backend.apply_migrations(backend.to_apply(found))
    assert states(await migrations.status(settings, folder)) == [(one, "applied") for one in IDS]


async def test_what_stopped_half_way_does_not_run_again(settings, folder, broken, sql):
    with pytest.raises(
        DatabaseError,
        match=r"0004-half failed at .*0004-half\.sql:\d \(the 1 statements before it were applied and stay",
    ):
        await migrations.apply(settings, folder)
    assert "half" in tables(sql)
    known = await migrations.status(settings, folder)
    assert states(known)[-1] == ("0004-half", "unfinished")
    assert known[-1].applied_at is None

    for again in (
        migrations.apply(settings, folder),
        migrations.rollback(settings, folder, ["0003-more"]),
        migrations.rollback(settings, folder, ["0003-more"], unfinished="restart"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            await again
        text = str(caught.value)
        assert "0004-half stopped half way: the first 1 of its 3 statements were applied" in text
        assert "mend statement 2 at" in text
        assert "`apply --unfinished continue`" in text
        assert "`apply --unfinished restart`" in text
    with pytest.raises(ConfigurationError, match=r"0004-half stopped half way: no script"):
        await migrations.script(settings, folder)
    assert sql("SELECT count(*) FROM yoyo_lock") == [(0,)]


async def test_it_goes_on_with_the_statement_that_was_mended(settings, folder, broken, sql):
    with pytest.raises(DatabaseError):
        await migrations.apply(settings, folder)
    sql("INSERT INTO half VALUES (7)")
    # Still wrong: still there.
    with pytest.raises(DatabaseError, match="the 1 statements before it"):
        await migrations.apply(settings, folder, unfinished="continue")
    broken.write_text(broken.read_text().replace("nowhere", "half"))
    done = await migrations.apply(settings, folder, unfinished="continue")
    assert [one.id for one in done] == ["0004-half"]
    assert sql("SELECT id FROM half ORDER BY id") == [(1,), (7,)]
    assert "other" in tables(sql)
    assert states(await migrations.status(settings, folder))[-1] == ("0004-half", "applied")
    assert sql("SELECT count(*) FROM _aurora_sql_unfinished") == [(0,)]


async def test_it_does_not_go_on_over_statements_that_changed(settings, folder, broken):
    with pytest.raises(DatabaseError):
        await migrations.apply(settings, folder)
    broken.write_text(broken.read_text().replace("half (id int)", "half (id bigint)"))
    with pytest.raises(ConfigurationError, match=r"no longer stand in .* as they were"):
        await migrations.apply(settings, folder, unfinished="continue")
    with pytest.raises(ConfigurationError, match="unfinished must be one of continue, restart"):
        await migrations.apply(settings, folder, unfinished="somehow")


async def test_it_runs_from_its_beginning_once_it_was_undone(settings, folder, broken, sql):
    with pytest.raises(DatabaseError):
        await migrations.apply(settings, folder)
    sql("DROP TABLE half")
    broken.write_text(broken.read_text().replace("nowhere", "half"))
    await migrations.apply(settings, folder, unfinished="restart")
    assert states(await migrations.status(settings, folder))[-1] == ("0004-half", "applied")


async def test_a_rollback_that_stopped_half_way(settings, folder, broken, sql):
    broken.write_text(broken.read_text().replace("nowhere", "half"))
    await migrations.apply(settings, folder)
    sql("DROP TABLE other")
    with pytest.raises(DatabaseError, match=r"0004-half\.rollback\.sql:2 \(the 1 statements"):
        await migrations.rollback(settings, folder, ["0004-half"])
    known = await migrations.status(settings, folder)
    assert states(known)[-1] == ("0004-half", "unfinished")
    with pytest.raises(ConfigurationError, match=r"Rolling back 0004-half stopped half way"):
        await migrations.apply(settings, folder, unfinished="restart")
    sql("CREATE TABLE other (id int)")
    assert [one.id for one in await migrations.latest(settings, folder)] == ["0004-half"]
    await migrations.rollback(settings, folder, ["0004-half"], unfinished="continue")
    assert states(await migrations.status(settings, folder))[-1] == ("0004-half", "pending")


async def test_the_first_statement_that_fails_leaves_nothing(settings, folder, sql):
    path = folder / "0004-bad.sql"
    path.write_text("-- words\nCREATE TABLE x (\n  id int,\n  nonsense here\n);\nSELECT 1;\n")
    with pytest.raises(DatabaseError, match=r"0004-bad\.sql:[245] \(nothing of it was applied\)"):
        await migrations.apply(settings, folder)
    assert states(await migrations.status(settings, folder))[-1] == ("0004-bad", "pending")
    path.write_text("CREATE TABLE x (id int);\n")
    assert len(await migrations.apply(settings, folder)) == 1


async def test_rows_and_their_note_are_one_transaction(settings, folder, sql):
    (folder / "0004-rows.sql").write_text(
        "INSERT INTO users VALUES (4, 'x'); -- ; here\n/* a */ INSERT INTO users VALUES (1, 'again');\n"
    )
    with pytest.raises(
        UniqueViolation, match=r"0004-rows\.sql:2 \(nothing of it was applied\)"
    ) as caught:
        await migrations.apply(settings, folder)
    assert sql("SELECT count(*) FROM users WHERE id = 4") == [(0,)]
    assert "'1'" not in str(caught.value)
    assert "'1'" in caught.value.detail
    assert states(await migrations.status(settings, folder))[-1] == ("0004-rows", "pending")
    with pytest.raises(UniqueViolation, match=r"entry '1' for key"):
        await migrations.apply(settings.replace({"enable_detailed_errors": True}), folder)


async def test_python_that_fails_is_marked(settings, folder, sql):
    (folder / "0004-bad.py").write_text(
        "from yoyo import step\nsteps = [step('CREATE TABLE made (id int)'), step('SELECT nope')]\n"
    )
    with pytest.raises(DatabaseError, match=r"0004-bad.*\n.*--unfinished restart"):
        await migrations.apply(settings, folder)
    assert "made" in tables(sql)
    assert states(await migrations.status(settings, folder))[-1] == ("0004-bad", "unfinished")
    with pytest.raises(ConfigurationError, match=r"written in Python: what of it was applied"):
        await migrations.apply(settings, folder)
    with pytest.raises(ConfigurationError, match="cannot be continued"):
        await migrations.apply(settings, folder, unfinished="continue")
    sql("DROP TABLE made")
    (folder / "0004-bad.py").write_text("from yoyo import step\nsteps = [step('SELECT 1')]\n")
    await migrations.apply(settings, folder, unfinished="restart")
    assert states(await migrations.status(settings, folder))[-1] == ("0004-bad", "applied")


async def test_a_lost_connection_leaves_a_question(settings, folder, sql, mysql_server):
    (folder / "0004-slow.sql").write_text(
        "CREATE TABLE half (id int);\nCREATE TABLE slept AS SELECT sleep(60) AS s;\n"
    )
    run = asyncio.create_task(migrations.apply(settings, folder))
    number = await sleeping(sql)
    sql(f"KILL {number}")
    with pytest.raises(ConnectionLost, match=r"whether it was applied is not known") as caught:
        await run
    assert caught.value.outcome_unknown
    assert states(await migrations.status(settings, folder))[-1] == ("0004-slow", "unfinished")
    with pytest.raises(ConfigurationError, match=r"whether statement 2 at .*:2 was is not known"):
        await migrations.apply(settings, folder)
    with pytest.raises(ConfigurationError, match="cannot be continued: whether statement 2"):
        await migrations.apply(settings, folder, unfinished="continue")


async def sleeping(sql):
    """Wait until somebody's sleep runs; the number of the session."""
    while True:
        rows = sql(
            "SELECT id FROM information_schema.processlist WHERE info LIKE '%%sleep(60)%%' "
            "AND id <> connection_id() AND info NOT LIKE '%%processlist%%'"
        )
        if rows:
            return rows[0][0]
        await asyncio.sleep(0.02)


async def test_a_cancelled_caller_leaves_nothing_running(settings, folder, sql):
    (folder / "0004-slow.sql").write_text("INSERT INTO users SELECT 9, sleep(60);\n")
    run = asyncio.create_task(migrations.apply(settings, folder))
    await sleeping(sql)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    # Sessions end a moment after their sockets.
    while sql(  # noqa: ASYNC110 - what is waited for is in another process
        "SELECT 1 FROM information_schema.processlist WHERE user = 'app' AND db = database()"
    ):
        await asyncio.sleep(0.02)
    assert sql("SELECT count(*) FROM users WHERE id = 9") == [(0,)]
    assert states(await migrations.status(settings, folder))[-1] == ("0004-slow", "pending")


async def test_two_runs_at_once_do_it_once(settings, folder, sql):
    first, second = await asyncio.gather(
        migrations.apply(settings, folder), migrations.apply(settings, folder)
    )
    assert sorted([len(first), len(second)]) == [0, 3]


async def test_who_holds_the_lock_is_said(settings, folder):
    reached, go_on = threading.Event(), threading.Event()

    def wait(one):
        reached.set()
        go_on.wait(20)

    run = asyncio.create_task(migrations.apply(settings, folder, to="0001", progress=wait))
    assert await asyncio.to_thread(reached.wait, 20)
    try:
        with pytest.raises(LockTimeout, match=r"session \d+: app from .*wait for it to end"):
            await migrations.apply(settings, folder, lock_timeout=0.3)
        # Another database of the server is another matter.
        other = settings.replace({"database": "mysql"})
        assert isinstance(await migrations.status(other, folder), tuple)
    finally:
        go_on.set()
    assert len(await run) == 1


async def test_a_row_that_plain_yoyo_left_is_named(settings, folder, sql):
    await migrations.apply(settings, folder, to="0001")
    sql("INSERT INTO yoyo_lock VALUES (1, now(), 4711)")
    with pytest.raises(LockTimeout, match=r"Process 4711 has locked .* DELETE FROM yoyo_lock"):
        await migrations.apply(settings, folder, lock_timeout=0.3)
    # The row of a run of ours that was killed is no hindrance.
    sql("UPDATE yoyo_lock SET pid = -5")
    assert len(await migrations.apply(settings, folder)) == 2


async def test_nothing_more_runs_once_the_lock_is_lost(settings, folder, sql):
    def kill(one):
        sql(f"KILL {-sql('SELECT pid FROM yoyo_lock')[0][0]}")

    with pytest.raises(ConnectionLost, match="The lock of the migrations was lost"):
        await migrations.apply(settings, folder, progress=kill)
    assert [one[1] for one in states(await migrations.status(settings, folder))] == [
        "applied", "pending", "pending",
    ]  # fmt: skip


async def test_a_reader_is_refused(settings, folder, sql):
    sql("SET GLOBAL read_only = 1")
    try:
        with pytest.raises(ReadOnlyInstance, match="check the write endpoint"):
            await migrations.apply(settings, folder)
    finally:
        sql("SET GLOBAL read_only = 0")


async def test_books_that_were_made_half_are_completed(settings, folder, sql):
    await migrations.apply(settings, folder)
    sql("DROP TABLE _yoyo_version")
    sql("DROP TABLE _aurora_sql_unfinished")
    assert await migrations.apply(settings, folder) == ()
    assert sql("SELECT version FROM _yoyo_version") == [(2,)]


async def test_ensure_created_once_for_all_who_come(settings, folder, sql):
    made = await asyncio.gather(*(migrations.ensure_created(settings, folder) for _ in range(3)))
    assert sorted(made) == [False, False, True]
    assert sql("SELECT count(*) FROM users") == [(3,)]
    assert "_yoyo_migration" not in tables(sql)
    with pytest.raises(ConfigurationError, match="made by ensure_created"):
        await migrations.apply(settings, folder)
    (folder / "0004-new.sql").write_text("SELECT 1;")
    with pytest.raises(ConfigurationError, match="created from other migrations"):
        await migrations.ensure_created(settings, folder)


async def test_ensure_created_that_stopped_half_way_says_so(settings, folder, broken):
    with pytest.raises(DatabaseError, match="the 1 statements before it were applied and stay"):
        await migrations.ensure_created(settings, folder)
    with pytest.raises(ConfigurationError, match="created half way, and then failed: drop it"):
        await migrations.ensure_created(settings, folder)


async def test_ensure_created_refuses_what_is_not_its_own(settings, folder, sql):
    sql("CREATE TABLE mine (id int)")
    with pytest.raises(ConfigurationError, match="is not empty"):
        await migrations.ensure_created(settings, folder)
    sql("DROP TABLE mine")
    await migrations.apply(settings, folder)
    with pytest.raises(ConfigurationError, match="Migrations manage database"):
        await migrations.ensure_created(settings, folder)


async def test_a_script_does_what_apply_does(settings, folder, sql, tmp_path, mysql_server):
    client = shutil.which("mariadb") or shutil.which("mysql")
    if client is None:
        pytest.skip("no command-line client is installed")
    (folder / "0003-more.py").unlink()
    (folder / "0003-f.sql").write_text(
        "CREATE FUNCTION f() RETURNS int NO SQL\nBEGIN\n  DECLARE x int DEFAULT 1;\n"
        "  IF x = 1 THEN\n    SET x = 2;\n  END IF;\n  RETURN x;\nEND;\n"
    )
    await migrations.apply(settings, folder, to="0001")
    text = await migrations.script(settings, folder)
    assert "0001-users" not in text
    subprocess.run(  # noqa: ASYNC221 - nothing else is to run meanwhile
        [client, "--no-defaults", "-h127.0.0.1", f"-P{mysql_server.port}", "-uroot",
         "--skip-ssl" if "mariadb" in client else "--ssl-mode=DISABLED", settings.database],
        input=text.encode(), check=True, timeout=20,
    )  # fmt: skip
    assert sql("SELECT f(), (SELECT name FROM users WHERE id = 2)") == [(2, "A")]
    assert await migrations.apply(settings, folder) == ()
    assert (await migrations.script(settings, folder)).endswith("nothing to apply\n")


async def test_commit_markers_meet_a_key_that_has_their_name(settings, tmp_path, sql):
    folder = tmp_path / "markers"
    migrations.new(folder, "commit markers", commit_markers=True, engine="mysql")
    await migrations.apply(settings, folder)
    sql("INSERT INTO aurora_sql_commits (id) VALUES (%s)", bytes(16))
    with pytest.raises(pymysql.err.IntegrityError, match=r"aurora_sql_commits_pkey'\"\)"):
        sql("INSERT INTO aurora_sql_commits (id) VALUES (%s)", bytes(16))
    plan = sql(
        "EXPLAIN FORMAT=TRADITIONAL DELETE FROM aurora_sql_commits WHERE committed_at < now() - INTERVAL 1 DAY "
        "ORDER BY committed_at LIMIT 5000"
    )
    assert "PRIMARY" in str(plan), plan
    (done,) = await migrations.latest(settings, folder)
    await migrations.rollback(settings, folder, [done.id])
    assert "aurora_sql_commits" not in tables(sql)


async def test_the_shop_goes_up_and_down(settings, sql):
    shop = ROOT / "migrations" / "mysql"
    done = await migrations.apply(settings, shop)
    assert {"users", "customers", "products", "orders", "order_items", "events"} < tables(sql)
    ids = [one.id for one in reversed(done)]
    await migrations.rollback(settings, shop, ids)
    assert not {"users", "orders"} & tables(sql)
    assert len(await migrations.apply(settings, shop)) == len(ids)


class TestTls:
    @pytest.fixture
    def strict(self, settings, mysql_server):
        """Verified; the certificate names ``localhost``."""
        return settings.replace({
            "ssl_mode": "verify-full",
            "ssl_root_cert": str(mysql_server.folder / "ca.pem"),
            "write_endpoint": f"localhost:{mysql_server.port}",
        })  # fmt: skip

    async def test_verify_full_takes_the_host_that_the_certificate_names(self, strict, folder):
        assert len(await migrations.apply(strict, folder)) == 3

    async def test_verify_full_refuses_another_host(self, strict, folder, mysql_server):
        wrong = strict.replace({"write_endpoint": f"127.0.0.1:{mysql_server.port}"})
        with pytest.raises(TlsError, match="certificate"):
            await migrations.status(wrong, folder)
        lax = wrong.replace({"ssl_mode": "verify-ca"})
        assert len(await migrations.status(lax, folder)) == 3

    async def test_another_authority_is_refused(self, strict, folder, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        certificates(other)
        wrong = strict.replace({"ssl_root_cert": str(other / "ca.pem")})
        with pytest.raises(TlsError, match="certificate"):
            await migrations.status(wrong, folder)

    async def test_no_plain_text_where_tls_is_asked_for(self, settings, folder):
        """A server that says nothing of TLS hears no name and no password."""
        heard = []

        async def serve(reader, writer):
            greeting = (
                b"\x0a8.0.36\x00" + b"\x01\x00\x00\x00" + b"12345678\x00" + b"\xff\xf7"
                b"\xff\x02\x00\xff\xc1\x15" + bytes(10) + b"123456789012\x00"
                b"mysql_clear_password\x00"
            )
            writer.write(len(greeting).to_bytes(3, "little") + b"\x00" + greeting)
            heard.append(await reader.read(4096))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            asked = settings.replace({
                "write_endpoint": f"127.0.0.1:{port}", "ssl_mode": "require",
            })  # fmt: skip
            with pytest.raises(TlsError, match="the server has no TLS"):
                await migrations.status(asked, folder)
        assert heard == [b""]

    async def test_a_clear_password_is_told_to_nobody_unverified(self, settings, folder):
        heard = []

        async def serve(reader, writer):
            greeting = (
                b"\x0a8.0.36\x00" + b"\x01\x00\x00\x00" + b"12345678\x00" + b"\xff\xf7"
                b"\xff\x02\x00\xff\xc1\x15" + bytes(10) + b"123456789012\x00"
                b"mysql_native_password\x00"
            )
            writer.write(len(greeting).to_bytes(3, "little") + b"\x00" + greeting)
            heard.append(await reader.read(4096))
            switch = b"\xfemysql_clear_password\x00"
            writer.write(len(switch).to_bytes(3, "little") + b"\x02" + switch)
            heard.append(await reader.read(4096))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            asked = settings.replace({"write_endpoint": f"127.0.0.1:{port}"})
            with pytest.raises(AuthenticationFailed, match="in clear text") as caught:
                await migrations.status(asked, folder)
        assert PASSWORD.encode() not in b"".join(heard)
        assert PASSWORD not in str(caught.value)

    async def test_a_server_that_says_nothing_is_not_waited_for(self, settings, folder):
        async def serve(reader, writer):
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            asked = settings.replace({
                "write_endpoint": f"127.0.0.1:{port}", "connection_timeout": 1,
            })  # fmt: skip
            with pytest.raises(ConnectionFailed):
                await migrations.status(asked, folder)


async def test_a_wrong_password_and_an_unknown_database(settings, folder):
    wrong = settings.replace({"password": "falsch-88"})
    with pytest.raises(AuthenticationFailed) as caught:
        await migrations.status(wrong, folder)
    assert "falsch-88" not in f"{caught.value} {caught.value.__cause__!r}"
    with pytest.raises(ConfigurationError, match="nowhere"):
        await migrations.status(settings.replace({"database": "nowhere"}), folder)
