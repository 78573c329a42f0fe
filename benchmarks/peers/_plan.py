"""From what the command line says to what a comparison measures."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from aurora_sql.types import Engine
from benchmarks._coalesced import COALESCED
from benchmarks._options import choose_named
from benchmarks._rows import OPERATIONS
from benchmarks.peers._catalogue import INSTALL, choose_peers
from benchmarks.peers._run import CROWD_ROW, Plan
from benchmarks.peers._web_app import PAGES

if TYPE_CHECKING:
    from benchmarks._results import Options
    from benchmarks._rows import Operation
    from benchmarks.peers._web_app import Page

_CROWDS = (1, 2, 4, 8, 16, 32, 64)
_QUICK_CROWDS = (1, 8, 64)
_CROWD_ROUNDS = 3
_LAYER_ROUNDS = 7
_WEB_MODULES = ("uvicorn", "httptools", "uvloop")
_WEB = "the web rows"


def plan(
    engine: Engine, options: Options, *, rows: str | None, peers: str | None, quick: bool
) -> Plan:
    """Choose what to measure.

    Args:
        engine: Of the servers.
        options: How to measure.
        rows: Names of rows, of the shop and of the web, by comma; all without.
        peers: Names of peers, by comma; all without.
        quick: Fewer points and repetitions.

    Raises:
        ConfigurationError: A name is unknown, or belongs to the other engine.
    """
    # One of the two reads says it all, in half the time.
    together = tuple(one for one in COALESCED if not one.needs_readers)
    pages = PAGES if engine is Engine.POSTGRESQL else ()
    known: dict[str, Operation | Page] = {one.name: one for one in (*OPERATIONS, *together, *pages)}
    wanted = choose_named("--rows", "row", rows, known)
    chosen, missing = choose_peers(peers, engine)
    wanted_pages = tuple(one for one in pages if one in wanted)
    absent = [name for name in _WEB_MODULES if importlib.util.find_spec(name) is None]
    if wanted_pages and absent:
        missing = {**missing, _WEB: f"{', '.join(absent)} cannot be imported: {INSTALL}"}
        wanted_pages = ()
    reads = any(one.name == CROWD_ROW for one in wanted)
    return Plan(
        options=options,
        operations=tuple(one for one in OPERATIONS if one in wanted),
        coalesced=tuple(one for one in together if one in wanted),
        pages=wanted_pages,
        crowds=() if not reads else _QUICK_CROWDS if quick else _CROWDS,
        crowd_rounds=min(_CROWD_ROUNDS, options.rounds),
        layer_rounds=0 if not reads else 1 if quick else _LAYER_ROUNDS,
        peers=chosen,
        missing=missing,
    )
