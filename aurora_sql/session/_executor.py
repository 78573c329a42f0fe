"""The interface that a database, its views, a session and a transaction share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from aurora_sql import bulk
from aurora_sql.types import Cardinality

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence

    from aurora_sql.bulk import BulkHost
    from aurora_sql.execution import RowStream, Runner, SqlNamespace
    from aurora_sql.rows import Row
    from aurora_sql.session._adhoc import AdHocStatements, Query
    from aurora_sql.types import BulkResult

ModelT = TypeVar("ModelT")


class Executor:
    """Runs statements: those of the SQL files through ``sql``, and ad hoc ones.

    Ad hoc SQL takes parameters as ``:name`` with a mapping; a pypika query is accepted for the
    text. It is parsed once, prepared and routed like a statement of a file.

    Attributes:
        sql: The statements of the registry: ``await db.sql.users.get(id=1)``.
    """

    sql: SqlNamespace
    _runner: Runner
    _adhoc: AdHocStatements
    _host: BulkHost

    @overload
    async def fetch_all(
        self, query: Query, params: Mapping[str, Any] | None = None
    ) -> list[Row]: ...
    @overload
    async def fetch_all(
        self, query: Query, params: Mapping[str, Any] | None = None, *, model: type[ModelT]
    ) -> list[ModelT]: ...
    async def fetch_all(
        self,
        query: Query,
        params: Mapping[str, Any] | None = None,
        *,
        model: type[Any] | None = None,
    ) -> list[Any]:
        """Return all rows.

        Args:
            query: SQL with ``:name`` parameters, or a pypika query.
            params: A value for each parameter.
            model: What a row becomes; :class:`Row` by default.

        Raises:
            ParameterError: A parameter is missing or unknown; nothing was sent.
            StatementFileError: The text is not one statement.
            RowValidationError: The columns do not fit the model.
        """
        statement = self._adhoc.get(query, Cardinality.MANY, model)
        result: list[Any] = await self._runner.run(statement, dict(params or {}))
        return result

    @overload
    async def fetch_one(self, query: Query, params: Mapping[str, Any] | None = None) -> Row: ...
    @overload
    async def fetch_one(
        self, query: Query, params: Mapping[str, Any] | None = None, *, model: type[ModelT]
    ) -> ModelT: ...
    async def fetch_one(
        self,
        query: Query,
        params: Mapping[str, Any] | None = None,
        *,
        model: type[Any] | None = None,
    ) -> Any:
        """Return the only row.

        Args: as :meth:`fetch_all`.

        Raises:
            RowNotFound: There is none.
            TooManyRows: There are several.
        """
        statement = self._adhoc.get(query, Cardinality.ONE, model)
        return await self._runner.run(statement, dict(params or {}))

    @overload
    async def fetch_maybe(
        self, query: Query, params: Mapping[str, Any] | None = None
    ) -> Row | None: ...
    @overload
    async def fetch_maybe(
        self, query: Query, params: Mapping[str, Any] | None = None, *, model: type[ModelT]
    ) -> ModelT | None: ...
    async def fetch_maybe(
        self,
        query: Query,
        params: Mapping[str, Any] | None = None,
        *,
        model: type[Any] | None = None,
    ) -> Any:
        """Return the only row, or None.

        Args: as :meth:`fetch_all`.

        Raises:
            TooManyRows: There are several.
        """
        statement = self._adhoc.get(query, Cardinality.MAYBE, model)
        return await self._runner.run(statement, dict(params or {}))

    async def fetch_value(self, query: Query, params: Mapping[str, Any] | None = None) -> Any:
        """Return the first column of the only row; None without a row.

        Args: as :meth:`fetch_all`.

        Raises:
            TooManyRows: There are several rows.
        """
        statement = self._adhoc.get(query, Cardinality.SCALAR, None)
        return await self._runner.run(statement, dict(params or {}))

    async def execute(self, query: Query, params: Mapping[str, Any] | None = None) -> int:
        """Run a statement and return the number of rows it affected, -1 where it has none.

        Args: as :meth:`fetch_all`.
        """
        statement = self._adhoc.get(query, Cardinality.AFFECTED, None)
        affected: int = await self._runner.run(statement, dict(params or {}))
        return affected

    @overload
    def stream(
        self, query: Query, params: Mapping[str, Any] | None = None, *, batch_size: int = 500
    ) -> RowStream[Row]: ...
    @overload
    def stream(
        self,
        query: Query,
        params: Mapping[str, Any] | None = None,
        *,
        model: type[ModelT],
        batch_size: int = 500,
    ) -> RowStream[ModelT]: ...
    def stream(
        self,
        query: Query,
        params: Mapping[str, Any] | None = None,
        *,
        model: type[Any] | None = None,
        batch_size: int = 500,
    ) -> RowStream[Any]:
        """Return the rows one by one from a server-side cursor, in bounded memory.

        Args:
            query: As :meth:`fetch_all`.
            params: As :meth:`fetch_all`.
            model: As :meth:`fetch_all`.
            batch_size: Rows fetched per round trip.
        """
        statement = self._adhoc.get(query, Cardinality.MANY, model)
        return self._runner.stream(statement, dict(params or {}), batch_size)

    async def bulk_insert(
        self,
        table: str,
        rows: Iterable[Any] | AsyncIterable[Any],
        *,
        columns: Sequence[str] | None = None,
        batch_size: int | None = None,
        atomic: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> BulkResult:
        """Insert rows by COPY.

        Args:
            table: Table name, ``schema.table`` allowed.
            rows: Tuples (with ``columns``), mappings or models; any iterable, also an
                asynchronous one, of any length.
            columns: Names of the columns; taken from the first row where it has names.
            batch_size: Rows per COPY. Default: everything in one when ``atomic``, else 10,000.
            atomic: All or nothing. False: each batch is committed on its own.
            progress: Called after each batch, and at least every 10,000 rows, with the rows so far.

        Raises:
            BulkValueError: A value does not fit; names row and column.
            ParameterError: The rows or the columns make no sense.
        """
        return await bulk.insert(
            self._host,
            table,
            rows,
            columns=columns,
            batch_size=batch_size,
            atomic=atomic,
            progress=progress,
        )

    async def bulk_upsert(
        self,
        table: str,
        rows: Iterable[Any] | AsyncIterable[Any],
        *,
        keys: Sequence[str],
        columns: Sequence[str] | None = None,
        update: Sequence[str] | None = None,
        batch_size: int | None = None,
        atomic: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> BulkResult:
        """Insert rows, or update those that exist, through a staging table.

        Args:
            table: As :meth:`bulk_insert`.
            rows: As :meth:`bulk_insert`.
            keys: Columns of the unique constraint that tells whether a row exists.
            columns: As :meth:`bulk_insert`.
            update: Columns to update on a conflict; all but the keys by default, none with ``()``.
            batch_size: As :meth:`bulk_insert`.
            atomic: As :meth:`bulk_insert`.
            progress: As :meth:`bulk_insert`.

        Raises:
            ParameterError: Two rows of the input have the same keys, among others.
            BulkValueError: A value does not fit; names row and column.
        """
        return await bulk.upsert(
            self._host,
            table,
            rows,
            keys=keys,
            columns=columns,
            update=update,
            batch_size=batch_size,
            atomic=atomic,
            progress=progress,
        )

    async def bulk_update(
        self,
        table: str,
        rows: Iterable[Any] | AsyncIterable[Any],
        *,
        keys: Sequence[str],
        columns: Sequence[str] | None = None,
        batch_size: int | None = None,
        atomic: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> BulkResult:
        """Update the rows with the given keys, through a staging table and one statement.

        ``rows`` of the result counts the rows that were found.

        Args: as :meth:`bulk_upsert`.
        """
        return await bulk.update(
            self._host,
            table,
            rows,
            keys=keys,
            columns=columns,
            batch_size=batch_size,
            atomic=atomic,
            progress=progress,
        )

    async def bulk_delete(
        self,
        table: str,
        keys: Iterable[Any] | AsyncIterable[Any],
        *,
        columns: Sequence[str] | None = None,
        batch_size: int | None = None,
        atomic: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> BulkResult:
        """Delete the rows with the given keys, through a staging table and one statement.

        Args:
            table: As :meth:`bulk_insert`.
            keys: Mappings such as ``{"id": 1}``, models, or tuples with ``columns``.
            columns: Names of the key columns; taken from the first key where it has names.
            batch_size: As :meth:`bulk_insert`.
            atomic: As :meth:`bulk_insert`.
            progress: As :meth:`bulk_insert`.
        """
        return await bulk.delete(
            self._host,
            table,
            keys,
            columns=columns,
            batch_size=batch_size,
            atomic=atomic,
            progress=progress,
        )
