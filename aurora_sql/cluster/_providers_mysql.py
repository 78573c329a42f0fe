"""Who is in the cluster, asked of a MySQL or MariaDB: three kinds of servers.

The role is proven by ``read_only`` and ``innodb_read_only``: an Aurora reader has the latter, which
nobody can change while it runs, and any other replica has the former.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from aurora_sql.cluster._gtid import executed
from aurora_sql.cluster._report import WRITER_SESSION, InstanceStatus, Report, fetch
from aurora_sql.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aurora_sql.cluster._report import Provider
    from aurora_sql.drivers import DriverConnection

READING: Final = """
    CAST(@@GLOBAL.innodb_read_only AS CHAR) NOT IN ('0', 'OFF')
    OR CAST(@@GLOBAL.read_only AS CHAR) NOT IN ('0', 'OFF')
"""
"""A text, for later versions of MariaDB have names in place of 0 and 1."""

# Own facts on the left, so that they come also when nobody has a row. The age is told by the
# server's clock: ours may differ.
_AURORA: Final = """
SELECT {own_id}, {reading},
       s.server_id, s.session_id, s.replica_lag_in_milliseconds, s.cpu,
       TIMESTAMPDIFF(MICROSECOND, s.last_update_timestamp, NOW(6))
FROM (SELECT 1 AS one) AS own
LEFT JOIN {schema}.replica_host_status AS s ON TRUE
"""
_OWN_ID: Final = {
    "information_schema": "@@aurora_server_id",
    "aurora_sql_local": "aurora_sql_local.aurora_server_id()",
}
"""By schema, what gives the asked instance's identifier. Aurora has its table among the server's
own, where a stock server takes no further one: the local cluster has a schema for it."""


@dataclass(frozen=True, slots=True)
class AuroraMySQL:
    """Aurora MySQL: ``replica_host_status``, which any instance answers for all.

    The writer's session has the identifier ``MASTER_SESSION_ID`` (Aurora User Guide,
    ``information_schema.replica_host_status``; AWS's drivers read it the same way).

    Attributes:
        schema: Where the table is.
    """

    schema: str = "information_schema"
    knows_cluster: ClassVar[bool] = True

    async def ask(self, connection: DriverConnection) -> Report:
        """Ask for all instances; see :class:`Provider`."""
        sql = _AURORA.format(own_id=_OWN_ID[self.schema], reading=READING, schema=self.schema)
        answers = await fetch(connection, sql)
        own_id, reading, *_ = answers[0]
        rows = tuple(
            InstanceStatus(
                instance_id=instance_id,
                is_writer=session_id == WRITER_SESSION,
                lag=None if lag is None else float(lag) / 1000,
                cpu=None if cpu is None else float(cpu),
                # The clocks of the instances differ a little: none is ahead of its time.
                age=None if age is None else max(0.0, age / 1e6),
            )
            for _, _, instance_id, session_id, lag, cpu, age in answers
            if instance_id is not None
        )
        return Report(own_id, bool(reading), rows=rows)


_MULTI_AZ: Final = f"""
SELECT @@server_id, {READING}, t.id, t.endpoint, t.port
FROM (SELECT 1 AS one) AS own LEFT JOIN mysql.rds_topology AS t ON TRUE
"""


@dataclass(frozen=True, slots=True)
class MultiAzMySQL:
    """RDS Multi-AZ DB cluster with MySQL: ``mysql.rds_topology``.

    It gives ``server_id``, endpoint and port of each instance; who is the writer is told by the
    source of a reader's replication, and by the writer's having none. There is neither lag nor
    load nor age. (RDS User Guide, "Multi-AZ DB clusters"; the use in AWS's drivers.)
    """

    knows_cluster: ClassVar[bool] = True

    async def ask(self, connection: DriverConnection) -> Report:
        """Ask for all instances; see :class:`Provider`."""
        answers = await fetch(connection, _MULTI_AZ)
        own, reading, *_ = answers[0]
        replication = await _replication(connection) if reading else None
        source = own if not reading else _first(replication, "Source_Server_Id", "Master_Server_Id")
        own_id = None
        rows = []
        for _, _, number, endpoint, port in answers:
            if endpoint is None:
                continue
            instance_id = endpoint.partition(".")[0]
            if number == own:
                own_id = instance_id
            rows.append(
                InstanceStatus(
                    instance_id=instance_id,
                    is_writer=number == source,
                    address=None if port is None else (endpoint, port),
                )
            )
        return Report(own_id or str(own), bool(reading), rows=tuple(rows))


@dataclass(frozen=True, slots=True)
class StaticMySQL:
    """Any MySQL or MariaDB: each endpoint is one instance that knows of itself only.

    There is no timeline whose number would tell which of two writers is the later one. How far a
    reader is behind takes the privilege to look at replication; without it, that is not known.
    """

    knows_cluster: ClassVar[bool] = False

    async def ask(self, connection: DriverConnection) -> Report:
        """Ask for role and position of this one instance; see :class:`Provider`."""
        answers = await fetch(connection, f"SELECT {READING}")
        reading = bool(answers[0][0])
        position = (await executed(connection)).total
        behind = None
        if reading:
            behind = _first(await _replication(connection), *_BEHIND)
        return Report(
            None,
            reading,
            position=position,
            replayed=None if behind is None else float(behind),
        )


_BEHIND: Final = ("Seconds_Behind_Source", "Seconds_Behind_Master")


async def _replication(connection: DriverConnection) -> Mapping[str, Any] | None:
    """Return what a reader says of its replication; None where this user may not ask."""
    for sql in ("SHOW REPLICA STATUS", "SHOW SLAVE STATUS"):
        with suppress(DatabaseError):
            rows = await fetch(connection, sql)
            return dict(rows[0].items()) if rows else None
    return None


def _first(row: Mapping[str, Any] | None, *names: str) -> Any:
    return next((row[name] for name in names if name in row), None) if row else None


_OFFERED: Final = """
SELECT LOWER(table_schema), LOWER(table_name) FROM information_schema.tables
WHERE (LOWER(table_schema) IN ('information_schema', 'aurora_sql_local')
       AND LOWER(table_name) = 'replica_host_status')
   OR (table_schema = 'mysql' AND table_name = 'rds_topology')
"""


async def detect(connection: DriverConnection) -> Provider:
    """Return the provider for the server at the other end.

    Raises:
        AuroraError: The connection broke.
    """
    offered = {(schema, name) for schema, name in await fetch(connection, _OFFERED)}
    for schema in _OWN_ID:
        if (schema, "replica_host_status") in offered:
            return AuroraMySQL(schema)
    if ("mysql", "rds_topology") in offered:
        with suppress(DatabaseError):
            # An instance that is in no such cluster can have the table too: then it is empty.
            if await fetch(connection, "SELECT id FROM mysql.rds_topology"):
                return MultiAzMySQL()
    return StaticMySQL()
