"""Who is in the cluster, asked of a PostgreSQL: three kinds of servers.

The role is proven by ``pg_is_in_recovery()``.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from aurora_sql.cluster._report import WRITER_SESSION, InstanceStatus, Report, fetch
from aurora_sql.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from aurora_sql.cluster._report import Provider
    from aurora_sql.drivers import DriverConnection


# Own facts on the left, so that they come also when nobody has a row. Ages are told by the
# server's clock: ours may differ. No operators, and all names qualified: no search_path bends it.
_AURORA: Final = """
SELECT own.id, own.in_recovery, own.now,
       s.server_id::pg_catalog.text, s.session_id::pg_catalog.text,
       s.replica_lag_in_msec::double precision, s.cpu::double precision,
       s.last_update_timestamp::pg_catalog.timestamptz
FROM (
    SELECT pg_catalog.aurora_db_instance_identifier()::pg_catalog.text,
           pg_catalog.pg_is_in_recovery(),
           pg_catalog.clock_timestamp()
) AS own (id, in_recovery, now)
LEFT JOIN pg_catalog.aurora_replica_status() AS s ON true
"""


@dataclass(frozen=True, slots=True)
class AuroraPostgreSQL:
    """Aurora PostgreSQL: ``aurora_replica_status()``, which any instance answers for all.

    The function reads a table in the shared storage that every instance updates about once a
    second. The writer's session has the identifier ``MASTER_SESSION_ID``. Since 13.9
    ``last_update_timestamp`` is NULL in the row of the instance that is asked (Aurora User Guide,
    ``aurora_replica_status``); that row is of this moment, so its age is given as 0.
    """

    knows_cluster: ClassVar[bool] = True

    async def ask(self, connection: DriverConnection) -> Report:
        """Ask for all instances; see :class:`Provider`."""
        answers = await fetch(connection, _AURORA)
        own_id, in_recovery, *_ = answers[0]
        rows = []
        for _, _, now, instance_id, session_id, lag, cpu, updated in answers:
            if instance_id is None:
                continue
            rows.append(
                InstanceStatus(
                    instance_id=instance_id,
                    is_writer=session_id == WRITER_SESSION,
                    lag=None if lag is None else lag / 1000,
                    cpu=cpu,
                    age=_age(now, updated, is_own=instance_id == own_id),
                )
            )
        return Report(own_id, in_recovery, rows=tuple(rows))


def _age(now: datetime, updated: datetime | None, *, is_own: bool) -> float | None:
    if updated is None:
        return 0.0 if is_own else None
    # The clocks of the instances differ a little: none is ahead of its time.
    return max(0.0, (now - updated).total_seconds())


_MULTI_AZ: Final = """
SELECT own.id::pg_catalog.text, pg_catalog.pg_is_in_recovery(), source.id::pg_catalog.text,
       t.id::pg_catalog.text, t.endpoint::pg_catalog.text, t.port::int
