"""Settings: one model for the environment, ``.env``, ``appsettings.json``, URLs and code."""

from ._model import AuroraSettings, ConnectionValues
from ._tls import TlsPlan
from ._values import (
    MysqlDriver,
    ReaderSelection,
    SslMode,
    TopologyMode,
    format_address,
    is_loopback,
)
from ._values import address as parse_address

__all__ = [
    "AuroraSettings",
    "ConnectionValues",
    "MysqlDriver",
    "ReaderSelection",
    "SslMode",
    "TlsPlan",
    "TopologyMode",
    "format_address",
    "is_loopback",
    "parse_address",
]
