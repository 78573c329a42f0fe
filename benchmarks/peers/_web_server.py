"""The web server of one data layer, in a process of its own: uvicorn on uvloop and httptools."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import uvicorn

from benchmarks._loop import LoopKind, choose
from benchmarks.peers._web_app import Application
from benchmarks.peers._web_layers import layers

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from aurora_sql import AuroraSettings


class _Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config, pipe: Connection, port: int) -> None:
        super().__init__(config)
        self._pipe = pipe
        self._port = port

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._pipe.send(self._port)


def serve(
    name: str, settings: AuroraSettings, connections: int, seed: int, pipe: Connection
) -> None:
    """Serve a data layer on a free port of the loopback, and send its number when it listens.

    Ends on SIGTERM. A data layer that cannot be opened is told by uvicorn's own log.
    """
    layer = layers()[name](settings, connections)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        Application(layer, layer.open, layer.close, seed),
        loop=choose(LoopKind.AUTO)[0],
        http="httptools",
        lifespan="on",
        access_log=False,
        log_level="error",
    )
    _Server(config, pipe, listening.getsockname()[1]).run(sockets=[listening])
