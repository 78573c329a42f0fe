"""``explain()``: the server is asked for its plan of what runs, and nothing is run.

A server may run functions while it plans (PostgreSQL those that call themselves stable, MariaDB
those in a derived table), whatever they do. So it is asked in a transaction that is rolled back,
and that only reads where the statement does.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aurora_sql.drivers import Begin
from aurora_sql.errors import AuroraError, ReadOnlyInstance, UsageError
from aurora_sql.execution._attempts import Attempts, Trace, attempts_of, explained
from aurora_sql.execution._explanation import Explanation, aligned
from aurora_sql.execution._group import MOST_CHARACTERS, are_flat, characters
from aurora_sql.execution._prepare import entry_for, forget_stale
from aurora_sql.execution._uncast import cast_texts
from aurora_sql.execution._watch import Watch, call_limit, roll_back
from aurora_sql.taxonomy import Unit
from aurora_sql.types import Access, Cardinality, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.drivers import DriverConnection
    from aurora_sql.execution._coalesce import Coalescer
    from aurora_sql.execution._context import Context
    from aurora_sql.execution._forms import Forms
    from aurora_sql.execution._pool_runner import PoolRunner
    from aurora_sql.pool import Pooled
    from aurora_sql.statements import Statement, Variant

_CALLERS: Final = {"postgresql": 10, "mysql": 2}
"""Calls that the plan for many is made for. PostgreSQL takes an array that it does not know for ten
values, and keeps such a plan; on MySQL the text grows with each."""

_WITH_TREES: Final = (8, 0, 18)
"""MySQL's first version with EXPLAIN ANALYZE, and with all of FORMAT=TREE that is used here."""

_NO_TREE: Final = "<not executable by iterator executor>"
"""MySQL's plan as a tree for what it runs in another way, such as an UPDATE of one table."""


def refuse(statement: Statement, *, analyze: bool) -> None:
    """Refuse what cannot be explained, before anything is sent.

    Raises:
        UsageError: It has no plan, or would have to write for one.
    """
    if statement.cardinality is Cardinality.SCRIPT:
        raise UsageError(
            f"{statement.where}: a :script has several statements, and each has its own plan;"
            " explain them one by one"
        )
    if statement.command == "OTHER":
        raise UsageError(
            f"{statement.where}: the server plans SELECT, INSERT, UPDATE, DELETE and their kin only"
        )
    # Of a function that is not known the catalogue will tell more.
    proven = statement.proven_write or statement.access_declared
    if analyze and proven and statement.access is Access.WRITE:
        raise _would_write(statement)


def _would_write(statement: Statement) -> UsageError:
    return UsageError(
        f"{statement.where}: the server would run what may write (with analyze, all of the"
        " statement); let it do so by hand, with EXPLAIN in a transaction that you roll back"
    )


async def explain_leased(
    context: Context,
    runner: PoolRunner,
    coalescer: Coalescer | None,
    statement: Statement,
    params: dict[str, Any],
    *,
    analyze: bool,
) -> Explanation:
    """Explain a statement on a lease of the pools, where it would run.

    Args:
        context: What all calls share.
        runner: Leases connections.
        coalescer: Where calls travel together; None where each goes alone.
        statement: The statement.
        params: Its parameters.
        analyze: Run it, and tell how long it took.
    """
    refuse(statement, analyze=analyze)
    variant, args = statement.bind(params)
    limit = call_limit(context, statement.timeout)
    # A write belongs to the writer; that it is no write this time is what a session has to know.
    role = Role.WRITER if statement.access is Access.WRITE else None
    routed = replace(statement, access=Access.READ, role=statement.role or role)
    begin = Begin(read_only=analyze or statement.access is Access.READ)
    attempts: Attempts | None = None
    while True:
        trace = Trace()
        try:
            with explained(context, statement, variant, args):
                forms, apart = await _forms(coalescer, statement, variant)
            async with runner.lease(routed, trace=trace) as (pooled, until):
                try:
                    with Watch(context, pooled, until, what=statement.where, write_sent=False):
                        await pooled.driver.begin(begin)
                    found = await explain_on(
                        context, pooled, variant, args, until, analyze=analyze, forms=forms
                    )
                finally:
                    with suppress(AuroraError):  # nothing of it was to stay
                        await roll_back(context, pooled)
        except AuroraError as error:
            if begin.read_only and isinstance(error, ReadOnlyInstance) and not error.on_reader:
                # No failover: the transaction was made so, and something that it calls writes.
                raise _would_write(statement) from error
            if attempts is None:
                attempts = attempts_of(context, statement)
            await attempts.again(error, Unit.STATEMENT, Access.READ, limit)
        else:
            return replace(found, instance=trace.instance, apart=found.apart or apart)


async def _forms(
    coalescer: Coalescer | None, statement: Statement, variant: Variant
) -> tuple[Forms | None, str]:
    """What runs for many callers, and why calls go alone in spite of it."""
    if not statement.coalesce:
        return None, ""
    if coalescer is None:
        return None, "In a session no call waits for others."
    if not variant.parameters:
        return None, "Without a parameter there is nothing to tell the calls apart."
    group = await coalescer.group(statement, variant)
    resting = "The last batches were not worth it: calls go alone for up to a minute."
    return group.forms, resting if group.resting else ""


