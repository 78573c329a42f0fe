"""The drivers: the only package that imports a database driver, and only on first use."""

from __future__ import annotations

from typing import Any

from aurora_sql.drivers._asyncpg_arrays import FlatArray
from aurora_sql.drivers._columns import ColumnBatches
from aurora_sql.drivers._mysql_rows import tuple_rows
from aurora_sql.drivers.base import (
    PLAIN,
    Begin,
    ConnectOptions,
    DriverConnection,
    PreparedStatement,
)
from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Engine

__all__ = [
    "PLAIN",
    "Begin",
    "ColumnBatches",
    "ConnectOptions",
    "DriverConnection",
    "FlatArray",
    "PreparedStatement",
    "connect",
    "tuple_rows",
]


async def connect(
    engine: Engine, options: ConnectOptions, *, row_base: type[Any] | None = None
) -> DriverConnection:
    """Open one session with the driver of the engine.

    Args:
        engine: Which engine the server runs.
        options: Where to connect, and how.
        row_base: Mixed into the driver's class of rows; None for the driver's own.

    Raises:
        ConfigurationError: The driver is not installed or of an unknown version, the engine is
            not supported, or the server refuses a setting.
        ConnectionFailed: No session could be opened; AuthenticationFailed, TlsError and
            TooManyConnections say why.
    """
    # On first use: importing the library must not cost what a driver costs.
    if engine is Engine.MYSQL:
        from aurora_sql.drivers import _mysql_login  # noqa: PLC0415 - see above

        return await _mysql_login.connect(options, row_base)
    try:
        from aurora_sql.drivers import _asyncpg_connect  # noqa: PLC0415 - see above
    except ModuleNotFoundError as exc:
        if exc.name != "asyncpg":
            raise
        raise ConfigurationError(
            "PostgreSQL needs asyncpg: pip install 'aurora-sql[postgresql]'"
        ) from exc
    return await _asyncpg_connect.connect(options, row_base)
