import asyncio
import logging
import threading
import traceback
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from aurora_sql import migrations
from aurora_sql.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    ConnectionLost,
    IntegrityError,
    LockTimeout,
    ProgrammingError,
    ReadOnlyInstance,
    SerializationConflict,
    UniqueViolation,
)

IDS = ["0001-users", "0002-index", "0003-more"]


def states(known):
    return [(one.id, one.state.value) for one in known]


async def latest_ids(settings, folder, count):
    return [one.id for one in await migrations.latest(settings, folder, count)]


async def test_apply_and_roll_back_everything(settings, folder, sql):
    assert states(await migrations.status(settings, folder)) == [(one, "pending") for one in IDS]
    seen = []
    done = await migrations.apply(settings, folder, progress=seen.append)
    assert [one.id for one in done] == IDS
    assert seen == list(done)
    assert all(one.seconds > 0 for one in done)
    assert sql("SELECT * FROM users ORDER BY id") == [(1, "100%s :x $$"), (2, "python")]
    assert sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'users_name'::regclass") == [
        (True,)
    ]
    known = await migrations.status(settings, folder)
    assert states(known) == [(one, "applied") for one in IDS]
    assert all(abs(datetime.now(UTC) - one.applied_at) < timedelta(minutes=1) for one in known)
    assert await migrations.apply(settings, folder) == ()

    ids = await latest_ids(settings, folder, 9)
    assert ids == IDS[::-1]
    assert [one.id for one in await migrations.rollback(settings, folder, ids)] == ids
    assert sql("SELECT to_regclass('users')") == [(None,)]
    assert states(await migrations.status(settings, folder)) == [(one, "pending") for one in IDS]
    assert sql("SELECT operation, count(*) FROM _yoyo_log GROUP BY 1 ORDER BY 1") == [
        ("apply", 3),
        ("rollback", 3),
    ]


async def test_yoyo_itself_reads_and_writes_the_same_books(settings, folder, sql):
    from urllib.parse import quote

    import yoyo

    await migrations.apply(settings, folder, to="0001")
    host, port = settings.writer_address()
    password = quote(settings.password.get_secret_value())
    backend = yoyo.get_backend(
        f"postgresql+psycopg://{settings.username}:{password}@{host}:{port}/{settings.database}"
    )
    with backend:
        found = yoyo.read_migrations(str(folder))
        assert [one.id for one in backend.to_apply(found)] == IDS[1:]
        with backend.lock():
            backend.apply_migrations(backend.to_apply(found))
    assert states(await migrations.status(settings, folder)) == [(one, "applied") for one in IDS]


async def test_to_stops_after_that_one(settings, folder):
    done = await migrations.apply(settings, folder, to="0002")
    assert [one.id for one in done] == IDS[:2]
    with pytest.raises(ConfigurationError, match="'9' is no migration here"):
        await migrations.apply(settings, folder, to="9")
    with pytest.raises(ConfigurationError, match="'000' fits several migrations"):
        await migrations.apply(settings, folder, to="000")


async def test_a_failing_migration_leaves_nothing_and_names_its_line(settings, folder, sql):
    (folder / "0004-bad.sql").write_text(
        "CREATE TABLE half (id int);\n\nINSERT INTO half\nSELECT nope\nFROM users;\n"
    )
    with pytest.raises(
        ProgrammingError,
        match=r'0004-bad failed at .*0004-bad\.sql:4 \(nothing of it was applied\): column "nope"',
    ):
        await migrations.apply(settings, folder)
    assert sql("SELECT to_regclass('half')") == [(None,)]
    assert states(await migrations.status(settings, folder))[-1] == ("0004-bad", "pending")
    assert states(await migrations.status(settings, folder))[-2] == ("0003-more", "applied")
    assert sql("SELECT count(*) FROM yoyo_lock") == [(0,)]


async def test_a_failing_one_without_a_transaction_says_what_stays(settings, folder, sql):
    (folder / "0004-bad.sql").write_text(
        "-- transactional: false\nCREATE TABLE half (id int);\nSELECT nope;\n"
    )
    with pytest.raises(ProgrammingError, match="the 1 statements before it were applied and stay"):
        await migrations.apply(settings, folder)
    assert sql("SELECT to_regclass('half') IS NULL") == [(False,)]


