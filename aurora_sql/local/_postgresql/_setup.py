"""Texts that a cluster is set up with: settings, access rules, the first SQL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aurora_sql.local._postgresql._binaries import Binaries
    from aurora_sql.local._server import Server
    from aurora_sql.local._user import ServerUser

FUNCTIONS = Path(__file__).with_name("_aurora.sql")

NOT_FOUND = "aurora-sql: no such database"

_OWNED = frozenset(
    {
        "listen_addresses", "port", "unix_socket_directories", "cluster_name", "hba_file",
        "ident_file", "data_directory", "primary_conninfo", "primary_slot_name", "hot_standby",
        "restore_command", "recovery_min_apply_delay", "recovery_target_timeline",
        "external_pid_file", "logging_collector", "log_destination", "ssl",
    }
)  # fmt: skip
_SETTING = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?", re.IGNORECASE)

_DEFAULTS = {
    "max_connections": "300",
    "shared_buffers": "256MB",
    "wal_level": "replica",
    "max_wal_senders": "20",
    "wal_keep_size": "1GB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "30min",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "100ms",
    "hot_standby_feedback": "on",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
    # Files in the data folder rather than in /dev/shm: what is left after a kill goes with it.
    "dynamic_shared_memory_type": "mmap",
}


def check_settings(settings: Mapping[str, object]) -> dict[str, str]:
    """The caller's server settings, with names in lower case.

    Raises:
        ConfigurationError: A name is none, the cluster sets it itself, or a value is no text.
    """
    checked = {}
    for name, value in settings.items():
        if not _SETTING.fullmatch(name):
            raise ConfigurationError(f"server_settings: {name!r} is no name of a server setting")
        if name.lower() in _OWNED:
            raise ConfigurationError(f"server_settings: {name} is set by the cluster itself")
        if not isinstance(value, str) or "\n" in value or "\0" in value:
            raise ConfigurationError(
                f"server_settings: the value of {name} must be one line of text, not {value!r}"
            )
        checked[name.lower()] = value
    return checked


def settings_for(
    server: Server, writer: Server, user: str, durable: bool, chosen: Mapping[str, str]
) -> dict[str, str]:
    """All settings of one instance."""
    sync = "on" if durable else "off"
    settings = {**_DEFAULTS, "fsync": sync, "full_page_writes": "on", **chosen}
    settings |= {
        "listen_addresses": server.host,
        "port": str(server.port),
        "unix_socket_directories": str(server.folder),
        "cluster_name": server.id,
        "hot_standby": "on",
        "logging_collector": "off",
    }
    if server is not writer:
        # Over the socket, where the kernel vouches for the user: no password in any file.
        settings["primary_conninfo"] = (
            f"host={_conninfo(str(writer.folder))} port={writer.port} user={_conninfo(user)} "
            f"application_name={_conninfo(server.id)}"
        )
    return settings


def _conninfo(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def access_rules() -> str:
    """Text of ``pg_hba.conf``: passwords over TCP; on the sockets only those whom the map names."""
    return (
        "local all all peer map=aurora\n"
        "local replication all peer map=aurora\n"
        "host all all 127.0.0.0/8 scram-sha-256\n"
        "host all all ::1/128 scram-sha-256\n"
    )


def user_map(server_user: ServerUser, own_name: str, user: str) -> str:
    """Text of ``pg_ident.conf``: whom the sockets let in as the administrator."""
    names = dict.fromkeys((server_user.name, own_name))
    quoted = '"' + user.replace('"', '""') + '"'
    return "".join(f'aurora "{name}" {quoted}\n' for name in names)


def initdb_command(binaries: Binaries, data: Path, user: str, linux: bool) -> list[str | Path]:
    """The command that makes the first data folder."""
    command: list[str | Path] = [
        binaries.folder / "initdb",
        "-D",
        data,
        "--username",
        user,
        # Replaced by our own rules before the first start; nobody could get in meanwhile.
        "--auth=reject",
        "--encoding=UTF8",
        # Everywhere on Linux, and like Aurora's default it knows the case of all letters.
        "--locale=C.UTF-8" if linux else "--locale=C",
        "--no-sync",
    ]
    if binaries.version >= 14:  # noqa: PLR2004 - the version that has the option
        command.append("--no-instructions")
    return command


def single_command(binaries: Binaries, data: Path, database: str) -> list[str | Path]:
    """The command that runs SQL on a data folder whose server is not running."""
    options = {
        "allow_system_table_mods": "on",
        "exit_on_error": "on",
        "fsync": "off",
        "log_checkpoints": "off",
        # A statement with the password must never be logged.
        "log_min_error_statement": "panic",
        "log_statement": "none",
    }
    command: list[str | Path] = [binaries.folder / "postgres", "--single", "-j", "-D", data]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    return [*command, database]


def password_sql(user: str, password: str) -> str:
    """Sets the administrator's password."""
    return (
        "SET password_encryption = 'scram-sha-256';\n\n"
        f"ALTER ROLE {identifier(user)} LOGIN PASSWORD {literal(password)};\n\n"
    )


def find_database_sql(name: str) -> str:
    """Answers :data:`NOT_FOUND` where there is no such database."""
    return (
        f"SELECT '{NOT_FOUND[:5]}' || '{NOT_FOUND[5:]}' WHERE NOT EXISTS "
        f"(SELECT FROM pg_catalog.pg_database WHERE datname = {literal(name)});\n\n"
    )


def identifier(name: str) -> str:
    """A name, quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A text, quoted for SQL."""
    escaped = value.replace("'", "''")
    if "\\" in escaped:
        escaped = escaped.replace("\\", "\\\\")
        return f" E'{escaped}'"
    return f"'{escaped}'"
