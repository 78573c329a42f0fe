"""How far PostgreSQL servers are: by the log, or by Aurora's status table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aurora_sql.cluster import Position, identifier
from aurora_sql.errors import ProgrammingError
from aurora_sql.session._questions import Progressed, Questions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.session._questions import Ask

# All names are qualified and there are no operators: no search_path bends the meaning. Every user
# may call these functions; of the receiver of the log, only members of pg_read_all_stats are told.
_SAME_SERVER: Final = """
       pg_catalog.inet_server_addr()::pg_catalog.text, pg_catalog.inet_server_port(),
       pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()),
       pg_catalog.date_part('epoch', b.stats_reset)
"""
"""What a server keeps while it runs: the time of start is that of the main process, which outlives
a crash of its children; their statistics do not."""

# Two ways to ask. By the log: exact.
_LOG_WRITER: Final = """
SELECT pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8),
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), '0/0')::bigint,
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::bigint,
       pg_catalog.current_setting('synchronous_commit')
WHERE NOT pg_catalog.pg_is_in_recovery()
"""
# The control file falls behind the timeline that is being replayed, until the next restart point;
# it never runs ahead of it. A receiver of a later timeline is asked for only once all that came
# before that timeline has been replayed, so that no position beyond can be of the old one.
_LOG_READER: Final = f"""
SELECT pg_catalog.pg_is_in_recovery(),
       greatest(c.timeline_id, r.min_recovery_end_timeline, w.received_tli),
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_replay_lsn(), '0/0')::bigint,
       {_SAME_SERVER}
FROM pg_catalog.pg_control_checkpoint() AS c
CROSS JOIN pg_catalog.pg_control_recovery() AS r
CROSS JOIN pg_catalog.pg_stat_bgwriter AS b
LEFT JOIN pg_catalog.pg_stat_wal_receiver AS w ON true
"""
# By Aurora's status table, for servers whose readers do not tell what they replay. That these two
# columns answer to each other is documented nowhere. The storage is one: it has no timelines.
_STATUS_WRITER: Final = """
SELECT '0', s.durable_lsn::bigint, s.durable_lsn::bigint, 'on'
FROM pg_catalog.aurora_replica_status() AS s
WHERE s.server_id::pg_catalog.text
          OPERATOR(pg_catalog.=) pg_catalog.aurora_db_instance_identifier()::pg_catalog.text
  AND NOT pg_catalog.pg_is_in_recovery()
"""
_STATUS_READER: Final = f"""
SELECT pg_catalog.pg_is_in_recovery(), 0, s.current_read_lsn::bigint,
       {_SAME_SERVER}
FROM pg_catalog.aurora_replica_status() AS s
CROSS JOIN pg_catalog.pg_stat_bgwriter AS b
WHERE s.server_id::pg_catalog.text
          OPERATOR(pg_catalog.=) pg_catalog.aurora_db_instance_identifier()::pg_catalog.text
"""

# A commit is sent to readers once it is on disk, and shown by the writer a moment after that, when
# its session has got round to it (RecordTransactionCommit, ProcArrayEndTransaction). Until then the
# session has a transaction number and is at work. Of other users' sessions the state is not told.
_COMMITTING: Final = """
SELECT a.pid::bigint, a.backend_xid::pg_catalog.text
FROM pg_catalog.pg_stat_activity AS a
WHERE a.backend_xid IS NOT NULL
  AND a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
  AND (a.state IS NULL OR pg_catalog.strpos(a.state, 'idle') OPERATOR(pg_catalog.=) 0)
"""

_CLUSTER: Final = "SELECT system_identifier FROM pg_catalog.pg_control_system()"
_DATABASE: Final = """
SELECT oid::bigint, datname::pg_catalog.text FROM pg_catalog.pg_database
WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
"""


class PostgresQuestions(Questions):
    """Asks PostgreSQL servers; see :class:`Questions`."""

    side_by_side = False

    def __init__(self) -> None:
        self.by_log = True

    async def cluster(self, ask: Ask) -> bytes:
        """Return what the servers of a cluster have in common."""
        try:
            rows = await ask(_CLUSTER)
        except ProgrammingError:  # not for this user
            rows = await ask(_DATABASE)
        return identifier(*rows[0])

    async def position(self, ask: Ask) -> Position | None:
        """Return the timeline and the end of the writer's log."""
        rows = await ask(_LOG_WRITER if self.by_log else _STATUS_WRITER)
        if not rows:
            return None  # it is no writer
        epoch, flushed, inserted, synchronous = rows[0]
        # Without waiting for the disk, a commit may be beyond what was flushed. Elsewhere the
        # place of the next record is of no use: it can lie past anything that will be replayed.
        return Position(int(epoch, 16), inserted if synchronous == "off" else flushed)

    async def progress(self, ask: Ask) -> Progressed | None:
        """Return what a reader has replayed."""
        rows: Sequence[Any] = ()
        by_log = self.by_log
        for by_log in (True, False) if self.by_log else (False,):
            try:
                rows = await ask(_LOG_READER if by_log else _STATUS_READER)
            except ProgrammingError:
                continue  # there is no such function, or not for this user
            if rows and (rows[0][2] is not None or not rows[0][0]):
                break
        reading, epoch, lsn, *facts = rows[0] if rows else (False, 0, None)
        if not reading or lsn is None:
            return None
        if by_log != self.by_log:
            # From now on the writer is asked in the same way: the numbers of two need not agree.
            self.by_log = by_log
            self.scale += 1
        return Progressed(identifier(*facts), {epoch: lsn})

    async def committing(self, ask: Ask) -> set[tuple[int, str]]:
        """Return the sessions that are at work in a transaction with a number."""
        return {(pid, number) for pid, number in await ask(_COMMITTING)}