@pytest.mark.parametrize(
    ("text", "kind", "unknown"),
    [
        ("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$;", SerializationConflict, False),
        ("DO $$ BEGIN RAISE SQLSTATE '40002'; END $$;", IntegrityError, False),
        ("SELECT pg_terminate_backend(pg_backend_pid());", ConnectionLost, True),
    ],
)
async def test_errors_are_those_that_statements_have(settings, folder, text, kind, unknown):
    (folder / "0004-bad.sql").write_text(text + "\n")
    with pytest.raises(kind) as caught:
        await migrations.apply(settings, folder)
    assert type(caught.value) is kind
    assert caught.value.outcome_unknown is unknown


async def test_details_appear_only_where_they_are_asked_for(settings, folder):
    (folder / "0004-twice.sql").write_text("INSERT INTO users VALUES (1, 'again');\n")
    with pytest.raises(UniqueViolation) as caught:
        await migrations.apply(settings, folder)
    assert "(id)=(1)" not in str(caught.value)
    assert caught.value.detail == "Key (id)=(1) already exists."
    with pytest.raises(UniqueViolation, match=r"\(id\)=\(1\)"):
        await migrations.apply(settings.replace({"enable_detailed_errors": True}), folder)


async def test_the_note_and_the_migration_are_one_transaction(settings, folder, sql):
    # A deferred constraint fails at COMMIT, after everything ran.
    (folder / "0004-late.sql").write_text(
        "CREATE TABLE late (id int REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO late VALUES (99);\n"
    )
    with pytest.raises(Exception, match="0004-late"):
        await migrations.apply(settings, folder)
    assert sql("SELECT to_regclass('late')") == [(None,)]
    assert states(await migrations.status(settings, folder))[-1] == ("0004-late", "pending")


async def test_a_migration_that_clears_the_search_path_is_noted_all_the_same(settings, folder, sql):
    (folder / "0004-dump.sql").write_text(
        "SELECT pg_catalog.set_config('search_path', '', false);\nCREATE TABLE public.dumped (id int);\n"
    )
    (folder / "0005-after.sql").write_text("CREATE TABLE after_dump (id int);\n")
    await migrations.apply(settings, folder)
    assert sql("SELECT to_regclass('public.after_dump') IS NOT NULL") == [(True,)]
    assert states(await migrations.status(settings, folder))[-1] == ("0005-after", "applied")


async def test_functions_with_bodies_are_one_statement(settings, folder, sql):
    (folder / "0004-f.sql").write_text(
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $body$\nDECLARE x int := 1; -- ; 'x\nBEGIN\n"
        "  FOR i IN 1..3 LOOP x := x + i; END LOOP;\n  RETURN x;\nEND;\n$body$;\n"
        "CREATE FUNCTION g(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a; SELECT a + 1; END;\n"
    )
    await migrations.apply(settings, folder)
    assert sql("SELECT f(), g(1)") == [(7, 2)]


async def test_rows_that_a_migration_selects_go_nowhere(settings, folder, capsys):
    (folder / "0004-select.sql").write_text("SELECT 1 AS printed;\n")
    await migrations.apply(settings, folder)
    assert capsys.readouterr().out == ""


async def test_post_apply_runs_after_each_apply_and_is_never_noted(settings, folder, sql):
    (folder / "post-apply.sql").write_text(
        "INSERT INTO users VALUES ((SELECT max(id) + 100 FROM users), 'post');\n"
    )
    await migrations.apply(settings, folder, to="0001")
    await migrations.apply(settings, folder)
    await migrations.apply(settings, folder)
    assert sql("SELECT count(*) FROM users WHERE name = 'post'") == [(2,)]
    assert len(await migrations.status(settings, folder)) == 3


async def test_two_runs_at_once_do_it_once(settings, folder, sql):
    first, second = await asyncio.gather(
        migrations.apply(settings, folder), migrations.apply(settings, folder)
    )
    assert sorted([len(first), len(second)]) == [0, 3]
    assert sql("SELECT count(*) FROM yoyo_lock") == [(0,)]


