"""Which provider to ask, by engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aurora_sql.cluster import _providers_mysql, _providers_postgresql
from aurora_sql.cluster._providers_mysql import StaticMySQL
from aurora_sql.cluster._providers_postgresql import StaticPostgreSQL
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from aurora_sql.cluster._report import Provider
    from aurora_sql.drivers import DriverConnection


async def detect(engine: Engine, connection: DriverConnection) -> Provider:
    """Return the provider for the server at the other end.

    What is missing, or not for this user, means one that knows of itself only.

    Raises:
        AuroraError: The connection broke.
    """
    if engine is Engine.MYSQL:
        return await _providers_mysql.detect(connection)
    return await _providers_postgresql.detect(connection)


def static(engine: Engine) -> Provider:
    """Return the provider for endpoints that are the instances."""
    return StaticMySQL() if engine is Engine.MYSQL else StaticPostgreSQL()
