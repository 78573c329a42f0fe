"""How connections to the instances are opened."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aurora_sql.drivers import ConnectOptions, connect
from aurora_sql.rows import Row

if TYPE_CHECKING:
    from aurora_sql.cluster._endpoints import Address
    from aurora_sql.drivers import DriverConnection
    from aurora_sql.settings import AuroraSettings

_MONITOR = " monitor"
_LONGEST_NAME = 63


class Connector:
    """Opens connections by the settings of one open database.

    Args:
        settings: Who logs in, and how the connections are protected.
        server_timeout: The server's limit per statement in seconds.
    """

    def __init__(self, settings: AuroraSettings, server_timeout: float) -> None:
        self._settings = settings
        self._server_timeout = server_timeout
        self._options: dict[Address, ConnectOptions] = {}

    async def open(self, address: Address) -> DriverConnection:
        """Open a connection for statements.

        Raises:
            AuroraError: It cannot be opened.
        """
        return await self._connect(self._options_for(address))

    async def open_monitor(self, address: Address) -> DriverConnection:
        """Open a connection that only ever asks an instance for the state of its cluster."""
        options = self._options_for(address)
        name = options.application_name[: _LONGEST_NAME - len(_MONITOR)] + _MONITOR
        return await self._connect(replace(options, application_name=name))

    async def _connect(self, options: ConnectOptions) -> DriverConnection:
        return await connect(self._settings.engine, options, row_base=Row)

    def _options_for(self, address: Address) -> ConnectOptions:
        # Kept: a TLS context reads the certificates of the machine.
        options = self._options.get(address)
        if options is None:
            options = self._options[address] = self._make_options(address)
        return options

    def _make_options(self, address: Address) -> ConnectOptions:
        values = self._settings.connection_values(*address)

        async def password() -> str | None:
            return None if values.password is None else values.password.get_secret_value()

        return ConnectOptions(
            host=values.host,
            port=values.port,
            database=values.database,
            user=values.user,
            password=password,
            tls=values.tls.context,
            tls_optional=values.tls.optional,
            tls_only_if_required=values.tls.only_if_required,
            connect_timeout=values.connect_timeout,
            command_timeout=self._server_timeout,
            application_name=values.application_name,
            mysql_driver=self._settings.mysql_driver.value,
        )