async def test_the_lock_is_held_while_a_migration_runs(settings, folder, sql):
    (folder / "0004-slow.py").write_text(
        "from yoyo import step\nsteps = [step('SELECT pg_advisory_xact_lock(42)')]\n"
    )
    sql("SELECT pg_advisory_lock(42)")
    reached = threading.Event()
    run = asyncio.create_task(
        migrations.apply(
            settings,
            folder,
            lock_timeout=20,
            progress=lambda one: one.id == IDS[-1] and reached.set(),
        )
    )
    assert await asyncio.to_thread(reached.wait, 20)
    with pytest.raises(LockTimeout, match="wait for it to end"):
        await migrations.apply(settings, folder, lock_timeout=0.3)
    sql("SELECT pg_advisory_unlock(42)")
    assert [one.id for one in await run][-1] == "0004-slow"


async def test_a_row_that_plain_yoyo_left_is_named(settings, folder, sql):
    await migrations.apply(settings, folder, to="0001")
    sql("INSERT INTO yoyo_lock VALUES (1, now(), 4711)")
    with pytest.raises(LockTimeout, match=r"Process 4711 has locked .* DELETE FROM yoyo_lock"):
        await migrations.apply(settings, folder, lock_timeout=0.3)
    sql("DELETE FROM yoyo_lock")
    assert len(await migrations.apply(settings, folder)) == 2


async def test_the_lock_goes_with_a_session_that_is_killed(settings, folder, sql, sleeping):
    (folder / "0004-slow.sql").write_text("SELECT pg_sleep(60);\n")
    reached = threading.Event()
    run = asyncio.create_task(
        migrations.apply(settings, folder, progress=lambda one: one.id == IDS[-1] and reached.set())
    )
    assert await asyncio.to_thread(reached.wait, 20)
    await sleeping()
    sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with pytest.raises(Exception, match=r"0004-slow"):
        await run
    (folder / "0004-slow.sql").write_text("SELECT 1;\n")
    assert sql("SELECT count(*) FROM yoyo_lock") == [(1,)]
    assert [one.id for one in await migrations.apply(settings, folder)] == ["0004-slow"]
    assert sql("SELECT count(*) FROM yoyo_lock") == [(0,)]


async def test_nothing_more_runs_once_the_lock_is_lost(settings, folder, sql):
    def kill(one):
        with psycopg.connect(
            host=settings.writer_address()[0], port=settings.writer_address()[1], dbname=settings.database,
            user=settings.username, password=settings.password.get_secret_value(),
        ) as admin:  # fmt: skip
            admin.execute("SELECT pg_terminate_backend(-pid, 5000) FROM yoyo_lock")

    with pytest.raises(Exception, match="The lock of the migrations was lost"):
        await migrations.apply(settings, folder, progress=kill)
    assert states(await migrations.status(settings, folder))[0] == (IDS[0], "applied")
    assert states(await migrations.status(settings, folder))[1] == (IDS[1], "pending")


async def test_a_cancelled_caller_leaves_nothing_running(settings, folder, sql, sleeping):
    (folder / "0004-slow.sql").write_text("CREATE TABLE half (id int);\nSELECT pg_sleep(60);\n")
    reached = threading.Event()
    run = asyncio.create_task(
        migrations.apply(settings, folder, progress=lambda one: one.id == IDS[-1] and reached.set())
    )
    assert await asyncio.to_thread(reached.wait, 20)
    await sleeping()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert sql("SELECT to_regclass('half')") == [(None,)]
    assert sql(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"
    ) == [(0,)]
    assert not [one for one in threading.enumerate() if "yoyo" in one.name]


async def test_a_reader_is_refused(settings, folder, cluster):
    reader = cluster.instances[1]
    with pytest.raises(ReadOnlyInstance, match="check the write endpoint"):
        await migrations.apply(
            # The database of the cluster itself, which the reader has for sure.
            cluster.settings().replace({"write_endpoint": f"{reader.host}:{reader.port}"}),
            folder,
        )


