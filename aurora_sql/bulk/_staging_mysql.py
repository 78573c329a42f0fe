"""The staging table on MySQL and MariaDB: temporary, numbered rows, dropped by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aurora_sql.bulk._staging import Staging
from aurora_sql.errors import (
    DatabaseError,
    NotNullViolation,
    ProgrammingError,
    UniqueViolation,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.bulk._operation import Rows
    from aurora_sql.bulk._shape import Shape
    from aurora_sql.drivers import DriverConnection

_NUMBER: Final = "`aurora_sql_row`"
_ROWS: Final = "`aurora_sql_rows`"
_ANOTHER_ROW: Final = "1242"
"""A subquery returned more than one row: the upsert's way to stop, see :meth:`upsert`."""

# A key over a part of a column, or over an expression, does not make the column unique.
_UNIQUE: Final = """
SELECT COUNT(*) FROM (
    SELECT s.index_name AS name
    FROM information_schema.statistics AS s
    WHERE s.table_schema = {schema} AND s.table_name = {table} AND s.non_unique = 0
    GROUP BY s.index_name
    HAVING COUNT(*) = {count}
       AND SUM(s.sub_part IS NULL AND s.column_name IN ({names})) = {count}
) AS found
"""


class MysqlStaging(Staging):
    """Its rows have numbers, so that it can be asked which one is refused. See :class:`Staging`.

    Neither a rollback nor a savepoint removes a temporary table, and making one commits nothing
    (MySQL reference, "Statements That Cause an Implicit Commit").
    """

    @property
    def _stage(self) -> str:
        return f"`{self.name}`"

    def cleanup(self) -> tuple[str, ...]:
        """Drop it."""
        return (f"DROP TEMPORARY TABLE {self._stage}",) if self.exists else ()

    def remains(self) -> tuple[str, ...]:
        """Drop it if it is there."""
        return (f"DROP TEMPORARY TABLE IF EXISTS {self._stage}",)

    async def fill(self, driver: DriverConnection, shape: Shape, rows: Rows) -> int:
        """Make the table, load it, and ask it for keys that are missing or stand twice."""
        operation = self._operation
        words, keys = operation.words, operation.keys
        await operation.execute(
            driver,
            *self.remains(),
            # The outer join makes columns that take NULL: what is missing is told by its row.
            f"CREATE TEMPORARY TABLE {self._stage} ({_NUMBER} BIGINT NOT NULL AUTO_INCREMENT"
            f" PRIMARY KEY) ENGINE=InnoDB AS SELECT {words.quote_all(shape.columns, 't.')}"
            f" FROM (SELECT 1) AS one LEFT JOIN {operation.table} AS t ON FALSE LIMIT 0",
        )
        self.exists = True
        operation.round_trips += 1
        staged = await driver.copy_in((self.name,), shape.columns, rows)
        for key in keys:
            row = await self._row(driver, f"{_NUMBER}, {words.quote(key)} IS NULL AS bad")
            if row is not None:
                raise operation.without(row, key)
        if operation.unique:
            row = await self._row(
                driver,
                f"{_NUMBER}, ROW_NUMBER() OVER (PARTITION BY {words.quote_all(keys)}"
                f" ORDER BY {_NUMBER}) > 1 AS bad",
            )
            if row is not None:
                raise operation.twice(row)
        return staged

    async def _row(self, driver: DriverConnection, what: str) -> int | None:
        """Return the first row that is ``bad``, from 0; None where there is none."""
        number = await self._operation.ask(
            driver,
            f"SELECT COALESCE(MIN({_NUMBER}), 0) FROM (SELECT {what} FROM {self._stage}) AS s"
            " WHERE bad",
        )
        if not number:
            return None
        # The numbers rise and may leave some out.
        return await self._operation.ask(
            driver, f"SELECT COUNT(*) FROM {self._stage} WHERE {_NUMBER} < {number}"
        )

    async def move(
        self,
        driver: DriverConnection,
        shape: Shape,
        statement: str,
        staged: int,  # noqa: ARG002 - there is nothing to analyze
    ) -> int:
        """Run the statement; after a failure, which undoes it alone, say which row it was."""
        operation = self._operation
        operation.round_trips += 2
        prepared = await driver.prepare(statement)
        try:
            return await prepared.execute(())
        except NotNullViolation as error:
            column = error.column_name
            if column is None or column not in shape.columns:
                raise
            row = await self._row(
                driver, f"{_NUMBER}, {operation.words.quote(column)} IS NULL AS bad"
            )
            if row is None:
                raise
            raise operation.missing(row, column, error) from error
        finally:
            if driver.is_settled and not driver.is_closed:
                await prepared.close()

    async def upsert(
        self, driver: DriverConnection, shape: Shape, changes: Sequence[str], staged: int
    ) -> int:
        """INSERT … ON DUPLICATE KEY UPDATE, which goes by every unique key of the table.

        A row that meets another one by a key that is not meant must not change it: the first
        assignment keeps the row's own key, or asks for one value of two, which is an error.
        """
        operation = self._operation
        words, keys = operation.words, operation.keys
        await self._check_unique(driver)
        target = operation.table
        first = words.quote(keys[0])
        # The target has no other name here, and may be called s.
        same = " AND ".join(f"{target}.{one} <=> {_ROWS}.{one}" for one in map(words.quote, keys))
        two_values = f"(SELECT {_ROWS}.{first} UNION ALL SELECT {_ROWS}.{first})"
        sets = [
            f"{target}.{first} = IF({same}, {target}.{first}, {two_values})",
            *(f"{target}.{one} = {_ROWS}.{one}" for one in map(words.quote, changes)),
        ]
        there = 0
        if not changes:
            there = await operation.ask(
                driver,
                f"SELECT COUNT(*) FROM {self._stage} AS s STRAIGHT_JOIN {target} AS t"
                f" ON {self.joined()}",
            )
        try:
            await self.move(
                driver,
                shape,
                f"INSERT INTO {target} ({words.quote_all(shape.columns)})"
                f" SELECT {words.quote_all(shape.columns, f'{_ROWS}.')}"
                f" FROM {self._stage} AS {_ROWS} ORDER BY {words.quote_all(keys, f'{_ROWS}.')}"
                f" ON DUPLICATE KEY UPDATE {', '.join(sets)}",
                staged,
            )
        except DatabaseError as error:
            if error.code != _ANOTHER_ROW:
                raise
            raise UniqueViolation(
                f"{operation.what}: a row has the {', '.join(keys)} of one row and another unique"
                " key of another row",
                code="1062",
            ) from error
        # The server counts a changed row twice.
        return staged - there

    async def _check_unique(self, driver: DriverConnection) -> None:
        operation = self._operation
        *schema, table = operation.parts
        found = await operation.ask(
            driver,
            _UNIQUE.format(
                schema=_literal(schema[0]) if schema else "DATABASE()",
                table=_literal(table),
                names=", ".join(map(_literal, operation.keys)),
                count=len(operation.keys),
            ),
        )
        if not found:
            raise ProgrammingError(
                f"{operation.what}: the table has no unique key of exactly"
                f" {', '.join(operation.keys)}",
                code="1176",
            )

    def update(self, shape: Shape) -> str:
        """UPDATE … JOIN, by the staged rows in their order."""
        words, keys = self._operation.words, self._operation.keys
        changes = ", ".join(
            f"t.{words.quote(name)} = s.{words.quote(name)}"
            for name in shape.columns
            if name not in keys
        )
        return (
            f"UPDATE {self._source()} STRAIGHT_JOIN {self._operation.table} AS t"
            f" ON {self.joined()} SET {changes}"
        )

    def delete(self) -> str:
        """DELETE … JOIN, the same way."""
        return (
            f"DELETE t FROM {self._source()} STRAIGHT_JOIN {self._operation.table} AS t"
            f" ON {self.joined()}"
        )

    def _source(self) -> str:
        # In an order that all operations on a table share: two that wait for each other's rows
        # lock them in the same order then. A LIMIT keeps the server from dropping it.
        keys = self._operation.words.quote_all(self._operation.keys)
        return f"(SELECT * FROM {self._stage} ORDER BY {keys} LIMIT 18446744073709551615) AS s"


def _literal(text: str) -> str:
    """Write a name as a text that has no quote to escape."""
    return "_utf8mb4 0x" + text.encode().hex()
