"""The file of a report is a whole one, or the one that was there before."""

from __future__ import annotations

import io
import stat

import pytest

from aurora_sql import (
    DatabaseError,
    DeadlineExceeded,
    deadline,
)
from tests.integration.engines.export.rows import ROWS, names


async def test_a_file_is_replaced_by_a_whole_one(kept, tmp_path, many):
    target = tmp_path / "out.csv"
    target.write_text("old")
    target.chmod(0o640)
    link = tmp_path / "link.csv"
    link.symlink_to(target)
    with pytest.raises(DeadlineExceeded), deadline(0.2):
        await kept.export_csv(link, many)
    assert target.read_text() == "old"
    assert await kept.sql.r.from_reader.export_csv(link) == len(ROWS)
    assert link.is_symlink()
    assert target.read_text().startswith("n\n1\n2\n")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    fresh = tmp_path / "fresh.csv"
    await kept.sql.r.all.export_csv(str(fresh))
    plain = tmp_path / "plain"
    plain.touch()
    assert fresh.stat().st_mode == plain.stat().st_mode
    assert names(tmp_path) == ["fresh.csv", "link.csv", "out.csv", "plain", "sql"]


class Failing:
    """A file that takes so many pieces."""

    def __init__(self, after=0):
        self.left = after

    def write(self, data):
        if not self.left:
            raise ZeroDivisionError
        self.left -= 1
        return len(data)


@pytest.mark.parametrize("after", [0, 1, 5])
async def test_a_target_that_fails(kept, many, at_rest, after):
    with pytest.raises(ZeroDivisionError):
        await kept.export_csv(Failing(after), many)
    await at_rest(kept)
    assert len(await kept.sql.r.all()) == len(ROWS)


async def test_a_target_that_fails_in_a_savepoint(kept, many):
    async with kept.transaction() as tx:
        await tx.sql.r.put(n=500, label="kept")
        with pytest.raises(ZeroDivisionError):
            async with tx.savepoint():
                await tx.sql.r.put(n=501, label="undone")
                await tx.export_csv(Failing(1), many)
        assert (await tx.sql.r.search.fetch_arrow(label="kept", limit=9)).num_rows == 1
    assert [row.n for row in await kept.sql.r.all() if row.n >= 500] == [500]


async def test_a_target_that_takes_little_at_a_time(kept):
    class Slow:
        def __init__(self):
            self.data = b""

        def write(self, data):
            self.data += bytes(data[:3])
            return min(3, len(data))

    slow, quick = Slow(), io.BytesIO()
    await kept.sql.r.all.export_csv(slow)
    await kept.sql.r.all.export_csv(quick)
    assert slow.data == quick.getvalue()


async def test_an_error_of_the_server_leaves_no_file(kept, tmp_path, on_mysql, at_rest):
    target = tmp_path / "out.csv"
    target.write_text("old")
    sql = (
        "SELECT n, CASE WHEN n = 8 THEN (SELECT n FROM kept) ELSE n END AS m FROM kept ORDER BY n"
        if on_mysql
        else "SELECT n, 1 / (8 - n) AS m FROM kept ORDER BY n"
    )
    with pytest.raises(DatabaseError):
        await kept.export_csv(target, sql)
    with pytest.raises(DatabaseError):
        await kept.fetch_arrow(sql)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.csv", "sql"]
    await at_rest(kept)