async def test_status_and_script_change_nothing(settings, folder, sql):
    before = sql("SELECT count(*) FROM pg_class")
    await migrations.status(settings, folder)
    await migrations.script(settings, folder)
    assert sql("SELECT count(*) FROM pg_class") == before


async def test_a_script_does_what_apply_does(settings, folder, sql, cluster):
    (folder / "0003-more.py").unlink()
    (folder / "0004-more.sql").write_text("CREATE TABLE more (id int) -- no end\n")
    await migrations.apply(settings, folder, to="0001")
    text = await migrations.script(settings, folder)
    assert "0001-users" not in text
    assert "CREATE INDEX CONCURRENTLY users_name" in text
    # Statement by statement, as psql sends it.
    import sqlparse

    for statement in sqlparse.split(text):
        if sqlparse.format(statement, strip_comments=True).strip(" ;\n"):
            sql(statement)
    assert states(await migrations.status(settings, folder)) == [
        ("0001-users", "applied"), ("0002-index", "applied"), ("0004-more", "applied"),
    ]  # fmt: skip
    assert await migrations.apply(settings, folder) == ()
    assert (await migrations.script(settings, folder)).endswith("nothing to apply\n")


async def test_a_script_for_an_empty_database_needs_none(folder):
    text = await migrations.script(None, folder, to="0003")
    assert (
        text.index("CREATE TABLE users")
        < text.index("users_name")
        < text.index("A migration in Python")
    )
    assert "python'" not in text


async def test_ensure_created_once_for_all_who_come(settings, folder, sql):
    made = await asyncio.gather(*(migrations.ensure_created(settings, folder) for _ in range(3)))
    assert sorted(made) == [False, False, True]
    assert sql("SELECT count(*) FROM users") == [(2,)]
    assert sql("SELECT to_regclass('_yoyo_migration')") == [(None,)]
    with pytest.raises(ConfigurationError, match="made by ensure_created"):
        await migrations.apply(settings, folder)
    (folder / "0004-new.sql").write_text("SELECT 1;")
    with pytest.raises(ConfigurationError, match="created from other migrations"):
        await migrations.ensure_created(settings, folder)


async def test_ensure_created_is_all_or_nothing(settings, folder, sql):
    (folder / "0002-index.sql").write_text("CREATE INDEX users_name ON users (name);\n")
    (folder / "0004-bad.sql").write_text("SELECT nope;\n")
    with pytest.raises(ProgrammingError, match="0004-bad"):
        await migrations.ensure_created(settings, folder)
    assert sql("SELECT to_regclass('users')") == [(None,)]
    (folder / "0004-bad.sql").unlink()
    assert await migrations.ensure_created(settings, folder)


async def test_ensure_created_refuses_what_migrations_manage(settings, folder):
    await migrations.apply(settings, folder, to="0001")
    with pytest.raises(ConfigurationError, match="Migrations manage database"):
        await migrations.ensure_created(settings, folder)


async def test_ensure_created_refuses_what_is_not_empty(settings, folder, sql):
    sql("CREATE TABLE mine (id int)")
    with pytest.raises(ConfigurationError, match="is not empty"):
        await migrations.ensure_created(settings, folder)


