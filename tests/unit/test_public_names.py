"""What ``aurora_sql`` exports, and that asking for none of it costs nothing."""

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import pytest

import aurora_sql
from aurora_sql import errors

_IMPORTED = """
import json, sys
before = set(sys.modules)
import aurora_sql
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_every_name_of_all_is_there_once_and_has_a_home():
    names = aurora_sql.__all__
    assert len(names) == len(set(names))
    for name in names:
        assert getattr(aurora_sql, name) is not None
    assert set(names) <= set(dir(aurora_sql))


def test_every_error_is_exported():
    tree = [
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    ]
    assert len(tree) > 30
    assert set(tree) <= set(aurora_sql.__all__)


@pytest.mark.parametrize(
    "name",
    [
        "Aurora",
        "AuroraSettings",
        "StatementRegistry",
        "Repository",
        "Row",
        "Topology",
        "Instance",
        "PoolStats",
        "BulkResult",
        "deadline",
        "Statement",
        "Session",
        "Transaction",
        "Explanation",
    ],
)
def test_the_names_of_the_contract_are_exported(name):
    assert name in aurora_sql.__all__


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Aurorra'"):
        aurora_sql.Aurorra


def test_packages_export_what_their_all_says():
    packages = [
        found.name
        for found in pkgutil.iter_modules(aurora_sql.__path__, "aurora_sql.")
        if found.ispkg
    ]
    assert "aurora_sql.pool" in packages
    for package in packages:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{package}.{name}"


def test_importing_the_package_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTED], capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout)
    heavy = {"pydantic", "pydantic_settings", "asyncpg", "pypika", "backoff", "orjson", "asyncio"}
    assert heavy.isdisjoint(name.partition(".")[0] for name in loaded)
    ours = [name for name in loaded if name.startswith("aurora_sql")]
    assert ours == ["aurora_sql", "aurora_sql._version"]
