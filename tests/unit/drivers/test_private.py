"""What the driver takes from asyncpg beyond its documentation is looked for, not hoped for."""

import subprocess
import sys

import pytest
from asyncpg.protocol.protocol import BaseProtocol, ConnectionSettings, PreparedStatementState

from aurora_sql.drivers import _asyncpg_private as private
from aurora_sql.drivers._asyncpg_transport import HoldingTransport
from aurora_sql.errors import ConfigurationError


class Settings:
    add_python_codec = None


class Wire:
    def __init__(self, without=()):
        for name in private._PROTOCOL_NAMES:
            if name not in without:
                setattr(self, name, None)
        if "get_settings" not in without:
            self.get_settings = Settings


class Transport:
    write = writelines = None


class Connection:
    def __init__(self, wire):
        self._protocol = wire
        self._loop = self._get_statement = None
        self._transport = HoldingTransport(Transport())


def test_the_installed_asyncpg_has_them_all():
    assert all(hasattr(BaseProtocol, name) for name in private._PROTOCOL_NAMES)
    assert all(hasattr(PreparedStatementState, name) for name in private._STATE_NAMES)
    assert all(hasattr(ConnectionSettings, name) for name in private._SETTINGS_NAMES)
    private.check(Connection(Wire()))


@pytest.mark.parametrize("name", private._PROTOCOL_NAMES)
def test_a_missing_name_is_a_configuration_error(name):
    with pytest.raises(ConfigurationError, match=rf"{name}.*asyncpg>=0\.30,<0\.33"):
        private.check(Connection(Wire(without={name})))


def test_a_missing_name_of_the_connection():
    with pytest.raises(ConfigurationError, match="_protocol, _transport, _loop, _get_statement"):
        private.check(object())


def test_a_transport_of_its_own():
    connection = Connection(Wire())
    connection._transport = Transport()
    with pytest.raises(ConfigurationError, match="its transport from the event loop"):
        private.check(connection)


def test_a_missing_name_of_the_statement():
    with pytest.raises(ConfigurationError, match="_get_parameters"):
        private.check_state(object())


def test_importing_the_package_does_not_import_a_driver():
    code = "import sys, aurora_sql.drivers; sys.exit('asyncpg' in sys.modules or 'asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_driver_says_what_to_install():
    code = (
        "import sys, asyncio; sys.modules['asyncpg'] = None\n"
        "from aurora_sql.drivers import connect\n"
        "from aurora_sql.types import Engine\n"
        "try: asyncio.run(connect(Engine.POSTGRESQL, None))\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("ConfigurationError")
    assert "pip install 'aurora-sql[postgresql]'" in done.stdout
