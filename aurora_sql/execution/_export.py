"""``fetch_arrow`` and ``export_csv``: a read whose rows leave as a table or as a file.

On PostgreSQL they come as the text of a COPY, which needs no work per row; MySQL has none, and rows
come from a cursor.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import UsageError
from aurora_sql.execution._flow import BareRows, CopiedText
from aurora_sql.export import CsvRows, new_table, target_of
from aurora_sql.types import Cardinality

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aurora_sql.execution._namespace import Runner
    from aurora_sql.export import CsvTarget, Target
    from aurora_sql.statements import Statement

_BATCH = 1000
"""Rows that are turned into text or columns together, where there is no COPY."""

_ROWLESS = {Cardinality.EXEC, Cardinality.AFFECTED, Cardinality.BATCH, Cardinality.SCRIPT}


async def fetch_arrow(runner: Runner, statement: Statement, params: dict[str, Any]) -> Any:
    """Return the rows of a read as an Arrow table.

    Raises:
        UsageError: It is no read with rows; nothing was sent.
        ConfigurationError: pyarrow or numpy is not installed; nothing was sent.
        RowValidationError: A value has no form in Arrow.
    """
    what = f"{statement.where}: fetch_arrow"
    copied = _check(statement, what)
    table = new_table(what, copied=copied)
    flow = CopiedText(header=False) if copied else BareRows(_BATCH)
    async with aclosing(runner.pieces(statement, params, flow)) as pieces:
        async for piece in pieces:
            await table.take(flow.columns, piece)
    return await table.finish(flow.columns)


async def export_csv(
    runner: Runner, statement: Statement, params: dict[str, Any], target: CsvTarget, *, header: bool
) -> int:
    """Write the rows of a read as CSV, and return how many there were.

    Raises:
        UsageError: It is no read with rows, or the target is none; nothing was sent.
    """
    what = f"{statement.where}: export_csv"
    copied = _check(statement, what)
    flow = CopiedText(header=header) if copied else BareRows(_BATCH)
    opened, pieces = target_of(target, what), runner.pieces(statement, params, flow)
    # The connection is given back first: the disk may be what is slow.
    async with opened as out, aclosing(pieces):
        if isinstance(flow, CopiedText):
            async for piece in pieces:
                await out.write(piece)
            return flow.rows
        return await _write_rows(pieces, flow, out, header=header)


async def _write_rows(
    pieces: AsyncGenerator[Any, None], flow: BareRows, out: Target, *, header: bool
) -> int:
    lines: CsvRows | None = None
    count = 0
    async for rows in pieces:
        if lines is None:
            lines = CsvRows(flow.columns)
            if header:
                await out.write(lines.header())
        await out.write(lines.lines(rows))
        count += len(rows)
    if lines is None and header:
        await out.write(CsvRows(flow.columns).header())
    return count


def _check(statement: Statement, what: str) -> bool:
    """Refuse what is no read with rows; return whether its rows come by COPY."""
    if statement.cardinality in _ROWLESS:
        raise UsageError(
            f"{what}() takes a statement with rows, and this one is marked"
            f" :{statement.cardinality.value}; make it a :many"
        )
    # A function that nobody knows makes it no write here: the transaction is read-only.
    if statement.proven_write:
        raise UsageError(
            f"{what}() only reads, and this statement writes; run it first and export what a"
            " SELECT finds, or take its rows from stream(). Where it is a function that makes it a"
            " write, and it is none, say so in a file: -- access: read"
        )
    copied = statement.dialect == "postgresql"
    if copied and statement.command != "SELECT":
        raise UsageError(
            f"{what}() goes by COPY, which takes a SELECT, VALUES or TABLE; call the statement for"
            " its rows"
        )
    return copied
