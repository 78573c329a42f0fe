"""``db.sql``: names to statements, with and without reload."""

import pytest

from aurora_sql.execution import (
    BoundBatch,
    BoundScript,
    BoundStatement,
    StatementTree,
)
from aurora_sql.statements import StatementRegistry


class Recorder:
    """Stands where a runner stands, and notes what it is asked for."""

    def __init__(self):
        self.calls = []

    async def run(self, statement, params):
        self.calls.append((statement.name, params))

    async def run_cached(self, statement, params):
        self.calls.append(("cached", statement.name, params))

    async def run_invalidating(self, statement, params):
        self.calls.append(("invalidating", statement.name, params))

    async def run_batch(self, statement, sets):
        self.calls.append((statement.name, list(sets)))

    async def run_script(self, statement):
        self.calls.append((statement.name,))

    def stream(self, statement, params, batch):
        self.calls.append((statement.name, params, batch))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "users.sql").write_text(
        "-- name: get :one\n-- One user.\nSELECT id FROM users WHERE id = :id AND self = :self;\n\n"
        "-- name: add :batch\nINSERT INTO users (id) VALUES (:id);\n\n"
        "-- name: tidy :script\nDELETE FROM users; DELETE FROM notes;\n"
    )
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "sales.sql").write_text("-- name: by_day :many\nSELECT 1;\n")
    return tmp_path


def namespace(registry):
    recorder, tree = Recorder(), StatementTree(registry)
    return recorder, tree.bind(recorder)


async def test_each_kind_is_called_in_its_own_way(folder):
    recorder, sql = namespace(StatementRegistry.load(folder))
    assert [type(one) for one in (sql.users.get, sql.users.add, sql.users.tidy)] == [
        BoundStatement,
        BoundBatch,
        BoundScript,
    ]
    await sql.users.get(id=1, self=2)
    await sql.users.add([{"id": 1}])
    await sql.users.tidy()
    sql.reports.sales.by_day.stream(batch_size=7)
    assert recorder.calls == [
        ("users.get", {"id": 1, "self": 2}),
        ("users.add", [{"id": 1}]),
        ("users.tidy",),
        ("reports.sales.by_day", {}, 7),
    ]


async def test_reads_that_are_kept_and_writes_that_end_that(tmp_path):
    (tmp_path / "a.sql").write_text(
        "-- name: get :one\n-- cache: 5s\nSELECT 1;\n"
        "-- name: put :exec\n-- invalidates: a.get\n-- retry: exactly_once\nUPDATE t SET a = 1;\n"
        "-- name: puts :batch\n-- invalidates: a.get\nUPDATE t SET a = :a;\n"
    )
    recorder, sql = namespace(StatementRegistry.load(tmp_path))
    await sql.a.get()
    await sql.a.put()
    await sql.a.puts([])
    assert recorder.calls == [
        ("cached", "a.get", {}),
        ("invalidating", "a.put", {}),
        ("a.puts", []),
    ]


def test_attributes_are_made_once(folder):
    _, sql = namespace(StatementRegistry.load(folder))
    assert sql.users is sql.users
    assert sql.users.get is sql.users.get
    assert sql["users.get"] is sql.users.get
    assert sql.users.get.__doc__ == "One user."
    assert sorted(sql) == ["reports", "users"]
    assert dir(sql.users) == ["add", "get", "tidy"]
    assert "get" in repr(sql.users)


def test_an_unknown_name_offers_what_there_is(folder):
    _, sql = namespace(StatementRegistry.load(folder))
    with pytest.raises(AttributeError, match=r"did you mean users\.get\?"):
        sql.users.gett
    with pytest.raises(AttributeError, match="there are: reports, users"):
        sql.x
    with pytest.raises(AttributeError, match="without sql="):
        namespace(None)[1].x
    assert not hasattr(sql, "_ipython_display_")


def test_a_reload_changes_and_removes_names(folder):
    registry = StatementRegistry.load(folder, reload=True)
    _, sql = namespace(registry)
    users, sales = sql.users, sql.reports.sales
    (folder / "users.sql").write_text("-- name: other :one\nSELECT 1;\n")
    (folder / "reports" / "sales.sql").unlink()
    (folder / "reports.sql").write_text("-- name: sales :one\nSELECT 1;\n")
    registry.refresh(force=True)
    assert dir(users) == ["other"]
    assert dir(sales) == []
    with pytest.raises(AttributeError):
        sales.by_day
    assert isinstance(sql.reports.sales, BoundStatement)
