"""What the catalogue of MySQL or MariaDB knows about a statement that its text does not tell.

Stored functions, triggers and views can hold code that changes the session (``SET @x``,
``GET_LOCK()``) or data, and the servers enforce nothing of what a routine says of itself: a
statement that reaches one is unclean. ``information_schema`` shows only what the user may see;
where that is not enough to tell (no TRIGGER privilege on a table that is written, a view without
SHOW VIEW), the answer is the careful one.

What remains: ``LAST_INSERT_ID()``, ``ROW_COUNT()`` and ``FOUND_ROWS()`` may tell of the previous
borrower's statement, as ``lastval()`` does on PostgreSQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from aurora_sql.errors import StatementFileError
from aurora_sql.statements import Statement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aurora_sql.drivers import DriverConnection

_ROUNDS: Final = 8
"""How deep views may stand on views before the answer is the careful one."""

# A right that a role gives is not listed here; without it the user counts as having none.
_QUESTION: Final = Statement.from_sql(
    """
    SELECT 'routine' AS kind, LOWER(r.routine_name) AS name, r.sql_data_access AS detail
    FROM information_schema.routines AS r
    WHERE r.routine_type = 'FUNCTION' AND LOWER(r.routine_name) IN (:names)
  UNION ALL
    SELECT 'view', LOWER(v.table_name), v.view_definition
    FROM information_schema.views AS v
    WHERE LOWER(v.table_name) IN (:names)
  UNION ALL
    SELECT 'trigger', LOWER(g.event_object_table), ''
    FROM information_schema.triggers AS g
    WHERE LOWER(g.event_object_table) IN (:names)
  UNION ALL
    SELECT 'unseen', LOWER(t.table_name), ''
    FROM information_schema.tables AS t
    CROSS JOIN (
        SELECT CONCAT(
            '''', LEFT(CURRENT_USER(), CHAR_LENGTH(CURRENT_USER()) - 1
                - CHAR_LENGTH(SUBSTRING_INDEX(CURRENT_USER(), '@', -1))),
            '''@''', SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''') AS name
    ) AS me
    WHERE LOWER(t.table_name) IN (:names)
      AND t.table_type = 'BASE TABLE'
      AND t.table_schema NOT IN ('mysql', 'performance_schema', 'sys')
      AND NOT EXISTS (
          SELECT 1 FROM information_schema.user_privileges AS p
          WHERE p.grantee = me.name AND p.privilege_type = 'TRIGGER')
      AND NOT EXISTS (
          SELECT 1 FROM information_schema.schema_privileges AS p
          WHERE p.grantee = me.name AND p.privilege_type = 'TRIGGER'
            AND t.table_schema LIKE p.table_schema)
      AND NOT EXISTS (
          SELECT 1 FROM information_schema.table_privileges AS p
          WHERE p.grantee = me.name AND p.privilege_type = 'TRIGGER'
            AND p.table_schema = t.table_schema AND p.table_name = t.table_name)
    """,
    "mysql",
    name="<catalogue>",
)
_DECLARED_READS: Final = frozenset({"NO SQL", "READS SQL DATA"})


class Reach(NamedTuple):
    """What a statement reaches.

    Attributes:
        unclean: Something that may change the session.
        volatile: Something that may change data.
    """

    unclean: bool
    volatile: bool


_CAREFUL: Final = Reach(unclean=True, volatile=True)


async def reach(
    connection: DriverConnection,
    names: Iterable[str],
    functions: Iterable[str],
    *,
    changes: bool,
) -> Reach:
    """Follow the names in a statement's text through the catalogue.

    Names are compared without schema and case: a namesake elsewhere can only make the answer more
    careful, never less.

    Args:
        connection: Where to ask.
        names: Every name in the text, lower case.
        functions: The functions that are not vetted, without schema, lower case.
        changes: It may change rows, so that triggers run.
    """
    asked: set[str] = set()
    wanted = set(names).union(functions)
    # One that the catalogue does not show is loadable, or hidden: nothing is known of it.
    unclean = volatile = False
    doubtful = set(functions)
    for _ in range(_ROUNDS):
        rows = await _ask(connection, sorted(wanted))
        asked |= wanted
        wanted = set()
        for kind, name, detail in rows:
            if kind == "routine":
                doubtful.discard(name)
                unclean = True
                volatile = volatile or detail not in _DECLARED_READS
            elif kind == "view":
                view = _read_view(detail)
                if view is None:
                    return _CAREFUL
                wanted |= view.identifiers
                doubtful.update(each.rpartition(".")[2] for each in view.functions)
                volatile = volatile or view.proven_write
                unclean = unclean or view.command != "SELECT"
            else:
                unclean = unclean or changes
        wanted |= doubtful
        wanted -= asked
        if not wanted:
            return Reach(unclean or bool(doubtful), volatile or bool(doubtful))
    return _CAREFUL


async def _ask(connection: DriverConnection, names: list[str]) -> list[tuple[str, str, str]]:
    variant, args = _QUESTION.bind({"names": names})
    prepared = await connection.prepare(variant.sql)
    try:
        rows = await prepared.fetch(args)
    finally:
        if connection.is_settled and not connection.is_closed:
            await prepared.close()
    return [(row["kind"], row["name"], row["detail"] or "") for row in rows]


def _read_view(definition: str) -> Statement | None:
    """The query behind a view; None where the user may not see it, or it cannot be read."""
    if not definition:
        return None
    try:
        return Statement.from_sql(definition, "mysql", name="<view>")
    except StatementFileError:
        return None
