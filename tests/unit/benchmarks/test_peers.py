"""The comparison with peers: what is chosen, what its page shows, what its parts read."""

import asyncio
import json
import re
from html.parser import HTMLParser

import pytest

from aurora_sql.errors import ConfigurationError, OperationalError
from aurora_sql.types import Engine
from benchmarks import main
from benchmarks._histogram import Latencies
from benchmarks._machine import Machine, Server, Software
from benchmarks._results import OURS, Measured, Options, Round, Row, Subject
from benchmarks.peers import PeerResult, _catalogue, _pgbench, is_peers, plan, write_page
from benchmarks.peers import _svg as svg
from benchmarks.peers._base import by_name, named
from benchmarks.peers._page import page
from benchmarks.peers._results import Crowd, Layer, Method
from benchmarks.peers._web_app import ADDED, Application
from benchmarks.peers._web_app import page as fortunes_page
from benchmarks.peers._web_client import content_length, load

OPTIONS = Options(mode="closed", callers=16, rounds=3, seconds=1.0, warm_up=0.1, scale=1.0, seed=1)


def subject(name, rates, milliseconds=2.0):
    latencies = Latencies([int(milliseconds * 1e6) + step * 1_000 for step in range(1_000)])
    rounds = tuple(
        Round(
            position=place,
            operations=int(rate),
            seconds=1.0,
            throughput=rate,
            latency=latencies.percentiles(),
        )
        for place, rate in enumerate(rates)
    )
    return Subject(name=name, rounds=rounds, histogram=latencies.encode())


def measured(name, title, subjects, **changes):
    values = {
        "name": name,
        "title": title,
        "unit": "ops",
        "floors": tuple(one.name for one in subjects[1:]),
        "subjects": subjects,
    }
    return values | changes


SUBJECTS = (
    subject(OURS, (900.0, 1_000.0, 1_100.0)),
    subject("asyncpg.Pool", (400.0, 500.0, 500.0), 5.0),
    subject("slow <peer>", (90.0, 1_000.0, 1_200.0), 9.0),
    subject("pgbench", (9_000.0, 9_000.0, 9_100.0), 0.5),
)


def result(**changes):
    row = Row(
        **measured("read-writer", "simple read, writer", SUBJECTS),
        target_throughput=950.0,
        target_p95=1.0,
        goals={},
    )
    crowd = Measured(**measured("read-writer", "simple read", SUBJECTS[:2]))
    values = {
        "created": "2026-01-01T00:00:00+00:00",
        "complete": True,
        "machine": Machine(
            processor="a <fast> one",
            cores=8,
            memory_gib=32.0,
            system="Linux",
            shared_with_server=True,
        ),
        "server": Server(version="18.6", aurora=None, readers=2, settings={"fsync": "on"}),
        "software": Software(
            python="3.11.7", aurora_sql="0.1", asyncpg="0.32.0", loop="uvloop 1", revision="abc"
        ),
        "versions": {"asyncpg": "0.32.0", "psqlpy": "0.13"},
        "options": OPTIONS,
        "methods": (
            Method(name="asyncpg.Pool", how="the pool"),
            Method(name="slow <peer>", how="slowly"),
            Method(name="pgbench", how="in C", limit=True),
        ),
        "missing": {"psqlpy": "psqlpy cannot be imported: pip install it"},
        "rows": (row,),
        "crowds": tuple(Crowd(callers=callers, measured=crowd) for callers in (1, 8, 64)),
        "web": (
            Measured(**measured("web-query", "web: one query", SUBJECTS[:2], unit="requests")),
        ),
        "layers": (
            Layer(name="protocol", what="bind", network=20.0, alone=0.5),
            Layer(name="rows", what="the row", network=18.0, alone=1.5),
        ),
        "layer_callers": 16,
        "left_out": ("bulk insert: pgbench cannot load rows from a client",),
    }
    return PeerResult(**values | changes)


