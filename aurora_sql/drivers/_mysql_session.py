"""What a session is told at its start and after each reset. Pure functions."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from aurora_sql.errors import ConfigurationError

if TYPE_CHECKING:
    from aurora_sql.drivers.base import Begin, ConnectOptions

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")

FACTS = (
    "SELECT @@max_allowed_packet, @@global.local_infile, CONNECTION_ID(), "
    "CONCAT(@@hostname, ':', @@port, ':', @@server_id), @@global.read_only, "
    "@@global.innodb_read_only"
)
"""What a session has to know of its server."""
# A value that does not fit is an error, and 0 is no request for the next number.
_MODES = "'STRICT_TRANS_TABLES', 'NO_AUTO_VALUE_ON_ZERO'"
IDENTITY = "SELECT CONCAT(@@hostname, ':', @@port, ':', @@server_id)"


def settings(options: ConnectOptions, *, mariadb: bool) -> str:
    """The statement that gives a session its settings.

    Raises:
        ConfigurationError: A further setting has a name that is none.
    """
    parts = [
        "NAMES utf8mb4",
        "autocommit = 1",
        "time_zone = '+00:00'",
        f"sql_mode = CONCAT_WS(',', NULLIF(@@sql_mode, ''), {_MODES})",
        statement_timeout(options.command_timeout, mariadb=mariadb),
    ]
    if options.lock_timeout > 0:
        seconds = max(1, math.ceil(options.lock_timeout))
        parts += [f"innodb_lock_wait_timeout = {seconds}", f"lock_wait_timeout = {seconds}"]
    if options.idle_in_transaction_timeout > 0:
        # MySQL has none for transactions alone: there an idle session ends too.
        name = "idle_transaction_timeout" if mariadb else "wait_timeout"
        parts.append(f"{name} = {max(1, math.ceil(options.idle_in_transaction_timeout))}")
    for name, value in options.server_settings:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"server_settings: {name!r} is no name of a server setting")
        parts.append(f"{name} = {literal(value)}")
    return f"SET {', '.join(parts)}"


def statement_timeout(seconds: float, *, mariadb: bool) -> str:
    """The server's limit for one statement; 0 and infinity for none."""
    if not 0 < seconds < math.inf:
        seconds = 0
    if mariadb:
        return f"max_statement_time = {max(seconds, 0.001) if seconds else 0:.3f}"
    return f"max_execution_time = {max(round(seconds * 1000), 1) if seconds else 0}"


def literal(text: str) -> str:
    """A value in SQL that is the same under every sql_mode."""
    if _NUMBER.fullmatch(text):
        return text
    return f"_utf8mb4 X'{text.encode().hex()}'"


def begin_commands(begin: Begin) -> list[str]:
    """The statements that open a transaction, each a round trip."""
    commands = []
    if begin.isolation is not None:
        # Of the next transaction alone.
        commands.append(f"SET TRANSACTION ISOLATION LEVEL {begin.isolation.value.upper()}")
    commands.append("START TRANSACTION READ ONLY" if begin.read_only else "START TRANSACTION")
    return commands


def quote(names: tuple[str, ...] | list[str]) -> str:
    """A name, or schema and name, quoted."""
    return ".".join("`" + name.replace("`", "``") + "`" for name in names)


def parse_version(text: str) -> tuple[tuple[int, ...], bool]:
    """The server's version, and whether it is MariaDB."""
    mariadb = "mariadb" in text.lower()
    if mariadb:
        # Older ones pretend to be MySQL 5.5.5, for replicas' sake.
        text = text.removeprefix("5.5.5-")
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (tuple(int(part) for part in found.groups("0")) if found else ()), mariadb


def holds_several(sql: str) -> bool:
    """Whether this may be more than one statement."""
    return ";" in sql.strip().rstrip(";")