async def explain_on(
    context: Context,
    pooled: Pooled,
    variant: Variant,
    args: Sequence[Any],
    limit: float,
    *,
    analyze: bool,
    forms: Forms | None = None,
) -> Explanation:
    """Explain a variant, and its form for many callers, in the open transaction of a connection.

    Args:
        context: What all calls share.
        pooled: The connection.
        variant: The text.
        args: Its values.
        limit: The call's deadline, as loop time.
        analyze: Run it, and tell how long it took.
        forms: What runs for many callers.

    Returns:
        All but the instance.
    """
    statement, driver = variant.statement, pooled.driver
    entry = None
    try:
        with (
            explained(context, statement, variant, args),
            Watch(context, pooled, limit, what=statement.where, write_sent=False),
        ):
            entry = await entry_for(context, pooled, statement, variant)
            pooled.dirty |= not entry.clean
            if analyze and entry.access is Access.WRITE:
                raise _would_write(statement)
            parameters = entry.prepared.parameters
            args = await cast_texts(driver, variant, parameters, args)
            plan = await _ask(driver, variant, args, analyze=analyze)
    except AuroraError as error:
        forget_stale(pooled, variant, entry, error)
        raise
    types = tuple(one.type_name for one in parameters)
    found = Explanation(
        name=statement.name,
        path=statement.path,
        line=statement.line,
        dialect=statement.dialect,
        instance="",
        access=statement.access,
        sql=variant.sql,
        parameters=variant.parameters,
        types=() if driver.is_mariadb else types,
        plan=plan,
        analyzed=analyze,
    )
    if forms is None:
        return found
    posed = _posed(forms, args)
    if posed is None:
        return replace(found, apart="These values go alone: they are long, or may be lists.")
    wide, values, callers = posed
    with (
        explained(context, wide.statement, wide, values),
        Watch(context, pooled, limit, what=statement.where, write_sent=False),
    ):
        plan = await _ask(driver, wide, values, analyze=analyze)
    return replace(found, together=(wide.sql,), together_plan=plan, callers=callers)


def _posed(forms: Forms, args: Sequence[Any]) -> tuple[Variant, Sequence[Any], int] | None:
    """The text for many callers with these values, its values, and how many callers they are."""
    statement = forms.variant.statement
    is_read = statement.command == "SELECT"
    callers = _CALLERS[statement.dialect]
    sets = [args] * callers
    columns = list(zip(*sets, strict=True))
    if characters([args]) > MOST_CHARACTERS or (is_read and not are_flat(columns)):
        return None
    if not is_read and forms.rows is None:
        variant, runs = forms.pose_write(sets, columns)
        return variant, runs[0], callers if len(runs) == 1 else 1
    posed = forms.pose(sets, columns)
    if posed is None:
        return None
    wide, params = posed
    return *wide.bind(params), callers


async def _ask(
    driver: DriverConnection, variant: Variant, args: Sequence[Any], *, analyze: bool
) -> tuple[str, ...]:
    """The server's plan of a text, by line."""
    before = _before(driver, variant.statement, analyze=analyze)
    columns, rows = await _once(driver, before, variant.sql, args)
    if rows and _NO_TREE in str(rows[0][0]):
        columns, rows = await _once(driver, "EXPLAIN FORMAT=TRADITIONAL ", variant.sql, args)
    if len(columns) == 1:
        return tuple(line for (text,) in rows for line in text.splitlines())
    return tabular(columns, rows)


async def _once(
    driver: DriverConnection, before: str, sql: str, args: Sequence[Any]
) -> tuple[list[str], list[Any]]:
    """Run a text that is not kept; the names of its columns, and its rows."""
    prepared = await driver.prepare(before + sql)
    try:
        rows = await prepared.fetch(args)
        return [column.name for column in prepared.columns], rows
    finally:
        if driver.is_settled and not driver.is_closed:
            await prepared.close()


def _before(driver: DriverConnection, statement: Statement, *, analyze: bool) -> str:
    """What goes in front of a statement to explain it.

    Raises:
        UsageError: The server has no such thing.
    """
    if statement.dialect == "postgresql":
        # The brackets also tell it that those of the statement are no options.
        return f"EXPLAIN ({'ANALYZE, BUFFERS, ' if analyze else ''}FORMAT TEXT) "
    if driver.is_mariadb:
        return "ANALYZE " if analyze else "EXPLAIN "
    if driver.server_version >= _WITH_TREES:
        return "EXPLAIN ANALYZE " if analyze else "EXPLAIN FORMAT=TREE "
    if analyze:
        raise UsageError(f"{statement.where}: MySQL has EXPLAIN ANALYZE from 8.0.18 on")
    return "EXPLAIN "


def tabular(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """A result as lines, without the columns that are empty in all rows."""
    shown = [
        at
        for at, _ in enumerate(columns)
        if any(row[at] is not None and row[at] != "" for row in rows)
    ]
    lines = [columns, *rows]
    return aligned([[line[at] for at in shown] for line in lines])
