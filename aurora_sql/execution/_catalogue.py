"""What the database's catalogue knows about a statement that its text does not tell.

A connection goes back to its pool without a reset only if nothing that it ran can have changed
the session, and a statement is sent again after a loss only if it writes nothing. The text of a
statement proves that for built-in functions on a vetted list; for the others, and for what hides
behind a name or a sign (a trigger, a view, a policy, a default, an operator or a cast of the
user's), the catalogue is asked: once per statement and database, not once per call.

What remains: ``lastval()`` and ``currval()`` may tell of the previous borrower's INSERT into a
table with a serial column. A reset after each such INSERT would cost more than that secret is
worth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aurora_sql.execution._catalogue_mysql import reach
from aurora_sql.types import Access

if TYPE_CHECKING:
    from aurora_sql.drivers import DriverConnection
    from aurora_sql.statements import Statement, Variant

_DML = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"})

# $1 every name in the text, $2 the functions that are not vetted, $3 whether it may change rows,
# $4 the text.
_SQL = r"""
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
      UNION ALL
        SELECT d.refobjid
        FROM pg_catalog.pg_rewrite AS r
        JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass
            AND d.objid = r.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass
        WHERE r.ev_class = t.oid
    ) AS further (oid)
),
-- Code of the user's that can do anything, whatever it says of itself.
routine AS MATERIALIZED (
    SELECT p.oid, p.proname, p.provolatile = 'v' AS volatile
    FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
    WHERE p.pronamespace <> 'pg_catalog'::regnamespace
      AND p.prokind <> 'a'
      AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
      AND (l.lanname NOT IN ('internal', 'c')
           OR p.provolatile = 'v' AND NOT p.proname ~ '^(uuid_generate_|gen_random_|gen_salt$)')
),
suspect AS MATERIALIZED (
    SELECT oid, proname, volatile FROM routine
  UNION ALL
    SELECT p.oid, p.proname, r.volatile
    FROM pg_catalog.pg_aggregate AS a
    JOIN pg_catalog.pg_proc AS p ON p.oid = a.aggfnoid
    JOIN routine AS r ON r.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn,
        a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
    WHERE p.pronamespace <> 'pg_catalog'::regnamespace
),
named_type AS (
    SELECT y.oid, y.typbasetype, y.typelem FROM pg_catalog.pg_type AS y
    WHERE y.typname = ANY($1::text[])
       OR y.oid IN (SELECT a.atttypid FROM pg_catalog.pg_attribute AS a
                    JOIN touched AS t ON t.oid = a.attrelid WHERE a.attnum > 0)
),
in_play AS MATERIALIZED (
    SELECT oid FROM named_type
    UNION SELECT typbasetype FROM named_type WHERE typbasetype <> 0
    UNION SELECT typelem FROM named_type WHERE typelem <> 0
),
-- What runs unasked: defaults, generated columns, checks and index expressions of a write, checks
-- of domains, and the queries behind views.
attached (classid, objid) AS (
    SELECT 'pg_catalog.pg_attrdef'::regclass, d.oid
    FROM pg_catalog.pg_attrdef AS d JOIN touched AS t ON t.oid = d.adrelid WHERE $3
  UNION ALL
    SELECT 'pg_catalog.pg_constraint'::regclass, k.oid
    FROM pg_catalog.pg_constraint AS k JOIN touched AS t ON t.oid = k.conrelid
    WHERE $3 AND k.contype = 'c'
  UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, i.indexrelid
    FROM pg_catalog.pg_index AS i JOIN touched AS t ON t.oid = i.indrelid WHERE $3
  UNION ALL
    SELECT 'pg_catalog.pg_constraint'::regclass, k.oid
    FROM pg_catalog.pg_constraint AS k JOIN in_play AS y ON y.oid = k.contypid
  UNION ALL
    SELECT 'pg_catalog.pg_rewrite'::regclass, r.oid
    FROM pg_catalog.pg_rewrite AS r JOIN touched AS t ON t.oid = r.ev_class
),
used (classid, oid) AS (
    SELECT d.refclassid, d.refobjid
    FROM attached AS a
    JOIN pg_catalog.pg_depend AS d ON d.classid = a.classid AND d.objid = a.objid
),
reached (oid) AS (
    SELECT oid FROM suspect WHERE proname = ANY($1::text[])
  UNION ALL
    SELECT oid FROM used WHERE classid = 'pg_catalog.pg_proc'::regclass
  UNION ALL
    SELECT o.oprcode
    FROM pg_catalog.pg_operator AS o
    WHERE o.oprnamespace <> 'pg_catalog'::regnamespace
      AND (position(o.oprname::text IN $4) > 0
           OR o.oid IN (SELECT oid FROM used WHERE classid = 'pg_catalog.pg_operator'::regclass))
  UNION ALL
    SELECT k.castfunc
    FROM pg_catalog.pg_cast AS k
    WHERE (k.castsource IN (SELECT oid FROM in_play) OR k.casttarget IN (SELECT oid FROM in_play))
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_type AS y
          WHERE y.oid IN (k.castsource, k.casttarget)
            AND y.typnamespace <> 'pg_catalog'::regnamespace
            AND y.oid NOT IN (SELECT oid FROM in_play))
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
           -- UPDATE pg_settings is SET in disguise.
           OR $3 AND EXISTS (
               SELECT FROM pg_catalog.pg_rewrite AS r
               WHERE r.ev_class = c.oid AND r.ev_type <> '1')
    )
    OR EXISTS (
        SELECT
        FROM pg_catalog.pg_attrdef AS d
        JOIN touched AS t ON t.oid = d.adrelid
        WHERE $3 AND pg_catalog.pg_get_expr(d.adbin, d.adrelid)
            ~ '\m(set_config|setseed|pg_(try_)?advisory_\w+)\s*\('
    )
    OR EXISTS (SELECT FROM reached JOIN suspect USING (oid))
    OR EXISTS (
        SELECT
        FROM pg_catalog.pg_proc AS p
        JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
        WHERE p.proname = ANY($2::text[])
          AND (p.provolatile = 'v' OR l.lanname NOT IN ('internal', 'c'))
          AND NOT (l.lanname = 'c'
                   AND p.proname ~ '^(uuid_generate_|gen_random_|gen_salt$)')
    ) AS unclean,
    EXISTS (
        SELECT FROM pg_catalog.pg_proc AS p
        WHERE p.proname = ANY($2::text[]) AND p.provolatile = 'v'
    )
    OR EXISTS (SELECT FROM reached JOIN suspect USING (oid) WHERE volatile) AS volatile
