"""The file of an export: whole or not there, and nothing is written once it is left."""

import asyncio
import os
import threading

import pytest

from aurora_sql.export import target_of


def names(folder):
    return sorted(path.name for path in folder.iterdir())


async def test_nothing_is_seen_before_it_is_whole(tmp_path):
    path = tmp_path / "a.csv"
    async with target_of(path, "x") as out:
        await out.write(b"x" * 300_000)
        assert not path.exists()
        assert len(names(tmp_path)) == 1
        await out.write(b"y")
    assert path.read_bytes() == b"x" * 300_000 + b"y"
    assert names(tmp_path) == ["a.csv"]


async def test_an_empty_export_is_an_empty_file(tmp_path):
    async with target_of(str(tmp_path / "a.csv"), "x"):
        pass
    assert (tmp_path / "a.csv").read_bytes() == b""


async def test_a_name_as_long_as_names_get(tmp_path):
    for name in ("n" * 251 + ".csv", "ü" * 127):
        async with target_of(tmp_path / name, "x") as out:
            await out.write(b"1")
        assert (tmp_path / name).read_bytes() == b"1"


async def test_two_at_once(tmp_path):
    path = tmp_path / "a.csv"

    async def write(text):
        async with target_of(path, "x") as out:
            for _ in range(3):
                await out.write(text * 300_000)

    await asyncio.gather(*(write(text) for text in (b"a", b"b", b"c")))
    assert len(set(path.read_bytes())) == 1
    assert names(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("turns", range(8))
async def test_cancelled_at_any_turn(tmp_path, turns):
    path = tmp_path / "a.csv"
    path.write_text("old")

    async def write():
        async with target_of(path, "x") as out:
            for _ in range(20):
                await out.write(b"x" * 300_000)

    task = asyncio.ensure_future(write())
    for _ in range(turns * 7):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        assert path.read_text() == "old"
    assert names(tmp_path) == ["a.csv"]


async def test_cancelled_twice_it_is_still_seen_through():
    writing, go_on = threading.Event(), threading.Event()

    class Stuck:
        def write(self, data):
            writing.set()
            go_on.wait(20)

    async def write():
        async with target_of(Stuck(), "x") as out:
            await out.write(b"x" * 300_000)

    task = asyncio.ensure_future(write())
    await asyncio.to_thread(writing.wait, 20)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()


async def test_a_folder_that_goes(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    with pytest.raises(FileNotFoundError):
        async with target_of(folder / "a.csv", "x") as out:
            await out.write(b"1")
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
    assert names(tmp_path) == []


async def test_a_folder_that_cannot_be_written(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        async with target_of(tmp_path / "a.csv", "x"):
            pass
