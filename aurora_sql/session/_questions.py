"""How servers are asked how far they are: one way for each engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aurora_sql.cluster import Position, Progress

    Ask = Callable[[str], Awaitable[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Progressed:
    """What a reader answered.

    Attributes:
        server: Tells it from all other servers; a restart makes another one of it.
        progress: It has replayed this.
    """

    server: bytes
    progress: Progress


class Questions(ABC):
    """Asks servers how far they are. Knows one kind of server; serves one open database.

    Attributes:
        side_by_side: Epochs are histories beside each other, in no order.
        scale: Rises when the numbers begin to mean something else: then what readers were known
            to have replayed says nothing any more.
    """

    side_by_side: ClassVar[bool]
    scale = 0

    @abstractmethod
    async def cluster(self, ask: Ask) -> bytes:
        """Return an identifier of the cluster, the same from all its servers.

        Args:
            ask: Asks the server; so with the other methods.
        """

    @abstractmethod
    async def position(self, ask: Ask) -> Position | None:
        """Return how far the writer is; None where it is none, or does not tell."""

    @abstractmethod
    async def progress(self, ask: Ask) -> Progressed | None:
        """Return how far a reader is; None where it is none, or does not tell."""

    async def committing(self, ask: Ask) -> set[tuple[int, str]]:  # noqa: ARG002 - a server that needs none
        """Return the transactions of the writer that a reader may show already and it not yet.

        Each by its session and a number of its own; those that merely run are among them.
        """
        return set()
