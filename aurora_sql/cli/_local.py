"""``aurora-sql local``: a local Aurora from the command line."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from aurora_sql.errors import AuroraError, ConfigurationError

if TYPE_CHECKING:
    from aurora_sql.local._state import ClusterRecord, StateFolder

__all__ = ["app"]

app = typer.Typer(
    name="local",
    help="A local Aurora, PostgreSQL or MySQL: one writer and real readers on this machine.",
    no_args_is_help=True,
    # The variables of a frame may hold the password.
    pretty_exceptions_show_locals=False,
)

_NOT_RUNNING = 3
"""Exit code of ``status`` when there is no cluster, as service managers have it."""
_DOWN_SECONDS = 60.0

_StateDir = Annotated[
    Path | None,
    typer.Option(
        help="Where what is running is kept. Default: aurora-sql/local in XDG_STATE_HOME."
    ),
]


def _state(folder: Path | None) -> StateFolder:
    from aurora_sql.local._state import StateFolder, default_folder  # noqa: PLC0415 - start-up time

    return StateFolder(default_folder() if folder is None else folder.expanduser().absolute())


def _fail(error: AuroraError) -> typer.Exit:
    console = Console(stderr=True)
    console.print("error:", style="bold red", end=" ")
    console.print(str(error), markup=False, highlight=False)
    return typer.Exit(2 if isinstance(error, ConfigurationError) else 1)


@app.command()
def up(
    engine: Annotated[
        str, typer.Option(help="postgresql, or mysql (MySQL or MariaDB, whichever is found).")
    ] = "postgresql",
    readers: Annotated[int, typer.Option(min=0, max=15, help="Readers.")] = 2,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of the writer endpoint; any if unset."),
    ] = None,
    database: Annotated[str, typer.Option(help="Database to make.")] = "aurora",
    bin_dir: Annotated[
        Path | None, typer.Option(help="Folder with the server's programs; else the wheel's.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the data in this folder; temporary if unset.")
    ] = None,
    durable: Annotated[
        bool, typer.Option("--durable", help="Write through to the disk, as in production.")
    ] = False,
    endpoint_lag: Annotated[
        float, typer.Option(min=0, help="Seconds for which endpoints lead to the old instance.")
    ] = 0.0,
    detach: Annotated[
        bool,
        typer.Option("--detach/--foreground", help="Go on in the background, or until Ctrl-C."),
    ] = True,
    show_password: Annotated[
        bool, typer.Option("--show-password", help="Print the password too.")
    ] = False,
    state_dir: _StateDir = None,
) -> None:
    """Start a cluster and say how to reach it."""
    from aurora_sql.local._daemon import ClusterOptions, serve, spawn  # noqa: PLC0415 - start-up time

    console = Console()
    state = _state(state_dir)
    options = ClusterOptions(
        engine=engine,
        readers=readers,
        port=port,
        database=database,
        bin_dir=None if bin_dir is None else str(bin_dir.expanduser().absolute()),
        data_dir=None if data_dir is None else str(data_dir.expanduser().absolute()),
        durable=durable,
        endpoint_lag=endpoint_lag,
    )

    def say(text: str) -> None:
        console.print(text, style="dim", markup=False, highlight=False)

    async def ready(record: ClusterRecord) -> bool:
        _present(console, record, state, show_password=show_password)
        console.print("\nRunning. Ctrl-C stops the cluster and removes its files.")
        return True

    try:
        if not detach:
            asyncio.run(serve(options, state, say, ready))
            return
        record = spawn(options, state, say)
    except AuroraError as error:
        raise _fail(error) from error
    _present(console, record, state, show_password=show_password)
    console.print(f"\nStop it with: aurora-sql local down{_option(state_dir)}", highlight=False)


@app.command()
def status(state_dir: _StateDir = None) -> None:
    """Show the instances of the running cluster and how they are."""
    from aurora_sql.local._probe import probe  # noqa: PLC0415 - start-up time

    console = Console()
    try:
        record = _state(state_dir).read()
    except AuroraError as error:
        raise _fail(error) from error
    if record is None:
        console.print("no cluster is running")
        raise typer.Exit(_NOT_RUNNING)
    table = Table("id", "role", "address", "pid", "state", "replay lag")
    for one in asyncio.run(probe(record)):
        table.add_row(
            one.record.id,
            one.role,
            f"{one.record.host}:{one.record.port}",
            "" if one.record.pid is None else str(one.record.pid),
            one.state,
            "" if one.lag is None else f"{one.lag * 1000:.0f} ms",
        )
    console.print(table)
    console.print(f"{record.product} {record.version}", highlight=False)


@app.command()
def down(state_dir: _StateDir = None) -> None:
    """Stop the running cluster and remove its files."""
    console = Console()
    try:
        state = _state(state_dir)
        record = state.read()
        if record is None:
            console.print("no cluster is running")
            return
        os.kill(record.pid, signal.SIGTERM)
        if not state.wait_released(_DOWN_SECONDS):
            console.print(f"process {record.pid} has not ended within {_DOWN_SECONDS:g} s")
            raise typer.Exit(1)
        _wait_gone(record.pid)
    except AuroraError as error:
        raise _fail(error) from error
    console.print("stopped")


def _wait_gone(pid: int) -> None:
    """Wait until a process has ended that has let go of everything already, a second at most."""
    until = time.monotonic() + 1.0
    with suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.kill(pid, 0)
            time.sleep(0.01)


_Instance = Annotated[str, typer.Argument(help="Identifier of the instance, or 'writer'.")]
_Reader = Annotated[str, typer.Argument(help="Identifier of the reader.")]


@app.command()
def failover(
    target: Annotated[
        str | None, typer.Argument(help="Reader to promote; if unset, the one that has most.")
    ] = None,
    state_dir: _StateDir = None,
) -> None:
    """Make a reader the writer; no acknowledged commit is lost."""
    _send(state_dir, {"do": "failover", "instance": target})


@app.command()
def kill(instance: _Instance, state_dir: _StateDir = None) -> None:
    """Kill all processes of an instance, as a crash of its machine would."""
    _send(state_dir, {"do": "kill", "instance": instance})


@app.command()
def pause(instance: _Instance, state_dir: _StateDir = None) -> None:
    """Freeze an instance: its connections stay, nothing is answered."""
    _send(state_dir, {"do": "pause", "instance": instance})


@app.command()
def resume(instance: _Instance, state_dir: _StateDir = None) -> None:
    """Let a paused instance go on."""
    _send(state_dir, {"do": "resume", "instance": instance})


@app.command()
def restart(instance: _Instance, state_dir: _StateDir = None) -> None:
    """Stop an instance, if it runs, and start it in the part it has."""
    _send(state_dir, {"do": "restart", "instance": instance})


@app.command()
def lag(
    instance: _Reader,
    seconds: Annotated[float, typer.Argument(min=0, help="How late; 0 for no lag.")],
    state_dir: _StateDir = None,
) -> None:
    """Make a reader show each commit that many seconds late."""
    _send(state_dir, {"do": "lag", "instance": instance, "seconds": seconds})


@app.command()
def add_reader(state_dir: _StateDir = None) -> None:
    """Add a reader."""
    _send(state_dir, {"do": "add-reader"})


@app.command()
def remove_reader(instance: _Reader, state_dir: _StateDir = None) -> None:
    """Stop a reader for good and remove its files."""
    _send(state_dir, {"do": "remove-reader", "instance": instance})


def _send(state_dir: Path | None, command: dict[str, object]) -> None:
    from aurora_sql.local._control import request  # noqa: PLC0415 - start-up time

    console = Console()

    def say(text: str) -> None:
        console.print(text, style="dim", markup=False, highlight=False)

    try:
        record = _state(state_dir).read()
        if record is None:
            console.print("no cluster is running")
            raise typer.Exit(_NOT_RUNNING)
        console.print(request(record.control, command, say), markup=False, highlight=False)
    except AuroraError as error:
        raise _fail(error) from error


def _option(state_dir: Path | None) -> str:
    return "" if state_dir is None else f" --state-dir {state_dir}"


def _present(
    console: Console, record: ClusterRecord, state: StateFolder, *, show_password: bool
) -> None:
    table = Table("id", "role", "address", "pid")
    for one in record.instances:
        table.add_row(one.id, one.role, f"{one.host}:{one.port}", str(one.pid))
    for name, (host, port) in (
        ("writer endpoint", record.writer_endpoint),
        ("reader endpoint", record.reader_endpoint),
    ):
        table.add_row(name, "", f"{host}:{port}", "", style="cyan")
    console.print(table)
    for name, value in record.environment.items():
        shown = value if show_password or name != "AURORA_PASSWORD" else "(see below)"
        console.print(f"{name}={shown}", markup=False, highlight=False, soft_wrap=True)
    # The file is for this user alone; a terminal's history is not.
    console.print(
        f"\nAll of it, with the password, for a shell: set -a; . {state.environment_path}; set +a",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
