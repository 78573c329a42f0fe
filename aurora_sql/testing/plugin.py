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
* ``aurora_faulty_settings`` (function): the same settings, with the proxy on the way to the writer
  and no readers.

All of them are synchronous, so that they fit tests with any event loop, or none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from aurora_sql.local import FaultProxy, LocalCluster
    from aurora_sql.settings import AuroraSettings


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and the ini settings."""
    group = parser.getgroup("aurora_sql")
    group.addoption(
        "--aurora-readers", type=int, default=None, help="readers of the aurora_cluster fixture"
    )
    group.addoption(
        "--aurora-bin-dir", default=None, help="folder with the PostgreSQL programs it runs"
    )
    parser.addini("aurora_readers", "readers of the aurora_cluster fixture", default="2")
    parser.addini("aurora_bin_dir", "folder with the PostgreSQL programs it runs", default="")


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
    with LocalCluster(readers=_readers(config), bin_dir=bin_dir) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def aurora_template() -> str:
    """Name of the database that each test gets a copy of: an empty one unless overridden."""
    return "template1"


@pytest.fixture
def aurora_database(aurora_cluster: LocalCluster, aurora_template: str) -> Iterator[str]:
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


def _run(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    # In a thread of its own: the caller's may have a loop, running or of another test.
    import asyncio  # noqa: PLC0415 - see the module
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - see the module

    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(make())).result()
