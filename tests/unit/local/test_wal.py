"""The log that plays the storage."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from aurora_sql.errors import ConfigurationError, OperationalError
from aurora_sql.local import _addresses
from aurora_sql.local._postgresql import _wal
from aurora_sql.local._postgresql._binaries import Binaries

SIZE = 1024 * 1024


@pytest.mark.parametrize(
    ("text", "number"), [("0/15000A8", 0x15000A8), ("1A/00000000", 0x1A00000000)]
)
def test_positions(text, number):
    assert _wal.parse(text) == number
    assert _wal.parse(_wal.show(number)) == number


def test_what_lies_behind_the_switch_is_removed_and_nothing_else(tmp_path):
    names = ["000000020000000100000002", "000000020000000100000003", "000000020000000100000004"]
    other = ["000000010000000100000004", "00000002.history", "000000030000000100000003"]
    for name in names + other:
        (tmp_path / name).write_bytes(b"x" * SIZE)
    position = (1 << 32) + 3 * SIZE + 100
    _wal.discard_after(tmp_path, 2, position)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[:2] + other)
    assert (tmp_path / names[0]).read_bytes() == b"x" * SIZE
    assert (tmp_path / names[1]).read_bytes() == b"x" * 100 + bytes(SIZE - 100)
    for name in other:
        assert (tmp_path / name).read_bytes() == b"x" * SIZE


def test_the_newest_history_says_where_the_timeline_began(tmp_path):
    (tmp_path / "00000002.history").write_text("1\t0/3000000\tno recovery target specified\n")
    (tmp_path / "00000003.history").write_text(
        "1\t0/3000000\tno recovery target specified\n\n2\t1/50000A0\tno recovery target specified\n"
    )
    assert _wal.switch_point(tmp_path) == (2, (1 << 32) + 0x50000A0)


def test_the_storage_is_there_only_while_it_is_open(tmp_path):
    folder, log = tmp_path / "it's 100%", tmp_path / "log"
    folder.mkdir()
    log.mkdir()
    (log / "segment").write_text("records")
    storage = _wal.Storage(folder)
    # What the server puts in for its placeholders.
    target = tmp_path / "target"
    command = storage.restore_command().replace("%f", "segment").replace("%p", str(target))
    command = command.replace("%%", "%")
    assert subprocess.run(["/bin/sh", "-c", command], check=False).returncode != 0
    storage.open(log)
    storage.open(log)
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert target.read_text() == "records"
    storage.close()
    storage.close()
    assert subprocess.run(["/bin/sh", "-c", command], check=False).returncode != 0


def waldump(folder: Path, script: str) -> Binaries:
    program = folder / "pg_waldump"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Binaries(folder, 18, "18.1", "test")


def test_a_log_that_cannot_be_read_is_no_log_that_ends(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    (log / "000000010000000000000001").write_bytes(bytes(SIZE))
    with pytest.raises(ConfigurationError, match="pg_waldump"):
        _wal.last_record(Binaries(tmp_path, 18, "18.1", "test"), log, SIZE + 5)
    record = "echo 'rmgr: Heap tx: 7, lsn: 0/00100028, prev 0/00100000, desc: INSERT'"
    broken = waldump(tmp_path, f"{record}; echo 'pg_waldump: error: out of memory' >&2; exit 1")
    with pytest.raises(OperationalError, match="out of memory"):
        _wal.last_record(broken, log, SIZE + 5)
    ended = waldump(tmp_path, f"{record}; echo 'error: error in WAL record at 0/100028' >&2")
    assert _wal.last_record(ended, log, SIZE + 5) == 0x100028


def test_one_more_address_is_like_the_others_or_free():
    found = _addresses.choose(2)
    third = _addresses.choose_one(3, found.instances)
    assert third not in found.instances
    assert _addresses.choose_one(1, found.instances) not in found.instances


def test_segments_made_for_later_are_dropped(tmp_path):
    for name, content in {
        "000000030000000000000001": b"\x10\xd1" + bytes(100),
        "000000030000000000000002": bytes(100),
        "000000030000000000000003": b"",
        "00000003.history": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
    _wal.drop_unwritten(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "00000003.history",
        "000000030000000000000001",
    ]
