"""``Aurora``: opens, wires and closes everything."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Self

from aurora_sql import health
from aurora_sql.cluster import Cluster, Signer
from aurora_sql.deadlines import Sweeper
from aurora_sql.errors import ConfigurationError, ParameterError, UsageError
from aurora_sql.execution import Context, Preparer, ReadCache, StatementTree
from aurora_sql.retry import RetryBudget, RetryPolicy
from aurora_sql.session import AdHocStatements, Scope, Session, Shared, TransactionalScope
from aurora_sql.settings import AuroraSettings
from aurora_sql.statements import StatementRegistry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from aurora_sql.health import Health
    from aurora_sql.instrumentation import Observer
    from aurora_sql.types import CacheStats, PoolStats, Topology


_SET_ON_ENTERING = frozenset({"sql", "writer", "reader", "_shared", "_runner", "_adhoc", "_host"})


class Aurora(TransactionalScope):
    """A database cluster, opened with ``async with`` and closed by it.

    ```python
    async with Aurora(AuroraSettings(), sql="sql") as db:
        user = await db.sql.users.get_by_email(email="a@b.c")
    ```

    Args:
        settings: Where the cluster is and how to treat it; ``AuroraSettings()`` by default.
        sql: Folder of SQL files, or a registry that is loaded already. None for ad hoc SQL only.
        reload: Development: a changed SQL file is read again when it is next used.
        observers: Called with each event; see :mod:`aurora_sql.instrumentation`.

    Attributes:
        sql: The statements, by namespace and name.
        writer: Runs statements on the writer, whatever they say.
        reader: Runs statements on a reader, whatever they say; on the writer if there is none.

    Raises:
        ConfigurationError: On entering, a setting or the SQL folder is wrong.
        StatementFileError: On entering, a SQL file is wrong.
        ConnectionFailed: On entering, the writer cannot be reached; ``AuthenticationFailed``
            and ``TlsError`` are kinds of it.
    """

    writer: Scope
    reader: Scope

    def __init__(
        self,
        settings: AuroraSettings | None = None,
        *,
        sql: str | Path | StatementRegistry | None = None,
        reload: bool = False,
        observers: Sequence[Observer] = (),
    ) -> None:
        if reload and not isinstance(sql, (str, Path)):
            raise ConfigurationError(
                "reload=True needs sql= to be a folder; for a registry, load it with reload=True"
            )
        self._settings = settings
        self._source = sql
        self._reload = reload
        self._observers = tuple(observers)
        self._state = "not open"
        self._sweeper: Sweeper | None = None
        self._statements: StatementRegistry | None = None

    async def __aenter__(self) -> Self:
        if self._state != "not open":
            raise UsageError(f"this Aurora is {self._state}; make a new one for each block")
        self._state = "being opened"
        try:
            await self._open()
        except BaseException:
            self._state = "not open"
            raise
        self._state = "open"
        return self

    async def _open(self) -> None:
        settings = self._settings if self._settings is not None else AuroraSettings()
        dialect = settings.engine.value
        registry = self._statements = self._registry(dialect)
        loop = asyncio.get_running_loop()
        sweeper = Sweeper(loop)
        context = Context(
            loop=loop,
            sweeper=sweeper,
            preparer=Preparer(settings.max_prepared_statements),
            command_timeout=settings.command_timeout,
            retry_policy=RetryPolicy(
                max_retries=settings.max_retry_count, max_delay=settings.max_retry_delay
            ),
            retry_budget=RetryBudget(settings.retry_budget),
            retry_enabled=settings.enable_retry_on_failure,
            detailed_errors=settings.enable_detailed_errors,
            sensitive_data=settings.enable_sensitive_data_logging,
            observers=self._observers,
            cache=ReadCache(settings.cache_max_bytes),
        )
        # The server enforces a limit of its own, given at connect: it must let every statement
        # have the time that its `timeout:` says.
        declared = [] if registry is None else [one.timeout or 0.0 for one in registry.values()]
        server_timeout = max(settings.command_timeout, *declared, 0.0)
        cluster = Cluster(settings, sweeper, server_timeout, context.emit)
        try:
            await cluster.open()
        except BaseException:
            try:
                await cluster.close()
            finally:
                sweeper.stop()
            raise
        secret = settings.token_secret
        signer = Signer(None if secret is None else secret.get_secret_value())
        shared = Shared(context, cluster, StatementTree(registry), AdHocStatements(dialect), signer)
        self._sweeper = sweeper
        self._attach(shared, cluster.route, cluster.spread, caches=True)
        self.writer = Scope(shared, cluster.writer_for, lambda _: 1)
        self.reader = Scope(shared, cluster.reader_for, lambda _: len(cluster.reader_pools) or 1)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._state = "closed"
        try:
            await self._close()
        finally:
            if self._sweeper is not None:
                self._sweeper.stop()

    async def _close(self) -> None:
        shared = self._shared
        try:
            await shared.cluster.close()  # waits for calls under way, those for the cache too
        finally:
            await shared.context.cache.close()

    def _registry(self, dialect: str) -> StatementRegistry | None:
        source = self._source
        if source is None:
            return None
        if not isinstance(source, StatementRegistry):
            return StatementRegistry.load(source, dialect=dialect, reload=self._reload)
        if source.dialect != dialect:
            raise ConfigurationError(
                f"the registry was loaded for {source.dialect}, the settings say engine {dialect}"
            )
        return source

    def __getattr__(self, name: str) -> object:
        # Reached only for what is set on entering: say so instead of naming a private attribute.
        if name in _SET_ON_ENTERING:
            raise UsageError(
                f"this Aurora is not open: use it inside `async with Aurora(…) as db:` (asked for"
                f" {name!r})"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def session(self, *, token: str | None = None) -> Session:
        """Return a session: ``async with db.session() as s:``; reads in it see its writes.

        Args:
            token: ``token`` of another session, of this process or of another one with the same
                ``token_secret``: reads see what that session wrote and was shown.

        Raises:
            ParameterError: The token is none, was signed with another key, or was changed. One of
                another cluster is refused on entering. Nothing was sent.
        """
        return Session(self._shared, token)

    @property
    def topology(self) -> Topology:
        """The instances, as they are known now."""
        return self._shared.cluster.topology

    def invalidate(self, *names: str) -> None:
        """Drop the kept answers of statements with ``cache:``: what they read has changed.

        For changes that no statement's ``invalidates:`` tells of: bulk work, ad hoc SQL, news of
        another process. Queries under way are not kept either. To be called after the COMMIT.

        Args:
            names: Full names of statements, such as ``users.get``.

        Raises:
            ParameterError: There is no such statement, or it has no ``cache:``; nothing is dropped.
        """
        for name in names:
            statement = None if self._statements is None else self._statements.get(name)
            if statement is None:
                raise ParameterError(f"invalidate(): no statement is called {name!r}")
            if statement.cache is None:
                raise ParameterError(f"invalidate(): {statement.where} has no 'cache' directive")
        self._shared.context.cache.invalidate(names)

    def cache_stats(self) -> CacheStats:
        """Return gauges and counters of the kept answers of statements with ``cache:``."""
        return self._shared.context.cache.stats()

    def pool_stats(self) -> dict[str, PoolStats]:
        """Return gauges and counters of each pool, by instance id."""
        return self._shared.cluster.stats()

    async def health(self, *, timeout: float = 5.0) -> Health:  # noqa: ASYNC109 - a limit per instance, reported rather than raised
        """Send each instance one round trip and report; raises nothing about what it finds.

        Args:
            timeout: Seconds for each instance; they are asked at the same time.
        """
        return await health.check(self._shared.context, self._shared.cluster, timeout)

    def __repr__(self) -> str:
        if self._state != "open":
            return f"<Aurora {self._state}>"
        topology = self.topology
        readers = ", ".join(one.id for one in topology.readers) or "none"
        writer = topology.writer.id if topology.writer else "none"
        return f"<Aurora open: writer {writer}, readers {readers}>"
