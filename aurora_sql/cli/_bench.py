"""``aurora-sql bench``: the benchmark suite, which has a command line of its own."""

from __future__ import annotations

import importlib
import importlib.util

import typer

from aurora_sql.errors import ConfigurationError

_NEEDED = ("asyncpg", "hdrh", "rich")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    # Everything after the name is the suite's: its options stand in one place, and its help
    # is the one that is shown.
    app.command(
        name="bench",
        help="Measure throughput and p95 against targets and against bare asyncpg.",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(bench)


def bench(context: typer.Context) -> None:
    """Run the benchmark suite with the arguments that follow.

    Raises:
        ConfigurationError: The suite, or a package that it needs, is not installed.
    """
    missing = [name for name in ("benchmarks", *_NEEDED) if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the benchmark suite needs {', '.join(missing)}, which cannot be imported here:"
            " pip install 'aurora-sql[bench]', or run it in a checkout"
        )
    # By name: nothing of the suite is loaded before it is asked for.
    suite = importlib.import_module("benchmarks")
    raise typer.Exit(suite.main(list(context.args), program="aurora-sql bench"))
