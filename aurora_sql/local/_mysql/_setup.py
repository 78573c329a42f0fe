"""Texts that a MySQL cluster is set up with: settings and the first SQL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError
from aurora_sql.local._mysql._session import ADMINISTRATOR
from aurora_sql.types import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aurora_sql.local._addresses import Address
    from aurora_sql.local._mysql._binaries import Binaries
    from aurora_sql.local._mysql._members import MySQLServer

SCHEMA = Path(__file__).with_name("_aurora.sql")
REPLICATION_USER = "aurora_replica"

_SETTING = re.compile(r"[a-z_][a-z0-9_.-]*", re.IGNORECASE)
_OWNED = frozenset(
    {
        "datadir", "tmpdir", "socket", "port", "bind_address", "server_id", "report_host",
        "report_port",
        "pid_file", "log_error", "log_bin", "relay_log", "read_only", "super_read_only", "user",
        "gtid_mode", "enforce_gtid_consistency", "gtid_strict_mode", "gtid_domain_id",
        "log_replica_updates", "log_slave_updates", "skip_replica_start", "skip_slave_start",
        "skip_networking", "skip_name_resolve", "secure_file_priv", "init_file",
        "log_bin_trust_function_creators",
    }
)  # fmt: skip

_COMMON = {
    "max_connections": "300",
    "innodb_buffer_pool_size": "64M",
    "character_set_server": "utf8mb4",
    "default_time_zone": "'+00:00'",
    "local_infile": "1",
    # A commit that was acknowledged is in both logs: they are the storage of a failover.
    "sync_binlog": "1",
    "innodb_flush_log_at_trx_commit": "1",
}
_MYSQL = {
    "performance_schema": "OFF",
    "mysqlx": "OFF",
    "innodb_redo_log_capacity": "64M",
    # As long as the cluster lives, any reader may need any of it.
    "binlog_expire_logs_seconds": "0",
}
_MARIADB = {
    "innodb_log_file_size": "64M",
    "binlog_format": "ROW",
    "expire_logs_days": "0",
}
_MYSQL_OWN = {
    "gtid_mode": "ON",
    "enforce_gtid_consistency": "ON",
    "log_replica_updates": "ON",
    "skip_replica_start": "ON",
    "relay_log_recovery": "ON",
}
_MARIADB_OWN = {
    "gtid_strict_mode": "ON",
    "gtid_domain_id": "0",
    "log_slave_updates": "ON",
    "skip_slave_start": "ON",
}

_PRIVILEGES = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER, "
    "SHOW DATABASES, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION CLIENT, "
    "REPLICATION SLAVE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, "
    "EVENT, TRIGGER"
)
"""What Aurora's master user may: not SUPER and not READ ONLY ADMIN, so no write on a reader.

Source: Aurora User Guide, "Master user account privileges".
"""


def check_settings(settings: Mapping[str, object]) -> dict[str, str]:
    """The caller's server settings, with names as the server shows them.

    Raises:
        ConfigurationError: A name is none, the cluster sets it itself, or a value is no text.
    """
    checked = {}
    for name, value in settings.items():
        if not _SETTING.fullmatch(name):
            raise ConfigurationError(f"server_settings: {name!r} is no name of a server setting")
        plain = name.lower().replace("-", "_")
        if plain in _OWNED or plain.removeprefix("loose_") in _OWNED:
            raise ConfigurationError(f"server_settings: {name} is set by the cluster itself")
        if not isinstance(value, str) or "\n" in value or "\0" in value:
            raise ConfigurationError(
                f"server_settings: the value of {name} must be one line of text, not {value!r}"
            )
        checked[plain] = value
    return checked


def option_file(
    server: MySQLServer,
    binaries: Binaries,
    chosen: Mapping[str, str],
    hidden: Address | None = None,
) -> str:
    """The option file of one instance.

    Args:
        server: The instance.
        binaries: Which server it runs.
        chosen: The caller's settings.
        hidden: Where it listens instead of at its own address, refusing writes, while a failover
            reads its log.
    """
    host, port = hidden or (server.host, server.port)
    reads = server.role is Role.READER or hidden is not None
    settings = {
        **_COMMON,
        **(_MARIADB if binaries.is_mariadb else _MYSQL),
        **chosen,
        **(_MARIADB_OWN if binaries.is_mariadb else _MYSQL_OWN),
        "datadir": str(server.data),
        # A server that starts removes the temporary tables in its folder, whoever's they are.
        "tmpdir": str(server.temporary),
        "socket": str(server.socket),
        "pid_file": str(server.folder / "pid"),
        "bind_address": host,
        "port": str(port),
        "server_id": str(server.number),
        "report_host": server.id,
        "report_port": str(server.port),
        "log_bin": "binlog",
        "relay_log": "relay",
        "skip_name_resolve": "ON",
        # Functions as an ordinary user makes them, as Aurora's parameter groups are set.
        "log_bin_trust_function_creators": "ON",
        "read_only": "ON" if reads else "OFF",
    }
    if not binaries.is_mariadb:
        settings["super_read_only"] = settings["read_only"]
    return "[mysqld]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


def first_sql(username: str, password: str, database: str, own: Mapping[str, str]) -> str:
    """The SQL that makes the users, the database and Aurora's schema; may be run again.

    Args:
        username: The user that clients have.
        password: That user's.
        database: The database that is made.
        own: Passwords of the cluster's own users.
    """
    lines = []
    for name, host, secret, rights in (
        (ADMINISTRATOR, "localhost", own[ADMINISTRATOR], "ALL PRIVILEGES"),
        (REPLICATION_USER, "%", own[REPLICATION_USER], "REPLICATION SLAVE"),
        (username, "%", password, _PRIVILEGES),
    ):
        user = f"{literal(name)}@{literal(host)}"
        lines += [
            f"CREATE USER IF NOT EXISTS {user} IDENTIFIED BY {literal(secret)};",
            f"ALTER USER {user} IDENTIFIED BY {literal(secret)};",
            f"GRANT {rights} ON *.* TO {user}"
            + (";" if name == REPLICATION_USER else " WITH GRANT OPTION;"),
        ]
    lines += [
        "DROP USER IF EXISTS 'root'@'localhost';",
        f"CREATE DATABASE IF NOT EXISTS {identifier(database)};",
    ]
    schema = SCHEMA.read_text(encoding="utf-8")
    lines += [line for line in schema.splitlines() if not line.startswith("--")]
    return "\n".join(lines) + "\n"


def identifier(name: str) -> str:
    """A name, quoted for SQL."""
    return "`" + name.replace("`", "``") + "`"


def literal(value: str) -> str:
    """A text, quoted for SQL in the default mode, where a backslash escapes."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
