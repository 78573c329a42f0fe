"""What the cluster asks its MySQL servers, in the words of MySQL and of MariaDB."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aurora_sql.errors import NoWriterAvailable, OperationalError
from aurora_sql.local._mysql import _gtid, _setup
from aurora_sql.local._mysql._session import ADMINISTRATOR, Session, session
from aurora_sql.types import Role

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from aurora_sql.local._addresses import Address
    from aurora_sql.local._mysql._members import MySQLMembers, MySQLServer

_POLL = 0.01


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """How a reader's replication is.

    Attributes:
        source: Whom it follows; None for nobody.
        receives: It is connected, or trying to be.
        applies: It applies what it received.
        connected: It is connected.
        error: What stopped it.
        received: Transactions that it has received beyond those it has applied.
    """

    source: Address | None
    receives: bool
    applies: bool
    connected: bool
    error: str
    received: str


class Questions:
    """Asks and tells servers.

    Args:
        members: The instances.
    """

    def __init__(self, members: MySQLMembers) -> None:
        self._members = members
        self._mariadb = members.binaries.is_mariadb

    def session(self, server: MySQLServer, limit: float) -> AbstractAsyncContextManager[Session]:
        """A session of the administrator, whose statements may take ``limit`` seconds."""
        return session(server, self._members.passwords[ADMINISTRATOR], limit)

    async def open(self, server: MySQLServer, limit: float) -> Session:
        """As :meth:`session`; the caller ends it."""
        return await Session.open(server, self._members.passwords[ADMINISTRATOR], limit)

    def writer(self) -> MySQLServer:
        """The writer.

        Raises:
            NoWriterAvailable: It does not run.
        """
        for server in self._members.servers:
            if server.role is Role.WRITER and server.pid is not None:
                return server
        raise NoWriterAvailable("the writer of the local cluster does not run")

    async def progress(self, asked: Session, *, replica: bool) -> int:
        """How many transactions a server has done.

        Args:
            asked: A session there.
            replica: It follows another: count what it has applied and shows.
        """
        if not self._mariadb:
            return _gtid.executed(await asked.value("SELECT @@global.gtid_executed"))
        # A replica's own log has a transaction before the tables do.
        name = "gtid_slave_pos" if replica else "gtid_binlog_pos"
        return _gtid.position(await asked.value(f"SELECT @@global.{name}"))

    async def received(self, asked: Session) -> int:
        """How many transactions a replica has, applied or not."""
        applied = await self.progress(asked, replica=True)
        state = await self.replica(asked)
        if state is None:
            return applied
        if self._mariadb:
            return max(applied, _gtid.position(state.received))
        lacking = f"SELECT GTID_SUBTRACT({_setup.literal(state.received)}, @@global.gtid_executed)"
        return applied + _gtid.executed(await asked.value(lacking))

    async def replica(self, asked: Session) -> ReplicaState | None:
        """How a server's replication is; None if it follows nobody."""
        rows = await asked.rows("SHOW REPLICA STATUS")
        if not rows:
            return None
        # MariaDB calls the columns as both did before.
        row = {
            name.replace("Slave_", "Replica_").replace("Master_", "Source_"): value
            for name, value in rows[0].items()
        }
        host, port = row["Source_Host"], int(row["Source_Port"])
        error = row["Last_IO_Error"] or row["Last_SQL_Error"] or ""
        received = row["Gtid_IO_Pos" if self._mariadb else "Retrieved_Gtid_Set"] or ""
        return ReplicaState(
            source=(host, port) if host else None,
            receives=row["Replica_IO_Running"] != "No",
            applies=row["Replica_SQL_Running"] == "Yes",
            connected=row["Replica_IO_Running"] == "Yes",
            error=error,
            received=received.replace("\n", ""),
        )

    async def point(self, asked: Session, source: Address, lag: float) -> None:
        """Let a server follow another from where it is.

        Args:
            asked: A session at the one that follows.
            source: Where the other listens.
            lag: Seconds by which it is to be late.
        """
        await asked.execute("STOP REPLICA")
        host, port = source
        values: dict[str, str] = {
            "HOST": _setup.literal(host),
            "PORT": str(port),
            "USER": _setup.literal(_setup.REPLICATION_USER),
            "PASSWORD": _setup.literal(self._members.passwords[_setup.REPLICATION_USER]),
            "CONNECT_RETRY": "1",
            "DELAY": str(_delay(lag)),
            # A source that is to end waits ten seconds for replicas of which it has not noticed
            # that they are gone, and it notices when it writes to them.
            "HEARTBEAT_PERIOD": "0.5",
        }
        if self._mariadb:
            # All that is in its own log it has, whether it wrote it as the writer or as a reader.
            own = await asked.value("SELECT @@global.gtid_binlog_pos")
            if own:
                await asked.execute(f"SET GLOBAL gtid_slave_pos = {_setup.literal(own)}")
            options = [f"MASTER_{name} = {value}" for name, value in values.items()]
            await asked.execute(
                f"CHANGE MASTER TO {', '.join(options)}, MASTER_USE_GTID = slave_pos"
            )
        else:
            # 0: it tries for ever, as a reader of Aurora has no source to lose.
            options = [f"SOURCE_{name} = {value}" for name, value in values.items()]
            await asked.execute(
                f"CHANGE REPLICATION SOURCE TO {', '.join(options)}, SOURCE_AUTO_POSITION = 1, "
                "SOURCE_RETRY_COUNT = 0, GET_SOURCE_PUBLIC_KEY = 1"
            )
        await asked.execute("START REPLICA")

    async def promote(self, asked: Session) -> None:
        """Let a replica follow nobody and accept writes."""
        await asked.execute("STOP REPLICA")
        await asked.execute("RESET REPLICA ALL")
        # On MySQL this ends super_read_only too.
        await asked.execute("SET GLOBAL read_only = OFF")

    async def wait_replayed(self, limit: float) -> None:
        """Wait until every running reader has replayed what the writer has written."""
        members = self._members
        writer = self.writer()
        waiting = {s.id for s in members.servers if s.role is Role.READER and s.pid is not None}
        position = "the position"
        try:
            async with asyncio.timeout(limit):
                async with self.session(writer, limit) as asked:
                    wanted = await self.progress(asked, replica=False)
                position = f"transaction {wanted}"
                async with asyncio.TaskGroup() as group:
                    for server in members.servers:
                        if server.id in waiting:
                            group.create_task(self._wait_for(server, wanted, limit, waiting))
        except TimeoutError as error:
            late = ", ".join(sorted(waiting)) or writer.id
            raise OperationalError(
                f"{late} did not reach {position} of {writer.id} within {limit:g} s; is it "
                "paused, lagging, or held up by a lock there?"
            ) from error
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _wait_for(
        self, server: MySQLServer, wanted: int, limit: float, waiting: set[str]
    ) -> None:
        async with self.session(server, limit * 2) as asked:
            while await self.progress(asked, replica=True) < wanted:  # noqa: ASYNC110 - no event
                await asyncio.sleep(_POLL)
        waiting.discard(server.id)


def _delay(lag: float) -> int:
    # Servers count whole seconds from the beginning of the second of the commit.
    return math.ceil(lag) + 1 if lag > 0 else 0
