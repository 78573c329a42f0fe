"""The registry: namespaces, dialects, collisions, folders that cannot be."""

import os

import pytest

import aurora_sql.statements
from aurora_sql.errors import ConfigurationError, StatementFileError
from aurora_sql.statements import StatementRegistry, UnknownStatement

ONE = "-- name: {} :one\nSELECT {};\n"


def test_folders_are_namespaces(load):
    registry = load(
        {
            "users.sql": ONE.format("get", 1) + ONE.format("find", 2),
            "reports/sales.sql": ONE.format("by_day", 3),
            "reports.sql": ONE.format("all", 4),
            "a/b/c.sql": ONE.format("d", 5),
            "notes.txt": "not SQL",
            ".hidden.sql": "not read",
            ".git/x.sql": "not read",
        }
    )
    assert registry.names() == (
        "a.b.c.d",
        "reports.all",
        "reports.sales.by_day",
        "users.find",
        "users.get",
    )
    assert sorted(registry) == list(registry.names())
    assert len(registry) == 5
    assert "users.get" in registry
    assert "users.nope" not in registry
    assert registry["reports.sales.by_day"].line == 1
    assert registry["users.find"].line == 3
    assert registry["users.find"].path.name == "users.sql"
    assert repr(registry) == f"<StatementRegistry {str(registry.path)!r} postgresql, 5 statements>"


def test_an_unknown_name_is_a_key_error_that_names_its_neighbours(load):
    registry = load({"users.sql": ONE.format("get_by_email", 1)})
    with pytest.raises(KeyError):
        registry["nope"]
    with pytest.raises(UnknownStatement, match=r"did you mean 'users\.get_by_email'") as caught:
        registry["users.get_by_mail"]
    assert isinstance(caught.value, StatementFileError)
    assert not str(caught.value).startswith('"')
    assert registry.get("nope") is None


def test_a_file_of_the_dialect_wins(load):
    registry = load(
        {
            "users.sql": ONE.format("get", 1)
            + ONE.format("find", 2)
            + "-- name: odd :one\nSELECT (1;\n",
            "users.postgresql.sql": ONE.format("get", 10) + ONE.format("odd", 30),
            "users.mysql.sql": "-- name: get :one\nSELECT `x` 'unread",
        }
    )
    assert registry["users.get"].variants[0].sql == "SELECT 10"
    assert registry["users.get"].path.name == "users.postgresql.sql"
    assert registry["users.find"].variants[0].sql == "SELECT 2"
    assert registry["users.odd"].variants[0].sql == "SELECT 30"
    assert len(registry) == 3


def test_a_name_twice_names_both_places(load):
    with pytest.raises(
        StatementFileError, match=r"q\.sql:5:1: 'a' stands twice: also at .*q\.sql:1"
    ):
        load({"q.sql": ONE.format("a", 1) + ONE.format("b", 1) + ONE.format("a", 2)})


def test_a_dashed_aiosql_name_meets_its_twin(load):
    with pytest.raises(StatementFileError, match="stands twice"):
        load({"q.sql": "-- name: get-a^\nSELECT 1;\n-- name: get_a :one\nSELECT 1"})


def test_a_statement_and_a_namespace_of_one_name(load):
    with pytest.raises(
        StatementFileError, match=r"'reports\.sales' is also the namespace of .*sales\.sql"
    ):
        load({"reports.sql": ONE.format("sales", 1), "reports/sales.sql": ONE.format("x", 1)})


def test_a_statement_and_a_folder_of_one_name(load):
    with pytest.raises(StatementFileError, match=r"'a\.b' is also the namespace"):
        load({"a.sql": ONE.format("b", 1), "a/b/c.sql": ONE.format("x", 1)})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my-users.sql", "not a Python identifier"),
        ("1st/x.sql", "not a Python identifier"),
        ("class.sql", "keyword"),
        ("stream.sql", "method"),
        ("_x.sql", "underscore"),
        ("users.oracle.sql", "unknown dialect 'oracle'"),
        ("users.postgresql.old.sql", "unknown dialect 'postgresql.old'"),
    ],
)
def test_files_that_cannot_be_namespaces(load, name, message):
    with pytest.raises(StatementFileError, match=message):
        load({name: ONE.format("a", 1)})


def test_folders_that_cannot_be_loaded(tmp_path, write):
    with pytest.raises(ConfigurationError, match="does not exist"):
        StatementRegistry.load(tmp_path / "nope")
    with pytest.raises(ConfigurationError, match=r"holds no \.sql file"):
        StatementRegistry.load(tmp_path)
    folder = write({"a.sql": ONE.format("a", 1)})
    with pytest.raises(ConfigurationError, match="is a file"):
        StatementRegistry.load(folder / "a.sql")
    only_mysql = write({"a.mysql.sql": ""}, tmp_path / "other")
    with pytest.raises(ConfigurationError, match="for postgresql"):
        StatementRegistry.load(str(only_mysql))


def test_links_are_followed_but_not_in_circles(write, tmp_path):
    folder = write({"a.sql": ONE.format("a", 1)})
    other = write({"b.sql": ONE.format("b", 1)}, tmp_path / "other")
    (folder / "linked").symlink_to(other)
    (folder / "c.sql").symlink_to(other / "b.sql")
    (folder / "circle").symlink_to(folder)
    assert list(StatementRegistry.load(folder)) == ["a.a", "c.b", "linked.b.b"]


def test_a_file_that_cannot_be_read(load, monkeypatch):
    from pathlib import Path

    def deny(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)
    with pytest.raises(StatementFileError, match=r"a\.sql: cannot be read: Permission denied"):
        load({"a.sql": ""})


def test_a_relative_folder(write, monkeypatch):
    folder = write({"a.sql": ONE.format("a", 1)})
    monkeypatch.chdir(folder.parent)
    registry = StatementRegistry.load("sql")
    assert str(registry["a.a"].path) == os.path.join("sql", "a.sql")  # noqa: PTH118 - the text is what is tested
    assert registry["a.a"].where == "a.a (sql/a.sql:1)"


def test_public_names():
    for name in aurora_sql.statements.__all__:
        found = getattr(aurora_sql.statements, name)
        assert isinstance(found, int) or found.__name__ == name
