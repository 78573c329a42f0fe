"""How the instances of a running cluster are, as their clients see them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aurora_sql.drivers import ConnectOptions, DriverConnection, connect
from aurora_sql.errors import AuroraError
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from aurora_sql.local._state import ClusterRecord, InstanceRecord

_LIMIT = 2.0

_QUESTIONS = {
    Engine.POSTGRESQL: (
        "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'reader' ELSE 'writer' END",
        "SELECT server_id, replica_lag_in_msec FROM pg_catalog.aurora_replica_status()",
    ),
    Engine.MYSQL: (
        # Aurora's readers set the second one, which a stock server takes at its start only.
        # As text: later versions of MariaDB have names in place of 0 and 1.
        """
        SELECT IF(CAST(@@global.read_only AS CHAR) NOT IN ('0', 'OFF')
                  OR CAST(@@global.innodb_read_only AS CHAR) NOT IN ('0', 'OFF'),
                  'reader', 'writer')
        """,
        "SELECT server_id, replica_lag_in_milliseconds FROM aurora_sql_local.replica_host_status",
    ),
}
"""What to ask for the role, and for the lag of all."""


@dataclass(frozen=True, slots=True)
class InstanceState:
    """One instance.

    Attributes:
        record: What the state folder says of it.
        role: As it says itself; as recorded where it does not answer.
        state: ``available``, ``not answering`` or ``down``.
        lag: Replica lag in seconds; None for the writer and where nobody knows.
    """

    record: InstanceRecord
    role: str
    state: str
    lag: float | None


async def probe(cluster: ClusterRecord) -> list[InstanceState]:
    """Ask all instances at once; takes no more than about two seconds."""
    answers = await asyncio.gather(*(_ask(cluster, one) for one in cluster.instances))
    lags: dict[str, float] = {}
    for record, answer in zip(cluster.instances, answers, strict=True):
        if answer is not None and answer[0] == "reader":
            lags[record.id] = answer[1].get(record.id, 0.0)
    # The writer's view last, so that it wins where it answers.
    for answer in answers:
        if answer is not None and answer[0] == "writer":
            lags.update(answer[1])
    return [
        _state(record, answer, lags.get(record.id))
        for record, answer in zip(cluster.instances, answers, strict=True)
    ]


def _state(
    record: InstanceRecord, answer: tuple[str, dict[str, float]] | None, lag: float | None
) -> InstanceState:
    if answer is None:
        state = "not answering" if _runs(record.pid) else "down"
        return InstanceState(record, record.role, state, None)
    role = answer[0]
    return InstanceState(record, role, "available", lag if role == "reader" else None)


def _runs(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def _ask(
    cluster: ClusterRecord, record: InstanceRecord
) -> tuple[str, dict[str, float]] | None:
    role_sql, status_sql = _QUESTIONS[Engine(cluster.environment["AURORA_ENGINE"])]
    connection: DriverConnection | None = None
    try:
        async with asyncio.timeout(_LIMIT):
            connection = await _connect(cluster, record)
            role = str((await _rows(connection, role_sql))[0][0])
            rows = await _rows(connection, status_sql)
            await connection.close()
    except (AuroraError, TimeoutError):
        return None
    finally:
        if connection is not None:
            connection.abort()
    return role, {row[0]: row[1] / 1000.0 for row in rows if row[1] is not None}


async def _rows(connection: DriverConnection, sql: str) -> list[Any]:
    return await (await connection.prepare(sql)).fetch(())


async def _connect(cluster: ClusterRecord, record: InstanceRecord) -> DriverConnection:
    variables = cluster.environment

    async def password() -> str | None:
        return variables["AURORA_PASSWORD"]

    return await connect(
        Engine(variables["AURORA_ENGINE"]),
        ConnectOptions(
            host=record.host,
            port=record.port,
            database=variables["AURORA_DATABASE"],
            user=variables["AURORA_USERNAME"],
            password=password,
            connect_timeout=_LIMIT,
            command_timeout=_LIMIT,
            application_name="aurora-sql local status",
        ),
    )