async def test_rolling_back_needs_what_it_takes(settings, folder):
    await migrations.apply(settings, folder, to="0001")
    with pytest.raises(ConfigurationError, match="no longer the newest"):
        await migrations.rollback(settings, folder, ["0002-index"])
    (folder / "0001-users.rollback.sql").write_text("-- nothing\n")
    with pytest.raises(
        ConfigurationError, match=r"0001-users\.rollback\.sql is missing or has no statement"
    ):
        await migrations.rollback(settings, folder, ["0001-users"])
    (folder / "0001-users.sql").rename(folder / "0001-people.sql")
    (folder / "0001-users.rollback.sql").rename(folder / "0001-people.rollback.sql")
    (folder / "0002-index.sql").unlink()
    (folder / "0002-index.rollback.sql").unlink()
    (folder / "0003-more.py").unlink()
    assert states(await migrations.status(settings, folder)) == [
        ("0001-people", "pending"),
        ("0001-users", "missing"),
    ]
    with pytest.raises(ConfigurationError, match="have no file any more: 0001-users"):
        await migrations.latest(settings, folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "0004-x.sql",
            "-- depends: nowhere\nSELECT 1;",
            r"0004-x\.sql cannot be loaded: Could not resolve",
        ),
        ("0004-x.sql", "-- transactional: perhaps\nSELECT 1;", "must be true or false"),
        ("0004-x.py", "import nonsense_that_is_not_there", "cannot be loaded: No module named"),
        ("0004-x.sql", "-- only a title\n", "has no statement yet"),
        ("0004-x.rollback.sql", "SELECT 1;", "rolls back a migration that is not there"),
        ("0003-more.sql", "SELECT 1;", "0003-more is there twice"),
        ("0000-x.sql", "-- depends: 0005-y\nSELECT 1;", "0005-y|Circular"),
    ],
)
async def test_a_folder_that_is_wrong(settings, folder, name, text, message, sql):
    (folder / name).write_text(text)
    if "0005" in text:
        (folder / "0005-y.sql").write_text("-- depends: 0000-x\nSELECT 1;")
    with pytest.raises(ConfigurationError, match=message):
        await migrations.apply(settings, folder)
    assert sql("SELECT to_regclass('users')") == [(None,)]


async def test_a_dependency_of_another_folder_does_not_count(settings, folder, tmp_path):
    await migrations.status(settings, folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "0009-x.sql").write_text("-- depends: 0001-users\nSELECT 1;")
    with pytest.raises(ConfigurationError, match=r"depends on 0001-users, which is not in"):
        await migrations.status(settings, other)


def test_new_files_sort_by_age_and_depend_on_the_newest(tmp_path):
    now = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
    first, undo = migrations.new(tmp_path / "m", "First thing", now=now)
    second, _ = migrations.new(tmp_path / "m", "Another: ä thing!", now=now)
    (third,) = migrations.new(
        tmp_path / "m", 'In "Python"', python=True, now=now + timedelta(days=1)
    )
    assert [one.name for one in (first, undo, second, third)] == [
        "20260301_120000-first-thing.sql", "20260301_120000-first-thing.rollback.sql",
        "20260301_120001-another-thing.sql", "20260302_120000-in-python.py",
    ]  # fmt: skip
    assert "-- depends: 20260301_120000-first-thing\n" in second.read_text()
    assert "20260301_120001-another-thing" in third.read_text()
    with pytest.raises(ConfigurationError, match="a few words"):
        migrations.new(tmp_path / "m", "!!!")


async def test_new_files_apply(settings, tmp_path, sql):
    for number in (1, 2):
        path, undo = migrations.new(tmp_path, f"table {number}")
        path.write_text(path.read_text() + f"CREATE TABLE t{number} (id int);\n")
        undo.write_text(undo.read_text() + f"DROP TABLE t{number};\n")
    migrations.new(tmp_path, "py", python=True)
    done = await migrations.apply(settings, tmp_path)
    await migrations.rollback(settings, tmp_path, [one.id for one in reversed(done)])
    assert sql("SELECT to_regclass('t1'), to_regclass('t2')") == [(None, None)]


@pytest.mark.parametrize("broken", ["password", "port", "sql"])
async def test_the_password_is_in_no_error_and_no_log(settings, folder, caplog, broken):
    from yoyo.backends import base

    before = set(base.DatabaseBackend._transactional_ddl_cache)
    caplog.set_level(logging.DEBUG)
    changes = {
        "password": {"password": "geheim-7f1-wrong"},
        "port": {"write_endpoint": "127.0.0.1:1"},
        "sql": {},
    }[broken]
    (folder / "0004-bad.sql").write_text("SELECT nope;\n")
    kind = {"password": AuthenticationFailed, "port": ConnectionFailed, "sql": ProgrammingError}[
        broken
    ]
    with pytest.raises(kind) as caught:
        await migrations.apply(settings.replace(changes), folder)
    text = (
        "".join(traceback.format_exception(caught.value)) + caplog.text + repr(vars(caught.value))
    )
    assert "geheim-7f1" not in text
    after = set(base.DatabaseBackend._transactional_ddl_cache)
    assert all(b"geheim-7f1" not in key for key in after - before)
