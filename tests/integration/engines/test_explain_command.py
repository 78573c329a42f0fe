"""``aurora-sql explain`` on each kind of server."""

from __future__ import annotations

import asyncio
import json

import pytest

from aurora_sql.cli._app import run as start

SQL = """
-- name: get :maybe
-- coalesce: on
SELECT id, owner FROM accounts WHERE id = :id;

-- name: owned :many
SELECT id FROM accounts
WHERE owner = :owner
  AND balance > :least          -- when :least
LIMIT :limit;

-- name: put :exec
INSERT INTO accounts (id, owner) VALUES (:id, :owner);
"""


@pytest.fixture
def run(settings, outside, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")  # lines stay whole all the same
    host, port = settings.writer_address()
    monkeypatch.setenv("AURORA_PASSWORD", settings.password.get_secret_value())
    url = f"{settings.engine.value}://{settings.username}@{host}:{port}/{settings.database}"
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "t.sql").write_text(SQL.lstrip())

    async def call(*args):
        options = ["--sql", "queries", "--url", f"{url}?sslmode=disable"]
        code = await asyncio.to_thread(start, ["explain", *args, *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


async def test_it_prints_all_of_it(run):
    code, out, err = await run("t.get", "--set", "id=3")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "t.get  queries/t.sql:1"
    assert "Parameters" in lines
    assert "Plan" in lines
    assert "For many callers" in lines
    assert any("SELECT id, owner FROM accounts WHERE id = " in line for line in lines)
    assert not [line for line in lines if line != line.rstrip()]


async def test_values_of_all_kinds(run, server):
    code, out, err = await run(
        "t.owned", "--set", "owner=5", "--set", "limit=2", "--set", "least=1.5"
    )
    assert (code, err) == (0, "")
    assert "balance > " in out
    if server.name == "postgresql":
        assert "'5'" in out
    code, out, err = await run(
        "t.owned", "--set", 'owner="null"', "--set", "limit=2", "--set", "least=null"
    )
    assert (code, err, "balance > " in out) == (0, "", False)


async def test_json(run, server):
    code, out, err = await run("t.get", "--set", "id=3", "--json", "--analyze")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["name"], found["path"], found["line"]) == ("t.get", "queries/t.sql", 1)
    assert found["access"] == "read"
    assert found["analyzed"] is True
    assert found["parameters"] == ["id"]
    assert len(found["together"]) == 1
    assert found["plan"]
    assert found["together_plan"]
    assert found["dialect"] == server.engine


async def test_it_writes_nothing(run, outside):
    code, out, _ = await run("t.put", "--set", "id=99", "--set", "owner=new")
    assert (code, out.splitlines()[2][:8]) == (0, "Write on")
    code, out, err = await run("t.put", "--set", "id=99", "--set", "owner=new", "--analyze")
    assert (code, out, "would run what may write" in err) == (2, "", True)
    assert await outside.value("SELECT count(*) FROM accounts") == 10


async def test_what_the_server_refuses_is_one_message(run, outside):
    await outside.execute("DROP TABLE notes")
    await outside.execute("DROP TABLE accounts")
    code, out, err = await run(
        "t.owned", "--set", "owner=x", "--set", "limit=2", "--set", "least=1"
    )
    assert (code, out) == (2, "")
    assert err.startswith("aurora-sql: ")
    assert "in statement t.owned (queries/t.sql:" in err
    assert "Traceback" not in err
