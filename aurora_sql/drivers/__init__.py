"""The drivers: the only package that imports a database driver, and only on first use."""

from __future__ import annotations

from typing import Any

from aurora_sql.drivers.base import (
    PLAIN,
    Begin,
    ConnectOptions,
    DriverConnection,
    PreparedStatement,
)
from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Engine

__all__ = ["PLAIN", "Begin", "ConnectOptions", "DriverConnection", "PreparedStatement", "connect"]


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
    if engine is not Engine.POSTGRESQL:
        raise ConfigurationError(
            f"engine {engine.value!r} is not supported by this version; use 'postgresql'"
        )
    try:
        # On first use: importing the library must not cost what a driver costs.
        from aurora_sql.drivers import _asyncpg_connect  # noqa: PLC0415 - see above
    except ModuleNotFoundError as exc:
        if exc.name != "asyncpg":
            raise
        raise ConfigurationError(
            "PostgreSQL needs asyncpg: pip install 'aurora-sql[postgresql]'"
        ) from exc
    return await _asyncpg_connect.connect(options, row_base)
