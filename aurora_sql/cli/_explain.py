"""``aurora-sql explain``: what runs for a statement, and the server's plan."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
import typer

from aurora_sql.types import Cardinality, Engine

from ._settings import SECTION, SectionOption, SettingsOption, UrlOption, read_settings

if TYPE_CHECKING:
    from aurora_sql.execution import Explanation
    from aurora_sql.settings import AuroraSettings
    from aurora_sql.statements import StatementRegistry

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_FIGURES: Final = r"\((cost|actual)[^()]*\)"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(name="explain")(explain)


def explain(
    name: Annotated[str, typer.Argument(help="Name of the statement, such as users.get_by_email.")],
    *,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A parameter; once for each. null is NULL, [1, 2] a list, and what stands in "
            "double quotes text, whatever it looks like.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    sql: Annotated[Path, typer.Option("--sql", help="Folder of the SQL files.")] = Path("sql"),
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Run it, and tell how long it took. For reads only.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    settings: SettingsOption = None,
    section: SectionOption = SECTION,
    url: UrlOption = None,
) -> None:
    """Show what runs for a statement, and the server's plan. Nothing is run."""
    from aurora_sql.statements import StatementRegistry  # noqa: PLC0415 - start-up time

    given = _named(values or [])
    chosen = read_settings(settings, section, url)
    registry = StatementRegistry.load(sql, dialect=chosen.engine.value)
    params = {key: read_value(text, chosen.engine) for key, text in given.items()}
    statement = registry[name]
    if statement.cardinality is not Cardinality.SCRIPT:
        statement.bind(params)  # what is wrong with them is told before anything is opened
    found = asyncio.run(_ask(chosen, registry, name, params, analyze=analyze))
    if as_json:
        shown = {**dataclasses.asdict(found), "path": found.path and str(found.path)}
        typer.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2))
    else:
        _present(found)


async def _ask(
    settings: AuroraSettings,
    registry: StatementRegistry,
    name: str,
    params: dict[str, Any],
    *,
    analyze: bool,
) -> Explanation:
    from aurora_sql.database import Aurora  # noqa: PLC0415 - start-up time

    async with Aurora(settings.replace({"min_pool_size": 1}), sql=registry) as db:
        found: Explanation = await db.sql[name].explain(analyze=analyze, **params)
        return found


def _named(values: list[str]) -> dict[str, str]:
    """Take names and values apart.

    Raises:
        BadParameter: One has no name, or a name stands twice.
    """
    named: dict[str, str] = {}
    for one in values:
        name, sign, value = one.partition("=")
        if not sign or not name:
            raise typer.BadParameter(f"{one!r} is not NAME=VALUE", param_hint="--set")
        if name in named:
            raise typer.BadParameter(f"{name} is given twice", param_hint="--set")
        named[name] = value
    return named


def read_value(text: str, engine: Engine) -> Any:
    """Make a value of what was written.

    PostgreSQL turns text into what the parameter takes. MySQL takes what comes: numbers, ``true``,
    dates and times stand for themselves there.

    Args:
        text: What was written.
        engine: Who takes it.
    """
    from aurora_sql.execution import UncastText  # noqa: PLC0415 - start-up time

    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = text
    if value is None:
        return None
    is_quoted = isinstance(value, str) and value is not text
    if engine is Engine.POSTGRESQL:
        return UncastText(value if is_quoted else text)
    if is_quoted or not isinstance(value, str | dict):
        return value
    return _date(text)


def _date(text: str) -> Any:
    if _DATE.match(text) is None:
        return text
    try:
        if len(text) == len("2024-01-31"):
            return dt.date.fromisoformat(text)
        return dt.datetime.fromisoformat(text)
    except ValueError:
        return text


def _present(found: Explanation) -> None:
    from rich.console import Console  # noqa: PLC0415 - start-up time
    from rich.syntax import Syntax  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    console = Console(highlight=False, soft_wrap=True)
    console.print(Text.assemble((found.name, "bold"), "  ", (found.place, "dim")))
    for heading, kind, lines in found.sections():
        console.print()
        console.print(Text(heading, style="bold cyan"))
        text = Text("\n".join(lines))
        if kind == "sql":
            text = Syntax("", found.dialect, theme="ansi_dark").highlight(text.plain)
            text.rstrip()
        elif kind == "plan":
            text.highlight_regex(_FIGURES, "dim")
        for line in text.split("\n"):
            console.print(Text("  ").append_text(line))
