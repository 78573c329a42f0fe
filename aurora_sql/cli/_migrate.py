"""``aurora-sql migrate``: new, apply, rollback, list, script."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from aurora_sql import migrations
from aurora_sql.types import Engine

from ._settings import SECTION, SectionOption, SettingsOption, UrlOption, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.migrations import AppliedMigration, MigrationStatus

FOLDERS: Final = {engine: Path("migrations") / engine.value for engine in Engine}

app = typer.Typer(help="Change the schema, on the writer.", no_args_is_help=True)

FolderOption = Annotated[
    Path | None,
    typer.Option("--folder", "-f", help="Folder of the migrations. Default migrations/ENGINE."),
]
EngineOption = Annotated[Engine, typer.Option("--engine", help="Whose SQL to write.")]
UnfinishedOption = Annotated[
    migrations.Unfinished | None,
    typer.Option(
        "--unfinished",
        help="MySQL: go on with a migration that stopped half way, or run it from its beginning.",
    ),
]
ToOption = Annotated[
    str | None,
    typer.Option("--to", help="The last one: its id, or how only its id begins.", metavar="ID"),
]
LockOption = Annotated[
    float,
    typer.Option(
        "--lock-timeout", help="Seconds to wait for another run, or a table's lock.", min=0.001
    ),
]


@app.command()
def new(
    message: Annotated[str, typer.Argument(help="What it does, in a few words.")],
    folder: FolderOption = None,
    python: Annotated[
        bool, typer.Option("--python", help="Make a Python file, not SQL files.")
    ] = False,
    commit_markers: Annotated[
        bool,
        typer.Option("--commit-markers", help="With the table that transactions are verified by."),
    ] = False,
    engine: EngineOption = Engine.POSTGRESQL,
) -> None:
    """Make the files of a new migration."""
    made = migrations.new(
        folder or FOLDERS[engine],
        message,
        python=python,
        commit_markers=commit_markers,
        engine=engine,
    )
    for path in made:
        typer.echo(path)


@app.command()
def apply(
    *,
    folder: FolderOption = None,
    to: ToOption = None,
    lock_timeout: LockOption = 10.0,
    unfinished: UnfinishedOption = None,
    settings: SettingsOption = None,
    section: SectionOption = SECTION,
    url: UrlOption = None,
) -> None:
    """Apply what is pending."""
    chosen = read_settings(settings, section, url)
    done = asyncio.run(
        migrations.apply(
            chosen,
            folder or FOLDERS[chosen.engine],
            to=to,
            progress=_say("applied"),
            lock_timeout=lock_timeout,
            unfinished=unfinished,
        )
    )
    typer.echo(f"{len(done)} applied" if done else "Nothing to apply")


@app.command()
def rollback(
    *,
    folder: FolderOption = None,
    count: Annotated[int, typer.Option("--count", "-n", help="How many, the newest first.")] = 1,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    lock_timeout: LockOption = 10.0,
    unfinished: UnfinishedOption = None,
    settings: SettingsOption = None,
    section: SectionOption = SECTION,
    url: UrlOption = None,
) -> None:
    """Roll the newest back, after asking."""
    chosen = read_settings(settings, section, url)
    folder = folder or FOLDERS[chosen.engine]
    latest = asyncio.run(migrations.latest(chosen, folder, count))
    if not latest:
        typer.echo("Nothing to roll back")
        return
    typer.echo(f"To roll back in database {chosen.database}, in this order:")
    for one in latest:
        typer.echo(_line(one))
    if not yes:
        typer.confirm("Roll back?", abort=True)
    done = asyncio.run(
        migrations.rollback(
            chosen,
            folder,
            [one.id for one in latest],
            progress=_say("rolled back"),
            lock_timeout=lock_timeout,
            unfinished=unfinished,
        )
    )
    typer.echo(f"{len(done)} rolled back")


@app.command("list")
def show(
    *,
    folder: FolderOption = None,
    settings: SettingsOption = None,
    section: SectionOption = SECTION,
    url: UrlOption = None,
) -> None:
    """Show what is applied, since when, and what is pending."""
    chosen = read_settings(settings, section, url)
    folder = folder or FOLDERS[chosen.engine]
    known = asyncio.run(migrations.status(chosen, folder))
    for one in known:
        typer.echo(_line(one))
    if not known:
        typer.echo(f"No migrations in {folder}")


@app.command()
def script(
    *,
    folder: FolderOption = None,
    to: ToOption = None,
    from_empty: Annotated[
        bool,
        typer.Option("--from-empty", help="Write all of them, and connect to no database."),
    ] = False,
    engine: EngineOption = Engine.POSTGRESQL,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write to, not the terminal."),
    ] = None,
    settings: SettingsOption = None,
    section: SectionOption = SECTION,
    url: UrlOption = None,
) -> None:
    """Write the SQL that apply would run, and run nothing."""
    chosen = None if from_empty else read_settings(settings, section, url)
    if chosen is not None:
        engine = chosen.engine
    text = asyncio.run(migrations.script(chosen, folder or FOLDERS[engine], to=to, engine=engine))
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


def _line(one: MigrationStatus) -> str:
    when = f"{one.applied_at:%Y-%m-%d %H:%M:%S}Z" if one.applied_at is not None else ""
    return f"{one.state.value:<8} {when:<20}  {one.id}"


def _say(verb: str) -> Callable[[AppliedMigration], None]:
    def say(done: AppliedMigration) -> None:
        typer.echo(f"{verb} {done.id} in {done.seconds:.3f} s")

    return say
