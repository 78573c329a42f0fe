"""The peers on a small cluster: all do the library's work, and whoever does not is refused."""

from __future__ import annotations

import pytest

from aurora_sql.types import Engine
from benchmarks import _shop
from benchmarks._coalesced import COALESCED
from benchmarks._library import Library
from benchmarks._results import OURS, Options
from benchmarks._rows import OPERATIONS
from benchmarks._suite import DifferentAnswers
from benchmarks._target import sandbox
from benchmarks.peers import Comparison, PeerResult, plan
from benchmarks.peers._base import Peer
from benchmarks.peers._catalogue import peers_of
from benchmarks.peers._check import same_work
from benchmarks.peers._pgbench import Pgbench
from benchmarks.peers._run import ALONE
from benchmarks.peers._web import _make_tables
from benchmarks.peers._web_layers import layers

FILES = _shop.shop_files()
SIZE = _shop.Size.of(0.01)
OPTIONS = Options(mode="closed", callers=2, rounds=1, seconds=0.05, warm_up=0.0, scale=0.01, seed=1)
ALL = (*OPERATIONS, *COALESCED)


class Listener:
    """Listens to nothing."""

    def stage(self, text):
        pass

    def measuring(self, operation, subject, turn):
        pass

    def measured(self, operation, subject, sample):
        assert len(sample.latencies) > 0

    def finished(self, row):
        pass

    def skipped(self, operation, reason):
        pytest.fail(reason)


def comparison(place, **chosen):
    values = {"rows": None, "peers": None, "quick": True} | chosen
    made = plan(Engine.POSTGRESQL, OPTIONS, **values)
    return Comparison(place, FILES, SIZE, made, Listener())


def test_all_peers_are_there_to_be_compared():
    # They come with the development environment; without them the tests below would say nothing.
    assert {one.name: one.missing() for one in peers_of(Engine.POSTGRESQL) if one.missing()} == {}


async def test_all_peers_do_the_same_work_on_all_rows(target):
    async with sandbox(target, FILES, SIZE) as place:
        run = comparison(place)
        for operation in ALL:
            work = operation.make(run._registry, SIZE, 1)
            beside = run._beside(place, operation, work, 2)
            names = [one.name for one in beside if not isinstance(one, Pgbench)]
            expected = [
                one.name
                for one in peers_of(Engine.POSTGRESQL)
                if not one.name.startswith("pgbench")
            ]
            assert names == ([ALONE, *expected] if operation in COALESCED else expected)
            ours = Library(OURS, place, run._registry, work, 2)
            await same_work(place, operation, work, [ours, *beside], SIZE)


class Wrong(Peer):
    """Makes the library's calls, and changes their outcome."""

    name = "wrong"

    def __init__(self, library, change):
        self.work, self.library, self.change = library.work, library, change

    async def open(self):
        await self.library.open()

    async def close(self):
        await self.library.close()

    async def open_pool(self, options, size):
        raise NotImplementedError

    close_pool = floor = open_pool

    def plain(self, answer):
        return list(answer.values())

    async def calls(self):
        call = (await self.library.calls())[0]
        return [lambda value: self.change(call, value)]


async def _twice(call, value):
    await call(value)
    return await call(value)


async def _never(call, value):
    del call, value


async def _other(call, value):
    return await call(value._replace(named={"id": value.named["id"] % SIZE.customers + 1}))


@pytest.mark.parametrize(
    ("row", "change"),
    [
        ("read-writer", _other),
        ("write", _twice),
        ("write", _never),
        ("bulk", _twice),
        ("transaction", _twice),
        ("coalesced-write", _never),
    ],
)
async def test_a_peer_that_does_other_work_is_refused(target, row, change):
    (operation,) = (one for one in ALL if one.name == row)
    async with sandbox(target, FILES, SIZE) as place:
        registry = comparison(place)._registry
        work = operation.make(registry, SIZE, 1)
        ours, again = (Library(OURS, place, registry, work, 2) for _ in range(2))
        await same_work(place, operation, work, [ours, again], SIZE)
        with pytest.raises(DifferentAnswers, match=f"{operation.title}.*wrong"):
            await same_work(place, operation, work, [ours, Wrong(ours, change)], SIZE)


async def test_the_command_compares_and_writes_the_page(suite_process, databases, tmp_path):
    before = await databases()
    process = await suite_process(
        "compare", "--environment", "--rows", "read-writer,write", "--quick", "--rounds", "1",
        "--seconds", "0.05", "--callers", "2", "--peers", "asyncpg.Pool,SQLAlchemy Core",
        "--html", "report.html",
    )  # fmt: skip
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert "simple read, writer" in output.decode()
    found = PeerResult.load(tmp_path / "report.json")
    assert found.complete
    names = [OURS, "asyncpg.Pool", "SQLAlchemy Core"]
    for row in found.rows:
        assert [one.name for one in row.subjects] == names
        assert all(one.rounds[0].operations > 0 for one in row.subjects)
    assert [row.name for row in found.rows] == ["read-writer", "write"]
    assert [one.callers for one in found.crowds] == [1, 8, 64]
    assert len(found.layers) == 8
    assert "SQLAlchemy" in found.versions
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "SQLAlchemy Core" in text
    assert "Latency by percentile" in text
    assert await databases() == before


async def test_the_web_rows_and_pgbench(target):
    async with sandbox(target, FILES, SIZE) as place:
        found = await comparison(place, rows="web-query,join", peers="pgbench").run("asyncio")
    (row,) = found.rows
    assert [one.name for one in row.subjects] == [OURS, "pgbench"]
    (page,) = found.web
    assert [one.name for one in page.subjects] == [OURS]
    assert page.subjects[0].rounds[0].operations > 0
    assert found.limits == {"pgbench"}
    assert "uvicorn" in found.versions


async def test_all_data_layers_of_the_web_rows_answer_the_same(target):
    async with sandbox(target, FILES, SIZE) as place:
        answers = {}
        for name, kind in layers().items():
            async with place.connect() as admin:
                await admin.execute("DROP TABLE IF EXISTS world, fortune")
                await _make_tables(admin)
            layer = kind(place.settings, 2)
            await layer.open()
            try:
                one = await layer.one(7)
                before = await layer.several([9, 3, 9])
                await layer.change([(3, 33), (9, 99)])
                after = await layer.several([3, 9])
                answers[name] = (one, before, after, await layer.fortunes())
            finally:
                await layer.close()
    assert set(answers) == {
        OURS, "asyncpg.Pool", "psycopg_pool", "SQLAlchemy Core", "SQLAlchemy ORM",
    }  # fmt: skip
    expected = answers[OURS]
    assert expected[2] == [(3, 33), (9, 99)]
    assert len(expected[3]) == 12
    assert all(answer == expected for answer in answers.values())
