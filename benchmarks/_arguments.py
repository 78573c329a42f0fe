"""Options that several commands have, and how their output looks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from aurora_sql.settings import MysqlDriver
from aurora_sql.types import Engine
from benchmarks._loop import LoopKind

EXIT_SLOWER = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

# Where nobody sees a terminal (a log, a pipe) the tables keep their full width.
console = Console(width=None if sys.stdout.isatty() else 132)
errors = Console(stderr=True, soft_wrap=True)

Url = Annotated[
    str | None,
    typer.Option(
        help="Run on this writer: postgresql://user@host/database?read=host, or mysql://…. A URL is"
        " visible to all users of the machine: leave the password to AURORA_PASSWORD."
    ),
]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="Run on what this JSON file describes.")
]
Environment = Annotated[
    bool, typer.Option("--environment", help="Run on what AURORA_* variables and .env describe.")
]
EngineName = Annotated[
    Engine | None, typer.Option(help="Of the local cluster; default postgresql.")
]
DriverName = Annotated[
    MysqlDriver | None,
    typer.Option(help="Of MySQL, for the library; auto is asyncmy where it is installed."),
]
Readers = Annotated[int, typer.Option(min=0, max=15, help="Readers of the local cluster.")]
Shop = Annotated[Path | None, typer.Option(help="Folder with sql and migrations of the shop.")]
Loop = Annotated[LoopKind, typer.Option(help="Event loop; auto is uvloop where it is installed.")]
Callers = Annotated[int, typer.Option(min=1, max=1_000, help="Callers, and connections of each.")]
Scale = Annotated[float | None, typer.Option(help="Size of the data; 1.0 is 50,000 orders.")]
FailBelow = Annotated[
    float | None,
    typer.Option(
        help="With a comparison: exit with 1 if a row of aurora_sql has less than this share of"
        " the earlier figure (of its share of bare connections, where that was measured); of two"
        " failover results, if that share is not reached by the median, or anything was lost."
    ),
]
