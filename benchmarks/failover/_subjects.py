"""What is measured: the library, ``asyncpg.Pool``, and AWS's wrapper with two sets of settings."""

from __future__ import annotations

import importlib.util
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from aurora_sql import Aurora, AuroraError, deadline
from aurora_sql.errors import ConfigurationError
from aurora_sql.migrations import apply, new
from benchmarks._options import choose_named
from benchmarks.failover import _work
from benchmarks.failover._results import OURS
from benchmarks.failover._work import Attempt, InDoubt, retried

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from aurora_sql import AuroraSettings, Transaction
    from aurora_sql.local import LocalCluster
    from benchmarks.failover._results import FailoverOptions
    from benchmarks.failover._work import Subject


@dataclass(frozen=True, slots=True)
class Contender:
    """One of the things that are compared.

    Attributes:
        name: For people and for ``--subjects``.
        finds: How it finds the writer.
        open: Opens it on a cluster for the time of a block.
        settings: What is set apart from the address and the size of pools.
        packages: Distributions that it is made of.
        module: What cannot be imported if it is not installed.
    """

    name: str
    finds: str
    open: Callable[
        [LocalCluster, FailoverOptions, Mapping[str, str]], AbstractAsyncContextManager[Subject]
    ]
    settings: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    module: str | None = None

    def missing(self) -> str | None:
        """Say what to install; None if it can be measured."""
        if self.module is None or importlib.util.find_spec(self.module) is not None:
            return None
        return f"needs {' and '.join(self.packages)}: pip install 'aurora-sql[bench-failover]'"


# The library


def _settings(cluster: LocalCluster, options: FailoverOptions) -> AuroraSettings:
    # As on Aurora: it starts at the endpoints, and learns from the cluster who is who.
    return cluster.settings(topology="aurora").replace(
        {"min_pool_size": options.writers, "max_pool_size": options.writers}
    )


class _Library:
    def __init__(self, db: Aurora, seconds: float) -> None:
        self._db = db
        self._seconds = seconds

    async def write(self, number: int, caller: int) -> None:
        try:
            with deadline(self._seconds):
                await self._db.run_in_transaction(_place, number, caller)
        except AuroraError as error:
            if error.outcome_unknown:
                raise InDoubt from error
            raise

    async def read(self, caller: int) -> None:
        del caller
        with deadline(self._seconds):
            await self._db.reader.fetch_value(_work.COUNT)


async def _place(tx: Transaction, number: int, caller: int) -> None:
    await tx.execute(_work.COUNT_UP.format(id=":id"), {"id": 1 + number % _work.COUNTERS})
    await tx.execute(_work.ADD.format(id=":id", caller=":caller"), {"id": number, "caller": caller})


@asynccontextmanager
async def _open_library(
    cluster: LocalCluster, options: FailoverOptions, settings: Mapping[str, str]
) -> AsyncIterator[Subject]:
    del settings
    with tempfile.TemporaryDirectory() as folder:
        new(Path(folder), "commit markers", commit_markers=True)
        await apply(cluster.settings(), folder)
    async with Aurora(_settings(cluster, options)) as db:
        yield _Library(db, options.deadline)


# asyncpg.Pool

_LOST: tuple[type[Exception], ...] = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,  # the server shuts down, or starts up
    asyncpg.ReadOnlySQLTransactionError,
)


class _Pool:
    def __init__(
        self,
        writer: asyncpg.Pool[asyncpg.Record],
        reader: asyncpg.Pool[asyncpg.Record],
        seconds: float,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._seconds = seconds

    async def write(self, number: int, caller: int) -> None:
        async def attempt(state: Attempt) -> None:
            async with self._writer.acquire() as connection:
                transaction = connection.transaction()
                try:
                    await transaction.start()
                    await connection.execute(
                        _work.COUNT_UP.format(id="$1"), 1 + number % _work.COUNTERS
                    )
                    await connection.execute(_work.ADD.format(id="$1", caller="$2"), number, caller)
                except asyncpg.ReadOnlySQLTransactionError:
                    # The endpoint still led to the old writer, which reads now. The pool would
                    # keep the connection for ever: nothing is wrong with it.
                    connection.terminate()
                    raise
                state.committing = True
                await transaction.commit()

        await retried(attempt, _LOST, self._seconds)

    async def read(self, caller: int) -> None:
        del caller

        async def attempt(state: Attempt) -> None:
            del state
            await self._reader.fetchval(_work.COUNT)

        await retried(attempt, _LOST, self._seconds)


@asynccontextmanager
async def _open_pool(
    cluster: LocalCluster, options: FailoverOptions, settings: Mapping[str, str]
) -> AsyncIterator[Subject]:
    del settings

    def make(address: tuple[str, int], size: int) -> Any:
        return asyncpg.create_pool(
            host=address[0],
            port=address[1],
            user=cluster.username,
            password=cluster.password,
            database=cluster.database,
            min_size=size,
            max_size=size,
        )

    async with (
        make(cluster.writer_endpoint, options.writers) as writer,
        make(cluster.reader_endpoint, options.readers) as reader,
    ):
        yield _Pool(writer, reader, options.deadline)


# AWS's wrapper


def _open_wrapper(
    cluster: LocalCluster, options: FailoverOptions, settings: Mapping[str, str]
) -> AbstractAsyncContextManager[Subject]:
    # Here: it is not part of what the benchmarks need.
    from benchmarks.failover._wrapper import open_wrapper  # noqa: PLC0415 - see above

    return open_wrapper(cluster, options, settings)


_WRAPPER = ("aws-advanced-python-wrapper", "psycopg")
_WRAPPER_MODULE = "aws_advanced_python_wrapper"
_WRAPPER_TUNED = {
    "failure_detection_time_ms": "1000",
    "failure_detection_interval_ms": "500",
    "failure_detection_count": "2",
    "topology_refresh_ms": "1000",
    "failover_timeout_sec": "8",
    "connect_timeout": "2",
    "monitoring-connect_timeout": "1",
    "wait_for_initial_topology_ms": "5000",
}

CONTENDERS = (
    Contender(OURS, "topology", _open_library),
    Contender("asyncpg.Pool", "endpoint", _open_pool),
    Contender(
        "AWS wrapper",
        "topology",
        _open_wrapper,
        packages=_WRAPPER,
        module=_WRAPPER_MODULE,
    ),
    Contender(
        "AWS wrapper, tuned",
        "topology",
        _open_wrapper,
        settings=_WRAPPER_TUNED,
        packages=_WRAPPER,
        module=_WRAPPER_MODULE,
    ),
)


def choose_subjects(text: str | None) -> tuple[tuple[Contender, ...], dict[str, str]]:
    """The subjects of a list of names, all without one, and why some cannot be measured.

    Raises:
        ConfigurationError: A name is unknown, or what was named is not installed.
    """
    known = {one.name.replace(", ", "-").replace(" ", "-").lower(): one for one in CONTENDERS}
    chosen = choose_named("--subjects", "subject", text, known)
    missing = {one.name: reason for one in chosen if (reason := one.missing()) is not None}
    if text and missing:
        raise ConfigurationError("; ".join(f"{name} {why}" for name, why in missing.items()))
    return tuple(one for one in chosen if one.name not in missing), missing
