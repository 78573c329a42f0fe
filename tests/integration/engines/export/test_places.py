"""Reports in transactions, in sessions and on readers, and what is no report."""

from __future__ import annotations

import io
import os
import sys

import pytest

from aurora_sql import (
    Aurora,
    ConfigurationError,
    ParameterError,
    StatementBudgetExceeded,
    StatementFileError,
    UsageError,
    count_statements,
)
from tests.integration.engines.export.rows import ROWS, names


async def test_a_transaction_sees_its_own_writes_and_goes_on(kept, tmp_path):
    r = kept.sql.r
    async with kept.transaction() as tx:
        await tx.sql.r.put(n=100, label="mine")
        assert (await tx.sql.r.search.fetch_arrow(label="mine", limit=5)).num_rows == 1
        assert await tx.sql.r.search.export_csv(tmp_path / "a.csv", label="mine", limit=5) == 1
        assert await tx.fetch_value("SELECT count(*) FROM kept") == len(ROWS) + 1
        assert (await r.search.fetch_arrow(label="mine", limit=5)).num_rows == 0
        await tx.sql.r.put(n=101, label="mine")
    assert (await r.search.fetch_arrow(label="mine", limit=5)).num_rows == 2


async def test_first_in_a_transaction(kept):
    async with kept.transaction(read_only=True, isolation="repeatable read") as tx:
        assert (await tx.sql.r.all.fetch_arrow()).num_rows == len(ROWS)
        await kept.sql.r.put(n=200, label="later")
        assert (await tx.sql.r.all.fetch_arrow()).num_rows == len(ROWS)


async def test_a_session_sees_its_writes(kept):
    async with kept.session() as s:
        for n in range(300, 310):
            await s.sql.r.put(n=n, label="session")
            found = await s.sql.r.search.fetch_arrow(label="session", limit=50)
            assert found["n"].to_pylist()[-1] == n


async def test_readers(made, settings, cluster, tmp_path):
    readers = {f"{one.host}:{one.port}" for one in cluster.instances[1:]}
    async with Aurora(settings, sql=made) as db:
        before = {name: one.leases for name, one in db.pool_stats().items()}

        def used():
            return {
                name for name, one in db.pool_stats().items() if one.leases > before.get(name, 0)
            }

        assert (await db.reader.sql.r.all.fetch_arrow()).num_rows == len(ROWS)
        assert (
            await db.reader.export_csv(
                tmp_path / "r.csv", "SELECT n FROM kept WHERE n > :n", {"n": 2}
            )
            == 7
        )
        assert (await db.sql.r.from_reader.fetch_arrow()).num_rows == len(ROWS)
        assert used() <= readers
        assert used()
        await db.writer.sql.r.from_reader.fetch_arrow()
        assert used() - readers


async def test_it_counts_as_one_statement(kept, tmp_path):
    with count_statements() as counted:
        await kept.sql.r.all.fetch_arrow()
        await kept.sql.r.all.export_csv(io.BytesIO())
    assert counted.counts == {"r.all": 2}
    target = tmp_path / "never.csv"
    with pytest.raises(StatementBudgetExceeded), count_statements(limit=0):
        await kept.sql.r.all.export_csv(target)
    assert names(tmp_path) == ["sql"]


async def test_what_it_is_not_for(kept, tmp_path):
    r = kept.sql.r
    target = tmp_path / "x.csv"
    with count_statements(limit=0):
        for bound, match in (
            (r.put, "marked :exec; make it a :many"),
            (r.put_all, "marked :batch"),
            (r.tidy, "marked :script"),
            (r.call, "marked :affected"),
            (r.lock, "only reads"),
        ):
            with pytest.raises(UsageError, match=match) as raised:
                await bound.fetch_arrow()
            assert "r.sql" in str(raised.value)
            with pytest.raises(UsageError, match=match):
                await bound.export_csv(target)
        with pytest.raises(UsageError, match="only reads"):
            await kept.export_csv(target, "DELETE FROM kept")
        with pytest.raises(UsageError, match="only reads"):
            await kept.fetch_arrow("UPDATE kept SET label = 'x'")
        for missing in ({}, {"limit": 1, "no": 2}):
            with pytest.raises(ParameterError):
                await r.search.export_csv(target, **missing)
        with pytest.raises(ParameterError, match="mapping"):
            await kept.fetch_arrow("SELECT 1", [1])
        with pytest.raises(StatementFileError):
            await kept.fetch_arrow("SELECT 1; SELECT 2")
    assert names(tmp_path) == ["sql"]
    assert len(await r.all()) == len(ROWS)


async def test_a_target_that_is_none(kept, tmp_path):
    class Coroutine:
        async def write(self, data):
            pass

    with count_statements(limit=0):
        for target, match in (
            (None, "not NoneType"),
            (7, "not int"),
            (b"x.csv", "not bytes"),
            (io.BytesIO, "not type"),
            (io.StringIO(), "open it with 'wb'"),
            (Coroutine(), "coroutine"),
        ):
            with pytest.raises(UsageError, match=match):
                await kept.sql.r.all.export_csv(target)
    leases = {name: one.leases for name, one in kept.pool_stats().items()}
    with pytest.raises(FileNotFoundError) as raised:
        await kept.sql.r.all.export_csv(tmp_path / "no" / "such.csv")
    assert raised.value.filename == str(tmp_path / "no" / "such.csv")
    assert ".part" not in str(raised.value)
    with pytest.raises(IsADirectoryError):
        await kept.sql.r.all.export_csv(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="ordinary file"):
        await kept.sql.r.all.export_csv(tmp_path / "pipe")
    assert {name: one.leases for name, one in kept.pool_stats().items()} == leases
    assert names(tmp_path) == ["pipe", "sql"]


async def test_without_pyarrow_nothing_is_sent(kept, monkeypatch):
    for name in [
        name
        for name in sys.modules
        if name.split(".")[0] == "pyarrow" or name == "aurora_sql.export._arrow"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    import aurora_sql.export

    monkeypatch.delattr(aurora_sql.export, "_arrow", raising=False)
    with (
        count_statements(limit=0),
        pytest.raises(ConfigurationError, match=r"pip install 'aurora-sql\[arrow\]'"),
    ):
        await kept.sql.r.all.fetch_arrow()
    assert await kept.sql.r.all.export_csv(io.BytesIO()) == len(ROWS)
