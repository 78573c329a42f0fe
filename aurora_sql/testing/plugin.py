"""A pytest plugin: a local Aurora cluster, a fresh database for each test, settings that reach it.

Loaded in every pytest run of an environment that has the library, so it imports nothing of it
until a fixture is asked for.

Fixtures:

* ``aurora_cluster`` (session): a running :class:`~aurora_sql.local.LocalCluster`.
* ``aurora_template`` (session): name of the database that each test gets a copy of. Override it
  to return one with your schema in it.
* ``aurora_database`` (function): name of a fresh database, dropped after the test.
* ``aurora_settings`` (function): settings that reach that database.
* ``aurora_fault_proxy`` (function): a :class:`~aurora_sql.local.FaultProxy` in front of the writer.
* ``aurora_assert_statements`` (function): fails the test where a block sends more statements than
  it should, or others.
* ``aurora_faulty_settings`` (function): the same settings, with the proxy on the way to the writer
  and no readers.

All of them are synchronous, so that they fit tests with any event loop, or none.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextlib import AbstractContextManager

    from aurora_sql.execution import StatementCount
    from aurora_sql.local import FaultProxy, LocalCluster
    from aurora_sql.settings import AuroraSettings


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and the ini settings."""
    group = parser.getgroup("aurora_sql")
    group.addoption(
        "--aurora-readers", type=int, default=None, help="readers of the aurora_cluster fixture"
    )
    group.addoption(
        "--aurora-bin-dir", default=None, help="folder with the server's programs that it runs"
    )
    group.addoption("--aurora-engine", default=None, help="engine of the aurora_cluster fixture")
    parser.addini("aurora_readers", "readers of the aurora_cluster fixture", default="2")
    parser.addini("aurora_bin_dir", "folder with the server's programs that it runs", default="")
    parser.addini(
        "aurora_engine", "its engine: postgresql, or mysql (also MariaDB)", default="postgresql"
    )


def _readers(config: pytest.Config) -> int:
    chosen: int | None = config.getoption("--aurora-readers")
    if chosen is not None:
        return chosen
    text = str(config.getini("aurora_readers"))
    if not text.isdecimal():
        raise pytest.UsageError(f"aurora_readers = {text!r}: must be a number, 0 to 15")
    return int(text)


@pytest.fixture(scope="session")
def aurora_cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    """A local cluster that serves the whole run."""
    from aurora_sql.local import LocalCluster  # noqa: PLC0415 - see the module

    config = request.config
    bin_dir = config.getoption("--aurora-bin-dir") or config.getini("aurora_bin_dir") or None
    engine = config.getoption("--aurora-engine") or str(config.getini("aurora_engine"))
    with LocalCluster(engine, readers=_readers(config), bin_dir=bin_dir) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def aurora_template() -> str | None:
    """Name of the database that each test gets a copy of: an empty one unless overridden."""
    return None


@pytest.fixture
def aurora_database(aurora_cluster: LocalCluster, aurora_template: str | None) -> Iterator[str]:
    """Name of a fresh database, on all instances."""
    name = f"test_{uuid4().hex[:12]}"
    _run(lambda: aurora_cluster.create_database(name, template=aurora_template))
    yield name
    _run(lambda: aurora_cluster.drop_database(name))


@pytest.fixture
def aurora_settings(aurora_cluster: LocalCluster, aurora_database: str) -> AuroraSettings:
    """Settings that reach the fresh database."""
    return aurora_cluster.settings(aurora_database)


@pytest.fixture
def aurora_fault_proxy(aurora_cluster: LocalCluster) -> Iterator[FaultProxy]:
    """A proxy in front of the writer, through which nothing goes wrong until it is told to."""
    with aurora_cluster.fault_proxy("writer") as proxy:
        yield proxy


@pytest.fixture
def aurora_faulty_settings(
    aurora_settings: AuroraSettings, aurora_fault_proxy: FaultProxy
) -> AuroraSettings:
    """Settings that reach the fresh database through the proxy, on the writer alone."""
    through = f"{aurora_fault_proxy.host}:{aurora_fault_proxy.port}"
    return aurora_settings.replace({"write_endpoint": through, "read_endpoint": None})


class AssertStatements(Protocol):
    """What ``aurora_assert_statements`` is."""

    def __call__(
        self, exactly: int | None = None, *, at_most: int | None = None
    ) -> AbstractContextManager[StatementCount]:
        """Return a block; leaving it fails the test unless it sent as many statements as said."""


@pytest.fixture
def aurora_assert_statements() -> AssertStatements:
    """Fail the test where a block sends more statements than it should, or others.

    ``with aurora_assert_statements(3):``, ``with aurora_assert_statements(at_most=5) as counted:``.
    What counts is said at :func:`aurora_sql.count_statements`. Unlike a ``limit`` given there, this
    lets the block come to its end, and no error handler between can hide it.
    """
    from aurora_sql import count_statements  # noqa: PLC0415 - see the module

    @contextmanager
    def block(
        exactly: int | None = None, *, at_most: int | None = None
    ) -> Iterator[StatementCount]:
        if (exactly is None) is (at_most is None):
            raise TypeError("give either a number of statements, or at_most=")
        with count_statements() as counted:
            yield counted
        if exactly is not None and counted.total != exactly:
            pytest.fail(f"{exactly} statements were to be sent, not {counted.total}: {counted}")
        if at_most is not None and counted.total > at_most:
            pytest.fail(f"at most {at_most} statements, not {counted.total}: {counted}")

    return block


def _run(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    # In a thread of its own: the caller's may have a loop, running or of another test.
    import asyncio  # noqa: PLC0415 - see the module
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - see the module

    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(make())).result()
