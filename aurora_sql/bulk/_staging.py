"""Staging tables: where rows wait for the one statement that moves them."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.bulk._operation import Rows
    from aurora_sql.bulk._operations import Staged
    from aurora_sql.bulk._shape import Shape
    from aurora_sql.drivers import DriverConnection


class Staging(ABC):
    """A staging table with the target's types, in the words of one engine.

    It refuses NULL in a key and, where it would be left to chance which row wins, two rows with one
    key, and names the row.

    Args:
        operation: Whose rows wait in it.
        in_transaction: It is made in the caller's transaction.
    """

    def __init__(self, operation: Staged, *, in_transaction: bool) -> None:
        # In the caller's transaction it must not meet a table of the caller's. In one of our own
        # the name is always the same, so that the server's statistics of statements stay few.
        mark = f"_{secrets.token_hex(6)}" if in_transaction else ""
        self.name = f"aurora_sql_stage{mark}"
        self._operation = operation
        self.exists = False

    @abstractmethod
    def cleanup(self) -> tuple[str, ...]:
        """Return commands that remove it after the rows were moved."""

    def remains(self) -> tuple[str, ...]:
        """Return commands that remove what going back to a savepoint has left."""
        return ()

    @abstractmethod
    async def fill(self, driver: DriverConnection, shape: Shape, rows: Rows) -> int:
        """Make the table, load the rows and check the keys; how many rows there are.

        Raises:
            BulkValueError: A key is NULL, or stands twice.
        """

    @abstractmethod
    async def move(
        self, driver: DriverConnection, shape: Shape, statement: str, staged: int
    ) -> int:
        """Run the statement that moves the staged rows; how many rows it affected.

        Args:
            driver: The connection.
            shape: What the rows are like.
            statement: The statement.
            staged: How many rows are staged.
        """

    @abstractmethod
    async def upsert(
        self, driver: DriverConnection, shape: Shape, changes: Sequence[str], staged: int
    ) -> int:
        """Insert the rows, or change those that are there; how many were inserted or changed.

        Args:
            driver: The connection.
            shape: What the rows are like.
            changes: Columns to change; none to leave rows that are there as they are.
            staged: How many rows are staged.

        Raises:
            ProgrammingError: No unique key has exactly the columns that find a row.
        """

    @abstractmethod
    def update(self, shape: Shape) -> str:
        """Return the statement that updates the rows that the keys find."""

    @abstractmethod
    def delete(self) -> str:
        """Return the statement that deletes the rows that the keys find."""

    def joined(self) -> str:
        """Return the condition that joins target ``t`` and stage ``s``."""
        quote = self._operation.words.quote
        return " AND ".join(f"t.{quote(key)} = s.{quote(key)}" for key in self._operation.keys)
