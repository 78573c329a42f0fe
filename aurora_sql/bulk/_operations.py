"""The four bulk operations: COPY, or COPY into a staging table and one statement."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from aurora_sql.bulk._names import check_columns, quote, quote_all
from aurora_sql.bulk._operation import Operation, row_of
from aurora_sql.errors import (
    BulkValueError,
    NotNullViolation,
    ParameterError,
    UniqueViolation,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.bulk._operation import Rows
    from aurora_sql.bulk._shape import Shape
    from aurora_sql.drivers import DriverConnection

_ANALYZE_FROM = 10_000
"""Staged rows from which the planner's guess about them is worth replacing by knowledge."""


class Insert(Operation):
    """COPY straight into the table."""

    is_one_command = True

    def prepare(self, shape: Shape) -> None:
        """Nothing to check: the server knows the columns."""

    def begun(self) -> None:
        """Nothing to note."""

    async def send(self, driver: DriverConnection, shape: Shape, rows: Rows) -> int:
        """COPY the rows."""
        self.round_trips += 1
        return await driver.copy_in(self.parts, shape.columns, rows)


class Staged(Operation):
    """COPY into a staging table, then one statement.

    The staging table has the target's types and refuses NULL in a key and, where it would be
    left to chance which row wins, two rows with one key: COPY then names the row.

    Args:
        args: As :class:`Operation`.
        keys: Columns that find a row; None for all columns.
        options: As :class:`Operation`.
    """

    is_one_command = False
    unique = True
    """Two rows with the same keys are refused."""

    def __init__(self, *args: Any, keys: Sequence[str] | None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.keys = () if keys is None else check_columns(keys, f"{self.what}: keys")
        # In the caller's transaction it must not meet a table of the caller's. In one of our own
        # the name is always the same, so that the server's statistics of statements stay few.
        mark = f"_{secrets.token_hex(6)}" if self._host.in_transaction else ""
        self._name = f"aurora_sql_stage{mark}"
        self.stage = f"pg_temp.{self._name}"
        self._exists = False

    def begun(self) -> None:
        """Note that there is no staging table yet."""
        self._exists = False

    def cleanup(self) -> str:
        """Make room for the next batch, or leave the caller's transaction as it was."""
        if not self._exists:
            return ""
        return f"RELEASE SAVEPOINT aurora_sql_move; DROP TABLE {self.stage}; "

    def prepare(self, shape: Shape) -> None:
        """Check that the keys are among the columns."""
        self.keys = self.keys or shape.columns
        missing = [key for key in self.keys if key not in shape.columns]
        if missing:
            raise ParameterError(
                f"{self.what}: key column {', '.join(map(repr, missing))} is not among the columns"
                f" {', '.join(map(repr, shape.columns))}"
            )

    async def send(self, driver: DriverConnection, shape: Shape, rows: Rows) -> int:
        """Stage the rows and run the statement."""
        if self.unique:
            change = f"ADD PRIMARY KEY ({quote_all(self.keys)})"
        else:
            change = ", ".join(f"ALTER {quote(key)} SET NOT NULL" for key in self.keys)
        await self.execute(
            driver,
            f"{self.cleanup()}CREATE TEMP TABLE {self._name} ON COMMIT DROP AS"
            f" SELECT {quote_all(shape.columns)} FROM {self.table} WITH NO DATA;"
            f" ALTER TABLE {self.stage} {change}",
        )
        self._exists = True
        self.round_trips += 1
        try:
            staged = await driver.copy_in(("pg_temp", self._name), shape.columns, rows)
        except (UniqueViolation, NotNullViolation) as error:
            refused = self._refused(error)
            if refused is None:
                raise
            raise refused from error
        analyze = f"ANALYZE {self.stage}; " if staged >= _ANALYZE_FROM else ""
        try:
            # A savepoint, so that after a failure the staged rows can be asked which one it was.
            tag = await self.execute(
                driver, f"{analyze}SAVEPOINT aurora_sql_move; {self.statement(shape)}"
            )
        except NotNullViolation as error:
            column = error.column_name
            if column is None or column not in shape.columns:
                raise
            row = await self._row_without(driver, column)
            text = f"row {row}, column {column!r}: {error.message}"
            raise BulkValueError(text, row=row, column=column) from error
        return int(tag.rpartition(" ")[2])

    def _refused(self, error: UniqueViolation | NotNullViolation) -> BulkValueError | None:
        """Say in the caller's terms which key the staging table refused."""
        row = row_of(error)
        if row is None:
            return None
        if isinstance(error, UniqueViolation):
            names = ", ".join(self.keys)
            return BulkValueError(
                f"row {row}: a row before it has the same {names}: it would be left to chance"
                " which of them wins",
                row=row,
                column=self.keys[0] if len(self.keys) == 1 else None,
            )
        column = error.column_name
        if column not in self.keys:
            return None
        return BulkValueError(
            f"row {row}, column {column!r}: NULL in a key column finds no row",
            row=row,
            column=column,
        )

    async def _row_without(self, driver: DriverConnection, column: str) -> int:
        """Find the first staged row that has NULL in a column."""
        await self.execute(driver, "ROLLBACK TO SAVEPOINT aurora_sql_move")
        # COPY into a table made in the same transaction puts row behind row.
        found = await driver.prepare(
            f"SELECT count(*) FROM {self.stage} WHERE ctid < (SELECT ctid FROM {self.stage}"
            f" WHERE {quote(column)} IS NULL ORDER BY ctid LIMIT 1)"
        )
        self.round_trips += 1
        row = int((await found.fetch(()))[0][0])
        await found.close()
        return row

    @abstractmethod
    def statement(self, shape: Shape) -> str:
        """Return the statement that moves the staged rows."""

    def source(self) -> str:
        """Return the staged rows, in an order that all operations on a table share.

        Two that wait for each other's rows lock them in the same order then, as far as the plan
        goes by the staged rows.
        """
        return f"(SELECT * FROM {self.stage} ORDER BY {quote_all(self.keys)}) AS s"

    def joined(self) -> str:
        """Return the condition that joins target and stage."""
        return " AND ".join(f"t.{quote(key)} = s.{quote(key)}" for key in self.keys)


class Upsert(Staged):
    """INSERT … ON CONFLICT from the staging table."""

    def __init__(self, *args: Any, update: Sequence[str] | None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._changes: tuple[str, ...] | None = None
        if update is not None:
            names = update if isinstance(update, str) else tuple(update)
            self._changes = check_columns(names, f"{self.what}: update") if names else ()

    def prepare(self, shape: Shape) -> None:
        """Check keys and updated columns."""
        super().prepare(shape)
        if self._changes is None:
            self._changes = tuple(name for name in shape.columns if name not in self.keys)
        unknown = [name for name in self._changes if name not in shape.columns]
        if unknown:
            raise ParameterError(
                f"{self.what}: update names {', '.join(map(repr, unknown))}, which is not among the"
                f" columns {', '.join(map(repr, shape.columns))}"
            )

    def statement(self, shape: Shape) -> str:
        """INSERT in the order of the keys, so that two of them lock rows in the same order."""
        names = quote_all(shape.columns)
        changes = ", ".join(
            f"{quote(name)} = excluded.{quote(name)}" for name in self._changes or ()
        )
        action = f"DO UPDATE SET {changes}" if changes else "DO NOTHING"
        # COPY takes values for an identity column, whatever it says; so does this.
        return (
            f"INSERT INTO {self.table} ({names}) OVERRIDING SYSTEM VALUE"
            f" SELECT {names} FROM {self.stage} ORDER BY {quote_all(self.keys)}"
            f" ON CONFLICT ({quote_all(self.keys)}) {action}"
        )


class Update(Staged):
    """UPDATE … FROM the staging table."""

    def prepare(self, shape: Shape) -> None:
        """Check that something is left to update."""
        super().prepare(shape)
        if all(name in self.keys for name in shape.columns):
            raise ParameterError(f"{self.what}: there is no column besides the keys to update")

    def statement(self, shape: Shape) -> str:
        """UPDATE the rows that the keys find."""
        changes = ", ".join(
            f"{quote(name)} = s.{quote(name)}" for name in shape.columns if name not in self.keys
        )
        return f"UPDATE {self.table} AS t SET {changes} FROM {self.source()} WHERE {self.joined()}"


class Delete(Staged):
    """DELETE … USING the staging table."""

    unique = False  # a row named twice is deleted once

    def statement(self, shape: Shape) -> str:  # noqa: ARG002 - the keys are all there is
        """DELETE the rows that the keys find."""
        return f"DELETE FROM {self.table} AS t USING {self.source()} WHERE {self.joined()}"
