"""What the database's catalogue knows about a statement that its text does not tell.

A connection goes back to its pool without a reset only if nothing that it ran can have changed
the session. The text of a statement proves that for built-in functions on a vetted list; for
the others, and for what hides behind a table's name (a trigger, a view, a policy), the
catalogue is asked: once per statement and database, not once per call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aurora_sql.drivers import DriverConnection
    from aurora_sql.statements import Statement

_DML = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"})

_SQL = """
WITH RECURSIVE touched AS (
    SELECT c.oid
    FROM pg_catalog.pg_class AS c
    WHERE c.relname = ANY($1::text[])
  UNION
    SELECT further.oid
    FROM touched AS t
    CROSS JOIN LATERAL (
        SELECT k.conrelid
        FROM pg_catalog.pg_constraint AS k
        WHERE $3 AND k.confrelid = t.oid AND k.contype = 'f'
          AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
      UNION ALL
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = t.oid
    ) AS further (oid)
)
SELECT
    EXISTS (
        SELECT
        FROM touched AS t
        JOIN pg_catalog.pg_class AS c ON c.oid = t.oid
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
          AND (c.relkind IN ('v', 'f') OR c.relrowsecurity OR c.relhasrules
               OR ($3 AND EXISTS (
                   SELECT FROM pg_catalog.pg_trigger AS g
                   WHERE g.tgrelid = c.oid AND NOT g.tgisinternal)))
    ) AS hidden_code,
    EXISTS (
        SELECT
        FROM pg_catalog.pg_proc AS p
        JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
        WHERE p.proname = ANY($2::text[])
          AND (p.provolatile = 'v' OR l.lanname NOT IN ('internal', 'c'))
    ) AS unsafe_function,
    EXISTS (
        SELECT
        FROM pg_catalog.pg_proc AS p
        WHERE p.proname = ANY($2::text[]) AND p.provolatile = 'v'
    ) AS volatile_function
"""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the catalogue says about one statement.

    Attributes:
        clean: Running it leaves the session as it was.
        volatile: It calls a function that may change data.
    """

    clean: bool
    volatile: bool


async def inspect(connection: DriverConnection, statement: Statement) -> Findings:
    """Ask the catalogue about a statement; nothing is asked where the text settles it.

    Names are compared without their schema: a namesake elsewhere can only make the answer
    more careful, never less.
    """
    if statement.session_clean:
        return Findings(clean=True, volatile=False)
    if statement.command not in _DML:
        return Findings(clean=False, volatile=True)
    functions = sorted({name.rpartition(".")[2] for name in statement.functions})
    prepared = await connection.prepare(_SQL)
    try:
        rows = await prepared.fetch(
            (sorted(statement.identifiers), functions, statement.command != "SELECT")
        )
    finally:
        if connection.is_settled and not connection.is_closed:
            await prepared.close()
    row = rows[0]
    return Findings(
        clean=not (row["hidden_code"] or row["unsafe_function"]), volatile=row["volatile_function"]
    )
