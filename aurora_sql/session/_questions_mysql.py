"""How far MySQL and MariaDB servers are: by the transactions that they have executed.

The writer's last transaction of the history that it writes (its own UUID, or MariaDB's domain) is
asked for after COMMIT returned; a reader shows it once all transactions of that history up to it
are among those it has executed. Readers of Aurora MySQL read the writer's storage and execute no
transactions: there every read of a session that wrote goes to the writer (Aurora User Guide, "Read
consistency for write forwarding": only ``aurora_replica_read_consistency`` waits, on the server).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from aurora_sql.cluster import READING, Position, identifier, parse_mariadb, parse_mysql
from aurora_sql.errors import ProgrammingError
from aurora_sql.session._questions import Progressed, Questions

if TYPE_CHECKING:
    from aurora_sql.cluster import Executed
    from aurora_sql.session._questions import Ask

_WHO: Final = "SELECT VERSION(), DATABASE()"
_AURORA: Final = "SHOW GLOBAL VARIABLES LIKE 'aurora_server_id'"
_START: Final = """
    (SELECT UNIX_TIMESTAMP() - CAST(u.VARIABLE_VALUE AS SIGNED)
     FROM {schema}.global_status AS u WHERE u.VARIABLE_NAME = 'Uptime')
"""
_MYSQL: Final = f"""
SELECT {READING}, @@GLOBAL.gtid_executed, @@server_uuid,
       {_START.format(schema="performance_schema")}
"""
_MARIADB: Final = f"""
SELECT {READING}, @@GLOBAL.gtid_binlog_pos, @@GLOBAL.gtid_slave_pos, @@GLOBAL.gtid_domain_id,
       CONCAT(@@hostname, ':', @@port, ':', @@server_id),
       {_START.format(schema="information_schema")}
"""
_SAME_START: Final = 3
"""Seconds between two answers that still mean one start: both are told in whole seconds."""


class _State(NamedTuple):
    reading: bool
    executed: Executed
    server: str
    started: int


class MysqlQuestions(Questions):
    """Asks MySQL and MariaDB servers; see :class:`Questions`."""

    side_by_side = True

    def __init__(self) -> None:
        self._mariadb = False
        self._aurora = False
        self._starts: dict[str, int] = {}

    async def cluster(self, ask: Ask) -> bytes:
        """Return what stands for the database's name: its servers have nothing else in common."""
        version, database = (await ask(_WHO))[0]
        self._mariadb = "mariadb" in version.lower()
        self._aurora = bool(await ask(_AURORA))
        return identifier("mysql", database)

    async def position(self, ask: Ask) -> Position | None:
        """Return the writer's last transaction; of a new writer there is none to name."""
        state = await self._state(ask)
        if state is None or state.reading or state.executed.own is None:
            return None
        reached = state.executed.reached
        last = reached.get(state.executed.own)
        return None if last is None else Position(state.executed.own, last, reached)

    async def progress(self, ask: Ask) -> Progressed | None:
        """Return the transactions that a reader has executed."""
        state = await self._state(ask)
        if state is None or not state.reading or not state.executed.reached:
            return None
        known = self._starts.setdefault(state.server, state.started)
        if abs(known - state.started) > _SAME_START:
            known = self._starts[state.server] = state.started
        return Progressed(identifier(state.server, known), state.executed.reached)

    async def _state(self, ask: Ask) -> _State | None:
        if self._aurora:
            return None
        try:
            if self._mariadb:
                reading, *positions, domain, server, started = (await ask(_MARIADB))[0]
                executed = parse_mariadb(*(text or "" for text in positions), domain=domain)
            else:
                reading, text, server, started = (await ask(_MYSQL))[0]
                executed = parse_mysql(text or "", server)
        except ProgrammingError:  # it keeps no such books
            return None
        return _State(bool(reading), executed, server, started)
