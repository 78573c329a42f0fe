"""Plain data that every layer shares. No behaviour beyond what a value needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime


class Engine(StrEnum):
    """The two database engines."""

    POSTGRESQL = "postgresql"
    MYSQL = "mysql"


class Role(StrEnum):
    """What an instance does in its cluster."""

    WRITER = "writer"
    READER = "reader"


class Access(StrEnum):
    """Whether a statement may change anything."""

    READ = "read"
    WRITE = "write"


class Cardinality(StrEnum):
    """What a statement promises about its result."""

    ONE = "one"
    MAYBE = "maybe"
    MANY = "many"
    SCALAR = "scalar"
    EXEC = "exec"
    AFFECTED = "affected"
    BATCH = "batch"
    SCRIPT = "script"


class Isolation(StrEnum):
    """Isolation level of a transaction, by its name in SQL."""

    READ_COMMITTED = "read committed"
    REPEATABLE_READ = "repeatable read"
    SERIALIZABLE = "serializable"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a prepared statement's result.

    Attributes:
        name: The name as sent by the server.
        type_name: The server's type, such as ``int4``, ``text``, ``numeric``, ``int4[]``.
        python_type: What the driver returns for a value of it; ``object`` when unknown.
        type_oid: PostgreSQL's OID of the type, 0 where there is none.
    """

    name: str
    type_name: str
    python_type: type[Any]
    type_oid: int = 0


@dataclass(frozen=True, slots=True)
class ParameterType:
    """The type that the server inferred for one placeholder.

    Attributes:
        type_name: The server's type, such as ``int4`` or ``text[]``.
        type_oid: PostgreSQL's OID of the type, 0 where there is none.
        schema: PostgreSQL's schema of the type, empty where there is none.
        kind: ``scalar``, or what else it is: ``array``, ``composite``, ``range``.
    """

    type_name: str
    type_oid: int = 0
    schema: str = ""
    kind: str = "scalar"


@dataclass(frozen=True, slots=True)
class Instance:
    """One database instance of a cluster.

    Two are equal that have the same identifier, address and role: the figures, which change with
    every look, do not count.

    Attributes:
        id: Identifier, unique in the cluster.
        host: Host name or address.
        port: TCP port.
        role: Writer or reader.
        lag: Seconds behind the writer, 0.0 for the writer, None where it is not known.
        load: CPU in use, in percent, None where it is not known.
        last_seen: When it last reported, None where it is not known.
    """

    id: str
    host: str
    port: int
    role: Role
    lag: float | None = field(default=None, compare=False)
    load: float | None = field(default=None, compare=False)
    last_seen: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Topology:
    """The instances of a cluster at one moment.

    Attributes:
        writer: The instance that accepts writes, None while there is none.
        readers: The instances that only read, in order of their id.
    """

    writer: Instance | None
    readers: tuple[Instance, ...] = ()

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All instances, the writer first."""
        return self.readers if self.writer is None else (self.writer, *self.readers)


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Gauges and counters of one pool.

    Attributes:
        size: Connections that exist, those being opened included.
        idle: Connections ready to be leased.
        in_use: Connections leased to callers.
        opening: Connections being opened.
        returning: Connections being reset, settled or closed in the background.
        waiting: Callers waiting for a connection.
        min_size: Floor that the pool keeps.
        max_size: Most connections that the pool opens.
        generation: Rises at each eviction.
        leases: Leases granted so far.
        waited: Leases that had to wait.
        timeouts: Callers that gave up waiting.
        rejected: Callers turned away because too many waited.
        opened: Connections opened so far.
        open_failures: Attempts to open one that failed.
        closed: Connections closed so far.
        resets: Connections that were reset because a caller could have changed them.
        wait_seconds: Sum of the time that callers waited.
    """

    size: int
    idle: int
    in_use: int
    opening: int
    returning: int
    waiting: int
    min_size: int
    max_size: int
    generation: int
    leases: int
    waited: int
    timeouts: int
    rejected: int
    opened: int
    open_failures: int
    closed: int
    resets: int
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counters and gauges of the answers kept for statements with ``cache:``.

    Attributes:
        hits: Calls that were served from a kept answer.
        misses: Calls that sent a query.
        joined: Calls that waited for the query of another call.
        entries: Answers kept now, those too old included until they are dropped.
        bytes: What they take, estimated.
        max_bytes: ``cache_max_bytes``.
        evicted: Answers dropped to make room before they were too old.
        invalidated: Answers dropped because a write put them out of date.
    """

    hits: int
    misses: int
    joined: int
    entries: int
    bytes: int
    max_bytes: int
    evicted: int
    invalidated: int


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What a bulk operation did.

    Attributes:
        rows: Rows inserted, updated or deleted.
        batches: Batches that the input was cut into.
        round_trips: Commands sent and answered, BEGIN and COMMIT included.
        seconds: Time from the first row taken to the last commit.
    """

    rows: int
    batches: int
    round_trips: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Rows divided by seconds; 0.0 when nothing was timed."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0
