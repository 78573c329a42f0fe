"""The interface that a database, its views, a session and a transaction share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from aurora_sql import bulk
from aurora_sql.errors import ParameterError
from aurora_sql.execution import export_csv, fetch_arrow
from aurora_sql.types import Cardinality

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Sequence

    import pyarrow as pa

    from aurora_sql.bulk import BulkHost
    from aurora_sql.execution import Explanation, RowStream, Runner, SqlNamespace
    from aurora_sql.export import CsvTarget
    from aurora_sql.rows import Row
    from aurora_sql.session._adhoc import AdHocStatements, Query
    from aurora_sql.types import BulkResult

ModelT = TypeVar("ModelT")


class Executor(ABC):
    """Runs statements: those of the SQL files through ``sql``, and ad hoc ones.

    Ad hoc SQL takes parameters as ``:name`` with a mapping; a pypika query is accepted for the
    text. It is parsed once, prepared and routed like a statement of a file.

    Attributes:
        sql: The statements of the registry: ``await db.sql.users.get(id=1)``.
    """

    sql: SqlNamespace
    _runner: Runner
    _adhoc: AdHocStatements

    @abstractmethod
    def _bulk_host(self) -> BulkHost:
        """Return where bulk work finds its connection."""

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
        result: list[Any] = await self._runner.run(statement, _named(params))
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
        return await self._runner.run(statement, _named(params))

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
        return await self._runner.run(statement, _named(params))

    async def fetch_value(self, query: Query, params: Mapping[str, Any] | None = None) -> Any:
        """Return the first column of the only row; None without a row.

        Args: as :meth:`fetch_all`.

        Raises:
            TooManyRows: There are several rows.
        """
        statement = self._adhoc.get(query, Cardinality.SCALAR, None)
        return await self._runner.run(statement, _named(params))

    async def execute(self, query: Query, params: Mapping[str, Any] | None = None) -> int:
        """Run a statement and return the number of rows it affected, -1 where it has none.

        Args: as :meth:`fetch_all`.
        """
        statement = self._adhoc.get(query, Cardinality.AFFECTED, None)
        affected: int = await self._runner.run(statement, _named(params))
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
        return self._runner.stream(statement, _named(params), batch_size)

    async def explain(
        self, query: Query, params: Mapping[str, Any] | None = None, *, analyze: bool = False
    ) -> Explanation:
        """Return the text that runs and the server's plan of it; nothing is run.

        Args:
            query: As :meth:`fetch_all`.
            params: As :meth:`fetch_all`.
            analyze: Run the statement, and tell how long each step took. For reads only.

        Raises:
            UsageError: It has no plan, or ``analyze`` would write.
            AuroraError: As :meth:`fetch_all`.
        """
        statement = self._adhoc.get(query, Cardinality.MANY, None)
        return await self._runner.explain(statement, _named(params), analyze=analyze)

    async def fetch_arrow(self, query: Query, params: Mapping[str, Any] | None = None) -> pa.Table:
        """Return all rows as an Arrow table: ``table.to_pandas()``, ``polars.from_arrow(table)``.

        On PostgreSQL they come by COPY and are parsed by Arrow, which takes a fraction of the time
        that rows take. Routing, limits and retries are those of :meth:`stream`: in a transaction of
        its own, or in the one that it is called on, where the rows are those that it sees.

        Args:
            query: A read, as :meth:`fetch_all`.
            params: As :meth:`fetch_all`.

        Returns:
            A ``pyarrow.Table`` with the columns of the statement, also where there are no rows.

        Raises:
            UsageError: The query writes; nothing was sent.
            ConfigurationError: pyarrow or numpy is missing; the message says what to install.
            RowValidationError: A value has no form in Arrow; the message says which cast helps.
            AuroraError: As :meth:`stream`.
        """
        statement = self._adhoc.get(query, Cardinality.MANY, None)
        return await fetch_arrow(self._runner, statement, _named(params))

    async def export_csv(
        self,
        target: CsvTarget,
        query: Query,
        params: Mapping[str, Any] | None = None,
        *,
        header: bool = True,
    ) -> int:
        """Write all rows as CSV, in bounded memory.

        The form is that of PostgreSQL's COPY, on MySQL too: NULL is an empty field, the empty text
        is ``""``. Routing, limits and retries are as in :meth:`fetch_arrow`.

        Args:
            target: A path, or a binary file with ``write(bytes)``. For a path a file beside it is
                written, which takes its place when it is whole: a failed export leaves what was
                there. A file is written to in a thread, and neither flushed nor closed; what a
                failed export has written stays.
            query: A read, as :meth:`fetch_all`.
            params: As :meth:`fetch_all`.
            header: Begin with a line that has the names of the columns.

        Returns:
            The number of rows, without the header.

        Raises:
            UsageError: The query writes, or the target is none; nothing was sent.
            OSError: The file cannot be written; what a file raises comes out unchanged.
            AuroraError: As :meth:`stream`.
        """
        statement = self._adhoc.get(query, Cardinality.MANY, None)
        return await export_csv(self._runner, statement, _named(params), target, header=header)

    async def bulk_insert(
        self,
        table: str,
        rows: Iterable[Any] | AsyncIterable[Any],
        *,
        columns: Sequence[str] | None = None,
        batch_size: int | None = None,
        atomic: bool = True,
        progress: Callable[[int], None] | None = None,
        lanes: int = 1,
    ) -> BulkResult:
        """Insert rows by COPY.

        Rows in a list or a tuple, up to 10,000, take one round trip; if the attempt fails and it is
        certain that nothing was applied (the connection was dead, the table has just been
        altered), another one follows as for a statement. Anything else is taken as it comes, in
        bounded memory and in a transaction of its own, without the server's limit for a
        statement; what was taken from an iterator cannot be sent again. The only time limit is
        that of ``deadline()``, or of the transaction that this is called on.

        Args:
            table: Table name, ``schema.table`` allowed. Upper and lower case count; a name with
                a dot, a space or a quote stands in double quotes.
            rows: Any iterable, also an asynchronous one, of any length. A row is a tuple or a
                list (with ``columns``), or takes its columns' names along: a mapping, a
                pydantic model, a dataclass, a named tuple, a :class:`Row`. All rows are of one
                kind, and mappings have the same keys. In mappings and models, members of enums
                become their values, and models in JSON columns what they are as JSON. Or columns:
                an Arrow table, record batch or stream of batches, a pandas or polars frame (the
                extra ``arrow``), the fastest way in. A stream can be read once.
            columns: Names of the columns: those of the values of a tuple, or those to take from
                rows with names. By default the names that the first row has.
            batch_size: Rows per COPY. Default: everything in one when ``atomic``, else 10,000.
            atomic: All or nothing. False: each batch is committed on its own; when one fails,
                those before it stay, and a note on the error says how many they are. Not in a
                transaction.
            progress: Called with the number of rows so far: sent, about every 10,000 and at the
                end of a batch; with ``atomic=False`` committed, after each batch. What it raises
                ends the operation like an error in the rows.
            lanes: Connections of the pool that load at once, 1 to 64. More than one is for servers
                far away or clients with cores to spare. Batches of 10,000 rows, or of
                ``batch_size``, go to whichever is free. All or nothing then means that they are
                loaded into a staging table beside the table, which the user needs the right to
                make, and moved by one statement; with ``atomic=False``, where a batch fails, the
                others on their way are ended, and a note on the error says which rows are
                committed. Not in a transaction.

        Returns:
            What was done; nothing is sent, and no error found, where there are no rows.

        Raises:
            BulkValueError: A value does not fit, whether this side or the server finds it, or a
                row is unlike the first one. It names the row, from 0 in the whole input, and
                the column. Nothing was applied (of its batch, with ``atomic=False``).
            ConfigurationError: pyarrow or numpy is missing; the message says what to install.
            ParameterError: The rows, the columns or an option make no sense; nothing was sent.
            IntegrityError: A constraint refuses a row, which the message names if the server does.
            ProgrammingError: There is no such table or column.
            UsageError: Called on a view of the readers.
            DeadlineExceeded: The deadline passed; ``outcome_unknown`` where all rows had been sent.
            ConnectionLost: Likewise.

        An error that the iterable itself raises comes out unchanged, and nothing is applied. In a
        transaction, put a savepoint around the call if the transaction is to go on after an error.
        """
        return await bulk.insert(
            self._bulk_host(),
            table,
            rows,
            columns=columns,
            batch_size=batch_size,
            atomic=atomic,
            progress=progress,
            lanes=lanes,
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
        """Insert rows, or update those that exist, through a staging table and one statement.

        Two that run at once lock rows in the same order, by the keys, and cannot deadlock each
        other as long as each has one batch.

        Args:
            table: As :meth:`bulk_insert`.
            rows: As :meth:`bulk_insert`.
            keys: Columns of the unique constraint that tells whether a row exists.
            columns: As :meth:`bulk_insert`; the keys are among them.
            update: Columns to update on a conflict; all but the keys by default, none with ``()``.
            batch_size: Rows per staging table and statement. Default: as :meth:`bulk_insert`.
            atomic: As :meth:`bulk_insert`.
            progress: As :meth:`bulk_insert`.

        Returns:
            What was done; ``rows`` counts those inserted or updated.

        Raises:
            BulkValueError: As :meth:`bulk_insert`; also where a key is NULL, or two rows of one
                batch have the same keys: it would be left to chance which of them wins.
            AuroraError: As :meth:`bulk_insert`.
        """
        return await bulk.upsert(
            self._bulk_host(),
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

        Args:
            table: As :meth:`bulk_insert`.
            rows: As :meth:`bulk_insert`.
            keys: Columns that find a row; one row of the input may find several of the table.
            columns: As :meth:`bulk_insert`; the keys are among them, the others are updated.
            batch_size: As :meth:`bulk_upsert`.
            atomic: As :meth:`bulk_insert`.
            progress: As :meth:`bulk_insert`.

        Returns:
            What was done; ``rows`` counts the rows of the table that were found.

        Raises:
            BulkValueError: As :meth:`bulk_upsert`.
            AuroraError: As :meth:`bulk_insert`.
        """
        return await bulk.update(
            self._bulk_host(),
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
            keys: Mappings such as ``{"id": 1}``, models, or tuples with ``columns``. A key that
                stands twice is deleted once.
            columns: Names of the key columns; by default those of the first key.
            batch_size: As :meth:`bulk_upsert`.
            atomic: As :meth:`bulk_insert`.
            progress: As :meth:`bulk_insert`.

        Returns:
            What was done; ``rows`` counts the rows that were deleted.

        Raises:
            BulkValueError: As :meth:`bulk_insert`; also where a key is NULL, which finds no row.
            AuroraError: As :meth:`bulk_insert`.
        """
        return await bulk.delete(
            self._bulk_host(),
            table,
            keys,
            columns=columns,
            batch_size=batch_size,
            atomic=atomic,
            progress=progress,
        )


def _named(params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the parameters of an ad hoc statement as a dictionary."""
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise ParameterError(
            f"parameters are a mapping of names to values, not {type(params).__name__}:"
            ' fetch_all("… WHERE id = :id", {"id": 1})'
        )
    return dict(params)
