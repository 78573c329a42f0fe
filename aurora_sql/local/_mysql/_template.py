"""A database as a copy of another: MySQL has no templates, so what is in it is made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aurora_sql.local._mysql._setup import identifier, literal

if TYPE_CHECKING:
    from aurora_sql.local._mysql._session import Session

_GENERATED = ("VIRTUAL GENERATED", "STORED GENERATED", "PERSISTENT GENERATED")


async def copy_database(asked: Session, source: str, target: str) -> None:
    """Copy tables with their rows, then routines, views and triggers.

    Args:
        asked: A session of an administrator at the writer.
        source: Name of the database to copy.
        target: Name of the new one, which exists and is empty.

    Raises:
        DatabaseError: There is no such database, or something in it cannot be made anew.
    """
    await asked.execute(f"USE {identifier(source)}")
    tables = await _names(asked, source, "BASE TABLE")
    views = await _names(asked, source, "VIEW")
    made = [await _definition(asked, f"TABLE {identifier(name)}") for name in tables]
    await asked.execute(f"USE {identifier(target)}")
    # Foreign keys point at tables that come later, and rows at rows.
    await asked.execute("SET foreign_key_checks = 0")
    try:
        for name, sql in zip(tables, made, strict=True):
            await asked.execute(sql)
            await _copy_rows(asked, source, name)
        for kind in ("FUNCTION", "PROCEDURE"):
            await _copy_routines(asked, source, kind)
        for name in views:
            sql = await _definition(asked, f"VIEW {identifier(source)}.{identifier(name)}")
            # A view names the database of what it reads.
            await asked.execute(sql.replace(f"{identifier(source)}.", f"{identifier(target)}."))
        # Last: they must not see the rows that were copied.
        await _copy_triggers(asked, source)
    finally:
        await asked.execute("SET foreign_key_checks = 1")


async def _names(asked: Session, source: str, kind: str) -> list[str]:
    rows = await asked.rows(
        "SELECT table_name AS n FROM information_schema.tables "
        f"WHERE table_schema = {literal(source)} AND table_type = {literal(kind)} "
        "ORDER BY table_name"
    )
    return [str(row["n"]) for row in rows]


async def _definition(asked: Session, what: str) -> str:
    row = (await asked.rows(f"SHOW CREATE {what}"))[0]
    named = next(name for name in row if name.startswith(("Create ", "SQL Original")))
    return str(row[named])


async def _copy_rows(asked: Session, source: str, name: str) -> None:
    rows = await asked.rows(f"SHOW COLUMNS FROM {identifier(name)}")
    columns = ", ".join(
        identifier(row["Field"])
        for row in rows
        if not any(word in row["Extra"].upper() for word in _GENERATED)
    )
    table = identifier(name)
    await asked.execute(
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {identifier(source)}.{table}"
    )


async def _copy_routines(asked: Session, source: str, kind: str) -> None:
    rows = await asked.rows(
        "SELECT routine_name AS n FROM information_schema.routines "
        f"WHERE routine_schema = {literal(source)} AND routine_type = {literal(kind)}"
    )
    for row in rows:
        what = f"{kind} {identifier(source)}.{identifier(row['n'])}"
        await asked.execute(await _definition(asked, what))


async def _copy_triggers(asked: Session, source: str) -> None:
    # SHOW CREATE TRIGGER cannot be prepared.
    rows = await asked.rows(
        "SELECT trigger_name AS n, action_timing AS t, event_manipulation AS e, "
        "event_object_table AS o, action_statement AS s FROM information_schema.triggers "
        f"WHERE trigger_schema = {literal(source)} ORDER BY action_order"
    )
    for row in rows:
        await asked.execute(
            f"CREATE TRIGGER {identifier(row['n'])} {row['t']} {row['e']} "
            f"ON {identifier(row['o'])} FOR EACH ROW {row['s']}"
        )
