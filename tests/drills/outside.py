"""Past the library and its drivers: what judges them asks the servers in its own way."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import aiomysql
import asyncpg
from pymysql.constants import CLIENT

from aurora_sql.types import Engine

# In the server's own list. MySQL knows no names of applications: its monitor counts too, and the
# local cluster's own sessions are another user's.
SESSIONS = {
    Engine.POSTGRESQL: "FROM pg_stat_activity WHERE application_name = 'aurora_sql'",
    Engine.MYSQL: "FROM information_schema.processlist WHERE user = '{user}'",
}
USERS = {
    Engine.POSTGRESQL: "FROM pg_stat_activity WHERE usename = '{}'",
    Engine.MYSQL: "FROM information_schema.processlist WHERE user = '{}'",
}
BUSY = {Engine.POSTGRESQL: "state <> 'idle'", Engine.MYSQL: "command <> 'Sleep'"}
PICK = {
    Engine.POSTGRESQL: "SELECT pid {} ORDER BY random() LIMIT {}",
    Engine.MYSQL: "SELECT id {} ORDER BY rand() LIMIT {}",
}
END = {Engine.POSTGRESQL: "SELECT pg_terminate_backend({})", Engine.MYSQL: "KILL {}"}
# Of the instance that answers: its identifier, and whether it takes no writes.
INSTANCE = {
    Engine.POSTGRESQL: "SELECT aurora_db_instance_identifier()",
    Engine.MYSQL: "SELECT @@report_host",
}
READING = {Engine.POSTGRESQL: "SELECT pg_is_in_recovery()", Engine.MYSQL: "SELECT @@read_only"}
SLEEP = {Engine.POSTGRESQL: "SELECT 1 FROM pg_sleep({})", Engine.MYSQL: "SELECT sleep({})"}
MONITOR = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'aurora_sql monitor'"
NO_SUCH_THREAD = 1094
# Its own list shows statements with their values, and stumbles over those that are no text.
NO_TEXT = 3854
NUMBERS = 5000


def tables(engine):
    """The tables of the drills, made anew."""
    rows = ", ".join(f"({n})" for n in range(1, NUMBERS + 1))
    return (
        "DROP TABLE IF EXISTS ledger, counters, numbers",
        "CREATE TABLE ledger (id int NOT NULL, caller int NOT NULL)",
        "CREATE TABLE counters (id int PRIMARY KEY, value int NOT NULL)",
        "CREATE TABLE numbers (n int PRIMARY KEY)",
        f"INSERT INTO numbers VALUES {rows}",
        "INSERT INTO counters SELECT n, 0 FROM numbers WHERE n <= 8",
    )


@dataclass
class Outside:
    """A session of the server's administrator."""

    engine: Engine
    connection: Any
    sessions: str
    """The sessions of the library, as FROM and WHERE."""

    @classmethod
    async def open(cls, cluster, instance=None):
        instance = instance or cluster.instances[0]
        sessions = SESSIONS[cluster.engine].format(user=cluster.username)
        if cluster.engine is Engine.POSTGRESQL:
            connection = await asyncpg.connect(
                host=instance.host,
                port=instance.port,
                user=cluster.username,
                password=cluster.password,
                database=cluster.database,
                ssl=False,
            )
        else:
            members = cluster._members
            (user,) = (name for name in members.passwords if name.endswith("_local"))
            connection = await aiomysql.connect(
                unix_socket=str(members.find(instance.id).socket),
                user=user,
                password=members.passwords[user],
                db=cluster.database,
                autocommit=True,
                client_flag=CLIENT.MULTI_STATEMENTS,
            )
        return cls(cluster.engine, connection, sessions)

    async def execute(self, sql, *args):
        if self.engine is Engine.POSTGRESQL:
            return await self.connection.execute(sql, *args)
        return await self._cursor(sql)

    async def fetch(self, sql, *args):
        if self.engine is Engine.POSTGRESQL:
            return [tuple(row) for row in await self.connection.fetch(sql, *args)]
        return await self._cursor(sql)

    async def _cursor(self, sql):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of the server, such as an unknown table
            async with self.connection.cursor() as cursor:
                await self._run(cursor, sql)
                rows = list(await cursor.fetchall()) if cursor.description else []
                while await cursor.nextset():
                    pass
                return rows

    @staticmethod
    async def _run(cursor, sql):
        while True:
            try:
                return await cursor.execute(sql)
            except aiomysql.OperationalError as error:
                if error.args[0] != NO_TEXT:
                    raise

    async def fetchval(self, sql, *args):
        rows = await self.fetch(sql, *args)
        return rows[0][0] if rows else None

    async def written(self):
        """The ids in the ledger."""
        return [number for (number,) in await self.fetch("SELECT id FROM ledger")]

    async def count_sessions(self, also="true"):
        return await self.fetchval(f"SELECT count(*) {self.sessions} AND {also}")

    async def end_sessions(self, count):
        """End some sessions of the library, whichever; how many."""
        chosen = await self.fetch(PICK[self.engine].format(self.sessions, count))
        ended = 0
        for (number,) in chosen:
            try:
                await self.execute(END[self.engine].format(number))
                ended += 1
            except aiomysql.OperationalError as error:
                if error.args[0] != NO_SUCH_THREAD:  # it has ended meanwhile
                    raise
        return ended

    async def end_monitors(self):
        """End what asks the instance for its role; on MySQL, all sessions of the library."""
        if self.engine is Engine.POSTGRESQL:
            await self.execute(MONITOR)
        else:
            await self.end_sessions(100)

    async def make_user(self, name, password):
        """A user that may do everything with the tables that there are."""
        if self.engine is Engine.POSTGRESQL:
            await self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
            await self.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
        else:
            await self.execute(f"CREATE USER {name} IDENTIFIED BY '{password}'")
            await self.execute(f"GRANT ALL ON aurora.* TO {name}")
            await self.execute(f"GRANT SELECT, EXECUTE ON aurora_sql_local.* TO {name}")

    async def change_password(self, name, password):
        words = "PASSWORD" if self.engine is Engine.POSTGRESQL else "IDENTIFIED BY"
        await self.execute(f"ALTER USER {name} {words} '{password}'")

    async def drop_user(self, name):
        if self.engine is Engine.POSTGRESQL:
            await self.execute(f"DROP OWNED BY {name}")
        await self.execute(f"DROP USER {name}")

    async def promote(self):
        """Make a writer of it, past the cluster."""
        if self.engine is Engine.POSTGRESQL:
            await self.execute("SELECT pg_promote()")
            return
        mariadb = "mariadb" in (await self.fetchval("SELECT version()")).lower()
        await self.execute("STOP SLAVE" if mariadb else "STOP REPLICA")
        await self.execute("SET GLOBAL read_only = 0")

    async def demote(self):
        """Let it refuse writes, with all its sessions open."""
        if self.engine is Engine.POSTGRESQL:
            await self.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            await self.execute("SELECT pg_reload_conf()")
        else:
            await self.execute("SET GLOBAL read_only = 1")

    async def make_tables(self):
        for sql in tables(self.engine):
            await self.execute(sql)

    async def has_table(self, name):
        return bool(
            await self.fetchval(
                f"SELECT count(*) FROM information_schema.tables WHERE table_name = '{name}'"
            )
        )

    async def close(self):
        if self.engine is Engine.POSTGRESQL:
            await self.connection.close()
        else:
            self.connection.close()
