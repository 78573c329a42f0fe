"""Reloading in development: changed, broken, added and deleted files."""

import logging
import os

import pytest

ONE = "-- name: {} :one\nSELECT {};\n"


@pytest.fixture
def change(write):
    """Write a file and make sure that its time stamp moves, however fast the test is."""
    clock = [2_000_000_000]

    def make(folder, name, text):
        write({name: text}, folder)
        clock[0] += 10
        os.utime(folder / name, (clock[0], clock[0]))

    return make


def sql(registry, name):
    return registry[name].variants[0].sql


def test_a_changed_file_is_read_again_and_the_rest_stays(load, change):
    registry = load({"a.sql": ONE.format("x", 1), "b.sql": ONE.format("y", 1)}, reload=True)
    kept = registry["b.y"]
    assert not registry.refresh()
    change(registry.path, "a.sql", ONE.format("x", 2) + ONE.format("z", 3))
    assert registry.refresh()
    assert registry.generation == 1
    assert sql(registry, "a.x") == "SELECT 2"
    assert "a.z" in registry
    assert registry["b.y"] is kept


def test_a_save_by_renaming_is_seen_even_at_the_same_time_and_size(load, write, tmp_path):
    registry = load({"a.sql": ONE.format("x", 1)}, reload=True)
    path = registry.path / "a.sql"
    stat = path.stat()
    other = tmp_path / "new"
    other.write_text(ONE.format("x", 2))
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(path)
    registry.refresh()
    assert sql(registry, "a.x") == "SELECT 2"


def test_added_and_deleted_files(load, change):
    registry = load({"a.sql": ONE.format("x", 1)}, reload=True)
    change(registry.path, "deep/b.sql", ONE.format("y", 2))
    assert registry.refresh()
    assert registry.names() == ("a.x", "deep.b.y")
    (registry.path / "a.sql").unlink()
    assert registry.refresh()
    assert registry.names() == ("deep.b.y",)
    change(registry.path, "deep/b.postgresql.sql", ONE.format("y", 9))
    change(registry.path, "deep/b.mysql.sql", "'open")
    assert registry.refresh()
    assert sql(registry, "deep.b.y") == "SELECT 9"
    (registry.path / "deep/b.postgresql.sql").unlink()
    registry.refresh()
    assert sql(registry, "deep.b.y") == "SELECT 2"
    assert not registry.refresh()


@pytest.mark.parametrize(
    "broken",
    ["-- name: x :one\nSELECT 'open", "-- name: x :one\nSELECT (", "-- name: x :nope\nSELECT 1"],
)
def test_a_broken_file_keeps_its_last_good_version_and_says_so_once(load, change, caplog, broken):
    registry = load({"a.sql": ONE.format("x", 1), "b.sql": ONE.format("y", 1)}, reload=True)
    change(registry.path, "a.sql", broken)
    change(registry.path, "b.sql", ONE.format("y", 2))
    with caplog.at_level(logging.WARNING, "aurora_sql.statements"):
        registry.refresh()
        registry.refresh()
        registry.refresh()
    assert sql(registry, "a.x") == "SELECT 1"
    assert sql(registry, "b.y") == "SELECT 2"
    assert len(caplog.records) == 1
    assert f"{registry.path / 'a.sql'}:" in caplog.text
    change(registry.path, "a.sql", ONE.format("x", 3))
    registry.refresh()
    assert sql(registry, "a.x") == "SELECT 3"


def test_a_new_broken_file_is_named_once_and_left_out(load, change, caplog):
    registry = load({"a.sql": ONE.format("x", 1)}, reload=True)
    change(registry.path, "b.sql", "SELECT 1")
    change(registry.path, "c-d.sql", ONE.format("y", 1))
    for _ in range(3):
        assert not registry.refresh()
    assert registry.names() == ("a.x",)
    assert len(caplog.records) == 2


def test_a_collision_is_put_back_until_it_is_resolved(load, change, caplog):
    registry = load({"r.sql": ONE.format("sales", 1), "b.sql": ONE.format("y", 1)}, reload=True)
    change(registry.path, "r/sales.sql", ONE.format("day", 2))
    for _ in range(3):
        assert not registry.refresh()
    assert registry.names() == ("b.y", "r.sales")
    assert len(caplog.records) == 1
    change(registry.path, "r.sql", ONE.format("all", 1))
    assert registry.refresh()
    assert registry.names() == ("b.y", "r.all", "r.sales.day")


def test_a_folder_that_vanishes_keeps_everything(load, change, caplog):
    registry = load({"a.sql": ONE.format("x", 1)}, reload=True)
    registry.path.rename(registry.path.with_name("moved"))
    for _ in range(3):
        assert not registry.refresh()
    assert sql(registry, "a.x") == "SELECT 1"
    assert len(caplog.records) == 1
    registry.path.with_name("moved").rename(registry.path)
    change(registry.path, "a.sql", ONE.format("x", 2))
    registry.refresh()
    assert sql(registry, "a.x") == "SELECT 2"


def test_lookups_look_at_the_files_at_most_twice_a_second(load, change, monkeypatch):
    from aurora_sql.statements import _folder

    now = [1000.0]
    monkeypatch.setattr(_folder.time, "monotonic", lambda: now[0])
    registry = load({"a.sql": ONE.format("x", 1)}, reload=True)
    change(registry.path, "a.sql", ONE.format("x", 2))
    now[0] += 0.4
    assert sql(registry, "a.x") == "SELECT 1"
    now[0] += 0.2
    assert sql(registry, "a.x") == "SELECT 2"
    change(registry.path, "a.sql", ONE.format("z", 2))
    now[0] += 0.6
    assert "a.z" in registry
    assert "reload" in repr(registry)


def test_without_reload_nothing_is_looked_at(load, change):
    registry = load({"a.sql": ONE.format("x", 1)})
    change(registry.path, "a.sql", ONE.format("x", 2))
    assert sql(registry, "a.x") == "SELECT 1"
    assert not registry.reload
