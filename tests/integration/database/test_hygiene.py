"""What one caller does to its session never reaches the next one.

Each case runs a statement that changes the session in a way that its text does not show, on a
pool of one connection, and looks for the change afterwards.
"""

import pytest

MARKER = "SELECT current_setting('aurora_test.marker', true)"

MARK = """
CREATE FUNCTION mark(v text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('aurora_test.marker', v, false); RETURN v; END $$;
CREATE FUNCTION mark_row() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('aurora_test.marker', 'trigger', false); RETURN NEW; END $$;
CREATE FUNCTION sly(v text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('aurora_test.marker', v, false); RETURN v; END $$;
"""

# name: (what the schema has, the statement that leaves something behind)
CASES = {
    "a function that is called by its name": ("", "SELECT mark('x')"),
    "a function that says it is immutable": ("", "SELECT sly(owner) FROM accounts"),
    "set_config in a CTE": (
        "",
        "WITH c AS (SELECT set_config('aurora_test.marker', 'x', false) AS v) SELECT v FROM c",
    ),
    "a function that overloads a vetted name": (
        (
            "CREATE FUNCTION lower(v bigint) RETURNS text LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN mark('x'); END $$"
        ),
        "SELECT lower(id) FROM accounts",
    ),
    "a function that overloads a name of the grammar": (
        (
            'CREATE FUNCTION "left"(v bigint) RETURNS text LANGUAGE plpgsql AS'
            " $$ BEGIN RETURN mark('x'); END $$"
        ),
        "SELECT left(id) FROM accounts",
    ),
    "a function called as an attribute": (
        (
            "CREATE FUNCTION shade(a accounts) RETURNS text LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN mark('x'); END $$"
        ),
        "SELECT a.shade FROM accounts AS a",
    ),
    "an aggregate of the user": (
        (
            "CREATE FUNCTION step(s text, v text) RETURNS text LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN mark('x'); END $$;"
            " CREATE AGGREGATE gather (text) (sfunc = step, stype = text)"
        ),
        "SELECT gather(owner) FROM accounts",
    ),
    "an aggregate that overloads a vetted name": (
        (
            "CREATE FUNCTION step(s text, v text) RETURNS text LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN mark('x'); END $$;"
            " CREATE AGGREGATE sum (text) (sfunc = step, stype = text)"
        ),
        "SELECT sum(owner) FROM accounts",
    ),
    "an operator of the user": (
        (
            "CREATE FUNCTION same(a text, b text) RETURNS boolean LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM mark('x'); RETURN true; END $$;"
            " CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = same)"
        ),
        "SELECT id FROM accounts WHERE owner === 'x'",
    ),
    "an implicit cast of the user": (
        (
            "CREATE TYPE colour AS ENUM ('red'); CREATE TABLE paints (c colour);"
            " INSERT INTO paints VALUES ('red');"
            " CREATE FUNCTION shade(c colour) RETURNS bigint LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM mark('x'); RETURN 1; END $$;"
            " CREATE CAST (colour AS bigint) WITH FUNCTION shade(colour) AS IMPLICIT"
        ),
        "SELECT a.id FROM accounts AS a JOIN paints AS p ON a.id = p.c",
    ),
    "a view": ("CREATE VIEW v AS SELECT id, mark(owner) AS m FROM accounts", "SELECT * FROM v"),
    "a trigger": (
        "CREATE TRIGGER t AFTER UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION mark_row()",
        "UPDATE accounts SET balance = 1",
    ),
    "a trigger reached by a CTE of a SELECT": (
        "CREATE TRIGGER t AFTER UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION mark_row()",
        "WITH u AS (UPDATE accounts SET balance = 1 RETURNING id) SELECT id FROM u",
    ),
    "a trigger of a partition": (
        (
            "CREATE TABLE p (id int) PARTITION BY RANGE (id);"
            " CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);"
            " CREATE TRIGGER t AFTER INSERT ON p1 FOR EACH ROW EXECUTE FUNCTION mark_row()"
        ),
        "INSERT INTO p VALUES (1)",
    ),
    "a trigger of a table that is cascaded to": (
        (
            "CREATE TABLE notes (account bigint REFERENCES accounts ON DELETE CASCADE);"
            " INSERT INTO notes VALUES (1);"
            " CREATE TRIGGER t AFTER DELETE ON notes FOR EACH ROW EXECUTE FUNCTION mark_row()"
        ),
        "DELETE FROM accounts WHERE id = 1",
    ),
    "a rule": (
        "CREATE RULE r AS ON UPDATE TO accounts DO ALSO SELECT mark('x')",
        "UPDATE accounts SET balance = 1",
    ),
    "a rule of the catalogue": (
        "",
        (
            "UPDATE pg_settings SET setting = 'x' WHERE name = 'application_name'"
            " AND mark('x') IS NOT NULL"
        ),
    ),
    "row level security": (
        (
            "CREATE POLICY p ON accounts USING (mark('x') IS NOT NULL);"
            " ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;"
            " ALTER TABLE accounts FORCE ROW LEVEL SECURITY;"
            " CREATE ROLE {role}; GRANT SELECT ON accounts TO {role}"
        ),
        None,
    ),
    "a default": (
        "CREATE TABLE d (id int, m text DEFAULT mark('x'))",
        "INSERT INTO d (id) VALUES (1)",
    ),
    "a default with a function of the server": (
        "CREATE TABLE d (id int, m text DEFAULT set_config('aurora_test.marker', 'x', false))",
        "INSERT INTO d (id) VALUES (1)",
    ),
    "a generated column": (
        "CREATE TABLE d (id int, m text GENERATED ALWAYS AS (sly('x')) STORED)",
        "INSERT INTO d (id) VALUES (1)",
    ),
    "a check": (
        "CREATE TABLE d (id int CHECK (mark('x') IS NOT NULL))",
        "INSERT INTO d (id) VALUES (1)",
    ),
    "a domain": (
        (
            "CREATE DOMAIN positive AS int CHECK (mark(VALUE::text) IS NOT NULL);"
            " CREATE TABLE d (id positive)"
        ),
        "INSERT INTO d (id) VALUES (1)",
    ),
    "an index": (
        "CREATE TABLE d (id int, m text); CREATE INDEX ON d (sly(m))",
        "INSERT INTO d VALUES (1, 'x')",
    ),
    "a DO block": ("", "DO $$ BEGIN PERFORM mark('x'); END $$"),
}


