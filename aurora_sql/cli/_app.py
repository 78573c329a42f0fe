"""The application: its commands, its one way to report errors."""

from __future__ import annotations

import logging
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from aurora_sql._version import __version__
from aurora_sql.errors import AuroraError

from . import _bench, _explain, _local, _migrate

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class Options:
    """What was said before the command's name.

    Attributes:
        debug: Show tracebacks and the log.
    """

    debug: bool = False


def run(args: Sequence[str]) -> int:
    """Run one command.

    Args:
        args: The arguments, without the name of the program.

    Returns:
        The exit code.
    """
    options = Options()
    app = build(options)
    try:
        app(args=list(args), prog_name="aurora-sql")
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except KeyboardInterrupt:
        return 130
    except AuroraError as exc:
        _report(exc, debug=options.debug)
        return 2
    return 0


def build(options: Options) -> typer.Typer:
    """Put the commands together; ``options`` is filled in when they run."""
    app = typer.Typer(
        name="aurora-sql",
        help="Raw SQL in files for async services on Amazon Aurora.",
        no_args_is_help=True,
        add_completion=False,
        # Its tracebacks would replace the one message that an error of ours has.
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def start(
        debug: Annotated[
            bool, typer.Option("--debug", help="Show tracebacks of errors, and the log.")
        ] = False,
        version: Annotated[  # noqa: ARG001 - its callback acts
            bool,
            typer.Option(
                "--version", help="Show the version and exit.", is_eager=True, callback=_version
            ),
        ] = False,
    ) -> None:
        options.debug = debug
        if debug:
            logging.basicConfig(level=logging.DEBUG)
        else:
            # Without any handler, Python prints errors that yoyo logs beside ours.
            logging.getLogger("yoyo").addHandler(logging.NullHandler())

    app.add_typer(_local.app, name="local")
    app.add_typer(_migrate.app, name="migrate")
    _explain.register(app)
    _bench.register(app)
    return app


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


def _report(error: AuroraError, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
        return
    lines = [f"aurora-sql: {error}", *getattr(error, "__notes__", ())]
    sys.stderr.write("\n".join(lines) + "\n")