class Reader(HTMLParser):
    """Notes tags, ids, references and text, and refuses what does not nest."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.targets, self.labels = [], [], [], [], []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        own = dict(attrs)
        self.tags.append((tag, own))
        self.ids += [own["id"]] if "id" in own else []
        self.targets += [own["href"]] if "href" in own else []
        if own.get("role") == "img":
            self.labels.append(own["aria-label"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data + "\n"


def test_the_page_needs_nothing_else():
    text = page(result())
    read = Reader(text)
    assert not [tag for tag, _ in read.tags if tag in ("script", "link", "img", "iframe", "object")]
    assert not re.search(r"https?://|//[a-z]|url\(|@import|@font-face", text)
    assert all(target.startswith("#") for target in read.targets)
    assert {target[1:] for target in read.targets} <= set(read.ids)
    assert len(read.ids) == len(set(read.ids))
    assert "prefers-color-scheme: dark" in text
    assert ("meta", "viewport") in [(tag, own.get("name")) for tag, own in read.tags]


def test_the_page_names_what_was_measured_and_what_was_not():
    read = Reader(page(result()))
    for words in (
        "PostgreSQL 18.6",
        "a <fast> one",
        "16 callers",
        "fsync=on",
        "asyncpg 0.32.0",
        "psqlpy: not measured, psqlpy cannot be imported",
        "pgbench cannot load rows from a client",
        "simple read, writer",
        "web: one query",
    ):
        assert words in read.text, words
    assert "interrupted" not in read.text.lower()
    assert "Interrupted" in page(result(complete=False))


def test_the_ratios_of_the_page_are_made_within_rounds():
    text = Reader(page(result())).text
    table = text[text.index("Against each peer") : text.rindex("Row by row")]
    # 900/400, 1000/500, 1100/500
    assert "2.20\N{MULTIPLICATION SIGN}" in table
    assert "2.00 to 2.25" in table
    assert "faster" in table
    # 900/90, 1000/1000, 1100/1200
    assert "0.92 to 10.00" in table
    assert "within the spread" in table
    # A limit is no peer.
    assert "pgbench" not in table


def test_every_bar_tells_its_figures_to_whoever_does_not_see_it():
    labels = Reader(page(result())).labels
    assert f"{OURS}: 1,000 ops per second, 900.0 to 1,100 over 3 rounds" in labels
    assert "pgbench: 9,000 ops per second, 9,000 to 9,100 over 3 rounds, beyond the scale" in labels
    assert "protocol: +20.00 µs" in labels
    assert "rows: -2.00 µs" in labels


def test_targets_are_met_or_not_in_words():
    text = Reader(page(result())).text
    targets = text[text.rindex("The targets were set") : text.rindex("What was measured, on what")]
    assert targets.count("✓ met") == 1  # 1,000 of 950 per second
    assert targets.count("✗ not met") == 1  # 3 ms of 1


def test_a_page_of_what_there_is():
    bare = result(rows=(), crowds=(), layers=(), missing={}, left_out=())
    read = Reader(page(bare))
    assert "latency" not in read.ids
    assert "targets" not in read.ids
    assert "web" in read.ids
    # One number of callers, one round: still axes with a length.
    one = Crowd(callers=1, measured=result().crowds[0].measured)
    Reader(page(result(crowds=(one,), web=())))


def test_a_result_survives_its_file(tmp_path):
    path = tmp_path / "deep" / "peers.json"
    result().save(path)
    assert PeerResult.load(path) == result()
    assert is_peers(path)
    other = tmp_path / "other.json"
    other.write_text("[]")
    assert not is_peers(other)
    with pytest.raises(ConfigurationError, match=r"other\.json: no benchmark result.*compare"):
        PeerResult.load(other)
    write_page(result(), tmp_path / "deeper" / "page.html")
    assert (tmp_path / "deeper" / "page.html").read_text(encoding="utf-8") == page(result())


class TestCommand:
    def test_a_result_is_shown_and_drawn_again(self, tmp_path, capsys):
        result().save(tmp_path / "peers.json")
        assert main(["show", str(tmp_path / "peers.json"), "--html", str(tmp_path / "p.html")]) == 0
        out = capsys.readouterr().out
        assert "aurora_sql against its targets" in out
        assert "psqlpy: not measured" in out
        assert (tmp_path / "p.html").read_text(encoding="utf-8") == page(result())

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["one.json"], "compare needs two results"),
            (["a.json", "b.json", "--html", "x.html"], "--html and --json are for a comparison"),
            (["--fail-below", "0.9"], "--fail-below needs two results"),
            (["--peers", "asyncpg.Pol"], "did you mean asyncpg.Pool?"),
            (["--rows", "web-querie"], "did you mean web-queries?"),
            (["--engine", "mysql", "--rows", "web-query"], "no row 'web-query'"),
            (["--engine", "mysql", "--peers", "psqlpy"], "no peer 'psqlpy'"),
        ],
    )
    def test_what_cannot_be_is_refused_before_anything_starts(self, arguments, message, capsys):
        assert main(["compare", *arguments]) == 2
        assert message in capsys.readouterr().err

    def test_another_result_has_no_page(self, tmp_path, capsys):
        (tmp_path / "other.json").write_text("{}")
        path = str(tmp_path / "other.json")
        assert main(["show", path, "--html", str(tmp_path / "page.html")]) == 2
        assert "only a comparison with peers has a page" in capsys.readouterr().err
        assert not (tmp_path / "page.html").exists()


class TestPlan:
    def test_everything_by_default(self):
        made = plan(Engine.POSTGRESQL, OPTIONS, rows=None, peers=None, quick=False)
        assert len(made.operations) == 6
        assert len(made.pages) == 4
        assert made.crowds[0] == 1
        assert made.crowds[-1] == 64
        assert made.layer_rounds > 0
        assert {one.name for one in made.peers} | set(made.missing) >= {
            "asyncpg.Pool", "psycopg_pool", "psqlpy", "SQLAlchemy Core", "SQLAlchemy ORM",
            "aiosql on asyncpg", "pgbench", "pgbench pipelined",
        }  # fmt: skip

    def test_only_what_is_asked_for(self):
        made = plan(
            Engine.POSTGRESQL, OPTIONS, rows="write, web-query", peers="asyncpg.Pool", quick=True
        )
        assert [one.name for one in made.operations] == ["write"]
        assert [one.name for one in made.pages] == ["web-query"]
        assert [one.name for one in made.peers] == ["asyncpg.Pool"]
        # They go with the simple read.
        assert made.crowds == ()
        assert made.layer_rounds == 0
        assert made.coalesced == ()

    def test_a_peer_that_is_not_installed_is_named(self, monkeypatch):
        real = _catalogue.importlib.util.find_spec
        monkeypatch.setattr(
            _catalogue.importlib.util,
            "find_spec",
            lambda name: None if name in ("psqlpy", "uvicorn") else real(name),
        )
        made = plan(Engine.POSTGRESQL, OPTIONS, rows=None, peers=None, quick=False)
        assert "psqlpy cannot be imported" in made.missing["psqlpy"]
        assert "bench-peers" in made.missing["psqlpy"]
        assert "psqlpy" not in [one.name for one in made.peers]
        assert "uvicorn" in made.missing["the web rows"]
        assert made.pages == ()


class TestAxes:
    @pytest.mark.parametrize(
        ("low", "high", "expected"),
        [
            (1.0, 1.0, [1]),
            (0.9, 12.0, [0.5, 1, 2, 5, 10, 20]),
            (0.3, 300.0, [0.2, 1, 10, 100, 500]),
            (1.0, 10.0, [1, 2, 5, 10]),
        ],
    )
    def test_decades_hold_the_values(self, low, high, expected):
        assert svg.decades(low, high) == pytest.approx(expected)

    def test_a_logarithm_of_nothing_is_refused(self):
        with pytest.raises(ValueError, match="cannot go from 0"):
            svg.decades(0, 1)

    @pytest.mark.parametrize("high", [0.001, 1.0, 3.0, 10.0, 11_275.0, 1e6])
    def test_even_steps_hold_the_values(self, high):
        steps = svg.even(high)
        assert steps[0] == 0
        assert steps[-1] >= high
        assert 4 <= len(steps) <= 8
        assert svg.even(0) == [0.0, 1.0]

    def test_points_lie_where_their_values_are(self):
        axis = svg.Axis("", 1.0, 100.0, [], str)
        assert [axis.share(value) for value in (0.1, 1, 10, 100, 1_000)] == [0, 0, 0.5, 1, 1]
        linear = svg.Axis("", 0.0, 4.0, [], str, logarithmic=False)
        assert linear.share(1.0) == 0.25
        assert svg.Axis("", 2.0, 2.0, [], str).share(2.0) == 0

    def test_subjects_differ_by_more_than_colour(self):
        keys = [svg.key(style) for style in range(6)]
        shapes = {re.sub(r'class="key s\d"', "", key) for key in keys}
        assert len(shapes) == 6

    def test_a_bar_beyond_the_scale_is_cut_and_marked(self):
        assert 'class="gap"' in svg.bar(20, 18, 22, 10, "limit", "a limit")
        inside = svg.bar(5, 4, 6, 10, "peer", "a <peer>")
        assert 'class="gap"' not in inside
        assert 'class="value" width="50.00"' in inside
        assert "a &lt;peer&gt;" in inside


class TestPgbench:
    LOG = (
        "0 1 1000 0 100 500000",  # began at 100.499
        "1 1 2000 0 100 900000",  # in the warm-up
        "0 2 3000 0 101 100000",
        "0 3 skipped 0 101 200000",
        "1 2 4000 0 101 999000",  # at the last moment
        "1 3 5000 0 102 900000",  # too late
    )

    def test_the_log_is_read_between_warm_up_and_end(self):
        # From 100.499 + 0.5 for one second: to 101.999.
        found = _pgbench.sample(self.LOG, 1.0, 0.5, 1)
        assert list(found.latencies) == [3_000_000, 4_000_000]
        assert found.seconds == pytest.approx(1.0)

    def test_each_statement_of_a_pipeline_waited_for_all(self):
        found = _pgbench.sample(self.LOG, 1.0, 0.5, 10)
        assert len(found.latencies) == 20
        assert found.throughput == pytest.approx(20)

    def test_a_log_that_ends_early_is_no_longer_measurement(self):
        found = _pgbench.sample(self.LOG[:3], 10.0, 0.5, 1)
        assert found.seconds == pytest.approx(0.101)

    def test_nothing_in_that_time(self):
        assert _pgbench.sample([], 1.0, 0.0, 1) is None
        assert _pgbench.sample(self.LOG[:1], 1.0, 5.0, 1) is None


def test_texts_with_names():
    assert named("SELECT $1::bigint, $2 WHERE x = $1") == "SELECT :p1::bigint, :p2 WHERE x = :p1"
    assert named("SELECT ? + ?") == "SELECT :p1 + :p2"
    assert by_name(("a", 2)) == {"p1": "a", "p2": 2}


class Memory:
    """A data layer without a database."""

    def __init__(self):
        self.rows = {}

    async def one(self, key):
        return key, self.rows.get(key, 0)

    async def several(self, keys):
        return [await self.one(key) for key in keys]

    async def change(self, pairs):
        self.rows.update(pairs)

    async def fortunes(self):
        return [(1, "<b>bold</b>"), (2, "Zebra")]

    async def nothing(self):
        pass


class TestWeb:
    @pytest.fixture
    async def get(self):
        memory = Memory()
        application = Application(memory, memory.nothing, memory.nothing)

        async def ask(path):
            sent = []

            async def send(message):
                sent.append(message)

            await application({"type": "http", "path": path}, None, send)
            return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]

        return ask

    async def test_the_pages(self, get):
        status, headers, body = await get("/db")
        assert status == 200
        assert headers[b"content-length"] == str(len(body)).encode()
        assert set(json.loads(body)) == {"id", "randomNumber"}
        assert len(json.loads((await get("/queries"))[2])) == 20
        changed = json.loads((await get("/updates"))[2])
        assert len({one["id"] for one in changed}) == 20
        assert [one["id"] for one in changed] == sorted(one["id"] for one in changed)
        assert (await get("/elsewhere"))[0] == 404

    def test_fortunes_are_escaped_and_in_order(self):
        text = fortunes_page([(1, "<script>"), (2, "Zebra")]).decode()
        assert "&lt;script&gt;" in text
        assert text.index("&lt;script&gt;") < text.index(ADDED) < text.index("Zebra")

    def test_the_length_of_an_answer(self):
        assert content_length(b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 12") == 12
        with pytest.raises(OperationalError, match="without content-length"):
            content_length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")

    @pytest.fixture
    async def serving(self):
        """Serve one answer in pieces to every request on the loopback."""
        servers = []

        async def serve(*pieces):
            async def answer(reader, writer):
                while await reader.readuntil(b"\r\n\r\n"):
                    for piece in pieces:
                        writer.write(piece)
                        await writer.drain()
                        await asyncio.sleep(0)

            async def connected(reader, writer):
                try:
                    await answer(reader, writer)
                except (asyncio.IncompleteReadError, ConnectionError):
                    pass
                finally:
                    writer.close()

            server = await asyncio.start_server(connected, "127.0.0.1", 0)
            servers.append(server)
            return server.sockets[0].getsockname()[1]

        yield serve
        for server in servers:
            server.close()

    async def test_the_load_generator_puts_pieces_together(self, serving):
        port = await serving(b"HTTP/1.1 200 OK\r\ncontent-le", b"ngth: 4\r\n\r\nab", b"cd")
        sample, last = await load(port, "/", 3, 0.0)
        assert len(sample.latencies) == 3
        assert last.endswith(b"\r\n\r\nabcd")

    async def test_an_answer_that_is_an_error_ends_the_load(self, serving):
        port = await serving(b"HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n")
        with pytest.raises(OperationalError, match=r"HTTP/1\.1 500"):
            await load(port, "/", 1, 5.0)
