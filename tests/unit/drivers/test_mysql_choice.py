"""Which driver speaks to MySQL."""

import subprocess
import sys

import pytest

from aurora_sql.cluster._connector import Connector
from aurora_sql.drivers._mysql_login import choose
from aurora_sql.settings import AuroraSettings

SCRIPT = """\
import sys
for name in {without!r}:
    sys.modules[name] = None
from aurora_sql.drivers._mysql_login import choose
from aurora_sql.errors import ConfigurationError
try:
    print(choose({name!r}).log_in.__module__)
except ConfigurationError as exc:
    print(exc)
"""


def chosen(name, *without):
    script = SCRIPT.format(name=name, without=without)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)  # noqa: PLW1510 - told below
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def _installed():
    pytest.importorskip("asyncmy")
    pytest.importorskip("aiomysql")


@pytest.mark.parametrize(
    ("name", "without", "expected"),
    [
        ("auto", (), "_asyncmy_connect"),
        ("asyncmy", (), "_asyncmy_connect"),
        ("aiomysql", (), "_aiomysql_connect"),
        ("auto", ("asyncmy",), "_aiomysql_connect"),
        ("auto", ("aiomysql", "pymysql"), "_asyncmy_connect"),
        # A version that lacks what is used is as none.
        ("auto", ("asyncmy.protocol",), "_aiomysql_connect"),
        ("asyncmy", ("asyncmy",), "pip install 'aurora-sql[mysql-speed]'"),
        ("asyncmy", ("asyncmy.protocol",), "pip install 'aurora-sql[mysql-speed]'"),
        ("auto", ("asyncmy.protocol", "aiomysql"), "pip install 'aurora-sql[mysql-speed]'"),
        ("aiomysql", ("aiomysql",), "pip install 'aurora-sql[mysql]'"),
        ("auto", ("asyncmy", "aiomysql"), "pip install 'aurora-sql[mysql]'"),
    ],
)
def test_the_driver(name, without, expected):
    assert expected in chosen(name, *without)


def test_both_have_a_codec_of_their_own():
    assert choose("asyncmy").codec is not choose("aiomysql").codec


@pytest.mark.parametrize("driver", ["auto", "aiomysql", "asyncmy"])
def test_the_setting_reaches_the_connections(driver):
    settings = AuroraSettings.from_values(
        {
            "database": "d",
            "username": "u",
            "engine": "mysql",
            "write_endpoint": "w.example",
            "mysql_driver": driver,
        }
    )
    options = Connector(settings, 1.0)._options_for(("w.example", 3306))
    assert options.mysql_driver == driver