FROM rds_tools.dbi_resource_id() AS own (id)
LEFT JOIN rds_tools.multi_az_db_cluster_source_dbi_resource_id() AS source (id) ON true
LEFT JOIN rds_tools.show_topology('aurora_sql') AS t ON true
"""


@dataclass(frozen=True, slots=True)
class MultiAzPostgreSQL:
    """RDS Multi-AZ DB cluster with PostgreSQL: the functions of ``rds_tools``.

    ``show_topology`` gives resource identifier, endpoint and port of each instance (its argument
    only names the caller in AWS's metrics), ``multi_az_db_cluster_source_dbi_resource_id`` the
    resource identifier of the writer. An instance's identifier is the first label of its endpoint,
    as its users know it. There is neither lag nor load nor age. (RDS User Guide, "Multi-AZ DB
    clusters"; the use in AWS's drivers, which expect no source from the writer itself: none or its
    own identifier mean the same here.)
    """

    knows_cluster: ClassVar[bool] = True

    async def ask(self, connection: DriverConnection) -> Report:
        """Ask for all instances; see :class:`Provider`."""
        answers = await fetch(connection, _MULTI_AZ)
        own_resource, in_recovery, source, *_ = answers[0]
        if source is None and not in_recovery:
            source = own_resource
        own_id = None
        rows = []
        for _, _, _, resource, endpoint, port in answers:
            if resource is None or endpoint is None:
                continue
            instance_id = endpoint.partition(".")[0]
            if resource == own_resource:
                own_id = instance_id
            rows.append(
                InstanceStatus(
                    instance_id=instance_id,
                    is_writer=resource == source,
                    address=None if port is None else (endpoint, port),
                )
            )
        return Report(own_id or own_resource, in_recovery, rows=tuple(rows))


# The functions of one role fail in the other; CASE calls only the right one. The first eight digits
# of a WAL file's name are its timeline.
_OWN_LOG: Final = """
SELECT own.reading,
       CASE WHEN own.reading THEN NULL ELSE pg_catalog.left(pg_catalog.pg_walfile_name(
           pg_catalog.pg_current_wal_flush_lsn()), 8) END,
       (CASE WHEN own.reading THEN pg_catalog.pg_last_wal_replay_lsn()
             ELSE pg_catalog.pg_current_wal_flush_lsn() END - '0/0')::bigint,
       CASE WHEN own.reading THEN pg_catalog.date_part('epoch',
           pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()) END,
       NULL::bigint AS system_identifier
FROM (SELECT pg_catalog.pg_is_in_recovery()) AS own (reading)
"""
_OWN: Final = (
    _OWN_LOG.replace("NULL::bigint AS ", "control.")
    + "CROSS JOIN pg_catalog.pg_control_system() AS control"
)
_OWN_ROLE: Final = "SELECT pg_catalog.pg_is_in_recovery(), NULL, NULL, NULL, NULL"


@dataclass(frozen=True, slots=True)
class StaticPostgreSQL:
    """Any PostgreSQL: each endpoint is one instance that knows of itself only.

    A server that lacks the functions of the log (they are PostgreSQL's own, and a service may not
    offer them) is asked for its role alone.
    """

    knows_cluster: ClassVar[bool] = False

    async def ask(self, connection: DriverConnection) -> Report:
        """Ask for role and position of this one instance; see :class:`Provider`."""
        try:
            answers = await self._ask_log(connection)
        except DatabaseError:
            answers = await fetch(connection, _OWN_ROLE)
        in_recovery, timeline, position, replayed, system = answers[0]
        epoch = None if timeline is None else int(timeline, 16)
        return Report(None, in_recovery, epoch, position, replayed, system=system)

    @staticmethod
    async def _ask_log(connection: DriverConnection) -> Sequence[Any]:
        try:
            return await fetch(connection, _OWN)
        except DatabaseError:
            # The control file may be closed to this user, where the log is open to all.
            return await fetch(connection, _OWN_LOG)


# Asked of the catalogue: calling what is not there would be an error in the server's log. A
# function that this user may not call is as good as none.
_OFFERED: Final = """
SELECT n.nspname::text, p.proname::text
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.proname IN ('aurora_replica_status', 'aurora_db_instance_identifier', 'show_topology',
                    'dbi_resource_id', 'multi_az_db_cluster_source_dbi_resource_id')
  AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
"""
_AURORA_NEEDS: Final = {
    ("pg_catalog", "aurora_replica_status"),
    ("pg_catalog", "aurora_db_instance_identifier"),
}
_MULTI_AZ_NEEDS: Final = {
    ("rds_tools", "show_topology"),
    ("rds_tools", "dbi_resource_id"),
    ("rds_tools", "multi_az_db_cluster_source_dbi_resource_id"),
}
_MULTI_AZ_SOURCE: Final = """
SELECT source.id::pg_catalog.text
FROM rds_tools.multi_az_db_cluster_source_dbi_resource_id() AS source (id)
"""


async def detect(connection: DriverConnection) -> Provider:
    """Return the provider for the server at the other end.

    Functions that are missing, or that the user may not call, mean :class:`StaticPostgreSQL`. An
    RDS instance that is in no Multi-AZ cluster can have ``rds_tools`` too: there the source is
    NULL or asking for it fails, and it is a static endpoint.

    Raises:
        AuroraError: The connection broke.
    """
    offered = {(schema, name) for schema, name in await fetch(connection, _OFFERED)}
    if offered >= _AURORA_NEEDS:
        return AuroraPostgreSQL()
    if offered >= _MULTI_AZ_NEEDS:
        with suppress(DatabaseError):
            answers = await fetch(connection, _MULTI_AZ_SOURCE)
            if answers and answers[0][0] is not None:
                return MultiAzPostgreSQL()
    return StaticPostgreSQL()