@pytest.mark.parametrize("case", [name for name in CASES if CASES[name][1] is not None])
async def test_what_a_statement_hides_is_found(opened, outside, case):
    schema, sql = CASES[case]
    await outside.execute(MARK + schema)
    async with opened(max_pool_size=1) as db:
        async with db.transaction() as tx:  # it really leaves something behind
            await tx.execute(sql)
            assert await tx.fetch_value(MARKER), f"{case}: the case does not do what it says"
        await db.execute(sql)
        assert await db.fetch_value(MARKER) in {"", None}
        # And prepared already, it does so again.
        await db.execute(sql)
        assert await db.fetch_value(MARKER) in {"", None}


async def test_row_level_security_is_found(opened, outside, settings):
    role = f"guest_{settings.database}"
    await outside.execute(MARK + CASES["row level security"][0].format(role=role))
    try:
        async with opened(max_pool_size=1) as db:
            async with db.transaction() as tx:
                await tx.execute(f"SET LOCAL ROLE {role}")
                await tx.fetch_all("SELECT id FROM accounts")
                assert await tx.fetch_value(MARKER)
            assert await db.fetch_value(MARKER) in {"", None}
            # The same statement, of which only the catalogue knows that it is not clean.
            resets = db.pool_stats().popitem()[1].resets
            await db.writer.fetch_all("SELECT id FROM accounts")
            assert sum(one.resets for one in db.pool_stats().values()) > resets
    finally:
        await outside.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_what_a_session_holds_is_let_go_of(opened, outside, at_rest):
    held = """
        SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
             + (SELECT count(*) FROM pg_cursors WHERE is_holdable)
             + (SELECT count(*) FROM pg_listening_channels())
             + (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relname = 'scratch')
    """
    async with opened(max_pool_size=1) as db:
        for sql in (
            "SELECT pg_advisory_lock(1)",
            "WITH l AS (SELECT pg_try_advisory_lock(2)) SELECT * FROM l",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "LISTEN news",
            "CREATE TEMP TABLE scratch (id int)",
            "CREATE TEMP TABLE scratch AS SELECT 1 AS id",
            "SELECT 1 AS id INTO TEMP scratch",
            "DO $$ BEGIN LISTEN news; CREATE TEMP TABLE scratch (id int); END $$",
            "SET work_mem = '7MB'",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SELECT set_config('work_mem', '7MB', false)",
            "UPDATE pg_settings SET setting = '7168' WHERE name = 'work_mem'",
            "SET ROLE pg_monitor",
            "SET TimeZone = 'Asia/Tokyo'",
        ):
            before = await db.fetch_value("SHOW work_mem")
            await db.execute(sql)
            assert await db.fetch_value(held) == 0, sql
            assert await db.fetch_value("SHOW work_mem") == before, sql
            assert await db.fetch_value("SELECT current_user = session_user"), sql
            assert await db.fetch_value("SHOW transaction_read_only") == "off", sql
            async with db.transaction() as tx:
                await tx.execute(sql)
            assert await db.fetch_value(held) == 0, sql
            assert await db.fetch_value("SHOW work_mem") == before, sql
            await at_rest(db)


async def test_set_local_ends_with_its_transaction(opened):
    async with opened(max_pool_size=1) as db:
        before = await db.fetch_value("SHOW work_mem")
        async with db.transaction() as tx:
            await tx.execute("SET LOCAL work_mem = '7MB'")
            assert await tx.fetch_value("SHOW work_mem") == "7MB"
        assert await db.fetch_value("SHOW work_mem") == before


