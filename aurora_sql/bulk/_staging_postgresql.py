"""The staging table on PostgreSQL: temporary, dropped by the end of its transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aurora_sql.bulk._names import quote, quote_all
from aurora_sql.bulk._operation import row_of
from aurora_sql.bulk._staging import Staging
from aurora_sql.errors import BulkValueError, NotNullViolation, UniqueViolation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.bulk._operation import Rows
    from aurora_sql.bulk._shape import Shape
    from aurora_sql.drivers import DriverConnection

_ANALYZE_FROM = 10_000
"""Staged rows from which the planner's guess about them is worth replacing by knowledge."""


class PostgresStaging(Staging):
    """Its constraints refuse keys: COPY then names the row. See :class:`Staging`."""

    @property
    def _stage(self) -> str:
        return f"pg_temp.{self.name}"

    def cleanup(self) -> tuple[str, ...]:
        """Drop it in a transaction that goes on."""
        if not self.exists:
            return ()
        return ("RELEASE SAVEPOINT aurora_sql_move", f"DROP TABLE {self._stage}")

    async def fill(self, driver: DriverConnection, shape: Shape, rows: Rows) -> int:
        """Make the table with its constraints, and COPY into it."""
        operation = self._operation
        keys = operation.keys
        if operation.unique:
            change = f"ADD PRIMARY KEY ({quote_all(keys)})"
        else:
            change = ", ".join(f"ALTER {quote(key)} SET NOT NULL" for key in keys)
        await operation.execute(
            driver,
            *self.cleanup(),
            f"CREATE TEMP TABLE {self.name} ON COMMIT DROP AS"
            f" SELECT {quote_all(shape.columns)} FROM {operation.table} WITH NO DATA",
            f"ALTER TABLE {self._stage} {change}",
        )
        self.exists = True
        operation.round_trips += 1
        try:
            return await driver.copy_in(("pg_temp", self.name), shape.columns, rows)
        except (UniqueViolation, NotNullViolation) as error:
            refused = self._refused(error)
            if refused is None:
                raise
            raise refused from error

    def _refused(self, error: UniqueViolation | NotNullViolation) -> BulkValueError | None:
        """Say in the caller's terms which key the staging table refused."""
        row = row_of(error)
        if row is None:
            return None
        if isinstance(error, UniqueViolation):
            return self._operation.twice(row)
        column = error.column_name
        if column not in self._operation.keys:
            return None
        return self._operation.without(row, column)

    async def move(
        self, driver: DriverConnection, shape: Shape, statement: str, staged: int
    ) -> int:
        """Run the statement; after a failure say which row it was."""
        analyze = (f"ANALYZE {self._stage}",) if staged >= _ANALYZE_FROM else ()
        try:
            # A savepoint, so that after a failure the staged rows can be asked which one it was.
            tag = await self._operation.execute(
                driver, *analyze, "SAVEPOINT aurora_sql_move", statement
            )
        except NotNullViolation as error:
            column = error.column_name
            if column is None or column not in shape.columns:
                raise
            row = await self._row_without(driver, column)
            raise self._operation.missing(row, column, error) from error
        return int(tag.rpartition(" ")[2])

    async def _row_without(self, driver: DriverConnection, column: str) -> int:
        """Find the first staged row that has NULL in a column."""
        await self._operation.execute(driver, "ROLLBACK TO SAVEPOINT aurora_sql_move")
        # COPY into a table made in the same transaction puts row behind row.
        return await self._operation.ask(
            driver,
            f"SELECT count(*) FROM {self._stage} WHERE ctid < (SELECT ctid FROM {self._stage}"
            f" WHERE {quote(column)} IS NULL ORDER BY ctid LIMIT 1)",
        )

    async def upsert(
        self, driver: DriverConnection, shape: Shape, changes: Sequence[str], staged: int
    ) -> int:
        """INSERT … ON CONFLICT, in the order of the keys: two of them lock rows in one order."""
        names, keys = quote_all(shape.columns), quote_all(self._operation.keys)
        sets = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in changes)
        action = f"DO UPDATE SET {sets}" if changes else "DO NOTHING"
        # COPY takes values for an identity column, whatever it says; so does this. The target has
        # a name of ours: its own may be excluded.
        return await self.move(
            driver,
            shape,
            f"INSERT INTO {self._operation.table} AS t ({names}) OVERRIDING SYSTEM VALUE"
            f" SELECT {names} FROM {self._stage} ORDER BY {keys} ON CONFLICT ({keys}) {action}",
            staged,
        )

    def update(self, shape: Shape) -> str:
        """UPDATE … FROM."""
        keys = self._operation.keys
        changes = ", ".join(
            f"{quote(name)} = s.{quote(name)}" for name in shape.columns if name not in keys
        )
        return (
            f"UPDATE {self._operation.table} AS t SET {changes} FROM {self._source()}"
            f" WHERE {self.joined()}"
        )

    def delete(self) -> str:
        """DELETE … USING."""
        return (
            f"DELETE FROM {self._operation.table} AS t USING {self._source()} WHERE {self.joined()}"
        )

    def _source(self) -> str:
        """Return the staged rows, in an order that all operations on a table share.

        Two that wait for each other's rows lock them in the same order then, as far as the plan
        goes by the staged rows.
        """
        return f"(SELECT * FROM {self._stage} ORDER BY {quote_all(self._operation.keys)}) AS s"
