"""Markers: rows that tell whether a transaction whose COMMIT was not answered has been applied.

The first statement of such a transaction inserts a marker, which is applied with the rest or not
at all. To ask afterwards is to insert it again, in the next attempt: if the first attempt was
applied, the key is taken; while its backend is still committing, the server makes the insert
wait; and once the insert has gone through, the first attempt can never be applied any more. This
holds across crashes and failovers, which an answer about a transaction's number does not.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

from aurora_sql.deadlines import unwatched
from aurora_sql.errors import AuroraError, ConfigurationError, UniqueViolation
from aurora_sql.execution import PoolRunner
from aurora_sql.types import Cardinality, Engine

if TYPE_CHECKING:
    from uuid import UUID

    from aurora_sql.cluster import Cluster
    from aurora_sql.execution import ConnectionRunner, Context
    from aurora_sql.session._adhoc import AdHocStatements
    from aurora_sql.statements import Statement

TABLE = "aurora_sql_commits"
CONSTRAINT = f"{TABLE}_pkey"

_INSERT = f"INSERT INTO {TABLE} (id) VALUES (:id)"


class _Texts(NamedTuple):
    """What is asked and deleted in the words of an engine.

    Old markers are deleted a few at a time, and none that another process is deleting: nobody
    waits for it.
    """

    is_there: str
    purge: str


_TEXTS: Final = {
    Engine.POSTGRESQL: _Texts(
        f"SELECT pg_catalog.to_regclass('{TABLE}') IS NOT NULL",
        f"""
DELETE FROM {TABLE} WHERE id = ANY (ARRAY(
    SELECT id FROM {TABLE} WHERE committed_at < pg_catalog.now() - INTERVAL '1 day'
    LIMIT 5000 FOR UPDATE SKIP LOCKED
))""",
    ),
    # MySQL takes no LIMIT in a subquery of IN, except within another one.
    Engine.MYSQL: _Texts(
        f"""
SELECT EXISTS (
    SELECT 1 FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_name = '{TABLE}'
)""",
        f"""
DELETE FROM {TABLE} WHERE id IN (
    SELECT id FROM (
        SELECT id FROM {TABLE} WHERE committed_at < NOW(6) - INTERVAL 1 DAY
        LIMIT 5000 FOR UPDATE SKIP LOCKED
    ) AS old
)""",
    ),
}

_LOOK_AGAIN = 60.0
"""Seconds after which a table that was not there is looked for again."""
_PURGE_EVERY = 1_000
"""Markers that one open database writes between two purges of old ones."""


class Markers:
    """The markers of one open database.

    Args:
        context: For running statements.
        cluster: Where the writer is.
        adhoc: Ad hoc statements, parsed.
    """

    def __init__(self, context: Context, cluster: Cluster, adhoc: AdHocStatements) -> None:
        self._context = context
        self._adhoc = adhoc
        self._texts = _TEXTS[cluster.engine]
        self._on_writer = PoolRunner(context, cluster.writer_for)
        self._there = False
        self._look_at = 0.0
        self._written = 0

    async def there(self) -> bool:
        """Whether the database has the table of markers.

        Raises:
            AuroraError: The writer cannot be asked.
        """
        if not self._there and self._context.loop.time() >= self._look_at:
            with unwatched():
                found = await self._on_writer.run(
                    self._statement(self._texts.is_there, Cardinality.SCALAR), {}
                )
            self._there = bool(found)
            self._look_at = self._context.loop.time() + _LOOK_AGAIN
        return self._there

    async def require(self, what: str) -> None:
        """Make sure that the table is there.

        Raises:
            ConfigurationError: It is not.
        """
        if not await self.there():
            raise ConfigurationError(
                f"{what} is to run exactly once, which takes the table {TABLE}: make its migration"
                ' with `aurora-sql migrate new "commit markers" --commit-markers` and apply it'
            )

    @staticmethod
    def new() -> UUID:
        """Return a new marker."""
        return uuid4()

    async def insert(self, runner: ConnectionRunner, marker: UUID) -> bool:
        """Insert a marker as the first statement of a transaction.

        Returns:
            False: it is there already, so that an earlier attempt with it was applied.

        Raises:
            AuroraError: It cannot be told.
        """
        try:
            with unwatched():
                await runner.run(self._statement(_INSERT, Cardinality.EXEC), {"id": marker})
        except UniqueViolation as error:
            if error.constraint != CONSTRAINT:
                raise
            return False
        return True

    async def purge(self) -> None:
        """Count a marker that is of no more use; once in a while, delete the old ones.

        They are kept for a day: long after the last attempt of anybody who would ask.
        """
        self._written += 1
        if self._written % _PURGE_EVERY == 0:
            with suppress(AuroraError), unwatched():  # the work is done; the next purge will do
                await self._on_writer.run(
                    self._statement(self._texts.purge, Cardinality.AFFECTED), {}
                )

    def _statement(self, sql: str, cardinality: Cardinality) -> Statement:
        return self._adhoc.get(sql, cardinality, None)