async def test_a_user_function_far_away_makes_no_other_statement_dirty(opened, outside):
    """The proof errs on the safe side, but a schema with code in it is no reason for resets."""
    await outside.execute(
        MARK + "CREATE TABLE logged (id int);"
        " CREATE TRIGGER t AFTER UPDATE ON logged FOR EACH ROW EXECUTE FUNCTION mark_row();"
        " CREATE FUNCTION same(a text, b text) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN true; END $$;"
        " CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = same);"
        " CREATE TYPE colour AS ENUM ('red');"
        " CREATE FUNCTION shade(c colour) RETURNS bigint LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN 1; END $$;"
        " CREATE CAST (colour AS bigint) WITH FUNCTION shade(colour) AS IMPLICIT"
    )
    async with opened(max_pool_size=1) as db:
        await db.sql.accounts.get(id=1)
        await db.sql.accounts.deposit(id=1, amount=1)
        await db.sql.accounts.lock(id=1)
        await db.fetch_all("SELECT id + 1, lower(owner), now() FROM accounts WHERE id >= 1")
        await db.fetch_all("SELECT * FROM logged")
        await db.fetch_all("SELECT * FROM logged FOR UPDATE")
        assert sum(one.resets for one in db.pool_stats().values()) == 0


async def test_a_session_clean_directive_does_not_make_a_volatile_function_a_read(
    opened, outside, tmp_path
):
    """It speaks of the session only: what the function writes must still not be sent twice."""
    import asyncio

    from aurora_sql import ConnectionLost

    await outside.execute(
        "CREATE TABLE placed (id serial);"
        " CREATE FUNCTION place() RETURNS int LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO placed DEFAULT VALUES; PERFORM pg_sleep(0.5); RETURN 1; END $$"
    )
    (tmp_path / "x.sql").write_text("-- name: place :scalar\n-- session: clean\nSELECT place();\n")
    async with opened(sql=tmp_path) as db:
        task = asyncio.create_task(db.sql.x.place())
        await asyncio.sleep(0.25)
        await outside.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
            " WHERE query LIKE 'SELECT place()%' AND pid <> pg_backend_pid()"
        )
        with pytest.raises(ConnectionLost) as raised:
            await task
        assert raised.value.outcome_unknown


async def test_a_view_with_a_volatile_function_is_not_read_twice(opened, outside):
    import asyncio

    from aurora_sql import ConnectionLost

    await outside.execute(
        "CREATE TABLE placed (id serial);"
        " CREATE FUNCTION place() RETURNS int LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO placed DEFAULT VALUES; PERFORM pg_sleep(0.5); RETURN 1; END $$;"
        " CREATE VIEW tickets AS SELECT place() AS number;"
        " CREATE VIEW outer_tickets AS SELECT * FROM tickets"
    )
    async with opened() as db:
        task = asyncio.create_task(db.fetch_all("SELECT * FROM outer_tickets"))
        await asyncio.sleep(0.25)
        await outside.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
            " WHERE query LIKE '%outer_tickets' AND pid <> pg_backend_pid()"
        )
        with pytest.raises(ConnectionLost) as raised:
            await task
        assert raised.value.outcome_unknown


async def test_what_a_caller_did_to_its_session_is_undone(opened):
    async with opened(max_pool_size=1) as db:
        await db.sql.accounts.set_marker(value="mine")
        assert await db.fetch_value("SELECT current_setting('aurora_test.marker', true)") in {
            "",
            None,
        }
        async with db.transaction() as tx:
            await tx.execute("SET SESSION search_path = nowhere")
        assert await db.fetch_value("SELECT count(*) FROM accounts") == 10
        await db.execute("CREATE TEMP TABLE accounts (id int)")
        assert await db.fetch_value("SELECT count(*) FROM accounts") == 10
        await db.execute("SELECT pg_advisory_lock(42)")
        assert (
            await db.fetch_value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
        )


async def test_plain_statements_need_no_reset(db):
    for _ in range(20):
        await db.sql.accounts.get(id=1)
        await db.sql.accounts.deposit(id=1, amount=1)
    assert db.pool_stats().popitem()[1].resets == 0
    assert all(one.resets == 0 for one in db.pool_stats().values())


async def test_a_trigger_can_change_the_session_and_is_cleaned_up_after(opened, outside):
    await outside.execute(
        """
        CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM set_config('aurora_test.marker', 'trigger', false); RETURN NEW; END $$;
        CREATE TRIGGER t BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION t();
        """
    )
    async with opened(max_pool_size=1) as db:
        await db.sql.accounts.deposit(id=1, amount=1)
        assert await db.fetch_value("SELECT current_setting('aurora_test.marker', true)") in {
            "",
            None,
        }
        assert next(iter(db.pool_stats().values())).resets > 0


async def test_a_function_of_the_user_is_looked_up_in_the_catalogue(opened, outside):
    await outside.execute(
        "CREATE FUNCTION mark(t text) RETURNS text LANGUAGE sql AS"
        " $$ SELECT set_config('aurora_test.marker', t, false) $$"
    )
    async with opened(max_pool_size=1) as db:
        assert await db.fetch_value("SELECT mark('left behind')") == "left behind"
        assert await db.fetch_value("SELECT current_setting('aurora_test.marker', true)") in {
            "",
            None,
        }
