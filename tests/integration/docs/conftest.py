"""A small loaded shop for the pages and the example service, and what runs the pages."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from aurora_sql import Aurora, migrations
from examples.shop import load_shop

ROOT = Path(__file__).resolve().parents[3]

_FENCE = re.compile(
    r"^(?:<!-- (?P<marker>[^\n]*) -->\n\n?)?```(?P<language>\w*)\n(?P<text>.*?)^```$"
    r"(?P<checks>(?:\n\n?<!-- check: [^\n]* -->)*)",
    re.DOTALL | re.MULTILINE,
)


def in_thread(make):
    """Run a coroutine in a loop of its own: the fixtures here outlive the loop of any test."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(make())).result()


@pytest.fixture(scope="session")
def docs_shop(aurora_cluster):
    name = f"docs_shop_{os.getpid()}"

    async def build():
        await aurora_cluster.create_database(name)
        settings = aurora_cluster.settings(name)
        await migrations.apply(settings, ROOT / "migrations" / "postgresql")
        async with Aurora(settings.replace({"min_pool_size": 1}), sql=ROOT / "sql") as db:
            await load_shop(db, customers=200, orders=800, products=60, seed=5)
        return name

    yield in_thread(build)
    in_thread(lambda: aurora_cluster.drop_database(name))


@pytest.fixture(scope="session")
def aurora_template(docs_shop):
    return docs_shop


@pytest.fixture
def shop_settings(aurora_settings):
    return aurora_settings.replace({"min_pool_size": 1, "max_pool_size": 8})


@dataclass(frozen=True)
class Block:
    """One fenced block of a page, with the invisible comments around it.

    The comment before a block says what becomes of it: ``run`` (shell; Python runs anyway),
    ``not run: why``, ``file: path``, ``raises: Error: text``, ``fails: text`` (SQL). The one
    after it, ``check: expression``, must be true once the block has run.
    """

    line: int
    language: str
    marker: str
    text: str
    checks: tuple[str, ...]


def blocks_of(text):
    return [
        Block(
            text.count("\n", 0, found.start("text")) + 1,
            found["language"],
            found["marker"] or "",
            found["text"],
            tuple(re.findall(r"<!-- check: (.*) -->", found["checks"])),
        )
        for found in _FENCE.finditer(text)
    ]


class PageRun:
    """Runs the blocks of one page, in order, in one folder and one namespace."""

    def __init__(self, path, folder, settings, environment):
        self.path = path
        self.folder = folder
        self.settings = settings
        self.environment = environment
        self.ran = 0
        self.checked = 0
        self.namespace = {"__name__": "page"}

    async def run(self):
        text = self.path.read_text("utf-8")
        blocks = blocks_of(text)
        assert len(re.findall("^```", text, re.MULTILINE)) == 2 * len(blocks), "a fence is lost"
        checks = sum(len(block.checks) for block in blocks)
        assert text.count("<!-- check: ") == checks, "a check stands behind no block"
        if "<!-- page: empty -->" in text:
            await self._all(blocks)
            return
        shutil.copytree(ROOT / "sql", self.folder / "sql")
        (self.folder / "migrations").symlink_to(ROOT / "migrations")
        (self.folder / "appsettings.json").write_text('{"AuroraDB": {"MaxPoolSize": 8}}')
        while blocks and blocks[0].marker.startswith("file: "):
            self._file(blocks.pop(0))
        async with Aurora(self.settings, sql="sql") as db:
            self.namespace.update(
                settings=self.settings, order=SimpleNamespace(product_id=1), day=None
            )
            await self._all(blocks, db)

    async def _all(self, blocks, db=None):
        for block in blocks:
            if db is not None:
                self.namespace["db"] = db  # a block may have opened and closed its own
            try:
                await self._block(block)
            except BaseException as error:
                error.add_note(f"in the block at {self.path}:{block.line}")
                raise
            for check in block.checks:
                self.checked += 1
                assert eval(check, self.namespace), f"{self.path}: {check}"

    async def _block(self, block):
        if block.marker.startswith("not run: "):
            if block.language == "python":
                self._compile(block)
        elif block.marker.startswith("file: "):
            self._file(block)
        elif block.language == "python":
            self.ran += 1
            await self._python(block)
        elif block.marker == "run":
            self.ran += 1
            await asyncio.to_thread(self._shell, block)

    def _file(self, block):
        target = self.folder / block.marker.removeprefix("file: ")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a", encoding="utf-8") as out:
            out.write(block.text)

    def _compile(self, block):
        # Line breaks in front, so that a traceback shows the line of the page.
        return compile(
            "\n" * (block.line - 1) + block.text,
            str(self.path),
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )

    async def _python(self, block):
        code = self._compile(block)
        if not block.marker.startswith("raises: "):
            await self._evaluate(code)
            return
        name, _, text = block.marker.removeprefix("raises: ").partition(": ")
        with pytest.raises(Exception) as caught:
            await self._evaluate(code)
        assert type(caught.value).__name__ == name, caught.value
        assert text in str(caught.value)

    async def _evaluate(self, code):
        result = eval(code, self.namespace)
        if inspect.iscoroutine(result):
            await result

    def _shell(self, block):
        """Run the lines after ``$``; what stands below them must be in their output."""
        command, wanted = None, []
        for line in (*block.text.splitlines(), "$ true"):
            if line.startswith("$ "):
                if command is not None:
                    self._command(command, wanted)
                command, wanted = line[2:], []
            elif line.strip():
                wanted.append(line)

    def _command(self, command, wanted):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={
                **os.environ,
                **self.environment,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": f"{self.folder}:{ROOT}",
                "NO_COLOR": "1",
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"{command}\n{output}"
        for line in wanted:
            # "…" stands for anything on its line.
            pattern = ".*".join(re.escape(part) for part in line.strip().split("…"))
            assert re.search(pattern, output), f"{command}: no {line!r} in\n{output}"


@pytest.fixture
def page_run(tmp_path, monkeypatch, shop_settings, aurora_cluster, aurora_database):
    """Make what runs a page, in a folder of its own with the variables of its own database."""
    environment = aurora_cluster.environment(aurora_database)
    for name in list(os.environ):
        if name.startswith("AURORA_"):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AURORA_MIN_POOL_SIZE", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield lambda path: PageRun(path, tmp_path, shop_settings, environment)
    for name in set(sys.modules) - before:
        # What a page wrote and imported must not be found by the next.
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


class Client:
    """Calls an ASGI application as a server would."""

    def __init__(self, app):
        self.app = app
        self._inbox = asyncio.Queue()
        self._outbox = asyncio.Queue()
        self._task = None

    async def start(self):
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
        self._task = asyncio.create_task(self.app(scope, self._inbox.get, self._outbox.put))
        self._inbox.put_nowait({"type": "lifespan.startup"})
        return await self._outbox.get()

    async def stop(self):
        self._inbox.put_nowait({"type": "lifespan.shutdown"})
        message = await self._outbox.get()
        await self._task
        return message

    async def request(self, method, path, body=b"", *, query="", chunks=1):
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [],
        }
        size = max(1, -(-len(body) // chunks))
        parts = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        incoming = [
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, 1)
        ]
        incoming.append({"type": "http.disconnect"})
        sent = []

        async def receive():
            return incoming.pop(0)

        async def send(message):
            sent.append(message)

        await self.app(scope, receive, send)
        start, *rest = sent
        return SimpleNamespace(
            status=start["status"],
            headers={name.decode(): value.decode() for name, value in start["headers"]},
            body=b"".join(message["body"] for message in rest),
        )


@pytest.fixture
def client_for():
    return Client
