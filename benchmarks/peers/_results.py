"""The result of a comparison: its JSON form."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from benchmarks._machine import Machine, Server, Software  # noqa: TC001 - pydantic reads them
from benchmarks._results import Frozen, Measured, Options, Row, load, read

if TYPE_CHECKING:
    from pathlib import Path

KIND = "peers"


class Method(Frozen):
    """How a peer was used.

    Attributes:
        name: Of the peer.
        how: What of it runs the rows.
        limit: It is no data layer, but says what the server or the driver can do.
    """

    name: str
    how: str
    limit: bool = False


class Crowd(Frozen):
    """The simple read at one number of callers.

    Attributes:
        callers: Callers, and connections of each subject.
        measured: What came of it.
    """

    callers: int
    measured: Measured


class Layer(Frozen):
    """What one layer of the library costs on the simple read.

    Attributes:
        name: Of the layer.
        what: It does.
        network: Microseconds per call up to and with this layer, with the server.
        alone: The same without network.
    """

    name: str
    what: str
    network: float
    alone: float


class PeerResult(Frozen):
    """A comparison with peers.

    Attributes:
        kind: Tells it from other results.
        created: When it ended.
        complete: Every row that was asked for is there.
        versions: Of what the peers are made of, by distribution.
        options: How the rows were measured.
        methods: How each peer was used.
        missing: Peers that could not be measured, and why.
        rows: The operations of the shop.
        coalesced: Operations whose calls travel together, with callers of their own number.
        crowds: The simple read at several numbers of callers.
        web: Four kinds of web requests; their latencies are those of whole requests.
        layers: What each layer of the library costs.
        layer_callers: Callers in that measurement.
        left_out: What was not measured, and why: one sentence each.
    """

    schema_version: Literal[1] = 1
    kind: Literal["peers"] = "peers"
    created: str
    complete: bool
    machine: Machine
    server: Server
    software: Software
    versions: dict[str, str]
    options: Options
    methods: tuple[Method, ...]
    missing: dict[str, str]
    rows: tuple[Row, ...]
    coalesced: tuple[Measured, ...] = ()
    crowds: tuple[Crowd, ...] = ()
    web: tuple[Measured, ...] = ()
    layers: tuple[Layer, ...] = ()
    layer_callers: int = 0
    left_out: tuple[str, ...] = ()

    def row(self, name: str) -> Row | None:
        """The row of that name, None if it was not measured."""
        return next((one for one in self.rows if one.name == name), None)

    @property
    def limits(self) -> frozenset[str]:
        """Names of the subjects that are limits."""
        return frozenset(one.name for one in self.methods if one.limit)

    def save(self, path: Path) -> None:
        """Write it as JSON; the folder is made if it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> PeerResult:
        """Read what :meth:`save` wrote.

        Raises:
            ConfigurationError: The file cannot be read, or is no result of a comparison.
        """
        return load(path, cls, "compare")


def is_peers(path: Path) -> bool:
    """Whether a file holds the result of a comparison with peers.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        found = json.loads(read(path))
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("kind") == KIND