"""

# A name that is called, also one that the grammar knows (a user may overload left()).
_CALLED = re.compile(r'([^\W\d][\w$]*)"?\s*\(')
_LOCKING = re.compile(r"\bfor\s+(?:no\s+key\s+)?update\b")
_CHANGING = re.compile(r"\b(?:insert|update|delete|merge)\b")


@dataclass(frozen=True, slots=True)
class Findings:
    """What the catalogue says about one statement.

    Attributes:
        clean: Running it leaves the session as it was.
        volatile: It calls a function that may change data.
    """

    clean: bool
    volatile: bool


async def inspect(connection: DriverConnection, statement: Statement, variant: Variant) -> Findings:
    """Ask the catalogue about a statement; nothing is asked where the text settles it.

    Names are compared without their schema: a namesake elsewhere can only make the answer
    more careful, never less.
    """
    promised = statement.session_clean
    if statement.dialect == "mysql":
        return await _inspect_mysql(connection, statement)
    if statement.command not in _DML:
        return Findings(clean=promised, volatile=True)
    text = variant.sql.lower()
    if 'u&"' in text:  # an escaped name can be any name
        return Findings(clean=promised, volatile=True)
    functions = sorted({name.rpartition(".")[2] for name in statement.functions})
    names = sorted(statement.identifiers.union(_CALLED.findall(text)))
    changes = statement.command != "SELECT" or bool(_CHANGING.search(_LOCKING.sub("", text)))
    prepared = await connection.prepare(_SQL)
    try:
        rows = await prepared.fetch((names, functions, changes, variant.sql))
    finally:
        if connection.is_settled and not connection.is_closed:
            await prepared.close()
    row = rows[0]
    # `session: clean` is a promise about the session, not about what is written.
    return Findings(clean=promised or not row["unclean"], volatile=row["volatile"])


async def _inspect_mysql(connection: DriverConnection, statement: Statement) -> Findings:
    promised = statement.session_clean
    shows = statement.access is Access.READ and not statement.access_declared
    if statement.command == "OTHER" and not shows:
        return Findings(clean=promised, volatile=True)
    functions = {name.rpartition(".")[2] for name in statement.functions}
    # SELECT … FOR UPDATE is a write, yet no trigger runs.
    changes = statement.command not in ("SELECT", "OTHER")
    found = await reach(connection, statement.identifiers, functions, changes=changes)
    return Findings(clean=promised or not found.unclean, volatile=found.volatile)
