"""The four bulk operations: COPY (LOAD DATA), or that into a staging table and one statement."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.bulk._names import check_columns
from aurora_sql.bulk._operation import Operation
from aurora_sql.bulk._staging_mysql import MysqlStaging
from aurora_sql.bulk._staging_postgresql import PostgresStaging
from aurora_sql.errors import BulkValueError, ParameterError
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aurora_sql.bulk._operation import Rows
    from aurora_sql.bulk._shape import Shape
    from aurora_sql.bulk._staging import Staging
    from aurora_sql.drivers import DriverConnection
    from aurora_sql.errors import NotNullViolation

_STAGING: Final[Mapping[Engine, type[Staging]]] = {
    Engine.POSTGRESQL: PostgresStaging,
    Engine.MYSQL: MysqlStaging,
}


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
        self.staging = _STAGING[self._host.engine](self, in_transaction=self._host.in_transaction)

    def begun(self) -> None:
        """Note that there is no staging table yet."""
        self.staging.exists = False

    def cleanup(self) -> tuple[str, ...]:
        """Leave the caller's transaction as it was."""
        return self.staging.cleanup()

    def remains(self) -> tuple[str, ...]:
        """Remove what going back to a savepoint has left."""
        return self.staging.remains()

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
        staged = await self.staging.fill(driver, shape, rows)
        return await self.move(driver, shape, staged)

    @abstractmethod
    async def move(self, driver: DriverConnection, shape: Shape, staged: int) -> int:
        """Move the staged rows; how many rows that affected."""

    async def ask(self, driver: DriverConnection, sql: str) -> int:
        """Return the number that a question about the staged rows gives."""
        self.round_trips += 2
        prepared = await driver.prepare(sql)
        try:
            return int((await prepared.fetch(()))[0][0])
        finally:
            if driver.is_settled and not driver.is_closed:
                await prepared.close()

    def twice(self, row: int) -> BulkValueError:
        """Say that a row's key stands in a row before it."""
        names = ", ".join(self.keys)
        return BulkValueError(
            f"row {row}: a row before it has the same {names}: it would be left to chance"
            " which of them wins",
            row=row,
            column=self.keys[0] if len(self.keys) == 1 else None,
        )

    @staticmethod
    def without(row: int, column: str) -> BulkValueError:
        """Say that a row's key is NULL."""
        return BulkValueError(
            f"row {row}, column {column!r}: NULL in a key column finds no row",
            row=row,
            column=column,
        )

    @staticmethod
    def missing(row: int, column: str, error: NotNullViolation) -> BulkValueError:
        """Say that a row has NULL where the target takes none."""
        text = f"row {row}, column {column!r}: {error.message}"
        return BulkValueError(text, row=row, column=column)


class Upsert(Staged):
    """INSERT, or UPDATE where the key is there, from the staging table."""

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

    async def move(self, driver: DriverConnection, shape: Shape, staged: int) -> int:
        """Insert the rows, or change those that are there."""
        return await self.staging.upsert(driver, shape, self._changes or (), staged)


class Update(Staged):
    """UPDATE from the staging table."""

    def prepare(self, shape: Shape) -> None:
        """Check that something is left to update."""
        super().prepare(shape)
        if all(name in self.keys for name in shape.columns):
            raise ParameterError(f"{self.what}: there is no column besides the keys to update")

    async def move(self, driver: DriverConnection, shape: Shape, staged: int) -> int:
        """Update the rows that the keys find."""
        return await self.staging.move(driver, shape, self.staging.update(shape), staged)


class Delete(Staged):
    """DELETE by the staging table."""

    unique = False  # a row named twice is deleted once

    async def move(self, driver: DriverConnection, shape: Shape, staged: int) -> int:
        """Delete the rows that the keys find."""
        return await self.staging.move(driver, shape, self.staging.delete(), staged)
